"""An RBF support vector machine as plain arrays: the simple model that small data is hardest to beat with, saved without pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Config
from ..task import Data

SVC_ROWS = 10_000  # rows from which it is left out: it costs their square


@dataclass
class Kernel:
    """Decision values of features(data) [n, d], doubled to serve as logits -> outputs [n, k]. vectors [s, d] ordered by
    class, counts [k] of them in each class, dual [k - 1, s] and bias [k (k - 1) / 2] as libsvm lays them out, gamma []."""

    features: Callable[[Data], np.ndarray]
    outputs: int
    vectors: np.ndarray
    counts: np.ndarray
    dual: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray

    def predict(self, data: Data) -> np.ndarray:
        x = self.features(data)
        far = (x**2).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1) - 2 * x @ self.vectors.T
        near = np.exp(-self.gamma * far)  # [n, s]
        logits = 2.0 * (near @ self.dual.T + self.bias if len(self.counts) == 2 else self._one_against_rest(near))
        return np.asarray(
            logits if logits.shape[1] == self.outputs else np.hstack([-logits, logits]) / 2, dtype=np.float32
        )

    def _one_against_rest(self, near: np.ndarray) -> np.ndarray:
        """Votes of the pairwise machines, ties settled by their confidence [n, k], as scikit-learn's decision_function."""
        k, ends = len(self.counts), np.cumsum([0, *self.counts])
        votes, confidence = np.zeros((2, len(near), k))
        pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
        for (i, j), bias in zip(pairs, self.bias, strict=True):
            mine, other = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
            value = near[:, mine] @ self.dual[j - 1, mine] + near[:, other] @ self.dual[i, other] + bias
            votes[:, i] += value > 0
            votes[:, j] += value <= 0
            confidence[:, i] += value
            confidence[:, j] -= value
        return votes + confidence / (3 * (np.abs(confidence) + 1))

    def save(self, folder: Path) -> None:
        np.savez(
            folder / "svc.npz", vectors=self.vectors, counts=self.counts, dual=self.dual, bias=self.bias, gamma=self.gamma
        )  # fmt: skip


def fit_kernel(config: Config, x: np.ndarray, y: np.ndarray, c: float = 1.0) -> dict[str, np.ndarray]:
    """The arrays of a Kernel for features x [n, d] and classes y [n], all of 0..k-1 present; scikit-learn's usual gamma,
    inverse regularization c: its usual 1 on standardized features, more where they are taken as they are."""
    from sklearn.svm import SVC

    svc = SVC(C=c, class_weight=None if config.class_weights == "none" else "balanced").fit(x, y)
    gamma = np.array(1 / (x.shape[1] * x.var()) if x.var() > 0 else 1.0, dtype=np.float32)
    return {
        "vectors": svc.support_vectors_, "counts": svc.n_support_, "dual": svc.dual_coef_, "bias": svc.intercept_, "gamma": gamma,
    }  # fmt: skip
