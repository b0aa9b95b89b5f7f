"""Leakage: columns that know the answer because they were written after it, or because they name the row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data
from . import copies, independence, predictive_power
from .check_result import CheckResult, check_result, not_applicable
from .data import listed

POWER = 0.97  # legitimate features reach .976 and 1.00 (breast cancer, iris): from here a WARN, never alone a FAIL
EARLY = 0.5  # difference in emptiness, without and with a target, of a column recorded after the outcome
ALL = 0.95  # such a difference that leaves nothing to explain
WHOLE = 0.05  # difference up to which another column counts as equally complete on both
TABLE = ("numeric", "categorical", "ordinal")


def after_outcome(config: Config, data: Data) -> CheckResult:
    """Columns that are empty where the target is empty, and filled where it is known: recorded with the outcome.

    Needs rows without a target; they say what is known before the outcome. A FAIL only where most other columns are as
    complete there as elsewhere: rows of another source, and people who answer nothing, leave many columns empty.
    """
    check = "recorded after the outcome"
    rows = None if data.unlabeled is None else data.unlabeled.filter(data.unlabeled[data.target].is_null())
    if rows is None or rows.height < 20:
        return not_applicable(check, "fewer than 20 rows without a target")
    columns = [c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction]
    empty = {c: (_empty(rows, c), _empty(data.frame, c)) for c in columns}
    late = [c for c in columns if empty[c][0] - empty[c][1] > EARLY]
    gone = all(empty[c][0] - empty[c][1] > ALL for c in late)
    whole = [c for c in columns if abs(empty[c][0] - empty[c][1]) <= WHOLE]
    words = "; ".join(
        f"{c} is empty on {empty[c][0]:.0%} of rows without a target and {empty[c][1]:.1%} of rows with one"
        for c in late
    )
    return check_result(
        check,
        words or f"no column goes missing together with {data.target}",
        fail=bool(late) and gone and len(whole) > len(columns) / 2,
        warn=bool(late),
        evidence={"columns": late, "empty": empty},
        early=EARLY,
        edit=drop_edit(config, late),
    )


def _empty(frame: pl.DataFrame, column: str) -> float:
    return frame[column].null_count() / frame.height


def drop_edit(config: Config, names: list[str]) -> str:
    """The edit to recipe.toml that drops these columns, too."""
    return f"in recipe.toml: drop = {listed([*config.drop, *names])}   (or name them in known_at_prediction if they really are)"


def known_edit(config: Config, names: list[str]) -> str:
    """The edit to recipe.toml that declares these columns known, too."""
    known = listed([*config.known_at_prediction, *names])
    return f"in recipe.toml: known_at_prediction = {known}   (or drop them)"


def single_column(config: Config, data: Data) -> CheckResult:
    """Columns that are the target under another name, a FAIL each; and how well every other predicts it, cross-validated.

    A strong column is a WARN that asks, also where it is all there is: iris has such columns and they are legitimate.
    """
    check = "dominant feature"
    columns = data.columns(*TABLE)
    if not columns:
        return not_applicable(check, "no table columns to try one by one")
    free = [c for c in columns if c not in config.known_at_prediction]
    again = copies.copies(config, data, free)
    few = predictive_power.sample_of(config, data)
    x = predictive_power.table(data, columns, few)
    alone = {
        c: predictive_power.alone(few.config, x[:, i], few.y, data.roles[c] != "numeric") for i, c in enumerate(columns)
    }
    strong = [c for c in free if alone[c] > POWER and c not in again]
    top = sorted(alone, key=lambda c: -alone[c])[:3]
    observed = "strongest alone: " + ", ".join(f"{c} {alone[c]:.3f}" for c in top) + predictive_power.sampled(data)
    evidence: dict[str, Any] = {"power": alone, "copies": again}
    if strong:
        whole, rest = _peel(few.config, x, few.y, [c not in strong for c in columns])
        observed += f"; all columns {whole:.3f}, without {', '.join(strong)} {rest:.3f} (0.5 = chance, 1 = perfect)"
        evidence |= {"with": whole, "without": rest}
    named = [*again] or strong
    return check_result(
        check,
        "; ".join([*(f"{c} {how}, as {data.target} has them" for c, how in again.items()), observed]),
        fail=bool(again),
        warn=bool(strong),
        why="copies" if again else "causes",
        evidence=evidence,
        power=POWER,
        off=copies.OFF,
        first=named[0] if named else "",
        edit=drop_edit(config, named) if again else known_edit(config, named),
    )


def _peel(config: Config, x: np.ndarray, y: np.ndarray, kept: list[bool]) -> tuple[float, float]:
    """Skill of a forest with all columns, and with the kept ones only (0.5 when none is left)."""
    whole = predictive_power.skill(config, predictive_power.out_of_fold(config, x, y), y)
    rest = predictive_power.skill(config, predictive_power.out_of_fold(config, x[:, kept], y), y) if any(kept) else 0.5
    return whole, rest


def missing_tells(config: Config, data: Data) -> CheckResult:
    """Whether the pattern of missing values alone predicts the target: filled in differently once the outcome is known.

    A FAIL for a column that is filled in where the target has one value, and only there.
    """
    check = "informative missingness"
    columns = [
        c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction and data.frame[c].null_count()
    ]
    if not columns:
        return not_applicable(check, "no missing values")
    two = data.frame[data.target].n_unique() == 2
    exact = {c: copies.of_classes(data.frame[c].is_null(), data.frame[data.target]) for c in columns if two}
    sure = [c for c in exact if exact[c]]
    few = predictive_power.sample_of(config, data)
    x = np.stack([few.column(data.frame[c].is_null().to_numpy().astype(float), False) for c in columns], axis=1)
    value = predictive_power.single(few.config, x, few.y)
    limit = 0.6 + 3 * predictive_power.null_deviation(few.config, few.y)
    each = (
        {c: predictive_power.alone(few.config, x[:, i], few.y, True) for i, c in enumerate(columns)}
        if value > limit
        else {}
    )
    worst = sure[0] if sure else max(each, key=lambda c: each[c], default=columns[0])
    words = "".join(f"{c} is empty for one value of {data.target} and filled in for the other; " for c in sure)
    return check_result(
        check,
        f"{words}which values are missing predicts {data.target} with {value:.3f} (0.5 = chance){predictive_power.sampled(data)}",
        fail=bool(sure),
        warn=value > limit,
        evidence={"score": value, "limit": limit, "exact": sure},
        worst=worst,
        edit=drop_edit(config, sure or [worst]),
    )


def row_number(config: Config, data: Data) -> CheckResult:
    """Whether a feature counts rows: those of the file, or for ranking those of each query.

    A FAIL where the rows are sorted by class, or by relevance, as well: the count then gives the answer away. A sorted
    file alone is harmless (iris is one): splits and batches are shuffled. A count may also be a time, as years are.
    """
    free = [c for c in data.columns("numeric") if c not in config.known_at_prediction]
    query = independence.queries(config, data)
    counters = [c for c in free if (counts_rows if query is None else partial(_counts_within, query))(data.frame[c])]
    few = predictive_power.sample_of(config, data)
    value = predictive_power.alone(few.config, few.column(np.arange(len(data), dtype=float), False), few.y, False)
    limit = 0.55 + 3 * predictive_power.null_deviation(few.config, few.y)
    ordered = independence.in_order(config, data)
    return check_result(
        "row number as feature",
        f"{', '.join(counters) or 'no column'} counts rows; the row number predicts {data.target} with {value:.3f} (0.5 = chance)"
        + (f"; the rows are sorted by {data.target}" if ordered else ""),
        fail=bool(counters) and ordered and config.task != "regression",
        warn=bool(counters),
        evidence={"score": value, "limit": limit, "counters": counters, "sorted": ordered},
        first=counters[0] if counters else "",
        edit=drop_edit(config, counters),
    )


def _counts_within(query: np.ndarray, column: pl.Series) -> bool:
    """Whether the rows of every query are numbered one by one, up or down."""
    if column.null_count():
        return False
    steps = independence.steps_within(query, column.cast(pl.Float64).to_numpy())
    return len(steps) >= 20 and bool((steps == 1).all() or (steps == -1).all())


def counts_rows(column: pl.Series) -> bool:
    """Whole numbers that only rise, or only fall, through the file, in steps of much the same size: a row number."""
    if not column.dtype.is_numeric() or column.null_count() or len(column) < 20:
        return False
    values = column.cast(pl.Float64).to_numpy()
    steps = np.diff(values)
    one_way = bool((steps > 0).all()) or bool((steps < 0).all())
    whole = bool((values == np.round(values)).all())
    return one_way and whole and float(np.abs(steps).max()) <= 20 * float(np.median(np.abs(steps)))


CHECKS = (after_outcome, single_column, missing_tells, row_number)
