"""Simple models on the same encoded features: the numbers to beat. LightGBM as the final model is in boosting.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.files import read_json, to_json
from ..engine.kernel import SVC_ROWS, Kernel, fit_kernel
from ..engine.linear import of_all_classes
from ..engine.losses import class_weights
from ..engine.splits import assign
from ..errors import UserError, first_line
from ..task import Baseline, Batch, Data
from .data import Rows, encode, examples, feature_names
from .trees import checked

if TYPE_CHECKING:
    import polars as pl

    from .recipe import Config

LINEAR_ROWS = 200_000
# Rows under which LightGBM gets one thread: its threads spin while they wait for each other, which on a machine with other
# work took thirty times the processor time (40,000 rows, two threads). The trees are the same; 0 = as many as there are cores.
ONE_THREAD = 100_000
STOP = 30  # trees without a better loss on the rows held out, after which no more are grown


def baselines(config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
    """Linear model, RBF-SVC on small data, LightGBM; XGBoost and CatBoost where they are installed. Simplest first."""
    rows = train.sample()
    part = examples(config, prep, rows)
    fits: dict[str, Callable[..., Baseline]] = {
        "ridge" if config.task in ("regression", "ranking") else "logistic": fit_linear
    }
    if config.task in ("binary", "multiclass") and len(part) < SVC_ROWS:
        fits["rbf_svc"] = fit_svc
    fits["lightgbm"] = partial(fit_lightgbm, rows=rows)
    for name, fit in (("xgboost", fit_xgboost), ("catboost", fit_catboost)):
        if find_spec(name) and config.task != "ranking":
            fits[name] = fit
    return {name: fit(config, prep, part) for name, fit in fits.items() if only in ("", name)}


def load_baseline(config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
    """The linear model, kernel machine or LightGBM saved in `folder`. Raises UserError when its files are missing, broken or no such thing."""
    again = "run it again: recipe baseline, or recipe train model=lightgbm"
    path = folder / "linear.json"
    try:
        if path.is_file():
            saved = read_json(path, "a linear model", again)
            return Linear(prep, np.array(saved["weights"], dtype=float), np.array(saved["bias"], dtype=float))
        path = folder / "svc.npz"
        if path.is_file():
            return kernel_model(prep, **dict(np.load(path, allow_pickle=False)))
        import lightgbm

        path = folder / "lightgbm.json"
        rounds = int(read_json(path, "LightGBM's settings", again)["rounds"])
        path = folder / "lightgbm.txt"
        features = len(feature_names(prep)) + len(prep["embedded"])
        trees = checked(path.read_text(encoding="utf-8"), features, prep["outputs"])
        return LightGBM(prep, lightgbm.Booster(model_str=trees), rounds)
    except UserError:
        raise
    except Exception as error:  # archives, numbers and trees raise whatever they are broken at
        said = first_line(error)
        raise UserError(f"{path} is not the model that was saved there: {said}; {again}") from None


def flat(x: dict[str, Any], prep: dict[str, Any]) -> np.ndarray:
    """All features as one matrix [n, d]: numbers as they are, embedded categories as codes in the last columns."""
    return np.concatenate(
        [np.asarray(x[name], dtype=np.float32) for name in ("numeric", "categorical") if name in x], axis=1
    )


def flat_onehot(x: dict[str, Any], prep: dict[str, Any]) -> Any:
    """All features as one sparse matrix [n, d]: numbers, and one column per value of an embedded category."""
    from scipy import sparse

    parts = [sparse.csr_matrix(np.asarray(x["numeric"], dtype=np.float64))] if "numeric" in x else []
    for i, vocabulary in enumerate(prep["embedded"].values()):
        codes = np.asarray(x["categorical"])[:, i]
        seen = codes > 0
        rows = np.flatnonzero(seen)
        parts.append(
            sparse.csr_matrix((np.ones(len(rows)), (rows, codes[seen] - 1)), shape=(len(codes), len(vocabulary)))
        )
    return sparse.hstack(parts, format="csr")


def by_chunk(data: Data, outputs: Callable[[pl.DataFrame], Any]) -> np.ndarray:
    """Outputs [n, k] float32 of a function of the table, which may be larger than memory."""
    return np.concatenate(
        [np.asarray(outputs(chunk.frame), dtype=np.float32).reshape(len(chunk), -1) for chunk in data.chunks()]
    )


@dataclass
class Linear:
    """Logistic or ridge regression: outputs = x @ weights + bias. weights [d, k], bias [k]."""

    prep: dict[str, Any]
    weights: np.ndarray
    bias: np.ndarray

    def predict(self, data: Data) -> np.ndarray:
        return by_chunk(data, lambda frame: flat_onehot(encode(self.prep, frame), self.prep) @ self.weights + self.bias)

    def save(self, folder: Path) -> None:
        (folder / "linear.json").write_text(to_json({"weights": self.weights, "bias": self.bias}, indent=None))


def fit_linear(config: Config, prep: dict[str, Any], part: Rows) -> Linear:
    """L2-regularized, its strength chosen by cross-validation inside the training part."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV

    x, y = flat_onehot(part.x, prep)[:LINEAR_ROWS], part.y.numpy()[:LINEAR_ROWS]
    if config.task in ("regression", "ranking"):
        ridge = RidgeCV(alphas=np.logspace(-3, 4, 15)).fit(x.toarray() if x.shape[1] < 2000 else x, y)
        return Linear(prep, ridge.coef_.reshape(-1, 1), np.atleast_1d(ridge.intercept_))
    folds = min(5, int(np.bincount(y.astype(int)).min()))
    weight = None if config.class_weights == "none" else "balanced"  # copies would meet themselves in the folds
    strengths = np.logspace(-3, 2, 6) if len(y) < 20_000 else np.array([0.01, 0.1, 1.0])
    if folds < 2:
        model: Any = LogisticRegression(max_iter=1000, class_weight=weight).fit(x, y)
    else:
        model = LogisticRegressionCV(
            Cs=strengths,
            cv=folds,
            max_iter=1000,
            class_weight=weight,
            scoring="neg_log_loss",
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        ).fit(x, y)
    return Linear(prep, *of_all_classes(model, prep["outputs"]))


@dataclass
class Plain:
    """A fitted model known by its function alone: x [n, d] -> outputs [n, k]. It is refitted where it is needed again."""

    prep: dict[str, Any]
    function: Any

    def predict(self, data: Data) -> np.ndarray:
        found = by_chunk(data, lambda frame: self.function(flat(encode(self.prep, frame), self.prep)))
        single = found.shape[1] < self.prep["outputs"]  # one score for two classes
        return np.hstack([0 * found, found]) if single else found

    def save(self, folder: Path) -> None:
        raise UserError("a model of an optional library is not kept; set model = 'mlp' or 'lightgbm'")


def kernel_model(prep: dict[str, Any], **arrays: np.ndarray) -> Kernel:
    """RBF support vector machine on the encoded features."""
    return Kernel(lambda data: by_chunk(data, lambda frame: flat(encode(prep, frame), prep)), prep["outputs"], **arrays)


def fit_svc(config: Config, prep: dict[str, Any], part: Rows) -> Kernel:
    """On the features as the network gets them; an embedded category is its code."""
    return kernel_model(prep, **fit_kernel(config, flat(part.x, prep), part.y.numpy()))


@dataclass
class LightGBM:
    """Gradient-boosted trees, stopped early on an inner part of the training rows."""

    prep: dict[str, Any]
    booster: Any
    rounds: int

    def predict(self, data: Data) -> np.ndarray:
        return by_chunk(data, lambda frame: self.outputs(encode(self.prep, frame)))

    def outputs(self, x: dict[str, Any], first: int = 0, trees: int = 0) -> np.ndarray:
        """Outputs [n, k] for encoded features, of all trees or of so many from the `first` on."""
        some = {"start_iteration": first, "num_iteration": trees or self.rounds}
        found = self.booster.predict(flat(x, self.prep), raw_score=True, **some)
        return np.asarray(found, dtype=np.float32).reshape(len(found), -1)

    def save(self, folder: Path) -> None:
        (folder / "lightgbm.txt").write_text(self.booster.model_to_string(num_iteration=self.rounds))
        (folder / "lightgbm.json").write_text(json.dumps({"rounds": self.rounds}))


def fit_lightgbm(config: Config, prep: dict[str, Any], part: Rows, rows: Data) -> LightGBM:
    """Number of trees from an inner part of train, then refitted on all of train with that number (never validation). The
    settings are these whatever recipe.toml says: a number to beat stays where it is."""
    import lightgbm

    settings, inner = parameters(config, prep, len(part)), inner_split(config, rows)
    train = dataset(config, prep, part, np.flatnonzero(~inner))
    held = dataset(config, prep, part, np.flatnonzero(inner), train)
    stop = lightgbm.early_stopping(STOP, verbose=False)
    first = lightgbm.train(settings, train, 1000, valid_sets=[held], callbacks=[stop])
    rounds = max(first.best_iteration, 1)
    return LightGBM(prep, lightgbm.train(settings, dataset(config, prep, part), rounds), rounds)


def parameters(config: Config, prep: dict[str, Any], n: int) -> dict[str, Any]:
    """What LightGBM is told of the task, of n training rows and of the trees."""
    objectives = {"binary": "binary", "multiclass": "multiclass", "regression": "regression", "ranking": "lambdarank"}
    return {
        "objective": objectives[config.task],
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": max(5, min(20, n // 50)),
        "verbosity": -1,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "max_cat_to_onehot": 4,
        "feature_pre_filter": False,
        "num_class": prep["outputs"] if config.task == "multiclass" else 1,
        "eval_at": [10],
        "num_threads": 1 if n < ONE_THREAD else 0,
    }


def dataset(
    config: Config, prep: dict[str, Any], part: Rows | Batch, rows: np.ndarray | None = None, reference: Any = None
) -> Any:
    """These rows, or all, as LightGBM takes them, weighed as the loss of the network weighs them."""
    import lightgbm

    x, y = flat(part.x, prep), part.y.numpy()
    weight, rows = row_weights(config, prep, y), np.arange(len(y)) if rows is None else rows
    rows, sizes = (rows, None) if part.query is None else by_query(part.query.numpy(), rows)
    return lightgbm.Dataset(
        x[rows],
        y[rows],
        weight=None if weight is None else weight[rows],
        group=sizes,
        categorical_feature=list(range(x.shape[1] - len(prep["embedded"]), x.shape[1])),
        reference=reference,
        free_raw_data=False,
    )


def row_weights(config: Config, prep: dict[str, Any], y: np.ndarray) -> np.ndarray | None:
    """Weight of each training row [n], as the network's loss weighs it; None where all count alike."""
    weights = class_weights(prep["prior"]).numpy() if config.class_weights != "none" and prep["prior"] else None
    return None if weights is None else weights[y.astype(int)]


def inner_split(config: Config, rows: Data) -> np.ndarray:
    """Which training rows decide the number of trees, bool [n]: what a split as the project's own would make their test part.

    At random where that is by time, the trees are judged by neighbors of the rows that they were fitted on, and there
    are far too many of them.
    """
    try:
        return assign(config, rows) == 2
    except UserError:  # too few groups, or times, to be parted once more
        return np.random.default_rng(0).permutation(len(rows)) % 10 == 0


def by_query(query: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows ordered by query, and the number of rows of each query."""
    ordered = rows[np.argsort(query[rows], kind="stable")]
    return ordered, np.unique(query[ordered], return_counts=True)[1]


def fit_xgboost(config: Config, prep: dict[str, Any], part: Rows) -> Plain:
    """XGBoost with 300 shallow trees; optional."""
    import xgboost

    regression = config.task == "regression"
    model = (xgboost.XGBRegressor if regression else xgboost.XGBClassifier)(
        n_estimators=300, learning_rate=0.05, max_depth=6, random_state=config.seed
    )
    y = part.y.numpy()
    model.fit(flat(part.x, prep), y, sample_weight=row_weights(config, prep, y))
    return Plain(prep, lambda x: np.asarray(model.predict(x, output_margin=True)).reshape(len(x), -1))


def fit_catboost(config: Config, prep: dict[str, Any], part: Rows) -> Plain:
    """CatBoost with 300 trees; optional."""
    import catboost

    regression = config.task == "regression"
    model = (catboost.CatBoostRegressor if regression else catboost.CatBoostClassifier)(
        iterations=300, random_seed=config.seed, verbose=False, allow_writing_files=False
    )
    y = part.y.numpy()
    model.fit(flat(part.x, prep), y, sample_weight=row_weights(config, prep, y))
    return Plain(prep, lambda x: np.asarray(model.predict(x, prediction_type="RawFormulaVal")).reshape(len(x), -1))
