"""What a trained model is worth on a part of the data: its scores, decisions and calibration, with temperature and threshold from
validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config
from ..task import Data
from . import calibration, decisions, metrics
from .files import save_array
from .fitted import Fitted
from .slices import confusion, per_class, slices


@dataclass
class Judged:
    """A model as it is going to be used. val, test: its outputs [n, k] there. temperature, cut: its temperature, and for two classes
    its threshold, both from validation. decided: the class that it calls in each test row, None where there are none."""

    name: str
    val: np.ndarray
    test: np.ndarray
    temperature: float = 1.0
    cut: float | None = None
    decided: np.ndarray | None = None


def judged(config: Config, model: Fitted, outputs: tuple[np.ndarray, np.ndarray], truth: metrics.Truth) -> Judged:
    """Temperature and threshold from validation, and the decisions on test that follow. outputs: on validation and test."""
    prep, found = model.prep, Judged(model.name, *outputs)
    if prep["classes"]:
        val = (found.val, truth.y.astype(int))
        found.temperature = calibration.temperature(*val)
        probability, on_test = (metrics.class_probabilities(part / found.temperature) for part in outputs)
        found.cut = decisions.threshold(config, probability[:, 1], val[1]) if config.task == "binary" else None
        found.decided = decisions.decide(on_test, found.cut)
    return found


def evaluate(
    config: Config, prep: dict[str, Any], ours: Judged, test: Data, truth: metrics.Truth, folder: Path
) -> dict[str, Any]:
    """Every score on the test part, for the record; outputs.npy and y.npy go to `folder`."""
    save_array(folder / "outputs.npy", ours.test)
    save_array(folder / "y.npy", truth.y)
    scores = metrics.summary(config, prep, ours.test, truth, decided=ours.decided)
    result = {"model": ours.name, "metric": config.resolved_metric, "rows": len(ours.test), "metrics": scores}
    if truth.together is not None:
        result["units"] = len(np.unique(truth.together))
    if prep["classes"]:
        result |= classification(config, prep, ours, truth)
    return {**result, "slices": slices(config, prep, test, ours.test, truth, ours.decided)}


def classification(config: Config, prep: dict[str, Any], ours: Judged, truth: metrics.Truth) -> dict[str, Any]:
    """Per-class table and confusion of the decisions, calibration before and after the temperature, and the threshold."""
    y, prediction, temperature = truth.y.astype(int), ours.decided, ours.temperature
    assert prediction is not None, "classes are decided on"
    before, after = (metrics.class_probabilities(ours.test / t) for t in (1.0, temperature))
    result: dict[str, Any] = {
        "classes": prep["classes"],
        "confusion": confusion(prediction, y, len(prep["classes"])).tolist(),
        "per_class": per_class(prediction, y, prep["classes"], truth.together),
        "temperature": temperature,
        "calibration": {
            name: calibration.describe(config, probability, y, truth.together)
            for name, probability in (("before", before), ("after", after))
        },
    }
    if ours.cut is not None:
        result["threshold"] = threshold(config, ours.cut, after[:, 1], truth)
    return result


def threshold(config: Config, cut: float, positive: np.ndarray, truth: metrics.Truth) -> dict[str, Any]:
    """The threshold that validation chose, and what it costs on test, beside a half. positive: probability [n]."""
    y = truth.y.astype(int)
    costs = [
        metrics.mean_of(config, metrics.costs(config, (positive >= at).astype(int), y), truth.together)
        for at in (cut, 0.5)
    ]
    return {
        "value": cut,
        "chosen_for": decisions.in_words(config),
        "costs": [config.cost_false_positive, config.cost_false_negative],
        "cost": costs[0],
        "cost_at_half": costs[1],
    }
