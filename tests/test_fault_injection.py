"""The injected-fault benchmark: its faults fit the source, its score is fair, and a few faults are run for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import KIT, ROOT, TEMPLATE

sys.path.insert(0, str(ROOT / "fault_injection"))
import run as benchmark
from catalog import FAULTS, NOT_RUN
from concerned import CONCERNED, NEVER_FOR_LEAK
from controls import CONTROLS
from fault import Edit, Fault, Mismatch, Strength, apply_code
from pool import BASES
from scoring import caused, effect, score
from table import write

PACKAGE = TEMPLATE / "src" / "{{cookiecutter.package}}"
# The faults that the benchmark promises to fault, or to list as not yet run.
PROMISED = ["D1", "D3", "D4", "D6", "D7", "D8", "D9", "S1", "S3", "S4", "S5", "S8", "S12", "S13", "S14", "P1", "P2", "P6", "P7", "P8", "P9", "M1", "M2", "M3", "M4", "M6", "M7", "M10", "M12", "L1", "L2", "L3", "L6", "L7", "O1", "O2", "O3", "O4", "O5", "O6", "O7", "C1", "C2", "C4", "R1", "R2", "R4", "R5", "R6", "R8", "E1", "E5", "E6", "Q1", "Q2", "Q3", "Q4", "V1", "V2", "V4"]
QUICK = ("S5", "M1", "O1")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_every_code_edit_fits_the_source(tmp_path: Path, fault: Fault) -> None:
    for name, strength in fault.strengths.items():
        package = tmp_path / name
        for edit in (*strength.code, *strength.deployed):
            (package / edit.file).parent.mkdir(parents=True, exist_ok=True)
            source = PACKAGE if (PACKAGE / edit.file).exists() else KIT / "recipe_kit"
            shutil.copy(source / edit.file, package / edit.file)
        apply_code(package, (*strength.code, *strength.deployed))
        for edit in (*strength.code, *strength.deployed):
            compile((package / edit.file).read_text(), edit.file, "exec")


def test_an_edit_that_no_longer_fits_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("x = 2", "x = 1"):
        with pytest.raises(Mismatch, match="times, not once"):
            apply_code(tmp_path, (Edit("a.py", old, "x = 3"),))


def test_all_promised_faults_are_there() -> None:
    ids = [fault.id for fault in FAULTS]
    assert len(ids) == len(set(ids))
    assert [name for name in PROMISED if name not in ids and name not in NOT_RUN] == []
    assert sum(fault.held_out for fault in FAULTS) == 10
    assert all(fault.base in BASES and fault.strengths for fault in FAULTS)
    assert len({base.name for base, _ in CONTROLS}) == len(CONTROLS) >= 17


def result(seed: int, *findings: tuple[str, str, str], honest: float | None = 0.9, said: str = "") -> dict[str, Any]:
    """A trial's result; findings as (check, verdict, group of its causes)."""
    found = [{"check": c, "verdict": v, "groups": [g], "seconds": 0.1, "observed": ""} for c, v, g in findings]
    step = {"step": "check", "outcome": "refused" if said else "done", "said": said, "findings": found}
    return {"seed": seed, "light": False, "steps": [step], "honest": honest, "finite": True, "linear": False}


def test_every_fault_lists_checks_that_exist() -> None:
    there = {check for path in (KIT / "recipe_kit").glob("*/findings.toml") for check in tomllib.loads(path.read_text())}
    assert {check for checks in (*CONCERNED.values(), NEVER_FOR_LEAK) for check in checks} - there == set()
    assert [fault.id for fault in FAULTS if not fault.checks and not fault.says] == []
    used = {f.id if f.id in CONCERNED else f.id.split()[0] for f in FAULTS}
    assert set(CONCERNED) - used == set()


STRICT = Fault("T3", "a fault", ("model",), "digits", "check", {"medium": Strength()}, says="batch_size", checks=("a", "b"))
LEAK = Fault("T4", "a leak", ("data",), "digits", "check", {"medium": Strength()}, inflating=True, checks=("beats the baseline",))


@pytest.mark.parametrize(
    ("fault", "seeds", "control", "strict", "named"),
    [  # what is WARN on each seed, and on the control of every seed
        (STRICT, ["a", "a"], "", True, True),
        (STRICT, ["a", ""], "", True, True),
        (STRICT, ["a", "", ""], "", False, False),
        (STRICT, ["a", "b", ""], "", False, False),  # not one and the same check
        (STRICT, ["c", "c"], "", False, False),  # a check that does not concern the fault
        (STRICT, ["a", "a"], "a", False, False),  # red on the control too
        (replace(STRICT, group=("loss",)), ["a", "a"], "", True, False),
        (STRICT, ["refused: batch_size is too small", ""], "", True, True),
        (STRICT, ["refused: no such file", "refused: no such file"], "", False, False),
        (LEAK, ["beats the baseline", "beats the baseline"], "", False, False),
        (replace(LEAK, inflating=False, group=("model",)), ["beats the baseline"] * 2, "", True, True),
    ],
)
def test_the_strict_rule(fault: Fault, seeds: list[str], control: str, strict: bool, named: bool) -> None:
    def made(seed: int, red: str) -> dict[str, Any]:
        said = red.removeprefix("refused: ") if red.startswith("refused") else ""
        return result(seed, *([(red, "WARN", "model")] if red and not said else []), said=said)

    controls = [result(s, *([(control, "WARN", "model")] if control else [])) for s in range(len(seeds))]
    verdict = score(fault, "medium", [made(s, red) for s, red in enumerate(seeds)], controls)
    assert (verdict.strict, verdict.strict_named) == (strict, named)


FAULT = Fault("T1", "a fault", ("model",), "digits", "check", {"medium": Strength()})


def test_what_the_control_shows_too_does_not_count() -> None:
    control = result(0, ("a", "WARN", "data"), ("b", "PASS", "data"))
    faulty = result(0, ("a", "WARN", "data"), ("b", "WARN", "data"), ("c", "FAIL", "data"))
    assert set(caused(faulty, control)) == {("check", "b"), ("check", "c")}
    assert set(caused(result(0, ("a", "FAIL", "data")), control)) == {("check", "a")}


@pytest.mark.parametrize(("reds", "caught"), [(1, False), (2, True), (3, True)])
def test_caught_on_at_least_half_of_the_seeds(reds: int, caught: bool) -> None:
    controls = [result(seed) for seed in range(3)]
    trials = [result(seed, ("a", "FAIL" if seed < reds else "PASS", "model")) for seed in range(3)]
    verdict = score(FAULT, "medium", trials, controls)
    assert (verdict.caught, verdict.attributed) == (caught, caught)
    other = score(FAULT, "medium", [result(s, ("a", "FAIL", "data")) for s in range(3)], controls)
    assert other.caught and not other.attributed


def test_a_refusal_counts_and_names_its_cause_only_by_its_words() -> None:
    controls = [result(seed) for seed in range(3)]
    refused = [result(seed, said="batch_size is too small") for seed in range(3)]
    assert score(FAULT, "medium", refused, controls).caught
    assert not score(FAULT, "medium", refused, controls).attributed
    says = Fault("T2", "a fault", ("model",), "digits", "check", {"medium": Strength()}, says="batch_size")
    assert score(says, "medium", refused, controls).attributed


def test_effective_needs_a_large_and_a_significant_difference() -> None:
    d, p = effect([0.8, 0.81, 0.79, 0.8, 0.8], [0.9, 0.91, 0.9, 0.89, 0.9])
    assert d < -0.5 and p < 0.05
    assert effect([0.9, 0.8], [0.9, 0.8])[0] != effect([0.9, 0.8], [0.9, 0.8])[0]  # too few: NaN
    assert effect([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]) == (0.0, 1.0)
    scores = [(0.80, 0.9), (0.81, 0.91), (0.79, 0.9), (0.80, 0.89)]
    trials = [result(s, honest=low) for s, (low, _) in enumerate(scores)]
    controls = [result(s, honest=high) for s, (_, high) in enumerate(scores)]
    assert score(FAULT, "medium", trials, controls).effective
    assert not score(FAULT, "medium", controls, controls).effective


def test_the_page_says_what_was_missed_and_what_was_a_false_alarm(tmp_path: Path) -> None:
    controls = [result(seed) for seed in range(3)]
    missed = score(FAULT, "medium", [result(s, honest=None) for s in range(3)], controls)
    write([missed], {"awkward": [result(0, ("loud", "FAIL", "data"))]}, tmp_path / "checks.md")
    page = (tmp_path / "checks.md").read_text()
    assert "- T1 (medium): a fault" in page
    assert "| awkward | check: loud | FAIL |" in page
    assert "1 of 1 (project, check) pairs FAIL" in page


def test_a_few_faults_for_real(tmp_path: Path) -> None:
    words = [sys.executable, "fault_injection/run.py", "--seeds", "1", "--out", str(tmp_path), *QUICK]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, env={**os.environ})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = {(v.fault.id, v.strength): v for v in benchmark.verdicts(FAULTS, tmp_path)}
    for case in (("S5", "extreme"), ("M1", "extreme"), ("O1", "extreme")):
        assert found[case].caught and found[case].attributed, done.stdout
    assert not any(v.broken for v in found.values()), done.stdout
    for base in ("digits", "cancer"):
        (control,) = benchmark.read(f"control {base}", "none", tmp_path)
        assert all(f["verdict"] != "FAIL" for step in control["steps"] for f in step["findings"])
        assert control["honest"] > 0.8
    again = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, env={**os.environ}
    )
    assert "0 trials to run" in again.stdout
