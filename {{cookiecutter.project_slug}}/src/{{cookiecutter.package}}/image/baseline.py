"""What a network has to beat on images: linear and kernel models on small pixels, and a linear one on frozen features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.linear import Linear, fit_linear
from ..engine.target import targets
from ..errors import UserError
from ..task import Baseline, Data
from .data import examples
from .picture import in_threads, pixels

if TYPE_CHECKING:
    from .recipe import Config

SIDE = 16  # pixels a side that the plain models see: 768 numbers an image
THUMB = 8  # and that the audit's forest sees
SVC_ROWS = 10_000  # an RBF kernel machine costs the square of the rows
PROBED = 2_000  # images that the frozen backbone reads for its linear model: enough for a few hundred numbers an image


def baselines(config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
    """Pixels and a linear model; an RBF-SVC on small data; and, with pretrained weights, the frozen backbone and a linear model."""
    y = targets(config, prep, train)
    fits: dict[str, Callable[..., Baseline]] = {"pixels": fit_pixels}
    if prep["classes"] and len(train) < SVC_ROWS:
        fits["rbf_svc"] = fit_svc
    if config.weights != "none":
        fits["frozen_features"] = fit_probe
    return {name: fit(config, prep, train, y) for name, fit in fits.items() if only in ("", name)}


def load_baseline(config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
    """The baseline that was saved in `folder`."""
    kinds: dict[str, Callable[..., Baseline]] = {"pixels": pixel_model, "svc": Kernel, "probe": probe_model}
    for name, kind in kinds.items():
        path = folder / f"{name}.npz"
        if path.is_file():
            try:
                return kind(config, prep, **dict(np.load(path, allow_pickle=False)))
            except (OSError, ValueError, TypeError) as error:
                raise UserError(f"{path} cannot be read: {error}; run: recipe baseline") from None
    raise UserError(f"{folder} holds no saved model; run: recipe baseline")


def small(prep: dict[str, Any], data: Data, side: int = SIDE) -> np.ndarray:
    """Pixels of a small version of each image, float32 [n, 3 * side * side] from 0 to 1."""
    stacked = np.stack(in_threads(lambda path: pixels(path, side), data.frame[prep["image"]].to_list()))
    return stacked.reshape(len(stacked), -1).astype(np.float32) / 255


def pixel_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Linear:
    """Linear in the pixels."""
    return Linear("pixels.npz", partial(small, prep), **arrays)


def fit_pixels(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Linear:
    """Logistic or ridge regression. One scale for all pixels: dividing each by its own would blow up a quiet border."""
    x = small(prep, train)
    centre = x.mean(axis=0)
    scale = np.array((x - centre).std() + 1e-6, dtype=np.float32)
    weights, bias = fit_linear(config, prep, (x - centre) / scale, y)
    return pixel_model(config, prep, centre=centre, scale=scale, weights=weights, bias=bias)


@dataclass
class Kernel:
    """RBF support vector machine, as its arrays: vectors [s, d] ordered by class, counts [k] of them in each class,
    dual [k - 1, s] and bias [k (k - 1) / 2] as libsvm lays them out, gamma []."""

    config: Config
    prep: dict[str, Any]
    vectors: np.ndarray
    counts: np.ndarray
    dual: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray

    def predict(self, data: Data) -> np.ndarray:
        x = small(self.prep, data)
        far = (x**2).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1) - 2 * x @ self.vectors.T
        near = np.exp(-self.gamma * far)  # [n, s]
        values = near @ self.dual.T + self.bias if len(self.counts) == 2 else self._one_against_rest(near)
        outputs = 2.0 * values  # decision values serve as logits
        return np.asarray(
            outputs if outputs.shape[1] == self.prep["outputs"] else np.hstack([-outputs, outputs]) / 2,
            dtype=np.float32,
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


def fit_svc(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Kernel:
    """RBF support vector machine with the usual scale. The classes of the training part are 0..k-1, all present."""
    from sklearn.svm import SVC

    x = small(prep, train)
    svc = SVC(C=10.0, class_weight="balanced" if config.class_weights == "balanced" else None).fit(x, y)
    gamma = np.array(1 / (x.shape[1] * x.var()), dtype=np.float32)
    return Kernel(config, prep, svc.support_vectors_, svc.n_support_, svc.dual_coef_, svc.intercept_, gamma)


def probe_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Linear:
    """Linear in the frozen backbone's features: a linear probe."""
    return Linear("probe.npz", partial(features, config, prep), **arrays)


def fit_probe(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Linear:
    """Logistic or ridge regression on the features of the pretrained backbone."""
    rows = np.random.default_rng(0).permutation(len(train))[:PROBED]
    x, y = features(config, prep, train.take(rows)), y[rows]
    centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    weights, bias = fit_linear(config, prep, (x - centre) / scale, y)
    return probe_model(config, prep, centre=centre, scale=scale, weights=weights, bias=bias)


def features(config: Config, prep: dict[str, Any], data: Data) -> np.ndarray:
    """Features of the pretrained backbone [n, d], in the order of the rows."""
    import torch

    from ..engine.loop import find_device, plan
    from .model import make_model

    device = find_device(config)
    network = make_model(config, prep).backbone.to(device).eval()
    images = examples(config, prep, data)
    with torch.inference_mode():
        parts = [
            network(batch.to(device).x).float().cpu() for batch in images.batches(plan(images, 4 * config.batch_size))
        ]
    return torch.cat(parts).numpy()


@dataclass
class Thumbnails:
    """Tiny versions of the images, made for the rows that are asked for: features[rows] -> [r, 3 * 8 * 8]."""

    paths: list[str]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        some = np.stack(in_threads(lambda i: pixels(self.paths[i], THUMB), rows.tolist()))
        return some.reshape(len(some), -1).astype(np.float32)


def simple_features(config: Config, data: Data) -> Any:
    """Tiny pixels for the audit's forest; None where some image cannot be decoded."""
    return None if (data.frame["file_problem"] != "").any() else Thumbnails(data.frame[config.image].to_list())
