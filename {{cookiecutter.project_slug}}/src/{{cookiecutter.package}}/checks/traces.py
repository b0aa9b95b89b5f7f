"""Columns made from the target: two marks that an honest column does not bear, however strong or weak it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..config import Config
from ..task import Data
from . import power
from .finding import Finding, finding, not_applicable
from .leakage import TABLE, drop_edit

CHANCE = 1e-6  # of one false alarm over all columns and classes of a table, for means that agree too well
UNSEEN, GAP = (
    2.0,
    3 * 2**0.5,
)  # standard errors: a relation that does not show; two that differ (each has an error of 1)
TREES = 60


def made_from_target(config: Config, data: Data) -> Finding:
    """Columns that are averages of the target itself, and columns that are related to nothing but the target."""
    check = "made from the target"
    columns = data.columns(*TABLE)
    if config.task == "ranking" or not columns:
        return not_applicable(check, "no table columns beside a target that is compared within queries")
    free = [c for c in columns if c not in config.known_at_prediction]
    everything = np.arange(len(data))
    whole = power.target_numbers(config, data, everything)
    numbers = [c for c in free if data.roles[c] == "numeric"]
    tests = {c: too_exact(config, power.column_numbers(data.frame[c]), whole) for c in numbers}
    tries = max(len(numbers) * (1 if config.task == "regression" else int(whole.max()) + 1), 1)
    means = [c for c in numbers if tests[c] < CHANCE / tries]
    rows = power.sample(data)
    x = np.stack([power.column_numbers(data.frame[c][rows]) for c in columns], axis=1)
    related = dict(relations(config, x, whole[rows]))
    shown = {columns[j]: z for j, z in related.items()}
    alone = [c for c in aloof(shown) if c in free]
    words = [f"{c} agrees with the mean of {data.target} over its rows better than chance allows" for c in means]
    words += [f"{c} tells of {data.target}, and given {data.target} no other column tells of it" for c in alone]
    found = [*means, *alone]
    return finding(
        check,
        "; ".join(words) or f"{len(shown)} columns tell of {data.target}, each with others beside it",
        fail=bool(means),
        warn=bool(alone),
        why="means" if means else "causes",
        evidence={"p": tests, "relations": shown},
        first=found[0] if found else "",
        edit=drop_edit(config, found),
    )


def too_exact(config: Config, column: np.ndarray, y: np.ndarray) -> float:
    """Chance that the means of y over rows that share a value lie so close to a line in that value; the smallest over classes.

    A column of target means, the own row included, has them on the line to the last digit. Sampling alone would scatter
    them: the squared distances against the spread inside the groups are an F ratio of about 1 where the line is true,
    larger where it is not, and smaller only by chance. Columns that say nothing of y, as a balanced design has, give 1.
    """
    from scipy.stats import f

    there = np.isfinite(column)
    _, at, sizes = np.unique(column[there], return_inverse=True, return_counts=True)
    many = sizes[at] > 1
    values, group, sizes = np.unique(column[there][many], return_inverse=True, return_counts=True)
    if len(values) < 4:
        return 1.0
    classes = [y] if config.task == "regression" else [y == k for k in range(y.max() + 1)]
    chances = [1.0]
    for target in (one[there][many].astype(float) for one in classes):
        means = np.bincount(group, target) / sizes
        spread = np.bincount(group, (target - means[group]) ** 2) / (sizes - 1)
        offset = values - np.average(values, weights=sizes)
        slope = (sizes * offset * means).sum() / (sizes * offset**2).sum()
        miss = (sizes * (means - target.mean() - slope * offset) ** 2).sum()
        free = spread.sum() ** 2 / max((spread**2).sum(), 1e-300) - 2  # groups, weighted by spread, less the line's
        inside = (sizes - 1).sum()
        rises = slope**2 * (sizes * offset**2).sum() / max((spread * (sizes - 1)).sum() / inside, 1e-300)
        if free >= 1 and f.sf(rises, 1, inside) < CHANCE:
            chances.append(float(f.cdf(miss / spread.sum() * (free + 2) / free, free, inside)))
    return min(chances)


def relations(config: Config, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, float]]:
    """(column, standard errors by which the other columns tell of it among rows of the same target) of those that tell of y.

    Whatever a target causes or is caused by is related to other columns in some way beside it: patients who are ill have
    large cells that are also dark; an order returned for its brand needed no other reason. A column that was computed
    from the target is not. Ranks, less their mean at the target, are predicted out of fold: by a linear model, and where
    that sees nothing by a forest.
    """
    from scipy.stats import rankdata

    n = len(y)
    limit = 0.55 + 3 * power.null_deviation(config, y)
    level = np.minimum((rankdata(y) - 1) * 20 // n, 19).astype(int) if config.task == "regression" else y
    ranks = rankdata(np.where(np.isfinite(x), x, -np.inf), axis=0) / n  # missing ones share the lowest rank
    for j in range(x.shape[1]):
        if x.shape[1] >= 3 and power.single(config, x[:, [j]], y) > limit:
            means = np.bincount(level, ranks[:, j]) / np.maximum(np.bincount(level), 1)
            yield j, _told(np.delete(ranks, j, axis=1), ranks[:, j] - means[level], level)


def _told(others: np.ndarray, rest: np.ndarray, level: np.ndarray) -> float:
    """Correlation of `rest` with its prediction from the other columns, in standard errors."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict

    if rest.std() < 1e-9:
        return 0.0
    errors = np.sqrt(len(rest))
    straight = cross_val_predict(LinearRegression(), others, rest, cv=KFold(5, shuffle=True, random_state=0))
    seen = float(np.nan_to_num(np.corrcoef(straight, rest)[0, 1]) * errors)
    if seen >= UNSEEN + GAP:
        return seen
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=5, max_features=0.5, oob_score=True, random_state=0, n_jobs=2
    )
    guess = np.nan_to_num(forest.fit(np.c_[others, level], rest).oob_prediction_)
    return max(seen, float(np.nan_to_num(np.corrcoef(guess, rest)[0, 1]) * errors))


def aloof(shown: dict[str, float]) -> list[str]:
    """Columns whose relations do not show, far below most of the others: at most a third of at least three.

    Run on 155 targets in published tables of economics, it named 23 columns: 22 are logarithms, squares or dummies of the
    target, one is not.
    """
    alone = [c for c, z in shown.items() if z < UNSEEN]
    others = [z for c, z in shown.items() if c not in alone]
    usual = float(np.quantile(others, 0.25)) if others else 0.0
    return [c for c in alone if len(alone) <= len(shown) // 3 and usual - shown[c] > GAP]
