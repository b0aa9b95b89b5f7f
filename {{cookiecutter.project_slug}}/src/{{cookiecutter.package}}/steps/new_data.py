"""Look at a file or folder that is new to the project, propose the lines of recipe.toml for it, and say what to confirm."""

from __future__ import annotations

import os
import re
from pathlib import Path

import polars as pl

from ..checks.independence import group_like, time_like
from ..engine.folders import PICTURES, class_folders
from ..engine.given import part_columns
from ..engine.project import Project
from ..engine.table import larger_than_memory, read_table
from ..errors import UserError
from ..task import Data

TARGET = re.compile(r"^(target|label|labels|class|y|outcome|category|score|price)$", re.IGNORECASE)
WORDS = 5  # mean number of words from which a column is a text rather than a name
FIRST = 200_000  # rows that are looked at where the file is larger than memory
CLASSES = 20  # whole numbers up to this many are taken for classes


def propose(project: Project, path: Path) -> str:
    """Lines for recipe.toml, each with the reason or the question to answer. Raises UserError for what cannot be read."""
    if not path.exists():
        raise UserError(f"{path} does not exist; name a CSV, JSON lines or Parquet file, or a folder of class folders")
    place = os.path.relpath(path.resolve(), project.root)
    large = larger_than_memory(path)
    modality, lines = _folder(path) if path.is_dir() else _table(read_table(path, FIRST if large else None))
    lines += [f"sample_rows = 200_000  # {large}"] if large else []
    if modality != project.config.modality:
        lines.append(
            f"# this looks like {modality} data, and the project is for {project.config.modality}: stamp one for it"
        )
    head = "# Proposed from the data; confirm each line, put it into recipe.toml, then: recipe audit"
    return "\n".join([head, f'data = "{Path(place).as_posix()}"', *lines])


def _folder(path: Path) -> tuple[str, list[str]]:
    counts, given = class_folders(path)
    shown = ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:6]) + (" ..." if len(counts) > 6 else "")
    task = "binary" if len(counts) == 2 else "multiclass"
    said = ", ".join(f"{name} {n:,}" for name, n in given.items())
    return "image", [
        f'task = "{task}"  # {len(counts)} classes: {shown}',
        *([f'split = "given"  # by the folders: {said}'] if given else []),
        _iid("images of one person, place or series?"),
    ]


def _table(frame: pl.DataFrame) -> tuple[str, list[str]]:
    if frame.width < 2 or not frame.height:
        raise UserError(
            f"the table has {frame.width} columns and {frame.height} rows; it needs a target, a feature and rows"
        )
    given = part_columns(frame)[:1]
    frame = frame.drop(given)
    named = [name for name in frame.columns if TARGET.match(name)]
    target = named[0] if named else _last_answer(frame)
    why = "by its name" if named else "the last column that could be one: is this what you want to predict?"
    lines = [f'target = "{target}"  # {why}', _task(frame[target])]
    texts = [name for name in frame.columns if name != target and _mean_words(frame[name]) > WORDS]
    pictures = [name for name in frame.columns if name != target and _holds_paths(frame[name])]
    modality = "image" if pictures else "text" if texts else "tabular"
    lines += [f'image = "{pictures[0]}"'] if pictures else [f'text = "{texts[0]}"'] if texts else []
    lines += [f'split_column = "{name}"  # it says train and val or test: the split is taken from it' for name in given]
    return modality, [*lines, *_rows_apart(frame, target)]


def _last_answer(frame: pl.DataFrame) -> str:
    """The last column that is a number, or has values that come back: not a moment, not a name of the row."""
    for name in reversed(frame.columns):
        kind = frame.schema[name]
        if not kind.is_temporal() and (kind.is_float() or frame[name].n_unique() <= max(2, frame.height / 2)):
            return name
    return frame.columns[-1]


def _task(column: pl.Series) -> str:
    values, empty = column.n_unique() - int(column.null_count() > 0), column.null_count()
    note = f"; {empty:,} rows have none and are set aside" if empty else ""
    if column.dtype.is_float() or (column.dtype.is_integer() and values > CLASSES):
        return f'task = "regression"  # {values:,} different numbers{note}'
    return f'task = "{"binary" if values == 2 else "multiclass"}"  # {values} classes{note}'


def _rows_apart(frame: pl.DataFrame, target: str) -> list[str]:
    """What says who and when, or the question why nothing does."""
    kinds = {name: "numeric" if kind.is_numeric() else "categorical" for name, kind in frame.schema.items()}
    data = Data(frame, target, {**kinds, target: "target"}, "")
    times, groups = time_like(data), group_like(data)
    lines = [f'time = "{times[0]}"  # rows are then split by time'] if times else []
    lines += [f'group = "{groups[0]}"  # its values come back: do rows of one belong together?'] if groups else []
    return lines or [_iid("rows of one person, machine or day?")]


def _iid(question: str) -> str:
    return f'iid = ""  # why the rows are independent: {question} If they are not, name the column: group or time'


def _mean_words(column: pl.Series) -> float:
    if column.dtype != pl.String:
        return 0.0
    return float(column.drop_nulls().head(1000).str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]


def _holds_paths(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return False
    some = column.drop_nulls().head(100).str.to_lowercase()
    return bool(len(some)) and all(value.endswith(PICTURES) for value in some)
