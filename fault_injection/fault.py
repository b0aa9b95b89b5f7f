"""What an injected fault is: a small patch on a generated project, with where it should show and why it matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

# (rows of the project, random generator of the trial) -> rows with the fault in them
DataEdit = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


@dataclass(frozen=True)
class Edit:
    """An exact string replacement in a source file of the generated package or of the kit; `old` must occur exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Strength:
    """One strength of a fault: what is edited, in data, settings and code, and what is done beside the usual steps.

    then: commands after the usual ones, each as the words after `recipe`. served: what is done to the rows that come in
    service. deployed: code that is edited after the export, as a newer version on the server is.
    """

    data: DataEdit | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    code: tuple[Edit, ...] = ()
    then: tuple[tuple[str, ...], ...] = ()
    served: DataEdit | None = None
    deployed: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Fault:
    """A fault that people make.

    group: where it lies, as the causes in findings.toml name it; several when more than one is right. base: the sound
    project it is injected in, which is also its control. stage: the first step at which it can show. wrong: why it is wrong
    by construction; empty when its effect on the held-out metric decides. says: a word that a refusal must hold to count
    as naming the cause. inflating: it makes a score look better than it is. checks: names of the checks that concern it,
    written before it is run; the strict rule counts no others.
    """

    id: str
    what: str
    group: tuple[str, ...]
    base: str
    stage: str
    strengths: dict[str, Strength]
    wrong: str = ""
    says: str = ""
    inflating: bool = False
    held_out: bool = False
    checks: tuple[str, ...] = ()


class Mismatch(Exception):
    """A code edit that no longer fits the source: the fault must be written again."""


def apply_code(package: Path, edits: tuple[Edit, ...]) -> None:
    """Replace in place: in the package, or in the kit beside it. Raises Mismatch when a text to replace is not there exactly
    once."""
    kit = package.parents[1] / "tools" / "recipe_kit" / "recipe_kit"
    for edit in edits:
        path = next((folder / edit.file for folder in (package, kit) if (folder / edit.file).exists()), package / edit.file)
        text = path.read_text(encoding="utf-8")
        if (found := text.count(edit.old)) != 1:
            raise Mismatch(f"{edit.file} holds {edit.old!r} {found} times, not once")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
