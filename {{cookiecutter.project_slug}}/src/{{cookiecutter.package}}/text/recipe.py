"""The text recipe: its settings and its Task. Edit here first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from .. import config as shared
from ..config import setting
from ..task import Baseline, Batch, Data, Examples, Task

if TYPE_CHECKING:
    import polars as pl


class Config(shared.Config):
    """Settings of text projects, beside the shared ones. The first five are shared settings with the defaults of fine-tuning."""

    modality: str = setting(
        "text", "data", "Folder of the package that supplies the Task", pattern=r"^[a-z][a-z0-9_]*$"
    )
    lr: float = setting(
        5e-5, "optimizer", "Peak learning rate of the encoder; its head and LoRA learn ten times as fast", gt=0, le=10
    )
    epochs: int = setting(5, "loop", "Most passes over the training part", ge=1, le=100_000)
    batch_size: int = setting(32, "loop", "Examples per forward pass", ge=1)
    patience: int = setting(3, "loop", "Epochs without a better validation loss before stopping; 0 = never stop", ge=0)

    text: str = setting("text", "data", "Column that holds the text", min_length=1)
    text_pair: str = setting(
        "", "data", "Column of a second text, read together with the first (question and answer, ...)"
    )
    encoder: str = setting(
        "sentence-transformers/all-MiniLM-L6-v2",
        "model",
        "A BERT-family encoder: hub id, or folder with config, tokenizer, safetensors",
        min_length=1,
    )
    weights: Literal["pretrained", "none"] = setting(
        "pretrained", "model", "none = the encoder's architecture from its config, weights drawn at random"
    )
    max_length: int = setting(
        128,
        "preprocessing",
        "Tokens read at a time, special ones included; the rest is cut off, or read in further windows",
        ge=8,
        le=8192,
    )
    windows: int = setting(
        1,
        "preprocessing",
        "Windows of max_length tokens read of a text, their vectors averaged; what is beyond is cut off",
        ge=1,
        le=64,
    )
    adapt: Literal["full", "lora", "early", "frozen"] = setting(
        "full",
        "model",
        "full = train all; lora = low-rank updates; early = freeze embeddings and the first half; frozen = train the head only",
    )
    layer_decay: float = setting(
        1.0, "optimizer", "Factor on the learning rate from each layer to the one below it", off=1.0, gt=0, le=1
    )
    lora_rank: int = setting(8, "model", "Rank of the low-rank updates", ge=1, le=1024)
    lora_alpha: int = setting(16, "model", "LoRA updates count alpha / rank times", ge=1)
    lora_targets: list[str] = setting(
        [], "model", 'Names of the layers that LoRA updates, as in ["query", "value"]; [] = all linear layers'
    )
    dropout: float = setting(
        0.0, "model", "Dropout before the head and LoRA; the encoder keeps its own", off=0.0, ge=0, le=0.9
    )
    token_masking: float = setting(
        0.0, "preprocessing", "Training only: share of tokens replaced by the mask token", off=0.0, ge=0, le=0.5
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Config:
        if self.weights == "none" and self.adapt != "full":
            raise ValueError(
                f"adapt = {self.adapt!r} with weights = 'none' would freeze random weights; use adapt = 'full'"
            )
        if self.text_pair and self.windows > 1:
            raise ValueError(f"windows = {self.windows} with text_pair: pairs are read in one window; use windows = 1")
        if self.text == self.text_pair:
            raise ValueError(
                f"text and text_pair both name column {self.text!r}; leave text_pair empty for single texts"
            )
        if dropped := {self.text, self.text_pair} & set(self.drop):
            raise ValueError(f"drop holds the text column {dropped.pop()!r}; remove it from drop")
        if self.target in (self.text, self.text_pair):
            raise ValueError(f"target = {self.target!r} is also a text column; the answer would be in the question")
        return self


class Text(Task):
    """Texts, or pairs of texts, in a CSV, JSONL or Parquet file."""

    settings = Config

    def load(self, config: Config, root: Path) -> Data:
        from .data import load

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
        return {"frozen": {"adapt": "lora"}, "lora": {"adapt": "full"}}.get(config.adapt, {})

    def simple_features(self, config: Config, data: Data) -> Any:
        from .baseline import simple_features

        return simple_features(config, data)

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        from .data import show

        return show(prep, batch, row)

    def explain(self, config: Config, prep: dict[str, Any], model: Any, batch: Batch, row: int) -> dict[str, Any]:
        from .model import explain

        return explain(prep, model, batch, row)

    def validate_rows(
        self, config: Config, prep: dict[str, Any], frame: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[str]]:
        from .data import validate_rows

        return validate_rows(prep, frame)

    def monitored_features(self, prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
        from .data import monitored_features

        return monitored_features(prep, frame)

    def prepare_export(
        self, config: Config, prep: dict[str, Any], model: Any, folder: Path
    ) -> tuple[Any, dict[str, Any]]:
        from .model import prepare_export

        return prepare_export(config, model, folder)

    def state(self, model: Any) -> dict[str, Any]:
        from .model import state

        return state(model)

    def load_state(self, model: Any, tensors: dict[str, Any]) -> None:
        from .model import load_state

        load_state(model, tensors)

    def lr_scale(self, config: Config, name: str) -> float:
        from .model import lr_scale

        return lr_scale(config, name)

    def frozen(self, config: Config, name: str) -> bool:
        from .model import frozen

        return frozen(config, name)


TASK = Text()
