"""k-fold cross-validation of the whole pipeline: preprocessing, baselines and model are fitted again in every fold."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..checks.context import Context
from ..experiments import paired_interval
from ..owner.config import Config
from ..owner.engine import decisions, metrics
from ..owner.engine.baseline import trivial
from ..owner.engine.splits import cross, outside_test
from ..owner.engine.truth import truth_of
from ..owner.errors import UserError
from ..owner.formatting import interval, number
from ..owner.task import Data
from ..project import Project, Run
from .train import outputs_of, unbroken

FOLDS = 5


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Score the model and every baseline in each fold of the rows outside the test part, which stays shut."""
    config, rows = project.config, outside_test(project)
    k = args.folds or config.folds or FOLDS
    if k < 2:
        raise UserError("--folds 1 leaves nothing to train on; name 2 or more")
    folds = cross(config, rows, k)
    run.save_array("folds.npy", folds)
    name = project.task.final_baseline(config) or "network"
    scores: dict[str, list[float]] = {}
    sizes = []
    for fold in range(k):
        train, val = parts_of(config, rows, folds, fold)
        sizes.append([len(train), len(val)])
        for model, score in scores_of(project, run, train, val, name).items():
            scores.setdefault(model, []).append(score)
        shown = ", ".join(f"{model} {number(values[-1])}" for model, values in scores.items())
        project.say(f"  fold {fold + 1} of {k}: {config.resolved_metric} {shown}")
    ratio = float(np.mean([n_val / n_train for n_train, n_val in sizes]))
    found = {model: paired_interval(np.array(values), ratio) for model, values in scores.items()}
    best = max(
        (model for model in found if model != name),
        key=lambda model: metrics.gain(config.resolved_metric, found[model])["value"],
    )
    difference = paired_interval(np.array(scores[name]) - np.array(scores[best]), ratio)
    run.result |= {
        "metric": config.resolved_metric, "folds": k, "sizes": sizes, "model": name, "scores": scores,
        "intervals": found, "best": best, "difference": difference,
        "ledger": {"metric": config.resolved_metric, "model": name, **found[name]},
    }  # fmt: skip
    for model, value in found.items():
        project.say(f"  {model:<24} {interval(value)} over {k} folds")
    run.add(against_best(config, name, best, difference, k), show=True)


def parts_of(config: Config, rows: Data, folds: np.ndarray, fold: int) -> tuple[Data, Data]:
    """Train and validation of one fold: the others against it; with a declared time only those that are older."""
    train = folds < fold + 1 if config.time else folds != fold
    return rows.take(np.flatnonzero(train)), rows.take(np.flatnonzero(folds == fold + bool(config.time)))


def scores_of(project: Project, run: Run, train: Data, val: Data, name: str) -> dict[str, float]:
    """The main metric of the final model, `name`, and of every other baseline, all fitted on `train` and scored on `val`."""
    config, task = project.config, project.task
    train = task.cleaned(config, train)
    prep = task.prepare(config, train)
    fitting, scoring = (task.examples(config, prep, part) for part in (train, val))
    truth = truth_of(config, val, scoring)
    outputs = trivial(config, prep, fitting.y.cpu().numpy(), len(truth.y))
    outputs |= {model: fitted.predict(val) for model, fitted in task.baselines(config, prep, train).items()}
    with unbroken(config):
        final = {name: outputs_of(run, Context(config, task, prep, {}, fitting, scoring))}
    outputs = final | outputs | final  # the first, and in place of the baseline of that name
    return {
        model: metrics.score(config, prep, out, truth, decided=decided(config, prep, out))
        for model, out in outputs.items()
    }


def decided(config: Config, prep: dict[str, Any], outputs: np.ndarray) -> np.ndarray | None:
    """Classes called at the threshold that the costs imply: one half where they are equal. A fold has no third part to choose
    another one on."""
    if not prep["classes"]:
        return None
    cut = config.cost_false_positive / max(config.cost_false_positive + config.cost_false_negative, 1e-12)
    return decisions.decide(metrics.class_probabilities(outputs), cut if config.task == "binary" else None)


def against_best(config: Config, name: str, best: str, difference: dict[str, float], k: int) -> CheckResult:
    """Whether the model is better than the best baseline on the same folds."""
    gain: dict[str, Any] = metrics.gain(config.resolved_metric, difference)
    words = "better than" if gain["low"] > 0 else "worse than" if gain["high"] < 0 else "not shown to be better than"
    return check_result(
        "cross-validation",
        f"{name} is {words} {best} over {k} folds: {config.resolved_metric} difference {interval(difference, '+')}",
        warn=not gain["low"] > 0,
        evidence=difference,
        best=best,
        more=2 * k,
    )
