"""One run made for each diagnosis, on real data, by turning settings of a sound project; what the diagnosis said.

python bench/diagnoses.py        writes docs/diagnoses.md and tests/diagnoses.json (about 10 minutes on two cores)

Each run is an ordinary `recipe train` in a generated project. The evidence of the run (curves and paired differences) is
kept in tests/diagnoses.json, so that the tests can ask the rules again without training.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]

import data  # noqa: E402
from conftest import bake, run  # noqa: E402

SETS: dict[str, dict[str, str]] = {
    "digits": {"task": "multiclass"},
    "breast_cancer": {"task": "binary"},
    "diabetes": {"task": "regression"},
}
WHY = {
    "digits": 'iid = "one image a row, writers unknown"',
    "breast_cancer": 'iid = "one patient a row"',
    "diabetes": 'iid = "one patient a row"',
}
# (what it is made to be, data, what was turned, what was done before to give it evidence)
RUNS: list[tuple[str, str, str, list[str]]] = [
    ("sound curves", "digits", "", []),
    ("not learning", "digits", "lr=1e-8", []),
    ("diverged", "diabetes", "lr=10 clip=0 optimizer=sgd", []),
    ("unstable", "digits", "lr=0.1", []),
    ("late spike", "breast_cancer", "lr=0.03 clip=0 schedule=constant patience=0", []),
    ("dead units at the end", "diabetes", "lr=0.05 schedule=constant patience=0 epochs=40", []),
    ("plateau", "digits", "hidden=4 lr=0.03 schedule=constant patience=0 epochs=60", []),
    ("overfitting", "diabetes", "hidden=512 patience=0 epochs=300", []),
    ("still improving", "digits", "epochs=6", []),
    ("underfitting", "digits", "hidden=2", []),
    ("data ceiling", "diabetes", "hidden=32", ["hidden=128"]),
    ("overconfident", "digits", "lr=0.015 schedule=constant patience=0 epochs=60", []),
]


def project(name: str, folder: Path) -> Path:
    """A generated project on one of the sets, taken as far as the baseline."""
    made = bake(
        folder,
        project_name=name.replace("_", " "),
        project_slug=name.replace("_", "-"),
        package="my_model",
        **SETS[name],
    )
    getattr(data, name)(made / "data" / "train.csv")
    recipe = made / "recipe.toml"
    kept = [
        line
        for line in recipe.read_text().removesuffix("\n").split("\n")
        if line.split("=")[0].strip() not in ("target", "iid", "time", "drop", "tracker")
    ]
    recipe.write_text("\n".join([*kept, 'target = "target"', 'tracker = "none"', WHY[name]]) + "\n")
    for step in ("split", "baseline"):
        done = run(made, step, "--quiet", "--force", "deliberately broken")
        assert done.returncode == 0, done.stderr + done.stdout
    return made


def newest(made: Path, step: str) -> dict[str, Any]:
    """The newest record of a step."""
    return json.loads(sorted((made / "runs").glob(f"*-{step}/record.json"))[-1].read_text())


def one(made: Path, settings: str, before: list[str]) -> dict[str, Any]:
    """Train with these settings and diagnose; the record of the diagnosis."""
    for words in [settings, *before]:
        run(made, "train", *words.split(), "--quiet", "--force", "deliberately broken", "--allow-multiple", "deliberately broken")
        if words == settings:
            ill = newest(made, "train")["id"]
    done = run(made, "diagnose", "--run", ill, "--quiet")
    assert done.returncode == 0, done.stderr + done.stdout
    return newest(made, "diagnose")


def main() -> None:
    """Make every run, or the named ones again, and write both files."""
    wanted = sys.argv[1:] or [expected for expected, *_ in RUNS]
    path = ROOT / "tests" / "diagnoses.json"
    kept = {row["expected"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for expected, name, settings, before in RUNS:
            if expected not in wanted:
                continue
            made[name] = made.get(name) or project(name, Path(folder))
            record = one(made[name], settings, before)
            first = record["findings"][0]
            kept[expected] = {
                "expected": expected,
                "data": name,
                "settings": settings,
                "said": record["result"]["diagnoses"],
                "observed": first["observed"],
                "next": first["next"],
                "evidence": record["result"]["evidence"],
            }
            print(f"{expected:<24} {name:<14} {settings:<44} -> {kept[expected]['said']}: {first['observed']}", flush=True)
    rows = [kept[expected] for expected, *_ in RUNS if expected in kept]
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (ROOT / "docs" / "diagnoses.md").write_text(page(rows))


def page(rows: list[dict[str, Any]]) -> str:
    """The table of docs/diagnoses.md."""
    right = sum(row["expected"] in row["said"] for row in rows)
    cells = [
        f"| {r['expected']} | {r['data']} | `{r['settings'] or 'defaults'}` | {', '.join(r['said'])} | {r['observed']} | {'`' + r['next'] + '`' if r['next'] else ''} |"
        for r in rows
    ]
    lines = [
        "# Diagnoses of runs deliberately broken",
        "",
        "Made by `python bench/diagnoses.py`: a generated tabular project on real data, one run for each diagnosis, and what",
        f"`recipe diagnose` said of its curves. {right} of {len(rows)} name what the run was made to be; one run each, one seed.",
        "A late spike and a plateau would not come by turning these settings on these data; the rules for them are tested on",
        "curves made for them only.",
        "",
        "| made to be | data | settings | diagnosis | evidence | the one experiment |",
        "|---|---|---|---|---|---|",
        *cells,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
