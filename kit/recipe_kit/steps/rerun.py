"""Repeat a training run from its record alone, and say whether the numbers agree."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..owner.config import make_config
from ..owner.errors import UserError
from ..project import Project, Run
from ..runs import environment
from . import train

MACHINE = ("commit", "python", "platform", "instructions", "threads", "gpu")


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Train with the recorded settings and seed on the same data and split, then compare outputs row by row."""
    old = choose(project, args.run)
    config = make_config(project.task.settings, old["config"], f"the config of {old['id']}").model_dump()
    moved = {setting: value for setting, value in config.items() if value != getattr(project.config, setting)}
    same = project.variant(**moved)
    different = differences(same, old)
    new = train.again(same, argparse.Namespace(**{**vars(args), "allow_multiple": f"rerun of {old['id']}"}))
    run.result |= {"run": old["id"], "again": new["id"], "different": different}
    run.add(agreement(project, old, new, different), show=True)


def choose(project: Project, wanted: str) -> dict[str, Any]:
    """The record to repeat. Raises UserError when it is not a training run, or was made on other data or another split."""
    records = {record["id"]: record for record in project.records("train") if record["result"].get("metrics")}
    if wanted not in records:
        raise UserError(
            f"rerun needs the id of a finished training run, not {wanted!r}; there are: {', '.join(records) or 'none'}"
        )
    return records[wanted]


def differences(project: Project, old: dict[str, Any]) -> list[str]:
    """What is not as it was: parts of the fingerprint, the commit, the machine, versions. Other data or split is refused."""
    now = project.fingerprint
    moved = [key for key in ("data", "split") if old["fingerprint"][key] != now[key]]
    if moved:
        raise UserError(
            f"{old['id']} was trained on other {' and '.join(moved)}; put them back (git checkout {old['environment']['commit'][:10]})"
            " to repeat it"
        )
    here, there = environment(project.root), old["environment"]
    found = [key for key, value in now.items() if old["fingerprint"].get(key) != value]
    found += [key for key in MACHINE if here[key] != there.get(key)]
    found += ["processes"] if old["result"].get("processes", 1) != 1 else []
    return found + [name for name, v in here["libraries"].items() if v != there["libraries"].get(name)]


def agreement(project: Project, old: dict[str, Any], new: dict[str, Any], different: list[str]) -> CheckResult:
    """Equal to the last bit; else within the interval of the old run; else FAIL."""
    folders = [project.root / "runs" / record["id"] for record in (old, new)]
    one, other = (np.load(folder / "outputs.npy", allow_pickle=False) for folder in folders)
    exact = one.shape == other.shape and bool((one == other).all())
    metric = old["result"]["metric"]
    was, now = (record["result"]["metrics"][metric] for record in (old, new))
    inside = was["low"] <= now["value"] <= was["high"]
    how = "the same to the last bit" if exact else f"{now['value']:.6f} instead of {was['value']:.6f}"
    changed = f"; not as it was: {', '.join(different)}" if different else ""
    return check_result(
        "rerun agrees",
        f"{metric} of {new['id']} is {how}{changed}",
        fail=not inside,
        warn=not exact and not different,
        evidence={"was": was["value"], "now": now["value"], "exact": exact},
        low=was["low"],
        high=was["high"],
    )
