"""A split that was given: how parts are spelled, what is cut where one is lacking, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.config import Config
from my_model.engine import given
from my_model.engine.splits import assign
from my_model.engine.table import Table
from my_model.errors import UserError
from my_model.task import Data
from pydantic import ValidationError
from recipe_kit.checks import split as checks
from recipe_kit.checks.independence import undeclared_parts

N = 200


def config_of(**settings: Any) -> Config:
    return Config(**{"target": "y", "iid": "drawn one by one", "split_column": "split", **settings})


def frame_of(words: tuple[str, ...] = ("train", "train", "train", "val", "test"), n: int = N) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "x": np.random.default_rng(0).normal(size=n),
            "day": np.arange(n),
            "who": [f"p{i // 4}" for i in range(n)],
            "split": [words[i * len(words) // n] for i in range(n)],
            "y": [i % 2 for i in range(n)],
        }
    )


def read(config: Config, frame: pl.DataFrame, test: pl.DataFrame | None = None) -> Data:
    files = {"data/train.csv": frame, "test.csv": test}
    found = given.read(config, Path(), lambda path: Table(files[str(path)], {}, [])).frame  # type: ignore[arg-type]
    roles = {"x": "numeric", "day": "time", "who": "group", "y": "target", given.column(config): "part"}
    return Data(found, "y", roles, "")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "train", "val", "test"),
        ("Training", "TRAIN", " validation ", "Testing"),
        ("training", "train", "dev", "holdout"),
        ("trn", "train", "valid", "hold-out"),
    ],
)
def test_every_usual_spelling_is_taken_as_it_is(words: tuple[str, ...]) -> None:
    part = assign(config_of(), read(config_of(), frame_of(words)))
    assert part.tolist() == [0] * 100 + [1] * 50 + [2] * 50


@pytest.mark.parametrize("there", ["val", "test"])
@pytest.mark.parametrize(
    "settings", [{}, {"time": "day", "iid": ""}, {"group": "who", "iid": ""}, {"task": "regression"}]
)
def test_the_part_that_is_lacking_is_cut_from_train_by_the_usual_rule(there: str, settings: dict[str, str]) -> None:
    config = config_of(**settings)
    data = read(config, frame_of(("train", "train", "train", "train", there)))
    part, number = assign(config, data), given.PARTS.index(there)
    lacking = 3 - number
    assert given.not_given(config, data) == [given.PARTS[lacking]]
    assert (part[160:] == number).all() and set(part[:160]) == {0, lacking}
    cut = np.flatnonzero(part == lacking)
    assert 0.1 * 160 < len(cut) < 0.2 * 160
    if "time" in settings:
        assert cut.tolist() == list(range(160 - len(cut), 160))  # the newest of the training rows
    if "group" in settings:
        who = data.frame["who"].to_numpy()
        assert not set(who[part == lacking]) & set(who[part == 0])
    both = [config.model_copy(update={"split_seed": seed}) for seed in (0, 1)]
    same = (assign(both[0], data) == assign(both[1], data)).all()
    assert same == ("time" in settings)


def test_folds_part_the_rows_outside_test_that_no_part_was_given_for() -> None:
    data = read(config_of(), frame_of(("train", "train", "train", "train", "test")))
    folds = [assign(config_of(folds=4, fold=i), data) for i in range(4)]
    assert all((part[160:] == 2).all() and (part == 2).sum() == 40 for part in folds)
    assert np.sum([part == 1 for part in folds], axis=0).tolist() == [1] * 160 + [0] * 40
    with pytest.raises(UserError, match="folds = 4, but the split gives the rows that validate"):
        assign(config_of(folds=4), read(config_of(), frame_of()))


def test_a_file_of_its_own_is_the_test_part() -> None:
    frame, config = frame_of().drop("split"), config_of(split_column="", test_data="test.csv")
    data = read(config, frame, frame.head(40))
    part = assign(config, data)
    assert len(part) == 240 and (part[200:] == 2).all() and set(part[:200]) == {0, 1}
    both = read(config_of(test_data="test.csv"), frame_of(("train", "val")), frame.head(40))
    assert assign(config_of(test_data="test.csv"), both).tolist() == [0] * 100 + [1] * 100 + [2] * 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.with_columns(split=pl.lit("train")), "has train rows alone"),
        (lambda f: f.with_columns(split=pl.lit("test")), "has test rows alone"),
        (lambda f: f.filter(pl.col("split") != "train"), "has test and val rows alone"),
        (
            lambda f: f.with_columns(split=pl.col("split").replace("val", "eval1")),
            "names the part 'eval1' in 40 rows; parts",
        ),
        (lambda f: f.with_columns(split=pl.col("split").replace("val", None)), "names no part in 40 rows"),
        (lambda f: f.with_columns(split=pl.lit(1)), "names the part '1' in 200 rows"),
        (lambda f: f.drop("split"), "split_column names column 'split', which"),
        (lambda f: f.with_columns(y=pl.when(split="test").then(None).otherwise("y")), "no test row of .* has a target"),
    ],
)
def test_what_is_no_split_gets_one_sentence(change: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        read(config_of(), change(frame_of()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop("y"), "has no column 'y', and without answers it tests nothing; recipe predict"),
        (lambda f: f.drop("x"), "data/train.csv has a column 'x', which test.csv has not"),
        (lambda f: f.with_columns(z=1), "test.csv has a column 'z', which data/train.csv has not"),
        (lambda f: f.with_columns(x=pl.lit("many")), "column 'x' is Float64 in data/train.csv and String in test.csv"),
    ],
)
def test_a_test_file_of_another_shape_gets_one_sentence(change: Any, words: str) -> None:
    frame = frame_of().drop("split")
    with pytest.raises(UserError, match=words):
        read(config_of(split_column="", test_data="test.csv"), frame, change(frame))


def test_settings_that_contradict_a_given_split_are_refused() -> None:
    for settings in (
        {"split": "random"},
        {"split": "time", "time": "day"},
        {"split_column": "", "test_data": "t", "split": "stratified"},
    ):
        with pytest.raises(ValidationError, match="contradicts"):
            config_of(**settings)
    with pytest.raises(ValidationError, match="must be different columns"):
        config_of(split_column="y")
    with pytest.raises(ValidationError, match="folds cannot be used with a time split"):
        config_of(folds=3, time="day")
    with pytest.raises(UserError, match="nothing says the part of a row"):
        read(config_of(split_column="", split="given"), frame_of().drop("split"))


def test_a_given_split_is_checked_like_any_other() -> None:
    """A part of 70 % is no warning; groups and moments on both sides, and copies across, are what they are."""
    config = config_of(group="who", time="day", iid="")
    data = read(config, frame_of(("train", "test", "test", "val", "train")))
    part = assign(config, data)
    assert checks.complete(config, data, part).verdict == "PASS"
    assert checks.complete(config.model_copy(update={"split_column": ""}), data, part).verdict == "WARN"
    assert checks.time_order(config, data, part).verdict == "FAIL"
    torn = frame_of().with_columns(split=pl.Series([("train", "val", "train", "test")[i % 4] for i in range(N)]))
    data = read(config, torn)
    part = assign(config, data)
    assert checks.groups(config, data, part).verdict == "WARN"  # they say nothing of the target here
    twice = pl.DataFrame(
        {name: np.repeat(np.random.default_rng(i).normal(size=N // 2), 2) for i, name in enumerate("uvw")}
    )
    same = data.frame.with_columns(y=pl.Series([i // 2 % 2 for i in range(N)]))  # a copy has the answer of its original
    copies = Data(same.hstack(twice), "y", {**dict.fromkeys("uvw", "numeric"), "y": "target"}, "")
    assert checks.duplicates(config_of(), copies, part).verdict == "FAIL"


def test_a_column_that_says_the_part_is_noticed_where_it_is_not_declared() -> None:
    config = config_of(split_column="")
    data = Data(frame_of(), "y", {}, "")
    found = undeclared_parts(config, data)
    assert found.verdict == "WARN" and 'split_column = "split"' in found.next
    others = pl.DataFrame({"set": ["train", "bus"] * 50, "kind": ["test"] * 100, "y": [0, 1] * 50})
    assert undeclared_parts(config, Data(others, "y", {}, "")).verdict == "PASS"
    for settled in (config_of(), config_of(split_column="", drop=["split"])):
        assert undeclared_parts(settled, data).verdict == "PASS"


@pytest.mark.parametrize(
    ("paths", "level"),
    [
        (("train/cat/1", "val/cat/2"), 0),
        (("Training/cat/1", "Testing/dog/2", "Testing/cat/2"), 0),
        (("train/cat/1", "val/cat/2", "notes/readme/1"), 0),
        (("cat/train/1", "cat/val/1", "dog/train/1"), 1),
        (("train/1", "val/1"), None),
        (("train/red/1", "bus/red/1", "car/red/2"), None),
        (("train/cat/1", "val/dog/1"), None),
        (("cat/1", "dog/1"), None),
        (("cat/train/1", "cat/old/1", "cat/test/1"), None),
        ((), None),
    ],
)
def test_folders_called_train_are_a_part_where_others_hold_the_same(paths: tuple[str, ...], level: int | None) -> None:
    assert given.part_level([tuple(path.split("/")) for path in paths]) == level
