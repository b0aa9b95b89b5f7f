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
