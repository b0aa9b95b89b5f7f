"""Is data, model or compute the limit? Train on 25, 50 and 100 % of the training rows, on all of them the next larger model, and
for twice the epochs: which of them still helps?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import experiments
from ..checks.check_result import CheckResult, check_result
from ..checks.context import Rows, open_context
from ..owner.config import LOWER_IS_BETTER
from ..owner.engine import metrics
from ..owner.engine.loop import NonFinite
from ..owner.engine.seed import generator
from ..owner.engine.truth import truth_of
from ..owner.errors import UserError, first_line
from ..owner.formatting import interval, number
from ..owner.task import Examples
from ..project import Project, Run
from .train import outputs_of, unbroken

SHARES = (0.25, 0.5, 1.0)
SEEDS = 3
STEP = {"data": "from 50 to 100 % of the rows", "model": "by the next larger model", "compute": "by twice the epochs"}


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three seeds at each share, the rows of a smaller share inside those of a larger one, the same validation rows; then the
    next step on the other axes under the same seeds."""
    context, metric = open_context(project), project.config.resolved_metric
    known = context.config, context.prep
    truth = truth_of(context.config, context.data["val"], context.val)
    seeds = range(project.config.seed, project.config.seed + SEEDS)
    outputs: dict[float, list[np.ndarray]] = {share: [] for share in SHARES}
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    for seed in seeds:
        for share in SHARES:
            rows = _rows(context.train, seed, share)
            with unbroken(project.config, f"training on {share:.0%} of the rows with seed {seed}"):
                outputs[share].append(outputs_of(run, replace(context, train=Rows(context.train, rows)), seed=seed))
            scores[share].append(metrics.score(*known, outputs[share][-1], truth))
        shown = ", ".join(f"{share:.0%} {number(values[-1])}" for share, values in scores.items())
        project.say(f"  seed {seed}: {metric} {shown}")
    pairs = {"data": (outputs[1.0], outputs[0.5])}
    for axis, settings in further(project).items():
        project.say(f"  {axis}: {experiments.words(settings)}")
        try:
            pairs[axis] = [outputs_of(run, context, seed=seed, **settings) for seed in seeds], outputs[1.0]
        except (NonFinite, UserError) as error:  # weights that cannot be had, or a rate too high for it
            project.say(f"    could not be tried: {first_line(error)}")
    gained = {axis: metrics.gain(metric, experiments.difference(*known, *pair, truth)) for axis, pair in pairs.items()}
    run.result |= {
        "metric": metric,
        "shares": list(SHARES),
        "scores": list(scores.values()),
        "rows": [int(share * len(context.train)) for share in SHARES],
        "scaling": scaling(metric, np.array(list(scores.values()))),
        "gained": gained,
    }
    run.add(limit(metric, gained), show=True)


def further(project: Project) -> dict[str, dict[str, Any]]:
    """The next step on the axes beside the rows: axis -> settings. None for trees: they are stopped by validation, and seeds,
    which change nothing in them, say nothing of larger ones."""
    if project.task.final_baseline(project.config):
        return {}
    larger = project.task.larger(project.config)
    return ({"model": larger} if larger else {}) | {"compute": {"epochs": 2 * project.config.epochs}}


def _rows(train: Examples, seed: int, share: float) -> Tensor:
    """A random share of the training rows, whole queries for ranking; a smaller share lies inside a larger one."""
    unit = torch.arange(len(train)) if train.query is None else train.query.cpu()
    names = unit.unique()
    names = names[torch.randperm(len(names), generator=generator(seed))]
    return torch.isin(unit, names[: max(int(share * len(names)), 2)]).nonzero().squeeze(1)


def scaling(metric: str, scores: np.ndarray) -> dict[str, float] | None:
    """How the error falls with the rows, error ~ rows ** exponent (Hestness et al. 2017): the exponent with its t interval
    over the seeds, and the score that twice the rows would then have. scores: [shares, seeds].

    The error is the metric where lower is better, else its distance from 1. None where some score has no error left.
    """
    lower = metric in LOWER_IS_BETTER
    errors = scores if lower else 1 - scores
    if not (errors > 0).all():
        return None
    exponent = experiments.paired_interval(np.polyfit(np.log(SHARES), np.log(errors), 1)[0])
    error = float(errors[-1].mean()) * 2 ** exponent["value"]
    return {
        "exponent": exponent["value"],
        "low": exponent["low"],
        "high": exponent["high"],
        "twice": error if lower else 1 - error,
    }


def limit(metric: str, gained: dict[str, dict[str, float]]) -> CheckResult:
    """Which step still helps beyond the noise of seeds and validation rows: compute, where more epochs do, since more rows or a
    wider network may then help by more or larger updates alone; else what gained most."""
    helps = {axis: found["value"] for axis, found in gained.items() if found["low"] > 0}
    axis = "compute" if "compute" in helps else max(helps, key=lambda name: helps[name], default="none")
    told = ", ".join(f"{interval(found, '+')} {STEP[name]}" for name, found in gained.items())
    observed = (
        f"{metric} gained {told}: {f'the limit is {axis}' if helps else 'none beyond the noise of seeds and rows'}"
    )
    return check_result("learning curve", observed, advise=True, why=axis, evidence={"gained": gained})
