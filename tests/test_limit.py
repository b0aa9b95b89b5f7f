"""`recipe learning-curve` on data made so that rows, the network or the epochs are what is missing: the verdict names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from inside import Inside

torch.set_num_threads(1)


def rows_missing() -> tuple[pl.DataFrame, dict[str, Any]]:
    """Tastes of 300 users, of whom there are five rows each; some 225 rows of validation are enough to see it."""
    random = np.random.default_rng(0)
    user, taste = random.integers(0, 300, 1600), random.normal(size=300)
    y = (taste[user] + 0.3 * random.normal(size=1600) > 0).astype(int)
    return pl.DataFrame({"user": [f"u{u}" for u in user], "x": random.normal(size=1600), "target": y}), {"epochs": 30, "lr": 0.01}


def units_missing() -> tuple[pl.DataFrame, dict[str, Any]]:
    """A checkerboard, which one hidden unit cannot draw."""
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, (3000, 2))
    y = ((np.floor(x[:, 0]) + np.floor(x[:, 1])) % 2).astype(int)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "target": y}), {"hidden": 4, "layers": 2, "epochs": 40, "lr": 0.02}


def epochs_missing() -> tuple[pl.DataFrame, dict[str, Any]]:
    """A line, and a rate at which one epoch does not get there. More rows would help as well: by more steps."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1500, 20))
    y = (x.sum(axis=1) + random.normal(size=1500) > 0).astype(int)
    columns = {f"x{i}": x[:, i] for i in range(20)}
    return pl.DataFrame({**columns, "target": y}), {"hidden": 32, "epochs": 1, "lr": 3e-4, "warmup": 0.0}


def nothing_missing() -> tuple[pl.DataFrame, dict[str, Any]]:
    """A line with noise on it: 3,000 rows say all there is to say."""
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 2))
    y = (x[:, 0] + random.normal(size=3000) > 0).astype(int)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "target": y}), {"epochs": 12, "patience": 3}


@pytest.mark.parametrize(
    ("make", "axis"),
    [pytest.param(rows_missing, "data", marks=pytest.mark.slow), pytest.param(units_missing, "model", marks=pytest.mark.slow), (epochs_missing, "compute"), (nothing_missing, "")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_limit_is_named(tmp_path: Path, make: Any, axis: str) -> None:
    frame, settings = make()
    project = Inside(tmp_path / "p", task="binary", batch_size=64, **{"patience": 0, **settings})
    frame.write_csv(project.root / "data" / "train.csv")
    forced = ("--force", "made so")
    for step in ("audit", "split"):
        project.recipe(step, *forced)
    answer = project.recipe("learning-curve", *forced)
    assert answer.status == 0, answer.output
    said = project.check_result("learning-curve", "learning curve")
    assert said["observed"].endswith(f": the limit is {axis}" if axis else ": none beyond the noise of seeds and rows"), said["observed"]
