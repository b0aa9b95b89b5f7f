"""Look before you model: balance, missing values, useless columns, and how much of the data all problems touch."""

from __future__ import annotations

import polars as pl

from ..config import Config
from ..task import Data
from .duplicates import FEATURES
from .finding import Cause, Finding, verdict

IMBALANCE = 10  # to one; beyond it accuracy rewards silence
MANY = 50  # values of a category that are worth a mention
ENOUGH = 20  # rows for each value of a category, on average


def balance(config: Config, data: Data) -> Finding:
    """Counts of the classes. Over 10:1 something must be done on purpose: weights, another metric, or a threshold."""
    name, expected = (
        "class balance",
        f"at most {IMBALANCE}:1, or class_weights, a metric or costs chosen for it; 10 rows of each class",
    )
    if config.task not in ("binary", "multiclass"):
        x = data.frame[data.target].cast(pl.Float64).to_numpy()
        return Finding(name, "NOT APPLICABLE", f"a number from {x.min():.4g} to {x.max():.4g}", expected)
    counts = dict(
        data.frame[data.target].cast(pl.String).value_counts().sort("count", data.target, descending=True).rows()
    )
    rare, most = min(counts, key=lambda c: counts[c]), max(counts.values())
    ratio = most / counts[rare]
    chosen = config.metric not in ("auto", "accuracy") or config.cost_false_negative != config.cost_false_positive
    uneven = ratio > IMBALANCE and config.class_weights == "none" and not chosen
    shown = ", ".join(f"{c} {n:,}" for c, n in list(counts.items())[:5]) + (" ..." if len(counts) > 5 else "")
    metric = "average_precision" if config.task == "binary" else "balanced_accuracy"
    return Finding(
        name,
        verdict(len(counts) < 2, uneven or counts[rare] < 10),
        f"{shown}; {ratio:.1f}:1; the rarest is {rare} with {counts[rare]:,} rows",
        expected,
        (
            Cause("data", f"rows of {rare} were lost on the way, or it is rare by nature"),
            Cause("evaluation", "accuracy looks good for a model that never says it: choose a metric on purpose"),
            Cause("loss", "the loss hardly sees the rare class: weigh the classes"),
        ),
        f'recipe train class_weights=balanced metric={metric}, or in recipe.toml: acknowledge = ["class balance"]',
        evidence={"counts": counts},
    )


def missing(config: Config, data: Data) -> Finding:
    """Share of missing values by column; nearly empty columns."""
    columns = data.columns(*FEATURES)
    share = {c: data.frame[c].null_count() / len(data) for c in columns}
    most = sorted((c for c in columns if share[c]), key=lambda c: -share[c])
    empty = [c for c in most if share[c] > 0.95]
    gaps = data.frame.select(pl.any_horizontal(pl.col(most).is_null())).to_series().sum() if most else 0
    words = ", ".join(f"{c} {share[c]:.1%}" for c in most[:5])
    return Finding(
        "missing values",
        verdict(False, bool(empty)),
        f"{words}; {gaps / len(data):.1%} of rows" if most else "none",
        "no column over 95 % empty; the rest is filled with a value from the training part and a 0/1 indicator",
        (
            Cause("data", f"{', '.join(empty[:3])}: hardly ever filled in"),
            Cause("preprocessing", "a join did not match"),
        ),
        "in recipe.toml: drop = [" + ", ".join(f'"{c}"' for c in [*config.drop, *empty]) + "]",
        evidence={"share": share},
    )


def useless(config: Config, data: Data) -> Finding:
    """Constant columns (harmless: they are encoded as zero), and columns that name a row and stay out."""
    columns = data.columns(*FEATURES)
    constant = [c for c in columns if data.frame[c].n_unique() == 1]
    names = ", ".join(data.columns("id")) or "none"
    return Finding(
        "constant and id columns",
        verdict(bool(columns) and len(constant) == len(columns), len(constant) > len(columns) / 2),
        f"constant: {', '.join(constant[:8]) or 'none'}; read as id and left out: {names}",
        "fewer than half of the features constant",
        (
            Cause("data", f"{', '.join(constant[:3])}: one value each"),
            Cause("preprocessing", "a filter left one value, or the file was read wrongly"),
        ),
        "in recipe.toml: drop = [" + ", ".join(f'"{c}"' for c in [*config.drop, *constant]) + "]",
        evidence={"constant": constant},
    )


def cardinality(config: Config, data: Data) -> Finding:
    """Categories with very many values: each needs enough rows, and new ones will come in production."""
    found = {c: data.frame[c].n_unique() for c in data.columns("categorical")}
    found = {c: n for c, n in found.items() if n > MANY}
    thin = [c for c, n in found.items() if n > len(data) / ENOUGH]
    first = thin[0] if thin else ""
    words = ", ".join(f"{c} has {n:,} values, {len(data) / n:.0f} rows each" for c, n in found.items())
    return Finding(
        "high cardinality",
        verdict(False, bool(thin)),
        words or f"no category has over {MANY} values",
        f"{ENOUGH} rows and more for each value on average (embeddings learn nothing from fewer)",
        (
            Cause("data", f"{first} names a thing rather than a kind: is it a group?"),
            Cause("model", "an embedding of rare values overfits"),
        ),
        f'in recipe.toml: group = "{first}" if rows of one belong together, or drop it, or merge rare values',
        evidence={"values": found},
    )


def one_percent(findings: list[Finding]) -> Finding:
    """The 1-2 % rule: data problems that touch over 1 % of the rows come before any knob."""
    touched = {f.check: f.share for f in findings if f.share > 0 and f.verdict in ("WARN", "FAIL")}
    total = min(sum(touched.values()), 1.0)
    words = ", ".join(f"{name} {share:.1%}" for name, share in sorted(touched.items(), key=lambda item: -item[1]))
    return Finding(
        "fix the data first",
        verdict(False, total > 0.01),
        f"problems touch up to {total:.1%} of the rows" + (f": {words}" if words else ""),
        "at most 1 %",
        (
            Cause("data", "no knob makes up for this many bad rows"),
            Cause("preprocessing", "an import step damages rows"),
        ),
        "mend or drop these rows before training",
        evidence=touched,
    )


CHECKS = (balance, missing, useless, cardinality)
