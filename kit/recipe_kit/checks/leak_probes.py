"""Probes for leaks in the pipeline itself: change the file in a way that must not matter, load it again, and compare."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..owner.engine.table import LINES, declared, read_table
from ..owner.task import Data, Task
from ..project import Project
from . import predictive_power
from .check_result import CheckResult, check_result, not_applicable
from .context import Context
from .repeats import FEATURES

ROWS = 3_000  # of the file that are loaded again
ORIGINS = 8  # of a forecast, behind which everything is changed
TABLES = (".csv", ".parquet", *LINES)


def refit(context: Context, project: Project) -> CheckResult:
    """What is known of a row must not move when rows are added elsewhere, and `prep` must be what the training part gives.

    A tenth of the rows is added again, with every number ten times as large: a loader that scales or fills over all
    rows then gives the old rows other values.
    """
    again = context.task.prepare(context.config, context.data["train"])
    if json.dumps(again, sort_keys=True) != json.dumps(context.prep, sort_keys=True):
        return check_result("refit", "fitting again on train gives another preprocessing", fail=True, why="prep")
    if (raw := _raw(project)) is None:
        return not_applicable("refit", "the data is no table that could be loaded again")
    if getattr(project.config, "horizon", 0):
        return _known_then(context, project, raw)
    roles = (context.config.target, context.config.group, context.config.time, context.config.query)
    moved = [name for name, kind in raw.schema.items() if kind.is_float() and name not in roles]
    many = max(raw.height // 10, 1)
    more = raw[:many].with_columns(raw[name][:many] * 10 for name in moved)
    if name := getattr(project.config, "series", ""):  # a row a step: other rows are those of other series
        names = pl.col(name).cast(pl.String)
        raw, more = raw.with_columns(names), more.with_columns(names + pl.lit("+"))
    before, after = (_load(project.local_config, context.task, frame) for frame in (raw, pl.concat([raw, more])))
    columns = [c for c in before.columns(*FEATURES) if c in after.frame.columns]
    if not columns:
        return not_applicable("refit", "no feature column that could be compared")
    changed = [c for c in columns if not _equal(before.frame[c], after.frame[c][: len(before)])]
    same = f"the same preprocessing again, and {len(before):,} rows that do not move when others are added"
    words = f"rows read otherwise when other rows are added: {', '.join(changed[:4])}" if changed else same
    return check_result("refit", words, fail=bool(changed), why="load")


def _known_then(context: Context, project: Project, raw: pl.DataFrame) -> CheckResult:
    """Of a forecast nothing that was known at an origin may move when every number from there on is ten times as large."""
    time, before, found = project.config.time, _load(project.local_config, context.task, raw), dict[str, None]()
    moved = [n for n in (project.config.target, *before.columns("series")) if n in raw.columns]
    first = before.frame.filter(pl.col("ahead") == 1)[time].unique().sort()
    origins = first.gather(np.linspace(0, len(first) - 1, ORIGINS).astype(int)).unique()
    for moment in origins:
        later = [pl.when(pl.col(time) >= moment).then(pl.col(n) * 10).otherwise(pl.col(n)) for n in moved]
        after = _load(project.local_config, context.task, raw.with_columns(later))
        here = (pl.col("ahead") == 1) & (pl.col(time) == moment)
        one, other = before.frame.filter(here), after.frame.filter(here)
        found |= dict.fromkeys(c for c in before.columns("series") if not _equal(one[c], other[c]))
    same = f"the same preprocessing, and what was known at {len(origins)} origins stays when what came later changes"
    words = f"what was known at an origin moves when what came later changes: {', '.join([*found][:4])}"
    return check_result("refit", words if found else same, fail=bool(found), why="load")


def permuted_labels(context: Context, project: Project) -> CheckResult:
    """With labels permuted in the file, nothing must be able to predict them: what can was computed from the labels."""
    check = "permuted labels"
    raw = _raw(project)
    if raw is None or context.config.task == "ranking":
        return not_applicable(check, "the data is no table with one target a row")
    raw = raw.filter(raw[context.config.target].is_not_null())
    name = "" if getattr(project.config, "horizon", 0) else getattr(project.config, "series", "")
    each = raw.unique(name, keep="first", maintain_order=True) if name else raw
    shuffled = each[context.config.target].gather(np.random.default_rng(0).permutation(each.height))
    shuffled = raw[name].replace_strict(each[name], shuffled).alias(shuffled.name) if name else shuffled
    data = _load(project.local_config, context.task, raw.with_columns(shuffled))
    rows = predictive_power.sample(data)
    features = context.task.simple_features(context.config, data.take(rows))
    if features is None or hasattr(features, "tocsr"):
        return not_applicable(check, "no columns that a label could have been written into")
    y = predictive_power.target_numbers(context.config, data, rows)
    if context.config.task != "regression" and np.bincount(y).min() < 5:
        return not_applicable(check, "a class has fewer than 5 rows")
    value = predictive_power.skill(context.config, predictive_power.out_of_fold(context.config, features, y), y)
    limit = 0.5 + 4 * predictive_power.null_deviation(context.config, y)
    seen = f"a simple model predicts permuted labels with {value:.3f} (0.5 = chance)"
    return check_result(check, seen, fail=value > limit, evidence={"score": value, "limit": limit}, n=len(y))


def _raw(project: Project) -> pl.DataFrame | None:
    """The first rows of the data file as they are, or rows with a target from all over it where the first have none or are all
    alike, or all rows of some series; None when it is no table, or names other files that lie beside it."""
    path, target = project.root / project.local_config.data, project.config.target
    if path.suffix not in TABLES or not path.is_file() or project.data.columns("image"):
        return None
    name = getattr(project.config, "series", "")
    long = name or getattr(project.config, "horizon", 0)  # a channel is a column of numbers
    said = replace(declared(project.config), series=[] if long else project.data.columns("series"))
    frame = read_table(path, None if name else ROWS, said).frame
    if name:
        names = frame.filter(frame[target].is_not_null())[name].unique(maintain_order=True)
        return frame.filter(frame[name].is_in(names.gather_every(len(names) // ROWS + 1).implode()))
    known = frame[target].drop_nulls()
    if len(known) >= min(ROWS, len(project.data)) / 2 and known.n_unique() > 1:
        return frame
    whole = read_table(path, None, said).frame.filter(pl.col(target).is_not_null())
    return whole[np.linspace(0, whole.height - 1, min(ROWS, whole.height)).astype(int)]


def _load(config: Any, task: Task, frame: pl.DataFrame) -> Data:
    """This table as the project's own loader reads it, the split that it may give left out."""
    bare = {"test_data": "", "split_column": "", "split": "auto"}
    frame = frame.drop(config.split_column) if config.split_column else frame
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(config.data).name
        writers: dict[str, Any] = {".csv": frame.write_csv, ".parquet": frame.write_parquet}
        writers.get(path.suffix, frame.write_ndjson)(path)
        return task.load(config.model_copy(update={"data": path.name, **bare}), Path(folder)).read()


def _equal(one: pl.Series, other: pl.Series) -> bool:
    if not one.dtype.is_numeric() or not other.dtype.is_numeric():
        return one.cast(pl.String).equals(other.cast(pl.String), null_equal=True)
    a, b = (column.cast(pl.Float64).to_numpy() for column in (one, other))
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))
