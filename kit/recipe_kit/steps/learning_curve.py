"""Is data the limit? Train on 25, 50 and 100 % of the training rows and see whether more still helps."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from .. import experiments
from ..checks.check_result import CheckResult, check_result
from ..checks.context import Rows
from ..owner.config import LOWER_IS_BETTER, Config
from ..owner.engine import metrics
from ..owner.engine.loop import NonFinite
from ..owner.engine.seed import generator
from ..owner.engine.splits import splits
from ..owner.errors import UserError
from ..owner.formatting import interval, number
from ..owner.task import Examples
from ..project import Project, Run
from .train import score_of

SHARES = (0.25, 0.5, 1.0)
SEEDS = 3


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three seeds at each share, the rows of a smaller share inside those of a larger one, the same validation rows."""
    if project.task.final_baseline(project.config):
        raise UserError(f"learning-curve trains the network, and model = {project.config.model!r} is none")  # type: ignore[attr-defined]
    data = splits(project)
    prep = project.task.prepare(project.config, data["train"])
    train, val = (project.task.examples(project.config, prep, data[name]) for name in ("train", "val"))
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    for seed in range(project.config.seed, project.config.seed + SEEDS):
        for share in SHARES:
            rows = _rows(train, seed, share)
            try:
                score = score_of(project, run, prep, (Rows(train, rows), val), seed=seed)
            except NonFinite as broken:
                raise UserError(
                    f"training on {share:.0%} of the rows with seed {seed} broke down: {broken}; fix that first: recipe train"
                    f" lr={project.config.lr / 10:g}"
                ) from None
            scores[share].append(score)
        shown = ", ".join(f"{share:.0%} {number(values[-1])}" for share, values in scores.items())
        project.say(f"  seed {seed}: {project.config.resolved_metric} {shown}")
    difference = experiments.paired_interval(np.array(scores[1.0]) - np.array(scores[0.5]))
    run.result |= {
        "metric": project.config.resolved_metric,
        "shares": list(SHARES),
        "scores": list(scores.values()),
        "rows": [int(share * len(train)) for share in SHARES],
        "scaling": scaling(project.config.resolved_metric, np.array(list(scores.values()))),
        "last_doubling": list(metrics.gain(project.config.resolved_metric, difference).values()),
    }
    run.add(more_data(project.config, run.result["last_doubling"]), show=True)


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


def more_data(config: Config, doubling: list[float]) -> CheckResult:
    """Whether the last doubling of the rows still helped, by its t interval over the seeds."""
    gained = dict(zip(("value", "low", "high"), doubling, strict=True))
    words = "still helped" if gained["low"] > 0 else "did not help beyond the noise between seeds"
    return check_result(
        "learning curve",
        f"from 50 to 100 % of the rows {config.resolved_metric} gained {interval(gained, '+')}: more data {words}",
        advise=True,
        why="rising" if gained["low"] > 0 else "flat",
        evidence={"last_doubling": doubling},
    )
