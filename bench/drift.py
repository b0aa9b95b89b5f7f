"""The monitor, measured: python bench/drift.py. Writes docs/monitor.md; five minutes.

Made data: without drift a run should alert in at most 5 % of the draws, with one quantity shifted it should name that one.
Flights: a model of January and February, watched through the rest of the year.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]
import data
from conftest import bake, run
from test_production import recipes

DRAWS, RATE, FLOOR = 200, 0.05, 0.01
SIZES, SHIFTS = (100, 200, 300, 500, 1000, 2000, 5000), (0.2, 0.3)
KINDS = [0.4, 0.2, 0.15, 0.1, 0.07, 0.05, 0.02, 0.01]
FLIGHTS = [
    "month", "time_hour", "flight", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance", "late",
]  # fmt: skip
SETTINGS = {
    "task": "binary", "target": "late", "time": "time_hour", "drop": ["month"], "tracker": "none", "epochs": 10,
}  # fmt: skip
HELD = 5000  # flights of January and February, taken at random, that the model never sees


def draw(random: np.random.Generator, n: int, shift: float = 0.0) -> pl.DataFrame:
    """12 normal quantities, the first shifted and the second with gaps, 3 skewed ones, 2 counts, 3 categories."""
    columns = {f"normal {i}": random.normal(size=n) for i in range(12)}
    columns |= {f"skewed {i}": np.exp(random.normal(size=n)) for i in range(3)}
    columns |= {f"count {i}": random.poisson(2, size=n).astype(float) for i in range(2)}
    columns |= {f"kind {i}": random.choice(list("abcdefgh"), size=n, p=KINDS) for i in range(3)}
    frame = pl.DataFrame(columns).with_columns(pl.col("normal 0") + shift)
    gaps = pl.Series(random.random(n) < 0.05)
    return frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col("normal 1")).alias("normal 1"))


def alerts(source: Path) -> Callable[[int, float], set[str]]:
    """What one run over n rows names, against 10,000 rows of training, by the code of a generated project."""
    sys.path.insert(0, str(source))
    from recipe_kit.production import drift, reference

    random = np.random.default_rng(0)
    train = draw(random, 10_000)
    known = {name: reference.describe(train[name]) for name in train.columns}
    for name in (n for n in known if n.startswith("kind")):
        known[name] |= {"known": list("abcdefgh"), "unseen": [0, 2000]}

    def one(n: int, shift: float) -> set[str]:
        now = draw(random, n, shift)
        found = [test for name in now.columns for test in drift.compare(name, known[name], now[name])]
        return {test["name"] for test in drift.judge(found, RATE, FLOOR) if test["alert"]}

    return one


def rates(one: Callable[[int, float], set[str]]) -> list[str]:
    """A line for each number of rows: false alarms, and how often a shift is named."""
    lines = []
    for n in SIZES:
        false = sum(bool(one(n, 0.0)) for _ in range(DRAWS))
        seen = [sum("normal 0" in one(n, shift) for _ in range(DRAWS)) for shift in SHIFTS]
        shares = " | ".join(f"{count / DRAWS:.1%}" for count in (false, *seen))
        lines.append(f"| {n:,} | {shares} |")
        print(lines[-1], flush=True)
    return lines


def flights(project: Path) -> list[str]:
    """A line for each month: what `recipe monitor` says of its flights."""
    data.flights(project / "all.csv", months=12)
    frame = pl.read_csv(project / "all.csv", infer_schema_length=None).select(FLIGHTS)
    frame = frame.filter(pl.col("late").is_not_null()).with_row_index("row")
    early = frame.filter(pl.col("month") <= 2)
    held = early.sample(HELD, seed=0)
    early.join(held, on="row", how="anti").sort("row").drop("row").write_csv(project / "data" / "train.csv")
    lines = (project / "recipe.toml").read_text().removesuffix("\n").split("\n")
    kept = [line for line in lines if line.split(" = ")[0] not in SETTINGS]
    settings = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
    (project / "recipe.toml").write_text("\n".join([*kept, *settings, ""]))
    short = ["--force", "the monitor is measured here, not the model"]
    recipes(project, ["split", *short], ["train", *short], ["export", *short], ["promote", *short])
    told = [month(project, "January, February: held out at random", held)]
    for number in range(3, 13):
        told.append(month(project, f"month {number}", frame.filter(pl.col("month") == number)))
    return told


def month(project: Path, name: str, frame: pl.DataFrame) -> str:
    """The alerts, the most drifted quantities and the score of these flights."""
    frame.drop("row").write_csv(project / "now.csv")
    done = run(project, "monitor", "now.csv", "--quiet")
    assert done.returncode in (0, 1), done.stderr  # 1 is an alert
    content = json.loads((project / "monitor" / "monitor.json").read_text())
    found = {finding["check"]: finding for finding in content["findings"]}
    drifted = [test for test in content["tests"] if test["alert"] and test["test"] == "distribution"]
    drifted.sort(key=lambda test: -test["excess"])
    named = ", ".join(f"{test['name']} {test['psi']:.2f}" for test in drifted[:4]) or "none"
    score = found["live performance"]["evidence"]["now"]
    auc = f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
    line = f"| {name} | {len(frame):,} | {', '.join(content['red']) or 'quiet'} | {named} | {auc} |"
    print(line, flush=True)
    return line


PAGE = """# The monitor, measured

Made by `python bench/drift.py`, with the defaults of `recipe monitor`: a false alarm in at most 5 % of the runs, PSI counts
from 0.01 above what chance gives.

## Made data

{draws} draws for each number; 20 quantities (normal, skewed, counts, categories, one with gaps) against 10,000 rows of training.
False alerts are runs that alert on anything though nothing has changed. A shift is that of one normal quantity; it is seen
when the run names that one.

| rows | false alarms | shift of 0.2 sd seen | shift of 0.3 sd seen |
|---|---|---|---|
{rates}

With {draws} draws, a share of 5 % has a 95 % interval of about 3 points to each side. From 2,000 rows on a difference that is
certain may still be too small to count, so false alarms vanish.

## Flights of 2013

A network of January and February (target: over 15 minutes late; split by time), watched month by month as `recipe monitor
FILE` does it. The first line is the control: flights of the same two months, held out at random. PSI stands behind each
quantity, the most drifted first. Destinations and flight numbers move with the timetable; `monitor/monitor.html` draws them
beside training and lists the values. AUC was {promised} on validation, the last days of February.

| flights | rows | alerts | drifted | AUC |
|---|---|---|---|---|
{months}

The control has no drift, and none is found. Its score still alerts, rightly: it is far below what validation promised, because
those few days of February were easier than the rest. The interval of a score takes rows as independent, and flights of one
day are not: with few days in validation, expect this alert early, and read it as "the promise was too good".
"""


def main() -> None:
    """Both tables, then the page."""
    with tempfile.TemporaryDirectory() as folder:
        project = bake(Path(folder))
        months = flights(project)
        (package,) = (project / "models").glob("*/package.json")
        promised = json.loads(package.read_text())["metrics"]["auc"]["value"]
        table = rates(alerts(project / "src"))
    facts = {"draws": DRAWS, "rates": "\n".join(table), "months": "\n".join(months), "promised": f"{promised:.3f}"}
    (ROOT / "docs" / "monitor.md").write_text(PAGE.format(**facts))


if __name__ == "__main__":
    main()
