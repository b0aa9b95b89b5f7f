"""One trial: generate, inject, run the recipe step by step, score the model honestly, and write down what was found."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bases import Base, encoder, recipe
from fault import Edit, Strength, apply_code

STEPS = ("audit", "split", "baseline", "check", "lr-find", "train", "evaluate")
LIGHT = ("split", "train")
SERVICE = ("split", "train", "export")  # then `predict` and `monitor` on rows the project never saw
PACKAGE = "project"
# In every trial, sound or not. Fewer and larger steps make the competitor cheap. Pictures of 16 pixels need no ResNet.
CHEAP = {
    "tabular": (Edit("tabular/baseline.py", '"learning_rate": 0.05', '"learning_rate": 0.2'),),
    "image": (
        Edit(
            "image/model.py",
            "Classifier(*load_backbone(config), config.dropout",
            "Classifier(small(config), 32, config.dropout",
        ),
        Edit(
            "image/model.py",
            "def depth(name: str)",
            "def small(config: Config) -> nn.Module:\n"
            "    norm = nn.BatchNorm2d if config.norm == 'batch' else (lambda n: nn.GroupNorm(4, n))\n"
            "    first = [nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), norm(16), nn.ReLU()]\n"
            "    second = [nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), norm(32), nn.ReLU()]\n"
            "    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten())\n\n\n"
            "def depth(name: str)",
        ),
    ),
    "text": (),
    "sequence": (Edit("sequence/baseline.py", '"learning_rate": 0.05', '"learning_rate": 0.2'),),
}
# What a fault may touch without changing what audit, split and baseline find: those are then taken from the control.
LATE_FILES = {
    "engine/loop.py", "engine/losses.py", "engine/optim.py", "engine/resume.py", "engine/seed.py", "engine/evaluate.py",
    "image/model.py", "engine/train.py", "steps/evaluate.py", "steps/train.py", "tabular/model.py", "text/model.py", "sequence/model.py",
}  # fmt: skip
LATE_SETTINGS = {"batch_size", "clip", "dropout", "hidden", "lr", "model", "norm", "patience", "warmup", "weight_decay"}
KEPT = ("data", "runs", "encoder", "split.json", "EXPERIMENTS.jsonl")


def late(fault: Strength) -> bool:
    """Whether the steps before `check` cannot see this fault."""
    edits = {edit.file for edit in fault.code}
    return fault.data is None and edits <= LATE_FILES and fault.settings.keys() <= LATE_SETTINGS


def trial(
    baked: Path,
    folder: Path,
    base: Base,
    fault: Strength,
    seed: int,
    light: bool = False,
    start: Path | None = None,
    steps: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run one faulty (or, with an empty fault, sound) project in `folder`; returns what every step found.

    This changes the working folder and imports the generated package: call it in a process of its own. Gates are passed
    with --force, so that every step gets its chance to find the fault. steps: those to run; () = all. start: where the control leaves what it had before
    `check`, and where a late fault takes it from; audit, split and baseline would find the same.
    """
    shutil.copytree(baked, folder)
    package = folder / "src" / PACKAGE
    apply_code(package, (*CHEAP[base.modality], *fault.code))
    random = np.random.default_rng([seed, 7])
    rows, held = base.rows(random)
    if fault.data:
        rows = fault.data(rows, random)
    (folder / "data").mkdir(exist_ok=True)
    base.write(rows, folder / "data" / "train.csv")
    settings = {**base.settings, "task": base.task, "seed": seed, "split_seed": seed, **fault.settings}
    settings = {name: value for name, value in settings.items() if value is not None}
    if "encoder" in settings:
        encoder(folder / settings["encoder"])
    (folder / "recipe.toml").write_text(recipe((folder / "recipe.toml").read_text(), settings))
    os.chdir(folder)
    sys.path[:0] = [str(folder / "src"), str(folder / "tools" / "recipe_kit")]
    todo = list(steps or (SERVICE if base.service else LIGHT if light else STEPS))
    if fault.code or fault.data:  # the range test reads the rate: faults of other kinds have had their checks before it
        todo = [step for step in todo if step != "lr-find"]
    if start and start.exists() and not light:
        copy(start, folder)
        todo = todo[todo.index("check") :]
    done = []
    for step in todo:
        if step == "check" and start and not start.exists():
            copy(folder, start)
        done.append(run(step, []))
    for words in () if light else fault.then:
        if words[0] == "git":
            uncommitted(package)
        else:
            done.append(run(words[0], list(words[1:]), gated=True))
    if base.service:
        done += served(base, fault, held, package, random)
    return {
        "seed": seed,
        "light": light,
        "steps": done,
        "honest": guarded(lambda: honest(base, held)),
        "finite": guarded(finite),
        "linear": guarded(linear),
    }


def served(
    base: Base, fault: Strength, held: pl.DataFrame, package: Path, random: np.random.Generator
) -> list[dict[str, Any]]:
    """The exported model is asked about new rows, `held` as the fault leaves them, and watched on them.

    The code is loaded anew in between, since a server starts from what lies there by then.
    """
    base.write(fault.served(held, random) if fault.served else held, Path("data/new.csv"))
    apply_code(package, fault.deployed)
    for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "recipe_kit")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return [run(step, ["data/new.csv"], gated=True) for step in ("predict", "monitor")]


def copy(source: Path, target: Path) -> None:
    """Copy what the steps before `check` left behind; whole or not at all when the target is new."""
    place = target if target.exists() else target.with_name(f".{target.name}.{os.getpid()}")
    for name in KEPT:
        if (source / name).is_dir():
            shutil.copytree(source / name, place / name, dirs_exist_ok=True)
        elif (source / name).exists():
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, place / name)
    if place != target:
        os.replace(place, target)


def run(step: str, words: list[str], gated: bool = False) -> dict[str, Any]:
    """One command, in this process. outcome: done, refused (a UserError) or crashed; findings as in its record."""
    cli = importlib.import_module("recipe_kit.cli")
    errors = importlib.import_module(f"{PACKAGE}.errors")
    began = time.perf_counter()
    arguments = [step, *words, "--quiet", *([] if gated else ["--force", "scored"])]
    before = set(Path("runs").glob("*/record.json"))
    said, outcome = "", "done"
    try:
        args: argparse.Namespace = cli.parse(arguments)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            cli._dispatch(args)
    except errors.UserError as error:
        outcome, said = "refused", str(error)
    except errors.Stopped:  # somebody stopped the benchmark, not the fault
        raise
    except Exception:
        outcome, said = "crashed", traceback.format_exc()[-600:]
    new = sorted(set(Path("runs").glob("*/record.json")) - before)
    new += [Path("monitor/monitor.json")] if step == "monitor" and outcome == "done" else []
    record = json.loads(new[-1].read_text()) if new else {"findings": []}
    findings = [
        {
            "check": f["check"],
            "verdict": f["verdict"],
            "groups": [cause["group"] for cause in f["causes"]],
            "seconds": f["seconds"],
            "observed": f["observed"] if f["verdict"] in ("WARN", "FAIL") else "",
        }
        for f in record["findings"]
    ]
    seconds = round(time.perf_counter() - began, 2)
    return {"step": step, "outcome": outcome, "said": said, "seconds": seconds, "findings": findings}


def uncommitted(package: Path) -> None:
    """Put the project under version control, then change its code."""
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "a"],
    ):
        subprocess.run(["git", *words], check=True)
    with (package / "engine" / "loop.py").open("a") as file:
        file.write("\n# tried something\n")


def guarded(measure: Callable[[], Any]) -> Any:
    """The value, or None where the faulty project cannot give it."""
    try:
        return measure()
    except Exception:
        return None


def _records(step: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("runs").glob(f"*-{step}/record.json"))]


def honest(base: Base, held: pl.DataFrame) -> float | None:
    """Accuracy, AUC (binary) or minus the RMSE of the trained model on rows the project never saw; higher is better.

    The faulty project encodes the rows and applies its own model, since that is what would be deployed; the score is
    computed here.
    """
    cli, fitted = (importlib.import_module(name) for name in ("recipe_kit.cli", f"{PACKAGE}.engine.fitted"))
    base.write(held, Path("data/held.csv"))
    project = cli.open_project(cli.parse(["train", "data=data/held.csv", "--quiet"]))
    record = [r for r in _records("train") if "metrics" in r["result"]][-1]
    model = fitted.load_fitted(project, record)
    outputs, _ = model.outputs(project.data)
    truth = project.data.frame[project.config.target]
    if project.config.task == "regression":
        prediction = outputs[:, 0] * model.prep["target_scale"] + model.prep["target_mean"]
        return -float(np.sqrt(np.mean((prediction - truth.to_numpy()) ** 2)))
    y = np.array([str(value) for value in truth])
    classes = np.array(model.prep["classes"])
    if outputs.shape[1] > 1:
        return float((classes[outputs.argmax(axis=1)] == y).mean())
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y == classes[1], outputs[:, 0]))


def finite() -> bool:
    """Whether training went through without a loss or gradient that is not a number."""
    train = _records("train")[-1]
    return all(f["check"] != "finite training" or f["verdict"] == "PASS" for f in train["findings"])


def linear() -> bool:
    """Whether the network is significantly worse than the linear baseline, by the project's own paired interval."""
    metrics = importlib.import_module(f"{PACKAGE}.engine.metrics")
    cli = importlib.import_module("recipe_kit.cli")
    project = cli.open_project(cli.parse(["train", "--quiet"]))
    baseline, train = _records("baseline")[-1], [r for r in _records("train") if "metrics" in r["result"]][-1]
    names = ("logistic", "ridge", "tfidf", "pixels")
    name = next(name for name in baseline["result"]["baselines"] if name in names)
    ours, truth = (np.load(f"runs/{train['id']}/{what}.npy") for what in ("outputs", "y"))
    theirs = np.load(f"runs/{baseline['id']}/outputs-{name}.npy")
    prep = json.loads(Path(f"runs/{train['id']}/prep.json").read_text())
    low, high = (metrics.difference(project.config, prep, ours, theirs, metrics.Truth(truth))[side] for side in ("low", "high"))
    lower = project.config.resolved_metric in ("rmse", "mae", "log_loss")
    return low > 0 if lower else high < 0
