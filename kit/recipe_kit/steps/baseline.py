"""What the trivial and the simple models reach, on the same split and metric as the network: the numbers to beat."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..owner.config import Config
from ..owner.engine import metrics
from ..owner.engine.baseline import baseline
from ..owner.engine.splits import splits
from ..owner.formatting import interval, number
from ..project import Project, Run


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Fit the trivial and the simple models on train, score them on validation, and name the best."""
    config = project.config
    prep, outputs, truth, result = baseline(config, project.task, splits(project), run.folder)
    scored, metric, best = (result[name] for name in ("baselines", "metric", "best"))
    run.result |= {**result, "human_score": config.human_score}
    run.result["ledger"] = {"metric": metric, "model": best, **scored[best]["metrics"][metric]}
    project.say(table(scored, metric, best, config.human_score))
    run.add(signal(config, prep, outputs, truth, best), show=True)


def signal(
    config: Config, prep: dict[str, Any], outputs: dict[str, np.ndarray], truth: metrics.Truth, best: str
) -> CheckResult:
    """Whether the best simple model is better than the best that ignores the input, by a paired interval."""
    trivial = next(iter(outputs))
    difference = metrics.difference(config, prep, outputs[best], outputs[trivial], truth)
    return check_result(
        "signal",
        f"the best simple model is {best}: {config.resolved_metric} {interval(difference, '+')} against {trivial}",
        warn=best == trivial or not metrics.gain(config.resolved_metric, difference)["low"] > 0,  # NaN is no gain
        evidence=difference,
    )


def table(scored: dict[str, dict[str, Any]], metric: str, best: str, human: float | None) -> str:
    """One line a model, with its interval on validation."""
    lines = [f"  {'model':<24} {metric} on validation [95 %]"]
    for name, entry in scored.items():
        value = entry["metrics"][metric]
        lines.append(f"  {name:<24} {interval(value)}{'  <- the number to beat' if name == best else ''}")
    return "\n".join([*lines, *([f"  {'human':<24} {number(human)} (declared)"] if human is not None else [])])
