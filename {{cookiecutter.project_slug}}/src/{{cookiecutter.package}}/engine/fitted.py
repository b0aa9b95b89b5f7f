"""A trained model brought back from its run folder, network or not, behind one call."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config, make_config
from ..errors import UserError
from ..task import Baseline, Data, Examples, Task
from . import checkpoint
from .data import Recipe
from .files import read_json, sha256
from .loop import find_device, predict

log = logging.getLogger(__name__)

MODEL = "model"  # folder of a saved plain model inside its run folder


@dataclass
class Fitted:
    """name: "network" or the baseline's name. prep: the preprocessing it was trained with. config: its settings."""

    name: str
    task: Task
    config: Config
    prep: dict[str, Any]
    model: Any = None
    baseline: Baseline | None = None

    def outputs(self, data: Data) -> tuple[np.ndarray, Examples]:
        """Outputs [n, k] for a part of the data, and the encoded examples they belong to."""
        examples = self.task.examples(self.config, self.prep, data)
        if self.baseline is not None:
            return self.baseline.predict(data), examples
        return predict(self.model, examples, self.config), examples


def load_fitted(recipe: Recipe, record: dict[str, Any]) -> Fitted:
    """The best model of a finished training run. Raises UserError when its files are missing or broken."""
    folder, config, prep = _origin(recipe, record)
    name, task = record["result"]["model"], recipe.task
    if name != "network":
        return Fitted(name, task, config, prep, baseline=task.load_baseline(config, prep, folder / MODEL))
    model = task.model(config, prep)
    task.load_state(model, checkpoint.load(folder / "checkpoints", "best", log.warning).weights)
    return Fitted(name, task, config, prep, model=model.to(find_device(config)))


def load_competitor(recipe: Recipe, record: dict[str, Any], train: Data) -> Fitted | None:
    """The best simple model of a baseline record: from its files, else fitted again with the settings of that record.

    None when the best one ignores the input: no `Baseline` stands behind it.
    """
    folder, name, task = recipe.root / "runs" / record["id"], record["result"]["best"], recipe.task
    if (folder / MODEL).is_dir():
        folder, config, prep = _origin(recipe, record)
        return Fitted(name, task, config, prep, baseline=task.load_baseline(config, prep, folder / MODEL))
    config = make_config(task.settings, record["config"], f"the config of {record['id']}")
    prep = task.prepare(config, train)
    fitted = task.baselines(config, prep, train, only=name)
    return Fitted(name, task, config, prep, baseline=fitted[name]) if name in fitted else None


def _origin(recipe: Recipe, record: dict[str, Any]) -> tuple[Path, Config, dict[str, Any]]:
    """Folder, settings and preprocessing of a finished run."""
    folder = recipe.root / "runs" / record["id"]
    config = make_config(recipe.task.settings, record["config"], f"the config of {record['id']}")
    again = f"put them back, or run it again: recipe {record['step'].replace('_', '-')}"
    prep = read_json(folder / "prep.json", "the preprocessing of a run", again)
    if record["result"].get("weights") not in (None, weights_hash(folder)):
        raise UserError(f"{record['id']} has other weights or another preprocessing than when it ended; {again}")
    return folder, config, prep


def weights_hash(folder: Path) -> str:
    """sha256 (first 16 hex digits) over the files that make the model of a training run: preprocessing and weights."""
    best = sorted((folder / "checkpoints").glob("best-*"))[-1:]
    files = [p for root in (*best, folder / MODEL) for p in sorted(root.rglob("*")) if p.is_file()]
    return hashlib.sha256("".join(sha256(path) for path in [folder / "prep.json", *files]).encode()).hexdigest()[:16]
