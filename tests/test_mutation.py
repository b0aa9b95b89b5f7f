"""The mutation harness itself: what it takes for a check, how it takes one out, and two mutants for real."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass

import mutation
from conftest import ROOT, TEMPLATE


@dataclass(frozen=True)
class Found:
    verdict: str
    causes: tuple[str, ...] = ()
    next: str = ""


def check_result(check: str, observed: str, fail: bool = False, warn: bool = False) -> Found:
    return Found("FAIL" if fail else "WARN" if warn else "PASS", ("data: a reason",))


def a_check(x: int) -> list[Found]:
    return [check_result("a", f"{i}", fail=i > x) for i in range(3)]


def another(x: int) -> Found:
    return check_result("b", "", warn=x > 0)


def test_a_mutant_passes_in_place_and_only_itself() -> None:
    module = types.ModuleType("checks_of_a_test")
    held = a_check  # as a tuple of checks holds the function from before
    vars(module).update(check_result=check_result, a_check=a_check, another=another)
    before = a_check.__code__, globals().get("passing_result")
    try:
        mutation.pacify(module, "a_check")
        globals()["passing_result"] = module.passing_result  # type: ignore[attr-defined]
        assert [found.verdict for found in held(0)] == ["PASS"] * 3 and not held(0)[2].causes
        assert another(1).verdict == "WARN"
    finally:
        a_check.__code__ = before[0]
        globals().pop("passing_result", None)
    assert [found.verdict for found in held(0)] == ["PASS", "FAIL", "FAIL"]


def test_every_check_is_among_the_mutants() -> None:
    """Every name in findings.toml that ever fails comes from some function that the harness knows."""
    known = {name for mutant in mutation.mutants() for name in mutant.checks}
    own = TEMPLATE / "src" / "{{cookiecutter.package}}" / "sequence" / "audit.py"  # these checks are measured in the project
    text = "".join(path.read_text() for path in [*mutation.sources(), own])
    unknown = [name for name in sorted(mutation.known()) if name not in known and f'"{name}"' not in text]
    assert len(known) > 70 and unknown == []
    assert all(mutation.test_files(mutant) for mutant in mutation.mutants())


def test_two_mutants_for_real() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "mutation.py"), "spellings", "missing"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "0 of 2 survive" in done.stdout, done.stdout + done.stderr
