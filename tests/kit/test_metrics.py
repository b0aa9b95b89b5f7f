"""Every metric against scikit-learn, weights against repeated rows, intervals against what is known of them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from my_model.config import METRICS, Config
from my_model.engine import metrics
from scipy.special import expit, log_softmax
from sklearn import metrics as reference

PREP: dict[str, Any] = {"target_mean": 3.0, "target_scale": 2.0, "classes": ["a", "b"], "outputs": 1}
LEFT_OUT = (("ranking", "ndcg"), ("multiclass", "auc"), ("multiclass", "average_precision"))  # weighed in other ways
TASKS = [(task, name) for task, names in METRICS.items() for name in names]


def config_of(task: str, **settings: Any) -> Config:
    return Config(task=task, iid="drawn", query="q" if task == "ranking" else "", **settings)


def drawn(task: str, n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Outputs with ties, targets and queries of a task."""
    random = np.random.default_rng(seed)
    if task == "multiclass":
        y = random.integers(0, 4, n)
        return np.round(random.normal(size=(n, 4)) + 1.5 * np.eye(4)[y], 1), y, None
    y = random.integers(0, 2, n) if task == "binary" else random.normal(size=n)
    outputs = np.round(random.normal(size=(n, 1)) + y[:, None], 1)
    if task == "ranking":
        return random.permutation(n)[:, None] / n, random.integers(0, 4, n).astype(float), np.arange(n) // 8
    return outputs, y, None


def by_reference(name: str, outputs: np.ndarray, y: np.ndarray, query: np.ndarray | None) -> float:
    """The same metric as scikit-learn computes it."""
    if name in ("rmse", "mae", "r2"):
        truth, prediction = 2.0 * y + 3.0, 2.0 * outputs[:, 0] + 3.0
        return {"rmse": reference.root_mean_squared_error, "mae": reference.mean_absolute_error,
                "r2": reference.r2_score}[name](truth, prediction)  # fmt: skip
    if name == "ndcg":
        assert query is not None
        each = [(2.0 ** y[query == q] - 1, outputs[query == q, 0]) for q in np.unique(query)]
        return float(np.mean([reference.ndcg_score([gain], [s], k=10) for gain, s in each if gain.any()]))
    # By the same formula as ours: another one rounds otherwise, and what are ties in one are none in the other.
    probability = expit(outputs[:, 0]) if outputs.shape[1] == 1 else np.exp(log_softmax(outputs, axis=1))
    prediction = (probability > 0.5).astype(int) if outputs.shape[1] == 1 else probability.argmax(axis=1)
    if name == "cost":
        called = probability >= 5 / 7
        return float(np.mean(np.where(called & (y == 0), 5.0, np.where(~called & (y == 1), 2.0, 0.0))))
    if name == "average_precision" and probability.ndim == 2:
        return reference.average_precision_score(np.eye(4)[y], probability, average="macro")
    if name == "auc" and probability.ndim == 2:
        return reference.roc_auc_score(y, probability, multi_class="ovr", average="macro")
    if name in ("auc", "average_precision", "log_loss"):
        scores = {"auc": reference.roc_auc_score, "average_precision": reference.average_precision_score,
                  "log_loss": reference.log_loss}  # fmt: skip
        return scores[name](y, probability)
    if name == "macro_f1":
        return reference.f1_score(y, prediction, average="macro")
    return {"accuracy": reference.accuracy_score, "balanced_accuracy": reference.balanced_accuracy_score,
            "f1": reference.f1_score}[name](y, prediction)  # fmt: skip


def called(task: str, outputs: np.ndarray, cut: float = 0.5) -> np.ndarray | None:
    """Decisions at a threshold that is given, as on the test part."""
    probability = metrics.class_probabilities(outputs)
    return {"binary": (probability[:, 1] > cut).astype(int), "multiclass": probability.argmax(axis=1)}.get(task)


@pytest.mark.parametrize(("task", "name"), TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_agree_with_scikit_learn(task: str, name: str, seed: int) -> None:
    outputs, y, query = drawn(task, seed=seed)
    config = config_of(task, cost_false_positive=5.0, cost_false_negative=2.0)
    decided = called(task, outputs, 5 / 7 if name == "cost" else 0.5)
    got = metrics.score(config, PREP, outputs, metrics.Truth(y, query), metric=name, decided=decided)
    assert got == pytest.approx(by_reference(name, outputs, y, query), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([pair for pair in TASKS if pair not in LEFT_OUT]), st.integers(0, 10_000))
def test_a_weight_is_a_repeated_row(pair: tuple[str, str], seed: int) -> None:
    """The bootstrap weighs rows instead of copying them: both must score alike."""
    task, name = pair
    outputs, y, _ = drawn(task, n=40, seed=seed)
    counts = np.random.default_rng(seed).multinomial(40, np.full(40, 1 / 40))
    rows = np.repeat(np.arange(40), counts)
    config, decided = config_of(task), called(task, outputs)
    weighted = metrics.measure(config, PREP, name, outputs, metrics.Truth(y), decided).of
    again = None if decided is None else decided[rows]
    repeated = metrics.score(config, PREP, outputs[rows], metrics.Truth(y[rows]), metric=name, decided=again)
    got = weighted(counts[None].astype(float))[0]
    assert got == pytest.approx(repeated, abs=1e-9) or (np.isnan(got) and np.isnan(repeated))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_auc_depends_on_the_order_alone(seed: int, scale: float, shift: float) -> None:
    outputs, y, _ = drawn("binary", seed=seed)
    one = metrics.score(config_of("binary"), PREP, outputs, metrics.Truth(y))
    assert one == pytest.approx(metrics.score(config_of("binary"), PREP, scale * outputs + shift, metrics.Truth(y)))
    assert one == pytest.approx(1 - metrics.score(config_of("binary"), PREP, -outputs, metrics.Truth(y)))


def test_constant_scores_earn_nothing() -> None:
    flat = np.zeros((80, 1))
    assert metrics.score(config_of("binary"), PREP, flat, metrics.Truth(np.arange(80) % 2)) == 0.5
    relevance, query = np.tile([3.0, 0.0, 0.0, 0.0], 20), np.arange(80) // 4
    random_order = np.mean(1 / np.log2(np.arange(2, 6)))
    assert metrics.score(config_of("ranking"), PREP, flat, metrics.Truth(relevance, query)) == pytest.approx(
        random_order
    )


@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_ties_of_a_ranking_share_their_places(levels: int) -> None:
    """As scikit-learn averages them, also across the tenth place."""
    random = np.random.default_rng(levels)
    for _ in range(50):
        rows = int(random.integers(2, 30))
        relevance, scores = random.integers(0, 4, rows), random.integers(0, levels, rows).astype(float)
        relevance[0] = 3
        got = metrics.ndcg(scores, relevance, np.zeros(rows, dtype=int))[0]
        gain = np.exp2(relevance.astype(float)) - 1
        assert got == pytest.approx(reference.ndcg_score([gain], [scores], k=10, ignore_ties=False))


def test_the_interval_is_the_bootstrap_one() -> None:
    """Standard error of an accuracy of .8 at n = 400: .02; the interval is 1.96 of them each way."""
    y = np.zeros(400, dtype=int)
    outputs = np.where(np.arange(400) % 5 == 0, 1.0, -1.0)[:, None]
    decided = called("binary", outputs)
    got = metrics.estimate(config_of("binary", metric="accuracy"), PREP, outputs, metrics.Truth(y), decided=decided)
    assert got["value"] == 0.8
    assert (got["high"] - got["low"]) / (2 * 1.96) == pytest.approx(0.02, rel=0.1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    config = config_of("binary", metric="auc", bootstrap=200)
    truth, held = 0.7602, 0  # two normals one apart: Phi(1 / sqrt 2)
    for seed in range(60):
        random = np.random.default_rng(seed)
        y = random.integers(0, 2, 300)
        got = metrics.estimate(config, PREP, random.normal(size=(300, 1)) + y[:, None], metrics.Truth(y))
        held += got["low"] <= truth <= got["high"]
    assert 51 <= held <= 60, held  # .95 of 60 is 57; 51 and fewer come once in 300


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(10, 10, 0.7225, 1), (0, 10, 0, 0.2775), (30, 40, 0.5981, 0.8581)])  # fmt: skip
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    assert metrics.wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "auc", "average_precision", "f1", "cost"])
@pytest.mark.parametrize("right", [True, False])
def test_a_perfect_score_is_not_certain(name: str, right: bool) -> None:
    """All rows right, or all wrong: the bootstrap has no width there, and 30 rows cannot prove 1.0."""
    y = np.arange(30) % 2
    outputs = (4.0 if right else -4.0) * (2 * y[:, None] - 1.0)
    got = metrics.estimate(
        config_of("binary", metric=name), PREP, outputs, metrics.Truth(y), decided=called("binary", outputs)
    )
    n = 30 if name in ("accuracy", "cost") else 15
    if got["value"] == 1.0:
        assert got["low"] == pytest.approx(n / (n + 3.8415), abs=1e-4) and got["high"] == 1.0
    elif got["value"] == 0.0:
        assert got["low"] == 0.0 and got["high"] == pytest.approx(3.8415 / (n + 3.8415), abs=1e-4)
    else:
        assert name == "average_precision" and not right and got["low"] < got["high"]


def test_a_perfect_score_of_more_classes_and_queries() -> None:
    y = np.arange(90) % 3
    got = metrics.estimate(config_of("multiclass", metric="macro_f1"), PREP, 5 * np.eye(3)[y], metrics.Truth(y))
    assert got["value"] == 1.0 and got["low"] == pytest.approx(30 / 33.8415, abs=1e-4)
    ranked = metrics.estimate(
        config_of("ranking"), PREP, y[:, None].astype(float), metrics.Truth(y.astype(float), np.arange(90) // 3)
    )
    assert ranked["value"] == 1.0 and ranked["low"] == pytest.approx(30 / 33.8415, abs=1e-4)


def test_an_error_of_nothing_stays_nothing() -> None:
    y = np.random.default_rng(0).normal(size=30)
    assert metrics.estimate(config_of("regression"), PREP, y[:, None], metrics.Truth(y)) == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
    }


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    config = config_of("binary", metric="accuracy")
    outputs, y, _ = drawn("binary", n=500)
    other = outputs.copy()
    other[:5] *= -1
    paired = metrics.difference(config, PREP, outputs, other, metrics.Truth(y))
    single = metrics.estimate(config, PREP, outputs, metrics.Truth(y))
    assert paired["high"] - paired["low"] < 0.3 * (single["high"] - single["low"])
    assert metrics.difference(config, PREP, outputs, outputs, metrics.Truth(y)) == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
    }


def test_better_knows_the_direction() -> None:
    assert metrics.better("auc", 0.9, 0.8) and metrics.better("rmse", 0.8, 0.9)
    assert not metrics.better("auc", 0.8, 0.8) and not metrics.better("rmse", 0.8, 0.8)


@pytest.mark.parametrize("task", list(METRICS))
def test_twenty_thousand_rows_take_seconds(task: str) -> None:
    """1,000 resamples of the main metric: .7 to 2 s measured on one core; ten times that is a mistake."""
    outputs, y, query = drawn(task, n=20_000)
    before = time.process_time()
    metrics.estimate(config_of(task), PREP, outputs, metrics.Truth(y, query))
    assert time.process_time() - before < 20
