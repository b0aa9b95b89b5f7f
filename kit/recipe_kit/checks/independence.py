"""May rows be parted at random? Columns that say who or when, declared or not."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.given import says_parts
from ..owner.task import Data
from .check_result import CheckResult, check_result

NAMES = re.compile(
    r"(^|_)(id|uid|uuid|user|customer|patient|subject|person|device|machine|session|account|household)s?"
    r"(_(id|no|nr|num|number|code|key|name))?$"
)
ONE_WAY = 0.98  # share of the steps from row to row that go the same way in a sorted file
MOMENTS = re.compile(r"(^|_)(date|datetime|time|timestamp|ts|at|epoch)($|_)")


def snake(name: str) -> str:
    """A column's name in small letters, its words parted by _: user_id of userId, User.ID and "user id"."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def independence(config: Config, data: Data) -> CheckResult:
    """A random split assumes independent rows: a declared group or time, or a reason why there is neither."""
    answered = bool(config.group or config.time or config.query or config.iid.strip())
    times, groups = time_like(data), group_like(data)
    edits = [f'time = "{times[0]}"' if times else "", f'group = "{groups[0]}"' if groups else ""]
    hint = f"; columns to think about: {', '.join([*times, *groups][:6])}" if times or groups else ""
    return check_result(
        "independence",
        f"group = {config.group!r}, time = {config.time!r}, iid = {config.iid!r}" + ("" if answered else hint),
        fail=not answered,
        evidence={"times": times, "groups": groups},
        edits=" or ".join([*filter(None, edits), 'iid = "why the rows are independent"']),
    )


def who_and_when(config: Config, data: Data) -> CheckResult:
    """Columns that look like a time or a group and are not declared: rows that are not independent."""
    times = [] if config.time or config.iid else time_like(data)
    groups = [] if config.group or config.iid or config.time else group_like(data)
    named = [f"{c} looks like a time" for c in times] + [f"{c} looks like a group" for c in groups]
    first = f'time = "{times[0]}"' if times else f'group = "{groups[0]}"' if groups else ""
    return check_result(
        "undeclared time or group",
        "; ".join(named[:6]) or f"time = {config.time!r}, group = {config.group!r}, iid = {config.iid!r}",
        warn=bool(named),
        evidence={"times": times, "groups": groups},
        edit=first,
    )


def undeclared_parts(config: Config, data: Data) -> CheckResult:
    """Columns that say train, val or test and are not declared: a split that somebody made, and a feature that it is not."""
    columns = [c for c in data.frame.columns if c not in (*config.drop, config.target)]
    found = [] if config.split_kind == "given" else part_columns(data.frame.select(columns))
    return check_result(
        "given split",
        f"{', '.join(found)} says train and val or test in every row" if found else f"split = {config.split_kind!r}",
        warn=bool(found),
        evidence={"columns": found},
        name=(found or [""])[0],
    )


def time_like(data: Data) -> list[str]:
    """Columns that hold dates or times: by type, or by name and a range of numbers that dates are written in."""
    columns = [name for name in data.frame.columns if data.roles.get(name) != "target"]
    return [c for c in columns if data.frame[c].dtype.is_temporal()] + [
        c for c in columns if _written_as_number(data, c)
    ]


def _written_as_number(data: Data, name: str) -> bool:
    """Whole numbers like 20130131, or seconds or milliseconds since 1970 (from 1985 to 2100) in a column named for it."""
    column = data.frame[name]
    if not column.dtype.is_integer() or column.null_count() == len(column):
        return False
    low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
    if low >= 1900_01_01 and high <= 2100_12_31:
        months, days = column.drop_nulls() // 100 % 100, column.drop_nulls() % 100
        return bool(months.is_between(1, 12).all() and days.is_between(1, 31).all())
    named = MOMENTS.search(snake(name)) is not None
    return named and any(475_000_000 * unit <= low and high <= 4_102_444_800 * unit for unit in (1, 1000))


def group_like(data: Data) -> list[str]:
    """Columns in which most values come back, but few rows share one: who, rather than what kind.

    Texts and ids by their counts alone; whole numbers only when the name says so too.
    """
    found = []
    for name in data.columns("categorical", "id", "numeric"):
        column = data.frame[name]
        if data.roles[name] == "numeric" and not (column.dtype.is_integer() and NAMES.search(snake(name))):
            continue
        values = column.n_unique()
        if max(20, 0.01 * len(data)) < values < 0.5 * len(data):
            found.append(name)
    return found


def moments(column: pl.Series) -> np.ndarray:
    """Order of the moments of a time column, int64 [n]: equal times share a number, a missing one counts as oldest."""
    return column.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def queries(config: Config, data: Data) -> np.ndarray | None:
    """Number of the query of each row, int64 [n]; None where rows are not compared within queries."""
    if config.task != "ranking":
        return None
    return data.frame[config.query].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64)


def steps_within(query: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Differences of x [n] from a row to the next one of its query, in file order."""
    order = np.argsort(query, kind="stable")
    return np.diff(x[order])[np.diff(query[order]) == 0]


def in_order(config: Config, data: Data) -> bool:
    """Whether the file is sorted by the target: classes in blocks, numbers that go one way but for a stray step, or
    relevance that does so within the queries. Of 20 steps by chance all go one way in one file of 500,000."""
    query = queries(config, data)
    if query is None and config.task != "regression":
        names = data.frame[data.target].cast(pl.String)
        k, turns = names.n_unique(), int((names != names.shift()).sum())  # the first row has no row before it
        return turns < 2 * k < 0.1 * len(names)
    y = data.frame[data.target].cast(pl.Float64).to_numpy()
    steps = np.diff(y) if query is None else steps_within(query, y)
    up, down = int((steps > 0).sum()), int((steps < 0).sum())
    return up + down >= 20 and max(up, down) >= ONE_WAY * (up + down)


def part_columns(frame: pl.DataFrame) -> list[str]:
    """Columns of texts that say train and val or test in every row: a split that somebody made."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return [n for n in texts if frame[n].head(100).n_unique() < 10 and says_parts(frame[n].unique())]
