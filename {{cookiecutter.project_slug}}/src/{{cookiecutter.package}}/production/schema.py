"""What the model reads: the columns of training with their types. A row to predict is read as one of training was, or refused.

A column is a dict: name, role, kind (one of KINDS), missing (share in training), and low and high or the most frequent
values. A value that training would have read as something else is refused with a reason: "9.0" is not the category 9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from ..engine.target import as_text
from ..errors import UserError
from ..task import Data

FEATURES = ("numeric", "categorical", "ordinal", "text", "image")
KINDS: dict[str, Any] = {
    "number": pl.Float64, "text": pl.String, "image": pl.String, "integer": pl.Int64, "boolean": pl.Boolean,
    "date": pl.Date, "datetime": pl.Datetime("us"),
}  # fmt: skip
SHOWN = 50  # most frequent values of a category that the schema lists
NUMBER = re.compile(r"\s*[-+]?(\d[\d.]*|\.\d+|inf|infinity|nan)(e[-+]?\d+)?\s*", re.IGNORECASE | re.ASCII)
Column = dict[str, Any]


def describe(train: Data) -> list[Column]:
    """The columns that the model reads, as they are in the training part."""
    return [_column(train.frame[name], train.roles[name]) for name in train.columns(*FEATURES)]


def _column(series: pl.Series, role: str) -> Column:
    kind = {"numeric": "number", "image": "image", "text": "text"}.get(role) or _kind(series)
    column: Column = {"name": series.name, "role": role, "kind": kind, "missing": series.null_count() / len(series)}
    if kind == "number":
        numbers = series.cast(pl.Float64, strict=False).drop_nulls()
        column |= {"low": numbers.min(), "high": numbers.max(), "middle": numbers.median()}
    elif role in ("categorical", "ordinal"):
        counted = as_text(series).drop_nulls().value_counts(sort=True).head(SHOWN)
        column["values"] = counted[series.name].to_list()
    return column


def _kind(series: pl.Series) -> str:
    kind = series.dtype
    if kind.is_integer():
        return "integer"
    if kind.is_float():
        return "number"
    plain = {pl.Boolean: "boolean", pl.Date: "date", pl.Datetime: "datetime"}
    found = plain.get(kind.base_type())
    if found or kind.base_type() in (pl.String, pl.Categorical, pl.Enum):
        return found or "text"
    raise UserError(f"column {series.name!r} is of type {kind}, which cannot be served; write it as text, or drop it")


def read(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> tuple[pl.DataFrame, list[str]]:
    """Rows as a frame of the types of training, and what is wrong with each ("" = nothing; its bad values are null)."""
    reasons = [""] * len(rows)
    series = []
    for column in columns:
        name, values = column["name"], []
        for i, row in enumerate(rows):
            try:
                values.append(_value(column["kind"], row[name]))
            except KeyError:
                values.append(None)
                reasons[i] = reasons[i] or f"has no column {name!r}"
            except ValueError as error:
                values.append(None)
                reasons[i] = reasons[i] or f"has {_short(row[name])} in column {name!r}, which {error}"
        series.append(pl.Series(name, values, dtype=KINDS[column["kind"]]))
    frame = pl.DataFrame(series)
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_list() if rows else []
    return frame, [
        why or ("is empty in every column" if none else "") for why, none in zip(reasons, empty, strict=True)
    ]


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 40 else words[:37] + "..."


def _value(kind: str, value: Any) -> Any:
    """The value as training would have read it. Raises ValueError with words that follow "which"."""
    if value is None:
        return None
    if kind == "number":
        return _number(value)
    if kind == "image" and isinstance(value, bytes):
        raise ValueError("is not the base64 of a file")
    if kind in ("text", "image"):
        return _text(value)
    if kind == "boolean":
        return _boolean(value)
    return _integer(value) if kind == "integer" else _moment(kind, value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not NUMBER.fullmatch(str(value)):
        raise ValueError("is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError("is not a number") from None
    if math.isinf(number):
        raise ValueError("is infinite")
    return None if math.isnan(number) else number


def _integer(value: Any) -> int:
    number = _number(value)
    if number is None or number != int(number) or abs(number) >= 2**63:
        raise ValueError("is not a whole number")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return value


def _boolean(value: Any) -> bool:
    words = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("is not true or false")


def _moment(kind: str, value: Any) -> Any:
    """A date or a time; a time with a zone is taken to UTC, as training reads it."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"is not a {kind} like 2013-01-31") from None
    if isinstance(value, datetime):
        value = value.replace(tzinfo=None) - (value.utcoffset() or value - value)
        return value.date() if kind == "date" else value
    if kind == "date" and isinstance(value, date):
        return value
    raise ValueError(f"is not a {kind} like 2013-01-31")


def as_row(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, Any]:
    """A row of training as JSON can hold it: what a client would send."""
    return {c["name"]: _plain(row[c["name"]]) for c in columns}


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float) else str(value)
