"""Checks on the split, each passing on a clean one and failing on its fault; and the step that pins it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.engine import splits
from my_model.errors import UserError
from my_model.task import Data
from recipe_kit.checks import split as checks
from recipe_kit.checks.independence import independence, who_and_when
from recipe_kit.project import Project
from recipe_kit.steps import split as step

from .tables import config_of, data_of, table
from .toy import toy_project

START = datetime(2020, 1, 1)


def rich(n: int = 600) -> pl.DataFrame:
    """A table with whom and when."""
    return table(n).with_columns(
        pl.Series("who", [f"p{i // 6}" for i in range(n)]),
        pl.Series("when", [START + timedelta(hours=i) for i in range(n)]),
    )


ROLES = {"who": "group", "when": "time"}
SOUND: list[dict[str, Any]] = [
    {},
    {"group": "who"},
    {"time": "when"},
    {"folds": 5},
    {"val_share": 0.3, "test_share": 0.1},
    {"duplicates": "drop"},
]


@pytest.mark.parametrize("settings", SOUND, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_splits_are_green(settings: dict[str, Any], seed: int) -> None:
    config, data = config_of(**settings, split_seed=seed), data_of(rich(), **ROLES)
    part = splits.assign(config, data)
    assert [f.observed for check in checks.CHECKS if (f := check(config, data, part)).verdict in ("WARN", "FAIL")] == []


def random_part(n: int) -> np.ndarray:
    return np.random.default_rng(0).choice(3, n, p=[0.7, 0.15, 0.15]).astype(np.int8)


def copied(data: Data, part: np.ndarray, noise: float = 0.0) -> tuple[Data, np.ndarray]:
    """A tenth of the validation rows copied into train (fault S1), with some noise on every number."""
    rows = np.flatnonzero(part == 1)[::10]
    more = data.frame[rows].with_columns(pl.col(f"x{i}") + noise * (i + 1) for i in range(6))
    return replace(data, frame=pl.concat([data.frame, more])), np.concatenate(
        [part, np.zeros(len(rows), dtype=np.int8)]
    )


def one_class_in_train(data: Data, part: np.ndarray) -> tuple[Data, np.ndarray]:
    return data, np.where((data.frame["target"] == "yes").to_numpy(), 0, part).astype(np.int8)


def other_source(data: Data, part: np.ndarray) -> tuple[Data, np.ndarray]:
    shifted = pl.Series("x0", data.frame["x0"].to_numpy() + 0.8 * (part == 1))
    return replace(data, frame=data.frame.with_columns(shifted)), part


Fault = Callable[[Data, np.ndarray], tuple[Data, np.ndarray]]
FAULTS: list[tuple[Any, str, Fault, dict[str, Any]]] = [
    (checks.complete, "FAIL", lambda data, part: (data, part[:-1]), {}),
    (checks.complete, "FAIL", lambda data, part: (data, np.zeros_like(part)), {}),
    (
        checks.complete,
        "WARN",
        lambda data, part: (data, np.where(np.arange(len(part)) < 20, 1, 2 * (part == 2)).astype(np.int8)),
        {},
    ),
    (checks.classes, "FAIL", one_class_in_train, {}),
    (checks.duplicates, "FAIL", copied, {}),
    (checks.near_duplicates, "FAIL", lambda data, part: copied(data, part, 1e-4), {}),
    (checks.groups, "FAIL", lambda data, part: (data, part), {"group": "who"}),
    (checks.time_order, "FAIL", lambda data, part: (data, part), {"time": "when"}),
    (checks.likeness, "WARN", other_source, {}),
]


@pytest.mark.parametrize(
    ("check", "verdict", "fault", "settings"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_faults_fail(check: Any, verdict: str, fault: Fault, settings: dict[str, Any]) -> None:
    data, part = fault(data_of(rich(), **ROLES), random_part(600))
    found = check(config_of(**settings), data, part)
    assert found.verdict == verdict, found.observed
    assert len(found.causes) >= 2 and found.next


def test_one_row_that_keeps_coming_is_no_copy() -> None:
    """Weeks of a strike, all zeros (as in fpp2/melsyd): on both sides of any split, and a leak of nothing."""
    idle = rich()[:1].with_columns(pl.lit(0.0).alias(f"x{i}") for i in range(6))
    data = data_of(pl.concat([rich()[:240], *[idle] * 12]))
    part = np.concatenate([random_part(240), np.tile([0, 0, 1, 2], 3)]).astype(np.int8)
    found = checks.duplicates(config_of(), data, part)
    assert found.verdict == "WARN", found.observed
    many = rich()[240:252]
    data = data_of(pl.concat([rich()[:240], many, many]))
    part = np.concatenate([random_part(240), np.zeros(12), np.tile([1, 2], 6)]).astype(np.int8)
    assert checks.duplicates(config_of(), data, part).verdict == "FAIL"  # as many rows, each another one


def constants(n: int, random: np.random.Generator) -> pl.DataFrame:
    """One number of any size, of like things (masses of particles, as in gt/constants): many lie close to another."""
    exact = 10.0 ** random.uniform(-30, 10, n // 2)
    like = exact * (1 + random.choice([1e-3, 1e-1, 1.0, 10.0], n // 2))
    frame = pl.DataFrame({"x0": np.r_[exact, like], "digits": random.integers(9, 12, n)})
    return frame.with_columns(pl.Series("target", random.choice(["yes", "no"], n)))


def scores(n: int, random: np.random.Generator) -> pl.DataFrame:
    """Scores of 1 to 3 that are equal in most rows, and the number of a sample, a tenth of them twice (as in MASS/biopsy)."""
    some = {f"x{i}": random.choice([1, 2, 3], n, p=[0.9, 0.05, 0.05]) for i in range(6)}
    sample = np.sort(random.choice(np.r_[1_000_000 : 1_000_000 + n, 1_000_000 : 1_000_000 + n // 10], n))
    return pl.DataFrame({"sample_no": sample, **some, "target": random.choice(["yes", "no"], n, p=[0.1, 0.9])})


@pytest.mark.parametrize("make", [constants, scores])
@pytest.mark.parametrize("seed", range(5))
def test_rows_far_apart_in_what_counts_are_no_near_copies(make: Any, seed: int) -> None:
    frame = make(500, np.random.default_rng(seed))
    found = checks.near_duplicates(config_of(), data_of(frame), random_part(500))
    assert found.verdict in ("PASS", "NOT APPLICABLE"), found.observed


def test_a_single_stray_copy_is_no_alarm() -> None:
    data = data_of(pl.concat([rich(), rich()[:1]]), **ROLES)
    part = np.concatenate([random_part(600), [1]]).astype(np.int8)
    part[0] = 0
    assert checks.duplicates(config_of(), data, part).verdict == "PASS"


@pytest.mark.parametrize("texts", [True, False])
def test_near_copies_of_texts_and_images_across_parts(tmp_path: Path, texts: bool) -> None:
    frame = written(60) if texts else drawn(60, tmp_path)
    data = data_of(frame, item="text" if texts else "image")
    part = np.tile([0, 0, 1, 2], 30).astype(np.int8)[:60]
    clean, dirty = (replace(data, frame=frame[rows]) for rows in (np.arange(30), np.arange(60)))
    assert checks.near_duplicates(config_of(), clean, part[:30]).verdict == "PASS"
    assert checks.near_duplicates(config_of(), dirty, np.repeat([0, 1], 30).astype(np.int8)).verdict == "FAIL"


def written(n: int) -> pl.DataFrame:
    """n / 2 different texts, and each again with one word changed."""
    random = np.random.default_rng(0)
    texts = [[f"w{i}" for i in random.integers(0, 400, 60)] for _ in range(n // 2)]
    texts += [[*words[:-1], "changed"] for words in texts]
    return pl.DataFrame({"item": [" ".join(words) for words in texts], "target": ["a", "b"] * (n // 2)})


def drawn(n: int, folder: Path) -> pl.DataFrame:
    """n / 2 different images of 64 x 64, and each again a little brighter."""
    from PIL import Image

    random, paths = np.random.default_rng(0), []
    for number in range(n // 2):
        coarse = Image.fromarray(random.integers(0, 200, (6, 6), dtype=np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
        for copy, image in enumerate((coarse, coarse.point(lambda v: min(v + 6, 255)))):
            paths.append(folder / f"{copy}-{number:03d}.png")
            image.save(paths[-1])
    return pl.DataFrame({"item": sorted(map(str, paths)), "target": ["a", "b"] * (n // 2)})


def test_independence_must_be_answered() -> None:
    data = data_of(rich())
    silent = independence(config_of(iid=""), data)
    assert silent.verdict == "FAIL" and all(word in silent.next for word in ('time = "when"', 'group = "who"', "iid"))
    assert all(
        independence(config_of(**{"iid": "", **settings}), data).verdict == "PASS"
        for settings in ({"iid": "dice"}, {"time": "when"}, {"group": "who"})
    )


@pytest.mark.parametrize(("column", "named"), [
    ([START + timedelta(hours=i) for i in range(600)], True), ([20200100 + 1 + i % 28 for i in range(600)], True),
    ([f"user {i % 90}" for i in range(600)], True), ([i % 7 for i in range(600)], False), ([f"kind {i % 7}" for i in range(600)], False),
])  # fmt: skip
def test_undeclared_time_and_group_columns_are_named(column: list[Any], named: bool) -> None:
    data = data_of(table().with_columns(pl.Series("odd", column)))
    found = who_and_when(config_of(iid=""), data)
    assert (found.verdict == "WARN") is named and ("odd" in found.observed) is named
    assert who_and_when(config_of(), data).verdict == "PASS"


def test_whole_numbers_are_groups_and_moments_only_by_name() -> None:
    frame = table().with_columns(
        pl.Series("patient_id", np.arange(600) // 5),
        pl.Series("count", np.arange(600) // 5),
        pl.Series("created_at", 1_600_000_000 + np.arange(600)),
    )
    assert who_and_when(config_of(iid=""), data_of(frame)).evidence == {
        "times": ["created_at"],
        "groups": ["patient_id"],
    }


def run_step(project: Project) -> dict[str, Any]:
    run = project.begin("split")
    step.run(project, run, argparse.Namespace())
    return run.finish()


def test_step_pins_the_split_and_refuses_silence(tmp_path: Path) -> None:
    record = run_step(toy_project(tmp_path, iid=""))
    assert record["status"] == "fail" and not (tmp_path / splits.MANIFEST).exists()
    record = run_step(toy_project(tmp_path))
    assert record["status"] == "pass" and record["result"]["sizes"] == {"train": 212, "val": 44, "test": 44}


def test_another_split_says_what_it_voids_and_needs_a_reason_once_the_test_was_opened(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    assert "voided" not in run_step(project)["result"]
    project.begin("baseline").finish()
    assert "voided" not in run_step(project)["result"]  # the same split again voids nothing
    assert run_step(toy_project(tmp_path, split_seed=1))["result"]["voided"]["baseline"] == 1
    (tmp_path / step.OPENED).write_text("{}")
    run_step(toy_project(tmp_path, split_seed=1))
    with pytest.raises(UserError, match="opened already"):
        run_step(toy_project(tmp_path, split_seed=2))
    overridden = toy_project(tmp_path, split_seed=2)
    overridden.force = "the first test set was mislabeled"
    assert run_step(overridden)["result"]["voided"]["baseline"] == 1


@pytest.mark.parametrize(("told", "verdict"), [(True, "FAIL"), (False, "WARN")])
def test_groups_on_both_sides_of_a_given_split_fail_where_they_tell_the_target(told: bool, verdict: str) -> None:
    """Somebody else drew it: where rows of one group are no more alike than any others, no score gains by it."""
    for seed in range(3):
        random, frame = np.random.default_rng(seed), table(600, seed=seed)
        who = random.integers(0, 30, 600)
        kept = (
            np.where(random.random(600) < 0.6, who % 2 == 0, frame["target"] == "yes")
            if told
            else frame["target"] == "yes"
        )
        data = data_of(
            frame.with_columns(who=pl.Series([f"p{v}" for v in who]), target=pl.Series(np.where(kept, "yes", "no"))),
            who="group",
        )
        part = random_part(600)
        given = config_of(group="who", split_column="part")
        assert checks.groups(given, data, part).verdict == verdict
        assert checks.groups(config_of(group="who"), data, part).verdict == "FAIL"
