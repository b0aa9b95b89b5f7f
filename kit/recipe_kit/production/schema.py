"""What the model reads: the columns of training with their kinds. A row to predict is read as one of training was, or refused.

A column is a dict: name, role, missing (share in training), low and high or the most frequent values; and its kind, with
what else reading depends on (see engine/kinds.py). A value that training would have read as something else is refused with
a reason: "9.5" is not the category 9. A row that is empty in every column is refused, unless each of them had gaps in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from ..owner.engine import kinds
from ..owner.engine.target import counted
from ..owner.task import FEATURES, Data

PLAIN = {"numeric": ("number", "integer"), **dict.fromkeys(("categorical", "ordinal"), ("integer", "text"))}
SHOWN = 50  # most frequent values of a category that the schema lists
Column = dict[str, Any]


def describe(train: Data) -> list[Column]:
    """The columns that the model reads, as they are in the training part."""
    return [_column(train, name, train.roles[name]) for name in train.columns(*FEATURES)]


def _column(train: Data, name: str, role: str) -> Column:
    series = train.frame[name]
    kind = kinds.to_predict(train, name)
    column: Column = {"name": name, "role": role, "missing": series.null_count() / len(series), **kind}
    if kind["kind"] == "number":
        numbers = series.cast(pl.Float64, strict=False).drop_nulls()
        column |= {"low": numbers.min(), "high": numbers.max(), "middle": numbers.median()}
    elif role in ("categorical", "ordinal"):
        column["values"] = list(counted(series))[:SHOWN]
    return column


def read(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> tuple[pl.DataFrame, list[str]]:
    """Rows as a frame of the types of training, and what is wrong with each ("" = nothing; its bad values are null)."""
    reasons = [""] * len(rows)
    series = []
    for column in columns:
        name = column["name"]
        try:
            values = [row[name] for row in rows]
        except KeyError:
            values = [row.get(name) for row in rows]
            _note(reasons, {i: f"has no column {name!r}" for i, row in enumerate(rows) if name not in row})
        read, bad = kinds.of_values(name, values, column)
        _note(
            reasons,
            {i: f"has {_short(values[i])} in column {name!r}, which {kinds.why(values[i], column)}" for i in bad},
        )
        series.append(read)
    frame = pl.DataFrame(series)
    gaps = all(column.null_count() for column in frame.get_columns())  # else no row can be empty
    nothing = pl.all_horizontal(pl.all().is_null()).arg_true()
    empty = set(frame.select(nothing).to_series()) if gaps and not all(c.get("missing") for c in columns) else set()
    return frame, [why or ("is empty in every column" if i in empty else "") for i, why in enumerate(reasons)]


def plain(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """The columns of rows in which nothing is to be read and nothing is wrong; None for any other rows."""
    found: dict[str, list[Any]] = {}
    for column in columns:
        name, kinds_of = column["name"], PLAIN.get(column["role"], ())
        values = [row.get(name, rows) for row in rows]  # `rows` is of no plain type
        if column["kind"] not in kinds_of or not kinds.plain(values, column):
            return None
        found[name] = values
    gaps = all(None in values for values in found.values())  # else no row can be empty
    return None if gaps and any(set(row) == {None} for row in zip(*found.values(), strict=True)) else found


def _note(reasons: list[str], found: dict[int, str]) -> None:
    for i, why in found.items():
        reasons[i] = reasons[i] or why


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 40 else words[:37] + "..."


def as_row(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, Any]:
    """A row of training as JSON can hold it: what a client would send."""
    return {c["name"]: _plain(row[c["name"]]) for c in columns}


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float) else str(value)
