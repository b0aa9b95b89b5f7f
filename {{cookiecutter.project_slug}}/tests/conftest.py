"""The parts that the smoke test puts together: the task, settings, loss and rows that training would use, made small."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace as Parts

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # a test must not wait for a hub

from my_model.cli import find_task
from my_model.config import Config, make_config, read_toml
from my_model.engine.loop import find_device
from my_model.engine.losses import make_loss
from my_model.errors import UserError
from my_model.task import Batch, Examples

ROOT = Path(__file__).parents[1]
ENCODER = ROOT / "tests/sample/encoder"  # text: a tiny one, for where the configured encoder is not on this machine
# Off, as when `recipe check` overfits a batch: what is meant for a long run keeps a network from learning a few rows by
# heart. There is no warm-up either: every step is taken at lr.
LONG = {"dropout": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "augment": [], "token_masking": 0.0, "warmup": 0.0}
# What a test cannot afford: a download, large images, a compiler, more processes, an account.
DEAR = {"weights": "none", "size": 32, "compile": False, "workers": 0, "tracker": "none"}


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Task, settings, preprocessing and loss; up to 16 rows of the sample, and the same rows as one batch on the device."""
    values = {**read_toml(ROOT / "recipe.toml"), **read_toml(ROOT / "tests/sample/sample.toml")}
    task = find_task(values["modality"])
    config = small(make_config(task.knobs, values, "recipe.toml with tests/sample/sample.toml"))
    if task.final_baseline(config):
        (pytest.fail if "SMOKE_DEVICE" in os.environ else pytest.skip)(f"model = {config.model!r} is not a network")
    data = task.load(config, ROOT)
    try:
        prep = task.prepare(config, data)
    except UserError as error:
        if not ENCODER.exists():
            raise
        warnings.warn(f"a tiny BERT with random weights stands in for the configured encoder: {error}", stacklevel=1)
        fits = {"encoder": str(ENCODER), "max_length": min(config.max_length, 128), "lora_targets": []}
        config = config.model_copy(update=fits)
        prep = task.prepare(config, data)
    data = data.take(distinct(one_batch(task.examples(config, prep, data)))[:16])
    batch = one_batch(task.examples(config, prep, data)).to(find_device(config))
    return Parts(root=ROOT, task=task, config=config, prep=prep, data=data, batch=batch, loss=make_loss(config, prep))


def small(config: Config) -> Config:
    """The settings of recipe.toml, except for LONG, DEAR and the device that SMOKE_DEVICE names."""
    changes = {**LONG, **DEAR, "device": os.environ.get("SMOKE_DEVICE", "auto")}
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
