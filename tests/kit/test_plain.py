"""Rows of a request that need no frame get the very outputs that training's own way to the network gives them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_model.engine.fitted import Fitted
from my_model.tabular.recipe import TASK, Config
from recipe_kit.production import batch, log, schema
from recipe_kit.production.model import Package
from recipe_kit.project import Project

N = 400


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A network with random weights on numbers with and without gaps, whole numbers, categories and an order."""
    root = tmp_path_factory.mktemp("plain")
    random = np.random.default_rng(0)
    frame = pl.DataFrame({
        "x": random.normal(size=N), "gappy": [None if i % 7 == 0 else i / 3 for i in range(N)], "whole": random.integers(-9, 9, N),
        "few": random.choice(["a", "b", "None"], N), "many": random.choice([f"v{i}" for i in range(50)], N), "code": random.integers(0, 6, N),
        "size": random.choice(["s", "m", "l"], N), "target": random.integers(0, 2, N),
    })  # fmt: skip
    (root / "data").mkdir()
    frame.write_csv(root / "data" / "train.csv")
    given: dict[str, Any] = {
        "categorical": ["code"],
        "ordinal": ["size: s < m < l"],
        "device": "cpu",
        "iid": "drawn",
        "tracker": "none",
    }
    project = Project(root, Config(**given), TASK, quiet=True)
    prep = TASK.prepare(project.config, project.data)
    torch.manual_seed(0)
    fitted = Fitted("network", TASK, project.config, prep, model=TASK.model(project.config, prep).eval())
    manifest = {"target": "target", "classes": prep["classes"], "temperature": 1.0, "threshold": None}
    return Package(root, manifest, fitted, schema.describe(project.data))


NUMBERS = st.none() | st.integers() | st.integers(-10, 10) | st.floats(allow_nan=False)
ROW = st.fixed_dictionaries({
    "x": NUMBERS, "gappy": NUMBERS, "whole": NUMBERS, "few": st.sampled_from([None, "a", "b", "None", "new", ""]) | st.text(),
    "many": st.sampled_from([None, "v1", "v49", "v50"]), "code": st.none() | st.integers(-1, 9) | st.integers(),
    "size": st.sampled_from([None, "s", "m", "l", "xl"]),
})  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=5))
def test_plain_rows_get_the_same_bits(package: Package, rows: list[dict[str, Any]]) -> None:
    plain = package.outputs_of_plain(rows)
    frame, reasons = package.read(rows)
    if plain is not None:
        assert reasons == [""] * len(rows)
        np.testing.assert_array_equal(plain, package.outputs(frame))


def test_what_a_client_ought_to_send_is_plain(package: Package) -> None:
    row = {"x": 1, "gappy": None, "whole": 3, "few": "a", "many": "v7", "code": 2, "size": "m"}
    assert package.answer([row] * 3).frame is None
    for odd in ({"x": "1"}, {"x": True}, {"few": 1}, {"code": "2"}, {"x": 10**400}):
        assert package.outputs_of_plain([row, {**row, **odd}]) is None
    assert package.outputs_of_plain([dict.fromkeys(row)]) is None
    assert package.outputs_of_plain([{"x": 1}]) is None


def test_the_log_of_plain_rows_is_what_the_model_read(package: Package, tmp_path: Path) -> None:
    """Without what it did not read, and without what is excluded; a whole number is watched as a number."""
    row = {"x": 10**19, "gappy": None, "whole": 3, "few": "a", "many": "v7", "code": 2, "size": "m", "unread": "secret"}
    service = batch.Service(None, package, log.Log(tmp_path / "log.db", 1.0, ["few"]))  # type: ignore[arg-type]
    asked = [[row, {**row, "x": None}], [row, {**row, "code": "two"}], [{**row, "x": 0.5}]]
    for together in (asked[:1], asked):  # in the second, a row that is refused makes a frame of all of them
        jobs = [batch.Job(rows, 0, None, 0, None, f"job{len(together)}{i}") for i, rows in enumerate(together)]  # type: ignore[arg-type]
        told = service.answer(package, jobs)
    assert service.log
    service.log.close()
    rows = log.read(tmp_path / "log.db", 0, time.time(), package.version)
    assert rows["id"].to_list() == ["job10-0", "job10-1", "job30-0", "job30-1", "job32-0"]
    kept = {name: value for name, value in row.items() if name not in ("few", "unread")}
    xs = [10**19, None, 10**19, None, 0.5]
    assert [json.loads(text) for text in rows["inputs"]] == [{**kept, "x": x} for x in xs]
    assert json.loads(rows["answer"][4]) == told[2][1][0]
    seen = log.watched(rows, package.columns)
    assert seen.rows(named=True) == [{**kept, "x": x, "whole": 3.0} for x in xs]
    assert seen.schema["x"] == pl.Float64 == seen.schema["whole"] and service.log.written == 5
