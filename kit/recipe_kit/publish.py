"""What a tracker is given beside the curves: the report of a run, the trials of a search, which version of the model serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from .owner.config import LOWER_IS_BETTER
from .owner.engine.files import read_json
from .owner.engine.track import TRACKERS, WandB
from .owner.errors import first_line
from .project import Project, Run
from .terminal import say


def publish(run: Run, page: Path) -> None:
    """Give the tracker the report, which holds every plot: W&B shows it as a panel of a run of its own, MLflow keeps it as
    a file of one; TensorBoard shows no pages."""
    how = {
        "wandb": lambda of: of.run.log({"report": of.wandb.Html(str(page))}),
        "mlflow": lambda of: of.mlflow.log_artifact(str(page)),
    }
    _give(run, "report", how)


def publish_trials(run: Run) -> None:
    """Give the tracker every trial of a search: as a table (W&B, MLflow), or as a line each of the page HPARAMS (TensorBoard)."""
    metric = run.project.config.resolved_metric
    sign = -1 if metric in LOWER_IS_BETTER else 1  # a search knows values of which more is better
    every = [
        {"stage": stage, "state": one["state"], metric: sign * one["value"], **one["params"]}
        for stage, found in run.result["stages"].items()
        for one in found
        if one["value"] is not None
    ]
    frame = pl.DataFrame(every, infer_schema_length=None)
    how = {
        "wandb": lambda of: of.run.log({"trials": of.wandb.Table(frame.columns, frame.rows())}),
        "mlflow": lambda of: of.mlflow.log_table(frame.to_dict(as_series=False), "trials.json"),
        "tensorboard": lambda of: [of.writer.add_hparams(row, {metric: row[metric]}) for row in every],
    }
    _give(run, "trials", how)


def _give(run: Run, what: str, how: dict[str, Callable[[Any], None]]) -> None:
    """Send something through a run of the tracker's own. A tracker that fails is one printed line: what was done stays done."""
    name = run.project.config.tracker
    try:
        if send := how.get(name):
            tracker = TRACKERS[name]({"run": run.id}, run.folder)
            send(tracker)
            tracker.finish({})
    except Exception as error:  # a tracker may raise anything
        say(f"  the tracker did not take the {what}: {type(error).__name__}: {error}")


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
        teller = WandB(facts, version, version.parent)
        artifact = teller.wandb.Artifact("model", "model", metadata=facts)
        for name in ("package.json", *manifest["files"]):
            artifact.add_file(str(version / name), name, skip_cache=True, policy="immutable")
        teller.run.log_artifact(artifact, aliases=["promoted", version.name])
        teller.finish({})
    except Exception as error:  # a tracker may raise anything, and none of it may undo a promote or a rollback
        say(f"  W&B was not told: {type(error).__name__}: {first_line(error)}")
