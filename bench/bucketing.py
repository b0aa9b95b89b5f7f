"""What it saves to put texts of like length together: sequences a second and validation loss, against three ways to pad.

python bench/bucketing.py [ROUNDS]     writes its part of docs/benchmarks.md (about 4 minutes a round on one core)

The docstring set of the demo, MiniLM, one epoch with every weight trained. Every round draws texts and order of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from interleave import Turns, side_by_side

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "demo")]
TRAIN, VAL, BATCH, LENGTH = 640, 320, 16, 128


def bucketed(examples: Any) -> None:
    """Ours, as it is."""


def longest_of_batch(examples: Any) -> None:
    """Random batches, each padded to its own longest text: what the HF collator does by default."""
    examples.lengths = None


def longest_of_all(examples: Any) -> None:
    """Every text padded to the longest of the set (cut at max_length): what a fixed shape costs."""
    import torch

    longest, padded = int(examples.lengths.max()), examples._padded
    examples.lengths = None

    def wide(rows: Any) -> Any:
        x = padded(rows)
        room = longest - x["input_ids"].shape[1]
        pads = {"input_ids": examples.prep["pad"], "attention_mask": 0}
        return {name: torch.nn.functional.pad(t, (0, room), value=pads[name]) for name, t in x.items()}

    examples._padded = wide


WAYS = {
    "bucketed by length": bucketed,
    "padded to the longest of a random batch": longest_of_batch,
    "padded to the longest of all": longest_of_all,
}


def make_project(folder: Path, seed: int) -> Any:
    """The docstrings in `folder`, and MiniLM trained for one epoch."""
    import data
    from my_model.text.recipe import TASK, Config
    from recipe_kit.project import Project

    config = Config(
        task="multiclass", target="library", iid="a measurement", encoder=str(data.minilm()), max_length=LENGTH,
        batch_size=BATCH, epochs=1, lr=1e-4, seed=seed, tracker="none", device="cpu",
    )  # fmt: skip
    return Project(folder, config, TASK, quiet=True)


def encode(project: Any) -> tuple[dict[str, Any], Any, Any]:
    """Preprocessing, training and validation texts, drawn by the seed."""
    task, config = project.task, project.config
    rows = np.random.default_rng(config.seed).permutation(len(project.data))[: TRAIN + VAL]
    train, val = (project.data.take(part) for part in np.split(rows, [TRAIN]))
    prep = task.prepare(config, train)
    return prep, task.examples(config, prep, train), task.examples(config, prep, val)


def one_way(line: Connection, way: str, folder: Path, seed: int) -> dict[str, float]:
    """One epoch, a step in turn with the others: sequences a processor second, share of padding, and what came of it.

    The first step is not counted: it holds the setting up.
    """
    import torch
    from my_model.engine.loop import fit, plan
    from my_model.engine.seed import seed_everything
    from torch.optim.optimizer import register_optimizer_step_post_hook

    torch.set_num_threads(1)
    project = make_project(folder, seed)
    prep, train, val = encode(project)
    WAYS[way](train)
    real, tokens, sizes = train.batches, [0, 0], []

    def counted(todo: Any, epoch: int = 0, augment: bool = False) -> Any:
        for batch in real(todo, epoch, augment):
            tokens[0] += batch.x["attention_mask"].numel()
            tokens[1] += int(batch.x["attention_mask"].sum())
            sizes.append(len(batch.y))
            yield batch

    train.batches = counted
    seed_everything(0, False)
    turns = Turns(line, 1)
    register_optimizer_step_post_hook(turns.after_step)
    _, progress = fit(project.config, project.task, prep, train, val, project.begin("train").folder)
    assert sum(map(len, plan(train, BATCH, project.config.seed, 0))) == sum(sizes) == TRAIN
    row = progress.curves[0]
    return {
        "rate": sum(sizes[1:]) / sum(turns.seconds),
        "padding": 1 - tokens[1] / tokens[0],
        "loss": row["val_loss"],
        "accuracy": row["val_metric"],
    }


def table(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """One row a way: throughput and its range, gain of bucketing over it round by round, padding, loss and how far that of
    bucketing is above it."""
    from recipe_kit.experiments import paired_interval

    bucketing = np.array([run["loss"] for run in found["bucketed by length"]])
    ours = [run["rate"] for run in found["bucketed by length"]]
    lines = [
        "| batches | sequences a second, median | range | bucketing is faster by | padding | validation loss, mean (sd)"
        " | bucketing's is higher by [95 %] | accuracy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, runs in found.items():
        rates = [run["rate"] for run in runs]
        gains = sorted(a / b for a, b in zip(ours, rates, strict=True))
        gain = (
            "" if way == "bucketed by length" else f"{statistics.median(gains):.2f} ({gains[0]:.2f} to {gains[-1]:.2f})"
        )
        loss = [run["loss"] for run in runs]
        higher = (
            "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**paired_interval(bucketing - np.array(loss)))
            if gain
            else ""
        )
        lines.append(
            f"| {way} | {statistics.median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} | {gain}"
            f" | {statistics.mean(r['padding'] for r in runs):.0%} | {statistics.mean(loss):.3f} ({statistics.stdev(loss):.3f}) | {higher}"
            f" | {statistics.mean(r['accuracy'] for r in runs):.3f} |"
        )
    return lines


def main(rounds: int) -> None:
    """Every way in every round, in turns."""
    import data
    from page import replace_part

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        from conftest import link

        link(Path(name))
        sys.path.insert(0, name)
        (Path(name) / "data").mkdir()
        data.docstrings(Path(name) / "data" / "train.csv")
        for seed in range(rounds):
            for way, run in side_by_side(one_way, {way: (way, Path(name), seed) for way in WAYS}).items():
                found[way].append(run)
                print(f"round {seed}, {way}: {run}", flush=True)
        lines = [
            f"The docstring set of the demo, {TRAIN} texts to learn from and {VAL} to watch, MiniLM with all weights",
            f"trained for one epoch, at most {LENGTH} tokens, batches of {BATCH}; one thread, processor time of the training steps, n = {rounds} rounds,",
            "each with texts drawn anew. Every way is a process of its own, and they make their steps in turns.",
            "",
            *table(found),
        ]
    replace_part("Text bucketing", "python bench/bucketing.py", lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
