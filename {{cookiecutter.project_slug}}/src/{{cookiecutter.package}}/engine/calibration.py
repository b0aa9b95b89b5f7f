"""Do probabilities mean what they say? Reliability, its error against chance, temperature, and the cheapest threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from ..config import Config
from . import metrics

BINS = 15


def confidence(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confidence [n], right [n]): of the called class; for two classes, of the positive class and whether it is true."""
    if probability.shape[1] == 2:
        return probability[:, 1], (truth == 1).astype(float)
    return probability.max(axis=1), (probability.argmax(axis=1) == truth).astype(float)


def reliability(probability: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """Equally full bins of confidence: mean confidence, share that was right, number of rows.

    Rows of equal confidence share a bin: else the order of the rows would decide who is in which.
    """
    sure, right = confidence(probability, truth)
    order = np.argsort(sure, kind="stable")
    bins = min(BINS, max(len(sure) // 10, 1))
    cuts = np.arange(1, bins) * len(sure) // bins
    parts = np.split(order, np.unique(np.searchsorted(sure[order], sure[order][cuts], side="left")))
    return [
        {"confidence": float(sure[p].mean()), "right": float(right[p].mean()), "n": len(p)} for p in parts if len(p)
    ]


def ece(probability: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error over equally full bins (Naeini et al. 2015)."""
    bins = reliability(probability, truth)
    total = sum(b["n"] for b in bins)
    return sum(b["n"] * abs(b["confidence"] - b["right"]) for b in bins) / total


def ece_null(probability: np.ndarray, draws: int = 200) -> float:
    """95th percentile of the ECE that a perfectly calibrated model with these probabilities shows at this n.

    A finite sample is never perfectly calibrated: at n = 200 a perfect model shows about 0.04.
    """
    random = np.random.default_rng(0)
    edges = probability.cumsum(axis=1)
    drawn = [
        ece(probability, (random.random((len(probability), 1)) > edges).sum(axis=1).clip(max=probability.shape[1] - 1))
        for _ in range(draws)
    ]
    return float(np.quantile(drawn, 0.95))


def distances(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared distance between the probabilities and the truth of each row [n], summed over classes: their mean is the Brier
    score."""
    return np.asarray(((probability - np.eye(probability.shape[1])[truth]) ** 2).sum(axis=1))


def temperature(outputs: np.ndarray, truth: np.ndarray) -> float:
    """The T that minimizes log loss of outputs / T (Guo et al. 2017), between 0.05 and 20. Fit it on validation only.

    The truth counts as Platt's (1999) smoothed targets: as if one more row of each class had been seen. Where validation
    is all right, plain log loss would ask for T = 0, certainty that n rows cannot give.
    """

    def loss(log_t: float) -> float:
        probability = metrics.class_probabilities(outputs / np.exp(log_t))
        n, k = probability.shape
        target = (np.eye(k)[truth] * n + 1) / (n + k)
        return float(-(target * np.log(np.clip(probability, 1e-15, None))).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def describe(
    config: Config, probability: np.ndarray, truth: np.ndarray, together: np.ndarray | None = None
) -> dict[str, Any]:
    """ECE with its null, the Brier score with its interval, and the reliability bins of class probabilities [n, c]."""
    brier = metrics.mean_of(config, distances(probability, truth), together)
    return {
        "ece": ece(probability, truth),
        "ece_null": ece_null(probability),
        "brier": brier["value"],
        "brier_low": brier["low"],
        "brier_high": brier["high"],
        "bins": reliability(probability, truth),
    }
