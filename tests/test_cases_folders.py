"""Folders of images as people have them: parts above the classes, links, and what else lies among the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from cases import CASES
from conftest import bake
from test_given_split import QUICK, STEPS, done, record, settings

SMALL = {**QUICK, "weights": "none", "size": 24, "lr": 0.001, "batch_size": 16, "epochs": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in train/cat, train/dog, val/cat and val/dog."""
    project = bake(tmp_path_factory.mktemp("folders"), modality="image", task="binary")
    (project / "data" / "images").mkdir(exist_ok=True)
    CASES["image_train_val"](project / "data" / "images")
    settings(project, **SMALL)
    return project


def test_train_and_val_are_offered_as_a_given_split(project: Path) -> None:
    said = done(project, "init", "data/images").stdout
    assert 'split = "given"' in said and "train 80, val 24" in said and "2 classes: cat 52, dog 52" in said
    for step in ("audit", "split"):
        refused = done(project, step, status=2).stderr
        assert 'put split = "given" into recipe.toml' in refused and refused.count("\n") == 1
    assert not (project / "split.json").exists()


@pytest.mark.slow
def test_it_goes_through_every_step_and_answers_every_image(project: Path) -> None:
    settings(project, split="given")
    for step in (*STEPS, "export"):
        done(project, step)
    manifest = json.loads((project / "split.json").read_text())
    assert manifest["kind"] == "given" and manifest["cut"] == ["test"]
    assert manifest["parts"]["val"]["classes"] == {"cat": 12, "dog": 12}
    assert "test cut from train (stratified)" in done(project, "split").stdout
    images = project / "data" / "images"
    (images / "val" / "cat" / "gone.png").symlink_to("nowhere.png")
    (images / "val" / "dog" / "again").symlink_to(images / "val" / "cat")
    try:
        done(project, "predict", "data/images", status=1)
    finally:
        (images / "val" / "cat" / "gone.png").unlink()
        (images / "val" / "dog" / "again").unlink()
    answers = pl.read_csv(project / "data" / "images.predicted.csv")
    rejected = [json.loads(line) for line in (project / "data" / "images.predicted.rejected.jsonl").read_text().splitlines()]
    assert len(answers) == 104 + 12 and {row["reason"] for row in rejected} == {"is missing: a link to nothing"}
    assert len(rejected) == 2 and set(answers["prediction"]) == {"cat", "dog"}
    assert record(project, "evaluate")["result"]["rows"] == manifest["parts"]["test"]["rows"]
