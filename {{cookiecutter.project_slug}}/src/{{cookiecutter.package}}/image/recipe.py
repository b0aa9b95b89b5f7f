"""The image recipe: its settings and its Task. Edit here first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from .. import config as shared
from ..config import setting
from ..errors import UserError
from ..task import Baseline, Batch, Data, Examples, Task

if TYPE_CHECKING:
    import polars as pl

CHANGES = ("crop", "flip", "jitter", "randaugment")  # change the picture; that the label stays is for the owner to say
MIXES = ("mixup", "cutmix")  # mix two pictures, and their labels with them

SQUARE = 32  # pixels that become one cell of the last feature map
LEAST = 64  # pixels a side of pictures that a network is tried on where those of its own size take too long

# The next larger of the same family.
LARGER = {"resnet18": "resnet34", "resnet34": "resnet50", "resnet50": "resnet101", "resnet101": "resnet152"}
LARGER |= {f"efficientnet_b{n}": f"efficientnet_b{n + 1}" for n in range(7)}

Backbone = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
    "wide_resnet50_2", "wide_resnet101_2", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_s", "efficientnet_v2_m",
    "efficientnet_v2_l",
]  # fmt: skip


class Config(shared.Config):
    """Settings of image projects, beside the shared ones. The first six are shared settings with the defaults of fine-tuning."""

    modality: str = setting(
        "image", "data", "Folder of the package that supplies the Task", pattern=r"^[a-z][a-z0-9_]*$"
    )
    data: str = setting(
        "data/images", "data", "A folder with one folder a class, or a table of paths and labels", min_length=1
    )
    lr: float = setting(
        1e-4, "optimizer", "Peak learning rate; a new head on pretrained weights learns ten times as fast", gt=0, le=10
    )
    epochs: int = setting(20, "loop", "Most passes over the training part", ge=1, le=100_000)
    batch_size: int = setting(32, "loop", "Examples per forward pass; BatchNorm needs 16 and more", ge=1)
    patience: int = setting(5, "loop", "Epochs without a better validation loss before stopping; 0 = never stop", ge=0)

    image: str = setting(
        "path", "data", "Table of paths: the column that holds them, relative to the table", min_length=1
    )
    corrupt: Literal["stop", "drop"] = setting(
        "stop", "data", "Images that cannot be decoded: stop before training, or leave those rows out"
    )
    size: int = setting(
        0,
        "preprocessing",
        "Side in pixels of what the network sees; 0 = as its weights were trained (224 without any)",
        ge=0,
        le=2048,
    )
    backbone: Backbone = setting("resnet18", "model", "Any ResNet or EfficientNet of torchvision")
    weights: str = setting(
        "pretrained",
        "model",
        "pretrained = the hub's best; or IMAGENET1K_V1, a file, a run's folder; none = random",
        min_length=1,
    )
    adapt: Literal["full", "head_first", "early", "frozen"] = setting(
        "full", "model", "full = train all; head_first = the head for a fifth of the epochs, then all; early = freeze the first half; frozen = the head only"
    )  # fmt: skip
    layer_decay: float = setting(
        1.0, "optimizer", "Factor on the learning rate from each stage to the one below it", off=1.0, gt=0, le=1
    )
    norm: Literal["batch", "group"] = setting(
        "batch", "model", "group = GroupNorm in place of BatchNorm, for batches under 16"
    )
    dropout: float = setting(
        0.0, "model", "Dropout before the head; only against overfitting (0.1-0.5)", off=0.0, ge=0, le=0.9
    )
    augment: list[str] = setting(
        [], "preprocessing", "Training only: any of crop, flip, jitter, randaugment, and one of mixup, cutmix", off=[]
    )
    strength: float = setting(0.5, "preprocessing", "How far augmentation goes, from 0 to 1", ge=0, le=1)
    label_preserving: str = setting(
        "", "preprocessing", "Why crop, flip, jitter or randaugment leave every label as it is; needed to use them"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Config:
        if self.weights == "none" and self.adapt != "full":
            raise ValueError(
                f"adapt = {self.adapt!r} with weights = 'none' would freeze random weights; use adapt = 'full'"
            )
        if 0 < self.size < 16:
            raise ValueError(f"size = {self.size} leaves a network nothing to see; use 16 and more, or 0")
        if self.target == self.image:
            raise ValueError(f"target and image both name column {self.target!r}; the answer would be in the question")
        if self.image in self.drop:
            raise ValueError(f"drop holds the image column {self.image!r}; remove it from drop")
        self._check_augment()
        return self

    def _check_augment(self) -> None:
        """Refuse unknown or contradicting augmentations, and those whose effect on the labels nobody has thought about."""
        if unknown := [name for name in self.augment if name not in (*CHANGES, *MIXES)]:
            raise ValueError(f"augment holds {unknown[0]!r}; it may hold {', '.join((*CHANGES, *MIXES))}")
        mixes = [name for name in self.augment if name in MIXES]
        if len(mixes) > 1 or len(set(self.augment)) < len(self.augment):
            raise ValueError(f"augment = {self.augment} mixes or names the same thing twice; keep one of each")
        if mixes and self.task not in ("binary", "multiclass"):
            raise ValueError(f"augment = {mixes} mixes classes; task = {self.task!r} has none")
        changes = [name for name in self.augment if name in CHANGES]
        if changes and not self.label_preserving.strip():
            raise ValueError(
                f"augment = {changes} changes the pictures; say in label_preserving why every label stays right (a mirrored 2 is no 2)"
            )


class Image(Task):
    """Images in class folders, or listed with their labels in a CSV, JSONL or Parquet file."""

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

    def cheaper(
        self, prep: dict[str, Any], parts: tuple[Examples, Examples], share: float
    ) -> tuple[Examples, Examples, str]:
        from .data import Shrunk

        side = max(int(prep["size"] * share**0.5) // SQUARE * SQUARE, LEAST)
        if side >= prep["size"]:
            return *parts, ""
        return Shrunk(parts[0], side), Shrunk(parts[1], side), f"pictures of {side} pixels"

    def larger(self, config: Config) -> dict[str, Any]:
        if config.adapt in ("frozen", "early"):
            return {"adapt": "full"}
        hub = config.weights in ("pretrained", "none")  # a file fits one backbone
        return {"backbone": LARGER[config.backbone]} if hub and config.backbone in LARGER else {}

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
        if model is None and config.weights != "none":
            raise UserError(
                "a linear model on frozen features needs the hub's weights and cannot be packed; export a network"
            )
        return model, {"weights": "none", "adapt": "full"}  # a network's own weights hold them all

    def lr_scale(self, config: Config, name: str) -> float:
        from .model import lr_scale

        return lr_scale(config, name)

    def frozen(self, config: Config, name: str) -> bool:
        from .model import frozen

        return frozen(config, name)

    def set_trainable(self, config: Config, model: Any, epoch: int) -> None:
        from .model import set_trainable

        set_trainable(config, model, epoch)


TASK = Image()
