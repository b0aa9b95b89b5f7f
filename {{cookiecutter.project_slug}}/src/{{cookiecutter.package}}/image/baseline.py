"""What a network has to beat on images: linear and kernel models on small pixels, and a linear one on frozen features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.kernel import SVC_ROWS, Kernel, fit_kernel
from ..engine.linear import Linear, fit_linear
from ..engine.target import targets
from ..errors import UserError
from ..task import Baseline, Data
from .data import examples
from .picture import all_pixels

if TYPE_CHECKING:
    from .recipe import Config

SIDE = 16  # pixels a side that the plain models see: 768 numbers an image
THUMB = 8  # and that the audit's forest sees
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
    kinds: dict[str, Callable[..., Baseline]] = {"pixels": pixel_model, "svc": kernel_model, "probe": probe_model}
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
    stacked = all_pixels(data.frame[prep["image"]], side)
    return stacked.reshape(len(stacked), -1).astype(np.float32) / 255


def pixel_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Linear:
    """Linear in the pixels."""
    return Linear("pixels.npz", partial(small, prep), **arrays)


def fit_pixels(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Linear:
    """Logistic or ridge regression. One scale for all pixels: dividing each by its own would blow up a quiet border."""
    x = small(prep, train)
    center = x.mean(axis=0)
    scale = np.array((x - center).std() + 1e-6, dtype=np.float32)
    weights, bias = fit_linear(config, prep, (x - center) / scale, y)
    return pixel_model(config, prep, center=center, scale=scale, weights=weights, bias=bias)


def kernel_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Kernel:
    """RBF support vector machine on the pixels."""
    return Kernel(partial(small, prep), prep["outputs"], **arrays)


def fit_svc(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Kernel:
    """The same small pixels, unscaled: their scale is in the machine's gamma."""
    return kernel_model(config, prep, **fit_kernel(config, small(prep, train), y, c=10.0))


def probe_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Linear:
    """Linear in the frozen backbone's features: a linear probe."""
    return Linear("probe.npz", partial(features, config, prep), **arrays)


def fit_probe(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> Linear:
    """Logistic or ridge regression on the features of the pretrained backbone."""
    rows = np.random.default_rng(0).permutation(len(train))[:PROBED]
    x, y = features(config, prep, train.take(rows)), y[rows]
    center, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    weights, bias = fit_linear(config, prep, (x - center) / scale, y)
    return probe_model(config, prep, center=center, scale=scale, weights=weights, bias=bias)


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


def simple_features(config: Config, data: Data) -> np.ndarray | None:
    """Tiny pixels for the audit's forest [n, 3 * 8 * 8]; None where some image cannot be decoded."""
    if (data.frame["file_problem"] != "").any():
        return None
    return all_pixels(data.frame[config.image], THUMB).reshape(len(data), -1).astype(np.float32)
