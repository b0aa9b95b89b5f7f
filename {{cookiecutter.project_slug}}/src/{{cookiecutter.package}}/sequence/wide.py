"""A wide table: a row a series, a column a step. Columns whose names differ in one number or date are the steps of a channel."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from ..engine import kinds
from ..engine.table import Table, converted
from ..errors import UserError

STEP = re.compile(r"(?:(?<![^\s_([])[+-])?\d+(?:[-:./ T]\d+)*")  # a number, with a sign that is no hyphen, or a date
BETWEEN = " _.,:;-()[]'\""  # what may stand between the name of a channel and the step
LEAST = 3  # steps of a channel that no setting names


def with_lists(table: Table, taken: Collection[str], wanted: list[str], path: Path) -> Table:
    """The table with a list for each channel in place of its columns. taken: columns that are no steps. wanted: channels, [] for
    all. A series ends with its last value in any channel; an empty cell before that is a gap."""
    steps = steps_of(table.frame, taken, wanted, path)
    gone = [name for names in steps.values() for name in names]
    read = [converted(path, table.frame[name], {"kind": "number"}).to_numpy() for name in gone]
    values = np.stack(read, axis=1).reshape(table.frame.height, len(steps), -1)  # [n, c, t]
    known = ~np.isnan(values).all(axis=1)  # [n, t]
    length = (known * np.arange(1, known.shape[1] + 1)).max(axis=1)
    rows = [[kinds.written(line[:last].tolist()) for line in row] for row, last in zip(values, length, strict=True)]
    lists = pl.DataFrame(rows, dict.fromkeys(steps, pl.String), orient="row")
    notes = [note for note in table.notes if note.column not in gone]
    return Table(table.frame.drop(gone).hstack(lists), table.kinds | dict.fromkeys(steps, {"kind": "series"}), notes)


def steps_of(frame: pl.DataFrame, taken: Collection[str], wanted: list[str], path: Path) -> dict[str, list[str]]:
    """Channel -> its columns in the order of their numbers; in that of the file where these fall, or are dates. Raises UserError
    where there is no channel, or channels differ in their steps."""
    _require_names(frame.columns, path)
    found: dict[str, dict[str, str]] = {}
    for name in frame.columns:
        channel, step = (name, "0") if f"{name}.1" in frame.columns else parted(name)  # as pandas names a second "temp"
        columns = found.setdefault(f"{channel}_steps" if channel in frame.columns else channel, {})
        if step and name not in taken and columns.setdefault(step, name) != name:
            raise UserError(f"columns {columns[step]!r} and {name!r} of {path} are of one step; rename or drop one")
    numbers = {name for name, dtype in frame.schema.items() if dtype.is_numeric()}
    channels = [c for c, columns in found.items() if len(columns) > 1 and numbers & {*columns.values()}]
    channels = [channel for channel in channels if channel in wanted] or channels
    most = max(channels, key=lambda channel: len(found[channel]), default="")
    if not channels or (len(found[most]) < LEAST and most not in wanted):
        raise UserError(
            f"{path} has no column of lists such as [0.1, 0.2], and no {LEAST} columns of numbers named by their step such as temp_0,"
            " temp_1, temp_2; of a long table, set series in recipe.toml to the column that says which series a row belongs to"
            " (or, where the file is one series, set horizon, step and time to forecast it)"
        )
    for odd in (channel for channel in channels if found[channel].keys() != found[most].keys()):
        one, other = (f"{c!r} has {len(found[c])} ({', '.join([*found[c].values()][:3])} ...)" for c in (most, odd))
        raise UserError(
            f"the channels of {path} differ in their steps: {one}, {other}; name those that are channels in channels, or the"
            " columns of the other in static or drop"
        )
    return {channel: _in_order(found[channel]) for channel in channels}


def parted(name: str) -> tuple[str, str]:
    """Channel and step that the name of a column says; "" for the step where it says none."""
    *_, at = [None, *STEP.finditer(name)]
    if at is None:
        return name, ""
    around = (part.strip(BETWEEN) for part in (name[: at.start()], name[at.end() :]))
    return "_".join(filter(None, around)) or "value", at[0].lstrip("0+") or "0"


def _in_order(columns: dict[str, str]) -> list[str]:
    steps, names = kinds.numbers_of(pl.Series([*columns])), [*columns.values()]
    return names if steps.null_count() or steps.is_sorted(descending=True) else [names[i] for i in steps.arg_sort()]


def _require_names(columns: list[str], path: Path) -> None:
    """Refuse a header most of which are numbers in no order: it is the first row of the data."""
    names = pl.Series(columns).filter(kinds.numbers_of(pl.Series(columns)).is_not_null())
    numbers = kinds.numbers_of(names)
    ordered = names.is_sorted() or numbers.is_sorted() or numbers.is_sorted(descending=True)
    if 2 * len(names) > len(columns) and not ordered:
        first = ", ".join(columns[:2])
        raise UserError(f"{path} begins with {first} and no names; put a header above it, such as label, 0, 1, 2")
