"""Image projects at work: a backbone through the checks and a run, and records of the same shape as for tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, bake, run, wines

sys.path.insert(0, str(ROOT / "demo"))
import data

SETTINGS = {
    "target": "digit", "iid": "each digit was written once", "weights": "none", "size": 16, "lr": 1e-3, "epochs": 2,
    "tracker": "none", "batch_size": 8,
}  # fmt: skip


def generated(folder: Path) -> Path:
    """A project on three of the ten digits; its recipe.toml holds nothing but what an owner would set."""
    project = bake(folder, modality="image", task="multiclass")
    data.digit_images(project / "data" / "images", (0, 1, 2))
    text = (project / "recipe.toml").read_text()
    kept = [line for line in text.removesuffix("\n").split("\n") if line.split(" = ")[0] not in SETTINGS]
    (project / "recipe.toml").write_text("\n".join([*kept, *(f"{k} = {json.dumps(v)}" for k, v in SETTINGS.items()), ""]))
    return project


def shapes(project: Path) -> dict[str, tuple[set[str], set[str]]]:
    """The keys of each step's record, and of the result in it."""
    records = [json.loads(path.read_text()) for path in sorted((project / "runs").glob("*/record.json"))]
    return {record["step"]: (set(record), set(record["result"])) for record in records}


def tabular(folder: Path) -> Path:
    """A project on the wines, taken through the same steps."""
    project = wines(folder, project_slug="tables")
    for step in ("audit", "split", "baseline", "check", "train", "evaluate"):
        done = run(project, step, "epochs=2", "tracker=none", "--force", "only its shape matters")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return project


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        pytest.param("resnet18", ["epochs=2"], marks=pytest.mark.slow),
        # Rightly a FAIL on batches of 8: behind BatchNorm over 8 numbers its first gradients are 4,000 long, and loss rises.
        pytest.param("resnet50", ["epochs=6", "batch_size=32"], marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", ["epochs=10"], marks=pytest.mark.slow),  # its BatchNorm follows ten times as slowly
    ],
)
def test_every_backbone_passes_the_checks_and_trains(tmp_path: Path, backbone: str, settings: list[str]) -> None:
    """No check fails on random weights of full size; the run is recorded with the keys that a run on a table has."""
    project = generated(tmp_path)
    for step in ("audit", "split", "baseline", "check", "train", "evaluate", "report"):
        done = run(project, step, f"backbone={backbone}", *settings, timeout=1200)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (step, done.stdout[-4000:] + done.stderr)
    trained: dict[str, Any] = json.loads(next((project / "runs").glob("*-train/record.json")).read_text())["result"]
    assert trained["parameters"] > 3e6
    assert trained["metrics"]["accuracy"]["value"] > 0.9
    theirs = shapes(tabular(tmp_path))
    assert {step: shape for step, shape in shapes(project).items() if step in theirs} == theirs


@pytest.mark.slow
def test_a_project_starts_from_what_another_learned(tmp_path: Path) -> None:
    """A run's folder as `weights`, frozen: the linear probe on its features is among the baselines and good."""
    first = generated(tmp_path)
    for step in ("split", "baseline", "train"):
        assert run(first, step, "--force", "a shorter test").returncode == 0
    second = bake(tmp_path, project_slug="second", package="second", modality="image", task="multiclass")
    data.digit_images(second / "data" / "images", (3, 4, 5))
    (second / "recipe.toml").write_text((first / "recipe.toml").read_text())
    weights = next((first / "runs").glob("*-train"))
    forced = ("--force", "a shorter test")
    for step in ("split", "baseline"):
        done = run(second, step, f"weights={weights}", "adapt=frozen", "size=0", *forced)
        assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(next((second / "runs").glob("*-baseline/record.json")).read_text())["result"]["baselines"]
    assert found["frozen_features"]["metrics"]["accuracy"]["value"] > 0.8
    missing = run(second, "baseline", "weights=../nowhere", *forced)
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1 and "no file, no folder" in missing.stderr
