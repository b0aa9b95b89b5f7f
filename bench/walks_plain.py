"""A plain scikit-learn model on the parts of a walk's split, and its score beside ours, measured by scikit-learn."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from walks_data import Walk

RESAMPLES = 1000
SIDE = 16  # pixels a side of what the plain model sees of an image


def compare(walk: Walk) -> list[str]:
    """Lines of the page: the network, the recipe's own best baseline and the plain models, each with its interval, and the
    paired difference. Our outputs are those that `evaluate` wrote; its score is measured again here."""
    cli, parts = (importlib.import_module(f"recipe_kit.{name}") for name in ("cli", "owner.engine.splits"))
    project = cli.open_project(cli.parse(["train", "--quiet"]))
    config = project.config
    data = {**parts.splits(project), "test": parts.open_test(project)}
    record = json.loads(sorted(Path("runs").glob("*-evaluate/record.json"))[-1].read_text())
    result, folder = record["result"], Path("runs") / record["id"]
    prep = json.loads((Path("runs") / result["run"] / "prep.json").read_text())
    truth, queries = answers(data["test"], config), queries_of(data["test"], config)
    measure = measures(config.resolved_metric, prep["classes"], queries)
    ours = predictions(np.load(folder / "outputs.npy"), prep)
    own, theirs = result["metrics"][result["metric"]], result["baseline"]
    again = float(np.mean(measure(truth, ours)))
    assert abs(again - own["value"]) < 1e-3 * max(1.0, abs(again)), (again, own)
    lines = [
        f"{len(truth):,} rows; {result['metric']} with a 95 % interval from {RESAMPLES:,} resamples; the difference is the"
        " network's score less the other's on the same resamples.",
        "",
        f"| model | {result['metric']} | network less this |",
        "|---|---|---|",
        f"| network, default settings ({result['model']}) | {interval(bootstrap(measure, truth, ours))} | |",
        f"| best baseline of `recipe baseline` ({theirs['name']}) | {interval(theirs['metrics'][result['metric']])}"
        f" | {interval(theirs['difference'])} |",
    ]
    for name, prediction in plain(walk.modality, config, prep, data).items():
        alone, apart = (bootstrap(measure, truth, *some) for some in ((prediction,), (ours, prediction)))
        lines.append(f"| scikit-learn: {name} | {interval(alone)} | {interval(apart)} |")
    return lines


def answers(data: Any, config: Any) -> np.ndarray:
    """The true targets of a part: texts for classes, numbers otherwise."""
    column = data.frame[config.target]
    return np.array([str(value) for value in column]) if config.task in ("binary", "multiclass") else column.to_numpy()


def queries_of(data: Any, config: Any) -> np.ndarray | None:
    return np.array([str(value) for value in data.frame[config.query]]) if config.query else None


def predictions(outputs: np.ndarray, prep: dict[str, Any]) -> np.ndarray:
    """What a metric reads: probabilities [n, k] of classes, numbers [n] otherwise."""
    from scipy.special import expit, softmax

    if not prep["classes"]:
        return outputs[:, 0] * prep["target_scale"] + prep["target_mean"]
    if outputs.shape[1] > 1:
        return softmax(outputs, axis=1)
    return np.stack([1 - expit(outputs[:, 0]), expit(outputs[:, 0])], axis=1)


def measures(metric: str, classes: list[str], queries: np.ndarray | None) -> Callable[..., np.ndarray]:
    """The metric as scikit-learn has it, of the rows of truth and predictions: one value, or one a query for NDCG."""
    from sklearn import metrics

    names = np.array(classes)

    def ndcg(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.array(
            [metrics.ndcg_score([y[queries == q]], [scores[queries == q]], k=10) for q in np.unique(queries)]
        )

    return {
        "auc": lambda y, p: metrics.roc_auc_score(y == names[1], p[:, 1]),
        "accuracy": lambda y, p: metrics.accuracy_score(y, names[p.argmax(axis=1)]),
        "balanced_accuracy": lambda y, p: metrics.balanced_accuracy_score(y, names[p.argmax(axis=1)]),
        "rmse": lambda y, p: metrics.root_mean_squared_error(y, p),
        "ndcg": ndcg,
    }[metric]


def bootstrap(measure: Callable[..., Any], truth: np.ndarray, *models: np.ndarray) -> dict[str, float]:
    """Value and 95 % interval of the score of a model, or of the difference of two: rows are drawn anew, or whole queries."""
    random = np.random.default_rng(0)
    whole = [measure(truth, model) for model in models]
    value = whole[0] - whole[1] if len(whole) > 1 else whole[0]
    if np.ndim(value):  # a value a query
        drawn = [np.mean(random.choice(value, len(value))) for _ in range(RESAMPLES)]
    else:
        drawn = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that was not drawn
            for _ in range(RESAMPLES):
                rows = random.integers(0, len(truth), len(truth))
                scores = [measure(truth[rows], model[rows]) for model in models]
                drawn.append(scores[0] - scores[1] if len(scores) > 1 else scores[0])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"value": float(np.mean(value)), "low": float(low), "high": float(high)}


def interval(score: dict[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def plain(modality: str, config: Any, prep: dict[str, Any], data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Predictions on the test part of scikit-learn models with their defaults, fitted on the training part."""
    from sklearn.pipeline import make_pipeline

    features = {"tabular": columns, "text": texts, "image": pixels}[modality]
    x, test, first = features(config, data["train"], data["test"])
    y = answers(data["train"], config)
    result = {}
    for name, model in models(config, modality).items():
        fitted = make_pipeline(first(), model).fit(x, y)
        if prep["classes"]:
            order = [list(fitted.classes_).index(name) for name in prep["classes"]]
            result[name] = fitted.predict_proba(test)[:, order]
        else:
            result[name] = fitted.predict(test)
    return result


def models(config: Any, modality: str) -> dict[str, Any]:
    """A linear model, and trees for tables. Classes are weighted where the settings say so."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV

    if config.task in ("regression", "ranking"):
        return {
            "ridge regression": RidgeCV(np.logspace(-3, 3, 7)),
            "gradient boosting": HistGradientBoostingRegressor(random_state=0),
        }
    weights = "balanced" if config.class_weights == "balanced" else None
    linear = {"logistic regression": LogisticRegression(max_iter=2000, class_weight=weights)}
    trees = {"gradient boosting": HistGradientBoostingClassifier(random_state=0, class_weight=weights)}
    return {**linear, **(trees if modality == "tabular" else {})}


def columns(config: Any, train: Any, test: Any) -> tuple[pd.DataFrame, pd.DataFrame, Callable[[], Any]]:
    """Numbers scaled, with the median where one is missing; texts one-hot."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, words = train.columns("numeric"), train.columns("categorical")
    frames = [pd.DataFrame({n: part.frame[n].to_list() for n in (*numbers, *words)}) for part in (train, test)]
    for frame in frames:
        frame[words] = frame[words].astype(object).where(frame[words].notna(), "missing").astype(str)
    dense = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return frames[0], frames[1], lambda: make_column_transformer((scaled, numbers), (dense, words))


def texts(config: Any, train: Any, test: Any) -> tuple[list[str], list[str], Callable[[], Any]]:
    """One to four letters in a row, weighted by how rare they are."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    said = [part.frame[config.text].to_list() for part in (train, test)]
    return said[0], said[1], lambda: TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2)


def pixels(config: Any, train: Any, test: Any) -> tuple[np.ndarray, np.ndarray, Callable[[], Any]]:
    """Small pictures as rows of numbers."""
    from PIL import Image
    from sklearn.preprocessing import StandardScaler

    def rows(part: Any) -> np.ndarray:
        paths = [Path(config.data).parent / name for name in part.frame[config.image]]
        return np.stack([np.asarray(Image.open(p).convert("RGB").resize((SIDE, SIDE))).ravel() / 255 for p in paths])

    return rows(train), rows(test), StandardScaler
