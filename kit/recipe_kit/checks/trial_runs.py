"""Checks on the loop by running it: two short epochs twice, and once resumed from the middle; compare everything."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..nonfinite import Autopsy
from ..owner.config import Config
from ..owner.engine.loop import Progress, fit, losses_of, plan, predict
from ..owner.engine.optim import lr_factor
from ..owner.task import Examples
from .check_result import CheckResult, check_result
from .context import Context, Rows

BATCHES = 4  # per epoch of the short runs


def trial_runs(context: Context) -> list[CheckResult]:
    """Run the real `fit` for two epochs on a few batches: twice, and once resumed from the middle; compare everything."""
    config = context.config.model_copy(update={"epochs": 2, "patience": 0, "tracker": "none", "compile": False})
    small = Context(
        config, context.task, context.prep, context.data, _few(context, context.train), _few(context, context.val)
    )
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run(small, Path(folder) / name) for name in ("first", "second")]
        resumed = _resume(small, Path(folder) / "first", Path(folder) / "resumed")
        watched = _watch_modes(small, runs[0][0])
    (model, progress), (again, repeated) = runs
    return [
        _same("repeatable", (model, progress), (again, repeated), "two runs with one seed"),
        _same("resume", (model, progress), resumed, "a run resumed at half time and one that was not stopped"),
        lr_as_planned(small.config, progress, progress.step),
        seen(due(small.config, small.train), progress),
        _replay(small, model, progress),
        watched,
    ]


def _few(context: Context, examples: Examples) -> Rows:
    """The first rows of a part, enough for BATCHES batches; whole queries for ranking."""
    n = min(len(examples), BATCHES * min(context.few, 64))
    if examples.query is None:
        return Rows(examples, torch.arange(n))
    query = examples.query.cpu()
    return Rows(examples, torch.isin(query, query[:n].unique()).nonzero().squeeze(1))


def _run(small: Context, folder: Path, resume: bool = False) -> tuple[nn.Module, Progress]:
    folder.mkdir(exist_ok=True)
    config = small.config.model_copy(
        update={"batch_size": min(small.config.batch_size, max(len(small.train) // BATCHES, 2))}
    )
    return fit(config, small.task, small.prep, small.train, small.val, folder, resume, [Autopsy(folder, config)])


def _resume(small: Context, done: Path, folder: Path) -> tuple[nn.Module, Progress]:
    """Resume from the checkpoint at the end of the first of two epochs."""
    shutil.copytree(done, folder)
    saved = sorted((folder / "checkpoints").glob("last-*"))
    shutil.rmtree(saved[-1])
    for best in (folder / "checkpoints").glob("best-*"):
        if best.name.removeprefix("best") > saved[0].name.removeprefix("last"):
            shutil.rmtree(best)
    return _run(small, folder, resume=True)


def _same(check: str, one: tuple[nn.Module, Progress], other: tuple[nn.Module, Progress], what: str) -> CheckResult:
    weights = [(a, b) for a, b in zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True)]
    apart = max((float((a.double() - b.double()).abs().max()) for a, b in weights if a.numel()), default=0.0)
    curves = [[row[key] for p in (one[1], other[1]) for row in p.curves] for key in ("train_loss", "val_loss")]
    lost = max(abs(values[i] - values[i + len(values) // 2]) for values in curves for i in range(len(values) // 2))
    exact = apart == 0.0 and lost == 0.0
    gpu = next(one[0].parameters()).device.type != "cpu"
    return check_result(
        check,
        f"{what} differ by {apart:.1e} in a weight and {lost:.1e} in a loss",
        fail=not exact and not gpu,
        warn=not exact,
        evidence={"weights": apart, "loss": lost},
        gpu=" (some CUDA kernels cannot; then the last digits differ)" if gpu else "",
    )


def lr_as_planned(config: Config, progress: Progress, steps: int) -> CheckResult:
    """The learning rate at the end of each epoch against the plan over `steps`, give or take a quarter of an epoch: the number of
    batches varies where whole queries are packed anew in each epoch."""
    per_epoch = progress.step / max(progress.epoch, 1)

    def lr(epoch: int, shift: float) -> float:
        step = round((epoch + 1 + shift) * per_epoch) - 1
        return config.lr * lr_factor(config, min(max(step, 0), steps - 1), steps)

    planned = [lr(e, 0) for e in range(progress.epoch)]
    actual = [row["lr"] for row in progress.curves]
    around = [[lr(e, shift) for shift in (-0.25, 0, 0.25)] for e in range(progress.epoch)]
    slack = [1e-3 * (p + config.lr) for p in planned]
    apart = [e for e, a in enumerate(actual) if not min(around[e]) - slack[e] <= a <= max(around[e]) + slack[e]]
    shown = apart[:3] or range(min(3, progress.epoch))
    return check_result(
        "lr as planned",
        "lr at the ends of epochs: " + ", ".join(f"{actual[e]:.2e} ({e})" for e in shown),
        fail=bool(apart) and config.schedule != "plateau",
        evidence={"planned": planned, "actual": actual},
        plan=", ".join(f"{planned[e]:.2e} ({e})" for e in shown),
    )


def due(config: Config, train: Examples) -> int:
    """Examples of an epoch: each once, or with oversampling all classes as often as the most frequent."""
    if config.class_weights != "oversample" or config.task not in ("binary", "multiclass") or train.query is not None:
        return len(train)
    counts = train.y.unique(return_counts=True)[1]
    return len(counts) * int(counts.max())


def seen(n: int, progress: Progress) -> CheckResult:
    """Every epoch trains on every example once."""
    counts = sorted({row["seen"] for row in progress.curves})
    return check_result(
        "examples seen",
        f"{', '.join(map(str, counts))} examples trained on per epoch",
        fail=counts != [n],
        evidence={"seen": counts},
        n=n,
    )


def _replay(small: Context, model: nn.Module, progress: Progress) -> CheckResult:
    """The validation loss of the restored model, recomputed example by example over the whole split."""
    each = losses_of(small.loss, predict(model, small.val, small.config), small.val)
    now, low = float(each.mean(dtype=np.float64)), min(row["val_loss"] for row in progress.curves)
    return check_result(
        "evaluation replay",
        f"the kept model has validation loss {now:.5f}, the curve's lowest is {low:.5f}",
        fail=not math.isclose(now, low, rel_tol=1e-3, abs_tol=1e-5),
        evidence={"now": now, "curve": low},
    )


def _watch_modes(small: Context, model: nn.Module) -> CheckResult:
    """Evaluation runs every module in evaluation mode, leaves the model as it was, and reads the same inputs each time."""
    modes: list[bool] = []
    model.train()
    hook = model.register_forward_pre_hook(lambda module, _: modes.append(any(m.training for m in module.modules())))
    predict(model, small.val, small.config)
    hook.remove()
    batches = [next(iter(small.val.batches(plan(small.val, 8)[:1], epoch))) for epoch in (0, 1)]
    tensors: list[list[Any]] = [list(b.x.values()) if isinstance(b.x, dict) else [b.x] for b in batches]
    stable = all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))
    observed = (
        "evaluation inputs differ between two readings"
        if not stable
        else "modules in training mode during evaluation"
        if any(modes)
        else (
            "evaluation leaves the model in evaluation mode"
            if not model.training
            else "evaluation mode on, then off again; inputs the same each time"
        )
    )
    return check_result(
        "evaluation mode",
        observed,
        fail=any(modes) or not model.training or not stable,
        why="mode" if stable else "inputs",
    )
