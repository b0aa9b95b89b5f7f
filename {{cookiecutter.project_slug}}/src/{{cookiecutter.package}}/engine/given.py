"""A split that was given: by a column that says the part, by a test file of its own, or by folders called train, val and test.

Whatever gives it, `load` returns a column of the role "part" that says train, val or test in every row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from ..config import Config
from ..errors import UserError
from ..task import Data
from .files import sha256
from .table import Table, require_columns

PARTS = ("train", "val", "test")
SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst", "holdout", "hold-out", "hold_out"),
}
KNOWN = {word: part for part, words in SPELLINGS.items() for word in words}
COLUMN = "given_part"  # where it is folders or files that say it


def column(config: Config) -> str:
    """Name of the column that says the part; '' where the split is drawn."""
    return (config.split_column or COLUMN) if config.split_kind == "given" else ""


def part_of(word: str) -> str:
    """train, val or test for one of its usual spellings; '' for any other word."""
    return KNOWN.get(word.strip().lower(), "")


def says_parts(words: Iterable[str | None]) -> bool:
    """Whether these are train and val or test, however spelled, and nothing else."""
    parts = {part_of(word or "") for word in words}
    return {"train"} < parts and "" not in parts


def part_level(files: Iterable[tuple[str, ...]]) -> int | None:
    """Which component of these paths below a folder names their part: 0 as in train/cat/1.png, 1 as in cat/train/1.png.

    None where none does: train and val are parts only where folders of one name lie in both, or where they lie in a class.
    """
    inside: dict[str, set[str]] = {}
    for names in files:
        inside.setdefault(names[0], set()).update(names[1:-1][:1])
    train = {inner for outer, held in inside.items() if part_of(outer) == "train" for inner in held}
    if any(part_of(outer) in PARTS[1:] and held & train for outer, held in inside.items()):
        return 0
    return 1 if says_parts({inner for held in inside.values() for inner in held}) else None


def read(config: Config, root: Path, read_file: Callable[[Path], Table]) -> Table:
    """The rows of `data` and, behind them, of `test_data`; with the part of each row where the split is given."""
    path, name = root / config.data, column(config)
    table = read_file(path)
    frame = table.frame
    if not name:
        return table
    if config.test_data and name == COLUMN and name not in frame.columns:
        frame = frame.with_columns(pl.lit("train").alias(name))
    if not config.split_column and name not in frame.columns:
        raise UserError(
            f"split = 'given', but nothing says the part of a row of {path}: set split_column to the column that does, or test_data"
            " to a file of its own, or put class folders of images into folders called train, val and test"
        )
    require_columns({"split_column": [name], "target": [config.target]}, frame, path)
    frame = frame.with_columns(_parts(frame[name], path))
    if config.test_data:
        test = read_file(root / config.test_data).frame
        frame = _stacked(config, frame, test.with_columns(pl.lit("test").alias(name)))
    _refuse_empty(config, frame, path)
    return replace(table, frame=frame)


def _parts(values: pl.Series, path: Path) -> pl.Series:
    """The column in one spelling. Raises UserError for an empty cell and for a word that names no part."""
    words = values.cast(pl.String)
    known = {word: part_of(word) for word in words.drop_nulls().unique()}
    odd = sorted(word for word, part in known.items() if not part)
    if odd or words.null_count():
        where = f"column {values.name!r} of {path}" if values.name != COLUMN else f"a folder of {path}"
        seen = f"names the part {odd[0]!r} in" if odd else "names no part in"
        rows = int((words == odd[0]).sum()) if odd else words.null_count()
        usual = ", ".join(" or ".join(spelled[:3]) for spelled in SPELLINGS.values())
        raise UserError(f"{where} {seen} {rows:,} rows; parts are called {usual}")
    return words.replace_strict(known, return_dtype=pl.String)


def _stacked(config: Config, frame: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """The rows of both files. Raises UserError where their columns are not the same or were read as different types."""
    here, there = config.data, config.test_data
    if config.target not in test.columns:
        raise UserError(
            f"test_data = {there!r} has no column {config.target!r}, and without answers it tests nothing; recipe predict answers its rows"
        )
    for one, other, lacking in ((here, there, frame), (there, here, test)):
        more = (test if lacking is frame else frame).columns
        if extra := [name for name in more if name not in lacking.columns]:
            raise UserError(f"{other} has a column {extra[0]!r}, which {one} has not; both need the same columns")
    for name, kind in frame.schema.items():
        both = (kind, test.schema[name])
        if both[0] != both[1] and not all(k.is_numeric() for k in both) and pl.Null not in both:
            raise UserError(f"column {name!r} is {both[0]} in {here} and {both[1]} in {there}; write it alike in both")
    return pl.concat([frame, test[frame.columns]], how="vertical_relaxed")


def _refuse_empty(config: Config, frame: pl.DataFrame, path: Path) -> None:
    """Raise UserError where there is no train, nothing but train, or a part without a single target."""
    name = column(config)
    counts = pl.DataFrame({"part": frame[name], "labeled": frame[config.target].is_not_null()})
    known = dict(counts.group_by("part").agg(pl.col("labeled").sum()).rows())
    if "train" not in known or len(known) == 1:
        raise UserError(
            f"the split given by {path} has {' and '.join(sorted(known))} rows alone; it needs train rows, and val or test rows"
        )
    if empty := [part for part in PARTS if known.get(part) == 0]:
        raise UserError(
            f"no {empty[0]} row of {path} has a target; leave these rows out: recipe predict answers them, and a part that is not"
            " given is cut from train"
        )


def sources_hash(config: Config, root: Path, *more: str) -> str:
    """sha256 of the file of the rows, or over all files that they are made of: the test rows', and `more` that `load` reads."""
    digests = [sha256(root / name) for name in (config.data, config.test_data, *more) if name]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def given_parts(config: Config, data: Data) -> np.ndarray:
    """Number of the part that each row is given for, int8 [n]: a position in PARTS."""
    numbers = dict(zip(PARTS, range(3), strict=True))
    return data.frame[column(config)].replace_strict(numbers, return_dtype=pl.Int8).to_numpy().copy()


def not_given(config: Config, data: Data) -> list[str]:
    """Parts that are left to be cut from train where the split is given."""
    if config.split_kind != "given":
        return []
    there = set(data.frame[column(config)].unique())
    return [part for part in PARTS if part not in there]
