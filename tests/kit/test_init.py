"""What `recipe init` proposes for files and folders it has never seen."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from my_model.errors import UserError
from PIL import Image
from recipe_kit.project import Project
from recipe_kit.steps.init import describe, propose

from .toy import toy_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return toy_project(tmp_path)


def proposal(project: Project, frame: pl.DataFrame, name: str = "mine.csv") -> dict[str, object]:
    path = project.root / "data" / name
    frame.write_csv(path)
    return tomllib.loads(describe(project, propose(project, path)))


def numbers(n: int = 200) -> dict[str, list[float]]:
    return {"x": np.random.default_rng(0).normal(size=n).tolist()}


def test_tables(project: Project) -> None:
    binary = proposal(project, pl.DataFrame({**numbers(), "label": ["a", "b"] * 100, "z": range(200)}))
    assert binary == {"data": "data/mine.csv", "target": "label", "task": "binary", "iid": ""}
    assert proposal(project, pl.DataFrame({**numbers(), "price": np.linspace(0, 1, 200)}))["task"] == "regression"
    assert proposal(project, pl.DataFrame({**numbers(), "kind": [0, 1, 2, 3] * 50}))["task"] == "multiclass"


def test_who_and_when_are_asked_for(project: Project) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 18), eager=True)
    timed = proposal(project, pl.DataFrame({"day": days, **numbers(), "y": [0, 1] * 100}))
    assert timed["time"] == "day" and timed["iid"] == ""  # the reason was given for other data
    patients = [f"p{i // 4}" for i in range(200)]
    assert proposal(project, pl.DataFrame({"patient": patients, **numbers(), "y": [0, 1] * 100}))["group"] == "patient"


def test_texts_and_paths_are_told_from_names(project: Project) -> None:
    texts = [f"a sentence of some words about number {i}" for i in range(200)]
    assert proposal(project, pl.DataFrame({"body": texts, "label": ["a", "b"] * 100}))["text"] == "body"
    paths = [f"images/{i}.png" for i in range(200)]
    assert proposal(project, pl.DataFrame({"file": paths, "label": ["a", "b"] * 100}))["image"] == "file"


def test_class_folders(project: Project) -> None:
    folder = project.root / "data" / "images"
    for name in ("cat", "dog", "owl"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / name / "1.png")
    text = describe(project, propose(project, folder))
    assert tomllib.loads(text) == {"data": "data/images", "task": "multiclass", "iid": ""}
    assert "looks like image data, and the project is for tabular" in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "no two folders with images"),
        (lambda path: path.write_text("x\n1\n"), "1 columns and 1 rows"),
        (lambda path: path.write_bytes(b"PK\0\0"), "is a spreadsheet or an archive"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(project: Project, make: object, words: str) -> None:
    path = project.root / "data" / "odd.csv"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=words):
        propose(project, path)
