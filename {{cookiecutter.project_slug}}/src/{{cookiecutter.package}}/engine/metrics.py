"""Metrics over whole splits, each with a bootstrap interval. Outputs are [n, k] as the network gives them.

y is numpy [n]: class numbers, 0/1 for binary, standardized values, or relevance; regression metrics are in target units.
Every metric is a function of row weights W [b, n]: all ones give its value, multinomial counts give b resamples at
once (Efron 1979). For ranking a row of W weighs queries. Rows that belong together (a group) are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, log_softmax

from ..config import LOWER_IS_BETTER, METRICS, Config
from ..errors import UserError
from . import order
from .decisions import on_own_rows
from .order import Weighted, auc, average_precision, ndcg

if TYPE_CHECKING:
    from ..task import Batch, Examples

SHARES = (  # metrics of which 0 and 1 are the ends of the scale
    "auc", "average_precision", "accuracy", "balanced_accuracy", "macro_f1", "f1", "precision", "recall", "cost", "ndcg",
)  # fmt: skip
BY_CLASS = ("balanced_accuracy", "macro_f1", "f1", "precision", "recall")
ALSO = {"binary": ("precision", "recall")}  # told beside the metrics that may be chosen
CELLS = 4_000_000  # weights held at once: 32 MB
MOST_CELLS = 100_000_000  # beyond this, fewer resamples (at least 100): intervals are narrow there anyway
# Called class of each row [n]; None for two classes: by a threshold that these rows choose, see `decisions.on_own_rows`.
Called = np.ndarray | None


class Truth(NamedTuple):
    """What is known of the rows of a part beside the features. y: [n] as in Batch. query: number of each row's query, for ranking.
    together: rows with one number belong together, as those of one patient; None where every row stands for itself."""

    y: np.ndarray
    query: np.ndarray | None = None
    together: np.ndarray | None = None

    @classmethod
    def of(cls, encoded: Examples | Batch) -> Truth:
        """What encoded examples say: targets and queries."""
        return cls(encoded.y.cpu().numpy(), None if encoded.query is None else encoded.query.cpu().numpy())


class Measure(NamedTuple):
    """A metric of some outputs. of: its values under weights of n units (rows, or queries for ranking). together: number of what
    each unit belongs to, or None. chances: how many units could each have spoilt a perfect score."""

    of: Weighted
    n: int
    together: np.ndarray | None
    trials: int


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
    config: Config, prep: dict[str, Any], outputs: np.ndarray, truth: Truth, metric: str = "", decided: Called = None
) -> float:
    """One metric over the whole split, the configured one where none is named."""
    measured = measure(config, prep, metric or config.resolved_metric, outputs, truth, decided)
    return float(measured.of(np.ones((1, measured.n)))[0])


def summary(
    config: Config, prep: dict[str, Any], outputs: np.ndarray, truth: Truth, decided: Called = None
) -> dict[str, dict[str, float]]:
    """Every metric of the task: name -> value with its 95 % interval, see `estimate`."""
    return {name: estimate(config, prep, outputs, truth, name, decided) for name in told(config.task)}


def told(task: str) -> tuple[str, ...]:
    """The metrics that are shown of a task, the main one first."""
    return (*METRICS[task], *ALSO.get(task, ()))


def estimate(
    config: Config, prep: dict[str, Any], outputs: np.ndarray, truth: Truth, metric: str = "", decided: Called = None
) -> dict[str, float]:
    """One metric, the configured one where none is named, with its 95 % percentile bootstrap interval.

    Where every resample gives the same score, the bootstrap says nothing: a perfect score of 20 rows is not certain.
    A metric at an end of [0, 1] then gets the Wilson interval of that share among what could have gone wrong.
    """
    name = metric or config.resolved_metric
    measured = measure(config, prep, name, outputs, truth, decided)
    found = _with_interval(config, measured)
    if found["low"] == found["high"] and found["value"] in (0.0, 1.0) and name in SHARES:
        low, high = wilson(round(found["value"] * measured.trials), measured.trials)
        scale = max(config.cost_false_positive, config.cost_false_negative) if name == "cost" else 1.0
        return {"value": found["value"], "low": scale * low, "high": scale * high}
    return found


def wilson(hits: float, n: float) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927). For n of n it starts at n / (n + 3.84), near the rule of three."""
    z2 = 1.959964**2
    center, spread = hits + z2 / 2, math.sqrt(z2 * (max(hits * (n - hits), 0.0) / n + z2 / 4))
    low, high = (center - spread) / (n + z2), (center + spread) / (n + z2)
    return (0.0 if hits == 0 else low), (1.0 if hits == n else high)


def share(hit: np.ndarray, of: np.ndarray, together: np.ndarray | None = None) -> dict[str, float]:
    """Share of the rows `of` [n] that are hits [n], both bool, with its 95 % Wilson interval; NaN where there are no rows.

    Rows that belong together say less than as many single ones: n is divided by the design effect of their clusters
    (Kish 1965), and is their number where all agree.
    """
    hits, n = float(hit[of].sum()), float(of.sum())
    if not n:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    value, counted = hits / n, n
    if together is not None:
        _, unit = np.unique(together[of], return_inverse=True)
        rows = np.bincount(unit).astype(np.float64)
        apart = np.bincount(unit, weights=hit[of]) - value * rows
        wanted = value * (1 - value) * n
        effect = float((apart**2).sum()) * len(rows) / max(len(rows) - 1, 1) / wanted if wanted else n / len(rows)
        counted = n / max(effect, 1.0)
    low, high = wilson(value * counted if value < 1 else counted, counted)
    return {"value": value, "low": low, "high": high}


def of_one_kind(config: Config) -> bool:
    """Whether the main metric can be computed on rows that all have one target value."""
    name = config.resolved_metric
    return name in ("accuracy", "log_loss", "cost") or (config.task == "regression" and name != "r2")


def difference(
    config: Config,
    prep: dict[str, Any],
    outputs_a: np.ndarray,
    outputs_b: np.ndarray,
    truth: Truth,
    decided: tuple[Called, Called] = (None, None),
) -> dict[str, float]:
    """The main metric of a minus that of b, with a paired bootstrap interval: both see the same resamples."""
    name = config.resolved_metric
    a, b = (measure(config, prep, name, o, truth, d) for o, d in zip((outputs_a, outputs_b), decided, strict=True))
    return _with_interval(config, a._replace(of=lambda weights: a.of(weights) - b.of(weights)))


def resampled(config: Config, n: int, together: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Weights [b, n] of bootstrap resamples of n units, some at a time; those that belong together are drawn together."""
    random = np.random.default_rng(0)  # the same resamples for every model: differences are paired
    member = None if together is None else np.unique(together, return_inverse=True)[1]
    drawn = n if member is None else int(member.max()) + 1
    resamples = int(np.clip(MOST_CELLS // max(n, 1), 100, config.bootstrap))
    chunk = max(CELLS // max(n, 1), 1)
    for start in range(0, resamples, chunk):
        picks = random.integers(0, drawn, size=(min(chunk, resamples - start), drawn))
        cells = np.arange(len(picks))[:, None] * drawn
        counts = np.bincount((picks + cells).ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)
        yield counts if member is None else counts[:, member]


def _with_interval(config: Config, measured: Measure) -> dict[str, float]:
    sample = np.concatenate([measured.of(w) for w in resampled(config, measured.n, measured.together)])
    low, high = np.nanquantile(sample, [0.025, 0.975]) if np.isfinite(sample).any() else (np.nan, np.nan)
    return {"value": float(measured.of(np.ones((1, measured.n)))[0]), "low": float(low), "high": float(high)}


def mean_of(config: Config, each: np.ndarray, together: np.ndarray | None = None) -> dict[str, float]:
    """Mean of a value of each row [n], with its interval."""
    return _with_interval(config, Measure(_mean(each), len(each), together, len(each)))


def measure(
    config: Config, prep: dict[str, Any], metric: str, outputs: np.ndarray, truth: Truth, decided: Called = None
) -> Measure:
    """The metric as a function of weights, and of what. Raises UserError for one that nobody wrote."""
    if config.task == "ranking":
        if metric != "ndcg":
            raise unwritten(metric)
        return _ranking(outputs, truth)
    n, together = len(truth.y), truth.together
    if config.task == "regression":
        real = truth.y * prep["target_scale"] + prep["target_mean"]
        return Measure(_regression(metric, values(prep, outputs), real), n, together, n)
    y = truth.y.astype(int)
    probability = class_probabilities(outputs)
    prediction = on_own_rows(config, probability, y, together) if decided is None else decided
    groups = n if together is None else len(np.unique(together))
    trials = min(_trials(metric, prediction, y), groups)
    return Measure(_of_classes(config, metric, (outputs, probability), y, prediction), n, together, trials)


def unwritten(metric: str) -> UserError:
    """The sentence on a metric that config.py allows and that has no function."""
    return UserError(
        f"metric = {metric!r} has no function; write one in engine/metrics.py, as a function of row weights"
    )


def _of_classes(
    config: Config, metric: str, outputs: tuple[np.ndarray, np.ndarray], truth: np.ndarray, prediction: np.ndarray
) -> Weighted:
    """A metric of classification. outputs: as the network gives them [n, k], and as probabilities [n, c]."""
    raw, probability = outputs
    if metric in ("auc", "average_precision"):
        if config.task == "binary":
            curve = auc if metric == "auc" else average_precision
            return curve(raw[:, 0], truth)
        return order.over_classes(metric, probability, truth)
    if metric == "log_loss":
        return _mean(-np.log(np.clip(probability[np.arange(len(truth)), truth], 1e-15, None)))
    if metric == "cost":
        return _mean(costs(config, prediction, truth))
    if metric == "accuracy":
        return _mean((prediction == truth).astype(float))
    if metric not in BY_CLASS:
        raise unwritten(metric)
    return _by_class(metric, prediction, truth, probability.shape[1])


def _ranking(outputs: np.ndarray, truth: Truth) -> Measure:
    assert truth.query is not None, "ranking metrics need query numbers"
    each = ndcg(outputs[:, 0], truth.y, truth.query)
    owner = None
    if truth.together is not None:
        _, first, member = np.unique(truth.query, return_index=True, return_inverse=True)
        counts = np.bincount(member, weights=truth.y > 0) > 0  # as in `ndcg`: queries without gain are left out
        owner = truth.together[first][counts] if counts.any() else truth.together[:1]
    return Measure(
        lambda w: (w * each).sum(1) / w.sum(1), len(each), owner, len(each) if owner is None else len(set(owner))
    )


def _trials(metric: str, prediction: np.ndarray, y: np.ndarray) -> int:
    """How many rows could each have spoilt a perfect score: those of the rarest class where the metric looks at classes one
    by one, of the positive class for f1, recall and average precision, those that were called positive for precision."""
    if metric in ("accuracy", "cost"):
        return len(y)
    if metric in ("f1", "average_precision", "recall") and int(y.max()) < 2:
        return max(int((y == 1).sum()), 1)
    return (
        max(int((prediction == 1).sum()), 1)
        if metric == "precision"
        else int(np.unique(y, return_counts=True)[1].min())
    )


def costs(config: Config, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Declared cost of each decision [n]."""
    return np.where(
        prediction > truth, config.cost_false_positive, np.where(prediction < truth, config.cost_false_negative, 0.0)
    )


def _mean(each: np.ndarray) -> Weighted:
    return lambda w: (w @ each) / w.sum(1)


def _regression(metric: str, prediction: np.ndarray, truth: np.ndarray) -> Weighted:
    square = (prediction - truth) ** 2
    if metric == "rmse":
        return lambda w: np.sqrt(_mean(square)(w))
    if metric == "mae":
        return _mean(np.abs(prediction - truth))
    if metric != "r2":
        raise unwritten(metric)
    truth = truth - truth.mean()  # the variance of large values with a small spread would cancel to nothing
    return lambda w: 1 - _mean(square)(w) / np.maximum(_mean(truth**2)(w) - _mean(truth)(w) ** 2, 1e-300)


def _by_class(metric: str, prediction: np.ndarray, truth: np.ndarray, k: int) -> Weighted:
    """balanced_accuracy, macro_f1 over the classes that occur; or f1, precision, recall of the positive class."""
    is_true, is_predicted = np.eye(k)[truth], np.eye(k)[prediction]

    def weighted(w: np.ndarray) -> np.ndarray:
        hit, support, called = w @ (is_true * is_predicted), w @ is_true, w @ is_predicted
        of = {"balanced_accuracy": support, "recall": support, "precision": called}.get(metric, (support + called) / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = hit / of
        if metric in ("f1", "precision", "recall"):
            return np.nan_to_num(each[:, 1])
        return np.nanmean(np.where(support > 0, each, np.nan), axis=1)

    return weighted
