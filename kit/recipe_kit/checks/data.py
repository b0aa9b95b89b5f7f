"""Look before you model: balance, missing values, useless columns, and how much of the data all problems touch."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from ..imbalance import IMBALANCE, handled
from ..owner.config import Config
from ..owner.engine.target import counted
from ..owner.task import Data
from .check_result import CheckResult, check_result, not_applicable
from .repeats import FEATURES

TOTAL = "share of rows with problems"
STRANGE = 0.01  # chance that one of the classes looks lost where all sizes are drawn alike
MANY = 50  # values of a category that are worth a mention
ENOUGH = 20  # rows for each value of a category, on average


def balance(config: Config, data: Data) -> CheckResult:
    """Counts of the classes. Over 10:1 something must be done on purpose (imbalance.py); the baseline waits for it."""
    if config.task not in ("binary", "multiclass"):
        x = data.frame[data.target].cast(pl.Float64).to_numpy()
        return not_applicable("class balance", f"a number from {x.min():.4g} to {x.max():.4g}")
    counts = counted(data.frame[data.target])
    rare, most = min(counts, key=lambda c: counts[c]), max(counts.values())
    ratio = most / counts[rare]
    shown = ", ".join(f"{c} {n:,}" for c, n in list(counts.items())[:5]) + (" ..." if len(counts) > 5 else "")
    metric = "average_precision" if config.task == "binary" else "balanced_accuracy"
    left = not handled(config)
    lost = left and outlying(np.array(list(counts.values())))
    return check_result(
        "class balance",
        f"{shown}; {ratio:.1f}:1; the rarest is {rare} with {counts[rare]:,} rows"
        + (", far from the others, which are alike" if lost else ""),
        fail=len(counts) < 2,
        warn=(left and ratio > IMBALANCE) or lost or counts[rare] < 10,
        evidence={"counts": counts},
        most=IMBALANCE,
        rare=rare,
        metric=metric,
    )


def outlying(counts: np.ndarray) -> bool:
    """Whether the smallest of at least four classes is an outlier among the logarithms of their sizes, and under half of
    their mean: where the others were collected alike, rows of this one were lost.

    Grubbs' test (1969) at STRANGE, one-sided, with the spread of the others, which is at least that of a Poisson count.
    """
    from scipy.stats import t

    sizes = np.sort(np.log(np.maximum(counts, 1)))
    others, k = sizes[1:], len(sizes)
    if k < 4:
        return False
    spread = np.sqrt(max(others.var(ddof=1), 1 / np.exp(others.mean())) * (1 + 1 / (k - 1)))
    below = (others.mean() - sizes[0]) / spread
    return bool(below > t.isf(STRANGE / k, k - 2) and sizes[0] < others.mean() - np.log(2))


def listed(names: list[str]) -> str:
    """Column names as recipe.toml lists them: what JSON writes, TOML reads."""
    return json.dumps(list(dict.fromkeys(names)), ensure_ascii=False)


def missing(config: Config, data: Data) -> CheckResult:
    """Share of missing values by column; nearly empty columns."""
    columns = data.columns(*FEATURES)
    share = {c: data.frame[c].null_count() / len(data) for c in columns}
    most = sorted((c for c in columns if share[c]), key=lambda c: -share[c])
    empty = [c for c in most if share[c] > 0.95]
    gaps = int(any_null(data.frame, most).sum())
    words = ", ".join(f"{c} {share[c]:.1%}" for c in most[:5])
    return check_result(
        "missing values",
        f"{words}; {gaps / len(data):.1%} of rows" if most else "none",
        warn=bool(empty),
        evidence={"share": share},
        names=", ".join(empty[:3]),
        drop=listed([*config.drop, *empty]),
    )


def useless(config: Config, data: Data) -> CheckResult:
    """Constant columns (harmless: they are encoded as zero), and columns that name a row and stay out."""
    columns = data.columns(*FEATURES)
    constant = [c for c in columns if data.frame[c].n_unique() == 1]
    names = ", ".join(data.columns("id")) or "none"
    return check_result(
        "constant and id columns",
        f"constant: {', '.join(constant[:8]) or 'none'}; read as id and left out: {names}",
        fail=bool(columns) and len(constant) == len(columns),
        warn=len(constant) > len(columns) / 2,
        evidence={"constant": constant},
        names=", ".join(constant[:3]),
        drop=listed([*config.drop, *constant]),
    )


def cardinality(config: Config, data: Data) -> CheckResult:
    """Categories with very many values: each needs enough rows, and new ones will come in production."""
    columns = data.columns("categorical")
    values = [[chunk.frame[c].unique() for c in columns] for chunk in data.chunks()]
    found = {c: pl.concat(parts).n_unique() for c, *parts in zip(columns, *values, strict=True)}
    found = {c: n for c, n in found.items() if n > MANY}
    thin = [c for c, n in found.items() if n > len(data) / ENOUGH]
    words = ", ".join(f"{c} has {n:,} values, {len(data) / n:.0f} rows each" for c, n in found.items())
    return check_result(
        "high cardinality",
        words or f"no category has over {MANY} values",
        warn=bool(thin),
        evidence={"values": found},
        enough=ENOUGH,
        first=thin[0] if thin else "",
    )


def one_percent(findings: list[CheckResult]) -> CheckResult:
    """The 1-2 % rule: data problems that touch over 1 % of the rows come before any setting."""
    touched = {f.check: f.share for f in findings if f.share > 0 and f.verdict in ("WARN", "FAIL")}
    total = min(sum(touched.values()), 1.0)
    words = ", ".join(f"{name} {share:.1%}" for name, share in sorted(touched.items(), key=lambda item: -item[1]))
    return check_result(
        TOTAL,
        f"problems touch up to {total:.1%} of the rows" + (f": {words}" if words else ""),
        warn=total > 0.01,
        evidence=touched,
    )


CHECKS = (balance, missing, useless, cardinality)


def any_null(frame: pl.DataFrame, names: list[str]) -> pl.Series:
    """Whether any of these columns is null, bool [n]."""
    nulls = pl.repeat(False, frame.height, eager=True)
    for name in names:
        nulls = nulls | frame[name].is_null()
    return nulls
