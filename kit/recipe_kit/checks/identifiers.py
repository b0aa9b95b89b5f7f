"""Whole numbers that name things (users, shops, zip codes) and are used as quantities: their size says nothing."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from scipy.stats import kstwo, norm

from ..owner.config import Config
from ..owner.task import Data
from .check_result import CheckResult, check_result, not_applicable
from .data import listed
from .independence import snake
from .leakage import counts_rows

CHANCE = 0.01  # that a column whose neighboring values share half of what rows of one value share is called a name
VALUES = 20  # that come back, at least: fewer cannot show whether their order matters
ROWS = 50_000  # that are looked at
COLUMNS = 30  # that are compared between rows of one value
CALLED = re.compile(
    r"(^|_)(id|uid|uuid|guid|code|key|nr|no|number|zip|zipcode|postcode|postal|fips|sku|isbn|ean|"
    r"user|customer|patient|subject|person|device|machine|session|account|household|store|shop|school|firm)s?$"
)
QUANTITY = re.compile(
    r"(^|_)(age|year|yr|season|quarter|month|week|weekday|day|hour|hr|minute|date|time|count|rank|score|rating)s?($|_)"
)


def identifiers(config: Config, data: Data) -> CheckResult:
    """Whole numbers of which rows with one value are alike, and rows with neighboring values no more than any others.

    The name of a column is further evidence, for or against; alone it decides nothing.
    """
    check = "names used as numbers"
    columns = [c for c in data.columns("numeric") if c not in getattr(config, "numeric", [])]
    if not columns:
        return not_applicable(check, "no column is read as a number unless you said so")
    found = names_things(data, columns)
    rows = [name for name in found if data.frame[name].n_unique() == len(data)]
    things = [name for name in found if name not in rows]
    edits = [f"id = {listed([*getattr(config, 'id', []), *rows])}"] if rows else []
    edits += [f"categorical = {listed([*getattr(config, 'categorical', []), *things])}"] if things else []
    first = next(iter(things or found), "")
    return check_result(
        check,
        "; ".join(f"{name}: {why}" for name, why in found.items()) or f"none of {len(columns)} columns",
        warn=bool(found),
        evidence={"columns": found},
        chance=CHANCE,
        first=first,
        edit=", ".join(edits),
        group=f' (or group = "{first}" where rows of one belong together and new ones will come)' if things else "",
    )


def names_things(data: Data, columns: list[str]) -> dict[str, str]:
    """Those of these columns that name things, each with what says so."""
    few = np.sort(np.random.default_rng(0).permutation(len(data))[:ROWS])
    frame = data.frame[few].unique(maintain_order=True)
    others = [data.target, *data.columns("numeric", "categorical", "ordinal", "group", "time")][:COLUMNS]
    outcomes = {name: z for name in others if (z := _standard(frame[name])) is not None}
    found = {}
    for name in (c for c in columns if not counts_rows(data.frame[c])):
        whole = _whole(frame[name])
        if whole is not None and (why := _evidence(name, whole, outcomes, frame)):
            found[name] = why
    return found


def _whole(column: pl.Series) -> np.ndarray | None:
    """The values, NaN where missing, if they are whole numbers that differ; None otherwise."""
    values = column.cast(pl.Float64).to_numpy()
    known = values[~np.isnan(values)]
    return values if len(known) and bool((known == np.round(known)).all()) and known.min() < known.max() else None


def _evidence(name: str, values: np.ndarray, outcomes: dict[str, np.ndarray], frame: pl.DataFrame) -> str:
    """Why the column names things, in words; '' where it does not."""
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    called = is_called_name(name)
    if called and len(distinct) == known.sum() > VALUES:
        return f"{len(distinct):,} whole numbers, no two alike, in a column of that name"
    year = distinct[0] >= 1900 and distinct[-1] <= 2100
    if not called and (year or QUANTITY.search(snake(name)) or not _even(distinct) or _describes(name, frame)):
        return ""
    limit = float(norm.isf(CHANCE / max(len(outcomes) - 1, 1)))
    for other, z in outcomes.items():
        if other == name:
            continue
        own, next_to, any_two = _differences(values[known], z[known])
        half = own if called else (own + any_two) / 2
        if len(own) > VALUES and _surely(next_to - half[:-1], limit):
            return (
                f"{len(distinct):,} whole numbers; in {other}, rows of one value have a variance of {own.mean():.2f}, rows"
                f" of neighboring values {next_to.mean():.2f}, and any two {any_two.mean():.2f}"
            )
    return ""


def is_called_name(column: str) -> bool:
    """Whether a column is called as names of things are."""
    return CALLED.search(snake(column)) is not None


def _standard(column: pl.Series) -> np.ndarray | None:
    """Ranks of numbers and moments, or whether a category is the most frequent one; mean 0, variance 1. None for what
    says nothing of rows: a constant, or a whole number of its own for each."""
    if column.dtype.is_nested() or (column.dtype.is_integer() and column.n_unique() == len(column)):
        return None
    if column.null_count() == len(column):
        return None
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        values = column.rank()
    else:
        values = column == column.drop_nulls().mode().sort()[0]
    z = values.cast(pl.Float64).fill_null(strategy="mean").to_numpy()
    return (z - z.mean()) / z.std() if z.std() > 0 else None


def _differences(values: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half the mean squared difference in z, for each value that comes back, in their order: between two rows of it,
    between one of it and one of the next, and between one of it and one of any value."""
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    again = count > 1
    n = count[again]
    mean = np.bincount(at, z)[again] / n
    spread = np.maximum(np.bincount(at, z * z)[again] / n - mean**2, 0)
    if len(n) < 2:
        return spread, spread, spread
    next_to = (spread[:-1] + spread[1:] + np.diff(mean) ** 2) / 2
    any_two = (spread + spread.mean() + (mean - mean.mean()) ** 2 + mean.var()) / 2
    return spread * n / (n - 1), next_to, any_two


def _surely(differences: np.ndarray, limit: float) -> bool:
    """Whether the mean is above zero by so many standard errors; neighbors may be correlated."""
    apart = differences - differences.mean()
    together = max(float(apart[1:] @ apart[:-1]), 0.0)
    error = np.sqrt(float(apart @ apart) + 2 * together) / len(apart)
    return bool(differences.mean() > max(limit * error, 1e-9))


def _even(distinct: np.ndarray) -> bool:
    """Whether the values lie evenly over their range, as names that are counted up or drawn do; amounts thin out."""
    place = (distinct - distinct[0]) / (distinct[-1] - distinct[0])
    apart = np.abs(place - np.linspace(0, 1, len(place))).max()
    return bool(apart < kstwo.isf(CHANCE, len(place)))


def _describes(name: str, frame: pl.DataFrame) -> bool:
    """Whether another column has one value of this for each of its own, and more of them: a person's age names nobody."""
    mine = frame[name].n_unique()
    for other in frame.columns:
        kind = frame.schema[other]
        if other == name or kind.is_float() or kind.is_nested():
            continue
        values = frame[other].n_unique()
        if mine < values < 0.9 * frame.height and frame[[name, other]].n_unique() == values:
            return True
    return False
