"""Are the parts clean: disjoint, whole, every class everywhere, no copies, groups or moments on both sides?"""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.metrics import wilson
from ..owner.engine.splits import PARTS, shares
from ..owner.task import Data
from . import predictive_power
from .check_result import CheckResult, check_result, not_applicable
from .duplicates import near_pairs
from .independence import moments
from .repeats import FEATURES, known_again

SAME = 0.9  # share of near copies with the same target from which they are copies of one thing


def complete(config: Config, data: Data, part: np.ndarray) -> CheckResult:
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
    uneven = bool(off) and len(data) >= 100 and config.split_kind != "given"
    words = ", ".join(f"{name} {count:,}" for name, count in zip(PARTS, counts, strict=True))
    return check_result(
        "every row in one part",
        words + (_largest(config, data) if uneven else ""),
        fail=lost,
        warn=uneven,
        why="lost" if lost else "uneven",
        rows=len(data),
        train=1 - val - test,
        val=val,
        test=test,
        val_now=max(counts[1] / max(len(data), 1), 1e-4),
        test_now=max(counts[2] / max(len(data), 1), 1e-4),
    )


def _largest(config: Config, data: Data) -> str:
    """Which group or moment holds so many rows that parts cannot have the sizes asked for, in words."""
    column = config.time if config.split_kind == "time" else config.group or config.query
    if not column:
        return ""
    value, count = data.frame[column].rename("value").value_counts(sort=True).row(0)
    return f"; {column} = {str(value)[:40]!r} alone holds {count / len(data):.0%} of the rows, which stay together"


def classes(config: Config, data: Data, part: np.ndarray) -> CheckResult:
    """Every class in every part. One that training never saw cannot be predicted, nor even scored; one with fewer rows, or
    groups, than there are parts cannot be everywhere."""
    check = "classes in every part"
    if config.task not in ("binary", "multiclass"):
        return not_applicable(check, f"task = {config.task!r} has no classes")
    target = data.frame[data.target].cast(pl.String)
    there = [set(target.filter(pl.Series(part == i)).unique()) for i in range(3)]
    everywhere = set(target.unique())
    lacking = {p: sorted(everywhere - found) for p, found in zip(PARTS, there, strict=True) if everywhere - found}
    alone = [p for p, found in zip(PARTS, there, strict=True) if len(found) < 2]
    few, held = _too_few(config, data, target)
    names = sorted({name for values in lacking.values() for name in values})
    unseen = lacking.get("train", [])
    words = "; ".join(f"{p} lacks {', '.join(values[:5])}" for p, values in lacking.items())
    rare = [name for name in names if name in few]
    words += f" ({', '.join(f'{name} has {held[name]}' for name in names[:5])})" if names else ""
    must = bool(unseen or alone)
    accepted = check in config.acknowledge and not must
    return check_result(
        check,
        ("acknowledged in recipe.toml: " if accepted else "")
        + (words or f"all {len(everywhere)} classes in each of the three parts"),
        fail=must or (len(rare) < len(names) and not accepted),
        warn=bool(names) and not accepted,
        why="unseen" if must else "few" if rare else "causes",
        evidence={"missing": lacking, "unseen": unseen},
        kind=config.split_kind,
        edit=_way_on(config, names, must),
    )


def _too_few(config: Config, data: Data, target: pl.Series) -> tuple[set[str], dict[str, str]]:
    """Classes that cannot reach three parts, and what there is of each class, in words."""
    frame = pl.DataFrame({"class": target, "group": pl.int_range(len(target), eager=True)})
    kind = "row"
    if config.split_kind == "group":
        kind, columns = "group", [c for c in dict.fromkeys((config.group, config.query)) if c]
        frame = frame.with_columns(data.frame[columns].to_struct("group"))
    counts = dict(frame.group_by("class").agg(pl.col("group").n_unique()).iter_rows())
    few = set() if config.split_kind == "time" else {name for name, n in counts.items() if n < 3}
    return few, {name: f"{n} {kind}{'s' * (n != 1)}" for name, n in counts.items()}


def _way_on(config: Config, names: list[str], must: bool) -> str:
    """Lines for recipe.toml. A class can be left out where others remain; what training saw can also be accepted as it is."""
    leave_out = f"drop_classes = {json.dumps(names, ensure_ascii=False)}"
    order = f' (or, if the order in {config.time} does not matter: time = "" and iid = "why the rows are independent")'
    lines = [] if config.task == "binary" else [leave_out]
    lines += [] if must else ['acknowledge = ["classes in every part"]']
    lines += [] if lines else ["val_share = 0.3 and test_share = 0.3, so that more of each class is in every part"]
    return " or ".join(lines) + (order if config.split_kind == "time" else "")


def duplicates(config: Config, data: Data, part: np.ndarray) -> CheckResult:
    """Rows with equal features and target in train and in another part: the answer was seen in training."""
    check = "duplicates across parts"
    if not data.columns(*FEATURES):
        return not_applicable(check, "there is no feature column")
    train = data.take(np.flatnonzero(part == 0))
    found = {p: known_again(config, data.take(np.flatnonzero(part == i)), train) for i, p in enumerate(PARTS) if i}
    sizes = {p: int((part == i).sum()) for i, p in enumerate(PARTS)}
    share = {p: max(n - chance, 0) / sizes[p] for p, (n, chance, _) in found.items()}
    return check_result(
        check,
        " and ".join(f"{n:,} of {p} ({n / sizes[p]:.2%})" for p, (n, _, _) in found.items()) + " are rows of train too",
        fail=any(surely for _, _, surely in found.values()),
        warn=any(value > 0.001 for value in share.values()),
        share=max(share.values()),
        evidence={p: n / sizes[p] for p, (n, _, _) in found.items()},
        chance=", ".join(f"{chance:,.0f} of {p}" for p, (_, chance, _) in found.items()),
    )


def near_duplicates(config: Config, data: Data, part: np.ndarray) -> CheckResult:
    """Rows, texts or images nearly the same as one in train. Sure only where they have the same target as well."""
    check = "near duplicates across parts"
    found = near_pairs(config, data)
    if not found.what:
        return not_applicable(check, found.why)
    copied, looked = np.zeros(len(data), dtype=bool), found.looked / len(data)
    across = (part[found.pairs] == 0).sum(axis=1) == 1
    for pair in (found.pairs, found.pairs[:, ::-1]):
        copied[pair[across & (part[pair[:, 0]] != 0), 0]] = True
    near = {p: int(copied[part == i].sum()) for i, p in enumerate(PARTS) if i}
    sizes = {p: max(round(looked * int((part == i).sum())), 1) for i, p in enumerate(PARTS) if i}
    share = {p: n / sizes[p] for p, n in near.items()}
    surely = any(wilson(n, max(n, sizes[p]))[0] > 0.01 for p, n in near.items())
    some = any(n > max(1, 0.001 * sizes[p]) for p, n in near.items())
    return check_result(
        check,
        " and ".join(f"{near[p]:,} of {p} ({s:.2%})" for p, s in share.items())
        + f" are near copies of training {found.what} (among {found.looked:,})",
        fail=surely and some and same_target(config, data, found.pairs) > SAME,
        warn=some,
        share=max(share.values()) if some else 0.0,
        evidence=share,
    )


def same_target(config: Config, data: Data, pairs: np.ndarray) -> float:
    """Share of these pairs of rows whose targets agree: classes equal, numbers to a hundredth of their spread."""
    target = data.frame[data.target]
    if config.task in ("regression", "ranking"):
        y = target.cast(pl.Float64).to_numpy()
        return float((np.abs(y[pairs[:, 0]] - y[pairs[:, 1]]) <= 0.01 * y.std()).mean()) if len(pairs) else 1.0
    y = target.cast(pl.String).to_numpy()
    return float((y[pairs[:, 0]] == y[pairs[:, 1]]).mean()) if len(pairs) else 1.0


def groups(config: Config, data: Data, part: np.ndarray) -> CheckResult:
    """No value of the group (or query) column in two parts. A WARN for a split that was given, where rows of one value are
    not shown to be more alike in the target than any others: then the score may gain nothing by it."""
    columns = [c for c in dict.fromkeys((config.group, config.query)) if c]
    if not columns:
        return not_applicable("groups apart", "no group is declared")
    shared, whole = 0, 0
    for name in columns:
        sides = pl.DataFrame({"value": data.frame[name], "part": part}).group_by("value").agg(pl.col("part").n_unique())
        shared, whole = shared + int((sides["part"] > 1).sum()), whole + sides.height
    by_time = config.split_kind == "time" and not config.query
    harmless = shared > 0 and config.split_kind == "given" and not config.query
    if harmless:
        y, of = predictive_power.target_numbers(config, data, np.arange(len(data))), data.frame[config.group]
        told = predictive_power.alone(config, predictive_power.column_numbers(of), y, True)
        harmless = told <= 0.5 + 3 * predictive_power.null_deviation(config, y)
    return check_result(
        "groups apart",
        f"{shared:,} of {whole:,} values of {' and '.join(columns)} lie in two parts"
        + (f", and are not shown to tell {data.target}" if harmless else ""),
        fail=shared > 0 and not by_time and not harmless,
        warn=(shared > 0 and config.split == "auto") or harmless,
        advise=shared > 0,
        why="by_time" if by_time else "causes",
        evidence={"shared": shared},
        kind=config.split,
        informs=", unless split = 'time' declares that production meets them again" if by_time else "",
        edit='split = "group" if production meets new groups, split = "time" if it meets these again'
        if by_time
        else 'split = "group"',
    )


def time_order(config: Config, data: Data, part: np.ndarray) -> CheckResult:
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
    return check_result(
        "time in order",
        ", ".join(f"{name} {times[first]} to {times[last]}" for name, (first, last) in zip(PARTS, ends, strict=True)),
        fail=late,
    )


def likeness(config: Config, data: Data, part: np.ndarray) -> CheckResult:
    """Can a model tell training rows from validation rows? Under a random split it must not, beyond chance.

    Under the null the AUC has standard deviation sqrt((n1 + n2 + 1) / (12 n1 n2)); the alarm is three of them above a
    half. A time or group split differs by design: there it only informs.
    """
    columns = data.columns("numeric", "ordinal", "categorical")
    if not columns:
        return not_applicable("parts alike", "no table columns to compare")
    random = np.random.default_rng(0)
    val = random.permutation(np.flatnonzero(part == 1))[: predictive_power.SAMPLE // 2]
    train = random.permutation(np.flatnonzero(part == 0))[: 2 * len(val)][: predictive_power.SAMPLE // 2]
    rows, side = np.concatenate([train, val]), np.repeat([0, 1], [len(train), len(val)])
    frame = data.take(rows).read().frame
    x = np.stack([predictive_power.column_numbers(frame[name]) for name in columns], axis=1)
    n1, n2 = len(train), len(val)
    limit = 0.5 + 3 * math.sqrt((n1 + n2 + 1) / (12 * n1 * n2))
    probability = predictive_power.out_of_fold(config.model_copy(update={"task": "binary"}), x, side)
    value = predictive_power.skill(config.model_copy(update={"task": "binary"}), probability, side)
    informs = config.split_kind in ("time", "group")
    return check_result(
        "parts alike",
        f"a model tells train from validation with AUC {value:.3f}",
        warn=value > limit and not informs,
        advise=value > limit,
        evidence={"auc": value, "limit": limit},
        n1=n1,
        n2=n2,
        informs=f"; a {config.split_kind} split may differ: this only informs" if informs else "",
    )


CHECKS = (complete, classes, duplicates, near_duplicates, groups, time_order, likeness)
