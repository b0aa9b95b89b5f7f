"""Leakage: columns that know the answer because they were written after it, or because they name the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from .finding import Cause, Finding, verdict

SAMPLE = 6_000  # rows behind model-based evidence: an AUC of .97 is known to +/- .003 there
POWER = 0.97  # legitimate features reach .976 and 1.00 (breast cancer, iris): from here a WARN, never alone a FAIL
COLLAPSE = 0.5  # share of the skill above chance that a column takes with it before "drop it" is said
EARLY = 0.5  # share of unlabelled rows on which a column recorded after the outcome is missing


def after_outcome(config: Config, data: Data) -> Finding:
    """Columns that are empty where the target is empty, and filled where it is known: recorded with the outcome.

    Needs rows without a target; they say what is known before the outcome.
    """
    name = "recorded after the outcome"
    expected = (
        f"columns as complete on rows without a target as on rows with one (at most {EARLY:.0%} more of them empty)"
    )
    if data.unlabelled is None or data.unlabelled.height < 20:
        return Finding(name, "NOT APPLICABLE", "fewer than 20 rows without a target", expected)
    columns = [
        c for c in data.columns("numeric", "categorical", "ordinal", "text") if c not in config.known_at_prediction
    ]
    gaps = {
        c: (
            float(data.unlabelled[c].null_count() / data.unlabelled.height),
            float(data.frame[c].null_count() / len(data)),
        )
        for c in columns
    }
    late = {c: gap for c, gap in gaps.items() if gap[0] - gap[1] > EARLY}
    words = "; ".join(
        f"{c} is empty on {a:.0%} of rows without a target and {b:.1%} of rows with one" for c, (a, b) in late.items()
    )
    return Finding(
        name,
        verdict(bool(late)),
        words or f"no column goes missing together with {data.target}",
        expected,
        (
            Cause("data", "the column is filled in when the outcome is known, so it is not there when you predict"),
            Cause("data", "rows without a target come from another source"),
        )
        if late
        else (),
        _drop_command(config, list(late)) if late else "",
        evidence={"columns": list(late), "empty": gaps},
    )


def _drop_command(config: Config, names: list[str]) -> str:
    listed = ", ".join(f'"{n}"' for n in [*config.drop, *names])
    return f"in recipe.toml: drop = [{listed}]   (or name them in known_at_prediction if they really are)"


def single_column_power(config: Config, data: Data) -> Finding:
    """How well each column alone predicts the target, cross-validated; and what is left when the strong ones go.

    One strong column is a WARN: iris has such columns and they are legitimate. It is a FAIL only when a few columns
    carry nearly everything (power above .97, and without them over half of the skill is gone), as a copy of the answer does.
    """
    columns = data.columns("numeric", "categorical", "ordinal")
    expected = f"no single column above {POWER}; and if one is, others that agree with it"
    if not columns or config.task == "ranking":
        return Finding("one column knows it all", "NOT APPLICABLE", "no table columns to try one by one", expected)
    x, y = _matrix(config, data, columns)
    power = {c: _skill(config, x[:, [i]], y, small=True) for i, c in enumerate(columns)}
    suspects = [c for c in columns if power[c] > POWER and c not in config.known_at_prediction]
    evidence: dict[str, Any] = {"power": power}
    drop: list[str] = []
    if suspects:
        rest = [i for i, c in enumerate(columns) if c not in suspects]
        whole, without = _skill(config, x, y), _skill(config, x[:, rest], y) if rest else 0.5
        evidence |= {"with": whole, "without": without}
        few = len(suspects) <= max(1, len(columns) // 3)
        drop = suspects if few and (whole - without) > COLLAPSE * (whole - 0.5) else []
    top = sorted(power, key=lambda c: -power[c])[:3]
    saw = "strongest alone: " + ", ".join(f"{c} {power[c]:.3f}" for c in top)
    if suspects:
        saw += f"; with all columns {evidence['with']:.3f}, without {', '.join(suspects)} {evidence['without']:.3f} (score 0.5 = chance, 1 = perfect)"
    return Finding(
        "one column knows it all",
        verdict(bool(drop), bool(suspects)),
        saw,
        expected,
        (
            Cause("data", f"{suspects[0]} is computed from the target, or is recorded after it"),
            Cause("data", "a legitimately decisive column: confirm that it is known when predicting"),
            Cause("preprocessing", "an encoding used the target"),
        )
        if suspects
        else (),
        (
            _drop_command(config, drop)
            if drop
            else f'if it is known when predicting: known_at_prediction = ["{suspects[0]}"]'
        )
        if suspects
        else "",
        evidence=evidence,
    )


def missing_tells(config: Config, data: Data) -> Finding:
    """Whether the pattern of missing values alone predicts the target."""
    columns = [c for c in data.columns("numeric", "categorical", "ordinal", "text") if data.frame[c].null_count()]
    expected = "missing values that say nothing of the target (score under 0.6 plus three null deviations)"
    if not columns or config.task == "ranking":
        return Finding("missing values tell", "NOT APPLICABLE", "no missing values", expected)
    rows = _sample(data)
    x = np.stack([data.frame[c][rows].is_null().to_numpy().astype(float) for c in columns], axis=1)
    value = _skill(config, x, _target(config, data, rows), small=True)
    limit = 0.6 + 3 * _null_deviation(config, data, rows)
    bad = value > limit
    return Finding(
        "missing values tell",
        verdict(False, bad),
        f"which values are missing predicts {data.target} with {value:.3f} (0.5 = chance)",
        expected,
        (
            Cause("data", "the column is filled in differently once the outcome is known"),
            Cause("data", "a legitimate sign: a test that was not ordered"),
        ),
        f"look at {columns[0]}; drop it, or name it in known_at_prediction" if bad else "",
        evidence={"score": value, "limit": limit},
    )


def order_tells(config: Config, data: Data) -> Finding:
    """Whether a feature counts rows while the file is sorted by the target: the row number then gives the answer away.

    A sorted file alone is harmless (iris is one): splits and batches are shuffled.
    """
    expected = "no feature that counts rows; or rows whose position says nothing of the target (score under 0.55 plus three null deviations)"
    counters = [c for c in data.columns("numeric") if is_counter(data.frame[c]) and c not in config.known_at_prediction]
    if config.task == "ranking":
        return Finding("row number as feature", "NOT APPLICABLE", "rows are ordered by query on purpose", expected)
    rows = np.sort(_sample(data))
    value = _skill(config, rows[:, None].astype(float), _target(config, data, rows), small=True)
    limit = 0.55 + 3 * _null_deviation(config, data, rows)
    tells = value > limit
    return Finding(
        "row number as feature",
        verdict(tells and bool(counters), bool(counters)),
        f"{', '.join(counters) or 'no column'} counts rows; the row number predicts {data.target} with {value:.3f} (0.5 = chance)",
        expected,
        (
            Cause("data", f"{counters[0]} is a row number or id: it leaks the order of the file"),
            Cause("split", "neighbouring rows belong together: declare a group or a time"),
        )
        if counters
        else (),
        f'in recipe.toml: id = ["{counters[0]}"]' if counters else "",
        evidence={"score": value, "limit": limit, "counters": counters},
    )


def is_counter(column: pl.Series) -> bool:
    """Whole numbers that only rise, or only fall, through the file, with no large gaps: a row number."""
    if not column.dtype.is_integer() or column.null_count() or len(column) < 20:
        return False
    steps = column.cast(pl.Int64).diff().drop_nulls()
    one_way = bool((steps > 0).all()) or bool((steps < 0).all())
    return one_way and float(steps.abs().max()) <= 20 * float(steps.abs().median())  # type: ignore[arg-type]


def _sample(data: Data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data))[:SAMPLE]


def _target(config: Config, data: Data, rows: np.ndarray) -> np.ndarray:
    column = data.frame[data.target][rows]
    return (
        column.cast(pl.Float64).to_numpy()
        if config.task == "regression"
        else column.cast(pl.String).rank("dense").to_numpy().astype(int) - 1
    )


def _matrix(config: Config, data: Data, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = _sample(data)
    numbers = [
        s.cast(pl.Float64) if s.dtype.is_numeric() else s.cast(pl.String).rank("dense").cast(pl.Float64)
        for s in (data.frame[c][rows] for c in columns)
    ]
    return np.stack([n.to_numpy() for n in numbers], axis=1).astype(np.float64), _target(config, data, rows)


def _skill(config: Config, x: np.ndarray, y: np.ndarray, small: bool = False) -> float:
    """Cross-validated score of trees on x: AUC (one against the rest, averaged), or for regression a rank AUC, 0.5 = chance.

    `small` is one shallow tree: enough for a single column, and a thousandth of the cost.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    regression = config.task == "regression"
    leaf = max(5, len(y) // 200)
    if small:
        model: Any = (DecisionTreeRegressor if regression else DecisionTreeClassifier)(
            max_depth=6, min_samples_leaf=leaf, random_state=0
        )
    else:
        model = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
            max_iter=60, min_samples_leaf=min(leaf, 20), random_state=0
        )
    if regression:
        guess = cross_val_predict(model, x, y, cv=KFold(3, shuffle=True, random_state=0))
        return (1 + float(np.nan_to_num(np.corrcoef(_ranks(guess), _ranks(y))[0, 1]))) / 2
    kept = np.isin(y, np.flatnonzero(np.bincount(y) >= 3))
    x, y = x[kept], np.unique(y[kept], return_inverse=True)[1]
    chance = cross_val_predict(model, x, y, cv=StratifiedKFold(3, shuffle=True, random_state=0), method="predict_proba")
    return float(np.mean([roc_auc_score(y == k, chance[:, k]) for k in range(chance.shape[1])]))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _null_deviation(config: Config, data: Data, rows: np.ndarray) -> float:
    """Standard deviation of a chance score at this n: of an AUC, or of a rank correlation over two."""
    n = len(rows)
    if config.task == "regression":
        return 0.5 / np.sqrt(n)
    smallest = max(int(np.bincount(_target(config, data, rows)).min()), 1)
    return float(np.sqrt((n + 1) / (12 * smallest * max(n - smallest, 1))))


CHECKS = (after_outcome, single_column_power, missing_tells, order_tells)
