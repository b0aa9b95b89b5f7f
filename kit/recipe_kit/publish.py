"""What a tracker is given beside the curves: the report of a run, and which version of the model serves."""

from __future__ import annotations

from pathlib import Path

from .owner.engine.files import read_json
from .owner.engine.track import MLflow, WandB
from .owner.errors import first_line
from .project import Project, Run
from .terminal import say


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
