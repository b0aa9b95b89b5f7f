"""Repeat a training run from its record alone, and say whether the numbers agree."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..owner.config import make_config
from ..owner.errors import UserError
from ..project import Project, Run
from ..runs import environment, git, read_record
from . import train

MACHINE = ("commit", "python", "platform", "instructions", "threads", "gpu")


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Train with the recorded settings and seed on the same data and split, then compare outputs row by row."""
    old = choose(project, args.run)
    config = make_config(project.task.settings, old["config"], f"the config of {old['id']}").model_dump()
    moved = {setting: value for setting, value in config.items() if value != getattr(project.config, setting)}
    same = project.variant(**moved)
    different = differences(same, old)
    commit = "" if old["environment"]["dirty"] or "code" not in different else old["environment"]["commit"]
    with checked_out(project, commit) as root:
        if root:
            project.say(f"  the code is not that of {old['id']}: its commit {commit[:10]} is checked out beside it")
            new, place = trained_there(root, old), root
            different = [key for key in differences(same, old) if key not in ("code", "commit")]
        else:
            new = train.again(same, argparse.Namespace(**{**vars(args), "allow_multiple": f"rerun of {old['id']}"}))
            place = project.root
        run.result |= {"run": old["id"], "again": new["id"], "commit": commit if root else "", "different": different}
        folders = project.root / "runs" / old["id"], place / "runs" / new["id"]
        run.add(agreement(folders, old, new, different), show=True)


@contextmanager
def checked_out(project: Project, commit: str) -> Iterator[Path | None]:
    """The project as it was at a commit, in a worktree of its own, with the data of today; None without such a commit."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "commit"
        if commit:
            git(project.root, "worktree", "add", "--detach", str(place), commit)
        try:
            root = place / git(project.root, "rev-parse", "--show-prefix")
            if there := (root / "recipe.toml").exists():
                top = Path(project.local_config.data).parts[0]  # data/, in which some files may be of the commit
                link(project.root / top, root / top)
            yield root if there else None
        finally:
            if commit:
                git(project.root, "worktree", "remove", "--force", str(place))


def link(path: Path, to: Path) -> None:
    """A link to a file or folder where there is none yet; of a folder that is there, to what it lacks."""
    if not to.exists():
        to.symlink_to(path)
    elif path.is_dir() and not to.samefile(path):
        for inner in path.iterdir():
            link(inner, to / inner.name)


def trained_there(root: Path, old: dict[str, Any]) -> dict[str, Any]:
    """The record of a training with the settings of an old one, by the code below `root`, in a process of its own."""
    settings = (
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in old["config"].items()
        if value is not None
    )
    (root / "recipe.toml").write_text("".join(settings), encoding="utf-8")
    words = ["train", "--quiet", "--force", f"rerun of {old['id']}"]
    paths = os.pathsep.join([str(root / "src"), str(root / "tools" / "recipe_kit"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", __package__.split(".")[0], *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if not (records := sorted((root / "runs").glob("*-train/record.json"))):
        raise UserError(f"the code of that commit does not train any more: {done.stderr.strip()[-300:]}")
    return read_record(records[-1])


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


def agreement(
    folders: tuple[Path, Path], old: dict[str, Any], new: dict[str, Any], different: list[str]
) -> CheckResult:
    """Equal to the last bit; else within the interval of the old run; else FAIL."""
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
