"""Gaps and rare classes, treated on the training part alone: rows dropped, the mode, oversampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import data
import numpy as np
import polars as pl
import pytest
import torch
from inside import Inside
from my_model.engine.loop import epoch_plan
from my_model.engine.splits import splits

torch.set_num_threads(1)


def cancers(root: Path, gaps: float = 0.0, rare: int = 0, **settings: Any) -> Inside:
    """scikit-learn's breast cancers; a share of one column taken out, and all but so many malignant ones."""
    inside = Inside(root, modality="tabular", task="binary", hidden=16, **settings)
    path = root / "data" / "train.csv"
    data.breast_cancer(path)
    frame = pl.read_csv(path).with_row_index()
    lost = pl.Series(np.random.default_rng(0).random(frame.height) < gaps)
    frame = frame.with_columns(pl.when(lost).then(None).otherwise(pl.col("mean_radius")).round(0).alias("mean_radius"))
    few = frame.filter(pl.col("target") == "malignant").head(rare or frame.height)
    pl.concat([frame.filter(pl.col("target") == "benign"), few]).sort("index").drop("index").write_csv(path)
    for step in ("audit", "split"):
        inside.recipe(step, "--force", "made so")
    return inside


def test_rows_with_gaps_are_dropped_from_training_alone(tmp_path: Path) -> None:
    inside = cancers(tmp_path, gaps=0.3)
    whole = splits(inside.project())
    inside.set(missing="drop")
    parts = splits(inside.project())
    gone = whole["train"].frame["mean_radius"].null_count()
    assert gone > 50 and len(parts["train"]) == len(whole["train"]) - gone
    assert parts["val"].frame.equals(whole["val"].frame) and parts["val"].frame["mean_radius"].null_count() > 5
    for step in ("baseline", "check", "train"):
        assert inside.recipe(step, "--force", "made so").status == 0, step
    assert inside.check_result("check", "parts as pinned")["verdict"] == "PASS"
    assert inside.check_result("train", "examples seen")["evidence"]["seen"] == [len(parts["train"])]
    answer = inside.recipe("train", "missing=drop", "sample_rows=100")
    assert answer.status == 2 and "needs the whole table" in answer.sentence


def test_training_without_a_whole_row_is_one_sentence(tmp_path: Path) -> None:
    answer = cancers(tmp_path, gaps=1.0, missing="drop", numeric=["mean_radius"]).recipe(
        "baseline", "--force", "made so"
    )
    assert answer.status == 2 and "every training row has a gap" in answer.sentence


def test_the_mode_of_training_fills_gaps(tmp_path: Path) -> None:
    project = cancers(tmp_path, gaps=0.3, missing="mode").project()
    parts = splits(project)
    known = parts["train"].frame["mean_radius"].drop_nulls()
    fitted = project.task.prepare(project.config, parts["train"])["numeric"]["mean_radius"]
    values, counts = np.unique(known.to_numpy(), return_counts=True)
    assert fitted["fill"] == values[counts.argmax()] != np.median(known.to_numpy()) and fitted["missing"]


@pytest.mark.parametrize("rare", [20, 57])
def test_oversampling_makes_training_batches_equal_and_nothing_else(tmp_path: Path, rare: int) -> None:
    project = cancers(tmp_path, rare=rare, class_weights="oversample").project()
    parts = splits(project)
    prep = project.task.prepare(project.config, parts["train"])
    train = project.task.examples(project.config, prep, parts["train"])
    first, again, second = (torch.cat(epoch_plan(project.config, train, epoch)) for epoch in (0, 0, 1))
    counts = train.y.long().bincount()
    assert train.y[first].long().bincount().tolist() == [int(counts.max())] * 2 and counts.min() < counts.max() / 4
    assert torch.equal(first, again) and not torch.equal(first, second)  # resuming goes through the same batches
    times = first.bincount(minlength=len(train))
    assert times.min() == 1 and set(times[train.y == train.y[times.argmax()]].tolist()) == {
        int(times.max()),
        int(times.max()) - 1,
    }
    assert prep["prior"] == pytest.approx((counts / len(train)).tolist())


def test_an_oversampled_run_passes_its_checks_and_is_fair_to_the_baseline(tmp_path: Path) -> None:
    inside = cancers(tmp_path, rare=30)
    assert inside.check_result("audit", "class balance")["verdict"] == "WARN"
    inside.set(class_weights="oversample")
    for step in ("audit", "split", "baseline", "check", "train"):
        assert inside.recipe(step, "--force", "made so").status == 0, step
    assert inside.check_result("audit", "class balance")["verdict"] == "PASS"
    failed = [
        f["check"] for step in ("check", "train") for f in inside.record(step)["findings"] if f["verdict"] == "FAIL"
    ]
    assert failed == []
    plain = inside.record("baseline")["result"]["baselines"]["logistic"]
    inside.recipe("baseline", "class_weights=balanced", "--force", "made so")
    assert plain["metrics"] == inside.record("baseline")["result"]["baselines"]["logistic"]["metrics"]
