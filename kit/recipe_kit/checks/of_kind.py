"""Checks that only one kind of data has: the functions of its files audit.py and checks.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ..owner.config import Config
from .check_result import CheckResult

KIT = Path(__file__).parents[1]


def of_kind(config: Config, name: str) -> Callable[..., list[CheckResult]]:
    """The function called `name` ("audit": on the raw data, "checks": before training), else one that finds nothing."""
    for file in ("audit", "checks"):
        if (KIT / config.modality / f"{file}.py").exists():
            module = importlib.import_module(f"{KIT.name}.{config.modality}.{file}")
            if hasattr(module, name):
                found: Callable[..., list[CheckResult]] = getattr(module, name)
                return found
    return lambda *_: []
