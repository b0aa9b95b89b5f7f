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


def over_classes(metric: str, probability: np.ndarray, truth: np.ndarray) -> Weighted:
    """AUC or average precision of each class against the rest, averaged over the classes that occur. chance: [n, c].

    With weights it is its tangent at equal weights (the infinitesimal jackknife, Efron 1982): exact resamples of all classes
    would take minutes where this takes one product of matrices.
    """
    tangent = _auc_tangent if metric == "auc" else _precision_tangent
    there = [c for c in range(probability.shape[1]) if 0 < (truth == c).sum() < len(truth)]
    if not there:
        return lambda w: np.full(len(w), np.nan)
    found = [tangent(probability[:, c], truth == c) for c in there]
    value, slope = float(np.mean([v for v, _ in found])), np.mean([g for _, g in found], axis=0)
    return lambda w: np.clip(value + (w - 1) @ slope, 0.0, 1.0)


def _auc_tangent(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC, and its derivative by the weight of each row [n]."""
    high, low = np.sort(scores[positive]), np.sort(scores[~positive])
    below = (np.searchsorted(low, scores, "left") + np.searchsorted(low, scores, "right")) / (2 * len(low))
    above = 1 - (np.searchsorted(high, scores, "left") + np.searchsorted(high, scores, "right")) / (2 * len(high))
    value = float(below[positive].mean())
    return value, np.where(positive, (below - value) / len(high), (above - value) / len(low))


def _precision_tangent(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """Average precision, and its derivative by the weight of each row [n]: its own precision, and what it does to that of all
    positives that score no higher."""
    order, starts, label = _descending(scores, positive)
    hits = np.add.reduceat(label, starts)
    called = np.cumsum(np.diff(np.r_[starts, len(label)]))
    precision = np.cumsum(hits) / called
    total = label.sum()
    value = float((precision * hits).sum() / total)
    after = np.cumsum((hits / called)[::-1])[::-1]
    lost = np.cumsum((hits * precision / called)[::-1])[::-1]
    run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(label)]))
    slope = np.empty(len(label))
    slope[order] = (label * (precision[run] - value + after[run]) - lost[run]) / total
    return value, slope


def ndcg(scores: np.ndarray, relevance: np.ndarray, query: np.ndarray, at: int = NDCG_AT) -> np.ndarray:
    """NDCG at 10 of each query (Jarvelin and Kekalainen 2002), gain 2^relevance - 1; queries without gain are left out.

    Rows with equal scores share their places: each counts with their mean gain, as over all orders of them (McSherry and
    Najork 2008). A constant score then has what a random order has.
    """
    result = []
    for rows in np.split(np.argsort(query, kind="stable"), np.cumsum(np.unique(query, return_counts=True)[1])[:-1]):
        order, starts, label = _descending(scores[rows], relevance[rows])
        gain = np.exp2(label) - 1
        discount = np.where(np.arange(len(rows)) < at, 1 / np.log2(np.arange(len(rows)) + 2), 0.0)
        ideal = (np.sort(gain)[::-1] * discount).sum()
        if ideal > 0:
            sizes = np.diff(np.r_[starts, len(order)])
            shared = np.add.reduceat(gain, starts) / sizes * np.add.reduceat(discount, starts)
            result.append(shared.sum() / ideal)
    return np.array(result) if result else np.array([np.nan])
