"""Our loop against a loop written by hand, Accelerate, the HF Trainer, Lightning and fastai, on the same work, in one run.

python bench/loops.py [ROUNDS [WORK ...]]     writes its parts of docs/benchmarks.md; a few minutes a round on one core

Competitors are no dependencies of the project; one that is not installed is left out, with a line that says so. To have them:
`pip install lightning` and `pip install --no-deps fastai fastcore fasttransform fastdownload fastprogress "plum-dispatch<2.10"
python-fasthtml python-multipart beartype itsdangerous` (with its own dependencies fastai also installs spaCy, which nothing here uses).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from interleave import Turns, side_by_side
from memory import megabytes

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "tests")]
KNOWN = ["year", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "time_hour"]

# name -> (what it is, optimizer steps, steps in a turn, settings)
WORKS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "tiny MLP": (
        "flights, batches of 64, 3 layers of 64 units",
        400,
        10,
        {"task": "binary", "target": "late", "iid": "a measurement", "drop": KNOWN, "hidden": 64, "batch_size": 64},
    ),
    "ResNet-18": (
        "digits at 64 pixels, batches of 32",
        20,
        1,
        {"task": "multiclass", "target": "digit", "iid": "a measurement", "weights": "none", "size": 64, "epochs": 100},
    ),
    "MiniLM": (
        "docstrings at length 64, batches of 16",
        12,
        1,
        {
            "task": "multiclass",
            "target": "library",
            "data": "data/train.csv",
            "iid": "a measurement",
            "max_length": 64,
            "batch_size": 16,
            "lr": 2e-5,
            "epochs": 100,
        },
    ),
}
# Of every process: one thread at work, nothing on a GPU, nothing written beside the code.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}
FOLDERS = {"tiny MLP": "tabular", "ResNet-18": "image", "MiniLM": "text"}


def write_data(folder: Path) -> None:
    """The data of the three works, from installed packages."""
    import data

    for name in FOLDERS.values():
        (folder / name / "data").mkdir(parents=True)
    data.flights(folder / "tabular" / "data" / "train.csv")
    data.digit_images(folder / "image" / "data" / "images")
    data.docstrings(folder / "text" / "data" / "train.csv", letters=1000)


def make_work(name: str, folder: Path) -> Any:
    """The project of a work, its first rows encoded by the project's own code, and the same as plain tensors."""
    import importlib

    import torch
    from my_model.engine.loop import plan
    from my_model.engine.seed import seed_everything
    from recipe_kit.project import Project
    from ways import Work

    recipe = importlib.import_module(f"my_model.{FOLDERS[name]}.recipe")
    _, steps, _, settings = WORKS[name]
    if name == "MiniLM":
        import data

        settings = {**settings, "encoder": str(data.minilm())}
    config = recipe.Config(**settings, tracker="none", device="cpu", modality=FOLDERS[name])
    project = Project(folder / FOLDERS[name], config, recipe.TASK, quiet=True)
    n = steps * config.batch_size
    rows = np.arange(len(project.data))
    if name == "MiniLM":
        rows = np.flatnonzero((project.data.frame["text"].str.len_chars() >= 500).to_numpy())
    assert len(rows) > n, f"{name}: {len(rows)} rows are too few for {steps} steps"
    prep = recipe.TASK.prepare(config, project.data.take(rows[:n]))
    train, val = (recipe.TASK.examples(config, prep, project.data.take(part)) for part in (rows[:n], rows[n : n + 64]))
    everything = next(iter(train.batches([torch.arange(n)])))
    seed_everything(0, False)
    network = quiet(recipe.TASK.model(config, prep))
    order = torch.cat(plan(train, config.batch_size, config.seed, 0))
    return Work(project, prep, train, val, network, everything.x, everything.y, order)


def quiet(network: Any) -> Any:
    """Dropout off: its draws would make equal weights a matter of luck."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return network


def one_way(line: Connection, work_name: str, name: str, folder: Path) -> dict[str, Any]:
    """Train in one way, in turns with the others: seconds and pages a step of every block, weights before and after, peak."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from ways import WAYS

    torch.set_num_threads(1)
    work = make_work(work_name, folder)
    first = flat(work.network)
    turns = Turns(line, WORKS[work_name][2])
    register_optimizer_step_post_hook(turns.after_step)
    (folder / f"out-{name}").mkdir(exist_ok=True)
    WAYS[name][0](work, folder / f"out-{name}")
    assert turns.steps == len(work.order) // work.size, turns.steps
    return {
        "blocks": turns.seconds,
        "pages": turns.pages,
        "first": first,
        "last": flat(work.network),
        "memory": megabytes("VmHWM"),
    }


def one_round(work: str, names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Train once in every way; how far their weights end from the bare loop's, as a share of what training moved those."""
    from ways import BARE, OURS

    found = side_by_side(one_way, {name: (work, name, folder) for name in names})
    bare = found[BARE]
    moved = np.linalg.norm(bare["last"] - bare["first"])
    for way in found.values():
        assert (way["first"] == bare["first"]).all(), "the ways start from different weights"
        way["apart"] = float(np.linalg.norm(way["last"] - bare["last"]) / moved)
    if apart := found[OURS]["apart"]:
        raise SystemExit(f"{work}: our weights end {apart:.1e} away from those of the bare loop")
    return {name: {key: way[key] for key in ("blocks", "pages", "apart", "memory")} for name, way in found.items()}


def flat(network: Any) -> Any:
    """All weights as one vector, numpy float64."""
    return np.concatenate([p.detach().double().flatten().numpy() for p in network.parameters()])


def measure(rounds: int, works: list[str], folder: Path) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Every work `rounds` times with all ways in turns. What there is of a work is handed out after each."""
    from ways import WAYS

    names = [name for name, (_, package) in WAYS.items() if not package or find_spec(package)]
    for name in WAYS.keys() - set(names):
        print(f"{name} is not installed and left out; see the top of {Path(__file__).name}", flush=True)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {work: {name: [] for name in names} for work in works}
    for number in range(rounds):
        for work, runs in found.items():
            for name, run in one_round(work, names, folder).items():
                runs[name].append(run)
            told = ", ".join(f"{name} {1e6 * statistics.median(run[-1]['blocks']):,.0f}" for name, run in runs.items())
            print(f"round {number + 1}, {work}, us a step: {told}", flush=True)
            yield work, runs


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One row a way: a step, what it takes more than the bare loop's in the same turn, its speed, ours, pages, memory, weights."""
    from ways import BARE, OURS

    lines = [
        "| way | a step | over bare, direct indexing | speed against bare [95 %] | ours against it [95 %]"
        " | pages a step | peak memory | weights apart |",
        "|---|---|---|---|---|---|---|---|",
    ]
    blocks = {way: np.array([run["blocks"] for run in runs]) for way, runs in found.items()}  # [rounds, turns]
    for way, runs in found.items():
        own, bare, ours = blocks[way], blocks[BARE], blocks[OURS]
        step, over = (float(np.median(np.median(part, 1))) for part in (own, own - bare))
        pages = statistics.median(number for run in runs for number in run["pages"])
        lines.append(
            f"| {way} | {shown(step)} | {shown(over)} | {interval(bare / own)} | {interval(own / ours)}"
            f" | {pages:,.0f} | {statistics.median(run['memory'] for run in runs):,.0f} MB | {max(run['apart'] for run in runs):.0e} |"
        )
    return lines


def interval(ratios: np.ndarray) -> str:
    """Mean over the rounds of the medians over a round's turns, with Student's interval; ratios [rounds, turns]."""
    from recipe_kit.experiments import paired_interval

    medians = np.median(ratios, 1)
    if len(medians) < 2:
        return f"**{medians[0]:.3f}**"
    return "**{value:.3f}** [{low:.3f}, {high:.3f}]".format(**paired_interval(medians))


def shown(seconds: float) -> str:
    """In the unit that reads best."""
    return f"{1e6 * seconds:,.0f} µs" if abs(seconds) < 0.01 else f"{1000 * seconds:,.0f} ms"


def write(work: str, ways: dict[str, list[dict[str, Any]]]) -> None:
    """How it is measured, and the section of this work, from what has been measured so far."""
    from page import replace_part

    said = [
        "Same network, same first weights, same batches in the same order, same AdamW (one fused kernel), clipping and rates, one",
        f"thread of {os.cpu_count()} shared cores. Every way is a process of its own; they train in turns, a few steps each, in an order drawn anew",
        "for every turn, so that a busy machine and warm caches hit all alike. A step is processor time from update to update: loading",
        "and logging are in it. Every turn of a way is held against the other's turn a few seconds before or after it; the median over",
        "the turns of a round, and the mean over rounds. Two processes of the same way differ by a few percent: take the interval, not",
        "the mean.",
        "",
        "Ours is the project's `fit` with its default settings, planned for 100 epochs and stopped after one; at 60 steps of such a run",
        "it looks closely at gradients and updates, which costs a tenth of a step on MiniLM: the median leaves those out. Speed is the",
        "bare loop's step over its own: 1 is the loop written by hand with each batch one index operation, 0.5 half as fast; ours",
        "against it is its step over ours. Ours scales pictures and pads texts batch by batch; the others get them scaled and padded.",
        "Memory is the peak of the process, imports and data included.",
        "",
        "Ours has freed memory kept while it trains (`engine/memory.py`). By default the C library of Linux may give large pieces back to",
        "the system and ask for them again in every step, as pages of 4 kB that are each cleared before they are handed out: *pages a",
        "step*, the median over all turns. Whether it does hangs on what was allocated before, so that it changes from round to round.",
        "*Bare, memory kept* is the loop written by hand with the same: what ours differs from it by is the loop itself.",
        "",
        "Weights apart: largest distance of the final weights from those of the bare loop, as a share of what training moved them;",
        "the script fails if ours are not the same to the last bit. Accelerate, Trainer and fastai add up the norm of the gradients",
        "in another order of the weights, so its last digit differs, and what is clipped by it; training makes that grow.",
    ]
    replace_part("The loop", "python bench/loops.py", said)
    what, steps, _, _ = WORKS[work]
    n, load = len(next(iter(ways.values()))), os.getloadavg()[2]
    head = f"{what[0].upper()}{what[1:]}, {steps} steps a round, n = {n} rounds, at a load of {load:.0f}."
    replace_part(f"The loop: {work}", f"python bench/loops.py {n} '{work}'", [head, "", *table(ways)])


def main(rounds: int, works: list[str]) -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as name:
        from conftest import link

        link(Path(name))
        sys.path.insert(0, name)
        os.environ.update(SETTINGS)
        write_data(Path(name))
        for work, ways in measure(rounds, works, Path(name)):
            write(work, ways)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:] or list(WORKS))
