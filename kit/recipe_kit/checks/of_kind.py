"""Checks that only one kind of data has: the functions of its files audit.py and checks.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..owner.config import Config
from ..owner.task import Data, find_task
from .check_result import CheckResult, check_result

KIT = Path(__file__).parents[1]


def of_kind(config: Config, name: str) -> Callable[..., list[CheckResult]]:
    """The function called `name` ("audit": on the raw data, "checks": before training), else one that finds nothing."""
    for file in ("audit", "checks"):
        if (KIT / config.modality / f"{file}.py").exists():
            module = importlib.import_module(f"{KIT.name}.{config.modality}.{file}")
            if hasattr(module, name):
                found: Callable[..., list[CheckResult]] = getattr(module, name)
                return found
    return own if name == "audit" else lambda *_: []


def own(config: Any, data: Data, adopted: bool = False) -> list[CheckResult]:
    """What the project itself measures of its kind of data (`own_findings` of its Task), with the sentences of findings.toml."""
    measured = getattr(find_task(config.modality), "own_findings", None)
    found = [] if adopted or measured is None else measured(config, data)
    return [check_result(check, observed, **told) for check, observed, told in found]


def how_to_adapt(config: Any, seen: str, adapt: str, reason: str, competitor: str, **evidence: Any) -> CheckResult:
    """Advice on the pretrained weights: what was seen of the data, and the experiment that would change it, if there is one."""
    same = "as configured" if config.adapt == adapt else f"configured is {config.adapt}"
    test = f"; to test it: recipe train adapt={adapt}, then adapt={competitor}, over 3 seeds; {competitor} if it is better in all"
    observed = f"{seen}: {adapt} ({same}), because {reason}{test if competitor else ''}"
    return check_result("how to adapt", observed, evidence={"advice": adapt, **evidence})
