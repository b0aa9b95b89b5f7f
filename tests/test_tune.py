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
from recipe_kit.steps import tune
from recipe_kit.cli import main
tune.HEARTBEAT, tune.GRACE = 1, 3
sys.exit(main(sys.argv[1:]))
"""


# A worker that dies before its first sign of life, which Optuna by itself never misses.
SILENT = """
import os, optuna
optuna.storages.RDBStorage.record_heartbeat = lambda *_: os.kill(os.getpid(), 9)
"""
# A worker whose first trial takes until there is a file "go", and that gives no sign of life before.
LATE = """
import os, time, optuna
from recipe_kit.steps import train
beat = optuna.storages.RDBStorage.record_heartbeat
optuna.storages.RDBStorage.record_heartbeat = lambda *words: os.path.exists("go") and beat(*words)
score_of = train.score_of
def late(*args, **settings):
    while not os.path.exists("go"):
        time.sleep(0.05)
    return score_of(*args, **settings)
train.score_of = late
"""


def worker(project: Path, before: str = "") -> subprocess.Popen[str]:
    """`recipe tune` as its own process, after the lines of Python `before`."""
    words = ["tune", "--trials", str(TRIALS), "--force", "the test of tuning", "tracker=none", "epochs=8"]
    return subprocess.Popen(
        [sys.executable, "-c", before + WORKER, *words],
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
        assert run(made, step, "tracker=none", "epochs=8", "--force", "the test of tuning").returncode == 0
    return made


def studies(project: Path) -> list:
    """Every study of the project, read from its storage."""
    import optuna

    storage = f"sqlite:///{project / 'runs' / 'tuning.db'}"
    try:
        return [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    except Exception:  # the workers have not made it yet
        return []


def wait_for(project: Path, state: str, count: int, *workers: subprocess.Popen[str]) -> None:
    """Wait until so many trials of the first study are in this state; the workers live."""
    deadline = time.monotonic() + 120
    while not (found := studies(project)) or sum(t.state.name == state for t in found[0].trials) < count:
        assert time.monotonic() < deadline and all(each.poll() is None for each in workers)
        time.sleep(0.05)


def nothing_lost(project: Path) -> None:
    """One trial was given up, it was queued again once with the same settings, and no final ran twice."""
    from optuna.trial import TrialState

    died = 0
    for study in studies(project):
        states = [trial.state for trial in study.trials]
        done = sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states)
        assert TRIALS <= done <= TRIALS + 1 and TrialState.RUNNING not in states and TrialState.WAITING not in states
        dead = [trial for trial in study.trials if trial.state == TrialState.FAIL]
        died += len(dead)
        again = [trial.system_attrs.get("failed_trial") for trial in study.trials]
        for trial in dead:
            assert again.count(trial.number) == 1
            assert trial.params.items() <= study.trials[again.index(trial.number)].params.items()  # if they were drawn
    assert died == 1
    finals = [json.loads(path.read_text()) for path in (project / "runs").glob("*-train/record.json")]
    assert len({(json.dumps(r["config"], sort_keys=True)) for r in finals}) == len(finals) > 0


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_nothing_is_run_twice(project: Path) -> None:
    one, other = worker(project), worker(project)
    wait_for(project, "RUNNING", 2, one, other)
    os.kill(one.pid, signal.SIGKILL)
    said = other.communicate(timeout=300)[0]
    assert other.returncode == 0 and "Traceback" not in said, said
    nothing_lost(project)


@pytest.mark.slow
def test_a_worker_that_is_killed_before_its_first_sign_of_life_is_missed_too(project: Path) -> None:
    assert worker(project, SILENT).wait(timeout=120) == -signal.SIGKILL
    other = worker(project)
    said = other.communicate(timeout=300)[0]
    assert other.returncode == 0 and "Traceback" not in said, said
    nothing_lost(project)


@pytest.mark.slow
def test_a_worker_that_was_taken_for_dead_goes_on_with_another_trial(project: Path) -> None:
    one, other = worker(project, LATE), worker(project)
    wait_for(project, "FAIL", 1, one, other)
    (project / "go").touch()
    said = one.communicate(timeout=300)[0]
    assert one.returncode == 0 and "Traceback" not in said and "taken for dead" in said, said
    said = other.communicate(timeout=300)[0]
    assert other.returncode == 0 and "Traceback" not in said, said
    nothing_lost(project)


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
