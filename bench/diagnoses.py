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
import polars as pl  # noqa: E402
from conftest import bake, run  # noqa: E402

TARGET = {"data": "data/train.csv", "target": "target"}
# data -> (answers to the template's questions, what recipe.toml gets)
SETS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "digits": ({"task": "multiclass"}, TARGET),
    "breast_cancer": ({"task": "binary"}, TARGET),
    "diabetes": ({"task": "regression"}, TARGET),
    "wine": ({"task": "multiclass"}, TARGET),
    "wine_and_answer": ({"task": "multiclass"}, TARGET),
    "flights": (
        {"task": "binary"},
        {
            "data": "data/train.csv",
            "target": "late",
            "drop": ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"],
        },
    ),
    "digit_images": (
        {"modality": "image", "task": "multiclass"},
        {"data": "data/images", "weights": "none", "size": 16},
    ),
    "docstrings": (
        {"modality": "text", "task": "multiclass"},
        {"data": "data/train.csv", "target": "library", "max_length": 32, "encoder": str(data.minilm())},
    ),
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
# Twelve more on other data, made after the rules were written; no rule was changed for them.
LATER: list[tuple[str, str, str, list[str]]] = [
    ("sound curves", "wine", "epochs=60", []),
    ("not learning", "flights", "lr=1e-9", []),
    ("diverged", "wine", "lr=10 clip=0 optimizer=sgd", []),
    ("unstable", "digit_images", "lr=1 optimizer=sgd clip=0 warmup=0 epochs=12", []),
    ("oscillating validation", "digit_images", "lr=0.03 schedule=constant patience=0 epochs=20", []),
    ("dead units at the end", "wine", "lr=0.5 clip=0 warmup=0 schedule=constant patience=0 epochs=40", []),
    ("far behind the baseline", "digit_images", "adapt=frozen lr=1e-3 epochs=10", []),
    ("good from the first epoch", "wine_and_answer", "lr=0.03 batch_size=8", []),
    ("learning rate outside the range", "wine", "lr=3e-6 epochs=400 patience=0", ["lr-find"]),
    ("overfitting", "docstrings", "epochs=12 patience=0 lr=3e-4", []),
    ("still improving", "docstrings", "epochs=2 lr=3e-5", []),
    ("overconfident", "flights", "hidden=512 lr=0.01 schedule=constant patience=0 epochs=15", []),
]


def project(name: str, folder: Path) -> Path:
    """A generated project on one of the sets, taken as far as the baseline."""
    answers, settings = SETS[name]
    slug = name.replace("_", "-")
    made = bake(folder, project_name=name.replace("_", " "), project_slug=slug, package="my_model", **answers)
    write(name, made / "data")
    settings = {**settings, "tracker": "none", "iid": f"{name}: one row, one thing"}
    recipe = made / "recipe.toml"
    lines = recipe.read_text().removesuffix("\n").split("\n")
    kept = [line for line in lines if line.split("=")[0].strip() not in ("time", "drop", *settings)]
    given = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    recipe.write_text("\n".join([*kept, *given]) + "\n")
    for step in ("split", "baseline"):
        done = run(made, step, "--quiet", "--force", "deliberately broken")
        assert done.returncode in (0, 1), done.stderr + done.stdout
    return made


def write(name: str, folder: Path) -> None:
    """Put the data of a set where its recipe.toml looks for them."""
    if name == "digit_images":
        data.digit_images(folder / "images")
    elif name == "docstrings":
        data.docstrings(folder / "train.csv", each=150)
    elif name == "wine_and_answer":
        data.wine(folder / "train.csv")
        frame = pl.read_csv(folder / "train.csv")
        frame.with_columns(grower=pl.col("target").rank("dense")).write_csv(folder / "train.csv")
    else:
        getattr(data, name)(folder / "train.csv")


def newest(made: Path, step: str) -> dict[str, Any]:
    """The newest record of a step."""
    return json.loads(sorted((made / "runs").glob(f"*-{step}/record.json"))[-1].read_text())


def one(made: Path, settings: str, before: list[str]) -> dict[str, Any]:
    """Train with these settings and diagnose; the record of the diagnosis. before: settings of another run, or a step."""
    for words in [settings, *before]:
        if words == "lr-find":
            run(made, words, "--quiet", "--force", "deliberately broken")
            continue
        run(
            made,
            "train",
            *words.split(),
            "--quiet",
            "--force",
            "deliberately broken",
            "--allow-multiple",
            "deliberately broken",
        )
        if words == settings:
            ill = newest(made, "train")["id"]
    done = run(made, "diagnose", "--run", ill, "--quiet")
    assert done.returncode == 0, done.stderr + done.stdout
    return newest(made, "diagnose")


def main() -> None:
    """Make every run, or the named ones again ("wine: sound curves"), and write both files."""
    runs = [*RUNS, *LATER]
    wanted = sys.argv[1:] or [f"{name}: {expected}" for expected, name, *_ in runs]
    path = ROOT / "tests" / "diagnoses.json"
    kept = {f"{row['data']}: {row['expected']}": row for row in json.loads(path.read_text())} if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for expected, name, settings, before in runs:
            if (key := f"{name}: {expected}") not in wanted:
                continue
            made[name] = made.get(name) or project(name, Path(folder))
            record = one(made[name], settings, before)
            first = record["findings"][0]
            kept[key] = {
                "expected": expected,
                "data": name,
                "settings": settings,
                "said": record["result"]["diagnoses"],
                "observed": first["observed"],
                "next": first["next"],
                "evidence": record["result"]["evidence"],
            }
            print(f"{key:<44} {settings:<44} -> {kept[key]['said']}: {first['observed']}", flush=True)
            rows = [kept[key] for expected, name, *_ in runs if (key := f"{name}: {expected}") in kept]
            path.write_text(json.dumps(rows, indent=1) + "\n")  # after each run: a stopped one goes on with the rest by name
    rows = [kept[key] for expected, name, *_ in runs if (key := f"{name}: {expected}") in kept]
    (ROOT / "docs" / "diagnoses.md").write_text(page(rows))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line a run."""
    cells = [
        f"| {r['expected']} | {r['data']} | `{r['settings'] or 'defaults'}` | {', '.join(r['said'])} | {r['observed']} | {'`' + r['next'] + '`' if r['next'] else ''} |"
        for r in rows
    ]
    head = ["| made to be | data | settings | diagnosis | evidence | the one experiment |", "|---|---|---|---|---|---|"]
    return [*head, *cells, ""]


def page(rows: list[dict[str, Any]]) -> str:
    """The tables of docs/diagnoses.md."""
    first, later = ([r for r in rows if any(r["data"] == name for _, name, *_ in runs)] for runs in (RUNS, LATER))
    right = [sum(row["expected"] in row["said"] for row in part) for part in (first, later)]
    return "\n".join(
        [
            "# Diagnoses of runs deliberately broken",
            "",
            "Made by `python bench/diagnoses.py`: generated projects on real data, one run for each diagnosis, and what",
            "`recipe diagnose` said of its curves. One run each, one seed.",
            "",
            "## While the rules were written",
            "",
            f"{right[0]} of {len(first)} name what the run was made to be. A late spike and a plateau would not come by turning these",
            "settings on these data; the rules for them are tested on curves made for them only.",
            "",
            *table(first),
            "## After the rules were written",
            "",
            f"On other data; no rule was changed for them. {right[1]} of {len(later)} name what the run was made to be.",
            "",
            *table(later),
        ]
    )


if __name__ == "__main__":
    main()
