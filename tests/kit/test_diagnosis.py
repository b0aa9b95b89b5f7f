"""The rules that read curves: each diagnosis on curves made for it, and quiet on sound ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recipe_kit.checks.check_result import sentences
from recipe_kit.checks.diagnosis import Evidence, diagnose, peaks

SETTINGS = {
    "lr": 1e-3,
    "lower": 1e-4,
    "third": 3e-4,
    "double": 256,
    "clip": 0.5,
    "epochs": 30,
    "more_epochs": 60,
    "workers": 0,
    "more_workers": 2,
    "anneal": "lr=0.0003",
    "try_bigger": "recipe check hidden=512 && recipe train hidden=512",
    "regularize": "dropout=0.3",
}
EPOCHS = 30


def fall(start: float, end: float, speed: float = 5.0) -> list[float]:
    """A loss that falls from start to end, fast at first."""
    shape = np.exp(-speed * np.linspace(0, 1, EPOCHS))
    return list(end + (start - end) * (shape - shape[-1]) / (1 - shape[-1]))


def evidence(**changed: Any) -> Evidence:
    """A sound classification run, with some of its evidence changed."""
    sound = Evidence(
        start=1.0,
        train_loss=fall(1.0, 0.05),
        val_loss=fall(1.0, 0.15),
        lr=list(np.linspace(1e-3, 1e-5, EPOCHS)),
        seconds=[1.0] * EPOCHS,
        waited=[0.01] * EPOCHS,
        epochs=EPOCHS,
        best_epoch=EPOCHS - 8,
        early=True,
        gain=(0.002, 0.002),
        worth=(0.8, 0.02),
        dead={"1": 0.1},
        updates=1e-3,
        calibration={"confidence": 0.95, "right": 0.95, "ece": 0.02, "ece_null": 0.03},
        baseline={"value": 0.01, "low": 0.0, "high": 0.02},
        signal=True,
    )
    return replace(sound, **changed)


def names(**changed: Any) -> list[str]:
    return [found.check for found in diagnose(evidence(**changed), SETTINGS)]


spiked = fall(1.0, 0.05)
spiked[20] += 0.5
restless = [value + (0.1 if i % 3 == 0 else 0.0) for i, value in enumerate(fall(1.0, 0.2))]
high = {"train_loss": fall(1.0, 0.6), "val_loss": fall(1.0, 0.62)}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("sound curves", {}),
    ("diverged", {"finite": False}),
    ("diverged", {"train_loss": [1.0, 1.2, 4.0]}),
    ("not learning", {"train_loss": [1.0] * EPOCHS, "val_loss": [1.0] * EPOCHS, "updates": 1e-9, "worth": (0.0, 0.01)}),
    ("unstable", {"train_loss": restless}),
    ("late spike", {"train_loss": spiked}),
    ("dead units at the end", {"dead": {"1": 0.2, "3": 0.8}}),
    ("plateau", {"train_loss": fall(1.0, 0.4, 30), "val_loss": fall(1.0, 0.45, 30), "lr": [1e-3] * EPOCHS}),
    ("overfitting", {"rise": (0.3, 0.02), "best_epoch": 5}),
    ("still improving", {"early": False, "best_epoch": EPOCHS - 1, "gain": (0.15, 0.01)}),
    (  # three epochs of a text network on 59 validation rows: too few of both to be sure of the gain by itself
        "still improving",
        {
            "start": 1.791,
            "train_loss": [1.741, 1.479, 1.314],
            "val_loss": [1.616, 1.400, 1.354],
            "gain": (0.046, 0.02),
            "early": False,
            "best_epoch": 2,
        },
    ),
    ("underfitting or data ceiling", high),
    ("underfitting", {**high, "bigger": [0.05, 0.02, 0.08]}),
    ("underfitting", {**high, "baseline": {"value": -0.1, "low": -0.15, "high": -0.05}}),
    ("data ceiling", {**high, "bigger": [0.001, -0.01, 0.012]}),
    ("oscillating validation", {"peaks": 3}),
    (  # curves that fall as they should, at .18 accuracy where a linear probe has .72
        "far behind the baseline",
        {"baseline": {"value": -0.54, "low": -0.58, "high": -0.50}, "gained": 0.62},
    ),
    ("good from the first epoch", {"val_loss": fall(0.02, 0.001), "train_loss": fall(0.5, 0.001)}),
    ("learning rate outside the range", {"lr_found": [1e-5, 3e-5]}),
    ("overconfident", {"calibration": {"confidence": 0.97, "right": 0.85, "ece": 0.12, "ece_null": 0.04}}),
    ("loader-bound", {"waited": [0.5] * EPOCHS}),
]


@pytest.mark.parametrize(("expected", "changed"), CASES)
def test_each_diagnosis_on_its_curves(expected: str, changed: dict[str, Any]) -> None:
    assert names(**changed) == [expected]


@pytest.mark.parametrize(("share", "verdict"), [(0.15, "PASS"), (0.35, "PASS"), (0.5, "WARN")])
def test_a_run_that_stops_before_learning_slows_down_is_more_than_a_note(share: float, verdict: str) -> None:
    """Two fifths of the epochs that bring two fifths of what was learned: the curve is a straight line to the end."""
    learned = evidence().learned
    (found,) = diagnose(evidence(early=False, best_epoch=EPOCHS - 1, gain=(share * learned, 0.01)), SETTINGS)
    assert (found.check, found.verdict) == ("still improving", verdict)
    (unsure,) = diagnose(evidence(early=False, best_epoch=EPOCHS - 1, gain=(0.5 * learned, 0.12 * learned)), SETTINGS)
    assert unsure.verdict == "PASS"


def test_every_rule_has_a_case() -> None:
    words = sentences()
    told = {name for name, _ in CASES}
    after = list(words)[list(words).index("sound curves") :]
    rules = after[: after.index("learning curve")]
    assert told == set(rules)


@pytest.mark.parametrize(("expected", "changed"), CASES[1:])
def test_a_diagnosis_comes_with_evidence_causes_and_one_command(expected: str, changed: dict[str, Any]) -> None:
    (found,) = diagnose(evidence(**changed), SETTINGS)
    assert any(letter.isdigit() for letter in found.observed) or not evidence(**changed).finite
    assert len(found.causes) >= 2 or expected == "underfitting"
    assert found.next.startswith("recipe ")
    assert "{" not in found.next + found.observed + "".join(cause.sentence for cause in found.causes)


def test_regularization_is_offered_on_overfitting_only() -> None:
    offered = [name for name, changed in CASES for f in diagnose(evidence(**changed), SETTINGS) if "dropout" in f.next]
    assert offered == ["overfitting"]


def test_a_weak_signal_is_not_taken_for_none() -> None:
    """Flights: the best that is known brings the loss down by a few per cent, but surely."""
    weak = {"train_loss": fall(1.0, 0.985), "val_loss": fall(1.0, 0.99)}
    assert names(**weak, worth=(0.01, 0.02)) == ["not learning"]
    assert "not learning" not in names(**weak, worth=(0.01, 0.001))


def test_an_early_stopped_run_that_lost_little_is_sound() -> None:
    assert names(rise=(0.02, 0.002)) == ["sound curves"]
    assert names(rise=(0.3, 0.2)) == ["sound curves"]  # large, but within the noise of the rows


def test_a_loss_of_next_to_nothing_is_no_underfitting() -> None:
    """One positive in a hundred: the trivial loss is .056, and .006 is more than a tenth of it."""
    rare = {"start": 0.056, "train_loss": fall(0.056, 0.006), "val_loss": fall(0.056, 0.0065), "worth": (0.04, 0.002)}
    assert names(**rare) == ["sound curves"]


def test_a_simple_model_that_is_a_little_better_is_not_far_ahead() -> None:
    assert names(baseline={"value": -0.02, "low": -0.03, "high": -0.01}, gained=0.4) == ["sound curves"]
    assert names(baseline={"value": -0.5, "low": -1.1, "high": 0.1}, gained=0.6) == ["sound curves"]  # few rows


def test_peaks_of_validation_are_counted_beyond_noise() -> None:
    random = np.random.default_rng(0)
    rows = random.gamma(1.0, 1.0, 400)
    steady = np.array(fall(1.0, 0.3))[:, None] * rows
    noisy = steady * random.gamma(4.0, 0.25, steady.shape)
    assert peaks(steady) == 0 and peaks(noisy) == 0
    swung = noisy * (1 + 0.6 * (np.arange(EPOCHS) % 6 == 5))[:, None]
    assert peaks(swung) == 4  # the fifth rise is the last epoch: it has not fallen again
    overfitted = np.r_[steady, steady[::-1]]
    assert peaks(overfitted) == 0
