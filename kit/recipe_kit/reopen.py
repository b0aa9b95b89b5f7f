"""Which stopped run to go on with, and whether everything that it depends on is still as it was."""

from __future__ import annotations

import shlex
from hashlib import sha256
from pathlib import Path
from typing import Any

from .owner.engine.files import read_json
from .owner.engine.fingerprint import code_files
from .owner.errors import UserError
from .project import Project, Run
from .runs import LIBRARIES, library_version

STARTED = "started.json"  # what a run was started with, so that resuming can tell what changed


def started(project: Project) -> dict[str, Any]:
    """All that a run depends on: hashes to compare, and the values behind them to say what differs."""
    return {
        "fingerprint": project.fingerprint,
        "config": project.config.model_dump(),
        "overrides": project.overrides,
        "data": {"sha256": project.data.sha256[:16], "rows": len(project.data)},
        "code": {name: sha256(path.read_bytes()).hexdigest()[:16] for name, path in code_files().items()},
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
            told = before.get("overrides") if isinstance(before, dict) else {}
            words = [shlex.quote(f"{k}={v}") for k, v in told.items()] if isinstance(told, dict) else []
            settings = "".join(f" {word}" for word in words)
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


def _say_libraries(project: Project, before: dict[str, Any]) -> None:
    """Another version of a library is no reason to refuse, but the last bits may differ."""
    old, new = before.get("libraries"), {name: library_version(name) for name in LIBRARIES}
    old = old if isinstance(old, dict) else {}
    if changed := [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]:
        project.say(f"  since it was stopped: {', '.join(changed)}; results may differ in the last bits")
