"""Columns target-derived feature: two marks that an honest column does not bear, however strong or weak it is."""

from __future__ import annotations

import numpy as np

from ..owner.config import Config
from ..owner.task import Data
from . import predictive_power
from .check_result import CheckResult, check_result, not_applicable
from .leakage import TABLE, drop_edit

CHANCE = 1e-6  # of one false alarm over all columns and classes of a table, for means that agree too well
UNSEEN, GAP = (
    2.0,
    3 * 2**0.5,
)  # standard errors: a relation that does not show; two that differ (each has an error of 1)
TREES = 60
LEVELS, FEW = 20, 30  # levels of the target at which columns are compared, and rows that a level has at least
SAME = 0.98  # rank correlation from which two columns count as one
PARTNERS = 256  # columns that are compared with each other: the cost is then linear in the rest


def made_from_target(config: Config, data: Data) -> CheckResult:
    """Columns that are averages of the target itself, and columns that are related to nothing but the target."""
    check = "target-derived feature"
    columns = data.columns(*TABLE)
    if not columns:
        return not_applicable(check, "no table columns")
    free = [c for c in columns if c not in config.known_at_prediction]
    numeric = [c for c in free if data.roles[c] == "numeric"]
    whole = predictive_power.target_numbers(config, data, np.arange(len(data)))
    tests = {c: too_exact(predictive_power.column_numbers(data.frame[c]), whole) for c in numeric}
    tries = max(len(numeric) * (1 if whole.dtype == np.float64 else int(whole.max()) + 1), 1)
    means = [c for c in numeric if tests[c] < CHANCE / tries]
    shown, alike = telling(config, data, columns)
    alone = [c for name in aloof(shown) for c in alike[name] if c in free]
    words = [f"{c} agrees with the mean of {data.target} over its rows better than chance allows" for c in means]
    words += [f"{c} tells of {data.target}, and given {data.target} no other column tells of it" for c in alone]
    found = [*means, *alone]
    return check_result(
        check,
        "; ".join(words) or f"{len(shown)} columns tell of {data.target}, each with others beside it",
        fail=bool(means),
        warn=bool(alone),
        why="means" if means else "causes",
        evidence={"p": tests, "relations": shown},
        first=found[0] if found else "",
        edit=drop_edit(config, found),
    )


def telling(config: Config, data: Data, columns: list[str]) -> tuple[dict[str, float], dict[str, list[str]]]:
    """(a column of each order that tells of the target: standard errors by which others tell of it, see `relations`; all
    columns of that order). Those that would be named are looked at again by a forest, which sees what no pair shows."""
    few = predictive_power.sample_of(config, data)
    config, x, y = few.config, predictive_power.table(data, columns, few), few.y
    limit = 0.55 + 3 * predictive_power.null_deviation(config, y)
    tells = [
        j
        for j, c in enumerate(columns)
        if predictive_power.alone(config, x[:, j], y, data.roles[c] != "numeric") > limit
    ]
    others = np.random.default_rng(0).permutation([j for j in range(len(columns)) if j not in tells])
    if not tells:
        return {}, {}
    kept = np.array([*tells, *others], dtype=int)[:PARTNERS]
    between, first = relations(config, x[:, kept], y)
    shown: dict[str, float] = {}
    alike: dict[str, list[str]] = {}
    for at, j in enumerate(kept[: len(tells)]):
        name = columns[kept[first[at]]]
        shown[name] = between[at]
        alike.setdefault(name, []).append(columns[j])
    for name in aloof(shown):
        shown[name] = max(shown[name], _told(config, x, columns.index(name), y))
    return shown, alike


def too_exact(column: np.ndarray, y: np.ndarray) -> float:
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
    classes = [y] if y.dtype == np.float64 else [y == k for k in range(y.max() + 1)]
    p_values = [1.0]
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
            p_values.append(float(f.cdf(miss / spread.sum() * (free + 2) / free, free, inside)))
    return min(p_values)


def relations(config: Config, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(standard errors by which other columns tell of each column of x [n, d] among rows of the same target: [d]; the first
    column of the same order as each: [d]).

    Whatever a target causes or is caused by is related to other columns in some way beside it: patients who are ill have
    large cells that are also dark; an order returned for its brand needed no other reason. A column that was computed
    from the target is not. Columns of one order, as copies are, count as one: they do not vouch for each other.
    """
    ranks, level = _ranks(x), _levels(config, y)
    first, same = np.unique(_orders(ranks), return_inverse=True)
    if len(first) < 3:
        return np.zeros(x.shape[1]), first[same]
    rest, bent = (_within(part, level) for part in (ranks[:, first], (ranks[:, first] - 0.5) ** 2))
    return np.maximum(_together(rest), _in_pairs(rest, bent, level))[same], first[same]


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of each column from 0 to 1; missing ones share the lowest."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.where(np.isfinite(x), x, -np.inf), axis=0) / len(x))


def _levels(config: Config, y: np.ndarray) -> np.ndarray:
    """Classes, or a number cut into LEVELS of equal counts: int64 [n]."""
    from scipy.stats import rankdata

    return (
        np.minimum((rankdata(y) - 1) * LEVELS // len(y), LEVELS - 1).astype(int) if config.task == "regression" else y
    )


def _orders(ranks: np.ndarray) -> np.ndarray:
    """For each column the first one that puts the rows into the same order, forwards or backwards: positions [d]."""
    z = _unit(ranks)
    alike = np.abs(z.T @ z) > SAME
    np.fill_diagonal(alike, True)
    first = alike.argmax(axis=1)
    return np.asarray(first[first])


def _unit(x: np.ndarray) -> np.ndarray:
    """Columns of mean zero and length one; constant ones are all zero."""
    x = x - x.mean(axis=0)
    length = np.sqrt((x**2).sum(axis=0))
    return np.asarray(x / np.where(length > 1e-9, length, np.inf))


def _within(x: np.ndarray, level: np.ndarray) -> np.ndarray:
    """What is left of x [n, d] without its mean at each level, as `_unit` columns."""
    order = np.argsort(level, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(level[order]) != 0])
    sizes = np.diff(np.r_[starts, len(level)])
    left = np.empty(x.shape)
    left[order] = x[order] - np.repeat(np.add.reduceat(x[order], starts, axis=0) / sizes[:, None], sizes, axis=0)
    return _unit(left)


def _together(rest: np.ndarray) -> np.ndarray:
    """Correlation of each column with its prediction from all others, in standard errors: ridge regression in five folds,
    of every column at once by the inverse of what they have in common."""
    n, d = rest.shape
    fold = np.random.default_rng(0).permutation(n) % 5
    predicted = np.empty(rest.shape)
    for k in range(5):
        inner, held = rest[fold != k], fold == k
        inverse = np.linalg.inv(inner.T @ inner + d / n * np.eye(d))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        predicted[held] = rest[held] @ weights
    return np.asarray((_unit(predicted) * rest).sum(axis=0) * np.sqrt(n))


def _in_pairs(rest: np.ndarray, bent: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How the column that tells most of each one does so, in standard errors less what the best of so many has by chance:
    straight, by the square of its rank, or straight but otherwise at every level."""
    from scipy.stats import chi2, norm

    n, d = rest.shape
    found = [np.abs(part.T @ rest) * np.sqrt(n) for part in (rest, bent)]
    p = [2 * norm.sf(one) for one in found]
    sizes = np.bincount(level)
    many = np.argsort(-sizes)[:LEVELS]
    parts = [_unit(rest[level == k]) for k in many if sizes[k] >= FEW]
    if len(parts) > 1:
        p.append(chi2.sf(sum(len(one) * (one.T @ one) ** 2 for one in parts), len(parts)))
    best = np.minimum.reduce(p)
    np.fill_diagonal(best, 1.0)
    return np.asarray(norm.isf(np.clip(best.min(axis=0) * len(p) * (d - 1) / 2, 1e-300, 0.5)))


def _told(config: Config, x: np.ndarray, j: int, y: np.ndarray) -> float:
    """Correlation of what is left of column j with its prediction from the others and the target, in standard errors."""
    from sklearn.ensemble import RandomForestRegressor

    ranks, level = _ranks(x), _levels(config, y)
    others = np.abs(_unit(ranks).T @ _unit(ranks[:, [j]]))[:, 0] <= SAME
    others[j] = False
    rest, share = _within(ranks[:, [j]], level)[:, 0], predictive_power.tried(x.shape[1])
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=5, max_features=share, oob_score=True, random_state=0, n_jobs=2
    )
    prediction = np.nan_to_num(forest.fit(np.c_[ranks[:, others], level], rest).oob_prediction_)
    return float((_unit(prediction[:, None])[:, 0] * rest).sum() * np.sqrt(len(rest)))


def aloof(shown: dict[str, float]) -> list[str]:
    """Columns whose relations do not show, far below most of the others: at most a third of at least three.

    Run on 155 targets in published tables of economics, it named 23 columns: 22 are logarithms, squares or dummies of the
    target, one is not.
    """
    alone = [c for c, z in shown.items() if z < UNSEEN]
    others = [z for c, z in shown.items() if c not in alone]
    usual = float(np.quantile(others, 0.25)) if others else 0.0
    return [c for c in alone if len(alone) <= len(shown) // 3 and usual - shown[c] > GAP]
