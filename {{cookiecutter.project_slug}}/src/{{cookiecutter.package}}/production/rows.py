"""Rows of a file to predict, read a chunk at a time: CSV, JSON lines, Parquet, or a folder of images."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..engine.folders import files_below
from ..engine.table import LINES, MISSING
from ..errors import UserError
from .schema import Column

CHUNK = 4096  # rows that are read, answered and written at a time


@dataclass
class Row:
    """number: place in the file, from 1. values: name -> value, None where the row cannot be read: then why, and raw."""

    number: int
    values: dict[str, Any] | None
    why: str = ""
    raw: Any = None


def read_rows(path: Path, columns: Sequence[Column]) -> Iterator[list[Row]]:
    """Chunks of rows. Raises UserError for a file that cannot be read at all, or that lacks a column."""
    if path.is_dir():
        rows: Iterator[Row] = _folder(path, columns)
    elif not path.is_file():
        raise UserError(
            f"{path} is neither a file nor a folder; name a CSV, JSONL or Parquet file, or a folder of images"
        )
    elif path.suffix == ".parquet":
        rows = _parquet(path, columns)
    else:
        rows = _lines(path, columns) if path.suffix in LINES else _csv(path, columns)
    for chunk in _batched(rows):
        yield [_checked(row) for row in chunk]


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def names(path: Path) -> list[str]:
    """The columns of the input, in its order; [] where each row brings its own."""
    if path.suffix == ".parquet":
        return list(_schema(path))
    return _header(path) if path.is_file() and path.suffix not in LINES else []


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        head = next(csv.reader(file), [])
    if not head or len(set(head)) < len(head) or "" in head:
        raise UserError(f"{path} has no header line with a name of its own for each column; add or mend it")
    return head


def missing(columns: Sequence[Column], there: Sequence[str]) -> list[str]:
    """Columns that the model reads and that are not there."""
    return [column["name"] for column in columns if column["name"] not in there]


def _require(path: Path, columns: Sequence[Column], there: Sequence[str]) -> None:
    if lacking := missing(columns, there):
        lower = {name.lower(): name for name in there}
        close = difflib.get_close_matches(lacking[0].lower(), lower, n=1)
        hint = f"did you mean {lower[close[0]]!r}?" if close else f"it has {', '.join(map(repr, there[:8]))}"
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(f"{path} has no column {lacking[0]!r}{more}, which the model reads; {hint}")


def _csv(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    """Cells as training reads them: what stands for a missing value there does so here. A bad byte spoils one row."""
    head = _header(path)
    _require(path, columns, head)
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        reader = csv.reader(file)
        next(reader)
        for number, cells in enumerate(_cells(path, reader), start=1):
            if len(cells) != len(head):
                yield Row(number, None, f"has {len(cells)} cells instead of {len(head)}", cells)
            else:
                yield Row(
                    number, {name: None if cell in MISSING else cell for name, cell in zip(head, cells, strict=True)}
                )


def _cells(path: Path, reader: Any) -> Iterator[list[str]]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path} line {reader.line_num} cannot be read as CSV: {error}; mend it") from None
        if cells:
            yield cells


def _lines(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                yield Row(number, None, "is no JSON", line.decode(errors="backslashreplace").rstrip("\n"))
                continue
            fits = isinstance(values, dict)
            yield Row(number, values) if fits else Row(number, None, "is no JSON object", values)


def _schema(path: Path) -> dict[str, pl.DataType]:
    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _parquet(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    _require(path, columns, list(_schema(path)))
    start, lazy = 0, pl.scan_parquet(path)
    while (part := lazy.slice(start, CHUNK).collect()).height:
        yield from (Row(start + i, values) for i, values in enumerate(part.iter_rows(named=True), start=1))
        start += part.height


def _folder(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    images = [column["name"] for column in columns if column["kind"] == "image"]
    if not images or len(columns) > 1:
        raise UserError(
            f"{path} is a folder, but this model reads {columns[0]['name']!r} and the like; name a CSV, JSONL or Parquet file"
        )
    for number, file in enumerate(files_below(path), start=1):
        yield Row(number, {images[0]: file.relative_to(path).as_posix()})


def _checked(row: Row) -> Row:
    """The row, or the same one set aside where it holds bytes that are no text."""
    if row.values is None or all(_encodes(v) for v in row.values.values() if isinstance(v, str)):
        return row
    shown = {
        k: v.encode(errors="backslashreplace").decode() if isinstance(v, str) else v for k, v in row.values.items()
    }
    return Row(row.number, None, "is not UTF-8", shown)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def located(path: Path, columns: Sequence[Column], values: dict[str, Any]) -> dict[str, Any]:
    """The row with its images found: a path is relative to the table, or to the folder."""
    folder = path if path.is_dir() else path.parent
    images = [c["name"] for c in columns if c["kind"] == "image" and isinstance(values.get(c["name"]), str)]
    return {**values, **{name: str((folder / values[name]).absolute()) for name in images}}
