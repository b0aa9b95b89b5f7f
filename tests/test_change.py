"""The five changes of docs/change.md, made as the page says and then tried, as a new owner would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, bake
from inside import Inside, adopt

FORCED = ("--force", "a test")
EDIT = re.compile(r"In `([\w/.]+)`, replace\n\n```python\n(.*?)\n```\n\nwith\n\n```python\n(.*?)\n```", re.S)
Edits = list[tuple[str, str, str]]


def changes() -> dict[str, Edits]:
    """Title of each change -> (file, what it says, what it says then)."""
    page = (ROOT / "docs" / "change.md").read_text().partition("## Five changes")[2]
    sections = [part.partition("\n") for part in page.split("\n### ")[1:]]
    return {title: EDIT.findall(text) for title, _, text in sections}


CHANGES = changes()
Adopt = Callable[[Path, str], None]
__all__ = ["adopt"]  # the fixture


def changed(adopt: Adopt, folder: Path, title: str, edits: Edits, **settings: Any) -> Inside:
    """A project on a made table, with these edits in its code."""
    package = f"change_{re.sub('[^a-z]+', '_', title.lower())}_{len(edits)}"
    project = bake(folder, project_slug=package.replace("_", "-"), package=package)
    for name, old, new in edits:
        path = project / "src" / package / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old, text.count(old))
        path.write_text(text.replace(old, new))
    adopt(project / "src", package)
    found = Inside(folder / "p", package, task="regression", epochs=3, **settings)
    random = np.random.default_rng(0)
    a, b, shop = random.normal(size=400), random.normal(size=400), random.integers(0, 5, 400)
    frame = pl.DataFrame({"a": a, "b": b, "shop": shop, "target": a + b**2 + random.normal(size=400) * 0.1})
    frame.write_csv(found.root / "data" / "train.csv")
    return found


def verdicts(project: Inside, step: str) -> dict[str, str]:
    return {found["check"]: found["verdict"] for found in project.record(step)["findings"]}


def sound(project: Inside, *settings: str) -> dict[str, str]:
    """The checks before training and a short training with these settings: no FAIL."""
    for step in ("split", "baseline", "check", "train"):
        answer = project.recipe(step, *settings, *FORCED)
        assert answer.status == 0, answer.output
        assert "FAIL" not in verdicts(project, step).values(), (step, answer.output)
    return verdicts(project, "check")


def test_none_touches_more_than_two_files_nor_the_checks() -> None:
    assert len(CHANGES) == 5
    for edits in CHANGES.values():
        assert 1 <= len({name for name, _, _ in edits}) <= 2
        assert not [name for name, _, _ in edits if name.split("/")[0] in ("tools", "kit")]


def test_a_residual_block(adopt: Adopt, tmp_path: Path) -> None:
    title = "A residual block, with a setting of its own"
    project = changed(adopt, tmp_path, title, CHANGES[title], norm="layer", layers=4)
    sound(project, "residual=true")
    assert "Residual" in str(project.module("tabular.recipe").TASK.model(*prepared(project, residual=True)))


def prepared(project: Inside, **settings: Any) -> tuple[Any, dict[str, Any]]:
    there = project.project().variant(**settings)
    return there.config, there.task.prepare(there.config, there.data)


def test_a_loss(adopt: Adopt, tmp_path: Path) -> None:
    checks = sound(changed(adopt, tmp_path, "A loss", CHANGES["A loss"]), "loss=log_cosh")
    assert checks["loss of known outputs"] == "NOT APPLICABLE" and checks["mean, not sum"] == checks["init loss"] == "PASS"


def test_a_metric_as_the_main_one(adopt: Adopt, tmp_path: Path) -> None:
    from sklearn.metrics import median_absolute_error

    title = "A metric, as the main one"
    project = changed(adopt, tmp_path, title, CHANGES[title], metric="median_absolute_error")
    assert sound(project)["metric of known outputs"] == "NOT APPLICABLE"
    found = project.record("train")["result"]["metrics"]["median_absolute_error"]
    run = next(project.root.glob("runs/*-train"))
    y, outputs = np.load(run / "y.npy"), np.load(run / "outputs.npy")[:, 0]
    scale = project.record("train")["result"]["metrics"]["mae"]["value"] / np.abs(outputs - y).mean()
    assert found["value"] == pytest.approx(scale * median_absolute_error(y, outputs), rel=0.05)
    assert found["low"] < found["value"] < found["high"]


def test_a_schedule(adopt: Adopt, tmp_path: Path) -> None:
    project = changed(adopt, tmp_path, "A schedule", CHANGES["A schedule"])
    assert sound(project, "schedule=inverse_sqrt")["lr as planned"] == "PASS"


def test_data_joined_from_two_files(adopt: Adopt, tmp_path: Path) -> None:
    title = "Data joined from two files"
    project = changed(adopt, tmp_path, title, CHANGES[title], iid="rows of a test")
    shops = pl.DataFrame({"shop": range(5), "size": [3.5, 1.0, 4.0, 1.5, 9.0]})
    shops.write_csv(project.root / "data" / "shops.csv")
    assert "size numeric" in project.recipe("audit").output
    project.done("split")
    shops.with_columns(pl.col("size") + 1).write_csv(project.root / "data" / "shops.csv")
    assert "audit was done before data changed" in project.recipe("baseline").sentence


@pytest.mark.parametrize(
    ("title", "setting", "words"),
    [
        ("A loss", "loss=log_cosh", "loss = 'log_cosh' has no function"),
        ("A metric, as the main one", "metric=median_absolute_error", "metric = 'median_absolute_error' has no function"),
        ("A schedule", "schedule=inverse_sqrt", "schedule = 'inverse_sqrt' has no formula"),
    ],
)
def test_a_name_without_a_function_is_refused(adopt: Adopt, tmp_path: Path, title: str, setting: str, words: str) -> None:
    project = changed(adopt, tmp_path, title, [edit for edit in CHANGES[title] if edit[0] == "config.py"])
    assert project.recipe("split", *FORCED).status == 0
    answer = project.recipe("train", setting, *FORCED)
    assert answer.status == 2 and words in answer.sentence and answer.sentence.count("\n") == 0
