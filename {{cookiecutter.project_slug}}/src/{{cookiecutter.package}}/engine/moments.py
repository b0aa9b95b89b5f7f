"""Dates and times as they are written: year first, day first or month first, with a time and a zone or without."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import polars as pl

DATE = r"^\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})"
CLOCK = r"[T ]\s*(\d{1,2}:\d{2})(:\d{2}(?:[.,]\d{1,9})?)?(?: ?([AaPp][Mm]))?(?: ?(Z|UTC|[+-]\d{2}:?\d{2}))?"
MOMENT = rf"{DATE}(?:{CLOCK})?\s*$"
ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d)?", re.ASCII)
ORDERS = {"ymd": "%Y-%m-%d", "dmy": "%d-%m-%Y", "mdy": "%m-%d-%Y"}


def order_of(known: pl.Series, first: str = "dmy") -> dict[str, Any] | None:
    """A date or a time: year first, else day first where that can be all through, else month first."""
    kind = "date" if not known.str.contains(":", literal=True).any() else "datetime"
    if not _plain(known).null_count():
        return {"kind": kind, "order": "ymd"}
    values = known.unique()
    for order in ("mdy", "dmy") if first == "mdy" else ("dmy", "mdy"):
        if not moments(values, order).null_count():
            return {"kind": kind, "order": order if values.str.contains(r"^\s*\d{1,2}\D").any() else "ymd"}
    return None


def iso_times(values: list[str | None]) -> list[datetime | None] | None:
    """What `moments` makes of these, in Python, where all are written 2013-01-31 or 2013-01-31T18:30:00; else None. For a
    few values it is ten times as fast."""
    if any(value is not None and not ISO.fullmatch(value) for value in values):
        return None
    try:
        return [None if value is None else datetime.fromisoformat(value) for value in values]
    except ValueError:
        return None


def moments(column: pl.Series, order: str) -> pl.Series:
    """Times in UTC of texts; year first, or in this order. A text with a zone is taken to UTC, one without is left as it is."""
    plain = _plain(column)
    rest = column.set(plain.is_not_null(), None)
    return plain if rest.null_count() == len(rest) else plain.fill_null(_any_moment(rest, order))


def _plain(column: pl.Series) -> pl.Series:
    """Those that are written as most files have them, by the fast way of polars; null for all others."""
    times = column.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    if not times.null_count():
        return times
    return times.fill_null(column.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")))


def _any_moment(column: pl.Series, order: str) -> pl.Series:
    date, year = pl.col("day"), pl.col("day").str.contains(r"^\d{4}")
    half, zone = pl.col("half"), pl.col("zone").str.replace(":", "")
    clock = pl.col("clock").fill_null("0:00") + pl.col("seconds").str.replace(",", ".", literal=True).fill_null(":00")
    hours, minutes = (zone.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, 3))
    ahead = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1) * (60 * hours + minutes)

    def read(day: str) -> pl.Expr:
        full = (date + " " + clock).str.to_datetime(f"{day} %H:%M:%S%.f", strict=False, time_unit="us")
        halved = (date + " " + clock + " " + half).str.to_datetime(
            f"{day} %I:%M:%S%.f %p", strict=False, time_unit="us"
        )
        return pl.when(half.is_null()).then(full).otherwise(halved)

    parts = column.to_frame("text").select(
        pl.col("text").str.extract(f"({DATE[1:]})").str.strip_chars().str.replace_all("[/.]", "-").alias("day"),
        *(
            pl.col("text").str.extract(MOMENT, i).alias(name)
            for i, name in enumerate(("clock", "seconds", "half", "zone"), 1)
        ),
        pl.col("text").str.contains(MOMENT).alias("fits"),
    )
    moment = pl.when(year).then(read(ORDERS["ymd"])).otherwise(read(ORDERS[order])) - pl.duration(
        minutes=ahead.fill_null(0)
    )
    return parts.select(pl.when(pl.col("fits")).then(moment)).to_series().cast(pl.Datetime("us"))
