"""What the steps themselves judge, beside the checks: each passing on sound numbers and failing on its fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from my_model.engine.loop import NonFinite, losses_of
from my_model.engine.losses import make_loss
from my_model.engine.metrics import Truth
from my_model.engine.resume import Progress
from my_model.engine.train import Trained
from my_model.task import Batch
from recipe_kit.project import Project
from recipe_kit.steps import baseline, evaluate, lr_find, rerun, train
from recipe_kit.steps.check import guarded

from .toy import ToyExamples, toy_project

PREP: dict[str, Any] = {
    "classes": ["0", "1"],
    "outputs": 1,
    "prior": [0.5, 0.5],
    "target_mean": 0.0,
    "target_scale": 1.0,
}


def known(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n], and outputs [n, 1] that tell them well."""
    random = np.random.default_rng(0)
    y = (np.arange(n) % 2).astype(np.float32)
    return y, (2 * y[:, None] - 1 + random.normal(0, 0.8, (n, 1))).astype(np.float32)


def test_a_baseline_no_better_than_the_majority_is_named(tmp_path: Path) -> None:
    config = toy_project(tmp_path).config
    y, good = known()
    trivial = np.zeros((len(y), 1), dtype=np.float32)
    noise = np.random.default_rng(1).normal(size=(len(y), 1)).astype(np.float32)
    for name, outputs, verdict in (("model", good, "PASS"), ("model", noise, "WARN"), ("majority", trivial, "WARN")):
        found = baseline.signal(config, PREP, {"majority": trivial, name: outputs}, Truth(y), name)
        assert found.verdict == verdict, found.observed


@pytest.mark.parametrize(("ours", "verdict"), [("good", "PASS"), ("same", "WARN"), ("bad", "WARN")])
def test_a_network_worse_than_the_baseline_is_named(tmp_path: Path, ours: str, verdict: str) -> None:
    project = toy_project(tmp_path)
    y, good = known()
    noisy = good + np.random.default_rng(2).normal(0, 3, good.shape).astype(np.float32)
    outputs = {"good": (good, noisy), "same": (good, good), "bad": (noisy, good)}[ours]
    (tmp_path / "runs" / "0001-baseline").mkdir(parents=True)
    np.save(tmp_path / "runs" / "0001-baseline" / "outputs-tree.npy", outputs[1])
    record = {"id": "0001-baseline", "result": {"best": "tree"}}
    none = ToyExamples(torch.zeros(0, 4), torch.zeros(0))
    trained = Trained(PREP, none, none, Truth(y, None, None), outputs[0], None, None, {})
    found = train.against_baseline(project, project.begin("train"), trained, record)
    assert found.verdict == verdict, found.observed


@pytest.mark.parametrize(("moved", "verdict"), [(0.0, "PASS"), (0.5, "FAIL")])
def test_weights_that_are_not_the_best_fail(tmp_path: Path, moved: float, verdict: str) -> None:
    project = toy_project(tmp_path)
    y, good = known()
    val = ToyExamples(torch.zeros(len(y), 4), torch.from_numpy(y))
    loss = make_loss(project.config, PREP)
    best = float(losses_of(loss, good, val).mean(dtype=np.float64))
    progress = Progress(curves=[{"val_loss": best + 0.2}, {"val_loss": best}, {"val_loss": float("nan")}], best_epoch=1)
    assert train.best_restored(loss, val, good + moved, progress).verdict == verdict


def repeated(project: Project, score: float, moved: float, different: list[str]) -> str:
    """Verdict on a repetition whose outputs moved and whose score is this one; the first had .80 [.75, .85]."""
    records, folders = [], (project.root / "runs" / "0001-train", project.root / "runs" / "0002-train")
    for number, value, shift in ((1, 0.8, 0.0), (2, score, moved)):
        folder = project.root / "runs" / f"000{number}-train"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "outputs.npy", known()[1] + shift)
        metrics = {"auc": {"value": value, "low": 0.75, "high": 0.85}}
        records.append({"id": folder.name, "result": {"metric": "auc", "metrics": metrics}})
    return rerun.agreement(folders, records[0], records[1], different).verdict


def test_a_run_that_does_not_come_back_fails(tmp_path: Path) -> None:
    """rerun agrees: to the last bit, or for a reason and inside the interval."""
    project = toy_project(tmp_path)
    assert repeated(project, 0.8, 0.0, []) == "PASS"
    assert repeated(project, 0.81, 0.01, ["gpu"]) == "PASS"  # inside the interval, and why is known
    assert repeated(project, 0.81, 0.01, []) == "WARN"
    assert repeated(project, 0.7, 0.3, ["gpu"]) == "FAIL"


@pytest.mark.parametrize(
    ("rate", "low", "high", "verdict"),
    [(3e-3, 1e-3, 5e-3, "PASS"), (0.1, 1e-3, 5e-3, "WARN"), (1e-5, 1e-3, 5e-3, "WARN"), (3e-3, 1e-4, 1e-2, "WARN")],
)
def test_a_rate_far_from_the_range_or_seeds_that_disagree_are_named(rate: float, low: float, high: float, verdict: str) -> None:  # fmt: skip
    assert lr_find.agreement(rate, {"low": low, "high": high, "suggestion": low}).verdict == verdict


def test_a_check_that_crashes_is_red_and_hides_no_other() -> None:
    def broken_code(context: object) -> None:
        raise RuntimeError("no such layer")

    found = guarded(broken_code)(None)  # type: ignore[arg-type]
    assert (found.verdict, found.check) == ("FAIL", "broken code") and "no such layer" in found.observed  # type: ignore[union-attr]


@pytest.mark.parametrize(("times", "verdict"), [(1, "PASS"), (2, "WARN"), (3, "WARN")])
def test_a_second_look_at_the_test_part_is_said(times: int, verdict: str) -> None:
    looks = [
        {"id": f"000{i}-evaluate", "run": "0001-train", "time": "2026-01-01", "force": "a bug"} for i in range(times)
    ]
    assert evaluate.opened_once(looks).verdict == verdict


@pytest.mark.parametrize(("value", "words"), [(1.0, "are finite"), (float("inf"), "are NOT finite")])
def test_a_step_that_is_not_finite_fails(tmp_path: Path, value: float, words: str) -> None:
    """finite training: whose fault it is depends on the inputs of the batch."""
    batch = Batch(torch.full((2, 4), value), torch.zeros(2), torch.arange(2))
    found = train.non_finite(toy_project(tmp_path).config, NonFinite("the loss is nan", [batch]))
    assert found.verdict == "FAIL" and words in found.observed
