"""A category that training never observed: its vector is trained, and what trains it is drawn from (seed, epoch, row) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from my_model.tabular.data import Rows
from my_model.tabular.recipe import TASK, Config
from my_model.tabular.unknown import UNKNOWN
from recipe_kit.checks import loop
from recipe_kit.checks.context import Context
from recipe_kit.checks.pipeline import rows_and_labels
from recipe_kit.project import Project


def project(root: Path, n: int = 2_000, values: int = 200, **settings: Any) -> Project:
    random = np.random.default_rng(0)
    user = random.integers(0, values, n)
    (root / "data").mkdir(parents=True)
    frame = pl.DataFrame({"user": [f"u{u}" for u in user], "x": random.normal(size=n), "target": user % 2})
    frame.write_csv(root / "data" / "train.csv")
    return Project(root, Config(**{"iid": "drawn", "tracker": "none", "device": "cpu", **settings}), TASK, quiet=True)


def context(one: Project) -> Context:
    data = {"train": one.data.take(np.arange(0, 1_600)), "val": one.data.take(np.arange(1_600, 2_000))}
    prep = TASK.prepare(one.config, data["train"])
    return Context(one.config, TASK, prep, data, *(TASK.examples(one.config, prep, d) for d in data.values()))


def codes(examples: Any, rows: torch.Tensor, epoch: int = 0, augment: bool = True) -> torch.Tensor:
    return next(iter(examples.batches([rows], epoch, augment))).x["categorical"]


def test_a_share_of_the_codes_is_unknown_in_training_alone(tmp_path: Path) -> None:
    made = context(project(tmp_path, unknown_share=0.05))
    every = torch.arange(1_600)
    filed = codes(made.train, every, augment=False)
    assert (filed != UNKNOWN).all()
    seen = torch.stack([codes(made.train, every, epoch) for epoch in range(20)])
    dropped = seen == UNKNOWN
    assert 0.045 < float(dropped.float().mean()) < 0.055  # 32,000 draws: five standard errors
    assert (seen == filed)[~dropped].all()
    assert dropped.any(dim=0).float().mean() > 0.5  # not the same rows in every epoch
    assert torch.equal(filed, codes(made.train, every, augment=False))  # the stored codes are as they were


def test_the_draw_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    made = context(project(tmp_path, unknown_share=0.3))
    every = torch.arange(1_600)
    some = torch.randperm(1_600)[:100]
    assert torch.equal(codes(made.train, every, 3)[some], codes(made.train, some, 3))
    assert not torch.equal(codes(made.train, every, 3), codes(made.train, every, 4))
    other = context(project(tmp_path / "other", unknown_share=0.3, seed=1))
    assert not torch.equal(codes(made.train, every, 3), codes(other.train, every, 3))


@pytest.mark.parametrize("settings", [{"unknown_share": 0.0}, {"onehot_max": 300}])
def test_without_embeddings_nothing_is_drawn(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = context(project(tmp_path, **settings))
    assert isinstance(made.train, Rows) and made.train.forget is None
    plain, trained = (next(iter(made.train.batches([torch.arange(9)], 0, augment))) for augment in (False, True))
    assert all(torch.equal(plain.x[name], trained.x[name]) for name in plain.x)


def test_the_checks_of_batches_pass(tmp_path: Path) -> None:
    """Few of the examples that a check looks at are touched, and in some epochs none."""
    made = context(project(tmp_path))
    assert rows_and_labels(made).verdict == "PASS"
    found = set()
    for seed in range(60):
        assert isinstance(made.train, Rows) and made.train.forget is not None
        made.train = replace(made.train, forget=replace(made.train.forget, seed=seed))
        found.add(loop.augmentation(made).verdict)
    assert found == {"PASS", "NOT APPLICABLE"}
