"""Metrics that look at the order of the scores alone, as functions of row weights (see metrics.py): AUC, average
precision, NDCG."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Weighted = Callable[[np.ndarray], np.ndarray]
NDCG_AT = 10


def _descending(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows by falling score, the starts of runs of equal scores, and the labels in that order."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    return order, starts, positive[order].astype(np.float64)


def auc(scores: np.ndarray, positive: np.ndarray) -> Weighted:
    """Area under the ROC curve: chance that a positive scores above a negative, ties counting half."""
    order, starts, label = _descending(scores, positive)

    def weighted(w: np.ndarray) -> np.ndarray:
        w = w[:, order]
        pos = np.add.reduceat(w * label, starts, axis=1)
        neg = np.add.reduceat(w * (1 - label), starts, axis=1)
        above = np.cumsum(pos, axis=1) - 0.5 * pos
        with np.errstate(invalid="ignore", divide="ignore"):
            return (above * neg).sum(1) / (pos.sum(1) * neg.sum(1))

    return weighted


def average_precision(scores: np.ndarray, positive: np.ndarray) -> Weighted:
    """Sum over thresholds of precision times the gain in recall."""
    order, starts, label = _descending(scores, positive)

    def weighted(w: np.ndarray) -> np.ndarray:
        w = w[:, order]
        pos = np.add.reduceat(w * label, starts, axis=1)
        called = np.cumsum(np.add.reduceat(w, starts, axis=1), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(np.cumsum(pos, axis=1) / called)
            return (precision * pos).sum(1) / pos.sum(1)

    return weighted


def ndcg(scores: np.ndarray, relevance: np.ndarray, query: np.ndarray, at: int = NDCG_AT) -> np.ndarray:
    """NDCG at 10 of each query (Jarvelin and Kekalainen 2002), gain 2^relevance - 1; queries without gain are left out.

    Ties in the score are broken against the model (the least relevant first), so constant scores earn nothing extra.
    """
    result = []
    for rows in np.split(np.argsort(query, kind="stable"), np.cumsum(np.unique(query, return_counts=True)[1])[:-1]):
        gain = np.exp2(relevance[rows].astype(np.float64)) - 1
        discount = 1 / np.log2(np.arange(2, min(len(rows), at) + 2))
        ideal = (np.sort(gain)[::-1][:at] * discount).sum()
        if ideal > 0:
            got = gain[np.lexsort((gain, -scores[rows]))][:at]
            result.append((got * discount).sum() / ideal)
    return np.array(result) if result else np.array([np.nan])
