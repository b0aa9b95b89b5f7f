"""Going on with a run that was stopped: the state to go on from, saved and put back."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import UserError, first_line
from ..task import Task
from . import checkpoint
from .callback import Callback
from .distributed import SINGLE, Distributed
from .seed import rng_state, set_rng_state

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where training stands: enough, with weights, optimizer and generators, to go on bit for bit.

    batches: micro-batches of this epoch already used. loss_sum, seen: running sum of this epoch's training loss.
    plateau: factor of the plateau schedule. skipped: steps whose gradient was not finite and that were passed over.
    curves: one dict per finished epoch. losses: per epoch the validation loss of each example, float32 [n]; they grow
    with every epoch and are saved as tensors, since as text they would soon take longer than training.
    """

    epoch: int = 0
    step: int = 0
    batches: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    best: float = math.inf
    best_epoch: int = -1
    best_step: int = -1
    plateau: float = 1.0
    stopped: str = ""
    skipped: list[int] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)


@dataclass
class Saved:
    """Whose state is saved. folder: of the run; checkpoints go to folder/checkpoints."""

    folder: Path
    task: Task
    model: nn.Module
    optimizer: Optimizer
    callbacks: Sequence[Callback] = ()
    distributed: Distributed = SINGLE

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def save_last(of: Saved, progress: Progress) -> None:
    """Write everything needed to go on from here, with any number of processes."""
    distributed = of.distributed
    weights, adapted = (
        distributed.full_tensor(of.task.state(of.model)),
        distributed.full_tensor(of.optimizer.state_dict()),
    )
    if distributed.first:
        losses = torch.stack(progress.losses) if progress.losses else torch.empty(0)
        watched = {type(callback).__name__: callback.state() for callback in of.callbacks}
        state = {"optimizer": adapted, "rng": rng_state(), "callbacks": watched, "losses": losses}
        known = {name: value for name, value in vars(progress).items() if name != "losses"}
        checkpoint.save(of.checkpoints, "last", progress.step, weights, known, state)


def save_best(of: Saved, progress: Progress) -> None:
    """Write the weights, the best so far."""
    weights = of.distributed.full_tensor(of.task.state(of.model))
    if of.distributed.first:
        checkpoint.save(of.checkpoints, "best", progress.step, weights, {"epoch": progress.best_epoch})


def restore(of: Saved) -> Progress:
    """Put the newest whole `last` checkpoint of this run back into model, optimizer, generators and callbacks."""
    task, model, optimizer, distributed = of.task, of.model, of.optimizer, of.distributed
    saved = distributed.broadcast(_newest(of.checkpoints) if distributed.first else None)
    try:
        assert saved.state is not None, "it holds no optimizer state"
        progress = _progress({**saved.progress, "losses": list(saved.state["losses"].unbind())})
        task.load_state(model, distributed.distribute_tensor(saved.weights, task.state(model)))
        adapted = saved.state["optimizer"]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        adapted["state"] = distributed.distribute_tensor(adapted["state"], dict(enumerate(parameters)))
        optimizer.load_state_dict(adapted)
        for callback in of.callbacks:
            if watched := saved.state["callbacks"].get(type(callback).__name__):
                callback.load_state(watched)
        set_rng_state(saved.state["rng"])
    except Exception as error:  # whole, but not of this model, or written by somebody else
        why = first_line(error)
        raise UserError(f"{saved.folder} does not fit this run: {why}; start again: recipe train") from None
    log.info(f"  resumed {of.folder.name} at epoch {progress.epoch}, step {progress.step}")
    return progress


def _newest(folder: Path) -> checkpoint.Checkpoint:
    checkpoint.remove_unfinished(folder)
    return checkpoint.load(folder, "last", log.warning)


def _progress(saved: dict[str, Any]) -> Progress:
    """A progress as it was: JSON has no infinity and no NaN, they were written as null."""
    if odd := saved.keys() ^ {f.name for f in fields(Progress)}:
        raise ValueError(f"its progress differs in {', '.join(sorted(odd))}")
    progress = Progress(**saved)
    progress.best = math.inf if progress.best is None else progress.best
    for name, fresh in vars(Progress()).items():
        if not isinstance(value := getattr(progress, name), int | float if isinstance(fresh, float) else type(fresh)):
            raise ValueError(f"its {name} is {value!r}")
    progress.curves = [{k: math.nan if v is None else v for k, v in row.items()} for row in progress.curves]
    return progress
