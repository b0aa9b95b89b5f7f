"""Leakage: columns that know the answer because they were written after it, or because they name the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from . import power
from .data import listed
from .finding import Finding, finding, not_applicable

POWER = 0.97  # legitimate features reach .976 and 1.00 (breast cancer, iris): from here a WARN, never alone a FAIL
COLLAPSE = 0.5  # share of the skill above chance that a column takes with it before "drop it" is said
EARLY = 0.5  # difference in emptiness, without and with a target, of a column recorded after the outcome
TABLE = ("numeric", "categorical", "ordinal")


def after_outcome(config: Config, data: Data) -> Finding:
    """Columns that are empty where the target is empty, and filled where it is known: recorded with the outcome.

    Needs rows without a target; they say what is known before the outcome.
    """
    rows = None if data.unlabelled is None else data.unlabelled.filter(pl.col(data.target).is_null())
    if rows is None or rows.height < 20:
        return not_applicable("recorded after the outcome", "fewer than 20 rows without a target")
    columns = [c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction]
    empty = {c: (_empty(rows, c), _empty(data.frame, c)) for c in columns}
    late = [c for c in columns if empty[c][0] - empty[c][1] > EARLY]
    words = "; ".join(
        f"{c} is empty on {empty[c][0]:.0%} of rows without a target and {empty[c][1]:.1%} of rows with one"
        for c in late
    )
    return finding(
        "recorded after the outcome",
        words or f"no column goes missing together with {data.target}",
        fail=bool(late),
        evidence={"columns": late, "empty": empty},
        early=EARLY,
        edit=drop_edit(config, late),
    )


def _empty(frame: pl.DataFrame, column: str) -> float:
    return frame[column].null_count() / frame.height


def drop_edit(config: Config, names: list[str]) -> str:
    """The edit to recipe.toml that drops these columns, too."""
    return f"in recipe.toml: drop = {listed([*config.drop, *names])}   (or name them in known_at_prediction if they really are)"


def single_column(config: Config, data: Data) -> Finding:
    """How well each column alone predicts the target, cross-validated; and what is left when the strong ones go.

    A strong column is a WARN: iris has such columns and they are legitimate. It is a FAIL when a few columns carry
    nearly everything (skill above .97, and without them over half of the skill is gone), as a copy of the answer does.
    """
    check = "one column knows it all"
    columns = data.columns(*TABLE)
    if not columns or config.task == "ranking":
        return not_applicable(check, "no table columns to try one by one")
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    x = np.stack([power.column_numbers(data.frame[c][rows]) for c in columns], axis=1)
    alone = {c: power.single(config, x[:, [i]], y) for i, c in enumerate(columns)}
    suspects = [c for c in columns if alone[c] > POWER and c not in config.known_at_prediction]
    top = sorted(alone, key=lambda c: -alone[c])[:3]
    saw = "strongest alone: " + ", ".join(f"{c} {alone[c]:.3f}" for c in top) + power.sampled(data)
    evidence: dict[str, Any] = {"power": alone}
    if not suspects:
        return finding(check, saw, evidence=evidence, power=POWER)
    whole, rest = _peel(config, x, y, [c not in suspects for c in columns])
    collapse = len(suspects) <= max(1, len(columns) // 3) and whole - rest > COLLAPSE * (whole - 0.5)
    saw += f"; all columns {whole:.3f}, without {', '.join(suspects)} {rest:.3f} (0.5 = chance, 1 = perfect)"
    return finding(
        check,
        saw,
        fail=collapse,
        warn=True,
        evidence={**evidence, "with": whole, "without": rest},
        power=POWER,
        first=suspects[0],
        edit=drop_edit(config, suspects)
        if collapse
        else f"in recipe.toml: known_at_prediction = {listed(suspects)}   (or drop them)",
    )


def _peel(config: Config, x: np.ndarray, y: np.ndarray, kept: list[bool]) -> tuple[float, float]:
    """Skill of a forest with all columns, and with the kept ones only (0.5 when none is left)."""
    whole = power.skill(config, power.out_of_fold(config, x, y), y)
    rest = power.skill(config, power.out_of_fold(config, x[:, kept], y), y) if any(kept) else 0.5
    return whole, rest


def missing_tells(config: Config, data: Data) -> Finding:
    """Whether the pattern of missing values alone predicts the target: filled in differently once the outcome is known."""
    columns = [
        c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction and data.frame[c].null_count()
    ]
    if not columns or config.task == "ranking":
        return not_applicable("missing values tell", "no missing values")
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    x = np.stack([data.frame[c][rows].is_null().to_numpy().astype(float) for c in columns], axis=1)
    value = power.single(config, x, y)
    limit = 0.6 + 3 * power.null_deviation(config, y)
    worst = (
        max(columns, key=lambda c: power.single(config, x[:, [columns.index(c)]], y)) if value > limit else columns[0]
    )
    return finding(
        "missing values tell",
        f"which values are missing predicts {data.target} with {value:.3f} (0.5 = chance){power.sampled(data)}",
        warn=value > limit,
        evidence={"score": value, "limit": limit},
        worst=worst,
    )


def row_number(config: Config, data: Data) -> Finding:
    """Whether a feature counts rows while the file is sorted by the target: the row number then gives the answer away.

    A sorted file alone is harmless (iris is one): splits and batches are shuffled.
    """
    if config.task == "ranking":
        return not_applicable("row number as feature", "rows are ordered by query on purpose")
    counters = [
        c for c in data.columns("numeric") if counts_rows(data.frame[c]) and c not in config.known_at_prediction
    ]
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    value = power.single(config, rows[:, None].astype(float), y)
    limit = 0.55 + 3 * power.null_deviation(config, y)
    return finding(
        "row number as feature",
        f"{', '.join(counters) or 'no column'} counts rows; the row number predicts {data.target} with {value:.3f} (0.5 = chance)",
        fail=bool(counters) and value > limit,
        warn=bool(counters),
        evidence={"score": value, "limit": limit, "counters": counters},
        first=counters[0] if counters else "",
        edit=drop_edit(config, counters),
    )


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
