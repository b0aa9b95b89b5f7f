"""A project as the steps see it: its recipe, its records, what was forced, and the run at hand.

Every step gets a `Project` to read from and a `Run` to write to. A finished run is a folder runs/<number>-<step>/ with
record.json in it, and one line in the ledger.
"""

from __future__ import annotations

import html
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ledger
from .checks.check_result import CheckResult
from .owner.config import make_config
from .owner.engine.data import Recipe
from .owner.engine.distributed import SINGLE, Distributed
from .owner.engine.files import save_array, to_json, write_atomic
from .owner.engine.fingerprint import fingerprint
from .owner.engine.runs import new_run
from .owner.engine.stop import alone
from .owner.errors import UserError
from .runs import environment, read_record
from .terminal import say
from .versions import version

if TYPE_CHECKING:  # it takes seconds to import torch, and a rollback needs none of it
    from .adopted import Adopted

# What a step's result depends on: the parts of the fingerprint that must still be the same for it to count.
DEPENDS = {
    "audit": ("data",),
    "split": ("data", "split"),
    "baseline": ("data", "split", "preprocessing", "evaluation"),
    "check": ("data", "split", "preprocessing", "model", "loss", "optimizer", "code"),
    "train": ("data", "split"),
}
SCHEMA = 1
SWEPT = ("export", "tune")  # nothing goes on with what a killed one left


@dataclass
class Project(Recipe):
    """overrides: the settings given on the command line. force: why a gate is passed all the same.
    distributed: the processes that train together. forced: what was gone past so far, here and in the runs this one rests on.
    adopted: the task of a project that the template did not generate, None in any other."""

    overrides: dict[str, Any] = field(default_factory=dict)
    force: str = ""
    quiet: bool = False
    distributed: Distributed = SINGLE
    verbose: bool = False
    adopted: Adopted | None = None
    forced: list[str] = field(default_factory=list)

    def _repr_html_(self) -> str:
        """What a notebook shows: the page that `recipe report` wrote last."""
        page = self.root / "report.html"
        text = page.read_text(encoding="utf-8") if page.exists() else "There is no report yet; run: recipe report"
        return f'<iframe srcdoc="{html.escape(text)}" width="100%" height="600"></iframe>'

    @property
    def ledger(self) -> Path:
        return self.root / "EXPERIMENTS.jsonl"

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Hash of each thing a result depends on."""
        found = fingerprint(self.config, self.data)
        return {**found, "code": self.adopted.code()} if self.adopted else found

    def say(self, text: str = "") -> None:
        """Print a line for the person at the terminal, unless --quiet."""
        if not self.quiet:
            say(text)

    def variant(self, **settings: Any) -> Project:
        """The same project with other settings; what was read from disk is kept where they do not touch it."""
        config = make_config(type(self.config), {**self.config.model_dump(), **settings}, "a variant of this project")
        other = replace(self, config=config, overrides={**self.overrides, **settings}, forced=[*self.forced])
        same = config.fingerprint("data") == self.config.fingerprint("data") and config.split == self.config.split
        if "data" in self.__dict__ and same:
            other.__dict__["data"] = self.data
        return other

    def overrule(self, problem: str, way_on: str = "") -> None:
        """Go on past a problem where --force gives a reason, which stays in the record; else refuse, naming the way on."""
        if not self.force:
            raise UserError(f'{problem}{way_on} (or go on with --force "your reason", which every later result shows)')
        self._keep(f"{problem}; forced: {self.force}")

    def inherit(self, record: dict[str, Any]) -> None:
        """Keep what was forced in a record that this run rests on."""
        for line in record.get("forced", []):
            self._keep(line)

    def _keep(self, line: str) -> None:
        if line not in self.forced:
            self.forced.append(line)
            self.say(f"  FORCED         {line}")

    def records(self, step: str) -> list[dict[str, Any]]:
        """Finished records of a step, oldest first."""
        paths = sorted((self.root / "runs").glob(f"*-{step}/record.json"))
        return [read_record(path) for path in paths]

    def made_under(self, step: str, fingerprint: dict[str, str], depends: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Records of `step` made under this fingerprint, as far as the step depends on it, oldest first."""
        keys = depends or DEPENDS[step]
        return [r for r in self.records(step) if all(r["fingerprint"].get(k) == fingerprint[k] for k in keys)]

    def current(self, step: str, depends: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """The newest record of `step` made under the same fingerprint (over `depends`, default DEPENDS[step])."""
        same = self.made_under(step, self.fingerprint, depends)
        return same[-1] if same else None

    def begin(self, step: str) -> Run:
        """A new, empty run folder with the next number."""
        if step in SWEPT:
            sweep(self.root / "runs", step)
        folder = new_run(self.root, step, (str(row.get("id")) for row in ledger.read(self.ledger)))
        run = Run(self, step, folder)
        if step in SWEPT:
            run.held.enter_context(alone(folder))
        return run


@dataclass
class Run:
    """One execution of one step. Steps append findings and fill `result`; `finish` writes the record and the ledger line."""

    project: Project
    step: str
    folder: Path
    findings: list[CheckResult] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.monotonic)  # the clock on the wall may be set back
    rests_on: dict[str, str] = field(default_factory=dict)  # step before it -> id of its record, see gates.py
    resumed: bool = False  # whether it goes on with what an earlier process began
    held: ExitStack = field(default_factory=ExitStack)  # what the step holds until its record is written: locks

    @property
    def id(self) -> str:
        return self.folder.name

    def add(self, finding: CheckResult, show: bool = False) -> None:
        """Keep a finding; show it if it asks for something, if it is what the step was run for (`show`), or under --verbose."""
        if self.project.adopted:
            finding = self.project.adopted.within_reach(finding)
        self.findings.append(finding)
        if show or self.project.verbose or finding.causes:
            self.project.say(describe(finding))

    def count(self) -> str:
        """How many checks ended how, as in "34 passed, 2 not applicable"; '' where there was none."""
        words = {"FAIL": "failed", "WARN": "warned", "PASS": "passed", "NOT APPLICABLE": "not applicable"}
        verdicts: list[str] = [finding.verdict for finding in self.findings]
        return ", ".join(f"{n} {word}" for verdict, word in words.items() if (n := verdicts.count(verdict)))

    def timed(self, check: Callable[..., CheckResult | list[CheckResult]], *args: Any) -> None:
        """Run a check, note what it cost, keep and show what it found."""
        before = time.perf_counter()
        found = check(*args)
        seconds = time.perf_counter() - before
        for finding in found if isinstance(found, list) else [found]:
            self.add(replace(finding, seconds=finding.seconds or round(seconds, 3)))

    def save(self, name: str, value: Any) -> None:
        """Write `value` as JSON beside the record; of several processes the first does."""
        if self.project.distributed.first:
            write_atomic(self.folder / name, to_json(value))

    def save_array(self, name: str, array: np.ndarray) -> None:
        """Write a numpy array beside the record, whole or not at all."""
        save_array(self.folder / name, array)

    @property
    def status(self) -> str:
        """pass, warn or fail: the worst verdict among the findings."""
        verdicts = {finding.verdict for finding in self.findings}
        return "fail" if "FAIL" in verdicts else "warn" if "WARN" in verdicts else "pass"

    def finish(self) -> dict[str, Any]:
        """Write record.json, then the ledger line. Returns the record. The schema is the same for every step and modality."""
        project = self.project
        record: dict[str, Any] = {
            "schema": SCHEMA, "id": self.id, "step": self.step,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.clock, 3), "status": self.status,
            "force": project.force, "forced": project.forced, "rests_on": self.rests_on,
            "config": project.config.model_dump(), "overrides": project.overrides, "fingerprint": project.fingerprint,
            "environment": environment(project.root), "data_version": version(project),
            "findings": [finding.record() for finding in self.findings], "result": self.result,
        }  # fmt: skip
        self.save("record.json", record)
        ledger.append(project.ledger, ledger_row(record))
        self.held.close()
        return record

    def discard(self) -> None:
        """Remove the folder of a run that was refused before it produced anything worth keeping."""
        self.held.close()
        if not any((self.folder / name).exists() for name in ("checkpoints", "outputs.npy")):
            shutil.rmtree(self.folder, ignore_errors=True)


def ledger_row(record: dict[str, Any]) -> dict[str, Any]:
    """What the ledger keeps of a record; `result["ledger"]` is what the step adds."""
    keys = ("id", "step", "started", "seconds", "status", "force", "overrides", "fingerprint")
    try:
        commit = {key: record["environment"][key] for key in ("commit", "dirty")}
        more = record["result"].get("ledger", {})
        failed = [finding["check"] for finding in record["findings"] if finding["verdict"] == "FAIL"]
        found = {"forced": record["forced"], **({"failed": failed} if failed else {})}
        found |= {"data_version": record["data_version"]} if "data_version" in record else {}
        return {**{key: record[key] for key in keys}, **found, **commit, "seed": record["config"]["seed"], **more}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"a record in runs/ is not one of ours ({error!r}); restore it, or delete that run's folder"
        ) from None


def sweep(runs: Path, step: str) -> None:
    """Remove the folders that killed runs of this step left: without a record, and held by no process.

    One that is a second old or less may be about to be held.
    """
    for folder in runs.glob(f"[0-9]*-{step}"):
        if not (folder / "record.json").exists() and time.time() - folder.stat().st_mtime > 1:
            with suppress(UserError), alone(folder):
                shutil.rmtree(folder, ignore_errors=True)


def describe(finding: CheckResult) -> str:
    """A finding as terminal text: one line when it passed, with causes and the next command when it has some."""
    label = "NOTE" if finding.causes and finding.verdict == "PASS" else finding.verdict
    lines = [f"  {label:<14} {finding.check}: {finding.observed}"]
    if finding.causes:
        lines.append(f"{'':17}expected: {finding.expected}")
        lines += [f"{'':17}likely {i}: ({c.group}) {c.sentence}" for i, c in enumerate(finding.causes, start=1)]
        lines += [f"{'':17}next: {finding.next}"] if finding.next else []
    return "\n".join(lines)


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds recipe.toml."""
    for folder in (start, *start.parents):
        if (folder / "recipe.toml").exists():
            return folder
    raise UserError(f"no recipe.toml in {start} or above it; run recipe inside a project, or name one with --project")
