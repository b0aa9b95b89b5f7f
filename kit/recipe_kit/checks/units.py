"""One column in two units, one category in two spellings: what a join of sources leaves behind."""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.target import counted
from ..owner.task import Data
from .check_result import CheckResult, check_result

# Factors between units that people use for one thing: powers of ten (metric prefixes, per cent, cents), minutes and
# hours, days, dozens, inches, feet, yards, miles, pounds, ounces, gallons, horsepower, calories, pascals, glucose.
FACTORS = (
    10, 100, 1e3, 1e4, 1e5, 1e6, 1e9, 60, 3600, 24, 86_400, 12, 2.54, 25.4, 3.2808, 30.48, 1.0936, 1.6093, 2.2046, 28.35,
    453.59, 3.7854, 4.1868, 6.8948, 18.016,
)  # fmt: skip
VALLEY = 4.0  # standard errors by which the middle between two humps must be emptier than either
SHAPE = 0.01  # chance at which two humps of one shape are still taken for different
NEAR = 3.0  # standard errors between the offset of the humps and a known factor
FEW = 10  # rows that a hump has at least, or a value of a column that tells humps apart
TENTHS = 10


def mixed_units(config: Config, data: Data) -> CheckResult:
    """Numeric columns in two humps of one shape, a known factor apart on the logarithmic scale, or as degrees C and F are,
    and no other column that tells the humps apart, the target included: those would be two kinds of things.

    No column with one hump has the valley, few with two have them alike, and of those the offset hits one of some thirty
    factors, to three standard errors, by chance: 7 of 4,092 real columns did, and 2 that no other column tells.
    Units so near that their humps run into one (inches and centimeters of things that differ more than that), or that
    another column names, are not told.
    """
    found: dict[str, str] = {}
    for name in data.columns("numeric"):
        column = data.frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        there = np.isfinite(column) & (column != 0)
        x = column[there]
        if len(x) < 4 * FEW or len(np.unique(x)) < 2 * FEW:
            continue
        words, cut = _two_units(x)
        if words and not _told(data.frame.drop(name).filter(pl.Series(there)), x > cut):
            found[name] = words
    return check_result(
        "mixed units",
        "; ".join(f"{c}: {words}" for c, words in found.items()) or "no column in two humps a known factor apart",
        warn=bool(found),
        evidence={"columns": found},
        first=next(iter(found), ""),
    )


def _told(others: pl.DataFrame, high: np.ndarray) -> bool:
    """Whether another column explains half of the variance of the upper hump [n]: by tenths of numbers, or by values."""
    for column in others:
        if column.dtype.is_nested():
            continue
        if column.dtype.is_numeric() and column.n_unique() > TENTHS:
            column = (column.rank("average") * TENTHS / (len(high) + 1)).floor()
        elif column.n_unique() > len(high) / FEW:
            continue
        within = pl.DataFrame({"by": column, "high": high}).group_by("by").agg(pl.len(), pl.col("high").var(ddof=0))
        if float((within["len"] * within["high"]).sum()) < len(high) * float(high.var()) / 2:
            return True
    return False


def _two_units(x: np.ndarray) -> tuple[str, float]:
    """(what the two humps are, in words, and the end of the lower one); '' for one hump, humps of two shapes, or an offset
    that is no known factor."""
    if (x > 0).all() or (x < 0).all():
        logs = np.log(np.abs(x))
        low, high = humps(logs)
        if len(low) and _alike(low, high):
            error = np.sqrt(np.var(low) / len(low) + np.var(high) / len(high))
            offset = high.mean() - low.mean()
            for factor in FACTORS:
                if abs(offset - np.log(factor)) < NEAR * error:
                    words = f"{len(high) / len(x):.0%} of the values are about {factor:g} times the others"
                    return words, float(np.sort(x)[len(low) - 1] if x[0] > 0 else np.sort(x)[len(high) - 1])
    low, high = humps(x)
    if len(low) and _alike(1.8 * low + 32, high, shifted=False):
        words = f"{len(high) / len(x):.0%} of the values look like degrees F, the others like degrees C"
        return words, float(low.max())
    return "", 0.0


def humps(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two humps of a sample [n], cut where the middle between them is emptiest; two empty arrays for one hump.

    Cut where the sum of squares within is least (two means in one dimension, exactly). If the density had one hump, a
    band in the middle would hold at least as many rows as the emptier of two such bands around the means, but for the
    Poisson error of both counts.
    """
    x = np.sort(x)
    n = len(x)
    left = np.arange(1, n)
    total = np.cumsum(x)
    between = (total[:-1] / left - (total[-1] - total[:-1]) / (n - left)) ** 2 * left * (n - left)
    cut = int(between.argmax()) + 1
    low, high = x[:cut], x[cut:]
    none = x[:0]
    if min(len(low), len(high)) < FEW:
        return none, none
    a, b = float(np.median(low)), float(np.median(high))
    width = (b - a) / 3
    counts = [int(((x >= at - width / 2) & (x < at + width / 2)).sum()) for at in (a, (a + b) / 2, b)]
    emptier = min(counts[0], counts[2])
    if width <= 0 or emptier - counts[1] < VALLEY * np.sqrt(emptier + counts[1]):
        return none, none
    return low, high


def _alike(low: np.ndarray, high: np.ndarray, shifted: bool = True) -> bool:
    """Whether two samples have one shape (Kolmogorov and Smirnov's test), with any shift between them or with none."""
    from scipy.stats import ks_2samp

    if shifted:
        low, high = low - np.median(low), high - np.median(high)
    return bool(ks_2samp(low, high).pvalue > SHAPE)


def spellings(config: Config, data: Data) -> CheckResult:
    """Categories that are one once capitals, accents, blanks and punctuation are ignored: "New York", "new-york "."""
    found: dict[str, list[str]] = {}
    rows = 0
    for name in data.columns("categorical", "ordinal"):
        ways: dict[str, dict[str, int]] = {}
        for value, count in counted(data.frame[name]).items():
            if plain := _plain(value):
                ways.setdefault(plain, {})[value] = count
        several = [way for way in ways.values() if len(way) > 1]
        if several:
            found[name] = [" = ".join(map(repr, way)) for way in several]
            rows += sum(sum(way.values()) - max(way.values()) for way in several)
    shown = "; ".join(f"{c}: {', '.join(ways[:2])}" for c, ways in found.items())
    return check_result(
        "spellings",
        shown or "every category is written in one way",
        warn=bool(found),
        share=min(rows / len(data), 1.0),
        evidence={"columns": found},
    )


def _plain(value: str) -> str:
    """Letters and digits only, without case and accents, and signs that tell values apart: A+ and A-, 1-2 and 12, C and C#.

    A hyphen between two letters is a way of writing a blank.
    """
    text = unicodedata.normalize("NFKD", value).casefold().strip()
    around = zip([" ", *text], text, [*text[1:], " "], strict=False)
    return "".join(
        c for a, c, b in around if c.isalnum() or c in "+<>=*/#%" or (c == "-" and not (a.isalpha() and b.isalpha()))
    )


CHECKS = (mixed_units, spellings)
