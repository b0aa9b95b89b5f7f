"""A score taken apart: which class is called which, how each class fares, how each slice of the rows fares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from . import metrics

LEAST_ROWS, MOST_VALUES = 20, 20  # of a slice; of a column that is sliced
FREE_COLUMNS, FREE_VALUES = 3, 8  # sliced without being declared: the first few columns with few values


def confusion(guess: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Counts [k, k]: rows are the truth, columns what was called."""
    return np.bincount(truth * k + guess, minlength=k * k).reshape(k, k)


def per_class(table: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall with its Wilson interval, F1 and support of each class; NaN (null in JSON) where a class was
    never called or never true."""
    rows = []
    for i, name in enumerate(classes):
        hit, called, support = (int(x) for x in (table[i, i], table[:, i].sum(), table[i].sum()))
        low, high = metrics.wilson(hit, support) if support else (math.nan, math.nan)
        rows.append(
            {
                "class": name,
                "precision": hit / called if called else math.nan,
                "recall": hit / support if support else math.nan,
                "recall_low": low,
                "recall_high": high,
                "f1": 2 * hit / (called + support) if called + support else math.nan,
                "support": support,
            }
        )
    return rows


def slices(
    config: Config, prep: dict[str, Any], data: Data, outputs: np.ndarray, y: np.ndarray
) -> list[dict[str, Any]]:
    """The main metric for each frequent value of the slice columns, with intervals. Not for ranking.

    The columns are the declared ones, else the first categorical ones with few values.
    """
    found = []
    for column in _columns(config, data) if config.task != "ranking" else []:
        values = data.frame[column].cast(pl.String).fill_null("missing").to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for name in names[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            rows = values == name
            if rows.sum() >= LEAST_ROWS and (metrics.of_one_kind(config) or len(np.unique(y[rows])) > 1):
                score = metrics.estimate(config, prep, outputs[rows], y[rows])
                found.append({"column": column, "name": str(name), "n": int(rows.sum()), **score})
    return found


def _columns(config: Config, data: Data) -> list[str]:
    if config.slices:
        return config.slices
    there = [c for c in data.columns("categorical", "ordinal") if c in data.frame.columns]
    few = [c for c in there if 2 <= data.frame[c].n_unique() <= FREE_VALUES]
    return few[:FREE_COLUMNS]
