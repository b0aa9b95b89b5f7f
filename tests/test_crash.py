"""Some of the points of tests/crash.py in every test run; `make crash-test` does them all and writes docs/resume.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WHERE = ("before a step", "inside a step", "after a step", "epochs only", "SIGTERM", "SIGINT", "file operation", "inside a write", "over and over")  # fmt: skip


@pytest.mark.parametrize("name", ["tabular", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("image", "text", "sequence"))])
def test_a_killed_run_ends_as_if_it_had_not_been(name: str) -> None:
    """In a process of its own: it forks, and nothing may have started threads before."""
    command = [sys.executable, str(Path(__file__).with_name("crash.py")), "--quick", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr[-3000:]
    rows = json.loads(done.stdout.removesuffix("\n").split("\n")[-1])
    assert [wrong for row in rows for wrong in row["wrong"]] == []
    assert {row["where"] for row in rows} == set(WHERE) and sum(row["points"] for row in rows) >= 10
    assert done.returncode == 0 and all(row["difference"] == 0.0 for row in rows)
