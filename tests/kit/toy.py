"""A toy Task for the shared tests: numeric columns, a two-layer network, nothing to learn from disk but a CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from my_model.config import Config
from my_model.engine.files import sha256
from my_model.task import Baseline, Batch, Data, Task
from recipe_kit.project import Project
from torch import Tensor, nn


@dataclass
class ToyExamples:
    """All features in one tensor [n, d]."""

    x: Tensor
    y: Tensor
    query: Tensor | None = None
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        for rows in plan:
            yield Batch(self.x[rows], self.y[rows], rows, None if self.query is None else self.query[rows])


@dataclass
class Constant:
    """A baseline that always returns the same outputs."""

    outputs: list[float]

    def predict(self, data: Data) -> np.ndarray:
        return np.tile(np.array(self.outputs, dtype=np.float32), (len(data), 1))

    def save(self, folder: Path) -> None:
        (folder / "constant.json").write_text(str(self.outputs))


@dataclass
class FirstFeature:
    """A baseline that returns the first feature less its mean."""

    mean: float

    def predict(self, data: Data) -> np.ndarray:
        return (data.frame["x0"].to_numpy() - self.mean).astype(np.float32).reshape(-1, 1)

    def save(self, folder: Path) -> None:
        (folder / "first.json").write_text(str(self.mean))


class Toy(Task):
    """Numeric features only; binary, multiclass, regression and ranking."""

    settings = Config

    def load(self, config: Config, root: Path) -> Data:
        path = root / config.data
        frame = pl.read_csv(path)
        special = {config.target: "target", config.group: "group", config.time: "time", config.query: "query"}
        roles = {name: special.get(name, "drop" if name in config.drop else "numeric") for name in frame.columns}
        return Data(frame, config.target, roles, sha256(path))

    def prepare(self, config: Config, train: Data) -> dict[str, Any]:
        y = train.frame[train.target]
        classes = [str(c) for c in y.unique().sort()] if config.task in ("binary", "multiclass") else []
        counts = [int((y.cast(pl.String) == c).sum()) for c in classes]
        regression = config.task == "regression"
        features = train.frame[train.columns("numeric")].to_numpy()
        return {
            "classes": classes,
            "outputs": len(classes) if config.task == "multiclass" else 1,
            "prior": [c / len(y) for c in counts],
            "target_mean": float(y.to_numpy().mean()) if regression else 0.0,
            "target_scale": float(y.to_numpy().std()) if regression else 1.0,
            "mean": features.mean(0).tolist(),
            "scale": (features.std(0) + 1e-12).tolist(),
        }

    def examples(self, config: Config, prep: dict[str, Any], data: Data) -> ToyExamples:
        features = data.frame[data.columns("numeric")].to_numpy()
        x = torch.tensor((features - prep["mean"]) / prep["scale"], dtype=torch.float32)
        column = data.frame[data.target]
        if prep["classes"]:
            y = torch.tensor([prep["classes"].index(str(v)) for v in column])
            y = y.float() if config.task == "binary" else y
        else:
            y = torch.tensor((column.to_numpy() - prep["target_mean"]) / prep["target_scale"], dtype=torch.float32)
        query = (
            torch.tensor(data.frame[config.query].rank("dense").to_numpy().astype(np.int64)) if config.query else None
        )
        return ToyExamples(x, y, query)

    def model(self, config: Config, prep: dict[str, Any]) -> nn.Module:
        head = nn.Linear(32, prep["outputs"])
        prior = torch.tensor(prep["prior"]).clamp(min=1e-6).log()
        with torch.no_grad():
            if config.task in ("binary", "multiclass"):
                head.bias.copy_(prior[1:] - prior[:1] if config.task == "binary" else prior)
            else:
                head.bias.zero_()
        return nn.Sequential(nn.Linear(len(prep["mean"]), 32), nn.ReLU(), head)

    def baselines(self, config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
        fitted: dict[str, Baseline] = {"constant": Constant([0.0] * prep["outputs"])}
        if prep["outputs"] == 1:
            fitted["first_feature"] = FirstFeature(prep["mean"][0])
        return {name: model for name, model in fitted.items() if only in ("", name)}

    def load_baseline(self, config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
        if (folder / "constant.json").exists():
            return Constant(json.loads((folder / "constant.json").read_text()))
        return FirstFeature(json.loads((folder / "first.json").read_text()))

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        values = batch.x[row].numpy() * np.array(prep["scale"]) + np.array(prep["mean"])
        return {f"x{i}": round(float(v), 4) for i, v in enumerate(values)}


def toy_project(root: Path, n: int = 300, k: int = 2, seed: int = 0, **settings: Any) -> Project:
    """A project in `root` on n rows of four noisy features and k classes (k = 1: a regression target)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    signal = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * random.normal(size=n)
    y = signal if k == 1 else np.digitize(signal, np.quantile(signal, np.arange(1, k) / k))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"target": y})
    (root / "data").mkdir(exist_ok=True)
    frame.write_csv(root / "data" / "train.csv")
    task = {1: "regression", 2: "binary"}.get(k, "multiclass")
    (root / "recipe.toml").write_text("")
    config = Config(
        **{"task": task, "iid": "drawn independently", "tracker": "none", "device": "cpu", "epochs": 3, **settings}
    )
    return Project(root, config, Toy(), quiet=True)
