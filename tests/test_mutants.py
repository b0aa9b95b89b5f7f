"""The mutation harness itself: what it takes for a check, how it takes one out, and two mutants for real."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass

import mutants
from conftest import ROOT


@dataclass(frozen=True)
class Found:
    verdict: str
    causes: tuple[str, ...] = ()
    next: str = ""


def finding(check: str, saw: str, fail: bool = False, warn: bool = False) -> Found:
    return Found("FAIL" if fail else "WARN" if warn else "PASS", ("data: a reason",))


def a_check(x: int) -> list[Found]:
    return [finding("a", f"{i}", fail=i > x) for i in range(3)]


def another(x: int) -> Found:
    return finding("b", "", warn=x > 0)


def test_a_mutant_passes_in_place_and_only_itself() -> None:
    module = types.ModuleType("checks_of_a_test")
    held = a_check  # as a tuple of checks holds the function from before
    vars(module).update(finding=finding, a_check=a_check, another=another)
    before = a_check.__code__, globals().get("green_finding")
    try:
        mutants.pacify(module, "a_check")
        globals()["green_finding"] = module.green_finding  # type: ignore[attr-defined]
        assert [found.verdict for found in held(0)] == ["PASS"] * 3 and not held(0)[2].causes
        assert another(1).verdict == "WARN"
    finally:
        a_check.__code__ = before[0]
        globals().pop("green_finding", None)
    assert [found.verdict for found in held(0)] == ["PASS", "FAIL", "FAIL"]


def test_every_check_is_among_the_mutants() -> None:
    """Every name in findings.toml that is ever red comes from some function that the harness knows."""
    known = {name for mutant in mutants.mutants() for name in mutant.checks}
    text = "".join(path.read_text() for path in mutants.sources())
    unknown = [name for name in sorted(mutants.known()) if name not in known and f'"{name}"' not in text]
    assert len(known) > 70 and unknown == []
    assert all(mutants.test_files(mutant) for mutant in mutants.mutants())


def test_two_mutants_for_real() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "mutants.py"), "spellings", "missing"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "0 of 2 survive" in done.stdout, done.stdout + done.stderr
