"""Metrics over whole splits, each with a bootstrap interval. Outputs are [n, k] as the network gives them.

y is numpy [n]: class numbers, 0/1 for binary, standardised values, or relevance; regression metrics are in target units.
Every metric is a function of row weights W [b, n]: all ones give its value, multinomial counts give b resamples at
once (Efron 1979). For ranking a row of W weighs queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax

from ..config import LOWER_IS_BETTER, METRICS, Config
from .order import Weighted, auc, average_precision, ndcg

UNBOUNDED = ("log_loss", "rmse", "mae", "r2")  # a value of 0 or 1 is no end of their scale
CELLS = 4_000_000  # weights held at once: 32 MB
MOST_CELLS = 100_000_000  # beyond this, fewer resamples (at least 100): intervals are narrow there anyway


def probabilities(config: Config, prep: dict[str, Any], outputs: np.ndarray) -> np.ndarray:
    """Class probabilities [n, c] from outputs of the network, see `class_probabilities`."""
    return class_probabilities(outputs)


def class_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Class probabilities [n, c] from logits [n, c], or [n, 2] from one logit a row."""
    if outputs.shape[1] == 1:
        positive = expit(outputs[:, 0].astype(np.float64))
        return np.stack([1 - positive, positive], axis=1)
    return np.exp(log_softmax(outputs.astype(np.float64), axis=1))


def values(prep: dict[str, Any], outputs: np.ndarray) -> np.ndarray:
    """Predictions [n] in the units of the target (scores for ranking)."""
    flat = outputs.reshape(len(outputs), -1)[:, 0].astype(np.float64)
    return flat * prep["target_scale"] + prep["target_mean"]


def better(metric: str, a: float, b: float) -> bool:
    """Whether score `a` is better than `b`."""
    return a < b if metric in LOWER_IS_BETTER else a > b


def gain(metric: str, difference: Mapping[str, Any]) -> dict[str, float]:
    """value, low and high of a difference in a metric, turned so that above zero is better; None, as JSON has it, is NaN."""
    value, low, high = (math.nan if difference[key] is None else difference[key] for key in ("value", "low", "high"))
    if metric in LOWER_IS_BETTER:
        return {"value": -value, "low": -high, "high": -low}
    return {"value": value, "low": low, "high": high}


def score(
    config: Config,
    prep: dict[str, Any],
    outputs: np.ndarray,
    y: np.ndarray,
    query: np.ndarray | None = None,
    metric: str | None = None,
) -> float:
    """One metric over the whole split; the configured one when `metric` is None."""
    weighted, units = _weighted(config, prep, metric or config.resolved_metric, outputs, y, query)
    return float(weighted(np.ones((1, units)))[0])


def summary(
    config: Config, prep: dict[str, Any], outputs: np.ndarray, y: np.ndarray, query: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Every metric of the task: name -> value with its 95 % interval, see `estimate`."""
    return {name: estimate(config, prep, outputs, y, query, name) for name in METRICS[config.task]}


def estimate(
    config: Config,
    prep: dict[str, Any],
    outputs: np.ndarray,
    y: np.ndarray,
    query: np.ndarray | None = None,
    metric: str | None = None,
) -> dict[str, float]:
    """One metric (the configured one when None) with its 95 % percentile bootstrap interval.

    Where every resample gives the same score, the bootstrap says nothing: a perfect score of 20 rows is not certain.
    A metric at an end of [0, 1] then gets the Wilson interval of that share among what could have gone wrong.
    """
    name = metric or config.resolved_metric
    found = _with_interval(config, *_weighted(config, prep, name, outputs, y, query))
    if found["low"] == found["high"] and found["value"] in (0.0, 1.0) and name not in UNBOUNDED:
        n = _chances(config, name, y, query)
        low, high = wilson(round(found["value"] * n), n)
        scale = max(config.cost_false_positive, config.cost_false_negative) if name == "cost" else 1.0
        return {"value": found["value"], "low": scale * low, "high": scale * high}
    return found


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927). For n of n it starts at n / (n + 3.84), near the rule of three."""
    z2 = 1.959964**2
    centre, spread = hits + z2 / 2, math.sqrt(z2 * (hits * (n - hits) / n + z2 / 4))
    low, high = (centre - spread) / (n + z2), (centre + spread) / (n + z2)
    return (0.0 if hits == 0 else low), (1.0 if hits == n else high)


def _chances(config: Config, metric: str, y: np.ndarray, query: np.ndarray | None) -> int:
    """How many rows (queries for ranking) could each have spoilt a perfect score: those of the rarest class where the
    metric looks at classes one by one, of the positive class for f1 and average precision."""
    if query is not None:
        return len(np.unique(query))
    counts = np.unique(y, return_counts=True)[1]
    if metric in ("accuracy", "cost"):
        return len(y)
    return max(int((y == 1).sum()), 1) if metric in ("f1", "average_precision") else int(counts.min())


def of_one_kind(config: Config) -> bool:
    """Whether the main metric can be computed on rows that all have one target value."""
    return config.resolved_metric in ("accuracy", "log_loss", "cost", "rmse", "mae")


def difference(
    config: Config,
    prep: dict[str, Any],
    outputs_a: np.ndarray,
    outputs_b: np.ndarray,
    y: np.ndarray,
    query: np.ndarray | None = None,
) -> dict[str, float]:
    """The main metric of a minus that of b, with a paired bootstrap interval: both see the same resamples."""
    (of_a, units), (of_b, _) = (
        _weighted(config, prep, config.resolved_metric, o, y, query) for o in (outputs_a, outputs_b)
    )
    return _with_interval(config, lambda weights: of_a(weights) - of_b(weights), units)


def _with_interval(config: Config, weighted: Weighted, units: int) -> dict[str, float]:
    resamples = int(np.clip(MOST_CELLS // max(units, 1), 100, config.bootstrap))
    random = np.random.default_rng(0)  # the same resamples for every model: differences are paired
    chunk = max(CELLS // max(units, 1), 1)
    drawn = []
    for start in range(0, resamples, chunk):
        picks = random.integers(0, units, size=(min(chunk, resamples - start), units))
        rows = np.arange(len(picks))[:, None] * units
        drawn.append(
            weighted(
                np.bincount((picks + rows).ravel(), minlength=len(picks) * units)
                .reshape(len(picks), units)
                .astype(np.float64)
            )
        )
    sample = np.concatenate(drawn)
    low, high = np.nanquantile(sample, [0.025, 0.975]) if np.isfinite(sample).any() else (np.nan, np.nan)
    return {"value": float(weighted(np.ones((1, units)))[0]), "low": float(low), "high": float(high)}


def _weighted(
    config: Config, prep: dict[str, Any], metric: str, outputs: np.ndarray, y: np.ndarray, query: np.ndarray | None
) -> tuple[Weighted, int]:
    """The metric as a function of weights, and the number of things weighted (rows, or queries for ranking)."""
    if config.task == "regression":
        return _regression(metric, values(prep, outputs), y * prep["target_scale"] + prep["target_mean"]), len(y)
    if config.task == "ranking":
        assert query is not None, "ranking metrics need query numbers"
        each = ndcg(outputs[:, 0], y, query)
        return (lambda w: (w * each).sum(1) / w.sum(1)), len(each)
    if config.task == "binary" and metric in ("auc", "average_precision"):
        curve = auc if metric == "auc" else average_precision
        return curve(outputs[:, 0], y.astype(int)), len(y)
    chance = probabilities(config, prep, outputs)
    truth = y.astype(int)
    if metric == "log_loss":
        return _mean(-np.log(np.clip(chance[np.arange(len(truth)), truth], 1e-15, None))), len(y)
    if metric == "cost":
        guess = (chance[:, 1] >= bayes_threshold(config)).astype(int)
        return _mean(costs(config, guess, truth)), len(y)
    guess = chance.argmax(axis=1)
    return (
        _mean((guess == truth).astype(float))
        if metric == "accuracy"
        else _by_class(metric, guess, truth, chance.shape[1])
    ), len(y)


def bayes_threshold(config: Config) -> float:
    """The probability from which calling positive costs least, for a calibrated model: c_fp / (c_fp + c_fn)."""
    total = config.cost_false_positive + config.cost_false_negative
    return config.cost_false_positive / total if total else 0.5


def costs(config: Config, guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Declared cost of each decision [n]."""
    return np.where(guess > truth, config.cost_false_positive, np.where(guess < truth, config.cost_false_negative, 0.0))


def _mean(each: np.ndarray) -> Weighted:
    return lambda w: (w @ each) / w.sum(1)


def _regression(metric: str, guess: np.ndarray, truth: np.ndarray) -> Weighted:
    square = (guess - truth) ** 2
    if metric == "rmse":
        return lambda w: np.sqrt(_mean(square)(w))
    if metric == "mae":
        return _mean(np.abs(guess - truth))
    truth = truth - truth.mean()  # the variance of large values with a small spread would cancel to nothing
    return lambda w: 1 - _mean(square)(w) / np.maximum(_mean(truth**2)(w) - _mean(truth)(w) ** 2, 1e-300)


def _by_class(metric: str, guess: np.ndarray, truth: np.ndarray, k: int) -> Weighted:
    """balanced_accuracy, macro_f1 over the classes that occur, or f1 of the positive class."""
    is_true, is_guess = np.eye(k)[truth], np.eye(k)[guess]

    def weighted(w: np.ndarray) -> np.ndarray:
        hit, support, called = w @ (is_true * is_guess), w @ is_true, w @ is_guess
        with np.errstate(invalid="ignore", divide="ignore"):
            each = hit / support if metric == "balanced_accuracy" else 2 * hit / (support + called)
        if metric == "f1":
            return np.nan_to_num(each[:, 1])
        return np.nanmean(np.where(support > 0, each, np.nan), axis=1)

    return weighted
