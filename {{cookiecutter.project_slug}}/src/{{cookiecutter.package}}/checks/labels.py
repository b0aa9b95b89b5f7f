"""Labels: a sheet to review by hand, and a ranked queue of suspects. Nothing is ever deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..errors import UserError
from ..task import Data
from .finding import Cause, Finding, verdict

SAMPLE = 8_000


def write_sheet(config: Config, data: Data, path: Path) -> int:
    """A random sheet of 200 to 500 rows, the same number of each class, with empty columns to fill in. Returns its size."""
    n = int(np.clip(len(data) // 20, min(200, len(data)), 500))
    random = np.random.default_rng(config.split_seed)
    target = data.frame[data.target].cast(pl.String).to_numpy()
    classes = np.unique(target) if config.task in ("binary", "multiclass") else np.array([None])
    each = max(n // len(classes), 1)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(target == c) if c is not None else np.arange(len(data)))[:each]
            for c in classes
        ]
    )
    sheet = data.frame[np.sort(rows)].with_row_index("sheet_row").with_columns(pl.Series("file_row", np.sort(rows) + 2))
    empty = pl.lit("").alias("correct_label_if_wrong")
    sheet.select("file_row", pl.lit("").alias("label_ok_yes_no"), empty, pl.exclude("sheet_row", "file_row")).write_csv(
        path
    )
    return len(rows)


def read_sheet(config: Config, path: Path) -> Finding:
    """The label-error rate of a reviewed sheet with its 95 % Wilson interval (Wilson 1927)."""
    try:
        sheet = pl.read_csv(path, infer_schema=False)
        answers = sheet["label_ok_yes_no"].str.strip_chars().str.to_lowercase()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"--review {path}: not a sheet that `recipe audit` wrote ({str(error).splitlines()[0]})"
        ) from None
    odd = [a for a in answers.drop_nulls().unique() if a not in ("yes", "no", "y", "n", "")]
    if odd:
        raise UserError(f"--review {path}: column label_ok_yes_no holds {odd[0]!r}; write yes or no, or leave it empty")
    wrong, n = int(answers.is_in(["no", "n"]).sum()), int(answers.is_in(["yes", "y", "no", "n"]).sum())
    if not n:
        raise UserError(f"--review {path}: no row is answered yet; write yes or no into label_ok_yes_no")
    low, high = wilson(wrong, n)
    return Finding(
        "label review",
        verdict(low > 0.05, high > 0.01 and wrong > 0),
        f"{wrong} of {n} reviewed labels are wrong: {wrong / n:.1%} [{low:.1%}, {high:.1%}]",
        "an error rate that is at most 1 %",
        (
            Cause("data", "labels are wrong: they cap what any model can reach"),
            Cause("data", "the labelling guide is unclear: let two people label the same rows"),
        ),
        "mend the wrong labels, then look at suspects.csv of the newest audit",
        share=wrong / n,
        evidence={"wrong": wrong, "n": n, "low": low, "high": high},
    )


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share."""
    share, scale = hits / n, 1 + z * z / n
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    middle = (share + z * z / (2 * n)) / scale
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def suspects(config: Config, data: Data, features: Any, path: Path) -> Finding:
    """Likely mislabels by confident learning (Northcutt et al. 2021) from out-of-fold probabilities of a simple model.

    About half of all suspects are real errors: a queue to review. The warning compares their share with how often the
    simple model is wrong anyway: a model that is confident and yet disagrees much is what wrong labels look like.
    """
    expected = "under 5 % of labels contradicted by a model that is otherwise sure"
    if config.task not in ("binary", "multiclass") or features is None:
        return Finding("label suspects", "NOT APPLICABLE", "needs classes and simple features", expected)
    rows = np.random.default_rng(0).permutation(len(data))[:SAMPLE]
    names, y = np.unique(data.frame[data.target][rows].cast(pl.String).to_numpy().astype(str), return_inverse=True)
    if np.bincount(y).min() < 5:
        return Finding("label suspects", "NOT APPLICABLE", "a class has fewer than 5 rows", expected)
    chance = out_of_fold(features[rows], y)
    from cleanlab.filter import find_label_issues

    order = find_label_issues(y, chance, return_indices_ranked_by="self_confidence", n_jobs=1)
    listed = pl.DataFrame(
        {
            "file_row": rows[order] + 2,
            "label": names[y[order]],
            "model_says": names[chance[order].argmax(1)],
            "chance_of_label": chance[order, y[order]].round(4),
        }
    )
    listed.write_csv(path)
    share = len(order) / len(rows)
    accuracy, majority = float((chance.argmax(1) == y).mean()), float(np.bincount(y).max() / len(y))
    useless = accuracy < majority + 2 * np.sqrt(majority * (1 - majority) / len(y))
    sure = bool((chance.max(1) > 0.9).mean() > 0.3)
    bad = sure and share > 0.05
    return Finding(
        "label suspects",
        verdict(False, bad),
        f"{len(order):,} of {len(rows):,} labels ({share:.1%}) are contradicted by an out-of-fold model that is right on {accuracy:.1%}"
        + ("; it has learned nothing, so this says nothing" if useless else ""),
        expected,
        (
            Cause("data", "labels are wrong: about half of the suspects usually are"),
            Cause("data", "classes overlap, or a decisive feature is missing"),
        ),
        f"review {path.name} in this run's folder from the top",
        share=share / 2 if bad else 0.0,
        evidence={"suspects": len(order), "accuracy": accuracy},
    )


def out_of_fold(features: Any, y: np.ndarray) -> np.ndarray:
    """Class probabilities [n, k] from models that did not see the row: a forest's out-of-bag votes, or for sparse text
    five folds of logistic regression."""
    if hasattr(features, "tocsr"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        return np.asarray(
            cross_val_predict(
                LogisticRegression(max_iter=200),
                features,
                y,
                cv=StratifiedKFold(5, shuffle=True, random_state=0),
                method="predict_proba",
            )
        )
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        200, min_samples_leaf=2, max_features="sqrt", oob_score=True, random_state=0, n_jobs=2
    ).fit(features, y)
    votes = np.nan_to_num(forest.oob_decision_function_, nan=1 / (y.max() + 1))
    return votes / votes.sum(axis=1, keepdims=True)


def learnable(config: Config, data: Data, features: Any) -> Finding:
    """Whether a simple model predicts the target better than chance at all: labels may be shifted or shuffled."""
    expected = "a cross-validated simple model better than chance by three null deviations"
    if features is None or config.task == "ranking":
        return Finding("something to learn", "NOT APPLICABLE", "needs simple features", expected)
    from .leakage import SAMPLE as ROWS
    from .leakage import _null_deviation, _skill, _target

    rows = np.random.default_rng(0).permutation(len(data))[:ROWS]
    x = features[rows]
    value = _skill(config, x.toarray() if hasattr(x, "toarray") else x, _target(config, data, rows))
    limit = 0.5 + 3 * _null_deviation(config, data, rows)
    bad = value < limit
    return Finding(
        "something to learn",
        verdict(False, bad),
        f"trees reach {value:.3f} (0.5 = chance, 1 = perfect)",
        f"{expected}: over {limit:.3f}",
        (
            Cause("data", "labels are shuffled or shifted against the rows"),
            Cause("data", "the features say nothing about this target"),
            Cause("preprocessing", "features were damaged on import"),
        ),
        "compare a few rows of the file with their source",
        evidence={"score": value, "limit": limit},
    )
