"""What training will cost: the law behind the table, the memory of other batch sizes, the square in attention."""

from __future__ import annotations

from pathlib import Path

import data
import numpy as np
import pytest
import torch
from inside import Inside
from recipe_kit.checks.context import open_context
from recipe_kit.steps import cost

from .test_text import tiny_encoder, write_texts

torch.set_num_threads(1)


def cancers(root: Path, **settings: object) -> Inside:
    """A wide network on scikit-learn's breast cancers, split."""
    wide = {"modality": "tabular", "task": "binary", "hidden": 1024, "layers": 5, "batch_size": 1024}
    inside = Inside(root, **{**wide, **settings})
    data.breast_cancer(root / "data" / "train.csv")
    inside.done("audit")
    inside.done("split")
    return inside


def test_a_law_is_found_again_and_nothing_falls_with_the_size() -> None:
    known = np.array([5.0, 2e-3, 1e-5])
    places = [(4, 32), (4, 64), (16, 32), (16, 64)]
    points = [cost.Point(*place, cost.at(known, *place), 0.0, 1.0) for place in places]
    assert cost.law(points, "seconds") == pytest.approx(known)
    assert cost.at(cost.law(points, "memory"), 64, 128) == pytest.approx(1.0)  # constant
    falling = [cost.Point(size, 1, 1 / size, 0.0, float("nan")) for size in (1, 2, 4)]
    assert (cost.law(falling, "seconds") >= 0).all() and np.isnan(cost.law(falling, "memory")).all()


def test_memory_of_a_larger_batch_is_that_of_training_with_it(tmp_path: Path) -> None:
    inside = cancers(tmp_path)
    result = inside.done("cost")["result"]
    context = open_context(inside.project())
    real = cost.measure(context, tmp_path, 8192, 1).memory
    assert real > 1.2 * result["points"][-1][4]  # or nothing is shown
    assert cost.at(np.array(result["memory"]), 8192, 1) == pytest.approx(real, rel=0.15)
    assert result["epoch"] > cost.at(np.array(result["seconds"]), 398, 1)
    assert result["largest"] == len(context.train)


def test_trees_have_no_step(tmp_path: Path) -> None:
    answer = cancers(tmp_path, model="lightgbm").recipe("cost")
    assert answer.status == 2 and "cost is that of a network" in answer.output


def test_the_square_of_attention_is_that_of_the_formula(tmp_path: Path) -> None:
    """Of a BERT layer with h units, f inside and t tokens: t * (8 h^2 + 4 h f) and 4 h t^2 operations; only once, the pooler."""
    write_texts(tmp_path)
    encoder = str(tiny_encoder(tmp_path / "encoder"))
    inside = Inside(
        tmp_path,
        modality="text",
        task="binary",
        target="label",
        encoder=encoder,
        weights="none",
        max_length=64,
        lr=1e-3,
        batch_size=8,
    )
    for step in ("audit", "split"):
        inside.recipe(step, "--force", "a tokenizer of a few words")
    answer = inside.recipe("cost", "--force", "a tokenizer of a few words")
    assert answer.status == 0, answer.output
    lengths = [point[1] for point in inside.record("cost")["result"]["points"]]
    t, h, f = max(lengths), 32, 64
    square, rest = 4 * h * t * t, t * (8 * h * h + 4 * h * f)
    assert f"{square / (square + rest):.0%} of the work at {t} tokens" in answer.output
    assert len(set(lengths)) == 2
