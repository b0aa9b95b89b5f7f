"""Learning-rate range test (Smith 2017): raise the rate from 1e-7 until the loss leaves, and stay below."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks.check_result import CheckResult, check_result
from ..checks.context import Context, open_context
from ..owner.engine.loop import NonFinite, autocast, step
from ..owner.engine.optim import make_optimizer, set_lr
from ..owner.task import Batch
from ..project import Project, Run

START, END, STEPS, SEEDS = 1e-7, 10.0, 120, 3
FEWER = 60  # steps for a large network, on fewer examples each: still seven a decade, in a twelfth of the time


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three seeds; each suggests a tenth of the learning rate with the lowest loss; the answer is their interval."""
    context = open_context(project)
    size = context.few
    steps = STEPS if size == project.config.batch_size else FEWER
    curves = [sweep(context, project.config.seed + i, steps, size) for i in range(SEEDS)]
    run.result["curves"] = curves
    picks = [curve["suggestion"] for curve in curves]
    run.result |= {"low": min(picks), "high": max(picks), "suggestion": float(np.exp(np.mean(np.log(picks))))}
    run.add(agreement(project.config.lr, run.result), show=True)


def sweep(context: Context, seed: int, steps: int, size: int) -> dict[str, Any]:
    """One sweep of `steps` steps over `size` examples each: rates, losses and the suggestion "lowest / 10". Stops when the
    loss is four times its start.

    The loss is that of one fixed batch after each step, not of the batch just trained on: it carries no noise from the
    draw of batches, so the lowest point means something even where the signal is weak. "Lowest / 10" gave no bad run of
    32 on known-good projects, where valley gave 21 and steepest 16.
    """
    model = context.fresh(seed)
    config = context.config.model_copy(update={"weight_decay": 0.0})
    optimizer = make_optimizer(config, context.task, model)
    probe = context.batch(context.rows(2 * size, seed))
    lrs, losses = [], []
    for i, batch in enumerate(context.stream(steps, size, seed)):
        lr = START * (END / START) ** (i / (steps - 1))
        set_lr(optimizer, lr)
        try:
            step(model, [batch], context.loss, optimizer, config)
        except NonFinite:
            break
        lrs.append(lr)
        losses.append(_loss(context, model, probe))
        if not losses[-1] < 4 * losses[0]:
            break
    return {"seed": seed, "lr": lrs, "loss": losses, "suggestion": lrs[int(np.nanargmin(losses))] / 10}


@torch.no_grad()
def _loss(context: Context, model: nn.Module, probe: Batch) -> float:
    model.eval()
    with autocast(context.config, context.device):
        output = model(probe.x)
    model.train()
    return float(context.loss(output.float(), probe).mean())


def agreement(lr: float, result: dict[str, Any]) -> CheckResult:
    """Whether the seeds agree to a decade, and where the configured learning rate lies."""
    low, high, suggestion = result["low"], result["high"], result["suggestion"]
    apart = math.log10(high / low)
    outside = lr > 10 * high or lr < low / 30
    disagree = apart > 1
    return check_result(
        "learning rate",
        f"{SEEDS} seeds suggest {low:.1e} to {high:.1e}; lr = {lr:g}",
        warn=outside or disagree,
        why="disagree" if disagree else "outside",
        evidence={"low": low, "high": high},
        lr=lr,
        suggestion=suggestion,
        command="recipe lr-find batch_size=256" if disagree else f"recipe train lr={suggestion:.1e}",
    )
