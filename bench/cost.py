"""What `recipe cost` says before a run against what the run then takes: memory and seconds of an epoch, three kinds of data.

python bench/cost.py        writes docs/cost.md (about a quarter of an hour on one core)

Each run is a process of its own, one epoch with one thread. Memory is the most that Linux counts for it. Time is that of the processor,
in both: the clock on the wall tells how busy a shared machine is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]

import data  # noqa: E402
from conftest import bake, environment  # noqa: E402

CALL = "import sys, time; time.perf_counter = time.process_time; from recipe_kit.cli import main; sys.exit(main())"
KNOWN = '["year", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "time_hour"]'
SIZES = (0.25, 0.5, 1, 2, 4)


def configured(project: Path, **settings: str) -> None:
    """These lines in its recipe.toml, in place of those that are there."""
    recipe, lines = project / "recipe.toml", {**settings, "iid": '"a measurement"', "tracker": '"none"', "device": '"cpu"'}
    kept = [line for line in recipe.read_text().split("\n") if line.split("=")[0].strip() not in lines]
    recipe.write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in lines.items())]) + "\n")


def make(kind: str, folder: Path) -> tuple[Path, str, list[int]]:
    """A project, the setting that is moved, and its five values."""
    if kind == "tabular":
        project = bake(folder, modality="tabular", task="binary")
        table = project / "data" / "train.csv"
        data.flights(table, months=1)
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:12_001]))
        configured(project, target='"late"', drop=KNOWN, batch_size="256")
        return project, "batch_size", [64, 128, 256, 512, 1024]
    if kind == "image":
        project = bake(folder, modality="image", task="multiclass")
        data.digit_images(project / "data" / "images", classes=(0, 1, 2))
        configured(project, weights='"none"', size="64", batch_size="32")
        return project, "batch_size", [8, 16, 32, 64, 128]
    project = bake(folder, modality="text", task="multiclass")
    data.docstrings(project / "data" / "train.csv", each=40, letters=1000)
    configured(project, target='"library"', encoder=json.dumps(str(data.minilm())), batch_size="8", max_length="128")
    return project, "max_length", [32, 64, 96, 128, 192]


def call(project: Path, *words: str) -> tuple[dict[str, Any], float]:
    """The newest record of a step in a process of its own, and the most memory that it had, in bytes."""
    argv = [sys.executable, "-c", CALL, *words, "--quiet", "--force", "a measurement"]
    os.chdir(project)
    process = os.spawnve(os.P_NOWAIT, sys.executable, argv, environment(project))
    _, status, used = os.wait4(process, 0)
    assert status == 0, words
    newest = max((project / "runs").glob(f"*-{words[0]}/record.json"))
    return json.loads(newest.read_text()), used.ru_maxrss * 1024


def expected(project: Path, cost: dict[str, Any], name: str, value: int) -> tuple[float, float]:
    """Memory and seconds of an epoch that the record of `recipe cost` gives for another value of a setting."""
    sys.path[:0] = [str(project / "src"), str(project / "tools" / "recipe_kit")]
    from recipe_kit.cli import open_project
    from recipe_kit.commands import parse
    from recipe_kit.owner.engine.loop import epoch_plan
    from recipe_kit.owner.engine.splits import splits
    from recipe_kit.steps.cost import at

    found = open_project(parse(["audit", "--project", str(project), "--quiet", f"{name}={value}"]))
    train = splits(found)["train"]
    examples = found.task.examples(found.config, found.task.prepare(found.config, train), train)
    lengths = [1] * len(examples) if examples.lengths is None else examples.lengths.tolist()
    todo = [(len(rows), max(lengths[i] for i in rows.tolist())) for rows in epoch_plan(found.config, examples, 0)]
    seconds = sum(at(cost["seconds"], *batch) for batch in todo) + cost["points"][-1][3]
    return max(at(cost["memory"], *batch) for batch in todo), seconds


def measure(kind: str) -> None:
    """Print the lines of the table for a kind of data."""
    with tempfile.TemporaryDirectory() as folder:
        project, name, values = make(kind, Path(folder))
        for step in ("audit", "split"):
            call(project, step)
        cost = call(project, "cost")[0]["result"]
        for value in values:
            record, memory = call(project, "train", f"{name}={value}", "epochs=1", "--allow-multiple", "a measurement")
            curves = json.loads((project / "runs" / record["id"] / "curves.json").read_text())
            said = expected(project, cost, name, value)
            took = curves[0]["seconds"]
            print(
                f"| {kind}, {name} = {value} | {said[0] / 1e9:.2f} | {memory / 1e9:.2f} | {said[0] / memory - 1:+.0%}"
                f" | {said[1]:.3g} | {took:.3g} | {said[1] / took - 1:+.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:]:  # one kind of data: a project has the code of its own alone
        measure(sys.argv[1])
        sys.exit()
    calls = [[sys.executable, __file__, kind] for kind in ("tabular", "image", "text")]
    told = [subprocess.run(call, capture_output=True, text=True, check=True).stdout for call in calls]
    lines = [line for text in told for line in text.split("\n") if line.startswith("| ")]
    page = [
        "# What a run will cost",
        "",
        "`recipe cost` trains for a few steps at three or four batch sizes and lengths, and works out the others. Here it is run",
        "once a project, at the settings in the middle; then each line is a training of one epoch in a process of its own, on the CPU, with",
        "one thread. Memory is the most that Linux counts for the process, seconds are those of the processor. Made by",
        "`python bench/cost.py`: 12,000 flights, digits 0 to 2 at 64 pixels on a ResNet-18, docstrings on MiniLM.",
        "",
        "| run | GB said | GB | error | seconds of an epoch said | seconds | error |",
        "|---|---|---|---|---|---|---|",
        *lines,
    ]
    (ROOT / "docs" / "cost.md").write_text("\n".join(page) + "\n")
