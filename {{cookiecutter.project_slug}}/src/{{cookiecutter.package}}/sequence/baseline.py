"""What a network has to beat on series: a few numbers of each, and a linear model, an RBF-SVC or LightGBM on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.files import read_json
from ..engine.kernel import SVC_ROWS, Kernel, fit_kernel
from ..engine.linear import Linear, fit_linear
from ..engine.losses import class_weights
from ..engine.splits import assign
from ..engine.target import targets
from ..errors import UserError, first_line
from ..task import Baseline, Data
from .data import encode
from .features import of_encoded
from .trees import checked

if TYPE_CHECKING:
    from .recipe import Config

ROUNDS, STOP = 1000, 30  # most trees; those without a better loss on the rows held out, after which no more are grown
AGAIN = "run: recipe baseline"


def baselines(config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
    """Linear model, RBF-SVC on small data, and LightGBM, each on the summaries of the series. Simplest first."""
    x, y = of_encoded(prep, train.frame), targets(config, prep, train)
    center, spread = x.mean(axis=0), np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0)
    arrays = {"center": center, "scale": spread}
    naive = ["last_value", *(["seasonal_naive"] if config.season else [])] if config.horizon else []
    fits: dict[str, Callable[[], Baseline]] = {n: partial(Naive, prep, i - len(naive)) for i, n in enumerate(naive)}
    simple = "logistic" if prep["classes"] else "ridge"
    fits[simple] = lambda: fit_simple(config, prep, x, y, **arrays)
    if prep["classes"] and len(train) < SVC_ROWS:
        fits["rbf_svc"] = lambda: Scaled(prep, kernel=fit_kernel(config, (x - center) / spread, y), **arrays)
    fits["lightgbm"] = lambda: fit_lightgbm(config, prep, train, x, y)
    return {name: fit() for name, fit in fits.items() if only in ("", name)}


def load_baseline(config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
    """The baseline that was saved in `folder`. Raises UserError when its files are missing, broken or no such thing."""
    path = folder / "naive.json"
    try:
        if path.is_file():
            return Naive(prep, int(read_json(path, "the forecast's column", AGAIN)["column"]))
        path = folder / "linear.npz"
        if path.is_file():
            return Linear(path.name, partial(of_data, prep), **dict(np.load(path, allow_pickle=False)))
        path = folder / "svc.npz"
        if path.is_file():
            scales = dict(np.load(folder / "scales.npz", allow_pickle=False))
            return Scaled(prep, kernel=dict(np.load(path, allow_pickle=False)), **scales)
        import lightgbm

        path = folder / "lightgbm.json"
        saved = read_json(path, "LightGBM's settings", AGAIN)
        path = folder / "lightgbm.txt"
        trees = checked(path.read_text(encoding="utf-8"), int(saved["features"]), prep["outputs"])
        return LightGBM(prep, lightgbm.Booster(model_str=trees), int(saved["rounds"]))
    except UserError:
        raise
    except Exception as error:  # archives, numbers and trees raise whatever they are broken at
        said = first_line(error)
        raise UserError(f"{path} is not the model that was saved there: {said}; {AGAIN}") from None


def of_data(prep: dict[str, Any], data: Data) -> np.ndarray:
    """The features [n, d] of a part."""
    return of_encoded(prep, data.frame)


def fit_simple(config: Config, prep: dict[str, Any], x: np.ndarray, y: np.ndarray, **arrays: np.ndarray) -> Linear:
    """Logistic or ridge regression on standardized summaries."""
    weights, bias = fit_linear(config, prep, (x - arrays["center"]) / arrays["scale"], y)
    return Linear("linear.npz", partial(of_data, prep), **arrays, weights=weights, bias=bias)


@dataclass
class Naive:
    """A forecast that carries a value on: the last known, or that of the season before, as `encode` puts them last."""

    prep: dict[str, Any]
    column: int

    def predict(self, data: Data) -> np.ndarray:
        return encode(self.prep, data.frame)[2][:, [self.column]]

    def save(self, folder: Path) -> None:
        (folder / "naive.json").write_text(json.dumps({"column": self.column}))


@dataclass
class Scaled:
    """RBF support vector machine on standardized summaries."""

    prep: dict[str, Any]
    center: np.ndarray
    scale: np.ndarray
    kernel: dict[str, np.ndarray]

    def predict(self, data: Data) -> np.ndarray:
        return self._model().predict(data)

    def save(self, folder: Path) -> None:
        self._model().save(folder)
        np.savez(folder / "scales.npz", center=self.center, scale=self.scale)

    def _model(self) -> Kernel:
        return Kernel(
            lambda data: (of_data(self.prep, data) - self.center) / self.scale, self.prep["outputs"], **self.kernel
        )


@dataclass
class LightGBM:
    """Gradient-boosted trees, stopped early on an inner part of the training rows."""

    prep: dict[str, Any]
    booster: Any
    rounds: int

    def predict(self, data: Data) -> np.ndarray:
        x = of_data(self.prep, data)
        found = self.booster.predict(x, raw_score=True, num_iteration=self.rounds)
        outputs = np.asarray(found, dtype=np.float32).reshape(len(data), -1)
        return outputs + carried_on(self.prep, x)[:, None]

    def save(self, folder: Path) -> None:
        (folder / "lightgbm.txt").write_text(self.booster.model_to_string(num_iteration=self.rounds))
        facts = {"rounds": self.rounds, "features": self.booster.num_feature()}
        (folder / "lightgbm.json").write_text(json.dumps(facts))


def carried_on(prep: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """Where the trees of a forecast begin, float32 [n]: at the naive one, since trees cannot follow a trend; else at 0."""
    return x[:, -1].astype(np.float32) if prep["past"] else np.zeros(len(x), dtype=np.float32)


def fit_lightgbm(config: Config, prep: dict[str, Any], train: Data, x: np.ndarray, y: np.ndarray) -> LightGBM:
    """Number of trees from an inner part of train, then refitted on all of train with that number (never validation)."""
    import lightgbm

    weights = class_weights(prep["prior"]).numpy() if config.class_weights != "none" and prep["prior"] else None
    weight = None if weights is None else weights[y.astype(int)]
    settings = {
        "objective": config.task, "learning_rate": 0.05, "num_leaves": 31, "verbosity": -1, "seed": config.seed,
        "min_data_in_leaf": max(5, min(20, len(y) // 50)), "deterministic": True, "force_row_wise": True,
        "feature_pre_filter": False, "num_class": prep["outputs"] if config.task == "multiclass" else 1, "num_threads": 1,
    }  # fmt: skip

    def rows(kept: np.ndarray, reference: Any = None) -> Any:
        some = None if weight is None else weight[kept]
        begin = carried_on(prep, x[kept]) if prep["past"] else None
        told = {"weight": some, "init_score": begin, "reference": reference, "free_raw_data": False}
        return lightgbm.Dataset(x[kept], y[kept], **told)

    inner = inner_split(config, train)
    grown = rows(~inner)
    stop = lightgbm.early_stopping(STOP, verbose=False)
    first = lightgbm.train(settings, grown, ROUNDS, valid_sets=[rows(inner, grown)], callbacks=[stop])
    rounds = max(first.best_iteration, 1)
    return LightGBM(prep, lightgbm.train(settings, rows(inner | True), rounds), rounds)


def inner_split(config: Config, train: Data) -> np.ndarray:
    """Which training rows decide the number of trees, bool [n]: what a split as the project's own would make their test part."""
    try:
        return assign(config, train) == 2
    except UserError:  # too few groups, or times, to be parted once more
        return np.random.default_rng(0).permutation(len(train)) % 10 == 0
