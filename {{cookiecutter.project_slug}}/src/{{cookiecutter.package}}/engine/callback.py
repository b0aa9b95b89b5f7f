"""What watches a training run from outside: `fit` calls these methods, and knows nothing of who listens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..formatting import number

if TYPE_CHECKING:
    from torch import nn

    from .loop import NonFinite
    from .losses import Loss
    from .resume import Progress

log = logging.getLogger(__name__)


class Callback:
    """Every method does nothing unless it is overridden. Of several processes each calls its own, but for `on_end`.

    A method may raise: that ends the run. `state` goes into the `last` checkpoint and comes back through `load_state`.
    """

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        """Before the first step; steps: optimizer steps planned for the whole run."""

    def on_gradients(self, step: int) -> None:
        """Between the backward pass and clipping; gradients are those of the whole step."""

    def on_step(self, step: int) -> None:
        """After the update of `step`, counted from 0."""

    def on_nonfinite(self, broken: NonFinite, step: int) -> None:
        """Loss or gradient is not finite; the step was not taken, and is skipped or ends the run."""

    def columns(self) -> dict[str, float]:
        """What it adds to the epoch's row of the curves."""
        return {}

    def on_epoch(self, progress: Progress) -> None:
        """After an epoch was validated and saved; its row is progress.curves[-1]."""

    def on_end(self, progress: Progress) -> None:
        """After the last epoch, in the first process."""

    def state(self) -> dict[str, Any]:
        """What it needs to go on after the run was stopped."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""


class EpochLines(Callback):
    """One line per epoch."""

    def __init__(self, config: Config) -> None:
        self.metric = config.resolved_metric

    def on_epoch(self, progress: Progress) -> None:
        row = progress.curves[-1]
        log.info(
            f"  epoch {row['epoch']:>3}  train {row['train_loss']:.4f}  val {row['val_loss']:.4f}  {self.metric} {number(row['val_metric'])}"
            f"  lr {row['lr']:.1e}  {row['seconds']:.1f} s{'  best' if row['epoch'] == progress.best_epoch else ''}"
        )
