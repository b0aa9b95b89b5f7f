"""Labels judged by a simple model that did not see them: is there anything to learn, and which labels look wrong?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.files import write_sheet
from ..owner.engine.target import counted
from ..owner.task import Data
from . import independence, label_noise, near_rows, predictive_power
from .check_result import CheckResult, check_result, not_applicable

FLOOR = 0.01  # share of labels at random that is no matter: the lower end of the 1-2 % rule
SAID = ("label_is", "model_says", "chance_of_label")  # first columns of the queue
ERRORS, ALIKE = 4.0, 0.05  # standard deviations, and correlation, from which neighboring rows have something in common
PAIRS = 300  # pairs of rows that follow each other in the file; where a sample holds fewer, its own order serves
ASKED, CELLS, COLUMNS = 500, 10_000_000, 3  # rows that are asked for their neighbors; distances; columns
NINTH, FAR, FURTHEST = 8, 16, 40  # neighbors from 0: the one that is compared, and those that say what is usual there
SHARED = 0.5  # of what is unusual of a row, more than which no smooth rule loses from the first to the ninth
HALVED = 0.5  # a model that errs half as often as always naming the largest class can say: this label is wrong


class Judged:
    """Rows that a simple model was asked about. rows [m] positions; x [m, d]; y [m]; predicted [m, k], [m] for regression."""

    def __init__(self, config: Config, data: Data, rows: np.ndarray, x: Any) -> None:
        self.rows, self.x = rows, x
        self.y = predictive_power.target_numbers(config, data, self.rows)
        self.predicted = predictive_power.out_of_fold(config, self.x, self.y)


def judge(config: Config, data: Data, features: Callable[[Config, Data], Any]) -> Judged | None:
    """Out-of-fold predictions for a sample; None where there are no features, or a class is too rare to be held out."""
    if config.task == "ranking" or len(data) < 20:
        return None
    if config.task != "regression" and min(counted(data.frame[data.target]).values()) < 5:
        return None
    rows = predictive_power.sample(data)
    x = features(config, data.take(rows))
    return None if x is None else Judged(config, data, rows, x)


def learnable(config: Config, data: Data, judged: Judged | None) -> CheckResult:
    """Whether a simple model predicts the target better than chance at all: labels may be shifted or shuffled."""
    if judged is None:
        return not_applicable("something to learn", "needs simple features and 5 rows of each class")
    value = predictive_power.skill(config, judged.predicted, judged.y)
    limit = 0.5 + 3 * predictive_power.null_deviation(config, judged.y)
    return check_result(
        "something to learn",
        f"a simple model reaches {value:.3f} (0.5 = chance, 1 = perfect){predictive_power.sampled(data)}",
        warn=value < limit,
        evidence={"score": value, "limit": limit},
        n=len(judged.y),
    )


def neighbors(config: Config, data: Data, judged: Judged | None) -> CheckResult:
    """Whether a simple model errs alike on rows next to each other: then they are not independent.

    Frames of one film, visits of one patient, hours of one storm lie together in a file, also where no column says so.
    Were the order of no meaning, any other order were as likely: the sum over neighbors of the products of their errors
    is held against its spread over all orders, which needs no assumption on the model. For numbers the errors are
    ranks, so that a heavy tail is no order. At ERRORS it is exceeded in one of 30,000 files without order, and ALIKE is
    what matters to a split. A file sorted by the target is passed over: there neighbors are alike by design.
    """
    check = "row-order dependence"
    if judged is None or config.group or config.time or config.query:
        return not_applicable(check, "needs simple features, and rows without a declared group, time or query")
    if independence.in_order(config, data):
        return not_applicable(check, f"the file is sorted by {data.target}, so its order tells nothing else")
    left, rows = residuals(config, judged)
    pairs = np.flatnonzero(np.diff(rows) == 1)
    pairs = np.arange(len(rows) - 1) if len(pairs) < PAIRS else pairs
    alike, errors = in_common(left, pairs)
    return check_result(
        check,
        f"errors of neighboring rows correlate by {alike:.3f}, {errors:.1f} standard errors from none{predictive_power.sampled(data)}",
        warn=errors > ERRORS and alike > ALIKE,
        evidence={"alike": alike, "errors": errors, "pairs": len(pairs), "seen": ERRORS / np.sqrt(len(pairs))},
        most=ERRORS,
        least=ALIKE,
    )


def rows_of_one_thing(config: Config, data: Data) -> CheckResult:
    """Whether the nearest row shares the outcome of a row, where neighbors from the 17th to the 40th say otherwise, and the
    ninth shares it far less.

    What a smooth rule says of a row it says of all its neighbors, so that the nearest and the ninth share nearly as much.
    Visits of one patient or parts of one film share what no rule says, and there are a handful of them.
    """
    from scipy.stats import norm, rankdata

    check = "rows of one thing"
    names = near_rows.columns(config, data)[0]
    if config.group or config.query or config.time or len(names) < COLUMNS or len(data) <= 2 * FURTHEST:
        return not_applicable(check, "needs three columns of measurements, and no declared group, time or query")
    x = np.nan_to_num(np.stack([predictive_power.column_numbers(data.frame[c]) for c in names], axis=1), nan=-np.inf)
    z = norm.ppf((rankdata(x, axis=0) - 0.5) / len(x)).astype(np.float32)
    y = predictive_power.target_numbers(config, data, np.arange(len(data)))
    told = (rankdata(y) / len(y))[:, None] if config.task == "regression" else np.eye(int(y.max()) + 1)[y]
    rows = np.random.default_rng(0).permutation(len(z))[: max(min(ASKED, CELLS // len(z)), 2)]
    apart = (z**2).sum(axis=1) - 2 * z[rows] @ z.T
    apart[np.arange(len(rows)), rows] = np.inf
    near = np.argpartition(apart, FURTHEST, axis=1)[:, :FURTHEST]
    near = np.take_along_axis(near, np.take_along_axis(apart, near, axis=1).argsort(axis=1), axis=1)
    usual = told[near[:, FAR:]].mean(axis=1)
    own, first, ninth = (told[at] - usual for at in (rows, near[:, 0], near[:, NINTH]))
    shared = [float((own * x).sum() / max(((own**2).sum() * (x**2).sum()) ** 0.5, 1e-300)) for x in (first, ninth)]
    limit = max(SHARED, 5 * (2 / len(rows)) ** 0.5)
    return check_result(
        check,
        f"of what is unusual of a row, its nearest neighbor shares {shared[0]:.2f} and its ninth {shared[1]:.2f}",
        warn=shared[0] - shared[1] > limit,
        evidence={"first": shared[0], "ninth": shared[1], "limit": limit},
    )


def residuals(config: Config, judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """(errors of the simple model in file order [m, k], or their ranks [m, 1] for numbers; the rows that they are of)."""
    from scipy.stats import rankdata

    order = np.argsort(judged.rows)
    y, predicted = judged.y[order], judged.predicted[order]
    if config.task == "regression":
        return rankdata(y - predicted)[:, None], judged.rows[order]
    return np.eye(predicted.shape[1])[y] - predicted, judged.rows[order]


def in_common(errors: np.ndarray, pairs: np.ndarray) -> tuple[float, float]:
    """(serial correlation of errors [m, k] over the pairs i, i + 1; how far that is from none, in standard deviations over
    all orders of the rows). Few large products, as a rare class has, say no more than their own number does."""
    errors = errors - errors.mean(axis=0)
    products = (errors[pairs] * errors[pairs + 1]).sum(axis=1)
    spread = errors.T @ errors / len(errors)
    usual = max(len(pairs) * float((spread**2).sum()), float((products**2).sum()))
    alike = float(products.mean() / max(np.trace(spread), 1e-300)) + 1 / len(errors)
    return alike, float((products.sum() + len(pairs) * np.trace(spread) / len(errors)) / max(usual**0.5, 1e-300))


def suspects(config: Config, data: Data, judged: Judged | None, path: Path) -> CheckResult:
    """A queue of likely mislabels by confident learning (Northcutt et al. 2021), and how many labels look random.

    Where classes merely overlap, a model errs less the surer it is. Random labels put a floor under its errors that no
    certainty removes; `label_noise` estimates it. FAIL when it is surely above FLOOR, and the model knows the rest well
    enough to say so. About half of all suspects are real errors: the queue is for review, never for deletion.
    """
    if judged is None or config.task not in ("binary", "multiclass"):
        return not_applicable("label suspects", "needs classes, simple features and 5 rows of each class")
    from cleanlab.filter import find_label_issues

    y, probability = judged.y, judged.predicted
    order = find_label_issues(y, probability, return_indices_ranked_by="self_confidence", n_jobs=1)
    noise = label_noise.estimate(judged.x, probability, y, FLOOR)
    bad = noise.sure > label_noise.SURE and noise.doubt < HALVED * noise.blind
    if bad and len(order) < round(noise.wrong * len(y)):  # an alarm without a row to look at would be of no use
        order = np.argsort(probability[np.arange(len(y)), y], kind="stable")[: max(round(noise.wrong * len(y)), 1)]
    names = np.sort(data.frame[data.target][judged.rows].cast(pl.String).unique().to_numpy().astype(str))
    columns = [pl.Series(SAID[0], names[y[order]]), pl.Series(SAID[1], names[probability[order].argmax(1)])]
    columns.append(pl.Series(SAID[2], probability[order, y[order]].round(4)))
    own = [column for column in data.frame[judged.rows[order]].get_columns() if column.name not in SAID]
    write_sheet(pl.DataFrame([*columns, *own]), path)
    return check_result(
        "label suspects",
        f"{len(order):,} of {len(y):,} labels ({len(order) / len(y):.1%}) contradict an out-of-fold model; the share drawn"
        f" at random that fits best is {noise.share:.1%}{' or less' if noise.share <= FLOOR else ''}, {max(noise.sure, 0.0) ** 0.5:.1f} standard errors above {FLOOR:.0%}{predictive_power.sampled(data)}",
        warn=bad,
        share=noise.wrong if bad else 0.0,
        evidence={"suspects": len(order), **vars(noise)},
        floor=FLOOR,
        file=path.name,
    )
