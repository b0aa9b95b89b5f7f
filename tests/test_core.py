"""The project without the kit: tools/ is deleted, and the rest splits, trains, is killed, resumes, evaluates and predicts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_sequence
from conftest import bake, data, environment, run

from kit import test_image, test_text

SETTINGS: dict[str, dict[str, Any]] = {
    "tabular": {"task": "multiclass"},
    "image": {"task": "binary", "data": "data/images", "weights": "none", "size": 16, "epochs": 4},
    "text": {"task": "binary", "target": "label", "encoder": "encoder", "max_length": 32, "epochs": 6},
    "sequence": {"task": "binary", "hidden": 8, "layers": 1, "lr": 0.01, **test_sequence.LONG},
}
COMMON = {"iid": "one by one", "tracker": "none", "device": "cpu", "epochs": 40, "patience": 0, "batch_size": 16, "bootstrap": 200}


def bare(folder: Path, modality: str) -> Path:
    """A project of this kind with data, and without tools/."""
    project = bake(folder, modality=modality, task=SETTINGS[modality]["task"])
    shutil.rmtree(project / "tools")
    if modality == "tabular":
        data.wine(project / "data" / "train.csv")
    elif modality == "image":
        test_image.write_images(project, n=40)
    elif modality == "sequence":
        test_sequence.waves(120).write_csv(project / "data" / "train.csv")
        test_sequence.as_csv(test_sequence.wide(test_sequence.waves(60, seed=1))).write_csv(project / "data" / "new.csv")
    else:
        test_text.write_texts(project, n=60)
        test_text.tiny_encoder(project / "encoder")
    settings = {"modality": modality, **COMMON, **SETTINGS[modality]}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (project / "recipe.toml").write_text("\n".join(lines) + "\n")
    return project


def plain(project: Path, *words: str) -> str:
    """What one of the project's own commands prints."""
    done = run(project, *words, package="my_model")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def killed(project: Path) -> Path:
    """The folder of a training run that was killed after its first epochs."""
    started = subprocess.Popen([sys.executable, "-m", "my_model", "train"], cwd=project, env=environment(project), stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(project.glob("runs/*/checkpoints/last-*")) and started.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    (folder,) = project.glob("runs/*-plain_train")
    assert not (folder / "result.json").exists()
    return folder


# Of images, texts and series: python -m pytest -m slow tests/test_core.py
@pytest.mark.parametrize("modality", ["tabular", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("image", "text", "sequence"))])
def test_a_project_without_tools_does_everything_that_is_its_own(tmp_path: Path, modality: str) -> None:
    project = bare(tmp_path, modality)
    assert "-> split.json" in plain(project, "split")
    assert "majority" in plain(project, "baseline")
    stopped = killed(project)
    assert "validation" in plain(project, "train", "--resume")
    plain(project, "train")
    (whole,) = set(project.glob("runs/*-plain_train")) - {stopped}
    assert np.array_equal(np.load(whole / "outputs.npy"), np.load(stopped / "outputs.npy")), "bit for bit"
    assert "rows of the test part" in plain(project, "evaluate")
    source = {"image": "data/images", "sequence": "data/new.csv"}.get(modality, "data/train.csv")
    assert "rows answered" in plain(project, "predict", source)
    answers = (project / source).with_name(f"{Path(source).stem}.predicted.csv").read_text().split("\n")
    assert "prediction" in answers[0] and len(answers) > 40
    assert "is neither a file nor a folder" in run(project, "predict", "data/none.csv", package="my_model").stderr
    smoke = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "smoke", "tests"]
    done = subprocess.run(smoke, cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "data/none.csv"], "no model is trained yet; run: python -m my_model train"),
        (["train"], "run: python -m my_model split"),
        (["train", "nosuch=1"], "unknown setting 'nosuch'"),
        (["train", "--resume"], "there is no stopped run to go on with"),
        (["split", "lr=-1"], "lr"),
    ],
)
def test_a_mistake_is_one_sentence_there_too(tmp_path: Path, words: list[str], said: str) -> None:
    project = bare(tmp_path, "tabular")
    done = run(project, *words, package="my_model")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_run_that_breaks_down_is_one_sentence(tmp_path: Path) -> None:
    project = bare(tmp_path, "tabular")
    model = project / "src" / "my_model" / "tabular" / "model.py"
    text, sound = model.read_text(), "return self.head(self.body(torch.cat(parts, dim=1)))"
    assert text.count(sound) == 1
    model.write_text(text.replace(sound, f"{sound} / 0"))
    plain(project, "split")
    done = run(project, "train", package="my_model")
    assert done.returncode == 2 and "the gradient norm is nan" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_package_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    project = bake(tmp_path)
    paths = {**environment(project), "PYTHONPATH": str(project / "tools" / "recipe_kit")}
    command = [sys.executable, "-m", "recipe_kit", "runs"]
    done = subprocess.run(command, cwd=project, env=paths, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "my_model" in done.stderr and "make setup" in done.stderr, done.stderr


EDITS = {"tools/recipe_kit/recipe_kit/checks/loss.py": False, "src/my_model/engine/loop.py": True, "src/my_model/tabular/model.py": True}


def test_a_check_that_is_reworded_voids_no_run_and_a_changed_loop_does(tmp_path: Path) -> None:
    project = bake(tmp_path)
    script = "from my_model.engine.fingerprint import code_hash; print(code_hash())"

    def code() -> str:
        done = subprocess.run([sys.executable, "-c", script], env=environment(project), capture_output=True, text=True, check=True)
        return done.stdout

    before = code()
    for name, voids in EDITS.items():
        path = project / name
        kept = path.read_text()
        path.write_text(f"{kept}\n# edited\n")
        assert (code() != before) == voids, name
        path.write_text(kept)
