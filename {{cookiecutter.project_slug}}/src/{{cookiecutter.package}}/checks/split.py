"""Are the parts clean: disjoint, whole, every class everywhere, no copies, groups or moments on both sides?"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from ..config import Config
from ..engine.metrics import wilson
from ..engine.overlap import among
from ..engine.parts import PARTS, shares
from ..task import Data
from . import power
from .duplicates import FEATURES, keys, near_pairs, repeats_by_chance
from .finding import Finding, finding, not_applicable
from .independence import moments


def complete(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Every row in exactly one part, no part empty, sizes near what was asked for."""
    counts = [int((part == i).sum()) for i in range(3)]
    val, test = shares(config, len(data))
    val = (1 - test) / config.folds if config.folds else val
    lost = sum(counts) != len(data) or len(part) != len(data) or min(counts) == 0
    # Whole groups and equal moments cannot be cut: half to twice the share is as near as they may come.
    off = [
        name
        for name, n, s in zip(PARTS[1:], counts[1:], (val, test), strict=True)
        if not s / 2 <= n / max(len(data), 1) <= 2 * s
    ]
    return finding(
        "every row in one part",
        ", ".join(f"{name} {count:,}" for name, count in zip(PARTS, counts, strict=True)),
        fail=lost,
        warn=bool(off) and len(data) >= 100 and config.split_kind != "given",
        why="lost" if lost else "uneven",
        rows=len(data),
        train=1 - val - test,
        val=val,
        test=test,
    )


def classes(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Every class in every part."""
    _name, _expected = "classes in every part", "every class in every part"
    if config.task not in ("binary", "multiclass"):
        return not_applicable("classes in every part", f"task = {config.task!r} has no classes")
    target = data.frame[data.target].cast(pl.String)
    everywhere = set(target.unique())
    lacking = {p: sorted(everywhere - set(target.filter(pl.Series(part == i)).unique())) for i, p in enumerate(PARTS)}
    lacking = {p: values for p, values in lacking.items() if values}
    words = "; ".join(f"{p} lacks {', '.join(values[:5])}" for p, values in lacking.items())
    return finding(
        "classes in every part",
        words or f"all {len(everywhere)} classes in each of the three parts",
        fail="train" in lacking or "val" in lacking,
        warn=bool(lacking),
        evidence={"missing": lacking},
        kind=config.split_kind,
    )


def duplicates(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Rows with equal features in train and in another part: the answer was seen in training."""
    check = "duplicates across parts"
    if not data.columns(*FEATURES) or repeats_by_chance(data):
        return not_applicable(check, "so few distinct rows are possible that repeats are no copies")
    key = keys(config, data)
    copied, others = np.zeros(len(data), dtype=bool), part != 0
    copied[others] = among(key[others], key[part == 0])
    return _across(check, "have the features of a training row", copied, part)


def near_duplicates(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Rows, texts or images nearly the same as one in train."""
    check = "near duplicates across parts"
    pairs, looked, how = near_pairs(config, data)
    if not how:
        return not_applicable(check, "no texts, no images and too few numeric columns")
    copied = np.zeros(len(data), dtype=bool)
    for i, j in pairs:
        copied[[i, j]] |= (part[[j, i]] == 0) & (part[[i, j]] != 0)
    return _across(check, f"are near copies of training {how} (among {looked:,})", copied, part, looked / len(data))


def _across(check: str, words: str, copied: np.ndarray, part: np.ndarray, looked: float = 1.0) -> Finding:
    """Verdict on rows [n] of validation and test that repeat a training row; `looked` is the share of rows compared."""
    found = {
        p: (int(copied[part == i].sum()), max(round(looked * int((part == i).sum())), 1))
        for i, p in enumerate(PARTS)
        if i
    }
    share = {p: n / of for p, (n, of) in found.items()}
    surely = any(wilson(n, max(n, of))[0] > 0.01 for n, of in found.values())
    some = any(n > max(1, 0.001 * of) for n, of in found.values())
    return finding(
        check,
        " and ".join(f"{found[p][0]:,} of {p} ({s:.2%})" for p, s in share.items()) + f" {words}",
        fail=surely and some,
        warn=some,
        share=max(share.values()) if some else 0.0,
        evidence=share,
    )


def groups(config: Config, data: Data, part: np.ndarray) -> Finding:
    """No value of the group (or query) column in two parts."""
    columns = [c for c in dict.fromkeys((config.group, config.query)) if c]
    if not columns:
        return not_applicable("groups apart", "no group is declared")
    shared = 0
    for name in columns:
        sides = data.frame.select(pl.col(name), pl.Series("_part", part)).group_by(name).agg(pl.col("_part").n_unique())
        shared += int((sides["_part"] > 1).sum())
    only_informs = config.split_kind == "time" and not config.query
    return finding(
        "groups apart",
        f"{shared} values of {' and '.join(columns)} lie in two parts",
        fail=shared > 0 and not only_informs,
        evidence={"shared": shared},
        kind=config.split,
        informs="; a split by time meets the same groups again, as production will: this only informs"
        if only_informs
        else "",
    )


def time_order(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Train before validation before test, with no moment in two parts."""
    if not config.time:
        return not_applicable("time in order", "no time is declared")
    moment = moments(data.frame[config.time])
    ends = [
        (int(np.argmin(np.where(part == i, moment, moment.max() + 1))), int(np.argmax(np.where(part == i, moment, -1))))
        for i in range(3)
    ]
    late = any(moment[ends[i][1]] >= moment[ends[i + 1][0]] for i in range(2))
    times = data.frame[config.time]
    return finding(
        "time in order",
        ", ".join(f"{name} {times[first]} to {times[last]}" for name, (first, last) in zip(PARTS, ends, strict=True)),
        fail=late,
    )


def likeness(config: Config, data: Data, part: np.ndarray) -> Finding:
    """Can a model tell training rows from validation rows? Under a random split it must not, beyond chance.

    Under the null the AUC has standard deviation sqrt((n1 + n2 + 1) / (12 n1 n2)); the alarm is three of them above a
    half. A time or group split differs by design: there it only informs.
    """
    columns = data.columns("numeric", "ordinal", "categorical")
    if not columns:
        return not_applicable("parts alike", "no table columns to compare")
    random = np.random.default_rng(0)
    val = random.permutation(np.flatnonzero(part == 1))[: power.SAMPLE // 2]
    train = random.permutation(np.flatnonzero(part == 0))[: 2 * len(val)][: power.SAMPLE // 2]
    rows, side = np.concatenate([train, val]), np.repeat([0, 1], [len(train), len(val)])
    frame = data.take(rows).read().frame
    x = np.stack([power.column_numbers(frame[name]) for name in columns], axis=1)
    n1, n2 = len(train), len(val)
    limit = 0.5 + 3 * math.sqrt((n1 + n2 + 1) / (12 * n1 * n2))
    chance = power.out_of_fold(config.model_copy(update={"task": "binary"}), x, side)
    value = power.skill(config.model_copy(update={"task": "binary"}), chance, side)
    informs = config.split_kind in ("time", "group")
    return finding(
        "parts alike",
        f"a model tells train from validation with AUC {value:.3f}",
        warn=value > limit and not informs,
        evidence={"auc": value, "limit": limit},
        n1=n1,
        n2=n2,
        informs=f"; a {config.split_kind} split may differ: this only informs" if informs else "",
    )


CHECKS = (complete, classes, duplicates, near_duplicates, groups, time_order, likeness)
