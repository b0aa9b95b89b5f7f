"""A table on disk: CSV, JSON lines or Parquet, read with errors that name the file, the column and what to do."""

from __future__ import annotations

import csv
import difflib
import os
from pathlib import Path

import polars as pl

from ..errors import UserError

csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters that csv takes by default
LOOK = 2_000  # rows
COPIES = 4  # of a table that are in memory while it is cleaned, parted and encoded
LINES = (".jsonl", ".ndjson")  # endings of JSON lines
MISSING = ["", "NA", "NaN", "nan", "null"]


def read_table(path: Path, rows: int | None = None) -> pl.DataFrame:
    """The file, or its first rows, as a frame. Raises UserError when it is missing, empty, broken, or its columns have no
    names of their own."""
    if not is_file(path):
        raise UserError(
            f"data = {str(path)[:200]!r} is not a file; set data in recipe.toml to a CSV, JSONL or Parquet file"
        )
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, n_rows=rows)
        if b"\0" in (start := path.open("rb").read(1 << 16)):
            kind = "a spreadsheet or an archive" if start.startswith(b"PK") else "no text: it holds NUL bytes"
            raise UserError(f"{path} is {kind}; save it as CSV, JSONL or Parquet, in UTF-8")
        if path.suffix in LINES:
            return pl.read_ndjson(path, infer_schema_length=None, n_rows=rows)
        _check_header(path)
        frame = _read_csv(path, rows)
        _refuse_short_rows(frame, path)
        return frame
    except (pl.exceptions.PolarsError, csv.Error, ValueError, OSError) as error:
        hint = " with a header line" if path.suffix == ".csv" else ""
        raise UserError(
            f"{path} cannot be read as {path.suffix[1:] or 'CSV'}: {str(error).splitlines()[0]}; is it UTF-8{hint}?"
        ) from None


def larger_than_memory(path: Path) -> str:
    """How a Parquet file does not fit into this machine, in words; '' where it does, or where nothing can be told."""
    if path.suffix != ".parquet" or not is_file(path) or not hasattr(os, "sysconf"):
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


def _read_csv(path: Path, rows: int | None) -> pl.DataFrame:
    """Types are told from the first rows; from every row, which takes thirty times as long, where a later cell does not
    fit, or a column begins so empty that nothing can be told."""

    def read(look: int | None, rows: int | None) -> pl.DataFrame:
        return pl.read_csv(path, try_parse_dates=True, infer_schema_length=look, null_values=MISSING, n_rows=rows)

    try:
        frame = read(LOOK, rows)
    except pl.exceptions.PolarsError:
        return read(None, None)[:rows]
    start = frame[: LOOK // 2]
    untold = frame.height > LOOK and any(start[c].null_count() == start.height for c in frame.columns)
    return read(None, None)[:rows] if untold else frame


def is_file(path: Path) -> bool:
    """Whether there is a plain file; also for paths that no system can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _check_header(path: Path) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    if repeated := sorted({n for n in names if names.count(n) > 1 and n}):
        raise UserError(f"{path} has two columns called {repeated[0]!r}; rename one")
    if len(names) > 1 and "" in names:
        raise UserError(f"{path} has a column without a name (number {names.index('') + 1}); give it one, or remove it")


def _refuse_short_rows(frame: pl.DataFrame, path: Path) -> None:
    """A row that breaks off is filled up with nulls by the reader; only then is its last cell empty, so look only then."""
    if not frame.width or not frame[frame.columns[-1]].null_count():
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, cells in enumerate(csv.reader(file), start=1):
            if cells and len(cells) < frame.width:
                raise UserError(
                    f"{path} row {number} has {len(cells)} cells instead of {frame.width}; mend or remove it"
                )


def require_columns(named: dict[str, list[str]], frame: pl.DataFrame, path: Path) -> None:
    """Refuse a file without rows, and a knob that names a column the file does not have. named: knob -> columns."""
    if not frame.height:
        raise UserError(f"{path} has a header but no rows")
    for knob, names in named.items():
        for name in names:
            if name and name not in frame.columns:
                close = difflib.get_close_matches(name, frame.columns, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(frame.columns[:8])}"
                raise UserError(f"{knob} names column {name!r}, which {path} does not have; {hint}")
