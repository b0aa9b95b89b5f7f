"""The project without what observes it: checks, gates, ledger, report, production and commands taken away, and the rest at work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import QUESTIONS, bake, environment, wines
from inside import Inside, generate

TAKE_AWAY = """
import shutil
from my_model.engine.fingerprint import OBSERVING, PACKAGE
for name in OBSERVING:
    shutil.rmtree(PACKAGE / name) if (PACKAGE / name).is_dir() else (PACKAGE / name).unlink(missing_ok=True)
"""
IMPORT_ALL = """
import importlib
from my_model.engine.fingerprint import code_files
for name in code_files():
    importlib.import_module(".".join(["my_model", *name.removesuffix(".py").removesuffix("__init__").strip("/").split("/")]).strip("."))
"""
WORK = """
import json, os, signal
from pathlib import Path
import numpy as np
from my_model.config import make_config, read_toml
from my_model.engine.baseline import baseline
from my_model.engine.callback import Callback
from my_model.engine.data import Recipe
from my_model.engine.evaluate import evaluate, judged
from my_model.engine.fitted import load_fitted
from my_model.engine.runs import new_run
from my_model.engine.splits import assign, open_test, splits, write_manifest
from my_model.engine.train import train
from my_model.engine.truth import truth_of
from my_model.tabular.recipe import TASK

class Kill(Callback):
    def on_step(self, step):
        if step == 12:
            os.kill(os.getpid(), signal.SIGKILL)

root = Path()
settings = {**read_toml(root / "recipe.toml"), "epochs": 6, "batch_size": 16, "bootstrap": 200, "tracker": "none"}
config = make_config(TASK.settings, settings, "recipe.toml")
recipe = Recipe(root, config, TASK)
folder = root / "runs" / "0002-train"
if not folder.exists():
    write_manifest(recipe, assign(config, recipe.data))
    print(baseline(config, TASK, splits(recipe), new_run(root, "baseline")).result["best"])
    train(config, TASK, splits(recipe), new_run(root, "train"), callbacks=[Kill()])
trained = train(config, TASK, splits(recipe), folder, resume=True)
model = load_fitted(recipe, {"id": folder.name, "step": "train", "config": config.model_dump(), "result": trained.result})
assert np.array_equal(model.outputs(splits(recipe)["val"])[0], trained.outputs)
test = open_test(recipe)
outputs, examples = model.outputs(test)
ours = judged(config, model, (trained.outputs, outputs), trained.truth)
found = evaluate(config, trained.prep, ours, test, truth_of(config, test, examples), new_run(root, "evaluate"))
print(json.dumps({"metric": found["metric"], **found["metrics"][found["metric"]], "epochs": trained.result["epochs"]}))
"""


def python(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("modality", QUESTIONS["modality"])
def test_every_file_of_the_project_is_imported_without_the_rest(modality: str, tmp_path: Path) -> None:
    project = bake(tmp_path, modality=modality)
    for script in (TAKE_AWAY, IMPORT_ALL):
        done = python(project, script)
        assert done.returncode == 0, done.stderr
    assert not (project / "src" / "my_model" / "checks").exists()


def test_the_project_splits_trains_resumes_and_evaluates_without_the_rest(tmp_path: Path) -> None:
    project = wines(tmp_path)
    assert python(project, TAKE_AWAY).returncode == 0
    killed = python(project, WORK)
    assert killed.returncode == -9, killed.stderr
    done = python(project, WORK)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["epochs"] == 6 and found["low"] <= found["value"] <= found["high"]


EDITS = {"checks/loss.py": False, "engine/gates.py": False, "steps/train.py": False, "engine/loop.py": True, "tabular/model.py": True}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A project whose check was done."""
    package = generate(tmp_path_factory.mktemp("generated"), "core_tabular")
    project = Inside(package, tmp_path_factory.mktemp("checked"), task="binary", target="y")
    rows = "\n".join(f"{i % 7},{i % 11},{int(i % 7 > 3)}" for i in range(200))
    (project.root / "data" / "train.csv").write_text(f"a,b,y\n{rows}\n")
    opened = project.project()
    opened.begin("check").finish()
    return project


@pytest.mark.parametrize("name", EDITS)
def test_a_check_that_is_reworded_voids_no_run_and_a_changed_loop_does(checked: Inside, name: str) -> None:
    path = Path(checked.module("engine.fingerprint").PACKAGE) / name
    kept = path.read_text()
    try:
        path.write_text(f"{kept}\n# edited\n")
        assert (checked.project().current("check") is None) == EDITS[name]
    finally:
        path.write_text(kept)
