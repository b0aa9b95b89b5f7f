"""Calibration on probabilities whose truth is known, against scikit-learn where it has the same number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from my_model.config import Config
from my_model.engine import calibration, decisions, metrics
from scipy.special import expit
from sklearn.metrics import brier_score_loss

CONFIG = Config(iid="drawn")


def honest(n: int, seed: int = 0, k: int = 2, sharp: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a perfectly calibrated model and targets drawn from its probabilities."""
    random = np.random.default_rng(seed)
    outputs = sharp * random.normal(size=(n, 1 if k == 2 else k))
    probability = metrics.class_probabilities(outputs)
    return outputs, (random.random((n, 1)) > probability.cumsum(axis=1)).sum(axis=1).clip(max=probability.shape[1] - 1)


@pytest.mark.parametrize("k", [2, 4])
def test_an_honest_model_stays_under_its_null(k: int) -> None:
    """The null is the 95th percentile of what honesty shows: about 1 in 20 may pass it."""
    over = 0
    for seed in range(40):
        outputs, truth = honest(300, seed, k)
        probability = metrics.class_probabilities(outputs)
        over += calibration.ece(probability, truth) > calibration.ece_null(probability, draws=100)
    assert over <= 6, over  # 2 expected; 7 and more come once in 250


@pytest.mark.parametrize("k", [2, 4])
def test_an_overconfident_model_is_over_it(k: int) -> None:
    outputs, truth = honest(600, k=k)
    probability = metrics.class_probabilities(3 * outputs)
    assert calibration.ece(probability, truth) > 2 * calibration.ece_null(probability)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 4])
def test_the_temperature_is_found(temperature: float, k: int) -> None:
    outputs, truth = honest(5000, k=k)
    assert calibration.temperature(temperature * outputs, truth) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("n", [20, 80])
def test_a_faultless_validation_part_does_not_ask_for_certainty(n: int) -> None:
    """All n rows right: the fitted model may be as sure as n + 2 rows allow, and no surer."""
    truth = np.arange(n) % 2
    outputs = 2.0 * (2 * truth[:, None] - 1.0)
    said = expit(2.0 / calibration.temperature(outputs, truth))
    assert said == pytest.approx((n + 1) / (n + 2), abs=2e-3)


def test_temperature_keeps_the_called_class() -> None:
    outputs, truth = honest(500, k=4)
    temperature = calibration.temperature(5 * outputs, truth)
    assert (outputs.argmax(axis=1) == (5 * outputs / temperature).argmax(axis=1)).all()


def test_brier_agrees_with_scikit_learn() -> None:
    outputs, truth = honest(300)
    probability = metrics.class_probabilities(outputs)
    assert calibration.distances(probability, truth).mean() == pytest.approx(
        2 * brier_score_loss(truth, expit(outputs[:, 0]))
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 6))
def test_the_bins_hold_every_row_once_in_any_order(seed: int, n: int, levels: int) -> None:
    """Few levels: ties share a bin, so the order of the rows cannot matter."""
    random = np.random.default_rng(seed)
    positive = random.integers(0, levels, n) / levels
    probability, truth = np.stack([1 - positive, positive], axis=1), random.integers(0, 2, n)
    order = random.permutation(n)
    bins = calibration.reliability(probability, truth)
    assert sum(b["n"] for b in bins) == n and len(bins) <= calibration.BINS
    shuffled = calibration.reliability(probability[order], truth[order])
    assert [b["n"] for b in bins] == [b["n"] for b in shuffled]
    assert [b["right"] for b in bins] == pytest.approx([b["right"] for b in shuffled])


@settings(max_examples=50, deadline=None)
@example(rows=[(8, False)], alarm=1.0, miss=0.0)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40), st.floats(0, 9), st.floats(0, 9))
def test_no_threshold_is_cheaper(rows: list[tuple[int, bool]], alarm: float, miss: float) -> None:
    config = Config(iid="drawn", cost_false_positive=alarm, cost_false_negative=miss)
    positive, truth = np.array([r[0] / 8 for r in rows]), np.array([int(r[1]) for r in rows])

    def cost(cut: float) -> float:
        return float(metrics.costs(config, (positive >= cut).astype(int), truth).sum())

    if alarm == miss:
        return  # then the metric decides
    best = cost(decisions.threshold(config, positive, truth))
    assert best <= min(cost(cut) for cut in np.linspace(0, 1.125, 19)) + 1e-9
