"""What the trivial and the simple models reach, on the same split and metric as the network: the numbers to beat."""

from __future__ import annotations

import argparse
import shutil
import time
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..config import Config
from ..engine import metrics
from ..engine.fitted import MODEL, weights_hash
from ..engine.loop import truth_of
from ..engine.project import Project, Run
from ..engine.splits import splits
from ..errors import UserError
from ..task import Baseline


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Fit the trivial and the simple models on train, score them on validation, and name the best."""
    config = project.config
    data = splits(project)
    prep = project.task.prepare(config, data["train"])
    val = project.task.examples(config, prep, data["val"])
    truth = truth_of(config, data["val"], val)
    before = time.perf_counter()
    outputs = trivial(
        config, prep, project.task.examples(config, prep, data["train"].sample()).y.cpu().numpy(), len(truth.y)
    )
    models = project.task.baselines(config, prep, data["train"])
    for name, model in models.items():
        outputs[name] = model.predict(data["val"])
    seconds = round(time.perf_counter() - before, 3)

    save_truth(run, truth)
    scored: dict[str, dict[str, Any]] = {}
    for name, values in outputs.items():
        run.save_array(f"outputs-{name}.npy", values)
        scored[name] = {"metrics": metrics.summary(config, prep, values, *truth)}
    metric = config.resolved_metric
    best = next(iter(scored))
    for name in scored:
        if metrics.better(metric, scored[name]["metrics"][metric]["value"], scored[best]["metrics"][metric]["value"]):
            best = name
    if best in models:
        keep(run, prep, models[best])
    run.result |= {
        "metric": metric,
        "baselines": scored,
        "best": best,
        "human_score": config.human_score,
        "seconds": seconds,
    }
    run.result["ledger"] = {"metric": metric, "model": best, **scored[best]["metrics"][metric]}
    project.say(table(scored, metric, best, config.human_score))
    run.add(signal(config, prep, outputs, truth, best), show=True)


def trivial(config: Config, prep: dict[str, Any], y: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Models that ignore the input: the class shares; mean and median; one score for every row of a query."""
    if prep["prior"]:
        log_prior = np.log(np.clip(prep["prior"], 1e-12, None))
        constant = log_prior[1:] - log_prior[:1] if prep["outputs"] == 1 else log_prior
        return {"majority": np.tile(constant.astype(np.float32), (n, 1))}
    if config.task == "ranking":
        return {"constant": np.zeros((n, 1), dtype=np.float32)}
    return {
        name: np.full((n, 1), value, dtype=np.float32) for name, value in (("mean", y.mean()), ("median", np.median(y)))
    }


def save_truth(run: Run, truth: metrics.Truth) -> None:
    """Keep y, and the queries and groups where there are such, beside the outputs of a run."""
    for name, array in truth._asdict().items():
        if array is not None:
            run.save_array(f"{name}.npy", array)


def keep(run: Run, prep: dict[str, Any], model: Baseline) -> None:
    """Save the best model, which `recipe evaluate` brings back. One that cannot be saved is fitted again there."""
    folder = run.folder / MODEL
    folder.mkdir()
    run.save("prep.json", prep)
    try:
        model.save(folder)
    except UserError:
        shutil.rmtree(folder)
    else:
        run.result["weights"] = weights_hash(run.folder)


def signal(
    config: Config,
    prep: dict[str, Any],
    outputs: dict[str, np.ndarray],
    truth: metrics.Truth,
    best: str,
) -> CheckResult:
    """Whether the best simple model is better than the best that ignores the input, by a paired interval."""
    trivial = next(iter(outputs))
    difference = metrics.difference(config, prep, outputs[best], outputs[trivial], *truth)
    return check_result(
        "signal",
        f"the best simple model is {best}: {config.resolved_metric} {difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}] against {trivial}",
        warn=best == trivial or not metrics.gain(config.resolved_metric, difference)["low"] > 0,  # NaN is no gain
        evidence=difference,
    )


def table(scored: dict[str, dict[str, Any]], metric: str, best: str, human: float | None) -> str:
    """One line a model, with its interval on validation."""
    lines = [f"  {'model':<24} {metric} on validation [95 %]"]
    for name, entry in scored.items():
        value = entry["metrics"][metric]
        lines.append(
            f"  {name:<24} {value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]{'  <- the number to beat' if name == best else ''}"
        )
    return "\n".join([*lines, *([f"  {'human':<24} {human:.4f} (declared)"] if human is not None else [])])
