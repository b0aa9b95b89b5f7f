"""Small tables with roles, for the tests of checks that need no files and no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from my_model.config import Config
from my_model.task import Data


def table(n: int = 600, seed: int = 0) -> pl.DataFrame:
    """Six noisy numbers, one category of five values, and a target that three of the numbers decide (AUC about .97)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    target = np.where(x[:, 0] + x[:, 1] - x[:, 2] + 0.3 * random.normal(size=n) > 0, "yes", "no")
    return pl.DataFrame(
        {f"x{i}": x[:, i] for i in range(6)} | {"kind": random.choice(list("abcde"), n), "target": target}
    )


def data_of(frame: pl.DataFrame, unlabeled: pl.DataFrame | None = None, **roles: str) -> Data:
    """A Data whose numbers are numeric and texts categorical, where `roles` says nothing else."""
    inferred = {
        c: "numeric" if frame[c].dtype.is_numeric() else "drop" if frame[c].dtype.is_temporal() else "categorical"
        for c in frame.columns
    }
    return Data(frame, "target", {**inferred, "target": "target", **roles}, "0" * 64, unlabeled)


def config_of(**settings: Any) -> Config:
    """A binary config with a reason why rows are independent."""
    return Config(**{"iid": "drawn independently", **settings})
