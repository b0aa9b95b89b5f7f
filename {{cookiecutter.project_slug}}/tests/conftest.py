"""What the smoke test puts together: the task, settings, loss and rows that training would use, made small."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # a test must not wait for a hub


from my_model.config import Config, make_config, read_toml
from my_model.engine.loop import find_device
from my_model.engine.losses import Loss, make_loss
from my_model.engine.optim import make_optimizer
from my_model.engine.seed import seed_everything
from my_model.engine.target import prior_logits
from my_model.errors import UserError
from my_model.task import Batch, Data, Examples, Task, find_task

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "tests" / "sample"
# Off, as when `recipe check` overfits a batch: what is meant for a long run keeps a network from learning a few rows by
# heart. Nor is there a warm-up: every step is taken at lr.
LONG = {"dropout": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "warmup": 0.0}
LONG |= {"augment": [], "token_masking": 0.0, "unknown_share": 0.0}
# What a test cannot afford: a download, large images, a compiler, other processes.
COSTLY = {"weights": "none", "size": 32, "compile": False, "workers": 0, "tracker": "none", "sample_rows": 0}


@dataclass
class Parts:
    """prep: fitted on the sample. data: up to 16 of its rows. batch: the same rows, encoded, on the device."""

    task: Task
    config: Config
    prep: dict[str, Any]
    data: Data
    batch: Batch
    loss: Loss

    def fresh(self, **changes: float) -> tuple[Config, torch.nn.Module, torch.optim.Optimizer]:
        """The settings with these changes, a new model in training mode without dropout, and its optimizer."""
        config = self.config.model_copy(update=changes)
        seed_everything(config.seed, config.deterministic)
        model = self.task.model(config, self.prep).to(find_device(config))
        self.task.set_trainable(config, model, config.epochs)
        for module in model.train().modules():
            if "Dropout" in type(module).__name__ or type(module).__name__ == "StochasticDepth":
                vars(module)["p"] = 0.0
        return config, model, make_optimizer(config, self.task, model)

    @property
    def right(self) -> torch.Tensor:
        """Outputs that are right, and sure of it: logits, numbers, or scores that rank."""
        y, k = self.batch.y, self.prep["outputs"]
        if self.config.task == "multiclass":
            return 24 * torch.nn.functional.one_hot(y, k).float()
        if self.config.task == "binary":
            return 24 * y[:, None] - 12
        return y[:, None] if self.config.resolved_loss in ("mse", "mae", "huber") else 24 * y[:, None]

    @property
    def prior(self) -> float:
        """The loss of outputs that know the class shares and nothing else (regression: the mean; ranking: nothing)."""
        outputs = prior_logits(self.prep).to(self.batch.y.device).expand(len(self.batch.y), -1)
        return float(self.loss(outputs, self.batch).mean())


@pytest.fixture(scope="module")
def parts() -> Parts:
    """The parts as recipe.toml has them, but for LONG and COSTLY, on the rows of tests/sample."""
    recipe = read_toml(ROOT / "recipe.toml")
    task = find_task(recipe["modality"])
    config = small(make_config(task.settings, on_sample(task, recipe), "recipe.toml with tests/sample/sample.toml"))
    if task.final_baseline(config):
        (pytest.fail if os.environ.get("SMOKE_DEVICE") else pytest.skip)(f"model = {config.model!r} is not a network")
    data = task.load(config, ROOT)
    try:
        prep = task.prepare(config, data)
    except UserError as error:
        if not (SAMPLE / "encoder").exists():
            raise
        warnings.warn(f"a tiny BERT with random weights stands in for the configured encoder: {error}", stacklevel=1)
        fits = {"encoder": str(SAMPLE / "encoder"), "max_length": min(config.max_length, 128), "lora_targets": []}
        config = config.model_copy(update=fits)
        prep = task.prepare(config, data)
    data = data.take(distinct(one_batch(task.examples(config, prep, data)))[:16])
    batch = one_batch(task.examples(config, prep, data)).to(find_device(config))
    return Parts(task, config, prep, data, batch, make_loss(config, prep))


def on_sample(task: Task, recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings of recipe.toml, but for those that say where the data are, what their columns are and how they are split."""
    groups = {name: field.json_schema_extra["group"] for name, field in task.settings.model_fields.items()}
    of_data = {name for name, group in groups.items() if group in ("data", "split")} - {"modality", "task"} | {"slices"}
    kept = {name: value for name, value in recipe.items() if name not in of_data}
    return {**kept, **read_toml(SAMPLE / "sample.toml")}


def small(config: Config) -> Config:
    """The settings with LONG and COSTLY, on the device that SMOKE_DEVICE names."""
    changes = {**LONG, **COSTLY, "device": os.environ.get("SMOKE_DEVICE") or "auto"}
    if getattr(config, "adapt", "") == "frozen":
        changes["adapt"] = "full"  # a head alone learns little from the features of random weights
    return config.model_copy(update={name: v for name, v in changes.items() if name in type(config).model_fields})


def one_batch(examples: Examples) -> Batch:
    """All examples as one batch, in their order."""
    return next(iter(examples.batches([torch.arange(len(examples))])))


def distinct(batch: Batch) -> list[int]:
    """Positions of the examples whose inputs differ from those of every earlier one: others cannot be told apart."""
    inputs = batch.x.values() if isinstance(batch.x, dict) else [batch.x]
    rows = torch.cat([x.flatten(start_dim=1).double() for x in inputs], dim=1).numpy()
    return sorted({row.tobytes(): i for i, row in reversed(list(enumerate(rows)))}.values())
