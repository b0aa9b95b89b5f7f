"""Is data the limit? Train on 25, 50 and 100 % of the training rows and see whether more still helps."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks.bench import Rows
from ..checks.finding import Finding, finding
from ..config import LOWER_IS_BETTER, Config
from ..engine import experiments, metrics
from ..engine.loop import fit, predict, query_of
from ..engine.parts import parts
from ..engine.project import Project, Run
from ..engine.seed import generator
from ..errors import UserError
from ..task import Examples

SHARES = (0.25, 0.5, 1.0)
SEEDS = 3


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three seeds at each share, the rows of a smaller share inside those of a larger one, the same validation rows."""
    project.require("check", "a broken project has a learning curve too")
    if project.task.final_baseline(project.config):
        raise UserError(f"learning-curve trains the network, and model = {project.config.model!r} is none")  # type: ignore[attr-defined]
    data = parts(project)
    prep = project.task.prepare(project.config, data["train"])
    train, val = (project.task.examples(project.config, prep, data[name]) for name in ("train", "val"))
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    for seed in range(project.config.seed, project.config.seed + SEEDS):
        order = _order(train, seed)
        for share in SHARES:
            rows = order[: max(int(share * len(order)), 2)]
            scores[share].append(_score(project, run, prep, (Rows(train, rows.sort().values), val), seed))
        shown = ", ".join(f"{share:.0%} {values[-1]:.4f}" for share, values in scores.items())
        project.say(f"  seed {seed}: {project.config.resolved_metric} {shown}")
    doubling = experiments.paired_interval(np.array(scores[1.0]) - np.array(scores[0.5]))
    if project.config.resolved_metric in LOWER_IS_BETTER:
        doubling = {"value": -doubling["value"], "low": -doubling["high"], "high": -doubling["low"]}
    run.result |= {
        "metric": project.config.resolved_metric,
        "shares": list(SHARES),
        "scores": list(scores.values()),
        "rows": [int(share * len(train)) for share in SHARES],
        "last_doubling": [doubling["value"], doubling["low"], doubling["high"]],
    }
    run.add(more_data(project.config, run.result["last_doubling"]))


def _order(train: Examples, seed: int) -> Tensor:
    """A random order of the training rows; whole queries for ranking."""
    if train.query is None:
        return torch.randperm(len(train), generator=generator(seed))
    query = train.query.cpu()
    names = query.unique()[torch.randperm(len(query.unique()), generator=generator(seed))]
    return torch.cat([(query == name).nonzero().squeeze(1) for name in names])


def _score(project: Project, run: Run, prep: dict[str, Any], examples: tuple[Examples, Examples], seed: int) -> float:
    """The main metric on validation after training on these rows, stopped early like any run."""
    train, val = examples
    small = project.variant(seed=seed, tracker="none")
    small.quiet = True
    with tempfile.TemporaryDirectory(dir=run.folder) as folder:
        model, _ = fit(small, Run(small, "learning_curve", Path(folder)), prep, train, val)
    return metrics.score(small.config, prep, predict(model, val, small.config), val.y.cpu().numpy(), query_of(val))


def more_data(config: Config, doubling: list[float]) -> Finding:
    """Whether the last doubling of the rows still helped, by its t interval over the seeds."""
    value, low, high = doubling
    words = "still helped" if low > 0 else "did not help beyond the noise between seeds"
    return finding(
        "learning curve",
        f"from 50 to 100 % of the rows {config.resolved_metric} gained {value:+.4f} [{low:+.4f}, {high:+.4f}]: more data {words}",
        advise=True,
        why="rising" if low > 0 else "flat",
        evidence={"last_doubling": doubling},
    )
