"""Labels judged by a simple model that did not see them: is there anything to learn, and which labels look wrong?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..engine.metrics import wilson
from ..task import Data
from . import power
from .finding import Finding, finding, not_applicable

FLOOR = (
    0.03  # error among the surest quarter that healthy data stays under (breast cancer .003, digits .000, flights .024)
)
FLAT = (
    0.68  # error of the surest quarter over that of the next: .3-.6 where classes overlap, .7-1 where labels are random
)
HALVED = 0.5  # a model whose second quarter errs half as often as always naming the largest class can say: this label is wrong


class Judged:
    """Rows that a simple model was asked about. rows [m] positions; y [m]; predicted [m, k], or [m] for regression."""

    def __init__(self, config: Config, data: Data, features: Any) -> None:
        self.rows = power.sample(data)
        self.y = power.target_numbers(config, data, self.rows)
        self.predicted = power.out_of_fold(config, features[self.rows], self.y)


def judge(config: Config, data: Data, features: Any) -> Judged | None:
    """Out-of-fold predictions for a sample; None where there are no features, or a class is too rare to be held out."""
    if features is None or config.task == "ranking" or len(data) < 20:
        return None
    if config.task != "regression" and data.frame[data.target].value_counts()["count"].min() < 5:  # type: ignore[operator]
        return None
    return Judged(config, data, features)


def learnable(config: Config, data: Data, judged: Judged | None) -> Finding:
    """Whether a simple model predicts the target better than chance at all: labels may be shifted or shuffled."""
    if judged is None:
        return not_applicable("something to learn", "needs simple features and 5 rows of each class")
    value = power.skill(config, judged.predicted, judged.y)
    limit = 0.5 + 3 * power.null_deviation(config, judged.y)
    return finding(
        "something to learn",
        f"a simple model reaches {value:.3f} (0.5 = chance, 1 = perfect){power.sampled(data)}",
        warn=value < limit,
        evidence={"score": value, "limit": limit},
        n=len(judged.y),
    )


def neighbours(config: Config, data: Data, judged: Judged | None) -> Finding:
    """Whether a simple model errs alike on rows next to each other: then they are not independent.

    Frames of one film, visits of one patient, hours of one storm lie together in a file, also where no column says so.
    Judged by the products of neighbouring residuals against their own spread, which needs no assumption on the model.
    A file sorted by the target is passed over: there neighbours are alike by design.
    """
    check = "neighbours"
    if judged is None or config.group or config.time or config.query:
        return not_applicable(check, "needs simple features, and rows without a declared group, time or query")
    order = np.argsort(judged.rows)
    y, predicted = judged.y[order], judged.predicted[order]
    classes = config.task != "regression"
    if (np.diff(y) != 0).sum() <= 2 * len(np.unique(y)) or (not classes and (np.diff(y) >= 0).all()):
        return not_applicable(check, "the file is sorted by the target")
    residuals = np.eye(predicted.shape[1])[y] - predicted if classes else ((y - predicted) / (y.std() or 1.0))[:, None]
    products = (residuals[:-1] * residuals[1:]).sum(axis=1)
    alike = float(products.sum() / max((residuals**2).sum(), 1e-12))
    errors = float(products.sum() / max(np.sqrt((products**2).sum()), 1e-12))
    return finding(
        check,
        f"errors of neighbouring rows correlate by {alike:.3f}, {errors:.1f} standard errors from none{power.sampled(data)}",
        warn=errors > 4 and alike > 0.05,
        evidence={"alike": alike, "errors": errors},
    )


def suspects(config: Config, data: Data, judged: Judged | None, path: Path) -> Finding:
    """A queue of likely mislabels by confident learning (Northcutt et al. 2021), and whether labels look random.

    Where classes merely overlap, a model errs less the surer it is. Random labels put a floor under its errors that no
    certainty removes: the surest quarter of rows errs nearly as often as the next. That floor is the warning. About
    half of all suspects are real errors: the queue is for review, never for deletion.
    """
    _name, _expected = (
        "label suspects",
        f"a surest quarter of rows with at most {FLOOR:.0%} contradicted labels, or far fewer than the next quarter",
    )
    if judged is None or config.task not in ("binary", "multiclass"):
        return not_applicable("label suspects", "needs classes, simple features and 5 rows of each class")
    from cleanlab.filter import find_label_issues

    y, chance = judged.y, judged.predicted
    order = find_label_issues(y, chance, return_indices_ranked_by="self_confidence", n_jobs=1)
    names = np.sort(data.frame[data.target][judged.rows].cast(pl.String).unique().to_numpy().astype(str))
    columns = [pl.Series("label_is", names[y[order]]), pl.Series("model_says", names[chance[order].argmax(1)])]
    columns.append(pl.Series("chance_of_label", chance[order, y[order]].round(4)))
    pl.DataFrame(columns).hstack(data.frame[judged.rows[order]]).write_csv(path)
    first, second, size = _errors_of_surest(chance, y)
    blind = 1 - np.bincount(y).max() / len(y)
    sure = wilson(round(first * size), size)[0] > FLOOR and second < HALVED * blind
    bad = sure and first > FLAT * second
    share = len(order) / len(y)
    return finding(
        "label suspects",
        f"{len(order):,} of {len(y):,} labels ({share:.1%}) contradict an out-of-fold model; among its surest quarter {first:.1%},"
        f" the next {second:.1%}{power.sampled(data)}",
        warn=bad,
        share=first if bad else 0.0,
        evidence={"suspects": len(order), "surest": first, "next": second, "blind": float(blind)},
        floor=FLOOR,
        file=path.name,
    )


def _errors_of_surest(chance: np.ndarray, y: np.ndarray) -> tuple[float, float, int]:
    """Error rate among the quarter of rows with the widest margin, among the next quarter, and the size of a quarter."""
    ranked = np.sort(chance, axis=1)
    order = np.argsort(ranked[:, -2] - ranked[:, -1], kind="stable")
    wrong = (chance.argmax(1) != y)[order]
    size = max(len(y) // 4, 1)
    return float(wrong[:size].mean()), float(wrong[size : 2 * size].mean()), size
