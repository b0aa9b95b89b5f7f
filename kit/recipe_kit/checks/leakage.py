"""Leakage: columns that know the answer because they were written after it, or because they name the row."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data
from . import alike, copies, independence, predictive_power
from .check_result import CheckResult, check_result, not_applicable
from .data import listed

POWER = 0.97  # legitimate features reach .976 and 1.00 (breast cancer, iris): from here a WARN, never alone a FAIL
EARLY = 0.5  # difference in emptiness, without and with a target, of a column recorded after the outcome
ALL = 0.95  # such a difference that leaves nothing to explain
WHOLE = 0.05  # difference up to which another column counts as equally complete on both
ROWS, REACH = 3_000, 30  # rows in the order of time that are looked at, and rows before and after each
EACH = 6  # rows for each outcome before or after
LEFT, SAME = 0.1, 0.5  # of what is left unexplained: what later outcomes leave, and what earlier ones then do at least
TABLE = ("numeric", "categorical", "ordinal")


def after_outcome(config: Config, data: Data) -> CheckResult:
    """Columns that are empty where the target is empty, and filled where it is known: recorded with the outcome.

    Needs rows without a target; they say what is known before the outcome. A FAIL only where most other columns are as
    complete there as elsewhere: rows of another source, and people who answer nothing, leave many columns empty.
    """
    check = "recorded after the outcome"
    rows = None if data.unlabeled is None else data.unlabeled.filter(data.unlabeled[data.target].is_null())
    if rows is None or rows.height < 20:
        return not_applicable(check, "fewer than 20 rows without a target")
    columns = [c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction]
    empty = {c: (_empty(rows, c), _empty(data.frame, c)) for c in columns}
    late = [c for c in columns if empty[c][0] - empty[c][1] > EARLY]
    gone = all(empty[c][0] - empty[c][1] > ALL for c in late)
    whole = [c for c in columns if abs(empty[c][0] - empty[c][1]) <= WHOLE]
    words = "; ".join(
        f"{c} is empty on {empty[c][0]:.0%} of rows without a target and {empty[c][1]:.1%} of rows with one"
        for c in late
    )
    return check_result(
        check,
        words or f"no column goes missing together with {data.target}",
        fail=bool(late) and gone and len(whole) > len(columns) / 2,
        warn=bool(late),
        evidence={"columns": late, "empty": empty},
        early=EARLY,
        edit=drop_edit(config, late),
    )


def _empty(frame: pl.DataFrame, column: str) -> float:
    return frame[column].null_count() / frame.height


def drop_edit(config: Config, names: list[str]) -> str:
    """The edit to recipe.toml that drops these columns, too."""
    return f"in recipe.toml: drop = {listed([*config.drop, *names])}   (or name them in known_at_prediction if they really are)"


def single_column(config: Config, data: Data) -> CheckResult:
    """Columns that are the target under another name, a FAIL each; and how well every other predicts it, cross-validated.

    A strong column is a WARN that asks, also where it is all there is: iris has such columns and they are legitimate.
    """
    check = "dominant feature"
    columns = data.columns(*TABLE)
    if not columns:
        return not_applicable(check, "no table columns to try one by one")
    free = [c for c in columns if c not in config.known_at_prediction]
    again = copies.copies(config, data, free)
    few = predictive_power.sample_of(config, data)
    x = predictive_power.table(data, columns, few)
    alone = {
        c: predictive_power.alone(few.config, x[:, i], few.y, data.roles[c] != "numeric") for i, c in enumerate(columns)
    }
    strong = [c for c in free if alone[c] > POWER and c not in again]
    top = sorted(alone, key=lambda c: -alone[c])[:3]
    observed = "strongest alone: " + ", ".join(f"{c} {alone[c]:.3f}" for c in top) + predictive_power.sampled(data)
    evidence = {"power": alone, "copies": again}
    if strong:
        whole, rest = (_skill(few, z) for z in (x, x[:, [c not in strong for c in columns]]))
        observed += f"; all columns {whole:.3f}, without {', '.join(strong)} {rest:.3f} (0.5 = chance, 1 = perfect)"
        evidence |= {"with": whole, "without": rest}
    named = [*again] or strong
    return check_result(
        check,
        "; ".join([*(f"{c} {how}, as {data.target} has them" for c, how in again.items()), observed]),
        fail=bool(again),
        warn=bool(strong),
        why="copies" if again else "causes",
        evidence=evidence,
        power=POWER,
        off=copies.OFF,
        first=named[0] if named else "",
        edit=drop_edit(config, named)
        if again
        else f"in recipe.toml: known_at_prediction = {listed([*config.known_at_prediction, *named])}   (or drop them)",
    )


def _skill(few: predictive_power.Sample, x: np.ndarray) -> float:
    """Of a forest with these columns [n, d], 0.5 where there are none."""
    return (
        predictive_power.skill(few.config, predictive_power.out_of_fold(few.config, x, few.y), few.y) if x.size else 0.5
    )


def missing_tells(config: Config, data: Data) -> CheckResult:
    """Whether the pattern of missing values alone predicts the target: filled in differently once the outcome is known.

    A FAIL for a column that is filled in where the target has one value, and only there.
    """
    check = "informative missingness"
    free = [c for c in data.columns(*TABLE, "text") if c not in config.known_at_prediction]
    gone = {c: data.frame[c].is_null() for c in free if data.frame[c].null_count()}
    if not gone:
        return not_applicable(check, "no missing values")
    y, whole = data.frame[data.target], predictive_power.target_numbers(config, data, np.arange(len(data)))
    sure = [c for c in gone if y.n_unique() == 2 and copies.of_classes(gone[c], y)]
    pure = [c for c in gone if alike.one_outcome(gone[c].to_numpy(), whole) < copies.CHANCE / len(gone)]
    few = predictive_power.sample_of(config, data)
    x = np.stack([few.column(empty.to_numpy().astype(float), False) for empty in gone.values()], axis=1)
    value, limit = predictive_power.best_class(few.config, x, few.y, least=0.6)
    tells = [predictive_power.alone(few.config, one, few.y, True) for one in x.T]
    named, part = sure or pure or [[*gone][int(np.argmax(tells))]], "end" if config.task == "regression" else "value"
    words = "".join(f"{c} is empty for one value of {data.target} and filled in for the other; " for c in sure)
    words = words or "".join(f"{c} is empty for one {part} of {data.target} alone; " for c in pure)
    return check_result(
        check,
        f"{words}which values are missing predicts {data.target} with {value:.3f} (0.5 = chance){predictive_power.sampled(data)}",
        fail=bool(sure),
        warn=value > limit or bool(pure),
        evidence={"score": value, "limit": limit, "exact": sure, "pure": pure},
        worst=named[0],
        edit=drop_edit(config, named),
    )


def row_number(config: Config, data: Data) -> CheckResult:
    """Whether a feature counts rows: those of the file, or for ranking those of each query.

    A FAIL where the rows are sorted by class, or by relevance, as well: the count then gives the answer away. A sorted
    file alone is harmless (iris is one): splits and batches are shuffled. A count may also be a time, as years are.
    """
    free = [c for c in data.columns("numeric") if c not in config.known_at_prediction]
    query = independence.queries(config, data)
    counters = [c for c in free if (counts_rows if query is None else partial(_counts_within, query))(data.frame[c])]
    ordered = independence.in_order(config, data)
    return check_result(
        "row number as feature",
        f"{', '.join(counters) or 'no column'} counts rows"
        + (f"; the rows are sorted by {data.target}" if ordered else ""),
        fail=bool(counters) and ordered and config.task != "regression",
        warn=bool(counters),
        evidence={"counters": counters, "sorted": ordered},
        first=counters[0] if counters else "",
        edit=drop_edit(config, counters),
    )


def _counts_within(query: np.ndarray, column: pl.Series) -> bool:
    """Whether the rows of every query are numbered one by one, up or down."""
    if column.null_count():
        return False
    steps = independence.steps_within(query, column.cast(pl.Float64).to_numpy())
    return len(steps) >= 20 and bool((steps == 1).all() or (steps == -1).all())


def counts_rows(column: pl.Series) -> bool:
    """Whole numbers that only rise, or only fall, through the file, in steps of much the same size: a row number."""
    if not column.dtype.is_numeric() or column.null_count() or len(column) < 20:
        return False
    values = column.cast(pl.Float64).to_numpy()
    steps = np.diff(values)
    one_way = bool((steps > 0).all()) or bool((steps < 0).all())
    whole = bool((values == np.round(values)).all())
    return one_way and whole and float(np.abs(steps).max()) <= 20 * float(np.median(np.abs(steps)))


def target_in_time(config: Config, data: Data) -> CheckResult:
    """A column that is a weighted sum of outcomes, later ones or its own among them, and of earlier ones alone is not: a FAIL.

    A WARN where later outcomes explain nine tenths of what those up to its row leave, and earlier ones do nothing like it
    in the reverse order: what merely changes slowly looks alike in both directions.
    """
    check, n = "target in time order", len(data)
    names = [c for c in data.columns("numeric") if c not in config.known_at_prediction]
    group, time = (independence.moments(data.frame[c]) if c else np.zeros(n) for c in (config.group, config.time))
    rows = np.lexsort((np.arange(n), time, group))[:ROWS]
    reach = min(REACH, len(rows) // (2 * EACH))
    if not names or reach < 2 or config.task == "ranking" or (not config.time and independence.in_order(config, data)):
        return not_applicable(check, "needs a column of numbers, 24 rows, and rows that are not sorted by the target")
    y = predictive_power.target_numbers(config, data, rows)
    some = [] if config.task == "regression" else np.argsort(-np.bincount(y))[: min(3, y.max())].tolist()
    x = {c: predictive_power.column_numbers(data.frame[c])[rows] for c in names}
    ones = [(y == k) * 1.0 for k in some] or [y]
    bases: list[dict[bytes, np.ndarray]] = [{} for _ in ones]
    told = {c: max(_holds(x[c], *one, group[rows], reach) for one in zip(ones, bases, strict=True)) for c in names}
    found = [name for name in names if told[name] == max(told.values()) > 0]
    return check_result(
        check,
        f"{', '.join(found) or 'no column'} tells of {data.target} in its own row or within {reach} later ones",
        fail=max(told.values()) == 2,
        warn=bool(found),
        evidence={"columns": found},
        first=found[0] if found else "",
        edit=drop_edit(config, found),
    )


def _holds(x: np.ndarray, y: np.ndarray, bases: dict[bytes, np.ndarray], group: np.ndarray, reach: int) -> int:
    """2 where one column [n] is made of an outcome [n], 1 where it tells of later ones; rows in the order of time. bases: of
    the outcomes around the same rows, kept from column to column."""
    at = np.arange(reach, len(y) - reach)
    at = at[(group[at - reach] == group[at + reach]) & np.isfinite(x[at]) & np.isfinite(x[at - 1])]
    z, around = x[at], np.stack([y[at + k] for k in range(-reach, reach + 1)], axis=1)
    if len(z) < EACH * reach:
        return 0
    written, wide = 0.55 * copies.unit(z), np.ptp(z)  # whole and coarse numbers must fit to the last digit
    allowed = copies.SLACK * wide + written * (written < min(0.5, wide / copies.LEVELS))
    if wide == 0:
        return 0
    if at.tobytes() not in bases:
        bases[at.tobytes()] = np.linalg.qr(np.c_[np.ones(len(z)), around])[0]
    every = z - bases[at.tobytes()] @ (z @ bases[at.tobytes()])
    if (np.abs(every) > allowed).mean() <= copies.OFF and np.median(np.abs(_left(around[:, :reach], z))) > allowed:
        return 2
    place = at - np.searchsorted(group, group[at]) + 1
    news = z * place - x[at - 1] * (place - 1)
    off, moved = (np.abs(one) > 2 * place * allowed for one in (_left(y[at, None], news), news - np.median(news)))
    if 2 * place.max() * allowed * copies.LEVELS < np.ptp(news) and off.mean() <= copies.OFF < moved.mean() / 5:
        return 2  # the mean of all outcomes up to this row
    free = (len(z) - 2 * reach - 2) / (len(z) - reach - 2)
    if (every**2).sum() > LEFT * free * len(z) * z.var():
        return 0
    one_sided = [_left(part, z) for part in (around[:, : reach + 1], around[:, reach:])]
    now, later = (float((every**2).sum() / max((left**2).sum(), 1e-300) / free) for left in one_sided)
    return int(now < LEFT and later > SAME)


def _left(parts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What is left of x [n] by least squares on the parts [n, d] and a constant."""
    basis = np.linalg.qr(np.c_[np.ones(len(x)), parts])[0]
    return np.asarray(x - basis @ (basis.T @ x))


CHECKS = (after_outcome, single_column, missing_tells, row_number, target_in_time)
