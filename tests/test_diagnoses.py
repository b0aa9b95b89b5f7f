"""The rules asked again about recorded runs on real data, one made for each diagnosis (bench/diagnoses.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, environment

ASK = """
import json, sys
from recipe_kit.checks.diagnosis import Evidence, diagnose
settings = dict.fromkeys(["lr", "lower", "third", "clip"], 1e-3) | dict.fromkeys(["double", "epochs", "more_epochs", "workers", "more_workers"], 2)
settings |= dict.fromkeys(["anneal", "try_bigger", "regularize"], "setting=value")
runs = json.load(open(sys.argv[1]))
print(json.dumps([[found.check for found in diagnose(Evidence(**run["evidence"]), settings)] for run in runs]))
"""


def test_recorded_runs_are_diagnosed_as_they_were(project: Path) -> None:
    recorded = ROOT / "tests" / "diagnoses.json"
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(recorded)],
        env=environment(project),
        capture_output=True,
        text=True,
        check=True,
    )
    runs, said = json.loads(recorded.read_text()), json.loads(done.stdout)
    assert said == [run["said"] for run in runs]
    right = [run["expected"] in names for run, names in zip(runs, said, strict=True)]
    assert len(right) >= 12 and sum(right) >= 10
