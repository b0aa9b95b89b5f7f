"""Train the model the recipe asks for, score it on validation, and write everything that is known of the run to its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..config import Config
from ..task import Data, Examples, Task
from . import metrics
from .callback import Callback
from .distributed import SINGLE, Distributed
from .files import save_array, to_json, write_atomic
from .fitted import MODEL, weights_hash
from .loop import fit, predict
from .resume import Progress
from .truth import save_truth, truth_of


@dataclass
class Trained:
    """outputs: [n, k] on validation. truth: what is known of its rows. model, progress: None for a baseline.
    result: scores and facts that belong into the run's record."""

    prep: dict[str, Any]
    train: Examples
    val: Examples
    truth: metrics.Truth
    outputs: np.ndarray
    model: nn.Module | None
    progress: Progress | None
    result: dict[str, Any]


def train(
    config: Config,
    task: Task,
    data: dict[str, Data],
    folder: Path,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    skip: int = 0,
    distributed: Distributed = SINGLE,
    said: dict[str, Any] | None = None,
) -> Trained:
    """Fit on data["train"], stop and score on data["val"]. Written to `folder`: prep.json, checkpoints/ or model/, curves.json,
    losses.npy, outputs.npy, y.npy. Of several processes the first calls this and the others `fit`; they are told `said`."""
    prep = task.prepare(config, data["train"])
    write_atomic(folder / "prep.json", to_json(prep))
    seen, val = (task.examples(config, prep, data[name]) for name in ("train", "val"))
    truth = truth_of(config, data["val"], val)
    model, progress = None, None
    if task.final_baseline(config):
        outputs, about = _baseline(config, task, prep, (seen, val), folder, callbacks)
    else:
        with distributed.together({"prep": prep, **(said or {})}):
            model, progress = fit(config, task, prep, seen, val, folder, resume, callbacks, skip, distributed)
        outputs, about = predict(model, val, config), _network(model, progress)
        write_atomic(folder / "curves.json", to_json(progress.curves))
        save_array(folder / "losses.npy", np.array(progress.losses, dtype=np.float32))
    save_array(folder / "outputs.npy", outputs)
    save_truth(folder, truth)
    result = {
        "metric": config.resolved_metric,
        **about,
        "processes": distributed.size,
        "parallel": distributed.strategy,
        "metrics": metrics.summary(config, prep, outputs, truth),
        "weights": weights_hash(folder),
    }
    return Trained(prep, seen, val, truth, outputs, model, progress, result)


def _network(model: nn.Module, progress: Progress) -> dict[str, Any]:
    return {
        "model": "network",
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "steps": progress.step,
        "skipped": progress.skipped,
        "stopped": progress.stopped or "all epochs done",
    }


def _baseline(
    config: Config, task: Task, prep: dict[str, Any], parts: tuple[Examples, Examples], folder: Path, callbacks: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """The final model is a plain one: fit it by itself, save it, and use it like the network."""
    fitted, outputs, curves = task.final_model(config, prep, parts, callbacks)
    write_atomic(folder / "curves.json", to_json(curves))
    (folder / MODEL).mkdir(exist_ok=True)
    fitted.save(folder / MODEL)
    best = min(curves, key=lambda row: row["val_loss"])["epoch"]
    none = {"parameters": 0, "trainable": 0, "steps": 0, "skipped": [], "stopped": ""}
    about = {"epochs": curves[-1]["epoch"], "best_epoch": best, "seconds": sum(row["seconds"] for row in curves)}
    return outputs, {"model": task.final_baseline(config), **none, **about}
