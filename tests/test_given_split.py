"""A split that was given, through every step: by a column, by a test file of its own, and by folders above the classes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import bake, run

QUICK = {"epochs": 2, "tracker": "none", "iid": "each row was drawn by itself"}
STEPS = ("audit", "split", "baseline", "check", "train", "evaluate")


def settings(project: Path, **values: Any) -> None:
    """Lines of recipe.toml, in the place of those with the same names."""
    path = project / "recipe.toml"
    kept = [line for line in path.read_text().splitlines() if line.split(" = ")[0] not in values]
    path.write_text("\n".join([*kept, *(f"{name} = {json.dumps(value)}" for name, value in values.items()), ""]))


def table(n: int = 600) -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, n))
    y = np.where(a + random.normal(size=n) * 0.5 > 0, "yes", "no")
    return pl.DataFrame({"a": a, "b": b, "set": random.choice(["train", "valid", "testing"], n, p=[0.7, 0.1, 0.2]), "target": y})


def done(project: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    ran = run(project, *words)
    assert ran.returncode == status and "Traceback" not in ran.stderr, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran


def record(project: Path, step: str) -> dict[str, Any]:
    return json.loads(sorted(project.glob(f"runs/*-{step}/record.json"))[-1].read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose table says the part of each row, through every step."""
    project = bake(tmp_path_factory.mktemp("given"), task="binary")
    table().write_csv(project / "data" / "train.csv")
    settings(project, split_column="set", **QUICK)
    for step in STEPS:
        done(project, step)
    return project


def test_the_parts_are_those_of_the_column(trained: Path) -> None:
    said = dict(table()["set"].value_counts().rows())
    manifest = json.loads((trained / "split.json").read_text())
    assert manifest["kind"] == "given" and manifest["cut"] == []
    assert [manifest["parts"][p]["rows"] for p in ("train", "val", "test")] == [said[w] for w in ("train", "valid", "testing")]
    assert record(trained, "evaluate")["result"]["rows"] == said["testing"]
    verdicts = {found["check"]: found["verdict"] for found in record(trained, "split")["findings"]}
    assert len(verdicts) == 8 and verdicts["classes in every part"] == verdicts["every row in one part"] == "PASS"


def test_the_column_is_no_feature_and_predict_does_not_ask_for_it(trained: Path) -> None:
    prep = json.loads(next(trained.glob("runs/*-train/prep.json")).read_text())
    assert "set" not in {*prep["numeric"], *prep["onehot"], *prep["embedded"]} and "a" in prep["numeric"]
    done(trained, "export")
    table().drop("set", "target").write_csv(trained / "data" / "new.csv")
    done(trained, "predict", "data/new.csv")
    assert len(pl.read_csv(trained / "data" / "new.predicted.csv")) == 600


def test_a_changed_column_voids_the_split(trained: Path) -> None:
    path = trained / "data" / "train.csv"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"valid", b"train", 1))
    try:
        assert "audit was done before data changed" in done(trained, "train", status=2).stderr
        done(trained, "audit")
        assert "split was done before data changed" in done(trained, "train", status=2).stderr
    finally:
        path.write_bytes(before)


def test_a_column_nobody_declared_is_proposed_and_warned_of(tmp_path: Path) -> None:
    project = bake(tmp_path, task="binary")
    table().select("a", "b", "target", "set").write_csv(project / "data" / "train.csv")
    said = done(project, "init", "data/train.csv").stdout
    assert 'split_column = "set"' in said and 'target = "target"' in said
    settings(project, iid="each row was drawn by itself")
    said = done(project, "audit").stdout
    assert 'given split: set says train and val or test in every row' in said and 'drop = ["set"]' in said


def test_texts_with_a_test_file_of_their_own(tmp_path: Path) -> None:
    """The part that no file gives is cut from train, and the split says so; a copy of a training row in the file is found."""
    project = bake(tmp_path, task="binary", modality="text")
    words, random = ["red", "blue", "old", "new", "tall", "small", "glass", "iron"], np.random.default_rng(0)

    def texts(n: int) -> pl.DataFrame:
        y = random.integers(0, 2, n)
        rows = [" ".join([*random.choice(words, 8), ("good", "bad")[k], str(i)]) for i, k in enumerate(y)]
        return pl.DataFrame({"text": rows, "target": y})

    train, test = texts(200), texts(60)
    train.write_csv(project / "data" / "train.csv")
    test.write_csv(project / "data" / "test.csv")
    settings(project, test_data="data/test.csv", **QUICK)
    said = done(project, "split", "--force", "a test").stdout
    assert "given: train 170, val 30, test 60, val cut from train (stratified) -> split.json" in said
    pl.concat([test, train.head(20)]).write_csv(project / "data" / "test.csv")
    said = done(project, "split", "--force", "a test").stdout
    assert "FAIL           duplicates across parts" in said
    test.drop("target").write_csv(project / "data" / "test.csv")
    refused = done(project, "split", "--force", "a test", status=2).stderr
    assert refused.count("\n") == 1 and "recipe predict answers its rows" in refused


@pytest.mark.slow
def test_parquet_read_in_pieces_takes_the_column_too(tmp_path: Path) -> None:
    project = bake(tmp_path, task="binary")
    table().write_parquet(project / "data" / "train.parquet")
    settings(project, data="data/train.parquet", sample_rows=300, split_column="set", **QUICK)
    done(project, "audit")
    done(project, "split")
    whole = json.loads((project / "split.json").read_text())["parts"]
    assert whole["test"]["rows"] == int((table()["set"] == "testing").sum())
    done(project, "train", "--force", "a shorter test")
    assert "set" not in json.loads(next(project.glob("runs/*-train/prep.json")).read_text())["onehot"]
    refused = done(project, "split", "test_data=data/train.parquet", "--force", "a test", status=2).stderr
    assert "sample_rows reads one file" in refused
