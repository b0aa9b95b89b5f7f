"""A trained model brought back from its run folder, network or not, behind one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config, make_config
from ..task import Baseline, Data, Examples, Task
from . import checkpoint
from .files import read_json
from .loop import find_device, predict
from .project import Project


@dataclass
class Fitted:
    """name: "network" or the baseline's name. prep: the preprocessing it was trained with. config: its knobs."""

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


def load_fitted(project: Project, record: dict[str, Any]) -> Fitted:
    """The best model of a finished training run. Raises UserError when its files are missing or broken."""
    folder: Path = project.root / "runs" / record["id"]
    config = make_config(project.task.knobs, record["config"], f"the config of {record['id']}")
    prep = read_json(folder / "prep.json", "the preprocessing of a run", "train again: recipe train")
    name, task = record["result"]["model"], project.task
    if name != "network":
        return Fitted(name, task, config, prep, baseline=task.load_baseline(config, prep, folder / "model"))
    model = task.model(config, prep)
    task.load_state(model, checkpoint.load(folder / "checkpoints", "best", project.say).weights)
    return Fitted(name, task, config, prep, model=model.to(find_device(config)))
