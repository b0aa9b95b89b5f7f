"""What is noticed while a file is read: values that were read in one way and could be meant in another. `recipe audit` tells it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from . import formatted, kinds
from .moments import MOMENT, moments, order_of

SOME = 1000  # values by which a column of texts is told to be worth a closer look
MOST = 0.5  # share of its values that would have to be numbers, or dates
SHOWN = 3


@dataclass(frozen=True)
class Note:
    """One thing that was noticed. about: what (see checks/reading.py). column: '' = the file. facts: JSON can hold them."""

    about: str
    column: str
    facts: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """The note as JSON-able values."""
        return asdict(self)


def of_column(column: pl.Series, kind: kinds.Kind) -> list[Note]:
    """What is to be said of a column, its gaps nulls, that is read as this kind."""
    name, dtype = column.name, column.dtype
    if kind["kind"] == "empty":
        return [Note("empty", name, {})]
    if dtype in (pl.Duration, pl.Time):
        return [Note("seconds", name, {"type": "durations" if dtype == pl.Duration else "times of day"})]
    if dtype != pl.String:
        return []
    known = column.rename("").drop_nulls()
    if kind["kind"] == "text":
        return _of_texts(name, known)
    return _of_dates(name, known, kind) if kind["kind"] in ("date", "datetime") else []


def _of_texts(name: str, known: pl.Series) -> list[Note]:
    """Texts most of which are numbers in some writing, or dates."""
    some = known.head(SOME)
    if kinds.numbers_of(some).is_not_null().mean() + _formatted(some).is_not_null().mean() >= MOST:  # type: ignore[operator]
        return _numbers(name, known)
    if some.str.contains(MOMENT).mean() >= MOST:  # type: ignore[operator]
        dates = known.filter(known.str.contains(MOMENT))
        others = known.filter(~known.str.contains(MOMENT))
        if order_of(dates) and len(others):
            return [Note("dates", name, {"values": len(known), "dates": len(dates), **_others(others)})]
    return []


def _formatted(known: pl.Series) -> pl.Series:
    """Those that are numbers in a writing of their own; null where they are not, or are plain numbers."""
    values = formatted.numbers(known, formatted.written(known))
    return values.set(kinds.numbers_of(known).is_not_null(), None)


def _numbers(name: str, known: pl.Series) -> list[Note]:
    plain, written = kinds.numbers_of(known).is_not_null(), _formatted(known)
    others = known.filter(~plain & written.is_null())
    example = next(((text, value) for text, value in zip(known, written, strict=True) if value is not None), None)
    facts = {
        "values": len(known), "plain": int(plain.sum()), "written": int(written.is_not_null().sum()),
        "marks": _marks(known.filter(written.is_not_null()).head(SOME)), "example": example,
        "distinct": known.n_unique(), **_others(others),
    }  # fmt: skip
    return [Note("numbers", name, facts)]


def _others(others: pl.Series) -> dict[str, Any]:
    """The values that do not fit, the most frequent ones by name."""
    counts = Counter(others.to_list())
    return {"others": len(others), "spellings": len(counts), "words": [word for word, _ in counts.most_common(SHOWN)]}


def _marks(values: pl.Series) -> list[str]:
    """What is written around the digits: "$", ",", "%", a unit; the most frequent first."""
    counts = Counter(
        mark for value in values for mark in re.findall(r"[^\d\s.+-]+|(?<=\d)[ \u00a0\u202f](?=\d)", value)
    )
    return [mark for mark, _ in counts.most_common(SHOWN + 1)]


def _of_dates(name: str, known: pl.Series, kind: kinds.Kind) -> list[Note]:
    """Dates that could as well be read in the other order, no value of which says in which."""
    other = {"dmy": "mdy", "mdy": "dmy"}.get(kind["order"], "")
    if not other:
        return []
    values = known.unique(maintain_order=True)
    one, two = moments(values, kind["order"]), moments(values, other)
    differ = (one != two).fill_null(True)
    if two.null_count() or not differ.any():
        return []
    shown = [str(m.filter(differ)[0].date()) for m in (one, two)]
    facts = {"order": kind["order"], "example": values.filter(differ)[0], "read": shown[0], "other": shown[1]}
    return [Note("order", name, facts)]
