"""The sequence recipe: its settings and its Task. Edit here first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from .. import config as shared
from ..config import setting
from ..task import Baseline, Batch, Data, Examples, Task

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

HEADS = 4  # of the transformer


class Config(shared.Config):
    """Settings of sequence projects, beside the shared ones. The first four are shared settings with other defaults."""

    modality: str = setting(
        "sequence", "data", "Folder of the package that supplies the Task", pattern=r"^[a-z][a-z0-9_]*$"
    )
    epochs: int = setting(
        60, "loop", "Most passes over the training part; patience usually stops earlier", ge=1, le=100_000
    )
    batch_size: int = setting(64, "loop", "Series per forward pass", ge=1)
    patience: int = setting(10, "loop", "Epochs without a better validation loss before stopping; 0 = never stop", ge=0)

    series: str = setting("", "split", "Long table: column that says whose step a row is; '' = a row is a series")
    step: str = setting("", "split", "Long table: column that orders the rows of a series; '' = they are in order")
    horizon: int = setting(
        0, "split", "Forecast: steps ahead to predict of the target, a channel; 0 = no forecast", ge=0, le=1000
    )
    season: int = setting(0, "model", "Forecast: steps after which the target repeats itself; 0 = it does not", ge=0)
    channels: list[str] = setting([], "data", "Columns of values (of temp_0, temp_1: temp); [] = all that are left")
    static: list[str] = setting([], "data", "Columns with one value a series, number or category, beside the channels")
    max_length: int = setting(1024, "preprocessing", "Steps read of a series: its last ones", ge=2, le=65_536)
    scaling: Literal["standard", "series", "none"] = setting(
        "standard", "preprocessing", "Of each channel: by the training part; series = each series by itself"
    )
    model: Literal["conv", "lstm", "gru", "transformer"] = setting(
        "conv", "model", "1-D convolutions of several widths, a recurrent network in both directions, or an encoder"
    )
    hidden: int = setting(64, "model", "Width of the layers", ge=4, le=4096)
    layers: int = setting(3, "model", "Blocks of convolutions, recurrent layers, or encoder layers", ge=1, le=12)
    dropout: float = setting(
        0.0, "model", "Dropout between the layers and before the head; only against overfitting", off=0.0, ge=0, le=0.9
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Config:
        if self.horizon and self.task != "regression":
            raise ValueError(f"horizon = {self.horizon} predicts numbers; set task = 'regression', not {self.task!r}")
        if self.horizon and (not self.step or self.time != self.step):
            seen = f"step is {self.step!r} and time {self.time!r}"
            raise ValueError(
                f"horizon = {self.horizon} needs step and time, both the column that orders the rows; {seen}"
            )
        if self.season and not (self.horizon and self.season <= self.max_length):
            least = f"a horizon, and max_length = {self.max_length} of a season or more"
            raise ValueError(f"season = {self.season} is for a forecast: it needs {least}")
        if self.step and not self.series and not self.horizon:
            raise ValueError(f"step = {self.step!r} orders the rows of a series; set series, the column that names it")
        if self.model == "transformer" and self.hidden % HEADS:
            more = HEADS * -(-self.hidden // HEADS)
            raise ValueError(f"hidden = {self.hidden} is no multiple of the {HEADS} heads; use {more}")
        apart = {"target": self.target, "series": self.series, "group": self.group, "split_column": self.split_column}
        for name in self.channels + self.static:
            if taken := [other for other, column in apart.items() if column == name]:
                raise ValueError(f"channels or static names column {name!r}, which is {taken[0]}; take it out of one")
        if both := set(self.channels) & set(self.static):
            raise ValueError(f"channels and static both name column {both.pop()!r}; it changes by step or does not")
        if dropped := {*self.channels, *self.static} & set(self.drop):
            raise ValueError(f"drop holds {dropped.pop()!r}, which channels or static names; remove it from one")
        return self


class Sequence(Task):
    """Numeric series in a long table (a row a step), or with a row a series, its steps lists or columns; and what comes next."""

    settings = Config

    def load(self, config: Config, root: Path) -> Data:
        from .table import load

        return load(config, root)

    def prepare(self, config: Config, train: Data) -> dict[str, Any]:
        from .data import prepare

        return prepare(config, train)

    def examples(self, config: Config, prep: dict[str, Any], data: Data) -> Examples:
        from .data import examples

        return examples(config, prep, data)

    def model(self, config: Config, prep: dict[str, Any]) -> Any:
        from .model import make_model

        return make_model(config, prep)

    def baselines(self, config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
        from .baseline import baselines

        return baselines(config, prep, train, only)

    def load_baseline(self, config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
        from .baseline import load_baseline

        return load_baseline(config, prep, folder)

    def larger(self, config: Config) -> dict[str, Any]:
        return {"hidden": 2 * config.hidden} if config.hidden <= 2048 else {}

    def simple_features(self, config: Config, data: Data) -> np.ndarray:
        from .features import simple_features

        return simple_features(data)

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        from .data import show

        return show(prep, batch, row)

    def rows_to_predict(self, config: Config, path: Path) -> pl.DataFrame | None:
        from .table import to_predict

        return to_predict(config, path)

    def validate_rows(
        self, config: Config, prep: dict[str, Any], frame: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[str]]:
        from .data import faults

        return frame, faults(frame, list(prep["channels"]))

    def monitored_features(self, prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
        from .features import monitored_features

        return monitored_features(prep, frame)

    def own_findings(self, config: Config, data: Data) -> list[tuple[str, str, dict[str, Any]]]:
        """What only series can have wrong, for the audit: (check, what was observed, its verdict and evidence)."""
        from .audit import findings

        return findings(config, data)


TASK = Sequence()
