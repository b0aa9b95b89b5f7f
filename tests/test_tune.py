"""Two workers tune one study; one is killed in mid-trial: no trial is lost, none is run twice, the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment, run, wines

TRIALS = 6
# The workers' sign of life, faster than in earnest: a dead one is missed after three seconds, not forty.
WORKER = """
import sys, time
from my_model.steps import tune
from my_model.cli import main
tune.HEARTBEAT, tune.GRACE = 1, 3
sys.exit(main(sys.argv[1:]))
"""


def worker(project: Path) -> subprocess.Popen[str]:
    """`recipe tune` as its own process."""
    words = ["tune", "--trials", str(TRIALS), "--because", "the test of tuning", "tracker=none", "epochs=8"]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *words],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project on the wines, split and with a baseline."""
    made = wines(tmp_path)
    for step in ("split", "baseline"):
        assert run(made, step, "tracker=none", "epochs=8").returncode == 0
    return made


def studies(project: Path) -> list:
    """Every study of the project, read from its storage."""
    import optuna

    storage = f"sqlite:///{project / 'runs' / 'tuning.db'}"
    try:
        return [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    except Exception:  # the workers have not made it yet
        return []


def test_a_worker_that_is_killed_loses_nothing_and_nothing_is_run_twice(project: Path) -> None:
    from optuna.trial import TrialState

    one, other = worker(project), worker(project)
    deadline = time.monotonic() + 120
    while not (found := studies(project)) or sum(t.state == TrialState.RUNNING for t in found[0].trials) < 2:
        assert time.monotonic() < deadline and one.poll() is None and other.poll() is None
        time.sleep(0.05)
    os.kill(one.pid, signal.SIGKILL)
    said = other.communicate(timeout=300)[0]
    assert other.returncode == 0 and "Traceback" not in said, said
    died = 0
    for study in studies(project):
        states = [trial.state for trial in study.trials]
        done = sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states)
        assert TRIALS <= done <= TRIALS + 1 and TrialState.RUNNING not in states and TrialState.WAITING not in states
        dead = [trial for trial in study.trials if trial.state == TrialState.FAIL]
        died += len(dead)
        again = [trial.system_attrs.get("failed_trial") for trial in study.trials]
        for trial in dead:  # queued again once, with the same knobs
            assert again.count(trial.number) == 1
            assert study.trials[again.index(trial.number)].params == trial.params
    assert died == 1
    finals = [json.loads(path.read_text()) for path in (project / "runs").glob("*-train/record.json")]
    assert len({(json.dumps(r["config"], sort_keys=True)) for r in finals}) == len(finals) > 0


def test_two_workers_share_the_trials_and_the_finals(project: Path) -> None:
    pair = [worker(project), worker(project)]
    for each in pair:
        said = each.communicate(timeout=300)[0]
        assert each.returncode == 0, said
    assert all(TRIALS <= len(study.trials) <= TRIALS + 1 for study in studies(project))
    finals = [json.loads(path.read_text()) for path in (project / "runs").glob("*-train/record.json")]
    assert len({(json.dumps(r["config"], sort_keys=True)) for r in finals}) == len(finals) > 0
    results = [json.loads(path.read_text())["result"] for path in (project / "runs").glob("*-tune/record.json")]
    assert len(results) == 2 and results[0]["best"]["run"] == results[1]["best"]["run"]
