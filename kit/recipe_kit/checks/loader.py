"""Where the time of a step goes: computing or waiting for data, against the ideal of batches that are there already."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import fmean, median

from ..owner.engine.distributed import SINGLE
from ..owner.engine.loop import epoch_plan, step, take
from ..owner.engine.optim import make_optimizer
from ..owner.task import Batch
from ..terminal import clock
from .check_result import CheckResult, check_result
from .context import Context

BATCHES, SECONDS = 20, 3.0  # looked at most; the clock is asked after each batch
IDLE = 0.2  # a device that waits longer than this share is used less than 80 %
LITTLE = 10.0  # seconds of waiting in the whole run that are not worth a word


def loader(context: Context) -> CheckResult:
    """The first batches as training takes them, then the same ones again from memory.

    The first batch is left out of the clock: it pays for starting workers and filling caches. Without workers every batch
    costs about the same, and the median is not moved by a hiccup; with workers they come in bursts, and the mean counts.
    """
    config = context.config
    middle: Callable[[list[float]], float] = fmean if config.workers else median
    model = context.fresh()
    optimizer = make_optimizer(config, context.task, model)
    todo = epoch_plan(config, context.train, 0)
    batches = SINGLE.shares(context.train, todo[: BATCHES + 1], 0, augment=True)
    kept: list[list[Batch]] = []
    waits, computing, again = list[float](), list[float](), list[float]()
    began = time.perf_counter()
    while (time.perf_counter() - began < SECONDS or len(kept) < 2) and (taken := take(batches, 1)):
        before = time.perf_counter()
        step(model, taken.batches, context.loss, optimizer, config)
        kept.append(taken.batches)
        waits.append(taken.seconds)
        computing.append(time.perf_counter() - before)
    for batch in kept[1:] or kept:
        before = time.perf_counter()
        step(model, batch, context.loss, optimizer, config)
        again.append(time.perf_counter() - before)
    wait, compute, ideal = (middle(times) for times in (waits[1:] or waits, computing[1:] or computing, again))
    share, whole = wait / (wait + compute), wait * len(todo) * config.epochs
    limit = "loading" if share > IDLE else "computing"
    run = f"{config.epochs} epochs take at most {clock((wait + compute) * len(todo) * config.epochs)} and validation"
    return check_result(
        "loader",
        f"a step takes {1000 * (wait + compute):.3g} ms: {1000 * compute:.3g} computing, {1000 * wait:.3g} ({share:.0%}) waiting"
        f" for data; {1000 * ideal:.3g} from batches in memory. {run}. The limit is {limit}{setting(context, limit)}",
        warn=limit == "loading" and whole > LITTLE,
        why="workers" if has_workers(context) else "alone",
        evidence={"share": share, "wait": wait, "compute": compute, "ideal": ideal, "batches": len(kept)},
        workers=config.workers,
        more=max(2, 2 * config.workers),
    )


def has_workers(context: Context) -> bool:
    """Whether the examples of this modality are made by worker processes at all."""
    return hasattr(context.train, "workers")


def setting(context: Context, limit: str) -> str:
    """What to try against it, where there is something."""
    config = context.config
    if limit == "loading":
        return f"; try workers={max(2, 2 * config.workers)}" if has_workers(context) else ""
    if context.device.type != "cuda":
        return ""
    return "; try precision=bf16" if config.precision == "fp32" else "" if config.compile else "; try compile=true"
