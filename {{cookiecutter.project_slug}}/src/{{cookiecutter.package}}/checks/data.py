"""Look before you model: labels, balance, odd values, duplicates, and how much of the data all of it touches."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..config import Config
from ..task import Data
from .finding import Cause, Finding, verdict
from .split import FEATURES, _chance_of_repeats, group_like, time_like

IMBALANCE = 10  # to one; beyond it accuracy rewards silence
HIGH_CARDINALITY = 100


def balance(config: Config, data: Data) -> Finding:
    """Counts of the classes. Over 10:1 something must be done on purpose: weights, another metric, or a threshold."""
    expected = f"at most {IMBALANCE}:1, or class_weights, a metric that does not reward silence, or costs"
    if config.task not in ("binary", "multiclass"):
        column = data.frame[data.target].cast(pl.Float64).to_numpy()
        skew = _moments(column)[0]
        return Finding(
            "class balance",
            "NOT APPLICABLE",
            f"a number from {float(column.min()):.4g} to {float(column.max()):.4g}, skew {skew:.1f}",
            expected,
        )
    counts = data.frame[data.target].cast(pl.String).value_counts().sort("count", descending=True)
    most, least = int(counts["count"][0]), int(counts["count"][-1])
    handled = (
        config.class_weights != "none"
        or config.resolved_metric != "accuracy"
        or config.cost_false_negative != config.cost_false_positive
    )
    uneven = most / least > IMBALANCE
    few = least < 10
    names = [str(n) for n in counts[data.target]]
    shown = ", ".join(f"{n} {c:,}" for n, c in zip(names[:5], counts["count"][:5].to_list(), strict=True)) + (
        " ..." if len(names) > 5 else ""
    )
    bad = uneven and not handled
    return Finding(
        "class balance",
        verdict(False, bad or few),
        f"{shown}; {most / least:.1f}:1" + (f"; {names[-1]} has {least} rows" if few else ""),
        expected + "; 10 rows and more of each class",
        (
            Cause(
                "data",
                f"{names[-1]} is rare by nature: weigh it, or judge by auc, average_precision or balanced_accuracy",
            ),
            Cause("data", "rows of it were lost on the way"),
            Cause("evaluation", "accuracy looks good for a model that never says it"),
        ),
        'recipe train class_weights=balanced metric=balanced_accuracy, or acknowledge = ["class balance"]',
        evidence={"counts": dict(zip(names, counts["count"].to_list(), strict=True))},
    )


def missing(config: Config, data: Data) -> Finding:
    """Share of missing values by column; nearly empty columns."""
    columns = data.columns(*FEATURES)
    share = {c: data.frame[c].null_count() / len(data) for c in columns}
    most = sorted((c for c in columns if share[c]), key=lambda c: -share[c])
    empty = [c for c in columns if share[c] > 0.95]
    touched = (
        float(data.frame.select(pl.any_horizontal(pl.col(c).is_null() for c in columns)).to_series().to_numpy().mean())
        if most
        else 0.0
    )  # type: ignore[arg-type]
    return Finding(
        "missing values",
        verdict(False, bool(empty)),
        (", ".join(f"{c} {share[c]:.1%}" for c in most[:5]) + f"; {touched:.1%} of rows") if most else "none",
        "no column over 95 % empty; the rest is filled with a value from the training part and a 0/1 indicator",
        (Cause("data", f"{empty[0]} is hardly ever filled in"), Cause("preprocessing", "a join did not match"))
        if empty
        else (),
        f'in recipe.toml: drop = ["{empty[0]}"]' if empty else "",
        evidence={"share": share},
    )


def sentinels(config: Config, data: Data) -> Finding:
    """A single value that is far too frequent in an otherwise continuous column: 0 or -999 for missing."""
    found: dict[str, tuple[float, float]] = {}
    for name in data.columns("numeric"):
        column = data.frame[name].drop_nulls().cast(pl.Float64)
        top = column.value_counts(sort=True).head(1)
        if not len(column) or column.n_unique() < max(30, 0.05 * len(column)):
            continue
        value, count = float(top[name][0]), int(top["count"][0])
        rest = column.filter(column != value)
        second = int(rest.value_counts(sort=True)["count"][0]) if len(rest) else 0
        # A spike: over 1 % of rows, and far above the next value and what a Poisson count around it would give.
        spike = count > 0.01 * len(column) and count > 5 * second + 5 * np.sqrt(second + 1)
        natural = value == 0 and column.to_numpy().min() >= 0 and _touches(rest, 0.0)  # type: ignore[arg-type]
        if spike and not natural:
            found[name] = (value, count / len(column))
    share = max((s for _, s in found.values()), default=0.0)
    return Finding(
        "values that mean missing",
        verdict(False, bool(found)),
        "; ".join(f"{c} is {v:g} in {s:.1%} of rows" for c, (v, s) in found.items()) or "no suspicious spike",
        "no single value far more frequent than its neighbours in a continuous column",
        (
            Cause("data", "missing values were written as a number"),
            Cause("preprocessing", "values were clipped or filled before they came here"),
        )
        if found
        else (),
        "empty these cells in the file if they mean missing" if found else "",
        share=share,
        evidence={"columns": {c: list(v) for c, v in found.items()}},
    )


def _touches(rest: pl.Series, value: float) -> bool:
    """Whether the other values come close to `value`, as counts and amounts come close to 0 (a natural edge)."""
    spread = float(rest.quantile(0.75) or 0.0) - float(rest.quantile(0.25) or 0.0)
    return bool(abs(float(rest.min()) - value) < 0.05 * spread)  # type: ignore[arg-type]


def odd_columns(config: Config, data: Data) -> Finding:
    """Constant columns (harmless: they are encoded as zero), and columns that name a row and stay out."""
    columns = data.columns(*FEATURES)
    constant = [c for c in columns if data.frame[c].n_unique() == 1]
    bad = bool(columns) and len(constant) > len(columns) / 2
    return Finding(
        "constant and id columns",
        verdict(False, bad),
        f"constant: {', '.join(constant) or 'none'}; read as id and left out: {', '.join(data.columns('id')) or 'none'}",
        "fewer than half of the features constant",
        (
            Cause("data", f"{', '.join(constant[:3])} have one value each"),
            Cause("preprocessing", "a filter left one value, or the file was read wrongly"),
        ),
        "in recipe.toml: drop = [" + ", ".join(f'"{c}"' for c in [*config.drop, *constant]) + "]",
    )


def cardinality(config: Config, data: Data) -> Finding:
    """Categories with very many values: each needs enough rows, and new ones will come in production."""
    found = {c: data.frame[c].n_unique() for c in data.columns("categorical")}
    found = {c: n for c, n in found.items() if n > HIGH_CARDINALITY}
    thin = {c: n for c, n in found.items() if n > len(data) / 20}
    return Finding(
        "high cardinality",
        verdict(False, bool(thin)),
        ", ".join(f"{c} has {n:,} values, {len(data) / n:.0f} rows each" for c, n in found.items())
        or f"no category has over {HIGH_CARDINALITY} values",
        "20 rows and more for each value on average (embeddings learn nothing from fewer)",
        (
            Cause("data", f"{next(iter(thin))} names a thing rather than a kind: is it a group?"),
            Cause("model", "an embedding of rare values overfits"),
        )
        if thin
        else (),
        f'in recipe.toml: group = "{next(iter(thin))}" if rows of one belong together, or drop it, or merge rare values'
        if thin
        else "",
        evidence={"values": found},
    )


def tails(config: Config, data: Data) -> Finding:
    """Heavy tails, two humps and far outliers in numeric columns; described, and a warning only for absurd values."""
    described, absurd = {}, {}
    for name in data.columns("numeric"):
        x = data.frame[name].drop_nulls().cast(pl.Float64).to_numpy()
        if len(np.unique(x)) < 20:
            continue
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
        spread = (high - low) or float(x.std()) or 1.0
        far = np.abs(x - middle) / spread
        g, m = _moments(x)
        described[name] = {
            "skew": g,
            "kurtosis": m,
            "bimodality": (g**2 + 1) / max(m, 1e-9),
            "farthest": float(far.max()),
            "outliers": float((far > 10).mean()),
        }
        if far.max() > 1000 and 0 < (far > 1000).mean() < 0.01:
            absurd[name] = float(x[far.argmax()])
    heavy = [c for c, d in described.items() if d["kurtosis"] > 10]
    humps = [c for c, d in described.items() if d["bimodality"] > 5 / 9 and d["kurtosis"] < 3]
    share = max((described[c]["outliers"] for c in absurd), default=0.0)
    return Finding(
        "distributions",
        verdict(False, bool(absurd)),
        f"heavy tails: {', '.join(heavy[:6]) or 'none'}; two humps: {', '.join(humps[:6]) or 'none'}"
        + (f"; absurd: {absurd}" if absurd else ""),
        "values within 1,000 quartile distances of the median",
        (
            Cause("data", "a unit was mixed up, or a digit lost"),
            Cause("preprocessing", "an overflow or a default value"),
        )
        if absurd
        else (),
        f"look at {next(iter(absurd))} in the file" if absurd else "",
        share=share,
        evidence=described,
    )


def _moments(x: np.ndarray) -> tuple[float, float]:
    z = (x - x.mean()) / (x.std() or 1.0)
    return float((z**3).mean()), float((z**4).mean())


def duplicates(config: Config, data: Data) -> Finding:
    """Rows with the same features: copies, and copies that disagree on the label."""
    columns = data.columns(*FEATURES)
    if not columns or _chance_of_repeats(data, columns):
        return Finding(
            "duplicate rows",
            "NOT APPLICABLE",
            "too few distinct rows are possible to call repeats copies",
            "under 1 % copies",
        )
    key = [
        *columns,
        *(c for c in (config.query, config.time, config.group) if c),
    ]  # the same offer on another day is no copy
    keyed = pl.DataFrame(
        {"key": data.frame.select(list(dict.fromkeys(key))).hash_rows(), "y": data.frame[data.target].cast(pl.String)}
    )
    groups = keyed.group_by("key").agg(pl.len().alias("n"), pl.col("y").n_unique().alias("labels"))
    copies = int((groups["n"] - 1).sum())
    conflict = (
        int(groups.filter((pl.col("labels") > 1) & (pl.col("n") > 1))["n"].sum())
        if config.task in ("binary", "multiclass")
        else 0
    )
    share = copies / len(data)
    bad = share > 0.01 or conflict > 0.01 * len(data)
    return Finding(
        "duplicate rows",
        verdict(share > 0.05 and config.duplicates == "keep", bad or conflict > 0),
        f"{copies:,} rows ({share:.1%}) repeat an earlier one; {conflict:,} rows share features but not the label",
        "under 1 % copies, and none that disagree",
        (
            Cause("data", "a join or an export repeated rows"),
            Cause("split", "copies on both sides of a split make every score too good"),
            Cause("data", "the column that tells the copies apart is missing"),
        ),
        'in recipe.toml: duplicates = "drop"',
        share=max(share, conflict / len(data)),
        evidence={"copies": copies, "conflicts": conflict},
    )


def who_and_when(config: Config, data: Data) -> Finding:
    """Columns that look like a time or a group and are not declared: rows that are not independent."""
    times = [] if config.time or config.iid else time_like(data)
    groups = [] if config.group or config.iid or config.time else group_like(data)
    named = [f"{c} looks like a time" for c in times] + [f"{c} looks like a group" for c in groups]
    return Finding(
        "who and when",
        verdict(False, bool(named)),
        "; ".join(named[:5]) or f"time = {config.time!r}, group = {config.group!r}, iid = {config.iid!r}",
        "time and group columns declared, or iid = the reason why rows are independent",
        (
            Cause("split", "a random split would train on the future, or on the same thing it is tested on"),
            Cause("data", "the rows really are independent: say why in iid"),
        )
        if named
        else (),
        (f'in recipe.toml: time = "{times[0]}"' if times else f'in recipe.toml: group = "{groups[0]}"')
        if named
        else "",
        evidence={"times": times, "groups": groups},
    )


def one_percent(findings: list[Finding]) -> Finding:
    """The 1-2 % rule: data problems that touch over 1 % of the rows come before any knob."""
    touched = {f.check: f.share for f in findings if f.share > 0 and f.verdict in ("WARN", "FAIL")}
    total = min(sum(touched.values()), 1.0)
    bad = total > 0.01
    return Finding(
        "fix the data first",
        verdict(False, bad),
        f"problems touch up to {total:.1%} of the rows"
        + (": " + ", ".join(f"{n} {s:.1%}" for n, s in touched.items()) if touched else ""),
        "at most 1 %",
        (
            Cause("data", "no knob makes up for this many bad rows"),
            Cause("preprocessing", "an import step damages rows"),
        ),
        "mend or drop these rows before training",
        evidence=touched,
    )


CHECKS = (balance, missing, sentinels, odd_columns, cardinality, tails, duplicates, who_and_when)
