"""Numbers that are written as people write them: "$1,234.50", "12 %", "3,5 kg", "1.2M", "(300)", "08:30".

How those of a column are written is told once, in training, and pinned in its kind: a dict with
  decimal  "." or ","; the other one, a space or an apostrophe may part thousands
  units    unit -> factor, '' for none: 1 for each, but for K, M and B side by side
or with clock = True: hours and minutes, which become seconds.
"""

from __future__ import annotations

from typing import Any

import polars as pl

Written = dict[str, Any]

SIGNS = "[-+\u2212]"
MONEY = r"(?:[$€£¥₹]|(?:US|C|A)\$|[A-Z]{3}\b)"
GROUPS = {".": "[,'\u2019 \u00a0\u202f]", ",": "[.'\u2019 \u00a0\u202f]"}
UNIT = r"[^\d\s.,()+-]+(?: ?[^\d\s.,()+-]+)?"
THOUSANDS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
CLOCK = r"^\s*(-)?(\d{1,3}):(\d{2})(?::(\d{2}(?:\.\d+)?))?\s*$"
SURE = 0.9  # share of the values that have to be written so


def _pattern(decimal: str) -> str:
    """Groups: open bracket, sign, sign after the currency, digits, exponent, unit."""
    part, mark = GROUPS[decimal], f"[{decimal}]"
    digits = rf"\d{{1,3}}(?:{part}\d{{3}})+(?:{mark}\d+)?|\d+(?:{mark}\d*)?|{mark}\d+"
    return rf"^\s*(\()?\s*({SIGNS})?\s*{MONEY}?\s*({SIGNS})?\s*({digits})([eE][-+]?\d+)?\s*({UNIT})?\s*\)?\s*$"


def written(known: pl.Series) -> Written:
    """How most of the values are written; {} where no one way reads any of them."""
    values = known.unique()
    if values.str.contains(CLOCK).all():
        return {"clock": True}
    found = {mark: values.str.extract(_pattern(mark), 4) for mark in GROUPS}
    decimal = min(GROUPS, key=lambda mark: found[mark].null_count())
    if found[decimal].null_count() == len(values):
        return {}
    units = known.filter(known.str.contains(_pattern(decimal))).str.extract(_pattern(decimal), 6).fill_null("")
    return {"decimal": decimal, "units": _factors(units)}


def _factors(units: pl.Series) -> dict[str, float]:
    """The units that may stand after a number: K, M and B as what they say; else the most frequent one and none."""
    counted = units.rename("unit").value_counts(sort=True)["unit"].to_list()
    if set(counted) <= set(THOUSANDS) and len(set(counted) - {""}) > 1:
        return {name: THOUSANDS[name] for name in sorted(counted)}
    first = next((name for name in counted if name), "")
    return dict.fromkeys(sorted({"", first}), 1.0)


def numbers(column: pl.Series, how: Written) -> pl.Series:
    """The values as numbers; null where they are not written so."""
    if how.get("clock"):
        return _seconds(column)
    if not how:
        return pl.Series([None] * len(column), dtype=pl.Float64)
    pattern = _pattern(how["decimal"])
    names = ("open", "sign", "inner", "digits", "power", "unit")
    parts = column.to_frame("text").select(
        *(pl.col("text").str.extract(pattern, i).fill_null("").alias(name) for i, name in enumerate(names, 1))
    )
    digits = pl.col("digits").str.replace_all(GROUPS[how["decimal"]], "").str.replace(",", ".", literal=True)
    size = (digits + pl.col("power")).cast(pl.Float64, strict=False)
    minus = (pl.col("open") == "(") | (pl.col("sign") + pl.col("inner")).str.contains("[-\u2212]")
    factor = pl.col("unit").replace_strict(
        list(how["units"]), list(how["units"].values()), default=None, return_dtype=pl.Float64
    )
    return parts.select(size * factor * pl.when(minus).then(-1.0).otherwise(1.0)).to_series().rename("")


def _seconds(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(CLOCK).struct.unnest()
    hours, minutes, seconds = (parts[name].cast(pl.Float64) for name in ("2", "3", "4"))
    return (hours * 3600 + minutes * 60 + seconds.fill_null(0.0)) * parts["1"].is_null().replace_strict(
        [True, False], [1.0, -1.0]
    )
