"""Where curves also go: Weights & Biases, MLflow, TensorBoard, or nowhere. A tracker that fails says so once and never stops training."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from .callback import Callback

if TYPE_CHECKING:
    from .resume import Progress

log = logging.getLogger(__name__)
WAIT = "30"  # seconds that W&B may take to begin, and at the end to send what it has not sent


class WandB:
    """Weights & Biases; offline unless WANDB_MODE says otherwise. `wandb sync <folder>` uploads what was not sent.

    The W&B run is named after `subject`, <project>/<any>/<name>, and keeps its files in `folder` (the subject itself).
    """

    def __init__(self, facts: dict[str, Any], subject: Path, folder: Path | None = None) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        # With the network gone it would try for hours. What it could not send lies on disk.
        os.environ.setdefault("WANDB_INIT_TIMEOUT", WAIT)
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", WAIT)
        os.environ.setdefault("WANDB_FINISH_TIMEOUT_RAISES", "true")
        import wandb

        settings = wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True)
        project, where = subject.parents[1].name, str(folder or subject)
        self.wandb = wandb
        self.run = wandb.init(project=project, name=subject.name, dir=where, config=facts, settings=settings)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send one row of a curve."""
        self.run.log(values, step=step)

    def finish(self, summary: dict[str, Any], file: Path | None = None) -> None:
        """Send the final numbers, and a file, and close."""
        self.run.summary.update(summary)
        if file:
            self.run.save(str(file), str(file.parent), "now")
        try:
            self.run.finish()
        except TimeoutError:
            left = self.run.settings.sync_dir
            raise TimeoutError(
                f"W&B did not take everything; send the rest: wandb sync --no-skip-online {left}"
            ) from None


class MLflow:
    """MLflow (`pip install mlflow`): into runs/mlflow.db, or where MLFLOW_TRACKING_URI says. Look at it with
    `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`."""

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        import mlflow

        self.mlflow = mlflow
        mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent / 'mlflow.db'}"))
        name = folder.parents[1].name
        if (
            mlflow.get_experiment_by_name(name) is None
        ):  # artifacts beside the runs, not in the folder one happens to be in
            mlflow.create_experiment(name, artifact_location=(folder.parent / "mlflow").as_uri())
        mlflow.set_experiment(name)
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params(settings)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send one row of a curve."""
        self.mlflow.log_metrics(values, step=step)

    def finish(self, summary: dict[str, Any], file: Path | None = None) -> None:
        """Send the final numbers, and a file, and close."""
        self.mlflow.log_metrics(summary)
        if file:
            self.mlflow.log_artifact(str(file))
        self.mlflow.end_run()


class TensorBoard:
    """TensorBoard (`pip install tensorboard`): event files in the run's folder. Look at them with
    `tensorboard --logdir runs`."""

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]
        self.writer.add_text("settings", "  \n".join(f"{name} = {value!r}" for name, value in settings.items()))  # type: ignore[no-untyped-call]

    def log(self, values: dict[str, Any], step: int) -> None:
        """Write one row of a curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]

    def finish(self, summary: dict[str, Any], file: Path | None = None) -> None:
        """Write the final numbers, and a file as text, and close."""
        if file:
            self.writer.add_text(file.name, file.read_text(encoding="utf-8"))  # type: ignore[no-untyped-call]
        for name, value in summary.items():
            self.writer.add_scalar(f"final/{name}", value)  # type: ignore[no-untyped-call]
        self.writer.close()  # type: ignore[no-untyped-call]


TRACKERS = {"wandb": WandB, "mlflow": MLflow, "tensorboard": TensorBoard}


class Careful(Callback):
    """Any tracker, fed by the loop, with its failures turned into one printed line. prep: the file of the preprocessing."""

    def __init__(self, open_tracker: Any, prep: Path) -> None:
        self.tracker: Any = None
        self.prep = prep
        self._try(lambda: setattr(self, "tracker", open_tracker()))

    def on_epoch(self, progress: Progress) -> None:
        if self.tracker:
            self._try(lambda: self.tracker.log(progress.curves[-1], progress.step))

    def on_end(self, progress: Progress) -> None:
        if self.tracker:
            numbers = {"best_epoch": progress.best_epoch, "best_val_loss": progress.best}
            self._try(lambda: self.tracker.finish(numbers, self.prep))

    def _try(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # a tracker may raise anything, and none of it is worth a training run
            log.warning(f"  tracking is off for this run: {type(error).__name__}: {error}")
            self.tracker = None


def make_tracker(config: Config, folder: Path, facts: dict[str, Any]) -> Callback:
    """The configured tracker of a run that writes to `folder`; `facts` are logged beside the settings. Made before the run is
    seeded: it may draw random numbers of its own."""
    if config.tracker == "none":
        return Callback()
    settings = {**config.model_dump(), **facts}
    return Careful(lambda: TRACKERS[config.tracker](settings, folder), folder / "prep.json")
