"""Files as raw columns: of CSV, texts with their gaps as nulls and numbers where polars reads them so; of JSON lines, its own types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import UserError
from . import kinds
from .dialect import COMMA, NAMELESS, Dialect, Lines, cells, require_text, sniff
from .kinds import is_text
from .notes import Note

LOOK = 2_000  # rows that types are told from; a smaller file is read by the csv module as a whole
TRIES = 4  # of polars, each after another cell that was not of the type told from the first rows
PIECE = 50_000  # rows that are made columns together where the csv module reads
DECIMAL_COMMA = r"^(\s*[+-]?\d*),(\d+(?:[eE][+-]?\d+)?\s*)$"
Gaps = Callable[[str], list[str]]  # column -> what stands for a missing value in it


def read_csv(path: Path, rows: int | None, gaps: Gaps, notes: list[Note]) -> pl.DataFrame:
    """Texts with their gaps as nulls, and numbers where polars could read them so."""
    dialect = sniff(path)
    met = Lines()
    head = _slowly(path, dialect, min(rows or LOOK, LOOK), met)
    notes += [Note("zeros", name, {"example": text}) for name, text in _leading_zeros(head)]
    if head.height == LOOK and (rows is None or rows > LOOK):
        frame = _quickly(path, dialect, head, rows, gaps)
        met = Lines()
        head = _slowly(path, dialect, rows, met) if frame is None else frame
    if met.header:
        notes.append(Note("header", "", {"lines": met.header}))
    return _with_gaps(_named(path, head, notes), dialect, gaps)


def _leading_zeros(head: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Columns of digits some of which begin with a zero, with one of those."""
    for column in head.get_columns():
        texts = column.rename("").drop_nulls()
        zeros = texts.filter(texts.str.contains(r"^0\d+$"))
        if len(zeros) and texts.str.contains(r"^\d*$").all():
            yield column.name, zeros[0]


def _quickly(path: Path, dialect: Dialect, head: pl.DataFrame, rows: int | None, gaps: Gaps) -> pl.DataFrame | None:
    """The file as polars reads it: numbers by what the first rows are, all else as texts. None where the csv module has to.

    That is where polars cannot parse it, where a row is short, and where the header occurs again.
    """
    every = [gaps(name) for name in dialect.columns]
    if not dialect.plain or any(one != every[0] for one in every):
        return None
    schema: dict[str, pl.DataType] = dict.fromkeys(dialect.columns, pl.String())
    for name, whole in _as_integers(head, every[0]):
        schema[name] = pl.Float64() if whole.null_count() else pl.Int64()
    frame = _by_polars(path, dialect, schema, rows, every[0])
    if frame is None or _header_again(frame):
        return None
    # polars fills up a row that breaks off: its last cell is empty, and only then one looks for such rows.
    if frame[frame.columns[-1]].null_count() and any(len(row) < frame.width for _, row in cells(path, dialect)):
        return None
    return _without_blank(frame)


def _by_polars(
    path: Path, dialect: Dialect, schema: dict[str, pl.DataType], rows: int | None, gaps: list[str]
) -> pl.DataFrame | None:
    """Where a later cell is no whole number its column is read as numbers, and where it is none, as texts; all columns
    where that goes on."""
    for attempt in range(TRIES + 1):
        try:
            return pl.read_csv(
                path, has_header=False, skip_rows=1, schema=schema, separator=dialect.separator, n_rows=rows, null_values=gaps
            )  # fmt: skip
        except pl.exceptions.PolarsError as error:
            number = re.search(r"\(column number (\d+)\)", str(error))
            name = dialect.columns[int(number[1]) - 1] if number else ""
            if not name or schema[name] == pl.String:
                return None
            wider = pl.Float64() if schema[name] == pl.Int64 else pl.String()
            schema = schema | {name: wider} if attempt < TRIES - 1 else dict.fromkeys(schema, pl.String())
    return None


def _header_again(frame: pl.DataFrame) -> bool:
    texts = [column for column in frame.get_columns() if column.dtype == pl.String]
    rows = texts[0].rename("") == texts[0].name if texts else pl.Series([], dtype=pl.Boolean)
    return bool(rows.any()) and any(
        row == tuple(t.name for t in texts) for row in frame.filter(rows)[[t.name for t in texts]].rows()
    )


def _as_integers(head: pl.DataFrame, gaps: list[str]) -> Iterator[tuple[str, pl.Series]]:
    """Columns of the first rows that are numbers, as far as they are whole."""
    for column in head.get_columns():
        known = column.rename("").filter(~column.rename("").is_in(gaps))
        if len(known) and kinds.plain_number(known):
            yield column.name, known.str.strip_chars().cast(pl.Int64, strict=False)


def _without_blank(frame: pl.DataFrame) -> pl.DataFrame:
    """Blank lines are no rows."""
    if not all(column.null_count() for column in frame.get_columns()):
        return frame
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _slowly(path: Path, dialect: Dialect, rows: int | None, met: Lines) -> pl.DataFrame:
    """The rows as the csv module reads them. Raises UserError for one that is too short, too long, or not UTF-8."""
    frames = []
    wanted = islice(cells(path, dialect, met), rows)
    while piece := list(islice(wanted, PIECE)):
        frames.append(_frame(path, dialect, piece))
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(dialect.columns, pl.String))


def _frame(path: Path, dialect: Dialect, piece: list[tuple[int, list[str]]]) -> pl.DataFrame:
    width = len(dialect.names)
    for line, row in piece:
        if len(row) != width:
            raise UserError(f"{path} line {line} has {len(row)} cells instead of {width}; fix or remove it")
    columns = zip(*(row for _, row in piece), strict=True)
    try:
        return pl.DataFrame(
            [pl.Series(name, values, dtype=pl.String) for name, values in zip(dialect.columns, columns, strict=True)]
        )
    except UnicodeEncodeError:
        rows = [(1, dialect.names), *piece]  # a name may be what is not UTF-8
        line, row = next((line, row) for line, row in rows if not all(map(is_text, row)))
        cell = next(cell for cell in row if not is_text(cell)).encode(errors="surrogateescape")
        raise UserError(
            f"{path} line {line} is not UTF-8: it holds {cell[:40]!r}; save the file in UTF-8 (it may be Latin-1)"
        ) from None


def _named(path: Path, frame: pl.DataFrame, notes: list[Note]) -> pl.DataFrame:
    """Columns without a name are left out where they number the rows or hold nothing, and refused otherwise."""
    for name in [name for name in frame.columns if name.startswith(NAMELESS)]:
        number, column = int(name[len(NAMELESS) :]), frame[name]
        empty = bool((column.fill_null("") == "").all()) if column.dtype == pl.String else False
        if not empty and (number or column.n_unique() < len(column)):
            raise UserError(f"{path} has a column without a name (number {number + 1}); give it one, or remove it")
        if not empty:
            notes.append(Note("index", "", {"first": [str(v) for v in column.head(3)]}))
        frame = frame.drop(name)
    return frame


def _with_gaps(frame: pl.DataFrame, dialect: Dialect, gaps: Gaps) -> pl.DataFrame:
    """Texts with nulls for what stands for a missing value, and numbers with a decimal point."""
    columns = []
    for column in frame.get_columns():
        name, values = column.name, column.rename("")
        if values.dtype == pl.String:
            values = values.set(values.is_in(gaps(name)).fill_null(False), None)
            if dialect.decimal == ",":
                pointed = values.str.replace(DECIMAL_COMMA, "$1.$2")
                values = pointed if kinds.plain_number(pointed.drop_nulls()) else values
        columns.append(values.rename(name))
    return pl.DataFrame(columns)


def with_point(cell: str) -> str:
    """A number with a decimal comma written with a point; anything else as it is."""
    return cell.replace(",", ".") if COMMA.fullmatch(cell.strip()) else cell


def read_json_lines(path: Path, rows: int | None) -> pl.DataFrame:
    with path.open("rb") as file:
        require_text(path, file.read(1 << 16))
    try:
        return pl.read_ndjson(path, infer_schema_length=None, n_rows=rows)
    except pl.exceptions.PolarsError:
        return _json_slowly(path, rows)


def _json_slowly(path: Path, rows: int | None) -> pl.DataFrame:
    """With NaN as Python writes it, and a byte-order mark. Raises UserError naming a line that cannot be read."""
    found: list[dict[str, Any]] = []
    for number, values, why in islice(json_lines(path), rows):
        if why:
            raise UserError(f"{path} line {number} {why}: {kinds.short(values)}; write one JSON object a line")
        found.append(values)
    names = dict.fromkeys(name for values in found for name in values)
    return pl.DataFrame([_json_column(path, name, [values.get(name) for values in found]) for name in names])


def json_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Line, its object, and ''; or line, what stands there, and why it is no object. Blank lines are passed over."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError:
                yield number, line.decode(errors="backslashreplace").rstrip("\n"), "is not UTF-8"
            except (ValueError, RecursionError):
                yield number, line.decode(errors="backslashreplace").rstrip("\n"), "is no JSON"
            else:
                yield number, values, "" if isinstance(values, dict) else "is no JSON object"


def _json_column(path: Path, name: str, values: list[Any]) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    if types <= {int, float}:
        return pl.Series(name, values, dtype=pl.Float64 if float in types else None)
    if types <= {str, int, float}:
        return pl.Series(name, [v if v is None or isinstance(v, str) else str(v) for v in values])
    if types <= {bool}:
        return pl.Series(name, values)
    return pl.Series(name, values, dtype=pl.Object)


def spelled(path: Path, name: str, gaps: list[str]) -> dict[str, int]:
    """How the gaps of a column of a CSV file are written: spelling -> rows."""
    dialect = sniff(path)
    at = dialect.columns.index(name)
    found = dict.fromkeys(gaps, 0)
    for _, row in cells(path, dialect):
        if row[at] in found and any(row):
            found[row[at]] += 1
    return {gap: count for gap, count in found.items() if count}
