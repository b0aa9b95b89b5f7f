"""How much columns tell of the target: cross-validated skill on one scale, 0.5 = chance and 1 = perfect, for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data

SAMPLE = 6_000  # rows behind model-based evidence: an AUC of .97 is known to +/- .003 there
TREES = 100
LARGEST = 3e38  # trees read float32
BINS, ROWS = 64, 10  # cells that a column of numbers is cut into at most, and rows that a cell holds at least
FOLDS = 3
WIDE = 32  # columns up to which a split of a regression tree looks at half of them


def sample(data: Data) -> np.ndarray:
    """Positions of at most SAMPLE random rows; always the same ones for the same number of rows."""
    return np.random.default_rng(0).permutation(len(data))[:SAMPLE]


def sampled(data: Data) -> str:
    """A note for `observed` when only a sample was looked at."""
    return f" (on {SAMPLE:,} random rows)" if len(data) > SAMPLE else ""


def target_numbers(config: Config, data: Data, rows: np.ndarray) -> np.ndarray:
    """Targets of these rows: float64 values for regression, int64 class numbers 0..k-1 otherwise."""
    column = data.frame[data.target][rows]
    if config.task in ("regression", "ranking"):
        return column.cast(pl.Float64).to_numpy()
    return column.cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1


def column_numbers(column: pl.Series) -> np.ndarray:
    """A column as float64 [n], NaN for missing; categories by their place in sorted order: enough for trees."""
    numbers = column if column.dtype.is_numeric() else column.cast(pl.String).rank("dense")
    return numbers.cast(pl.Float64).clip(-LARGEST, LARGEST).to_numpy()


@dataclass(frozen=True)
class Sample:
    """What single columns are judged on: the first row of each pair where rows are compared within queries, else the rows.

    For ranking the question is which of two rows of a query is the more relevant: the task is then binary, a number is
    the difference of the two and a category the pair of them. No row is in two pairs, so pairs are independent.
    """

    config: Config
    rows: np.ndarray
    others: np.ndarray | None
    y: np.ndarray

    def column(self, x: np.ndarray, named: bool) -> np.ndarray:
        """A column of the whole data [n] as it is here, float64 [m]."""
        if self.others is None:
            return x[self.rows]
        return x[self.rows] * (np.nanmax(x) + 1) + x[self.others] if named else x[self.rows] - x[self.others]


def sample_of(config: Config, data: Data) -> Sample:
    """At most SAMPLE random rows, or pairs of rows of one query that differ in relevance."""
    if config.task != "ranking":
        rows = sample(data)
        return Sample(config, rows, None, target_numbers(config, data, rows))
    y, random = target_numbers(config, data, np.arange(len(data))), np.random.default_rng(0)
    query = data.frame[config.query].cast(pl.String).fill_null("").rank("dense").to_numpy()
    order = np.lexsort((random.random(len(data)), query))
    starts = np.flatnonzero(np.r_[True, np.diff(query[order]) != 0])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    first = np.flatnonzero((place[:-1] % 2 == 0) & (np.diff(query[order]) == 0))
    one, other = order[first], order[first + 1]
    told = random.permutation(np.flatnonzero(y[one] != y[other]))[:SAMPLE]
    one, other = one[told], other[told]
    return Sample(config.model_copy(update={"task": "binary"}), one, other, (y[one] > y[other]).astype(np.int64))


def table(data: Data, names: list[str], few: Sample) -> np.ndarray:
    """These columns of a sample, float64 [m, d]."""
    return np.stack([few.column(column_numbers(data.frame[c]), data.roles[c] != "numeric") for c in names], axis=1)


def alone(config: Config, x: np.ndarray, y: np.ndarray, named: bool) -> float:
    """Skill of one column x [n] by itself: the mean target of rows with its value, or near it, from three folds.

    named: whether the values are names, each a cell of its own; numbers are cut into cells of equal counts.
    """
    if len(y) < 2 * ROWS:
        return 0.5
    cell, hot = _cells(x, named), y[:, None] if config.task == "regression" else np.eye(int(y.max()) + 1)[y]
    order = np.lexsort((np.random.default_rng(0).random(len(y)), y))
    fold = np.empty(len(y), dtype=np.int64)
    fold[order] = np.arange(len(y)) % FOLDS  # folds of much the same targets
    shape = int(cell.max()) + 1, FOLDS
    held = np.bincount(cell * FOLDS + fold, minlength=shape[0] * FOLDS).reshape(shape)
    rows = (held.sum(axis=1, keepdims=True) - held)[cell, fold]
    predicted = np.empty(hot.shape)
    for k, one in enumerate(hot.T):
        sums = np.bincount(cell * FOLDS + fold, one, minlength=shape[0] * FOLDS).reshape(shape)
        others = (sums.sum(axis=1, keepdims=True) - sums)[cell, fold]
        predicted[:, k] = np.where(rows > 0, others / np.maximum(rows, 1), one.mean())
    return skill(config, predicted[:, 0] if config.task == "regression" else predicted, y)


def _cells(x: np.ndarray, named: bool) -> np.ndarray:
    """Number of the cell of each value, int64 [n]; missing values have one of their own."""
    from scipy.stats import rankdata

    values, cell = np.unique(x, return_inverse=True, equal_nan=True)
    most = int(np.clip(len(x) // ROWS, 2, BINS))
    if named or len(values) <= most:
        return cell
    there = np.isfinite(x)
    cut = np.zeros(len(x), dtype=np.int64)
    cut[there] = 1 + ((rankdata(x[there]) - 0.5) * most // there.sum()).astype(np.int64)
    return cut


def best_class(config: Config, x: np.ndarray, y: np.ndarray, least: float = 0.5) -> tuple[float, float]:
    """(skill of one shallow tree on few columns for the class it tells best, its limit): above `least` by three standard deviations, corrected
    for the number of classes, and above 0.6. For regression the one skill there is.
    """
    from scipy.stats import norm
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeRegressor

    hot = y[:, None] if config.task == "regression" else np.eye(int(y.max()) + 1)[y]
    tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=max(5, len(y) // 200), random_state=0)
    told = cross_val_predict(tree, x, hot, cv=KFold(3, shuffle=True, random_state=0)).reshape(hot.shape)
    predicted = told[:, 0] if config.task == "regression" else told
    found = [(skill(config, predicted, y), null_deviation(config, y))]
    if config.task != "regression":
        either = [(np.stack([1 - p, p], axis=1), (y == k).astype(int)) for k, p in enumerate(predicted.T)]
        found = [(skill(config, p, hit), null_deviation(config, hit)) for p, hit in either if 0 < hit.sum() < len(y)]
    wide = float(norm.isf(norm.sf(3) / max(len(found), 1)))
    limits = [(value, max(0.6, least + wide * spread)) for value, spread in found]
    return max(limits, key=lambda pair: pair[0] - pair[1], default=(0.5, 0.6))


def out_of_fold(config: Config, x: Any, y: np.ndarray) -> np.ndarray:
    """Predictions from models that did not see the row: class probabilities [n, k], or values [n] for regression.

    Out-of-bag votes of a forest; for sparse text, five folds of a linear model.
    """
    if hasattr(x, "tocsr"):
        return _linear(config, x, y)
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if config.task == "regression":
        wood = RandomForestRegressor(
            TREES, min_samples_leaf=5, max_features=tried(x.shape[1]), oob_score=True, random_state=0, n_jobs=2
        )
        return np.asarray(np.nan_to_num(wood.fit(x, y).oob_prediction_, nan=float(y.mean())))
    forest = RandomForestClassifier(TREES, min_samples_leaf=5, oob_score=True, random_state=0, n_jobs=2).fit(x, y)
    votes = np.nan_to_num(forest.oob_decision_function_, nan=1 / (y.max() + 1))
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def tried(columns: int) -> float:
    """Share of the columns that a split of a regression tree looks at: half, and of many fewer, so that the cost grows
    with their square root. Of 1,000 it is still 90."""
    return float(0.5 * min(1.0, WIDE / max(columns, 1)) ** 0.5)


def _linear(config: Config, x: Any, y: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

    if config.task == "regression":
        return np.asarray(cross_val_predict(Ridge(), x, y, cv=KFold(5, shuffle=True, random_state=0)))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(LogisticRegression(C=10, max_iter=200), x, y, cv=folds, method="predict_proba"))


def skill(config: Config, predicted: np.ndarray, y: np.ndarray) -> float:
    """AUC averaged over the classes, one against the rest; for regression (1 + rank correlation) / 2."""
    from scipy.stats import rankdata

    if config.task == "regression":
        with np.errstate(invalid="ignore", divide="ignore"):
            return (1 + float(np.nan_to_num(np.corrcoef(rankdata(predicted), rankdata(y))[0, 1]))) / 2
    areas = []
    for k in range(predicted.shape[1]):
        hits = y == k
        n1, n0 = int(hits.sum()), int((~hits).sum())
        if n1 and n0:
            areas.append((rankdata(predicted[:, k])[hits].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
    return float(np.mean(areas)) if areas else 0.5


def null_deviation(config: Config, y: np.ndarray) -> float:
    """Standard deviation of `skill` when nothing is to be learned, or a little above it: of a rank correlation over
    two, or of an AUC (Mann and Whitney 1947), averaged over the classes as if they moved together."""
    n = len(y)
    if config.task == "regression":
        return float(0.5 / np.sqrt(n))
    sizes = [c for c in np.bincount(y).tolist() if 0 < c < n]
    return float(np.mean([np.sqrt((n + 1) / (12 * c * (n - c))) for c in sizes])) if sizes else 0.5
