"""A generated project's commands, run in this process as a user types them, with all that they say and find."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PASSED = "the benchmark goes on"  # why a gate is passed


class Recipe:
    """One project in one process: runs its commands one after another and keeps what each said and found.

    told: is given the list of steps after each, so that what was done is known when the process is killed.
    """

    def __init__(self, project: Path, told: Callable[[list[dict[str, Any]]], None]) -> None:
        os.chdir(project)
        sys.path[:0] = [str(project / "src"), str(project / "tools" / "recipe_kit")]
        self.main = importlib.import_module("recipe_kit.cli").main
        self.steps: list[dict[str, Any]] = []
        self.told = told

    def run(self, step: str, *words: str) -> dict[str, Any]:
        """One command as a user types it. status: the exit status, or "traceback"."""
        before, began, used = set(Path("runs").glob("*/record.json")), time.perf_counter(), time.process_time()
        out, errors = io.StringIO(), io.StringIO()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                warnings.simplefilter("ignore")
                status: int | str = self.main([step, *words])
        except SystemExit as left:
            status = int(left.code or 0)
        except Exception:
            status = "traceback"
            errors.write(traceback.format_exc()[-1500:])
        new = sorted(set(Path("runs").glob("*/record.json")) - before)
        done = {
            "step": step,
            "words": list(words),
            "status": status,
            "seconds": round(time.perf_counter() - began, 2),
            "processor": round(time.process_time() - used, 2),
            "said": errors.getvalue().strip(),
            "out": out.getvalue()[-2000:],
            "findings": [shortened(found) for path in new for found in json.loads(path.read_text())["findings"]],
        }
        self.steps.append(done)
        self.told(self.steps)
        return done

    def through(self, step: str, *words: str) -> dict[str, Any]:
        """The command; and once more past the gate when one refused it, so that what comes after is tried too."""
        done = self.run(step, *words)
        refused = done["status"] == 2 and "--force" in done["said"]
        return self.run(step, *words, "--force", PASSED) if refused else done


def shortened(found: dict[str, Any]) -> dict[str, Any]:
    """What the page and its readers need of a finding."""
    loud = found["verdict"] in ("WARN", "FAIL")
    kept = ("check", "verdict", "seconds", *(("observed", "share", "evidence") if loud else ()))
    short = {name: found[name] for name in kept}
    if len(json.dumps(short.get("evidence", ""))) > 1500:
        short["evidence"] = json.dumps(short["evidence"])[:1500]
    return short


def configure(path: Path, settings: dict[str, Any]) -> None:
    """Put the settings into recipe.toml, each in the place of the line that stands there."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if line.split("=")[0].strip() not in settings
    ]
    lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
