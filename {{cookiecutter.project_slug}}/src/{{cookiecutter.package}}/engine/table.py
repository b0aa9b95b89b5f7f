"""A file becomes columns, here and nowhere else: CSV, JSON lines or Parquet; for training, for prediction and for monitoring.

`read_table` decides the kind of each column (see kinds.py); whoever reads another file or request later converts by
these kinds. What was noticed on the way comes beside the frame, for `recipe audit`.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ..config import Config
from ..errors import UserError, first_line
from . import kinds
from .kinds import MISSING, Kind
from .notes import Note, of_column
from .source import read_csv, read_json_lines, spelled

COPIES = 4  # of a table that are in memory while it is cleaned, parted and encoded
LINES = (".jsonl", ".ndjson")  # endings of JSON lines


@dataclass(frozen=True)
class Declared:
    """What the settings say of columns. drop: need not be readable. numeric: numbers, however written. text: texts, whatever
    they hold. series: lists of numbers. month_first: dates in that order. also_missing: more spellings of a gap. not_missing:
    column -> spellings that are values there. lenient: what cannot be read is empty, as if it were dropped."""

    drop: Sequence[str] = ()
    numeric: Sequence[str] = ()
    text: Sequence[str] = ()
    series: Sequence[str] = ()
    month_first: Sequence[str] = ()
    also_missing: Sequence[str] = ()
    not_missing: dict[str, list[str]] = field(default_factory=dict)
    lenient: bool = False

    def gaps(self, name: str) -> list[str]:
        """What stands for a missing value in a column."""
        return [gap for gap in (*MISSING, *self.also_missing) if gap not in self.not_missing.get(name, [])]


def declared(config: Config, numeric: Sequence[str] = (), text: Sequence[str] = ()) -> Declared:
    """What a project's settings say of columns."""
    kept: dict[str, list[str]] = {}
    for line in config.not_missing:
        name, colon, spelling = line.rpartition(":")
        if not colon or not spelling.strip():
            raise UserError(f'not_missing = {line!r} is not of the form "column: spelling", as in "region: NA"')
        kept.setdefault(name.strip(), []).append(spelling.strip())
    return Declared(config.drop, numeric, text, (), config.month_first, config.also_missing, kept)


@dataclass
class Table:
    """frame: Int64, Float64, Boolean, Date, Datetime (UTC, microseconds) and String. kinds: how each column is read.
    notes: what was noticed."""

    frame: pl.DataFrame
    kinds: dict[str, Kind]
    notes: list[Note]


def read_table(path: Path, rows: int | None = None, declared: Declared | None = None) -> Table:
    """The file, or its first rows. Raises UserError when it is missing, empty, broken, or a column cannot be read."""
    declared = declared or Declared()
    if not os.path.isfile(path):  # also for paths that no system can have, at which Path.is_file raises
        raise UserError(
            f"data = {str(path)[:200]!r} is not a file; set data in recipe.toml to a CSV, JSONL or Parquet file"
        )
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; write the table into it, or set data in recipe.toml to another file")
    notes: list[Note] = []
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path, n_rows=rows)
        elif path.suffix in LINES:
            frame = read_json_lines(path, rows)
        else:
            frame = read_csv(path, rows, declared.gaps, notes)
    except (pl.exceptions.PolarsError, csv.Error, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as {path.suffix[1:] or 'CSV'}: {first_line(error)}") from None
    return _as_columns(path, frame, declared, notes)


def _as_columns(path: Path, frame: pl.DataFrame, declared: Declared, notes: list[Note]) -> Table:
    """Every column by its kind; one that is dropped and cannot be read is empty."""
    found: dict[str, Kind] = {}
    columns = []
    for column in frame.get_columns():
        name = column.name
        if column.dtype == pl.String and declared.also_missing:
            column = without(column, declared.also_missing)
        try:
            found[name] = kind_of(path, column, declared)
            columns.append(converted(path, column, found[name]))
            notes += of_column(column, found[name]) if name not in (*declared.drop, *declared.text) else []
        except UserError:
            if name not in declared.drop and not declared.lenient:
                raise
            found[name] = {"kind": "empty"}
            columns.append(pl.Series(name, [None] * len(column), dtype=pl.String))
    return Table(pl.DataFrame(columns), found, notes)


def without(column: pl.Series, gaps: Sequence[str]) -> pl.Series:
    """A column of texts in which these are nulls."""
    plain = column.rename("")
    return plain.set(plain.is_in(list(gaps)).fill_null(False), None).rename(column.name)


def kind_of(path: Path, column: pl.Series, declared: Declared) -> Kind:
    """How a column is read from here on. Raises UserError for what no value can be made of."""
    name, typed = column.name, path.suffix in (".parquet", *LINES)
    if name.startswith("^") and name.endswith("$"):
        raise UserError(
            f"{path} has a column {name!r}: polars takes a name between ^ and $ for a pattern; rename it, or leave it"
            f" out: drop = [{json.dumps(name)}]"
        )
    said = {
        **dict.fromkeys(declared.month_first, "mdy"),
        **dict.fromkeys(declared.text, "text"),
        **dict.fromkeys(declared.numeric, "number"),
        **dict.fromkeys(declared.series, "series"),
    }
    kind = kinds.decide(column, typed, said.get(name, ""))
    if kind is None:
        example = column.drop_nulls()[0]
        if name in declared.text:
            raise UserError(
                f"column {name!r} of {path} holds {column.dtype} such as {kinds.short(example)}, not text; set text in"
                " recipe.toml to the column of the texts"
            )
        raise refused(path, name, f"{column.dtype} such as {kinds.short(example)}")
    if kind["kind"] == "text":
        kind["gaps"] = list(declared.also_missing) if typed else declared.gaps(name)
    elif declared.also_missing:
        kind["gaps"] = [*MISSING, *declared.also_missing]
    if kind["kind"] == "text" and path.suffix in LINES:
        texts = column.cast(pl.String).rename("").drop_nulls().unique()
        kind |= {"numbers": True} if kinds.numbers_of(texts).is_not_null().any() else {}
    return kind


def refused(path: Path, name: str, what: str) -> UserError:
    """The sentence on a column of which nothing can be made."""
    return UserError(
        f"column {name!r} of {path} holds {what}, of which no feature can be made; write it as numbers or texts, or leave"
        f" it out: drop = [{json.dumps(name)}]"
    )


def converted(path: Path, column: pl.Series, kind: Kind) -> pl.Series:
    """The values of a column by its kind. Raises UserError naming one that cannot be read so."""
    values, bad = kinds.convert(column, kind)
    if not bad.any():
        return values
    example, count = column.filter(bad)[0], int(bad.sum())
    if kinds.infinite(example):
        raise UserError(
            f"{path} has {count:,} infinite values in column {column.name!r}; replace them by an empty cell or a number"
        )
    if kind["kind"] == "series":
        raise UserError(f"column {column.name!r} of {path} holds {kinds.short(example)}, which {kinds.WHY['series']}")
    raise UserError(
        f"column {column.name!r} of {path} is read as numbers and holds {example!r} ({count:,} such); make those numbers or empty, or,"
        f" if they stand for a gap: also_missing = [{json.dumps(str(example))}]"
    )


def larger_than_memory(path: Path) -> str:
    """How a Parquet file does not fit into this machine, in words; '' where it does, or where nothing can be told."""
    if path.suffix != ".parquet" or not os.path.isfile(path) or not hasattr(os, "sysconf"):
        return ""
    try:
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        columns = len(pl.read_parquet_schema(path))
    except pl.exceptions.PolarsError:  # whoever reads it says what is wrong with it
        return ""
    need, there = 8 * rows * columns / 1e9, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if need < there / COPIES:
        return ""
    return f"{rows:,} rows of {columns} columns are {need:.1f} GB, several times over while they are used, and this machine has {there:.1f} GB"


def noted(config: Config, path: Path, table: Table) -> tuple[Note, ...]:
    """The notes of the reader, and how the gaps in the target are written, where there are any."""
    empty = table.frame[config.target].null_count()
    if not empty:
        return tuple(table.notes)
    typed = path.suffix in (".parquet", *LINES)
    words = {} if typed else spelled(path, config.target, declared(config).gaps(config.target))
    return (*table.notes, Note("target", config.target, {"rows": empty, "spelled": words}))


def require_columns(named: dict[str, list[str]], frame: pl.DataFrame, path: Path) -> None:
    """Refuse a file without rows, and a setting that names a column the file does not have. named: setting -> columns."""
    if not frame.height:
        raise UserError(f"{path} has a header but no rows")
    for setting, names in named.items():
        for name in names:
            if name and name not in frame.columns:
                close = difflib.get_close_matches(name, frame.columns, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(frame.columns[:8])}"
                raise UserError(f"{setting} names column {name!r}, which {path} does not have; {hint}")
