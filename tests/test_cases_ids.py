"""Integers that name things, in a generated project: noticed by the audit, offered by init, and new ones predicted as an
average one (the case `user_ids`, and others of its kind)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cases
import numpy as np
import polars as pl
import pytest
from conftest import bake, environment, run

CHECK = "names used as numbers"
NEW = 5_000  # added to the number of a user: nobody that training saw

# Trains on data/train.csv and prints the log loss on the rows of data/new.csv.
SCRIPT = """
import sys
import numpy as np, polars as pl, torch
from pathlib import Path
from my_model.engine.loop import fit, losses_of, predict
from my_model.engine.losses import make_loss
from my_model.engine.splits import assign
from recipe_kit.project import Project
from my_model.tabular.recipe import TASK, Config
from my_model.task import Data

torch.set_num_threads(1)
config = Config(categorical=["user_id"], iid="drawn", tracker="none", device="cpu", unknown_share=float(sys.argv[1]))
project = Project(Path(), config, TASK, quiet=True)
part = assign(config, project.data)
train, val = (project.data.take(np.flatnonzero(part == number)) for number in (0, 1))
prep = TASK.prepare(config, train)
model, _ = fit(config, TASK, prep, *(TASK.examples(config, prep, data) for data in (train, val)), project.begin("train").folder)
new = Data(pl.read_csv("data/new.csv"), "target", project.data.roles, "")
examples = TASK.examples(config, prep, new)
print(losses_of(make_loss(config, prep), predict(model, examples, config), examples).mean())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = bake(tmp_path)
    monkeypatch.setattr(cases, "R", np.random.default_rng(0))  # the same users, whatever ran before
    cases.user_ids(made / "data")
    return made


def audit(project: Path, *words: str) -> dict[str, dict]:
    """Findings of an audit, by check."""
    done = run(project, "audit", "--json", *words)
    assert done.returncode < 2, done.stderr
    return {found["check"]: found for found in json.loads(done.stdout)["findings"]}


def test_users_are_noticed_and_the_lines_can_be_pasted(project: Path) -> None:
    found = audit(project, "iid=drawn at random")[CHECK]
    assert found["verdict"] == "WARN" and list(found["evidence"]["columns"]) == ["user_id"]
    for line in ('categorical = ["user_id"]', 'group = "user_id"', 'numeric = ["user_id"]'):
        assert line in found["next"]
        assert audit(project, "iid=drawn at random", line.replace(" = ", "="))[CHECK]["verdict"] != "WARN", line


def test_they_are_offered_as_group_or_category(project: Path) -> None:
    done = run(project, "init", "data/train.csv", "--write")
    assert done.returncode == 0, done.stderr
    assert 'group = "user_id"' in done.stdout and 'categorical = ["user_id"]' in done.stdout
    assert audit(project)[CHECK]["verdict"] != "WARN"


def write_shops(folder: Path) -> None:
    """80 shops with numbers of five digits, in a column that says nothing; beside them ages, ratings, counts and years."""
    random = np.random.default_rng(1)
    n, numbers = 3000, random.choice(90_000, 80, replace=False) + 10_000
    at, taste = random.integers(0, 80, n), random.normal(size=80)
    age, count = random.integers(18, 90, n), random.poisson(20, n)
    y = taste[at] + (age - 54) / 30 + (count - 20) / 9 + random.normal(size=n)
    columns = {
        "k": numbers[at], "age": age, "stars": random.integers(1, 6, n), "visits": count, "since": random.integers(1990, 2024, n)
    }  # fmt: skip
    pl.DataFrame({**columns, "target": (y > 0).astype(int)}).write_csv(folder / "train.csv")


def test_of_several_whole_numbers_only_the_names_are_named(tmp_path: Path) -> None:
    made = bake(tmp_path)
    write_shops(made / "data")
    found = audit(made, "iid=drawn at random")[CHECK]
    assert found["verdict"] == "WARN" and list(found["evidence"]["columns"]) == ["k"]


def loss_of_new_users(project: Path, share: float) -> float:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(share)], cwd=project, env=environment(project), capture_output=True, text=True, check=True
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def test_a_new_user_is_predicted_as_an_average_one(project: Path) -> None:
    """Nothing but the user tells here, so that nobody does better than ln 2 on a new one; an untrained vector does far worse."""
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.with_columns(pl.col("user_id") + NEW).write_csv(project / "data" / "new.csv")
    assert loss_of_new_users(project, 0.05) < np.log(2) + 0.03
