"""Learning-rate range test (Smith 2017): raise the rate from 1e-7 until the loss leaves, and stay below."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks.bench import Bench
from ..checks.finding import Finding, finding
from ..engine.loop import NonFinite, autocast, step
from ..engine.optim import make_optimiser, set_rate
from ..engine.parts import parts
from ..engine.project import Project, Run
from ..task import Batch

START, END, STEPS, SEEDS = 1e-7, 10.0, 120, 3
FEWER = 60  # steps for a large network, on fewer examples each: still seven a decade, in a twelfth of the time


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three seeds; each suggests a tenth of the rate with the lowest loss; the answer is their interval."""
    data = parts(project)
    prep = project.task.prepare(project.config, data["train"])
    train, val = (project.task.examples(project.config, prep, data[name]) for name in ("train", "val"))
    bench = Bench(project.config, project.task, prep, data, train, val)
    size = bench.few
    steps = STEPS if size == project.config.batch_size else FEWER
    curves = [sweep(bench, project.config.seed + i, steps, size) for i in range(SEEDS)]
    run.result["curves"] = curves
    picks = [curve["suggestion"] for curve in curves]
    run.result |= {"low": min(picks), "high": max(picks), "suggestion": float(np.exp(np.mean(np.log(picks))))}
    run.add(agreement(project.config.lr, run.result))


def sweep(bench: Bench, seed: int, steps: int, size: int) -> dict[str, Any]:
    """One sweep of `steps` steps over `size` examples each: rates, losses and the suggestion "lowest / 10". Stops when the
    loss is four times its start.

    The loss is that of one fixed batch after each step, not of the batch just trained on: it carries no noise from the
    draw of batches, so the lowest point means something even where the signal is weak. "Lowest / 10" gave no bad run of
    32 on known-good projects, where valley gave 21 and steepest 16.
    """
    model = bench.fresh(seed)
    config = bench.config.model_copy(update={"weight_decay": 0.0})
    optimiser = make_optimiser(config, bench.task, model)
    probe = bench.batch(bench.rows(2 * size, seed))
    rates, losses = [], []
    for i, batch in enumerate(bench.stream(steps, size, seed)):
        rate = START * (END / START) ** (i / (steps - 1))
        set_rate(optimiser, rate)
        try:
            step(model, [batch], bench.loss, optimiser, config)
        except NonFinite:
            break
        rates.append(rate)
        losses.append(_loss(bench, model, probe))
        if not losses[-1] < 4 * losses[0]:
            break
    return {"seed": seed, "lr": rates, "loss": losses, "suggestion": rates[int(np.nanargmin(losses))] / 10}


@torch.no_grad()
def _loss(bench: Bench, model: nn.Module, probe: Batch) -> float:
    model.eval()
    with autocast(bench.config, bench.device):
        output = model(probe.x)
    model.train()
    return float(bench.loss(output.float(), probe).mean())


def agreement(rate: float, result: dict[str, Any]) -> Finding:
    """Whether the seeds agree to a decade, and where the configured rate lies."""
    low, high, suggestion = result["low"], result["high"], result["suggestion"]
    apart = math.log10(high / low)
    outside = rate > 10 * high or rate < low / 30
    disagree = apart > 1
    return finding(
        "learning rate",
        f"{SEEDS} seeds suggest {low:.1e} to {high:.1e}; lr = {rate:g}",
        warn=outside or disagree,
        why="disagree" if disagree else "outside",
        evidence={"low": low, "high": high},
        lr=rate,
        suggestion=suggestion,
        command="recipe lr-range batch_size=256" if disagree else f"recipe train lr={suggestion:.1e}",
    )
