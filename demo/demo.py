"""`make demo`: generate a project, give it real data, and take it through the recipe by the commands its owner would type."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import data
import polars as pl
from cookiecutter.main import cookiecutter
from production import production

ROOT = Path(__file__).parents[1]
OUT = ROOT / "demo-out"
TEXTS = 250  # docstrings of each library: three epochs of LoRA in two minutes on two cores


def generate(modality: str, task: str) -> Path:
    """A fresh project in demo-out/<modality>."""
    folder = OUT / modality
    shutil.rmtree(folder, ignore_errors=True)
    answers = {
        "project_name": f"Demo {modality}",
        "project_slug": modality,
        "package": "demo",
        "modality": modality,
        "task": task,
    }
    print(f"$ cookiecutter {ROOT.name} --no-input " + " ".join(f"{k}={v!r}" for k, v in answers.items()))
    OUT.mkdir(exist_ok=True)
    return Path(cookiecutter(str(ROOT), no_input=True, default_config=True, extra_context=answers, output_dir=str(OUT)))


def recipe(project: Path, *words: str, red: bool = False) -> None:
    """Run one command of the generated project, showing it. `red` says that a FAIL is what the story expects."""
    print(f"\n$ recipe {' '.join(words)}", flush=True)
    paths = os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    status = subprocess.run(
        [sys.executable, "-m", "recipe_kit", *words], cwd=project, env=environment, check=False
    ).returncode
    if status != int(red):
        sys.exit(f"demo: `recipe {' '.join(words)}` ended with status {status}, expected {int(red)}")


def edit(project: Path, **settings: object) -> None:
    """Set settings in recipe.toml, as its owner would in an editor, and show the new lines."""
    path = project / "recipe.toml"
    text = path.read_text()
    print("\nedit recipe.toml:")
    for name, value in settings.items():
        line = f"{name} = {json.dumps(value)}"
        print(f"    {line}")
        text, found = re.subn(rf"(?m)^(# )?{name} = .*$", lambda _, line=line: line, text, count=1)
        text += "" if found else f"{line}\n"
    path.write_text(text)


def records(project: Path, step: str) -> list[dict]:
    """Finished records of a step, oldest first."""
    return [json.loads(p.read_text()) for p in sorted((project / "runs").glob(f"*-{step}/record.json"))]


def tabular(project: Path) -> None:
    """Flights: the audit warns of columns that are only known after landing; the owner drops them and splits by time."""
    data.flights(project / "data" / "train.csv")
    edit(project, target="late")
    recipe(project, "audit")
    found = {f["check"]: f for f in records(project, "audit")[0]["findings"]}
    edit(
        project,
        drop=found["recorded after the outcome"]["evidence"]["columns"],
        time=found["undeclared time or group"]["evidence"]["times"][0],
    )
    recipe(project, "audit")
    for step in ("split", "baseline", "check", "lr-find", "train"):
        recipe(project, step)
    recipe(project, "train", "model=lightgbm")
    recipe(project, "evaluate")
    recipe(project, "report")
    data.flights(project / "data" / "later.csv", months=3)
    later = pl.read_csv(project / "data" / "later.csv", infer_schema_length=None).filter(pl.col("month") == 3)
    later.filter(pl.col("late").is_not_null()).write_csv(project / "data" / "march.csv")
    production(project, project / "data" / "march.csv", recipe, red=True)


def text(project: Path) -> None:
    """Docstrings: which library does this document? A real pretrained MiniLM from its package, adapted with LoRA."""
    new = project / "data" / "new.csv"
    data.docstrings(project / "data" / "train.csv", each=TEXTS + 50)
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.head(300).select("text").write_csv(new)
    frame.slice(300).write_csv(project / "data" / "train.csv")
    edit(
        project,
        target="library",
        iid="each text documents one function or class",
        encoder=str(data.minilm()),
        adapt="lora",
        max_length=48,
        epochs=3,
    )
    for step in ("audit", "split", "baseline"):
        recipe(project, step)
    recipe(project, "check", "batch_size=8")  # a smaller batch shows the same bugs four times as fast on a CPU
    for step in ("train", "evaluate", "report"):
        recipe(project, step)
    production(project, new, recipe, red=False)


def image(project: Path) -> None:
    """Digits in class folders: the audit fails on three files that cannot be decoded; the owner leaves them out."""
    data.digit_images(project / "data" / "images", broken=True)
    new = project / "data" / "new"
    new.mkdir()
    for path in sorted((project / "data" / "images").rglob("[0-9]*.png"))[::10]:
        path.rename(new / path.name)
    edit(project, target="digit", iid="each digit was written once", weights="none", size=32, lr=1e-3, epochs=5)
    recipe(project, "audit", red=True)
    edit(project, corrupt="drop")
    for step in ("audit", "split", "baseline"):
        recipe(project, step)
    recipe(project, "check", "batch_size=16")  # half the batch shows the same bugs in half the time on a CPU
    for step in ("train", "evaluate", "report"):
        recipe(project, step)
    production(project, new, recipe, red=False)


def sequence(project: Path) -> None:
    """Hourly weather: were the flights of the day late? A row an hour, an airport's day a series, gaps where nothing was measured."""
    data.weather_days(project / "data" / "train.csv")
    frame = pl.read_csv(project / "data" / "train.csv", null_values="", infer_schema_length=None)
    frame.filter(pl.col("date") >= "2013-11-01").drop("delayed").write_csv(project / "data" / "later.csv")
    frame.filter(pl.col("date") < "2013-11-01").write_csv(project / "data" / "train.csv")
    edit(project, target="delayed", series="series", step="hour", time="date", static=["origin"], hidden=32, epochs=20)
    for step in ("audit", "split", "baseline", "check", "train", "evaluate", "report"):
        recipe(project, step)
    new = project / "data" / "new.jsonl"  # a row a series, its measurements in lists: what a request carries
    later = frame.filter(pl.col("date") >= "2013-11-01").drop("delayed", "hour")
    once = [pl.col(name).first() for name in ("origin", "date")]
    later.group_by("series", maintain_order=True).agg(*once, pl.exclude("series", "origin", "date")).write_ndjson(new)
    production(project, new, recipe, red=True)


STORIES = {
    "tabular": (tabular, "binary"), "image": (image, "multiclass"), "text": (text, "multiclass"), "sequence": (sequence, "binary"),
}  # fmt: skip


def summary(project: Path, seconds: float) -> None:
    """The table at the end: every model on the same validation rows, what was found, what passed, the test score."""
    baseline, trained, evaluated = (
        records(project, "baseline")[-1],
        records(project, "train"),
        records(project, "evaluate")[-1],
    )
    metric = baseline["result"]["metric"]
    rows = {name: entry["metrics"][metric] for name, entry in baseline["result"]["baselines"].items()}
    rows |= {f"{r['result']['model']} ({r['id']})": r["result"]["metrics"][metric] for r in trained}
    print(f"\n{'=' * 88}\n{'model':<28} {metric} on validation [95 % interval]")
    for name, score in rows.items():
        print(f"{name:<28} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]")
    for record in trained:
        if against := record["result"].get("against_baseline"):
            worth = "beats" if min(against["low"], against["high"]) > 0 else "does not beat"
            print(
                f"-> {record['result']['model']} {worth} {against['name']}: {against['value']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]"
            )
    odd = [f for f in records(project, "audit")[0]["findings"] if f["verdict"] in ("WARN", "FAIL")]
    told = [f"{f['verdict']} {f['check']}: {f['observed'][:150]}" for f in odd]
    print("\naudit:   " + ("\n         ".join(told) or "nothing found"))
    checks = records(project, "check")[-1]["result"]["checks"]
    print(f"checks:  {sum(v == 'PASS' for v in checks.values())} passed, {sum(v == 'WARN' for v in checks.values())} warned, {sum(v == 'FAIL' for v in checks.values())} failed, "
          f"{sum(v == 'NOT APPLICABLE' for v in checks.values())} not applicable")  # fmt: skip
    score = evaluated["result"]["metrics"][metric]
    print(
        f"test:    opened once, for {evaluated['result']['run']}: {metric} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}] on {evaluated['result']['rows']:,} rows"
    )
    print(f"report:  {project / 'report.html'}\ntime:    {seconds:.0f} s\n{'=' * 88}")


def main() -> None:
    """Run the story of one modality."""
    modality = sys.argv[1] if len(sys.argv) > 1 else "tabular"
    if modality not in STORIES:
        sys.exit(f"demo: MODALITY={modality} is not one of {', '.join(STORIES)}")
    story, task = STORIES[modality]
    before = time.time()
    project = generate(modality, task)
    story(project)
    summary(project, time.time() - before)


if __name__ == "__main__":
    main()
