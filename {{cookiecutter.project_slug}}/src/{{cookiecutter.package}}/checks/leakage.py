"""Leakage: columns that know the answer because they were written after it, or because they name the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from . import power
from .finding import Cause, Finding, verdict

POWER = 0.97  # legitimate features reach .976 and 1.00 (breast cancer, iris): from here a WARN, never alone a FAIL
COLLAPSE = 0.5  # share of the skill above chance that a column takes with it before "drop it" is said
EARLY = 0.5  # difference in emptiness, without and with a target, of a column recorded after the outcome
TABLE = ("numeric", "categorical", "ordinal")


def after_outcome(config: Config, data: Data) -> Finding:
    """Columns that are empty where the target is empty, and filled where it is known: recorded with the outcome.

    Needs rows without a target; they say what is known before the outcome.
    """
    name = "recorded after the outcome"
    expected = (
        f"columns as complete on rows without a target as on rows with one (at most {EARLY:.0%} more of them empty)"
    )
    if data.unlabelled is None or data.unlabelled.height < 20:
        return Finding(name, "NOT APPLICABLE", "fewer than 20 rows without a target", expected)
    columns = [c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction]
    empty = {c: (_empty(data.unlabelled, c), _empty(data.frame, c)) for c in columns}
    late = [c for c in columns if empty[c][0] - empty[c][1] > EARLY]
    words = "; ".join(
        f"{c} is empty on {empty[c][0]:.0%} of rows without a target and {empty[c][1]:.1%} of rows with one"
        for c in late
    )
    return Finding(
        name,
        verdict(bool(late)),
        words or f"no column goes missing together with {data.target}",
        expected,
        (
            Cause("data", "the column is filled in when the outcome is known, so it is not there when you predict"),
            Cause("data", "rows without a target come from another source"),
        ),
        drop_edit(config, late),
        evidence={"columns": late, "empty": empty},
    )


def _empty(frame: pl.DataFrame, column: str) -> float:
    return frame[column].null_count() / frame.height


def drop_edit(config: Config, names: list[str]) -> str:
    """The edit to recipe.toml that drops these columns, too."""
    listed = ", ".join(f'"{n}"' for n in dict.fromkeys([*config.drop, *names]))
    return f"in recipe.toml: drop = [{listed}]   (or name them in known_at_prediction if they really are)"


def single_column(config: Config, data: Data) -> Finding:
    """How well each column alone predicts the target, cross-validated; and what is left when the strong ones go.

    A strong column is a WARN: iris has such columns and they are legitimate. It is a FAIL when a few columns carry
    nearly everything (skill above .97, and without them over half of the skill is gone), as a copy of the answer does.
    """
    name = "one column knows it all"
    columns = data.columns(*TABLE)
    expected = f"no single column above {POWER}; and if one is, others that agree with it"
    if not columns or config.task == "ranking":
        return Finding(name, "NOT APPLICABLE", "no table columns to try one by one", expected)
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    x = np.stack([power.column_numbers(data.frame[c][rows]) for c in columns], axis=1)
    alone = {c: power.single(config, x[:, [i]], y) for i, c in enumerate(columns)}
    suspects = [c for c in columns if alone[c] > POWER and c not in config.known_at_prediction]
    top = sorted(alone, key=lambda c: -alone[c])[:3]
    saw = "strongest alone: " + ", ".join(f"{c} {alone[c]:.3f}" for c in top) + power.sampled(data)
    evidence: dict[str, Any] = {"power": alone}
    if not suspects:
        return Finding(name, "PASS", saw, expected, evidence=evidence)
    whole, rest = _peel(config, x, y, [c not in suspects for c in columns])
    collapse = len(suspects) <= max(1, len(columns) // 3) and whole - rest > COLLAPSE * (whole - 0.5)
    saw += f"; all columns {whole:.3f}, without {', '.join(suspects)} {rest:.3f} (0.5 = chance, 1 = perfect)"
    return Finding(
        name,
        verdict(collapse, True),
        saw,
        expected,
        (
            Cause("data", f"{suspects[0]} is computed from the target, or is recorded after it"),
            Cause("data", "a legitimately decisive column: confirm that it is known when predicting"),
            Cause("preprocessing", "an encoding used the target"),
        ),
        drop_edit(config, suspects)
        if collapse
        else f"in recipe.toml: known_at_prediction = {_toml(suspects)}   (or drop them)",
        evidence={**evidence, "with": whole, "without": rest},
    )


def _toml(names: list[str]) -> str:
    return "[" + ", ".join(f'"{n}"' for n in names) + "]"


def _peel(config: Config, x: np.ndarray, y: np.ndarray, kept: list[bool]) -> tuple[float, float]:
    """Skill of a forest with all columns, and with the kept ones only (0.5 when none is left)."""
    whole = power.skill(config, power.out_of_fold(config, x, y), y)
    rest = power.skill(config, power.out_of_fold(config, x[:, kept], y), y) if any(kept) else 0.5
    return whole, rest


def missing_tells(config: Config, data: Data) -> Finding:
    """Whether the pattern of missing values alone predicts the target: filled in differently once the outcome is known."""
    name = "missing values tell"
    columns = [
        c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction and data.frame[c].null_count()
    ]
    if not columns or config.task == "ranking":
        return Finding(name, "NOT APPLICABLE", "no missing values", "missing values that say nothing of the target")
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    x = np.stack([data.frame[c][rows].is_null().to_numpy().astype(float) for c in columns], axis=1)
    value = power.single(config, x, y)
    limit = 0.6 + 3 * power.null_deviation(config, y)
    worst = (
        max(columns, key=lambda c: power.single(config, x[:, [columns.index(c)]], y)) if value > limit else columns[0]
    )
    return Finding(
        name,
        verdict(False, value > limit),
        f"which values are missing predicts {data.target} with {value:.3f} (0.5 = chance){power.sampled(data)}",
        f"under {limit:.3f}: 0.6 plus three null deviations at this n",
        (
            Cause("data", f"{worst} is filled in differently once the outcome is known"),
            Cause("data", "a legitimate sign: a test that was not ordered"),
            Cause("preprocessing", "a join found rows of one class only"),
        ),
        f'look at {worst}; then drop it, or in recipe.toml: known_at_prediction = ["{worst}"]',
        evidence={"score": value, "limit": limit},
    )


def row_number(config: Config, data: Data) -> Finding:
    """Whether a feature counts rows while the file is sorted by the target: the row number then gives the answer away.

    A sorted file alone is harmless (iris is one): splits and batches are shuffled.
    """
    name = "row number as feature"
    if config.task == "ranking":
        return Finding(name, "NOT APPLICABLE", "rows are ordered by query on purpose", "no feature that counts rows")
    counters = [
        c for c in data.columns("numeric") if counts_rows(data.frame[c]) and c not in config.known_at_prediction
    ]
    rows = power.sample(data)
    y = power.target_numbers(config, data, rows)
    value = power.single(config, rows[:, None].astype(float), y)
    limit = 0.55 + 3 * power.null_deviation(config, y)
    first = counters[0] if counters else ""
    return Finding(
        name,
        verdict(bool(counters) and value > limit, bool(counters)),
        f"{', '.join(counters) or 'no column'} counts rows; the row number predicts {data.target} with {value:.3f} (0.5 = chance)",
        f"no feature that counts rows; above all where the row number tells over {limit:.3f} (0.55 plus three null deviations)",
        (
            Cause("data", f"{first} is a row number or id: it leaks the order of the file"),
            Cause("split", "neighbouring rows belong together: declare a group or a time"),
        ),
        drop_edit(config, counters),
        evidence={"score": value, "limit": limit, "counters": counters},
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
