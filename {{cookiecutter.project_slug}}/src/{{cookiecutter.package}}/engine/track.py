"""Where curves also go: Weights & Biases, or nowhere. A tracker that fails says so once and never stops training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from ..config import Config
from .project import Run
from .terminal import say


class Tracker(Protocol):
    """What the loop needs of a tracker."""

    def log(self, values: dict[str, Any], step: int) -> None: ...

    def finish(self, summary: dict[str, Any]) -> None: ...


class Nothing:
    """The null tracker."""

    def log(self, values: dict[str, Any], step: int) -> None:
        """Forget the values."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Nothing to close."""


class WandB:
    """Weights & Biases; offline unless WANDB_MODE says otherwise. `wandb sync <folder>` uploads an offline run."""

    def __init__(self, config: Config, folder: Path, extra: dict[str, Any]) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        settings = wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True)
        self.run = wandb.init(
            project=folder.parents[1].name,
            name=folder.name,
            dir=str(folder),
            config={**config.model_dump(), **extra},
            settings=settings,
        )

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send one row of a curve."""
        self.run.log(values, step=step)

    def finish(self, summary: dict[str, Any]) -> None:
        """Send the final numbers and close."""
        self.run.summary.update(summary)
        self.run.finish()


class Careful:
    """Any tracker, with its failures turned into one printed line."""

    def __init__(self, open_tracker: Any) -> None:
        self.tracker: Tracker = Nothing()
        self._try(lambda: setattr(self, "tracker", open_tracker()))

    def log(self, values: dict[str, Any], step: int) -> None:
        """Pass on, or give up on tracking."""
        self._try(lambda: self.tracker.log(values, step))

    def finish(self, summary: dict[str, Any]) -> None:
        """Pass on, or give up on tracking."""
        self._try(lambda: self.tracker.finish(summary))

    def _try(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # a tracker may raise anything, and none of it is worth a training run
            say(f"  tracking is off for this run: {type(error).__name__}: {error}")
            self.tracker = Nothing()


def make_tracker(run: Run) -> Tracker:
    """The configured tracker of a run; the run's fingerprint is logged beside the knobs."""
    config = run.project.config
    if config.tracker == "none":
        return Nothing()
    return Careful(lambda: WandB(config, run.folder, {"fingerprint": run.project.fingerprint, "run": run.id}))
