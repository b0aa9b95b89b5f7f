"""How a CSV file is written: its separator, its header, its decimal mark; and its rows, one by one, with their lines.

The csv module is the grammar. polars reads large files faster, and only where both agree (see table.py).
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UserError

csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters that csv takes by default
SEPARATORS = (",", ";", "\t", "|")
START = 1 << 18  # bytes that the dialect is told from
LOOK = 200  # rows, likewise
NAMELESS = "\0"  # what names of columns without a name begin with in a frame; no text that is read holds it
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
WHOLE, COMMA, POINT = (re.compile(rf"[+-]?\d*{mark}\d+(e[+-]?\d+)?", re.IGNORECASE) for mark in ("", ",", r"\."))


@dataclass(frozen=True)
class Dialect:
    """names: of the columns, '' where there is none. spaced: whether a space follows each separator. decimal: '.' or ','.
    plain: whether polars can read it as it is."""

    names: list[str]
    separator: str = ","
    spaced: bool = False
    decimal: str = "."
    plain: bool = True

    @property
    def columns(self) -> list[str]:
        """The names, each different from the others."""
        return [name or f"{NAMELESS}{i}" for i, name in enumerate(self.names)]


@dataclass
class Lines:
    """What was met while rows were read: the lines where the header occurs again."""

    header: list[int] = field(default_factory=list)


def sniff(path: Path) -> Dialect:
    """The dialect of the file. Raises UserError for what is no text in UTF-8, and for a header that names no columns."""
    with path.open("rb") as file:
        start = file.read(START)
    require_text(path, start)
    text = start.decode("utf-8-sig", errors="surrogateescape")
    carriage = "\n" not in text and "\r" in text
    lines = list(io.StringIO(text, newline=""))  # at line breaks alone: a cell may hold other separators
    lines = lines[:-1] if len(start) == START and len(lines) > 1 else lines  # the last one may be cut off
    tables = {mark: _parsed(lines, mark) for mark in SEPARATORS}
    mark = max(SEPARATORS, key=lambda s: _fit(tables[s]))
    head, *rows = tables[mark] or [[]]
    spaced = len(head) > 1 and any(_spaced(part) for part in ([head], rows))
    names: list[str] = next((row for row in _reader(lines, mark, spaced) if row), [])
    if not any(names):
        raise UserError(f"{path} has no header line that names its columns; add one")
    if repeated := sorted({n for n in names if names.count(n) > 1 and n}):
        raise UserError(f"{path} has two columns called {repeated[0]!r}; rename one, or put a header above the data")
    plain = not (spaced or carriage or text.startswith(("\n", "\r")))
    return Dialect(names, mark, spaced, _decimal(mark, rows), plain)


def require_text(path: Path, start: bytes) -> None:
    """Refuse what is no text in UTF-8, by the first bytes of a file."""
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), "")
    if marked or b"\0" in start:
        kind = "a spreadsheet or an archive" if start.startswith(b"PK") else "no text: it holds NUL bytes"
        raise UserError(f"{path} is {marked or kind}; save it as CSV, JSONL or Parquet, in UTF-8")


def cells(path: Path, dialect: Dialect, met: Lines | None = None) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row, blank lines and repetitions of the header left out; bytes that are not UTF-8 escaped.

    A row may have more or fewer cells than the header. Raises UserError where the quotes cannot be understood.
    """
    met = met or Lines()
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        reader = _reader(file, dialect.separator, dialect.spaced)
        before = 0
        try:
            next((row for row in reader if row), None)
            before = reader.line_num
            for row in reader:
                if row == dialect.names:
                    met.header.append(reader.line_num)
                elif row:
                    yield before + 1, row
                before = reader.line_num
        except csv.Error as error:
            raise UserError(
                f"{path} line {before + 1} cannot be read as CSV: {error}; a quote inside a quoted cell is written twice"
            ) from None


def _reader(lines: Sequence[str] | Iterator[str], separator: str, spaced: bool = False) -> Any:
    return csv.reader(lines, delimiter=separator, skipinitialspace=spaced, strict=True)


def _parsed(lines: list[str], separator: str) -> list[list[str]]:
    """The first rows under one separator; up to where they cannot be read."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in islice(_reader(lines, separator), LOOK) if row)
    return rows


def _fit(rows: list[list[str]]) -> tuple[float, int]:
    """How well a separator fits: the share of rows as wide as the header, where that has two columns and more."""
    width = len(rows[0]) if rows else 0
    return (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, 0)


def _spaced(rows: list[list[str]]) -> bool:
    """Whether every cell but the first of a row begins with a space, or is empty."""
    later = [cell for row in rows for cell in row[1:] if cell]
    return bool(later) and all(cell.startswith(" ") for cell in later)


def _decimal(separator: str, rows: list[list[str]]) -> str:
    """The decimal mark: a comma where more columns hold only such numbers than hold only numbers with a point.

    "1,234" alone is no evidence of it, except in a file with semicolons, which is how it is written where the comma is decimal.
    """
    if separator == ",":
        return "."
    commas = points = 0
    for column in zip(*(row for row in rows if len(row) == len(rows[0])), strict=True):
        values = [cell.strip() for cell in column if cell.strip()]
        comma, point = ([v for v in values if mark.fullmatch(v)] for mark in (COMMA, POINT))
        whole = sum(bool(WHOLE.fullmatch(v)) for v in values)
        sure = separator == ";" or any(not re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", v) for v in comma)
        commas += bool(comma) and sure and len(comma) + whole == len(values)
        points += bool(point) and len(point) + whole == len(values)
    return "," if commas > points else "."
