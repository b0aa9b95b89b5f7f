"""Hashes of what a result depends on: settings, data and the project's code. What observes a result, such as a check, a report
or a command, is not part of it: a reworded check voids no run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..config import GROUPS, Config
from ..task import Data

PACKAGE = Path(__file__).parents[1]


def fingerprint(config: Config, data: Data) -> dict[str, str]:
    """Hash of each thing a result depends on: the settings by group, the bytes of the data, the source code."""
    groups = {group: config.fingerprint(group) for group in GROUPS if group != "tracking"}
    return {**groups, "data": data_hash(config, data), "code": code_hash()}


def data_hash(config: Config, data: Data) -> str:
    """Hash of the data's bytes and of the settings that say how they are read."""
    return hashlib.sha256((config.fingerprint("data") + data.sha256).encode()).hexdigest()[:16]


def code_files() -> dict[str, Path]:
    """The Python source that a result depends on, by name; tests left out."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.startswith("test_")]
    return {path.relative_to(PACKAGE).as_posix(): path for path in paths}


def code_hash() -> str:
    """Hash over `code_files`."""
    digest = hashlib.sha256()
    for name, path in code_files().items():
        digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
