"""Rows of one value, or of none, whose outcomes agree as those of the rows around them do not: made from the outcome."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import copies

AGAIN, SIDE = 5, 20  # rows of a value at least; rows on either side that it is held against
AROUND = 10  # values on either side that tell how often one comes
OFTEN = 1e-6  # chance that a value comes so much more often than those around it, or that so many rows are on one line
EITHER, SEEN = 0.05, 1e-3  # chance that the rows of a value agree so against either side, and against both
PURE, MOST = 0.98, 0.9  # share of the rows of a value that are of one class; of the rows of such values that tell
SOME = 0.05  # share of the rows, or of those with an outcome, that such values have at least
PAIRS, LEAST, FAR = 60, 0.1, 5  # lines that are tried; share of the rows on one, and how much denser they lie there


class Made(NamedTuple):
    """Values that tell their outcome, their rows, the chance of it, and whether it is one for each of several classes and
    hardly another value comes as often."""

    values: int
    rows: int
    chance: float
    sure: bool


def made_values(x: np.ndarray, y: np.ndarray) -> Made | None:
    """Values of x [n] that come again and again among measurements and tell the outcome y [n], class numbers or float64.

    A measurement has outcomes between those of the rows below and above it. A class that few of the rows on either side
    have, or numbers closer to each other than those around them are to the line through these, mark a value that was
    filled in or computed. So does the mean or the median of its class, to the last digit. Values at the ends are passed
    over: scales that are cut off pile up there.
    """
    x, y = x[np.isfinite(x)], y[np.isfinite(x)]
    values, at, counts = np.unique(x, return_inverse=True, return_counts=True)
    digits = copies.decimals(values)
    often = _often(counts, digits) if len(values) >= copies.LEVELS else np.zeros(len(values), dtype=bool)
    rest = np.flatnonzero(~often[at])
    if not 0 < often.sum() <= copies.LEVELS or len(rest) < 2 * copies.LEVELS:
        return None
    rest = rest[np.argsort(x[rest], kind="stable")]
    found: list[tuple[float, int, int]] = []
    for place in np.flatnonzero(often):
        own, cut, kind = y[at == place], int(np.searchsorted(x[rest], values[place])), -1
        sides = [rest[max(cut - SIDE, 0) : cut], rest[cut : cut + SIDE]]
        if y.dtype == np.float64:
            near = np.concatenate(sides)
            slope = np.polyfit(x[near], y[near], 1)[0] if np.ptp(x[near]) > 0 else 0.0
            level = [y[side] - slope * (x[side] - values[place]) for side in sides]
            inside = [(own.min() <= one) & (one <= own.max()) for one in level]
            chance = _more(len(own) - 2, len(own) - 2, inside)  # two of them say where the others lie
        else:
            kind = int(np.bincount(own).argmax())
            hits = int((own == kind).sum())
            chance = min(_more(hits, len(own), [y[side] == kind for side in sides]),
                         _center_of(values[place], digits[place], x[rest], y[rest] == kind))  # fmt: skip
            chance = chance if hits >= PURE * len(own) else 1.0
        if chance * often.sum() < SEEN:
            found.append((chance, len(own), kind))
    rows = sum(n for _, n, _ in found)
    sure = len({kind for _, _, kind in found}) > 1 and rows >= MOST * counts[often].sum()
    made = Made(len(found), rows, float(np.prod([chance for chance, _, _ in found])), sure)
    return made if rows > SOME * len(x) else None


def _often(counts: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Which values come far more often than those around them, or again and again with more decimals than most rows have."""
    from scipy.stats import poisson

    common = np.median(np.repeat(digits, counts))
    often = np.zeros(len(counts), dtype=bool)
    for i in np.flatnonzero(counts[1:-1] >= AGAIN) + 1:
        usual = np.quantile(np.delete(counts[max(i - AROUND, 0) : i + AROUND + 1], min(int(i), AROUND)), 0.8)
        often[i] = digits[i] > common or poisson.sf(counts[i] - 1, max(usual, 1.0)) < OFTEN
    return often


def _more(hits: int, n: int, sides: list[np.ndarray]) -> float:
    """Chance of so many hits in n rows by those of both sides, bool [m] each, where either side makes it unlikely; else by the
    side that has more."""
    from scipy.stats import hypergeom

    if min(map(len, sides)) < AGAIN:
        return 1.0
    some = [(n + len(side), hits + int(side.sum())) for side in (*sides, np.concatenate(sides))]
    *each, both = (float(hypergeom.sf(hits - 1, of, marked, n)) for of, marked in some)
    return both if max(each) < EITHER else max(each)


def _center_of(value: float, digits: int, x: np.ndarray, inside: np.ndarray) -> float:
    """Chance that a value is the mean or the median of the rows `inside`, and not of all, up to its last digit."""
    allowed = max(0.55 * 10.0**-digits * (digits < copies.DECIMALS), 1e-9 * np.ptp(x))
    if not inside.any() or x[inside].std() == 0:
        return 1.0
    own, all_rows = (min(abs(value - rows.mean()), abs(value - np.median(rows))) for rows in (x[inside], x))
    return min(1.0, 4 * allowed / x[inside].std()) if own <= allowed < all_rows else 1.0


def on_a_line(x: np.ndarray, y: np.ndarray) -> int:
    """Rows of x, y [n] on the line that most lie on, to the last digit, where the others lie anywhere; 0 where there is none.

    Lines go through PAIRS random pairs of rows: one that holds a quarter of them is missed once in fifty tables. Rows must
    lie FAR times as densely on it as right beside it, and more so than chance has it.
    """
    from scipy.stats import poisson

    there = np.isfinite(x) & np.isfinite(y)
    points = np.unique(np.stack([x[there], y[there]], axis=1), axis=0)
    if min(len(np.unique(one)) for one in points.T) < copies.LEVELS:
        return 0
    (x, y), most = points.T, 0
    units, n = [copies.unit(one) for one in (x, y)], len(points)
    for i, j in np.random.default_rng(0).integers(0, n, (PAIRS, 2)):
        slope = (y[j] - y[i]) / (x[j] - x[i]) if x[j] != x[i] else 0.0
        allowed = 0.55 * (units[1] + abs(slope) * units[0]) + copies.SLACK * np.ptp(y)
        left = np.abs(y - y[i] - slope * (x - x[i]))
        hit, beside = left <= allowed, int(((left > allowed) & (left <= 3 * allowed)).sum()) / 2
        off = left[left > allowed]
        on, levels = int(hit.sum()), [len(np.unique(one[hit])) for one in (x, y)]
        apart = min(*levels, len(off)) >= copies.LEVELS and np.median(off) > copies.LEVELS * allowed
        if apart and on > max(LEAST * n, FAR * beside) and poisson.sf(on - 3, max(beside, 0.5)) * PAIRS < OFTEN:
            most = max(most, on)
    return most


def one_outcome(own: np.ndarray, y: np.ndarray) -> float:
    """Chance that rows (bool [n]) are all of one class, or all at or beyond one number, of the outcomes y [n], whichever it is; 1
    where they are few. A stretch of the file counts as one row: what grows is small at the start, where lags are empty."""
    some = y[own]
    if not len(some):
        return 1.0
    if y.dtype == np.float64:
        share, ways, least = min(float(np.mean(y >= some.min())), float(np.mean(y <= some.max()))), 2, SOME
    else:
        share = float(np.mean(y == some[0])) if (some == some[0]).all() else 1.0
        ways, least = int(y.max()) + 1, SOME * share
    stretches = int(own[0]) + np.count_nonzero(own[1:] & ~own[:-1])
    return min(1.0, ways * share**stretches) if own.mean() > least else 1.0


def level_of_one_outcome(x: np.ndarray, y: np.ndarray) -> float:
    """Chance that one of the few values of x [n] comes with one outcome alone; 1 where there are more than LEVELS of them."""
    values, at = np.unique(x, return_inverse=True)
    levels = range(len(values)) if 1 < len(values) <= copies.LEVELS else ()
    return min((one_outcome(at == k, y) * len(values) for k in levels), default=1.0)
