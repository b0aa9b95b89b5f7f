"""Going on with a run that was stopped: which one, whether everything is still as it was, and the state to go on from."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import UserError, first_line
from . import checkpoint
from .files import read_json
from .project import LIBRARIES, Project, Run, code_files, library_version
from .seed import rng_state, set_rng_state
from .step_monitor import StepMonitor

STARTED = "started.json"  # what a run was started with, so that resuming can tell what changed


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


def save_last(
    project: Project, run: Run, model: nn.Module, optimizer: Optimizer, progress: Progress, monitor: StepMonitor
) -> None:
    """Write everything needed to go on from here, with any number of processes."""
    distributed = project.distributed
    weights, adapted = (
        distributed.full_tensor(project.task.state(model)),
        distributed.full_tensor(optimizer.state_dict()),
    )
    if distributed.first:
        losses = torch.stack(progress.losses) if progress.losses else torch.empty(0)
        state = {"optimizer": adapted, "rng": rng_state(), "monitor": monitor.state(), "losses": losses}
        known = {name: value for name, value in vars(progress).items() if name != "losses"}
        checkpoint.save(run.folder / "checkpoints", "last", progress.step, weights, known, state)


def save_best(project: Project, run: Run, model: nn.Module, progress: Progress) -> None:
    """Write the weights, the best so far."""
    weights = project.distributed.full_tensor(project.task.state(model))
    if project.distributed.first:
        epoch = {"epoch": progress.best_epoch}
        checkpoint.save(run.folder / "checkpoints", "best", progress.step, weights, epoch)


def restore(project: Project, run: Run, model: nn.Module, optimizer: Optimizer, monitor: StepMonitor) -> Progress:
    """Put the newest whole `last` checkpoint of this run back into model, optimizer, generators and monitor."""
    task, distributed = project.task, project.distributed
    saved = distributed.broadcast(_newest(project, run) if distributed.first else None)
    try:
        assert saved.state is not None, "it holds no optimizer state"
        progress = _progress({**saved.progress, "losses": list(saved.state["losses"].unbind())})
        task.load_state(model, distributed.distribute_tensor(saved.weights, task.state(model)))
        adapted = saved.state["optimizer"]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        adapted["state"] = distributed.distribute_tensor(adapted["state"], dict(enumerate(parameters)))
        optimizer.load_state_dict(adapted)
        monitor.load_state(saved.state["monitor"])
        set_rng_state(saved.state["rng"])
    except Exception as error:  # whole, but not of this model, or written by somebody else
        why = first_line(error)
        raise UserError(f"{saved.folder} does not fit this run: {why}; start again: recipe train") from None
    project.say(f"  resumed {run.id} at epoch {progress.epoch}, step {progress.step}")
    return progress


def _newest(project: Project, run: Run) -> checkpoint.Checkpoint:
    checkpoint.remove_unfinished(run.folder / "checkpoints")
    return checkpoint.load(run.folder / "checkpoints", "last", project.say)


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


def started(project: Project) -> dict[str, Any]:
    """All that a run depends on: hashes to compare, and the values behind them to say what differs."""
    return {
        "fingerprint": project.fingerprint,
        "config": project.config.model_dump(),
        "overrides": project.overrides,
        "data": {"sha256": project.data.sha256[:16], "rows": len(project.data)},
        "code": {
            name: sha256(path.read_bytes()).hexdigest()[:16] for name, path in code_files(project.config.modality)
        },
        "libraries": {name: library_version(name) for name in LIBRARIES},
    }


def stopped(project: Project, step: str) -> list[Path]:
    """Folders of runs of `step` that were begun, saved something and did not end; oldest first."""
    folders = [p for p in sorted((project.root / "runs").glob(f"*-{step}")) if not (p / "record.json").exists()]
    return [p for p in folders if (p / STARTED).exists() and any((p / "checkpoints").glob("last-*"))]


def reopen(project: Project, step: str, wanted: str = "", auto: bool = False) -> Run | None:
    """The stopped run to go on with: the one called `wanted`, else the newest. With `auto` the newest that was started
    with the same data, settings and code, or None where there is none.

    Raises UserError when there is none, or when something it depends on has changed since, with the difference.
    """
    folders = [p for p in stopped(project, step) if wanted in ("", p.name)]
    if not folders:
        if auto and not wanted:
            return None
        name = f"{wanted} is not a" if wanted else "there is no"
        raise UserError(f"{name} stopped {step} run with a checkpoint; start one with: recipe {step}")
    for folder in reversed(folders):
        before = read_json(folder / STARTED, "what a run was started with", f"start again: recipe {step}")
        changed = difference(before, started(project))
        if not changed:
            _say_libraries(project, before)
            return Run(project, step, folder, resumed=True)
        if not auto:
            settings = "".join(f" {shlex.quote(f'{k}={v}')}" for k, v in _overrides(before).items())
            raise UserError(
                f"{folder.name} cannot go on: {'; '.join(changed)}; put that back (recipe {step}{settings} --resume), or"
                f" start again: recipe {step}"
            )
        project.say(f"  {folder.name} was stopped too, but {'; '.join(changed)}: it is left alone")
    return None


def difference(before: Any, now: dict[str, Any]) -> list[str]:
    """What differs between two `started`, each in words with both values; empty when all hashes agree."""
    try:
        groups = [name for name, value in now["fingerprint"].items() if before["fingerprint"].get(name) != value]
        if not groups:
            return []
        settings = now["config"].keys() | before["config"].keys()
        pairs = [(k, before["config"].get(k), now["config"].get(k)) for k in sorted(settings) if k != "tracker"]
        words = [f"{name} was {old!r} and is {new!r}" for name, old, new in pairs if old != new]
        if before["data"] != now["data"]:
            rows = f"{before['data']['rows']:,} rows, now {now['data']['rows']:,}"
            words.append(f"the data changed ({rows}; sha256 {before['data']['sha256']}, now {now['data']['sha256']})")
        names = sorted(before["code"].keys() | now["code"].keys())
        code = [name for name in names if before["code"].get(name) != now["code"].get(name)]
    except (AttributeError, KeyError, TypeError, ValueError):
        return [f"its {STARTED} was edited or is of another version"]
    if code:
        words.append(f"the code changed ({', '.join(code[:5])}{', ...' if len(code) > 5 else ''})")
    return words or [f"{', '.join(groups)} changed"]


def _overrides(before: dict[str, Any]) -> dict[str, Any]:
    return before["overrides"] if isinstance(before, dict) and isinstance(before.get("overrides"), dict) else {}


def _say_libraries(project: Project, before: dict[str, Any]) -> None:
    """Another version of a library is no reason to refuse, but the last bits may differ."""
    old, new = before.get("libraries"), {name: library_version(name) for name in LIBRARIES}
    old = old if isinstance(old, dict) else {}
    if changed := [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]:
        project.say(f"  since it was stopped: {', '.join(changed)}; results may differ in the last bits")
