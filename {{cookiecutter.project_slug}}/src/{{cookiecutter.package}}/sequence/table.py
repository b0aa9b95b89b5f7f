"""From a file to one row a series: of a long table (a row a step) the rows of each series are gathered into lists.

A list of numbers is the JSON text of it, in the frame as in a CSV file or a request: hashes, duplicates, splits and logs see
a value like any other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ..engine import given, kinds
from ..engine.notes import Note
from ..engine.table import LINES, Declared, Table, converted, declared, noted, read_table, require_columns
from ..engine.target import check_target, with_target
from ..errors import UserError
from ..task import Data
from .data import faults
from .forecast import AHEAD, past, windows
from .wide import with_lists

if TYPE_CHECKING:
    from .recipe import Config

SERIES: kinds.Kind = {"kind": "series"}
ALL, ROW = "all rows", "row of the file"  # the series of a file that has one; columns that no file has


def load(config: Config, root: Path) -> Data:
    """Read the file, one row a series, and leave out series without a target. Raises UserError for bad input."""
    path = root / config.data
    table = given.read(config, root, lambda file: read(config, file))
    frame = table.frame
    require_columns(named(config), frame, path)
    channels = [name for name in frame.columns if table.kinds.get(name) == SERIES]
    if odd := [f"row {i} {why}" for i, why in enumerate(faults(frame, channels), start=1) if why]:
        raise UserError(f"{path} {odd[0]} ({len(odd)} such); fix or remove these rows")
    labeled, unlabeled = with_target(frame, config.target)
    check_target(config, labeled, path)
    long = bool(config.series or config.horizon)
    notes = tuple(table.notes) if long else noted(config, path, table)
    if long and unlabeled is not None:
        notes = (*notes, Note("target", config.target, {"rows": unlabeled.height, "spelled": {}}))
    roles = infer_roles(config, labeled, channels)
    return Data(labeled, config.target, roles, given.sources_hash(config, root), unlabeled, table.kinds, notes)


def named(config: Config) -> dict[str, list[str]]:
    """The columns of a series that settings name: setting -> columns."""
    return {
        "target": [config.target], "group": [config.group], "time": [config.time], "split_column": [config.split_column],
        "static": config.static, "channels": config.channels, "slices": config.slices,
    }  # fmt: skip


def infer_roles(config: Config, frame: pl.DataFrame, channels: list[str]) -> dict[str, str]:
    """Channels are series; static columns are numbers or categories; what the settings name has that role; the rest is dropped."""
    roles = dict.fromkeys(frame.columns, "drop") | dict.fromkeys(channels, "series")
    for name in [*config.static, *([AHEAD] if config.horizon else [])]:
        roles[name] = "numeric" if frame.schema[name].is_numeric() else "categorical"
    special = {config.series: "id", config.group: "group", config.time: "time", given.column(config): "part"}
    return roles | {name: role for name, role in special.items() if name} | {config.target: "target"}


def read(config: Config, path: Path) -> Table:
    """The table with one row a series."""
    if config.series or config.horizon:
        said = declared(config, numeric=config.channels)
        return gathered(config, read_table(path, declared=said), path)
    said = replace(declared(config), series=config.channels or listed(path))
    return _lists_of_texts(config, read_table(path, declared=said), path)


def listed(path: Path) -> list[str]:
    """Columns of lists in a file that has types of its own."""
    try:
        if path.suffix == ".parquet":
            schema = pl.read_parquet_schema(path)
        elif path.suffix in LINES:
            schema = dict(pl.read_ndjson(path, infer_schema_length=100, n_rows=100).schema)
        else:
            return []
    except (pl.exceptions.PolarsError, OSError, ValueError):  # whoever reads it says what is wrong with it
        return []
    return [name for name, dtype in schema.items() if dtype.is_nested()]


def _lists_of_texts(config: Config, table: Table, path: Path) -> Table:
    """Texts that are lists of numbers, as CSV holds them, become series: the channels, or every such column."""
    frame, known, notes = table.frame, dict(table.kinds), table.notes
    texts = [name for name, kind in known.items() if kind["kind"] == "text"]
    for name in config.channels or [name for name in texts if _holds_lists(frame[name])]:
        if name in frame.columns and known[name] != SERIES:
            frame, known[name] = frame.with_columns(converted(path, frame[name], SERIES)), SERIES
            notes = [note for note in notes if note.column != name]
    if SERIES in known.values():
        return Table(frame, known, notes)
    return of_wide(config, table, path)


def of_wide(config: Config, table: Table, path: Path) -> Table:
    """The table with lists of the columns that no setting names for something else."""
    require_columns({}, table.frame, path)
    taken = {name for setting, names in named(config).items() if setting != "channels" for name in names}
    return with_lists(table, {*taken, given.column(config), *config.drop}, config.channels, path)


def _holds_lists(column: pl.Series) -> bool:
    some = column.drop_nulls().head(100)
    return bool(len(some)) and bool(some.str.contains(r"^\s*\[").all())


def gathered(config: Config, table: Table, path: Path, ending: bool = False) -> Table:
    """The rows of each series in the order of their steps, as one row; series in the order of the file. With a horizon each value
    of the target has a row, and knows the steps before its origin (forecast.py); `ending`: those to come, which the file lacks."""
    whole = {} if config.series else {"series": ALL}
    frame = table.frame.with_columns(pl.lit(0).alias(name) for name in whole.values())
    config = config.model_copy(update=whole)
    said = {"series": [config.series], "step": [config.step], "drop": config.drop}
    require_columns({**said, **named(config)}, frame, path)
    _require_order(config, frame, path)
    of_row = [config.target, given.column(config), *config.slices] if config.horizon else []
    moving = list(dict.fromkeys(name for name in (config.time, *of_row) if name))
    once = list(dict.fromkeys(name for name in _once(config, frame) if name not in (config.series, *moving)))
    numbers = config.channels or _numbers(config, frame, [*once, *moving])
    channels = ({past(config.target): config.target} if config.horizon else {}) | {name: name for name in numbers}
    words = [name for name in channels.values() if not frame.schema[name].is_numeric()]
    if odd := [name for name in words if frame[name].null_count() < frame.height]:
        raise UserError(f"channels names column {odd[0]!r} of {path}, which holds no numbers: {frame[odd[0]][0]!r}")
    if not channels:
        raise UserError(f"{path} has no column of numbers left for a channel; look at static and drop")
    _require_one_value(config, frame, once, path)
    sorting = [pl.col(ROW).min().over(config.series), *([pl.col(config.step)] if config.step else [])]
    ordered = frame.with_row_index(ROW).sort(*sorting, maintain_order=True)
    if config.horizon:
        kept = list(dict.fromkeys([config.series, *once, *moving, AHEAD, *channels]))
        rows = windows(config, ordered, channels, path, ending).select(kept).drop(whole.values())
    else:
        lists = [pl.col(name).cast(pl.Float64) for name in channels]
        first = [pl.col(name).drop_nulls().first() for name in once]
        last = [pl.col(name).max() for name in moving]
        rows = ordered.group_by(config.series, maintain_order=True).agg(*first, *last, *lists)
        texts = [pl.Series(n, [kinds.written(v) for v in rows[n].to_list()], pl.String) for n in channels]
        rows = rows.with_columns(texts)
    notes = [note for note in table.notes if note.column in ("", config.series, config.step, *once, *of_row)]
    known = {name: table.kinds[name] for name in rows.columns if name in table.kinds} | dict.fromkeys(channels, SERIES)
    return Table(rows, known, [*notes, *steps(config, ordered)])


def _once(config: Config, frame: pl.DataFrame) -> list[str]:
    """Columns that hold one value for each series, as settings name them."""
    names = [config.target, config.group, given.column(config), *config.static, *config.slices]
    return [name for name in names if name and name in frame.columns]


def _numbers(config: Config, frame: pl.DataFrame, once: list[str]) -> list[str]:
    taken = {*once, *config.drop, config.series, config.step, config.time}
    return [name for name, dtype in frame.schema.items() if dtype.is_numeric() and name not in taken]


def _require_order(config: Config, frame: pl.DataFrame, path: Path) -> None:
    """Raise UserError for rows that belong to no series, or whose place in it nothing says."""
    for setting, name in (("series", config.series), ("step", config.step)):
        if name and (empty := frame[name].null_count()):
            raise UserError(f"{path} has {empty:,} rows without a value in {setting} = {name!r}; fill or remove them")
    if config.step and not (frame.schema[config.step].is_numeric() or frame.schema[config.step].is_temporal()):
        text = frame[config.step][0]
        raise UserError(f"step = {config.step!r} of {path} holds text such as {text!r}; use numbers or dates")


def _require_one_value(config: Config, frame: pl.DataFrame, once: list[str], path: Path) -> None:
    """Raise UserError where a series has two targets, or two values of what should say one thing of all of it."""
    if not once:
        return
    counts = frame.group_by(config.series, maintain_order=True).agg(pl.col(n).drop_nulls().n_unique() for n in once)
    for name in once:
        if (many := counts.filter(pl.col(name) > 1)).height:
            who = many[config.series][0]
            seen = frame.filter(pl.col(config.series) == who)[name].drop_nulls().unique(maintain_order=True)
            raise UserError(
                f"column {name!r} of {path} has {len(seen)} values in series {who!r} ({seen[0]!r}, {seen[1]!r}) and so in {many.height}"
                " of the series; a series is one example: give it one value"
            )


def steps(config: Config, frame: pl.DataFrame) -> list[Note]:
    """How far apart the rows of a series lie, as a note for the audit. frame: long, in the order of `step`."""
    if not config.step:
        return []
    column = pl.col(config.step).diff().over(config.series)
    if frame.schema[config.step].is_temporal():
        column = column.dt.total_microseconds() / 1e6
    apart = frame.select(pl.col(config.series), column.cast(pl.Float64).alias("apart")).drop_nulls()
    positive = apart.filter(pl.col("apart") > 0)["apart"]
    usual = float(positive.median() or 0.0)  # type: ignore[arg-type]
    repeated = apart.filter(pl.col("apart") == 0)
    facts: dict[str, Any] = {
        "steps": apart.height, "usual": usual, "moments": frame.schema[config.step].is_temporal(),
        "irregular": float(((positive - usual).abs() > 0.01 * usual).mean() or 0.0),  # type: ignore[arg-type]
        "repeated": repeated.height, "series": repeated[config.series].n_unique(),
    }  # fmt: skip
    return [Note("steps", config.step, facts)]


def to_predict(config: Config, path: Path) -> pl.DataFrame | None:
    """The series of a long or a wide table without targets, a row each, or the forecasts that are due; None for a table of lists."""
    if path.is_dir() or listed(path):
        return None
    start = read_table(path, 100, Declared(config.drop)).frame
    if any(column.dtype == pl.String and _holds_lists(column) for column in start.iter_columns()):
        return None
    config = config.model_copy(update={"split_column": "", "test_data": "", "slices": [], "split": "auto"})
    table = read_table(path, declared=Declared(config.drop, numeric=config.channels))
    if config.series not in start.columns and not config.horizon:
        return of_wide(config, table, path).frame
    asked = (config.group, config.time) if config.horizon else (config.target, config.group, config.time)
    lacking = [name for name in asked if name and name not in table.frame.columns]
    table = Table(table.frame.with_columns(pl.lit(None, dtype=pl.String).alias(n) for n in lacking), {}, [])
    rows = gathered(config, table, path, ending=True).frame
    return rows.drop(lacking, [config.target, config.time] if config.horizon else [])
