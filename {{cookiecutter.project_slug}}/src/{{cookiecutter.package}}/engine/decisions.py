"""From probabilities to decisions: for two classes by a threshold that validation chose, else the likeliest class.

The threshold follows the declared costs where a miss and a false alarm cost differently; else the metric where it judges
decisions (f1, balanced_accuracy); else accuracy, which is equal costs.
"""

from __future__ import annotations

import numpy as np

from ..config import Config

FOLDS = 5
OWN_RULE = ("f1", "balanced_accuracy")


def rule(config: Config) -> str:
    """What the threshold is chosen for: "cost", or the name of a metric."""
    if config.cost_false_positive != config.cost_false_negative:
        return "cost"
    return config.resolved_metric if config.resolved_metric in OWN_RULE else "accuracy"


def in_words(config: Config) -> str:
    """The rule for a person."""
    if rule(config) != "cost":
        return f"the highest {rule(config)}"
    return f"the lowest cost, {config.cost_false_positive:g} for a false alarm and {config.cost_false_negative:g} for a miss"


def threshold(config: Config, positive: np.ndarray, truth: np.ndarray) -> float:
    """The threshold on the positive probability [n] that is best by the rule: midway between two observed values, just above
    1 where it is best to call no row positive."""
    order = np.argsort(positive, kind="stable")
    p, t = positive[order].astype(np.float64), truth[order]
    # Calling negative everything below position i: misses among the first i, false alarms among the rest.
    misses = np.r_[0, np.cumsum(t)].astype(np.float64)
    alarms = (1 - t).sum() - np.r_[0, np.cumsum(1 - t)].astype(np.float64)
    allowed = np.r_[True, np.diff(p) > 0, True]
    best = int(np.where(allowed, _loss(config, misses, alarms, t), np.inf).argmin())
    low, high = (p[best - 1] if best else 0.0), (p[best] if best < len(p) else np.nextafter(1.0, 2.0))
    middle = (low + high) / 2
    return float(middle if middle > low else high)  # between neighboring numbers, or above a row said to be certain


def _loss(config: Config, misses: np.ndarray, alarms: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What the rule makes of so many misses and false alarms; the lowest is best."""
    positives, negatives = max(float(truth.sum()), 1.0), max(float((1 - truth).sum()), 1.0)
    if rule(config) == "f1":
        hits = positives - misses
        return -2 * hits / np.maximum(2 * hits + misses + alarms, 1.0)
    if rule(config) == "balanced_accuracy":
        return misses / positives + alarms / negatives
    if rule(config) == "cost":
        return config.cost_false_negative * misses + config.cost_false_positive * alarms
    return misses + alarms


def decide(probability: np.ndarray, cut: float | None) -> np.ndarray:
    """The called class [n] of each row of probabilities [n, c]; `cut` is the threshold of two classes."""
    return probability.argmax(axis=1) if cut is None else (probability[:, 1] >= cut).astype(int)


def on_own_rows(
    config: Config, probability: np.ndarray, truth: np.ndarray, together: np.ndarray | None = None
) -> np.ndarray:
    """Decisions [n] on the rows that choose the threshold themselves, as on validation: each fifth of them by the threshold that
    the other four choose. One threshold for all would look too good by about a standard error on the rows that chose it.

    together: rows with one number lie in one fifth; else every class is spread over all five.
    """
    if config.task != "binary":
        return decide(probability, None)
    if together is None:
        fifth = np.empty(len(truth), dtype=np.int64)
        for value in (0, 1):
            fifth[truth == value] = np.arange(int((truth == value).sum())) % FOLDS
    else:
        fifth = np.unique(together, return_inverse=True)[1] % FOLDS
    called = np.zeros(len(truth), dtype=np.int64)
    for fold in np.unique(fifth):
        here = fifth == fold
        others = ~here if not here.all() else here
        called[here] = decide(probability[here], threshold(config, probability[others, 1], truth[others]))
    return called
