"""A score taken apart: which class is called which, how each class fares, how each slice of the rows fares."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from . import metrics

LEAST_ROWS, MOST_VALUES = 20, 20  # of a slice; of a column that is sliced
FREE_COLUMNS, FREE_VALUES = 3, 8  # sliced without being declared: the first few columns with few values


def confusion(prediction: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Counts [k, k]: rows are the truth, columns what was called."""
    return np.bincount(truth * k + prediction, minlength=k * k).reshape(k, k)


def per_class(
    prediction: np.ndarray, truth: np.ndarray, classes: list[str], together: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with 95 % intervals, and its support; NaN (null in JSON) where a class was never
    called or never true. together: see metrics.Truth.

    F1 is 2 J / (1 + J) of the share J of hits among the rows that are called the class or are of it, and so is its interval.
    """
    rows = []
    for i, name in enumerate(classes):
        called, real = prediction == i, truth == i
        both = metrics.share(called & real, called | real, together)
        found = {
            "precision": metrics.share(real, called, together),
            "recall": metrics.share(called, real, together),
            "f1": {side: 2 * value / (1 + value) for side, value in both.items()},
        }
        ends = {"": "value", "_low": "low", "_high": "high"}
        scores = {f"{kind}{end}": score[side] for kind, score in found.items() for end, side in ends.items()}
        rows.append({"class": name, **scores, "support": int(real.sum())})
    return rows


def slices(
    config: Config,
    prep: dict[str, Any],
    data: Data,
    outputs: np.ndarray,
    truth: metrics.Truth,
    decided: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """The main metric for each frequent value of the slice columns, with intervals. Not for ranking.

    The columns are the declared ones, else the first categorical ones with few values.
    """
    found, y = [], truth.y
    for column in _columns(config, data) if config.task != "ranking" else []:
        values = data.frame[column].cast(pl.String).fill_null("missing").to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for name in names[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            rows = values == name
            if rows.sum() >= LEAST_ROWS and (metrics.of_one_kind(config) or len(np.unique(y[rows])) > 1):
                there = metrics.Truth(y[rows], None, None if truth.together is None else truth.together[rows])
                called = None if decided is None else decided[rows]
                score = metrics.estimate(config, prep, outputs[rows], there, decided=called)
                found.append({"column": column, "name": str(name), "n": int(rows.sum()), **score})
    return found


def _columns(config: Config, data: Data) -> list[str]:
    if config.slices:
        return config.slices
    there = [c for c in data.columns("categorical", "ordinal") if c in data.frame.columns]
    few = [c for c in there if 2 <= data.frame[c].n_unique() <= FREE_VALUES]
    return few[:FREE_COLUMNS]
