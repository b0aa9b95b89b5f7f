"""The two checks that catch most silent bugs, on the GPU when there is one and on the CPU otherwise: `pytest -m smoke`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..checks import network
from .test_checks import make_bench, verdicts
from .toy import toy_project

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("k", [1, 2, 3])
def test_init_loss(tmp_path: Path, k: int) -> None:
    bench = make_bench(toy_project(tmp_path, k=k, device="auto"))
    assert verdicts(network.init_loss(bench)) == {"init loss": "PASS"}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_overfit_a_batch(tmp_path: Path, k: int) -> None:
    bench = make_bench(toy_project(tmp_path, k=k, device="auto"))
    assert verdicts(network.overfit(bench)) == {"overfit a batch": "PASS"}


@pytest.mark.parametrize("rare", [0, 1, 4])
def test_the_first_loss_is_expected_of_the_rows_at_hand(tmp_path: Path, rare: int) -> None:
    """With balanced weights one rare row among 32 is worth half of the loss: how many there are is chance, no fault."""
    bench = make_bench(toy_project(tmp_path, batch_size=8, class_weights="balanced"))
    bench.prep["prior"] = [0.98, 0.02]
    bench.train.y[:32] = 0
    bench.train.y[:rare] = 1
    assert verdicts(network.init_loss(bench)) == {"init loss": "PASS"}
