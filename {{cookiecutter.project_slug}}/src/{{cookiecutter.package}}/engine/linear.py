"""Logistic and ridge regression as two arrays: the simple model that every modality fits on its own features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config
from ..task import Data

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse regularization tried on an inner part of the training rows


@dataclass
class Linear:
    """Linear in features(data) [n, d], centered and scaled -> outputs [n, k]. center [d], scale [d] or [], weights [d, k],
    bias [k]; these arrays are what `file` holds."""

    file: str
    features: Callable[[Data], np.ndarray]
    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def predict(self, data: Data) -> np.ndarray:
        x = (self.features(data) - self.center) / self.scale
        return np.asarray(x @ self.weights + self.bias, dtype=np.float32)

    def save(self, folder: Path) -> None:
        np.savez(folder / self.file, center=self.center, scale=self.scale, weights=self.weights, bias=self.bias)


def fit_linear(config: Config, prep: dict[str, Any], x: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, k] and bias [k] of logistic or ridge regression; its strength is chosen on an inner fifth of the rows."""
    from sklearn.linear_model import LogisticRegression, Ridge

    def make(c: float) -> Any:
        weight = None if config.class_weights == "none" else "balanced"
        logistic = LogisticRegression(C=c, max_iter=300, class_weight=weight)
        return logistic if prep["classes"] else Ridge(alpha=1.0 / c, solver="lsqr")

    inner = np.random.default_rng(0).permutation(len(y)) % 5 == 0
    enough = not prep["classes"] or set(y) == set(y[~inner])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a strength that does not converge loses to the others, or is near enough
        scores = (
            [_fits(make(c).fit(x[~inner], y[~inner]), x[inner], y[inner]) for c in STRENGTHS] if enough else [0.0, 1.0]
        )
        model = make(STRENGTHS[int(np.argmax(scores))]).fit(x, y)
    return of_all_classes(model, prep["outputs"])


def of_all_classes(model: Any, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, k] and bias [k] with a column for every class, also for one that the rows did not have."""
    weights, bias = np.atleast_2d(model.coef_).T.astype(np.float32), np.atleast_1d(model.intercept_).astype(np.float32)
    if outputs == 1:
        return weights, bias
    if weights.shape[1] == 1:  # of two classes only the second has a column
        weights, bias = np.hstack([0 * weights, weights]), np.array([0.0, bias[0]], dtype=np.float32)
    every = np.zeros((len(weights), outputs), dtype=np.float32)
    shift = np.full(outputs, bias.min() - 10, dtype=np.float32)
    seen = model.classes_.astype(int)
    every[:, seen], shift[seen] = weights, bias
    return every, shift


def _fits(model: Any, x: Any, y: np.ndarray) -> float:
    """Mean log-likelihood of a classifier, or minus the squared error of a regression: higher is better."""
    if not hasattr(model, "predict_proba"):
        return -float(np.mean((model.predict(x) - y) ** 2))
    log_p = np.log(np.clip(model.predict_proba(x), 1e-12, 1))
    return float(log_p[np.arange(len(y)), np.searchsorted(model.classes_, y)].mean())
