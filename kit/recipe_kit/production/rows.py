"""Rows of a file to predict, read a chunk at a time: CSV, JSON lines, Parquet, or a folder of images."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..owner.engine.data import Recipe
from ..owner.engine.dialect import Lines, cells, sniff
from ..owner.engine.folders import data_root, files_below, outside
from ..owner.engine.kinds import is_text
from ..owner.engine.source import json_lines, with_point
from ..owner.engine.table import LINES
from ..owner.errors import UserError, first_line
from .schema import Column

CHUNK = 4096  # rows that are read, answered and written at a time


@dataclass
class Row:
    """number: place in the file, from 1. values: name -> value, None where the row cannot be read: then why, and raw."""

    number: int
    values: dict[str, Any] | None
    why: str = ""
    raw: Any = None


@contextmanager
def row_per_line(project: Recipe, path: Path) -> Iterator[Path]:
    """The file; where several of its lines make a row, as in a long table of series, one with a row in each line."""
    with tempfile.TemporaryDirectory() as folder:
        if (made := project.task.rows_to_predict(project.config, path)) is not None:
            path = Path(folder, f"{path.stem}.jsonl")
            made.write_ndjson(path)
        yield path


def read_rows(path: Path, columns: Sequence[Column], met: Lines | None = None) -> Iterator[list[Row]]:
    """Chunks of rows; `met` gets what was passed over. Raises UserError for a file that cannot be read at all, or that
    lacks a column."""
    if path.is_dir():
        rows: Iterator[Row] = _folder(path, columns)
    elif not path.is_file():
        raise UserError(
            f"{path} is neither a file nor a folder; name a CSV, JSONL or Parquet file or a folder of images"
        )
    elif path.suffix == ".parquet":
        rows = _parquet(path, columns)
    else:
        rows = _lines(path) if path.suffix in LINES else _csv(path, columns, met or Lines())
    images = [] if path.is_dir() else [column["name"] for column in columns if column["kind"] == "image"]
    for chunk in _batched(rows):
        yield [_checked(path, images, row) for row in chunk]


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
    return [name for name in sniff(path).names if name] if path.is_file() and path.suffix not in LINES else []


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


def _csv(path: Path, columns: Sequence[Column], met: Lines) -> Iterator[Row]:
    """Cells as they are written; only a decimal comma becomes a point. A row that is too short or too long is rejected."""
    dialect = sniff(path)
    if odd := [name for name in dialect.names if not is_text(name)]:
        shown = odd[0].encode(errors="surrogateescape")[:40]
        raise UserError(f"{path} line 1 is not UTF-8: it holds {shown!r}; save the file in UTF-8")
    _require(path, columns, dialect.names)
    commas = [c["name"] for c in columns if c["kind"] in ("number", "integer") and dialect.decimal == ","]
    for number, (_, row) in enumerate(cells(path, dialect, met), start=1):
        if len(row) != len(dialect.names):
            yield Row(number, None, f"has {len(row)} cells instead of {len(dialect.names)}", row)
            continue
        values = {name: cell or None for name, cell in zip(dialect.names, row, strict=True) if name}
        values |= {name: with_point(values[name] or "") or None for name in commas}
        yield Row(number, values)


def _lines(path: Path) -> Iterator[Row]:
    for number, values, why in json_lines(path):
        yield Row(number, None, why, values) if why else Row(number, values)


def _schema(path: Path) -> dict[str, pl.DataType]:
    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from None


def _parquet(path: Path, columns: Sequence[Column]) -> Iterator[Row]:
    _require(path, columns, list(_schema(path)))
    start, lazy = 0, pl.scan_parquet(path)
    while True:
        try:
            part = lazy.slice(start, CHUNK).collect()
        except (pl.exceptions.PolarsError, OSError) as error:  # its schema is whole and its pages are not
            raise UserError(
                f"{path} cannot be read as Parquet after row {start:,}: {first_line(error)}; write it again"
            ) from None
        if not part.height:
            return
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


def _checked(path: Path, images: list[str], row: Row) -> Row:
    """The row, or the same one rejected where it holds bytes that are no text, or names an image outside of the data root."""
    if row.values is None or all(is_text(v) for v in row.values.values() if isinstance(v, str)):
        told = [row.values.get(name) for name in images] if row.values else []
        if odd := [name for name in told if isinstance(name, str) and outside(path, name)]:
            return Row(row.number, None, f"names {odd[0]!r}, which is not in {data_root(path)}", row.values)
        return row
    shown = {
        k: v.encode(errors="backslashreplace").decode() if isinstance(v, str) else v for k, v in row.values.items()
    }
    return Row(row.number, None, "is not UTF-8", shown)


def located(path: Path, columns: Sequence[Column], values: dict[str, Any]) -> dict[str, Any]:
    """The row with its images found: a path is relative to the table, or to the folder."""
    folder = path if path.is_dir() else path.parent
    images = [c["name"] for c in columns if c["kind"] == "image" and isinstance(values.get(c["name"]), str)]
    return {**values, **{name: str((folder / values[name]).absolute()) for name in images}}
