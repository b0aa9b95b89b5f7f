"""Read the curves of a training run: what ails it, on what evidence, and the one experiment to do next."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import experiments
from ..adopted import loss_of
from ..checks.check_result import CheckResult
from ..checks.diagnosis import Evidence, diagnose, peaks
from ..owner.config import make_config
from ..owner.engine import calibration, metrics
from ..owner.engine.baseline import trivial
from ..owner.engine.files import read_json
from ..owner.engine.losses import expected_initial_loss
from ..owner.engine.truth import saved_truth
from ..owner.errors import UserError
from ..owner.task import Batch
from ..project import Project, Run

AGAIN = "train again: recipe train"
LARGER = "name a larger model in recipe.toml, or write one in model.py; then: recipe check && recipe train"


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Diagnose the named run, else the newest; runs made since may add evidence that the run itself did not have."""
    record = choose(project, args.run)
    project.say(f"  {record['id']}")
    found, evidence = findings(project, project.root / "runs" / record["id"], record["config"], record["result"])
    for one in found:
        run.add(one)
    run.result |= {"run": record["id"], "diagnoses": [one.check for one in found], "evidence": asdict(evidence)}


def choose(project: Project, wanted: str) -> dict[str, Any]:
    """The record of the run to diagnose: a network, finished or stopped by a number that was none."""
    records = [r for r in project.records("train") if r["result"].get("model", "network") == "network"]
    chosen = [r for r in records if r["id"] == wanted] if wanted else records[-1:]
    if not chosen:
        there = ", ".join(r["id"] for r in records) or "none; run: recipe train"
        raise UserError(f"there is no trained network {wanted or 'yet'}; there are: {there}")
    return chosen[0]


def findings(
    project: Project, folder: Path, config: dict[str, Any], result: dict[str, Any]
) -> tuple[list[CheckResult], Evidence]:
    """The diagnoses of a run from its folder, its config and its result, with the evidence they rest on."""
    if project.adopted:  # its loop has settings of its own
        curves = read_json(folder / "curves.json", "the curves of a run", AGAIN)
        config = {**config, "epochs": len(curves), "lr": max(row["lr"] for row in curves)}
    evidence = gather(project, folder, config, result)
    return diagnose(evidence, experiments_to_try(project, config)), evidence


def gather(project: Project, folder: Path, config: dict[str, Any], result: dict[str, Any]) -> Evidence:
    """Everything the rules look at, as plain numbers."""
    typed = make_config(project.task.settings, config, f"the config of {folder.name}")
    prep = read_json(folder / "prep.json", "the preprocessing of a run", AGAIN)
    start = expected_initial_loss(typed, prep)
    curves = read_json(folder / "curves.json", "the curves of a run", AGAIN) if result.get("metrics") else []
    columns = {k: [row[k] for row in curves] for k in ("train_loss", "val_loss", "lr", "seconds", "loader_seconds")}
    waited = columns.pop("loader_seconds")
    common: dict[str, Any] = {**columns, "waited": waited, "epochs": typed.epochs}
    if not curves:
        return Evidence(start or 1.0, best_epoch=-1, early=False, finite=False, **common)
    losses = np.load(folder / "losses.npy", allow_pickle=False).astype(np.float64)
    best, n, against = result["best_epoch"], len(losses), result.get("against_baseline")
    baseline = project.current("baseline") or {"findings": []}  # whether a simple model beats the trivial one
    signal = next((f for f in baseline["findings"] if f["check"] == "signal"), None)
    doubled = project.current("learning_curve", ("data", "split", "model"))
    return Evidence(
        start=start or float(columns["val_loss"][0]), best_epoch=best, early=result["stopped"] != "all epochs done",
        rise=_paired(losses[-1] - losses[best]), worth=_paired(_worth(project, typed, prep, folder)),
        gain=_paired(losses[min(int(0.6 * n), n - 2)] - losses[-1]) if n >= 2 else (0.0, 0.0),
        dead=result.get("dead_units"), updates=_updates(folder),
        calibration=_calibration(project, typed, prep, folder),
        baseline=metrics.gain(typed.resolved_metric, against) if against else None,
        signal=signal["verdict"] == "PASS" if signal else None, bigger=_bigger(project, config, prep),
        more_data=list(doubled["result"]["gained"]["data"].values()) if doubled else None,
        gained=metrics.gain(typed.resolved_metric, signal["evidence"])["value"] if signal else None,
        peaks=peaks(losses), lr_found=_lr_found(project, typed.optimizer), **common,
    )  # fmt: skip


def _paired(difference: np.ndarray) -> tuple[float, float]:
    return float(difference.mean()), float(difference.std() / max(len(difference), 1) ** 0.5)


def _worth(project: Project, config: Any, prep: dict[str, Any], folder: Path) -> np.ndarray:
    """Loss of the trivial predictor minus that of the kept model, for each validation row [n]."""
    outputs, (y, query, _) = np.load(folder / "outputs.npy", allow_pickle=False), saved_truth(folder)
    nothing = next(iter(trivial(config, prep, y, len(y)).values()))
    truth = Batch(None, torch.from_numpy(y), torch.arange(len(y)), None if query is None else torch.from_numpy(query))
    loss = loss_of(config, project.task, prep)
    each = [loss(torch.from_numpy(values), truth).numpy() for values in (nothing, outputs)]
    return np.asarray(each[0] - each[1], dtype=np.float64)


def _updates(folder: Path) -> float | None:
    """Median relative movement of the weight tensors over the later half of the sampled steps."""
    path = folder / "gradients.json"
    layers = read_json(path, "the gradients of a run", AGAIN)["layers"] if path.exists() else {}
    late = [value for layer in layers.values() for value in layer["update"][len(layer["update"]) // 2 :]]
    return float(np.median(late)) if late else None


def _calibration(project: Project, config: Any, prep: dict[str, Any], folder: Path) -> dict[str, float]:
    if not prep["classes"]:
        return {}
    outputs, y = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("outputs", "y"))
    probability, y = metrics.class_probabilities(outputs), y.astype(int)
    return {
        "confidence": float(probability.max(axis=1).mean()),
        "right": float((probability.argmax(axis=1) == y).mean()),
        "ece": calibration.ece(probability, y),
        "ece_null": calibration.ece_null(probability),
    }


def _lr_found(project: Project, optimizer: str) -> list[float] | None:
    """The range that recipe lr-find found for this model, loss and optimizer; None where it was not asked."""
    records = project.made_under("lr_find", project.fingerprint, ("data", "split", "preprocessing", "model", "loss"))
    found = [r["result"] for r in records if r["config"]["optimizer"] == optimizer and "low" in r["result"]]
    return [found[-1]["low"], found[-1]["high"]] if found else None


def _bigger(project: Project, config: dict[str, Any], prep: dict[str, Any]) -> list[float] | None:
    """What the larger model gained, when a run with just that change is there."""
    larger = project.task.larger(make_config(project.task.settings, config, "the config of this run"))
    runs = experiments.finished(project)
    mine = [r for r in runs if not experiments.changes(r["config"], config)]
    theirs = [r for r in runs if larger and not experiments.changes(r["config"], {**config, **larger})]
    if not mine or not theirs:
        return None
    found = experiments.compare(project, theirs[-1], mine[-1], prep)
    return list(metrics.gain(project.config.resolved_metric, found).values())


def experiments_to_try(project: Project, config: dict[str, Any]) -> dict[str, Any]:
    """What the `next` sentences of the diagnoses are filled in with: settings of this modality, changed one at a time."""
    typed = make_config(project.task.settings, config, "the config of this run")
    bigger = experiments.words(project.task.larger(typed))
    regularize = (
        {"dropout": 0.3} if config.get("dropout") == 0 else {"weight_decay": min(10 * typed.weight_decay or 1e-2, 0.3)}
    )
    return {
        "lr": typed.lr, "lower": typed.lr / 10, "third": typed.lr / 3, "double": 2 * typed.batch_size,
        "clip": (typed.clip or 2.0) / 2, "epochs": typed.epochs, "more_epochs": 2 * typed.epochs,
        "workers": typed.workers, "more_workers": max(2, 2 * typed.workers),
        "anneal": "schedule=cosine" if typed.schedule == "constant" else f"lr={typed.lr / 3:g}",
        "try_bigger": f"recipe check {bigger} && recipe train {bigger}" if bigger else LARGER,
        "regularize": experiments.words(regularize),
    }  # fmt: skip
