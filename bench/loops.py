"""Our loop against a loop written by hand, Accelerate, the HF Trainer, Lightning and fastai, on the same work, in one run.

python bench/loops.py [ROUNDS [WORK ...]]     writes its parts of docs/benchmarks.md; about 5 minutes a round on one core,
                                              and once as much for the memory

Rivals are no dependencies of the project; one that is not installed is left out, with a line that says so. To have them:
`pip install lightning` and `pip install --no-deps fastai fastcore fasttransform fastdownload fastprogress "plum-dispatch<2.10"
python-fasthtml` (with its own dependencies fastai also installs spaCy, which nothing here uses).
"""

from __future__ import annotations

import copy
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package}}"
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "demo"), str(ROOT / "tests")]
KNOWN = ["year", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "time_hour"]

# name -> (what it is, optimiser steps, steps in a turn, knobs)
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

    import numpy as np
    import torch
    from code_of_template.engine.loop import plan
    from code_of_template.engine.project import Project
    from code_of_template.engine.seed import seed_everything
    from ways import Work

    recipe = importlib.import_module(f"code_of_template.{FOLDERS[name]}.recipe")
    _, steps, _, knobs = WORKS[name]
    if name == "MiniLM":
        import data

        knobs = {**knobs, "encoder": str(data.minilm())}
    config = recipe.Config(**knobs, tracker="none", device="cpu", modality=FOLDERS[name])
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


def one_round(work_name: str, names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Train once in every way, in turns, in this process: seconds a step of every block, and how far weights end apart."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from turns import Turns
    from ways import WAYS

    torch.set_num_threads(1)
    work = make_work(work_name, folder)
    first = flat(work.network)
    turns = Turns(names, WORKS[work_name][2])
    register_optimizer_step_post_hook(turns.after_step)
    # Inputs of their own: else who comes after another finds the rows of the batch in the cache.
    own = {name: (copy.deepcopy(work.network), copy.deepcopy(work.x), work.y.clone()) for name in names}
    works = {name: replace(work, network=network, x=x, y=y) for name, (network, x, y) in own.items()}
    threads = []
    for name in names:
        (folder / f"out-{name}").mkdir(exist_ok=True)
        body = functools.partial(WAYS[name][0], works[name], folder / f"out-{name}")
        threads.append(threading.Thread(target=turns.take_part, args=(name, body), name=name))
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert set(turns.steps.values()) == {len(work.order) // work.size}, turns.steps
    bare = flat(works.get("bare, direct indexing", works[names[0]]).network)
    apart = {n: float((flat(w.network) - bare).norm() / (bare - first).norm()) for n, w in works.items()}
    if apart.get("this template"):
        raise SystemExit(f"{work_name}: our weights end {apart['this template']:.1e} away from those of the bare loop")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if len(names) == 1 else 0.0
    return {name: {"blocks": turns.seconds[name], "apart": apart[name], "memory": peak} for name in names}


def flat(network: Any) -> Any:
    """All weights as one vector."""
    import torch

    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


def child(work_name: str, names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """`one_round` in a process of its own, with one thread at work."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = [sys.executable, __file__, "--one", work_name, str(folder), *names]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{work_name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(rounds: int, works: list[str], folder: Path) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Every work `rounds` times with all ways in turns; then once in every way alone, for its memory. What there is of a
    work is handed out whenever something was added."""
    from ways import WAYS

    names = [name for name, (_, package) in WAYS.items() if not package or find_spec(package)]
    for name in WAYS.keys() - set(names):
        print(f"{name} is not installed and left out; see the top of {Path(__file__).name}", flush=True)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {work: {name: [] for name in names} for work in works}
    for number in range(rounds):
        for work, runs in found.items():
            for name, run in child(work, names, folder).items():
                runs[name].append(run)
            told = ", ".join(f"{name} {1e6 * statistics.median(run[-1]['blocks']):,.0f}" for name, run in runs.items())
            print(f"round {number + 1}, {work}, us a step: {told}", flush=True)
            yield work, runs
    for work, runs in found.items():
        for name in names:
            runs[name][-1]["memory"] = child(work, [name], folder)[name]["memory"]
        yield work, runs


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One row a way: a step, what it takes more than the bare loop's in the same turn, its speed, memory, weights."""
    lines = [
        "| way | a step | over bare, direct indexing | speed against it [95 %] | lowest to highest | peak memory | weights apart |",
        "|---|---|---|---|---|---|---|",
    ]
    bare = [run["blocks"] for run in found["bare, direct indexing"]]
    for way, runs in found.items():
        rounds = [list(zip(b, run["blocks"], strict=True)) for b, run in zip(bare, runs, strict=True)]
        step = statistics.median(statistics.median(run["blocks"]) for run in runs)
        over = statistics.median(statistics.median(own - b for b, own in turns) for turns in rounds)
        ratios = [statistics.median(b / own for b, own in turns) for turns in rounds]
        lines.append(
            f"| {way} | {shown(step)} | {shown(over)} | {interval(ratios)} | {min(ratios):.3f} to {max(ratios):.3f}"
            f" | {f'{memory:,.0f} MB' if (memory := runs[-1]['memory']) else ''} | {max(r['apart'] for r in runs):.0e} |"
        )
    return lines


def interval(ratios: list[float]) -> str:
    """Mean over the rounds, with Student's interval."""
    import numpy as np
    from code_of_template.engine.experiments import paired_interval

    if len(ratios) < 2:
        return f"**{ratios[0]:.3f}**"
    return "**{value:.3f}** [{low:.3f}, {high:.3f}]".format(**paired_interval(np.array(ratios)))


def shown(seconds: float) -> str:
    """In the unit that reads best."""
    return f"{1e6 * seconds:,.0f} µs" if abs(seconds) < 0.01 else f"{1000 * seconds:,.0f} ms"


def write(work: str, ways: dict[str, list[dict[str, Any]]]) -> None:
    """How it is measured, and the section of this work, from what has been measured so far."""
    from page import replace_part

    said = [
        "Same network, same first weights, same batches in the same order, same AdamW (one fused kernel), clipping and rates, one",
        f"thread of {os.cpu_count()} shared cores. All ways train in turns, a few steps each, in an order drawn anew for every turn, so that a busy",
        "machine and warm caches hit all alike. A step is processor time from update to update: loading and logging are in it. Every",
        "turn of a way is held against the bare loop's turn a few seconds before or after it; the median over the turns of a round,",
        "which is a process of its own, and the mean over rounds. On the large networks rounds differ by a few percent, whichever way",
        "is held against the bare loop; of ways whose intervals overlap none is ahead.",
        "",
        "Ours is the project's `fit` with its default knobs, planned for 100 epochs and stopped after one; at 60 steps of such a run",
        "it looks closely at gradients and updates, which costs a tenth of a step on MiniLM: the median leaves those out. Speed is the",
        "bare loop's step over its own: 1 is the loop written by hand with each batch one index operation, 0.5 half as fast. Ours scales",
        "pictures and pads texts batch by batch; the others get them scaled and padded. Memory is the peak of a process that trains in",
        "that way alone, imports and data included.",
        "",
        "Weights apart: largest distance of the final weights from those of the bare loop, as a share of what training moved them;",
        "the script fails if ours are not the same to the last bit. Accelerate, Trainer and fastai add up the norm of the gradients",
        "in another order of the weights, so its last digit differs, and what is clipped by it; training makes that grow.",
    ]
    replace_part("The loop", "python bench/loops.py", said)
    what, steps, _, _ = WORKS[work]
    n, load = len(ways["this template"]), os.getloadavg()[2]
    head = f"{what[0].upper()}{what[1:]}, {steps} steps a round, n = {n} rounds, at a load of {load:.0f}."
    replace_part(f"The loop: {work}", f"python bench/loops.py {n} '{work}'", [head, "", *table(ways)])


def main(rounds: int, works: list[str]) -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "code_of_template").symlink_to(PACKAGE)
        sys.path.insert(0, name)
        write_data(Path(name))
        for work, ways in measure(rounds, works, Path(name)):
            write(work, ways)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one_round(sys.argv[2], sys.argv[4:], Path(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:] or list(WORKS))
