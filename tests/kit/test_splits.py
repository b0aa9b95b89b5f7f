"""The split: sizes by n, four kinds, deterministic, pinned, and refused when anything under it has changed."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from my_model.engine import splits
from my_model.errors import UserError

from .tables import config_of, data_of, table
from .toy import toy_project


def numbers(n: int, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"x": np.arange(n, dtype=float), "target": np.arange(n) % 2, **columns})


@pytest.mark.parametrize(
    ("n", "val", "test"), [(1_000, 150, 150), (9_999, 1500, 1500), (10_000, 1000, 1000), (1_000_000, 10_000, 10_000)]
)
def test_sizes_follow_the_number_of_rows(n: int, val: int, test: int) -> None:
    part = splits.assign(config_of(), data_of(numbers(n)))
    assert abs((part == 1).sum() - val) <= 2 and abs((part == 2).sum() - test) <= 2


def test_shares_override_the_sizes() -> None:
    part = splits.assign(config_of(val_share=0.3, test_share=0.2), data_of(numbers(1000)))
    assert np.bincount(part).tolist() == [500, 300, 200]


@settings(max_examples=40, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=12, max_size=200), seed=st.integers(0, 9))
def test_every_class_of_three_rows_is_in_every_part(labels: list[int], seed: int) -> None:
    frame = pl.DataFrame({"x": np.arange(len(labels)), "target": labels})
    counts = frame["target"].value_counts()
    if counts["count"].max() < 3:
        return
    part = splits.assign(config_of(task="multiclass", split_seed=seed), data_of(frame))
    for value, count in counts.iter_rows():
        here = part[(frame["target"] == value).to_numpy()]
        assert len(here) == count and (count < 3 or set(here) == {0, 1, 2})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=40, max_size=200))
def test_group_and_query_are_both_kept_whole(pairs: list[tuple[int, int]]) -> None:
    user, query = (np.array(column) for column in zip(*pairs, strict=True))
    query = user * 31 + query % 3  # queries lie inside users, so that enough separate clusters remain
    data = data_of(numbers(len(pairs), user=user, query=query), user="group", query="query")
    try:
        part = splits.assign(config_of(task="ranking", group="user", query="query"), data)
    except UserError:  # too few groups for three parts
        return
    for column in (user, query):
        assert all(len(set(part[column == value])) == 1 for value in np.unique(column))


@settings(max_examples=30, deadline=None)
@given(moments=st.lists(st.integers(0, 40), min_size=50, max_size=300))
def test_time_never_overlaps_and_ties_stay_together(moments: list[int]) -> None:
    start = datetime(2020, 1, 1)
    data = data_of(numbers(len(moments), when=[start + timedelta(days=m) for m in moments]), when="time")
    try:
        part = splits.assign(config_of(time="when"), data)
    except UserError:  # too few different moments for three parts
        return
    when = np.array(moments)
    assert when[part == 0].max() < when[part == 1].min() and when[part == 1].max() < when[part == 2].min()


def test_times_in_free_text_are_refused() -> None:
    data = data_of(numbers(100, when=[f"{1 + i % 12}/{1 + i % 28}/2020" for i in range(100)]), when="time")
    with pytest.raises(UserError, match="write them as 2013-01-31"):
        splits.assign(config_of(time="when"), data)


def test_folds_share_a_test_part_and_validate_every_other_row_once() -> None:
    data = data_of(table())
    folds = [splits.assign(config_of(folds=5, fold=i), data) for i in range(5)]
    assert all(((fold == 2) == (folds[0] == 2)).all() for fold in folds)
    assert (sum((fold == 1).astype(int) for fold in folds) == (folds[0] != 2)).all()


def test_same_seed_same_parts_other_seed_other_parts() -> None:
    data = data_of(table())
    first, again, other = (splits.assign(config_of(split_seed=seed), data) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_too_few_rows_or_groups_are_one_sentence() -> None:
    with pytest.raises(UserError, match="leaves val empty"):
        splits.assign(config_of(), data_of(numbers(4)))
    with pytest.raises(UserError, match="need at least 3"):
        splits.assign(config_of(group="who"), data_of(numbers(50, who=["a", "b"] * 25), who="group"))


def test_a_million_rows_take_under_three_seconds() -> None:
    data = data_of(numbers(1_000_000, who=np.arange(1_000_000) // 7), who="group")
    before = time.perf_counter()
    splits.assign(config_of(), data)
    splits.assign(config_of(group="who"), data)
    assert time.perf_counter() - before < 3


def test_parts_are_verified_against_the_manifest(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    with pytest.raises(UserError, match="run: recipe split"):
        splits.splits(project)
    splits.write_manifest(project, splits.assign(project.config, project.data))
    got = splits.splits(project)
    assert set(got) == {"train", "val"} and len(got["train"]) + len(got["val"]) + len(splits.open_test(project)) == 300
    assert len(splits.outside_test(project)) == len(got["train"]) + len(got["val"])


@pytest.mark.parametrize("fault", ["setting", "data", "hash", "file"])
def test_a_changed_split_is_refused(tmp_path: Path, fault: str) -> None:
    project = toy_project(tmp_path)
    splits.write_manifest(project, splits.assign(project.config, project.data))
    path = tmp_path / splits.MANIFEST
    if fault == "setting":
        project = toy_project(tmp_path, split_seed=1)
    elif fault == "data":
        project = toy_project(tmp_path, seed=1)
    elif fault == "hash":
        content = json.loads(path.read_text())
        content["parts"]["val"]["sha256"] = "0" * 64
        path.write_text(json.dumps(content))
    else:
        path.write_text("[1, 2]")
    with pytest.raises(UserError, match=r"recipe split"):
        splits.splits(project)
