"""Scores of the trivial and the simple models on the split and metric of the network: the numbers to beat."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import Config
from ..errors import UserError
from ..task import Baseline, Data, Task
from . import metrics
from .files import save_array, to_json, write_atomic
from .fitted import MODEL, weights_hash
from .truth import save_truth, truth_of


class Baselines(NamedTuple):
    """prep: the preprocessing. outputs: name -> outputs [n, k] on validation, simplest first. result: what a record keeps."""

    prep: dict[str, Any]
    outputs: dict[str, np.ndarray]
    truth: metrics.Truth
    result: dict[str, Any]


def baseline(config: Config, task: Task, data: dict[str, Data], folder: Path) -> Baselines:
    """Fit the trivial and the simple models on train, score them on validation, and save outputs, truth and the best model
    to `folder`. Raises UserError for outputs of a wrong shape, of which a score would be one of something else."""
    prep = task.prepare(config, data["train"])
    truth = truth_of(config, data["val"], task.examples(config, prep, data["val"]))
    before = time.perf_counter()
    y = task.examples(config, prep, data["train"].sample()).y.cpu().numpy()
    outputs = trivial(config, prep, y, len(truth.y))
    models = task.baselines(config, prep, data["train"])
    for name, model in models.items():
        outputs[name] = model.predict(data["val"])
        if outputs[name].shape != (wanted := (len(truth.y), prep["outputs"])):
            raise UserError(f"baseline {name} gives outputs of shape {outputs[name].shape}, not {wanted}")
    seconds = round(time.perf_counter() - before, 3)

    save_truth(folder, truth)
    scored: dict[str, dict[str, Any]] = {}
    for name, values in outputs.items():
        save_array(folder / f"outputs-{name}.npy", values)
        scored[name] = {"metrics": metrics.summary(config, prep, values, truth)}
    metric = config.resolved_metric
    best = next(iter(scored))
    for name in scored:
        if metrics.better(metric, scored[name]["metrics"][metric]["value"], scored[best]["metrics"][metric]["value"]):
            best = name
    weights = keep(folder, prep, models[best]) if best in models else {}
    result = {"metric": metric, "baselines": scored, "best": best, "seconds": seconds, **weights}
    return Baselines(prep, outputs, truth, result)


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


def keep(folder: Path, prep: dict[str, Any], model: Baseline) -> dict[str, str]:
    """Save the best model, which `recipe evaluate` brings back; its hash. One that cannot be saved is fitted again there."""
    (folder / MODEL).mkdir()
    write_atomic(folder / "prep.json", to_json(prep))
    try:
        model.save(folder / MODEL)
    except UserError:
        shutil.rmtree(folder / MODEL)
        return {}
    return {"weights": weights_hash(folder)}
