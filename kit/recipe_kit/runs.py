"""What is known of a run: its record.json, and the commit, versions and hardware that made it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .owner.engine.files import read_json
from .owner.errors import UserError

LIBRARIES = ("torch", "torchvision", "transformers", "peft", "numpy", "polars", "scikit-learn", "lightgbm", "pydantic")
TAME = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.pager=cat", "core.sshCommand=false")
OWN = ("system", "global", "command")  # settings of git that are the user's and not the folder's


def read_record(path: Path) -> dict[str, Any]:
    """A finished run's record. Raises UserError when it is not one that a step wrote there."""
    fix = "restore it, or delete that run's folder"
    record = read_json(path, "a run's record", fix)
    kinds: dict[str, type] = dict.fromkeys(("id", "step", "started", "status"), str)
    kinds |= dict.fromkeys(("fingerprint", "config", "result"), dict) | dict.fromkeys(("forced", "findings"), list)
    odd = [k for k, kind in kinds.items() if not isinstance(record, dict) or not isinstance(record.get(k), kind)]
    if odd or record["id"] != path.parent.name:
        raise UserError(f"{path} is no record of {path.parent.name}: look at its {odd[0] if odd else 'id'}; {fix}")
    return record


def environment(root: Path) -> dict[str, Any]:
    """Commit, versions and hardware of this run. Threads, the processor's instructions (which decide how sums are rounded)
    and the GPU are named only when torch is loaded already."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "commit": git(root, "rev-parse", "HEAD"),
        "dirty": bool(git(root, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "instructions": torch.backends.cpu.get_cpu_capability() if torch else None,
        "threads": torch.get_num_threads() if torch else None,
        "gpu": gpu,
        "libraries": {name: library_version(name) for name in LIBRARIES},
    }


def git(root: Path, *words: str) -> str:
    """What a git command in `root` prints; '' where there is no git, no repository or no answer.

    A folder may come from somebody else: no program that its own git config names is run, and nothing is fetched.
    """
    listed = _git(root, TAME, "config", "-z", "--show-scope", "--name-only", "--get-regexp", r"^filter\.").split("\0")
    filters = [f"{name}=" for scope, name in zip(listed[::2], listed[1::2], strict=False) if scope not in OWN]
    return _git(root, (*TAME, *filters), *words).strip("\n")


def _git(root: Path, settings: Sequence[str], *words: str) -> str:
    given = [word for setting in settings for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", *given, "-C", str(root), *words],
            env={**os.environ, "GIT_ALLOW_PROTOCOL": "none", "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def library_version(name: str) -> str | None:
    """Version of an installed library, None when it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
