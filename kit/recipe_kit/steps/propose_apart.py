"""Which column of a table says when, who or which query: rules of `recipe init`."""

from __future__ import annotations

import re

import polars as pl

from ..checks.independence import NAMES, group_like, snake, time_like
from ..owner.config import Config
from ..owner.task import Data
from .proposal import Proposal, iid

QUERIES = re.compile(r"^(q|qid|query|query_?id|search_?id|srch_?id|impression_?id|choice_?(id|set)|chid|individual)$")
YEARS = re.compile(r"(^|_)(year|yr|jahr|annee|ano|anno)$")
PERIODS = re.compile(r"(^|_)(t|time|date|year|yr|quarter|month|week|day|period|timestamp|ts)$")
BIRTH = re.compile(r"(^|_)(birth|born|dob|birthday|birthdate)($|_)")
MOMENTS = 10  # different moments, or groups, from which they are enough to be parted
GRADES = 30  # the largest relevance a ranking takes


def rows_apart(config: Config, data: Data) -> Proposal:
    """What says when, who and which query; or the question why nothing does. Where recipe.toml has the answer, it stays."""
    found = Proposal("")
    query = _query(config, data)
    if query:
        found.add("query", query, "the rows of one are ranked together")
        return found
    if config.group or config.time or config.iid:
        return found
    times = _times(data)
    groups = [name for name in _groups(data) if name not in times]
    who = [name for name in groups if NAMES.search(snake(name))]
    if times:
        more = f"; or is it {' or '.join(times[1:4])}?" if times[1:] else ""
        found.add("time", times[0], f"rows are split by time, and the newest test{more}")
    elif who:
        known = f'; if you predict for these very ones: categorical = ["{who[0]}"], and iid'
        found.add("group", who[0], f"its values come back: rows of one stay together, to predict new ones{known}")
    else:
        found.ask(*iid("rows of one person, machine or day?"))
    for name in groups:
        if name != found.value("group"):
            found.ask("group", name, "its values come back: do rows of one belong together?")
    return found


def _times(data: Data) -> list[str]:
    """Moments that are no dates of birth, years, and numbers called after a period that rise through the file; enough of
    them to be parted."""
    names = [*time_like(data)]
    for name in data.columns("numeric"):
        column = data.frame[name].drop_nulls()
        whole = bool((column.cast(pl.Float64) % 1 == 0).all())
        year = YEARS.search(snake(name)) and whole and float(column.min()) >= 1000 and float(column.max()) <= 2100  # type: ignore[arg-type]
        counter = PERIODS.search(snake(name)) and column.is_sorted() and column.n_unique() == len(data)
        if year or counter:
            names.append(name)
    return [n for n in dict.fromkeys(names) if not BIRTH.search(snake(n)) and data.frame[n].n_unique() >= MOMENTS]


def _groups(data: Data) -> list[str]:
    """Columns whose values come back as those of persons do, or that are called so."""
    called = [
        name
        for name in data.columns("categorical", "numeric")
        if NAMES.search(snake(name)) and MOMENTS <= data.frame[name].n_unique() <= 0.9 * len(data)
        and not data.frame[name].dtype.is_float()
    ]  # fmt: skip
    return list(dict.fromkeys([*called, *group_like(data)]))


def _query(config: Config, data: Data) -> str:
    """The column of queries: for a project that ranks, or by its name where the target is a grade, or where exactly one
    row of each is chosen."""
    target = data.frame[data.target].drop_nulls()
    grade = target.dtype.is_numeric() and float(target.min()) >= 0 and float(target.max()) <= GRADES  # type: ignore[arg-type]
    if not grade:
        return ""
    back = [n for n in data.columns("numeric", "categorical") if 2 <= data.frame[n].n_unique() <= len(data) / 2]
    named = [name for name in back if QUERIES.search(snake(name))]
    if config.task == "ranking":
        said = [config.query] if config.query in back else []
        return next(iter([*said, *named, *_groups(data)]), "")
    whole = bool((target.cast(pl.Float64) % 1 == 0).all())
    chosen = [name for name in dict.fromkeys([*named, *_groups(data)]) if _one_chosen(data, name)]
    return next(iter([*(named if whole else []), *chosen]), "")


def _one_chosen(data: Data, name: str) -> bool:
    """Whether each value has several rows, of which the target is 1 in exactly one and 0 in the others."""
    if set(data.frame[data.target].unique().to_list()) != {0, 1}:
        return False
    each = data.frame.group_by(name).agg(pl.len().alias("rows"), pl.col(data.target).sum().alias("chosen"))
    return bool((each["rows"] > 1).all() and (each["chosen"] == 1).all())
