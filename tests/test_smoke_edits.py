"""The smoke test of a generated project: it passes as generated, and fails on each mistake of tests/smoke_edits.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TEMPLATE, bake, matrix
from smoke_edits import Mistake, mistakes

sys.path.insert(0, str(ROOT / "fault_injection"))
from fault import apply_code
from trial import CHEAP

TASKS = {
    "tabular": ("binary", "multiclass", "regression", "ranking"), "image": ("multiclass",), "text": ("binary",),
    "sequence": ("multiclass",),
}  # fmt: skip
PACKAGE = TEMPLATE / "src" / "{{cookiecutter.package}}"


def project(folder: Path, kind: str, task: str, cheap: bool = True) -> Path:
    """A project as generated; `cheap`: with a network that takes a tenth of the time, and a rate that fits it."""
    made = bake(folder, modality=kind, task=task, project_slug=f"{kind}-{task}", package="project")
    if cheap and kind in CHEAP and kind != "tabular":
        apply_code(made / "src" / "project", CHEAP[kind])
        times_lr(made, 20)
        narrow = made / "tests" / "sample" / "encoder" / "config.json"
        if kind == "text":
            narrow.write_text(narrow.read_text().replace('"hidden_size": 128', '"hidden_size": 32'))
    return made


def times_lr(made: Path, factor: float) -> None:
    """Multiply lr in recipe.toml."""
    path = made / "recipe.toml"
    path.write_text(re.sub(r"(?m)^lr = ([\d.]+)", lambda lr: f"lr = {float(lr[1]) * factor:.10f}", path.read_text()))


def broken(source: Path, mistake: Mistake) -> Path:
    """The same project with a mistake in it."""
    copy = source.with_name(f"{source.name}-{re.sub('[^a-z0-9]+', '-', mistake.what.lower())}")
    shutil.copytree(source, copy)
    apply_code(copy / "src" / "project", mistake.edits)
    times_lr(copy, mistake.lr)
    return copy


def smoke(folder: Path, kind: str, projects: list[Path], device: str = "") -> dict[str, tuple[int, str]]:
    """Status and log of the smoke test of each project, by name."""
    jobs = [{"kind": kind, "project": str(p), "log": f"{p}.log", "device": device} for p in projects]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, str(ROOT / "tests" / "smoke_edits.py"), str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    done = json.loads((folder / "jobs.json").read_text())
    return {Path(job["project"]).name: (job["status"], Path(job["log"]).read_text()) for job in done}


@pytest.mark.parametrize("kind", ["tabular", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("image", "text", "sequence"))])
def test_it_fails_on_every_mistake_and_on_none_as_generated(tmp_path: Path, kind: str) -> None:
    """Status 1: a test of it has failed; anything else would be another trouble."""
    sound, wrong = [], []
    for task in TASKS[kind]:
        sound.append(project(tmp_path, kind, task))
        wrong += [broken(sound[-1], mistake) for mistake in mistakes(kind, task)]
    assert len(wrong) >= 10
    found = smoke(tmp_path, kind, [*sound, *wrong])
    assert [found[p.name] for p in sound if found[p.name][0] != 0] == []
    assert [p.name for p in wrong if found[p.name][0] != 1] == []


@pytest.mark.parametrize("kind", ["tabular", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("image", "text", "sequence"))])
def test_it_passes_for_every_task_under_the_name_that_was_chosen(tmp_path: Path, kind: str) -> None:
    """With the network as it is generated: pictures go through a ResNet-18."""
    tasks = [answers["task"] for answers in matrix() if answers["modality"] == kind]
    projects = [
        project(tmp_path, kind, task, cheap=task != tasks[-1]) for task in tasks if task not in TASKS[kind][:-1]
    ]
    found = smoke(tmp_path, kind, projects)
    assert {name: log for name, (status, log) in found.items() if status != 0} == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_absent_is_a_failure(tmp_path: Path) -> None:
    made = project(tmp_path, "tabular", "binary")
    status, log = smoke(tmp_path, "tabular", [made], "cuda")[made.name]
    assert status == 1 and "sees no CUDA device" in log and "skipped" not in log, log
