"""Where curves also go: Weights & Biases, MLflow, TensorBoard, or nowhere. A tracker that fails says so once and never stops training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from ..errors import first_line
from .files import read_json
from .project import Project, Run, environment
from .terminal import say

WAIT = "30"  # seconds that W&B may take to begin, and at the end to send what it has not sent


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
        self.run = wandb.init(project=project, name=subject.name, dir=where, config=facts, settings=settings)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send one row of a curve."""
        self.run.log(values, step=step)

    def finish(self, summary: dict[str, Any]) -> None:
        """Send the final numbers and close."""
        self.run.summary.update(summary)
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

    def finish(self, summary: dict[str, Any]) -> None:
        """Send the final numbers and close."""
        self.mlflow.log_metrics(summary)
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

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the final numbers and close."""
        for name, value in summary.items():
            self.writer.add_scalar(f"final/{name}", value)  # type: ignore[no-untyped-call]
        self.writer.close()  # type: ignore[no-untyped-call]


TRACKERS = {"wandb": WandB, "mlflow": MLflow, "tensorboard": TensorBoard}


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
    """The configured tracker of a run; fingerprint, commit and versions are logged beside the settings."""
    project = run.project
    if project.config.tracker == "none" or not project.distributed.first:
        return Nothing()
    made = environment(project.root)
    facts = {"run": run.id, **{f"hash_{k}": v for k, v in project.fingerprint.items()}, "commit": made["commit"]}
    versions = {f"version_{name}": version for name, version in made["libraries"].items() if version}
    settings = {**project.config.model_dump(), **facts, **versions}
    return Careful(lambda: TRACKERS[project.config.tracker](settings, run.folder))


def publish(run: Run, page: Path) -> None:
    """Give the tracker the report, which holds every plot: W&B shows it as a panel of a run of its own, MLflow keeps it as
    a file of one; TensorBoard shows no pages. A tracker that fails is one printed line."""
    tracker = run.project.config.tracker
    try:
        if tracker == "wandb":
            import wandb

            panel = WandB({"run": run.id}, run.folder)
            panel.run.log({"report": wandb.Html(str(page))})
            panel.finish({})
        elif tracker == "mlflow":
            tracked = MLflow({"run": run.id}, run.folder)
            tracked.mlflow.log_artifact(str(page))
            tracked.finish({})
    except Exception as error:  # a tracker may raise anything, and the page is written
        say(f"  the tracker did not take the report: {type(error).__name__}: {error}")


TOLD = ("run", "name", "task", "target", "metric", "metrics", "tested", "split", "data", "commit", "exported")


def mirror(project: Project, version: Path, action: str) -> None:
    """Tell W&B which version of the model serves: artifact "model", with the aliases "promoted" and the version's name.

    It holds the files of the version and no others. Offline it is kept in models/wandb/ as hashes, and `wandb sync` takes
    the files from where they lie. A W&B that fails is one printed line: what serves is settled before.
    """
    if project.config.tracker != "wandb":
        return
    try:
        manifest = read_json(version / "package.json", "the manifest of a model package", "export again")
        facts = {"action": action, "version": version.name, **{name: manifest[name] for name in TOLD}}
        import wandb

        artifact = wandb.Artifact("model", "model", metadata=facts)
        for name in ("package.json", *manifest["files"]):
            artifact.add_file(str(version / name), name, skip_cache=True, policy="immutable")
        teller = WandB(facts, version, version.parent)
        teller.run.log_artifact(artifact, aliases=["promoted", version.name])
        teller.finish({})
    except Exception as error:  # a tracker may raise anything, and none of it may undo a promote or a rollback
        say(f"  W&B was not told: {type(error).__name__}: {first_line(error)}")
