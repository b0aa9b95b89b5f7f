"""Columns that are the target under another name. An honest column may be as strong as it likes; it is never the target."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data
from .independence import in_order

OFF = 0.02  # share of the rows that a copy may get wrong, at 95 % certainty
LEVELS = 20  # values of a number that must be told apart: through fewer, honest columns may lie on one line
CHANCE = 1e-6  # of a pairing in which no row is wrong
TRIMS = 3  # times that a line is fitted again without the rows that lie farthest off
DECIMALS = 10
SLACK = 1e-6  # of the range of a number that was written with six digits


def copies(config: Config, data: Data, names: list[str]) -> dict[str, str]:
    """The columns that hold the target, each with the words for how."""
    target = data.frame[data.target]
    few = config.task in ("binary", "multiclass") or target.n_unique() < LEVELS
    ordered = data.take(data.frame[config.time].arg_sort().to_numpy()) if config.time else data
    numbers = partial(of_numbers, rises=not few and in_order(config, ordered))
    told = {name: (of_classes if few else numbers)(data.frame[name], target) for name in names}
    return {name: words for name, words in told.items() if words}


def of_classes(column: pl.Series, target: pl.Series) -> str:
    """How the values of a column name the classes one to one, missing as one of them, or where it is not missing; else ''."""
    there = column.is_not_null()
    if (words := _one_to_one(column, target)) or there.all():
        return words
    words = _one_to_one(column.filter(there), target.filter(there))
    return words and f"where it is filled in, {words}"


def _one_to_one(column: pl.Series, target: pl.Series) -> str:
    """Few errors at the best pairing of values with classes (Kuhn 1955), against those by chance.

    A copy has as many values as there are classes: a finer column may decide a class honestly, as a diagnosis decides
    a treatment. Errors count by what chance would give, so that a rare class is no excuse.
    """
    from scipy.optimize import linear_sum_assignment

    n, k, values = len(target), target.n_unique(), column.n_unique()
    if k < 2 or values < k or values > k + OFF * n:
        return ""
    x, y = (one.cast(pl.String).rank("dense").fill_null(0).to_numpy().astype(np.int64) for one in (column, target))
    table = np.bincount(x * (k + 1) + y, minlength=(x.max() + 1) * (k + 1)).reshape(-1, k + 1)
    of, to = linear_sum_assignment(table, maximize=True)
    right = int(table[of, to].sum())
    apart = 1 - float((table.sum(axis=1)[of] / n * table.sum(axis=0)[to] / n).sum())
    same = right == n and _equal(column, target)
    if not same and not surely(n - right, n * apart * k / (k - 1)):
        return ""
    return f"{'is the same in' if same else f'names the {k} values one to one in'} {right:,} of {n:,} rows"


def _equal(column: pl.Series, target: pl.Series) -> bool:
    kind = pl.Float64 if column.dtype.is_numeric() and target.dtype.is_numeric() else pl.String
    return bool((column.cast(kind) == target.cast(kind)).fill_null(False).all())


def surely(off: int, rows: float) -> bool:
    """Whether at most OFF of the rows are wrong where `off` were: by the exact Poisson limit at 95 %, 3 rows for none."""
    from scipy.stats import chi2

    return bool(chi2.isf(0.05, 2 * (off + 1)) / 2 <= OFF * rows)


def of_numbers(column: pl.Series, target: pl.Series, rises: bool = False) -> str:
    """How a column of numbers is the target: equal to it, on a line with it, plain or in logarithms, or in its order unless the
    file `rises` with it, as every count of time then does; else ''."""
    numbers = column.cast(pl.Float64, strict=False)
    there = numbers.is_not_null() & numbers.is_finite()
    x, y = numbers.filter(there).to_numpy(), target.filter(there).cast(pl.Float64).to_numpy()
    if min(len(np.unique(x)), len(np.unique(y))) < LEVELS:
        return ""
    share = np.unique(y, return_counts=True)[1] / len(y)
    rows = len(y) * (1 - float((share**2).sum()))  # where most are zero, two columns agree by chance
    for how, off in [*_ways(x, y), *([] if rises else [("orders the rows as it does", _out_of_order(x, y))])]:
        if off == 0 or surely(off, rows):
            among = "" if there.all() else "where it is filled in, "
            return f"{among}{how} in {len(y) - off:,} of {len(y):,} rows"
    return ""


def _ways(x: np.ndarray, y: np.ndarray) -> list[tuple[str, int]]:
    """(how x is y, rows in which it is not) for each way to look at it."""
    units = [unit(one) for one in (x, y)]
    plain = [(one, np.full(len(one), unit)) for one, unit in zip((x, y), units, strict=True)]
    ways = [("is the same", int((x != y).sum())), ("is on a line with it", _off_line(*plain[0], *plain[1]))]
    logs = [(np.log(one), unit / one) if (one > 0).all() else None for one, unit in zip((x, y), units, strict=True)]
    if logs[1]:
        ways.append(("is on a line with its logarithm", _off_line(*plain[0], *logs[1])))
    if logs[0]:
        ways.append(("has a logarithm on a line with it", _off_line(*logs[0], *plain[1])))
    if logs[0] and logs[1]:
        ways.append(("is a power of it", _off_line(*logs[0], *logs[1])))
    return ways


def _out_of_order(x: np.ndarray, y: np.ndarray) -> int:
    """Rows outside the longest chain in which y never falls where x rises, or never where x falls; all of them where one has
    less than half as many values as the other."""
    least, values = len(y), sorted(len(np.unique(one)) for one in (x, y))
    for one in (x, -x) if 2 * values[0] >= values[1] else ():
        runs = y[np.lexsort((y, one))]
        if (np.diff(runs) < 0).mean() <= OFF:  # each step down costs a row
            ends: list[float] = []  # the last of the longest chains, by their length
            for value in runs.tolist():
                at = bisect_right(ends, value)
                ends[at : at + 1] = [value]
            least = min(least, len(y) - len(ends))
    return least


def _off_line(x: np.ndarray, unit_x: np.ndarray, y: np.ndarray, unit_y: np.ndarray) -> int:
    """Rows off the best line by more than the rounding of both; all of them where rounding leaves too few levels.

    unit_x, unit_y [n]: one unit of the last digit that is written.
    """
    kept = np.ones(len(y), dtype=bool)
    for _ in range(TRIMS):
        center = x[kept].mean()
        slope, level = np.polyfit(x[kept] - center, y[kept], 1) if np.ptp(x[kept]) > 0 else (0.0, y[kept].mean())
        allowed = 0.55 * (unit_y + abs(slope) * unit_x) + SLACK * np.ptp(y)
        miss = np.abs(y - level - slope * (x - center)) / allowed
        kept = miss <= max(1.0, float(np.quantile(miss, 1 - OFF)))
    coarse = np.ptp(y) < LEVELS * 2 * float(np.median(allowed))
    return len(y) if coarse or slope == 0 else int((miss > 1).sum())


def decimals(x: np.ndarray) -> np.ndarray:
    """Decimals that each number is written with, DECIMALS where there are more: int64 [n]."""
    needed = np.full(len(x), DECIMALS)
    for digits in range(DECIMALS - 1, -1, -1):
        scaled = x * 10.0**digits
        needed[np.abs(scaled - np.round(scaled)) <= 1e-6 * np.maximum(1.0, np.abs(scaled) * 1e-6)] = digits
    return needed


def unit(x: np.ndarray) -> float:
    """One unit of the last decimal that these numbers are written with; 0 where there are too many to tell."""
    digits = int(decimals(x).max())
    return 10.0**-digits if digits < DECIMALS else 0.0
