"""What training will cost, before it begins: memory and seconds of a step by batch size and length, and hours of the run."""

from __future__ import annotations

import argparse
import gc
import math
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..checks.context import Context, Rows, open_context
from ..owner.engine.loop import epoch_plan, fit
from ..owner.engine.losses import Loss
from ..owner.engine.memory import freed_kept
from ..owner.engine.resume import Progress
from ..owner.errors import UserError
from ..project import Project, Run
from ..step_monitor import StepMonitor
from ..terminal import clock

SECONDS, FEWEST, MOST = 3.0, 2, 30  # of a measurement: about so long, and so many steps
SEEN = 4  # batches of validation that are looked at where a step is slow: what `predict` takes at once
SHOWN = ((0.25, 1), (0.5, 1), (1, 1), (2, 1), (4, 1), (1, 0.5), (1, 2))  # times batch_size, times the greatest length


class Point(NamedTuple):
    """A measurement: seconds of a step, and of what follows an epoch; most bytes of the process, NaN where no system tells."""

    size: int
    length: int
    seconds: float
    tail: float
    memory: float


class Stopwatch(StepMonitor):
    """Seconds of the steps of the last epoch, and of what follows them. Gradients are looked at as in training, but once."""

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        super().on_start(model, loss, steps)
        self.every, self.first, self.ticks = steps, 1, [0.0]

    def on_step(self, step: int) -> None:
        super().on_step(step)
        self.ticks.append(time.perf_counter())

    def on_epoch(self, progress: Progress) -> None:
        self.each, self.tail = np.diff(self.ticks), time.perf_counter() - self.ticks[-1]
        self.ticks = [time.perf_counter()]


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Train for two epochs of a few steps at a few sizes, and work out all others from them."""
    config, task = project.config, project.task
    if task.final_baseline(config):
        raise UserError(f"cost is that of a network, and model = {config.model!r} is none")  # type: ignore[attr-defined]
    context = open_context(project)
    train = context.train
    points = measured(context, run.folder)
    size, longest, _, tail, _ = points[-1]
    seconds, memory = law(points, "seconds"), law(points, "memory")
    lengths = torch.ones(len(train)) if train.lengths is None or train.query is not None else train.lengths
    todo = [(len(rows), float(lengths[rows].max())) for rows in epoch_plan(config, train, 0)]
    epoch = sum(at(seconds, *batch) for batch in todo) + tail
    fits = (allowed() - memory[0]) / max(at(memory, 1, longest) - memory[0], 1)
    largest = None if math.isnan(fits) else int(min(max(fits, 0), len(train)))
    run.result |= {"points": points, "seconds": seconds, "memory": memory, "epoch": epoch, "largest": largest}
    project.say(f"  {'batch':>7}{'length':>8}{'GB':>8}{'seconds a step':>16}")
    for b, t in [(size * b, longest * t) for b, t in SHOWN if size * b >= 1 and (longest > 1 or t == 1)]:
        project.say(
            f"  {b:>7,.0f}{t if longest > 1 else '':>8}{at(memory, b, t) / 1e9:>8.2f}{at(seconds, b, t):>16.3g}"
        )
    whole = f"an epoch of {len(todo):,} batches {clock(epoch)}; {config.epochs}, at most {clock(epoch * config.epochs)}"
    words = (
        "all {:,} training examples fit into one batch"
        if largest == len(train)
        else "the largest batch that fits: about {:,}"
    )
    fitting = [] if largest is None else [words.format(largest)]
    project.say("\n".join(f"  {line}" for line in (*fitting, *attention(context), whole)))


def measured(context: Context, folder: Path) -> list[Point]:
    """Points around the batch size of the settings, whose own point is the last; larger ones where a step is quick."""
    size = context.config.batch_size
    first = measure(context, folder, max(size // 4, 1), 1).seconds  # warms up too
    places = [(size // 4, 0.5), (size, 0.5), (size // 4, 1.0)]
    if context.train.lengths is None:
        places = [(size // 4, 1.0), (4 * size if MOST * first < SECONDS else size // 2, 1.0)]
    todo = [(max(some, 1), share) for some, share in [*places, (size, 1.0)]]
    steps = [int(np.clip(SECONDS / first * size / some / 4, FEWEST, MOST)) for some, _ in todo]
    return [measure(context, folder, some, n, share) for (some, share), n in zip(todo, steps, strict=True)]


def measure(context: Context, folder: Path, size: int, steps: int, share: float = 1.0) -> Point:
    """Train with this batch size for so many steps, twice, on examples of this share of the greatest length."""
    train, val, length = context.train, context.val, 1
    rows = torch.randperm(len(train))[torch.arange(steps * size) % len(train)]
    if train.query is not None:
        rows = context.rows(steps * size)
    elif train.lengths is not None:
        row = (train.lengths - share * train.lengths.max()).abs().argmin()
        rows, length = row.expand(steps * size), int(train.lengths[row])
    seen = torch.arange(len(val) if steps == MOST or val.query is not None else min(len(val), SEEN * size))
    config = context.config.model_copy(update={"batch_size": size, "accumulate": 1, "epochs": 2})
    with freed_kept():  # what an earlier one left goes back to the system
        gc.collect()
    with suppress(OSError):  # from here on the most memory counts
        torch.cuda.reset_peak_memory_stats() if context.device.type == "cuda" else None
        Path("/proc/self/clear_refs").write_text("5")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        watch = Stopwatch(Path(name))
        fit(config, context.task, context.prep, Rows(train, rows), Rows(val, seen), Path(name), callbacks=[watch])
    cuda = context.device.type == "cuda"
    most = float(torch.cuda.max_memory_reserved()) if cuda else of_linux("/proc/self/status", "VmHWM")
    return Point(size, length, float(np.median(watch.each)), watch.tail * len(val) / len(seen), most)


def law(points: list[Point], name: str) -> np.ndarray:
    """c, a and b, none below 0, of c + size * (a * length + b * length^2) with least relative error; b = 0 without lengths."""
    known = np.array([getattr(point, name) for point in points])
    terms = np.array([[1.0, p.size * p.length, p.size * p.length**2 * (p.length > 1)] for p in points])
    return nnls(terms / known[:, None], np.ones(len(points)))[0] if np.isfinite(known).all() else np.full(3, math.nan)


def at(law: np.ndarray, size: float, length: float) -> float:
    """What the law says of a batch."""
    return float(np.dot(law, [1.0, size * length, size * length**2]))


def attention(context: Context) -> list[str]:
    """How much of the work grows with the square of the length, from the operations of one example long and half as long."""
    lengths = context.train.lengths
    if lengths is None:
        return []
    model, work = context.fresh().eval(), list[Any]()
    for wanted in (lengths.max(), lengths.max() // 2):
        row = (lengths - wanted).abs().argmin()
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model(context.batch(row[None]).x)
        work.append((counter.get_total_flops() / int(lengths[row]), int(lengths[row])))
    (whole, long), (half, short) = work
    share = max((whole - half) / (long - short) * long / whole, 0.0) if long > short else 0.0
    told = f"{share:.0%} of the work at {long} tokens, and {2 * share / (1 + share):.0%} at {2 * long}"
    return [f"attention between tokens grows with the square of the length: {told}"] if share else []


def allowed() -> float:
    """Bytes that this process may have: those that are free, and its own."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    free = of_linux("/proc/meminfo", "MemAvailable") + of_linux("/proc/self/status", "VmRSS")
    with suppress(OSError, ValueError):
        return min(free, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return free


def of_linux(path: str, name: str) -> float:
    """Bytes by name as Linux tells them."""
    with suppress(OSError, StopIteration):
        return 1024 * next(float(line.split()[1]) for line in open(path) if line.startswith(f"{name}:"))
    return math.nan
