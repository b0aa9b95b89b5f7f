"""The tabular recipe: its settings and its Task. Edit here first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from .. import config as shared
from ..config import setting
from ..task import Baseline, Batch, Data, Examples, PlainEncoder, Task


class Config(shared.Config):
    """Settings of tabular projects, beside the shared ones."""

    epochs: int = setting(
        100, "loop", "Most passes over the training part; patience usually stops earlier", ge=1, le=100_000
    )
    model: Literal["mlp", "lightgbm"] = setting(
        "mlp", "model", "Final model: a network, or LightGBM through the same steps"
    )
    num_leaves: int = setting(31, "model", "LightGBM: most leaves of a tree", ge=2, le=131_072)
    shrinkage: float = setting(0.05, "model", "LightGBM: its learning rate, what each tree adds", gt=0, le=1)
    n_estimators: int = setting(1000, "model", "LightGBM: most trees; validation stops them earlier", ge=1, le=100_000)
    min_child_samples: int = setting(0, "model", "LightGBM: fewest rows in a leaf; 0 = 5 to 20 by their number", ge=0)
    subsample: float = setting(1.0, "model", "LightGBM: share of the rows a tree sees", off=1.0, gt=0, le=1)
    hidden: int = setting(128, "model", "Width of the hidden layers", ge=1, le=8192)
    layers: int = setting(
        3, "model", "Linear layers, the last one included; beyond 5 rarely earns its keep", off=2, ge=2, le=5
    )
    dropout: float = setting(
        0.0, "model", "Dropout after each activation; only against overfitting (0.1-0.5)", off=0.0, ge=0, le=0.9
    )
    norm: Literal["none", "layer", "batch"] = setting(
        "none", "model", "Normalization before each activation", off="none"
    )
    numeric_embedding: Literal["none", "piecewise"] = setting(
        "none", "model", "piecewise = each number as its position among quantile bins of the training part", off="none"
    )
    scaling: Literal["standard", "minmax", "none"] = setting(
        "standard", "preprocessing", "Scaling of numbers, fitted on train"
    )
    missing: Literal["median", "mean", "mode", "zero", "drop"] = setting(
        "median",
        "preprocessing",
        "What fills a missing number; a 0/1 indicator is added. drop = train on rows without gaps, fill others with the median",
    )
    onehot_max: int = setting(
        20, "preprocessing", "Categories up to which a column is one-hot; above, an embedding", ge=0, le=1000
    )
    unknown_share: float = setting(
        0.05,
        "model",
        "Training only: share of embedded categories read as unknown, which trains the vector of new ones",
        ge=0,
        le=0.5,
    )
    sample_rows: int = setting(
        0,
        "preprocessing",
        "For Parquet larger than memory: rows that audit, scales and baselines look at; 0 = read the whole file",
        ge=0,
    )
    numeric: list[str] = setting([], "data", "Columns to read as numbers whatever they look like")
    categorical: list[str] = setting([], "data", "Columns to read as categories whatever they look like")
    ordinal: list[str] = setting([], "data", 'Ordered categories, as in "size: small < medium < large"')
    id: list[str] = setting([], "data", "Columns that name a row; never a feature")

    @model_validator(mode="after")
    def _fit_together(self) -> Config:
        if self.model == "mlp" and self.norm == "batch" and self.batch_size < 16:
            raise ValueError(
                f"norm = 'batch' with batch_size = {self.batch_size}: BatchNorm needs 16 and more; use norm = 'layer'"
            )
        if self.missing == "drop" and self.sample_rows:
            raise ValueError(
                "missing = 'drop' needs the whole table in memory; use sample_rows = 0, or missing = 'median'"
            )
        return self


class Tabular(Task):
    """Rows of a CSV or Parquet file."""

    settings = Config

    def load(self, config: Config, root: Path) -> Data:
        from . import data, large

        return large.load(config, root) if config.sample_rows else data.load(config, root)

    def cleaned(self, config: Config, train: Data) -> Data:
        from .data import cleaned

        return cleaned(config, train)

    def prepare(self, config: Config, train: Data) -> dict[str, Any]:
        from .data import prepare

        return prepare(config, train)

    def examples(self, config: Config, prep: dict[str, Any], data: Data) -> Examples:
        from . import data as whole
        from . import large

        if isinstance(data, large.Large):
            return large.examples(config, prep, data)
        return whole.examples(config, prep, data)

    def plain_encoder(self, config: Config, prep: dict[str, Any]) -> PlainEncoder:
        from .data import encoder

        return encoder(prep)

    def model(self, config: Config, prep: dict[str, Any]) -> Any:
        from .model import make_model

        return make_model(config, prep)

    def baselines(self, config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
        from .baseline import baselines

        return baselines(config, prep, train, only)

    def load_baseline(self, config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
        from .baseline import load_baseline

        return load_baseline(config, prep, folder)

    def final_baseline(self, config: Config) -> str:
        return "lightgbm" if config.model == "lightgbm" else ""

    def final_model(
        self, config: Config, prep: dict[str, Any], parts: tuple[Examples, Examples], callbacks: Any = ()
    ) -> tuple[Baseline, Any, list[dict[str, Any]]]:
        from .boosting import fit_final

        return fit_final(config, prep, parts, callbacks)

    def larger(self, config: Config) -> dict[str, Any]:
        return {"hidden": 4 * config.hidden} if config.model == "mlp" and config.hidden <= 2048 else {}

    def simple_features(self, config: Config, data: Data) -> Any:
        from .data import simple_features

        return simple_features(config, data)

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        from .data import show

        return show(prep, batch, row)


TASK = Tabular()
