"""What `recipe init` says of series: which column says whose step a row is, which orders them, or that a row is a series."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from ..checks.independence import snake
from ..owner.engine.table import Table
from ..owner.errors import UserError
from ..owner.task import Task
from .proposal import Proposal
from .propose_table import CLASSES, names_rows, of_table

WHEN = re.compile(r"(^|_)(t|ts|at|time|timestamp|date|datetime|step|frame|second|minute|hour|day|week|month|cycle)$")


def of_series(task: Task, config: Any, table: Table, path: Path, asked: str) -> Proposal:
    """Settings for a long table, a wide one, or one of lists. Raises UserError where it is none of them."""
    target = asked or config.target
    bare: dict[str, Any] = {"series": "", "step": "", "channels": [], "static": [], "slices": [], "target": target}
    shape, frame = Proposal(config.modality), table.frame
    series, orders, once = _long(frame, target)
    try:
        made = task.rows_to_predict(config.model_copy(update=bare), path)
    except UserError:
        if not series:
            raise
        made = frame  # no column of it is a step
    steps = 0 if made is None else len(set(frame.columns) - set(made.columns))
    back = [name for name in orders[:1] if 2 * frame[name].n_unique() <= frame.height]  # as an hour does in each series
    if made is None or not series or (steps and not back):
        shape.add("series", "", f"a row is a series, its steps are {f'{steps} columns' if steps else 'lists'}")
        shape.add("step", "", "")
    else:
        others = f"; or is it {' or '.join(orders[1:4])}?" if orders[1:] else "" if orders else "? now as in the file"
        shape.add("series", series, f"its values come back, with one value of {', '.join(once[:4])} in each")
        shape.add("step", "".join(orders[:1]), f"what orders the rows of a series{others}")
        if steps:
            shape.ask("series", "", f"or is each row a series, of {steps} columns?")
        bare |= {"series": series, "step": shape.value("step"), "static": once, "drop": [*config.drop, *orders[1:]]}
        made = task.rows_to_predict(config.model_copy(update=bare), path)
    frame = frame if made is None else made
    channels = [c.name for c in frame.get_columns() if c.dtype == pl.String and c.str.starts_with("[").all()]
    # With the number of the row behind it, a list is alike in no two rows: neither a target nor a group.
    plain = frame.with_columns(pl.col(channels) + pl.int_range(pl.len()).cast(pl.String))
    found = of_table(config, Table(plain, table.kinds, table.notes), path, asked)
    used = [*channels, *found.out, *(str(line.value) for line in (*shape.lines, *found.lines))]
    rest = [c for c in frame.get_columns() if c.name not in used and not names_rows(c)]
    static = [c.name for c in rest if c.dtype.is_numeric() or c.n_unique() <= CLASSES]
    shape.add("channels", channels, "")
    shape.add("static", static, "one value a series; is each known when you predict?" if static else "")
    found.lines, found.questions = shape.lines + found.lines, shape.questions + found.questions
    return found


def _long(frame: pl.DataFrame, target: str) -> tuple[str, list[str], list[str]]:
    """Of a long table the series, what may order its rows, and what has one value in each; "" where no column is like that."""
    found: list[tuple[bool, int, tuple[str, list[str], list[str]]]] = [(False, 0, ("", [], []))]
    for column in frame.get_columns():
        name, values = column.name, column.n_unique()
        if name == target or column.dtype.is_float() or column.null_count() or not 2 <= values <= len(column) / 2:
            continue
        each = frame.group_by(name).agg(pl.exclude(name).drop_nulls().n_unique()).drop(name).max().row(0, named=True)
        once = [other for other, most in each.items() if most == 1 and frame[other].n_unique() > 1]
        orders = [other for other in each if other not in once and _orders(column, frame[other])]
        if once and (orders or len(column.rle()) == values) and (target in once or target not in frame.columns):
            orders.sort(key=lambda other: not (frame[other].dtype.is_temporal() or WHEN.search(snake(other))))
            found.append((bool(orders), values, (name, orders, once)))
    return max(found)[2]


def _orders(series: pl.Series, column: pl.Series) -> bool:
    """Whether it differs in all but a few rows of each series: whole numbers and moments, or numbers that rise."""
    if column.null_count() or not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        return False
    both = pl.DataFrame({"series": series, "step": column.to_physical()})
    rises = both.select((pl.col("step").diff().over("series") > 0).all()).item()
    return bool(rises) if column.dtype.is_float() else both.n_unique() >= 0.99 * len(both)
