"""Checks on the split: may the rows be parted like this, and are the parts clean?"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from ..config import Config
from ..engine.parts import PARTS
from ..task import Data
from .finding import Cause, Finding, verdict

FEATURES = ("numeric", "categorical", "ordinal", "text")
ROWS = 20_000  # rows that a model-based check looks at


def independence(config: Config, data: Data) -> Finding:
    """A random split assumes independent rows: a declared group or time, or a reason why there is neither."""
    answered = bool(config.group or config.time or config.query or config.iid)
    suspects = time_like(data) + group_like(data)
    saw = f"group = {config.group!r}, time = {config.time!r}, iid = {config.iid!r}"
    hint = f"; columns to think about: {', '.join(suspects[:6])}" if suspects else ""
    return Finding(
        "independence",
        verdict(not answered),
        saw + ("" if answered else hint),
        "group = the column of what repeats (patient, user, machine), time = the column of when, or iid = the reason why neither exists",
        ()
        if answered
        else (
            Cause("split", "rows of one group on both sides, or the future in train, make every score too good"),
            Cause("data", "the column that says who or when is missing from the data"),
        ),
        ""
        if answered
        else (
            f'set time = "{suspects[0]}" in recipe.toml'
            if time_like(data)
            else 'set group, time or iid = "why the rows are independent" in recipe.toml'
        ),
        evidence={"suspects": suspects},
    )


def time_like(data: Data) -> list[str]:
    """Columns that hold dates or times."""
    return [
        name for name in data.frame.columns if data.frame[name].dtype.is_temporal() and data.roles.get(name) != "target"
    ]


def group_like(data: Data) -> list[str]:
    """Text or id columns in which most values come back, but few rows share one: who, rather than what kind."""
    found = []
    for name in data.columns("categorical", "id"):
        values = data.frame[name].n_unique()
        if 0.01 * len(data) < values < 0.5 * len(data) and values > 20:
            found.append(name)
    return found


def complete(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Every row in exactly one part, no part empty, sizes near what was asked for."""
    counts = [int((part == i).sum()) for i in range(3)]
    bad = sum(counts) != len(data) or len(part) != len(data) or min(counts) == 0
    return Finding(
        "every row in one part",
        verdict(bad),
        ", ".join(f"{name} {count:,}" for name, count in zip(PARTS, counts, strict=True)),
        f"{len(data):,} rows in all, no part empty",
        (
            Cause("split", "the assignment loses or repeats rows"),
            Cause("data", "too few rows or groups for three parts"),
        ),
        "read assign in engine/parts.py",
    )


def classes(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Every class in every part."""
    if config.task not in ("binary", "multiclass"):
        return Finding(
            "classes in every part",
            "NOT APPLICABLE",
            f"task = {config.task!r} has no classes",
            "every class in every part",
        )
    target = data.frame[data.target].cast(pl.String)
    everywhere = set(target.unique())
    missing = {
        name: sorted(everywhere - set(target.filter(pl.Series(part == i)).unique())) for i, name in enumerate(PARTS)
    }
    missing = {name: values for name, values in missing.items() if values}
    return Finding(
        "classes in every part",
        verdict("train" in missing or "val" in missing, bool(missing)),
        "; ".join(f"{name} lacks {', '.join(values[:5])}" for name, values in missing.items())
        or f"all {len(everywhere)} classes in each of the three parts",
        "every class in every part",
        (
            Cause("split", f"a {config.split_kind} split leaves rare classes out"),
            Cause("data", "a class has too few rows: merge it, drop it, or collect more"),
        )
        if missing
        else (),
        "bring more rows of these classes, merge them, or change val_share and test_share" if missing else "",
        evidence={"missing": missing},
    )


def duplicates(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Rows with equal features in train and in another part: the answer was seen in training."""
    columns = data.columns(*FEATURES)
    if not columns:
        return Finding(
            "duplicates across parts", "NOT APPLICABLE", "no column to compare rows by", "no equal rows across parts"
        )
    names = list(
        dict.fromkeys([*columns, *(c for c in (config.query, config.time, config.group) if c)])
    )  # the same offer on another day is no copy
    key = data.frame.select(names).hash_rows().to_numpy()
    seen = np.isin(key, key[part == 0])
    shares = {name: float(seen[part == i].mean()) for i, name in enumerate(PARTS) if i}
    worst = max(shares.values())
    chance = _chance_of_repeats(data, columns)
    bad = worst > 0.01 and not chance
    return Finding(
        "duplicates across parts",
        verdict(bad, worst > 0 and not chance),
        ", ".join(f"{share:.2%} of {name}" for name, share in shares.items()) + " have the features of a training row",
        "none; above 1 % the score is worth nothing"
        + (" (few distinct rows are possible here, so repeats are no copies)" if chance else ""),
        (
            Cause("split", "copies of a row went to both sides"),
            Cause("data", "rows were repeated by a join or by oversampling before the split"),
        ),
        'set duplicates = "drop" in recipe.toml, then: recipe split',
        share=max(worst, 0.0) if not chance else 0.0,
        evidence=shares,
    )


def _chance_of_repeats(data: Data, columns: list[str]) -> bool:
    """Whether independent draws would repeat anyway: fewer possible rows than the square of the number of rows."""
    possible = math.prod(min(data.frame[name].n_unique(), 10**6) for name in columns)
    return possible < len(data) ** 2 / 2


def groups(config: Config, data: Data, part: np.ndarray) -> Finding:
    """No value of the group (or query) column in two parts."""
    columns = [c for c in dict.fromkeys((config.group, config.query)) if c]
    if not columns:
        return Finding("groups apart", "NOT APPLICABLE", "no group is declared", "no group in two parts")
    shared = 0
    for name in columns:
        sides = data.frame.select(pl.col(name), pl.Series("part", part)).group_by(name).agg(pl.col("part").n_unique())
        shared += int((sides["part"] > 1).sum())
    return Finding(
        "groups apart",
        verdict(shared > 0),
        f"{shared} values of {' and '.join(columns)} lie in two parts",
        "0",
        (
            Cause("split", f"split = {config.split!r} does not keep groups together"),
            Cause("data", "the same group goes by two names"),
        ),
        'set split = "group" in recipe.toml, then: recipe split',
    )


def time_order(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Train before validation before test, with no moment in two parts."""
    if not config.time:
        return Finding("time in order", "NOT APPLICABLE", "no time is declared", "train before validation before test")
    moment = data.frame[config.time].rank("dense").fill_null(0).to_numpy()
    spans = [(moment[part == i].min(), moment[part == i].max()) for i in range(3)]
    bad = any(spans[i][1] >= spans[i + 1][0] for i in range(2))
    text = data.frame[config.time].cast(pl.String).to_numpy().astype(str)
    words = ", ".join(f"{name} {min(text[part == i])} to {max(text[part == i])}" for i, name in enumerate(PARTS))
    return Finding(
        "time in order",
        verdict(bad),
        words,
        "train before validation before test, no moment in two",
        (
            Cause("split", "rows were split at random although they have a time"),
            Cause("data", "the time column is not the time of the prediction"),
        ),
        'set split = "time" in recipe.toml, then: recipe split',
    )


def likeness(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Can a model tell training rows from validation rows? Under a random split it must not, beyond chance.

    Under the null the AUC has standard deviation sqrt((n1 + n2 + 1) / (12 n1 n2)); the alarm is three of them above a
    half. A time or group split differs by design: there it only informs.
    """
    columns = data.columns("numeric", "ordinal", "categorical")
    if not columns:
        return Finding(
            "parts alike", "NOT APPLICABLE", "no table columns to compare", "train and validation look alike"
        )
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(0)
    rows = [random.permutation(np.flatnonzero(part == i))[: ROWS // 2] for i in (0, 1)]
    n = min(map(len, rows))
    picked = np.concatenate([rows[0][: 2 * n], rows[1]])
    x = np.stack([_codes(data.frame[name][picked]) for name in columns], axis=1)
    side = (part[picked] == 1).astype(int)
    forest = RandomForestClassifier(100, min_samples_leaf=5, oob_score=True, random_state=0, n_jobs=1).fit(x, side)
    value = _auc(forest.oob_decision_function_[:, 1], side)
    n1, n2 = int(side.sum()), int((1 - side).sum())
    limit = 0.5 + 3 * math.sqrt((n1 + n2 + 1) / (12 * n1 * n2))
    informs = config.split_kind in ("time", "group")
    bad = value > limit and not informs
    return Finding(
        "parts alike",
        verdict(False, bad),
        f"a model tells train from validation with AUC {value:.3f}",
        f"under {limit:.3f} for {n1} and {n2} rows"
        + (f"; a {config.split_kind} split may differ: this only informs" if informs else ""),
        (
            Cause("split", "the parts were drawn from different sources or times"),
            Cause("data", "a row number, id or time column is among the features"),
            Cause("preprocessing", "one part was processed differently"),
        ),
        "recipe audit",
        evidence={"auc": value, "limit": limit},
    )


def _codes(column: pl.Series) -> np.ndarray:
    numbers = (
        column.cast(pl.Float64) if column.dtype.is_numeric() else column.cast(pl.String).rank("dense").cast(pl.Float64)
    )
    return numbers.fill_null(-1e9).to_numpy()


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, np.nan_to_num(scores, nan=0.5)))


CHECKS = (complete, classes, duplicates, groups, time_order, likeness)
