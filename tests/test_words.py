"""The project speaks as the field does: no word of its own language is left in names, commands, messages or docs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

# What must not occur -> what is said instead. Words that also have an ordinary meaning are looked for in the form they had.
WORDS = {
    r"[Oo]ptimis(?!m|ti)": "optimiz...", r"[Nn]ormalis|[Ii]nitialis|[Rr]egularis|[Ss]tandardis|[Tt]okenis|[Vv]ectoris": "-iz-",
    r"[Bb]ehaviour|[Cc]olour|[Nn]eighbour|[Ll]abelled|[Ll]abelling": "American spelling",
    r"(?i)\bknobs?\b": "setting", r"\blr[-_]range\b": "lr-find", r"\bnew[-_]data\b": "init", r"recipe log\b": "recipe runs",
    r"--because\b": "--force REASON", r"--bundle\b": "--allow-multiple REASON", r"recipe train[^`\n]*--predict\b": "--hypothesis TEXT",
    r"\b(turn(s|ed)? (red|green)|is (red|green) on|red check|red gate)\b": "FAIL, PASS", r"\b[Mm]end(ed|ing|s)?\b": "fix",
    r"\bdumb\b(?!\")": "trivial", r"\b[Ss]tamp(s|ed|ing)?\b": "generate", r"\b(World|Processes)\b": "Distributed, ProcessGroup",
    r"\bseveral\(\)|\bleave\(": "is_distributed, exit_process", r"\.(everyone|holding|placed|sums)\(": "torch's verbs",
    r"\bsaw\b(?=[\"']?\]|[\"']? ?[:=])": "observed", r"\bclass (Finding|Bench)\b": "CheckResult, Context",
    r"\b(canaries|short_runs|wiring)\b": "leak_probes, trial_runs, pipeline", r"\bheat\b": "temperature", r"\bguess\b = |\bguess:": "prediction",
    r"\.aside\.jsonl|\bset aside\b": "rejected", r"\bdef (watch|accept|pack)\(self": "monitored_features, validate_rows, prepare_export",
    r"production/(card|alarms)\b|production\.(card|alarms)\b": "model_card, alerts", r"TEST_OPENED": "TEST_ACCESS",
    r"\b(plants|rivals?)\b": "faults, competitors", r"(?i)\b(plants?|planted|twins?|healthy)\b": "fault, injected, control, sound", r"make (kill|plants|mutants)\b": "make crash-test, fault-benchmark, mutation-test",
    r"bench/(ways|turns|growth|compute)\b": "frameworks, interleave, scaling, accuracy_per_compute",
    r"one (column|word) knows it all|who and when|made from the target|missing values tell|fix the data first": "the checks' names",
    r"when a first run stands|says plainly|made to be ill|There is no login|Let something run it|the world has moved": "plain prose",
}  # fmt: skip
KEPT = {  # this list; cases and tables that have their names from elsewhere; what was called how before
    "tests/test_words.py", "tests/cases.py", "bench/tables_read.toml", "docs/tables.md", "CHANGELOG.md", "bench/leaks_injected.py",
}  # fmt: skip
OWN = (".py", ".md", ".toml", ".yml", ".html", ".j2", "Makefile")


def texts() -> dict[str, str]:
    """Every file of ours that somebody reads."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name.endswith(OWN) and name not in KEPT and "LICENSES" not in name]
    return {name: (ROOT / name).read_text() for name in names if (ROOT / name).is_file() and not Path(ROOT / name).is_symlink()}


@pytest.mark.parametrize("pattern", WORDS)
def test_no_word_of_a_private_language(pattern: str) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]!r}; say: {WORDS[pattern]}"
        for name, text in texts().items()
        for hit in re.finditer(pattern, text)
    ]
    assert found == []


def test_the_list_finds_what_it_is_for() -> None:
    """Each pattern on the words it was written for."""
    said = (
        "optimiser normalise colour knobs lr-range new_data recipe_log --because --bundle turned red mend dumb stamped World several()"
        ' .everyone( {"saw": 1} class Finding canaries heat guess: set aside def watch(self production/card TEST_OPENED plants'
    )
    assert sum(bool(re.search(pattern, said)) for pattern in WORDS) >= 22
