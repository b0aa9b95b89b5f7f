"""How the values of a column are read. A kind is decided once, in training; then every cell, from whatever file or request,
becomes a value by the same function.

A kind is a dict that JSON can hold: "kind", one of KINDS, and what else reading depends on:
  order    of a date: "ymd", or "dmy" or "mdy", in which a date that is not written year first is read
  written  of a number that is more than digits: see formatted.py
  gaps     what stands for a missing value: of a text, nothing unless it says so; of any other kind MISSING
  numbers  of a text: whether numbers occur among the texts of a JSON file
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from ..errors import UserError
from . import formatted
from .moments import MOMENT, iso_times, moments, order_of

if TYPE_CHECKING:
    from ..task import Data

KINDS: dict[str, Any] = {
    "number": pl.Float64, "text": pl.String, "image": pl.String, "integer": pl.Int64, "boolean": pl.Boolean,
    "date": pl.Date, "datetime": pl.Datetime("us"), "empty": pl.String, "series": pl.String,
}  # fmt: skip
MISSING = ["", "NA", "NaN", "nan", "null"]
MOST = sys.float_info.max
BOOLEANS = {"true": True, "false": False}
WHY = {
    "number": "is not a number", "text": "is not a text", "integer": "is not a whole number",
    "boolean": "is not true or false", "date": "is not a date like 2013-01-31", "series": "is not a list of numbers such as [0.5, null]",
    "datetime": "is not a date and time like 2013-01-31 18:30", "image": "is not a text", "empty": "is not read",
}  # fmt: skip

Kind = dict[str, Any]


def decide(column: pl.Series, typed: bool, said: str = "") -> Kind | None:
    """The kind of a column whose gaps are nulls; None where nothing can be made of its values.

    typed: the file has types of its own, so that digits in a text are no number. said: "number", "text", "series" or "mdy"
    (month first) where the settings say so.
    """
    if column.null_count() == len(column):
        return {"kind": "empty"}
    kind = {"kind": said} if said == "series" else of_dtype(column.dtype)
    if kind == {"kind": "text"} and said != "text":
        return _of_text(column.cast(pl.String).rename(""), typed, said)
    if kind == {"kind": "integer"} and not -(2**63) <= int(column.min()) <= int(column.max()) < 2**63:  # type: ignore[arg-type]
        return {"kind": "number"}
    return kind


def of_dtype(dtype: pl.DataType) -> Kind | None:
    """The kind of a column whose file has types of its own; None where nothing can be made of this one."""
    if dtype.is_integer() or (dtype == pl.Decimal and not dtype.scale):  # type: ignore[attr-defined]
        return {"kind": "integer"}
    if dtype.is_float() or dtype in (pl.Decimal, pl.Duration, pl.Time):
        return {"kind": "number"}
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return {"kind": "text"}
    plain = {pl.Boolean: "boolean", pl.Date: "date", pl.Datetime: "datetime"}
    return {"kind": plain[dtype.base_type()]} if dtype.base_type() in plain else None


def _of_text(column: pl.Series, typed: bool, said: str) -> Kind:
    known = column.drop_nulls()
    if said == "number":
        return {"kind": "number"} if plain_number(known) else {"kind": "number", "written": formatted.written(known)}
    some = known.head(100)  # where these do not fit, all do not: cheap for long texts
    if not typed and plain_number(some) and plain_number(known):
        return {"kind": "integer"} if not _integers(known).null_count() else {"kind": "number"}
    if not typed and _booleans(some).null_count() == 0 and _booleans(known).null_count() == 0:
        return {"kind": "boolean"}
    if some.str.contains(MOMENT).all() and known.str.contains(MOMENT).all():
        return order_of(known, said) or {"kind": "text"}
    return {"kind": "text"}


def plain_number(column: pl.Series) -> bool:
    """Whether every value is a number in digits."""
    return not numbers_of(column).null_count()


def convert(column: pl.Series, kind: Kind) -> tuple[pl.Series, pl.Series]:
    """The values of a column as training reads them, and which of them cannot be read so: those are null."""
    name, column = column.name, column.rename("")
    gaps = kind.get("gaps", [] if kind["kind"] in ("text", "image") else MISSING)
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column = column.set(column.is_in(gaps).fill_null(False), None) if gaps else column
    elif column.dtype.is_float():
        column = column.fill_nan(None)
    values = CONVERTERS[kind["kind"]](column, kind).cast(KINDS[kind["kind"]])
    bad = values.is_null() & column.is_not_null()
    return values.rename(name), bad


def _to_number(column: pl.Series, kind: Kind) -> pl.Series:
    if column.dtype == pl.String:
        values = numbers_of(column)
        if written := kind.get("written"):
            values = formatted.numbers(column, written).fill_null(values)
    elif column.dtype == pl.Duration:
        values = column.dt.total_microseconds() / 1e6
    elif column.dtype == pl.Time:
        values = column.cast(pl.Int64) / 1e9
    elif column.dtype.is_numeric():
        values = column.cast(pl.Float64)
    else:
        return _none(column, pl.Float64)
    return values.set(values.is_infinite().fill_null(False), None)


def numbers_of(column: pl.Series) -> pl.Series:
    """Numbers in digits; null for anything else."""
    return column.str.strip_chars().cast(pl.Float64, strict=False)


def _integers(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().cast(pl.Int64, strict=False)


def _to_integer(column: pl.Series, kind: Kind) -> pl.Series:
    """Whole numbers; of "4.0" and 4.0 the 4."""
    if column.dtype == pl.String:
        return _integers(column).fill_null(_whole(numbers_of(column)))
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    return _whole(column.cast(pl.Float64)) if column.dtype.is_numeric() else _none(column, pl.Int64)


def _whole(numbers: pl.Series) -> pl.Series:
    whole = (numbers == numbers.round()) & (numbers.abs() < 2**53)
    return numbers.set(~whole.fill_null(False), None).cast(pl.Int64)


def _to_boolean(column: pl.Series, kind: Kind) -> pl.Series:
    if column.dtype == pl.String:
        return _booleans(column)
    return column if column.dtype == pl.Boolean else _none(column, pl.Boolean)


def _booleans(column: pl.Series) -> pl.Series:
    lower = column.str.strip_chars().str.to_lowercase()
    return lower.replace_strict(list(BOOLEANS), list(BOOLEANS.values()), default=None, return_dtype=pl.Boolean)


def _to_text(column: pl.Series, kind: Kind) -> pl.Series:
    if column.dtype == pl.String or (column.dtype.is_numeric() and kind.get("numbers")):
        return column.cast(pl.String)
    return _none(column, pl.String)


def _to_moment(column: pl.Series, kind: Kind) -> pl.Series:
    if column.dtype == pl.String:
        column = moments(column, kind.get("order", "ymd"))
    elif column.dtype == pl.Datetime and column.dtype.time_zone:  # type: ignore[attr-defined]
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column if column.dtype in (pl.Date, pl.Datetime) else _none(column, KINDS[kind["kind"]])


def _to_series(column: pl.Series, kind: Kind) -> pl.Series:
    return pl.Series([written(value) for value in column.to_list()], dtype=pl.String)


def written(value: Any) -> str | None:
    """A list of numbers, with null for a gap, as the JSON text that a frame holds; None for anything else."""
    with suppress(ValueError, OverflowError, RecursionError):
        numbers = json.loads(value) if isinstance(value, str) else value
        if isinstance(numbers, list) and {type(x) for x in numbers} <= {int, float, type(None)}:
            return json.dumps([None if x is None or x != x else float(x) for x in numbers], allow_nan=False)
    return None


def _none(column: pl.Series, dtype: Any) -> pl.Series:
    return pl.Series([None] * len(column), dtype=dtype)


CONVERTERS: dict[str, Callable[[pl.Series, Kind], pl.Series]] = {
    "number": _to_number, "integer": _to_integer, "boolean": _to_boolean, "text": _to_text, "image": _to_text,
    "date": _to_moment, "datetime": _to_moment, "empty": _to_text, "series": _to_series,
}  # fmt: skip


def short(value: Any) -> str:
    """A value as a sentence shows it."""
    words = repr(value.to_list() if isinstance(value, pl.Series) else value)
    return words if len(words) <= 60 else words[:57] + "..."


def of_column(data: Data, name: str) -> Kind:
    """How a column was read; by its type where the loader does not say."""
    dtype = data.frame.schema[name]
    kind = data.kinds.get(name) or of_dtype(dtype)
    if kind is None:
        raise UserError(f"column {name!r} is of type {dtype}, which cannot be served; write it as text, or drop it")
    return kind


def to_predict(train: Data, name: str) -> Kind:
    """How a feature is read in rows to predict: what was a whole number in training may be any number there."""
    kind, role = of_column(train, name), train.roles[name]
    if role in ("text", "image"):
        return {**kind, "kind": role}
    return {**kind, "kind": "number"} if role == "numeric" and kind["kind"] != "boolean" else kind


def of_values(name: str, values: list[Any], kind: Kind) -> tuple[pl.Series, list[int]]:
    """`convert` for Python values, as a JSON request or a row of Parquet has them: those of each type together; and the
    positions of those that cannot be read.

    What a client ought to send takes no detour: one Series, and nothing else. An image is the path of its file, or the
    bytes that a request brought.
    """
    types = set(map(type, values)) - {type(None)}
    if plain(values, kind):
        return pl.Series(name, values, dtype=KINDS[kind["kind"]]), []
    if kind["kind"] in ("date", "datetime") and types == {str} and (times := iso_times(values)) is not None:
        return pl.Series(name, times, dtype=pl.Datetime("us")).cast(KINDS[kind["kind"]]), []
    if kind["kind"] == "image" and bytes in types:
        pictures = [value if isinstance(value, bytes) else None for value in values]
        odd = [i for i, value in enumerate(values) if not isinstance(value, bytes | None)]
        return pl.Series(name, pictures, dtype=pl.Binary), odd
    found: list[Any] = [None] * len(values)
    wrong: list[int] = []
    if kind["kind"] == "series":  # lists, and their texts, are read one by one
        values = [json.dumps(value, default=str) if isinstance(value, list) else value for value in values]
    for one in set(map(type, values)) - {type(None)}:
        rows = [i for i, value in enumerate(values) if type(value) is one]
        read, bad = _of_type([values[i] for i in rows], one, kind)
        for i, value, no in zip(rows, read, bad, strict=True):
            found[i] = value
            wrong += [i] if no else []
    return pl.Series(name, found, dtype=KINDS[kind["kind"]]), sorted(wrong)


def plain(values: list[Any], kind: Kind) -> bool:
    """Whether the values are of the type that their kind has in JSON already, none of them a gap: nothing is to be read."""
    name, types = kind["kind"], set(map(type, values)) - {type(None)}
    if name == "number":
        return types <= {float, int} and all(value is None or abs(value) <= MOST for value in values)
    if name == "integer":
        return types <= {int} and all(value is None or abs(value) < 2**63 for value in values)
    if name in ("text", "image"):
        gaps = kind.get("gaps", ())
        return types <= {str} and all(value not in gaps and is_text(value) for value in set(values) - {None})
    return name == "boolean" and types <= {bool}


def _of_type(values: list[Any], one: type, kind: Kind) -> tuple[list[Any], list[bool]]:
    """Values of one Python type; of a type that no column has, all are wrong."""
    sound = [True] * len(values)
    if one is str:
        sound = [is_text(value) for value in values]
        values = [value if fits else None for value, fits in zip(values, sound, strict=True)]
    elif one is int:
        values = [float(value) if 2**63 <= abs(value) <= MOST else value for value in values]
        values = [value if abs(value) <= MOST else math.inf for value in values]
    try:
        series = pl.Series(values, dtype=pl.Float64 if float in map(type, values) else None)
        read, bad = convert(series, kind)
    except (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError):
        return [None] * len(values), [True] * len(values)
    return read.to_list(), [no or not fits for no, fits in zip(bad, sound, strict=True)]


def is_text(cell: str) -> bool:
    """Whether a text can be written as UTF-8: bytes that are not were escaped when it was read."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def why(value: Any, kind: Kind) -> str:
    """What is wrong with a value that `of_values` could not read, in words that follow "which"."""
    if isinstance(value, str) and not is_text(value):
        return "is not valid Unicode"
    return "is infinite" if infinite(value) and kind["kind"] == "number" else WHY[kind["kind"]]


def infinite(value: Any) -> bool:
    """Whether a value is an infinite number, as text or as number."""
    try:
        return math.isinf(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
