"""Leaks to inject into a table, each with the checks that may count for it, written down before any of them was run.

A leak of a column adds or changes one column. A leak of rows or of the split changes which rows there are, or says when they
were taken; beside it stands its control, the same table without the leak. Names of columns say nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

STRONG, MADE, MISSING = "dominant feature", "target-derived feature", "informative missingness"
COLUMN = (STRONG, MADE, MISSING, "recorded after the outcome", "row number as feature", "target in time order")
NAMES = (*COLUMN, "names used as numbers", "constant and id columns")
NEAR = ("near duplicates", "near duplicates across parts")
TWICE = ("duplicate rows", "duplicates across parts", *NEAR)
THEIRS = ("target-proxy", "pure-categories", "missingness-leak", "suspiciously-predictive", "dead-on-labelled-rows")


@dataclass
class Sheet:
    """A table to inject into: its frame, the target, and the task."""

    name: str
    frame: pd.DataFrame
    target: str
    task: str

    @property
    def y(self) -> np.ndarray:
        """Numbers for regression, else class numbers 0..k-1."""
        column = self.frame[self.target]
        return column.to_numpy(float) if self.task == "regression" else pd.factorize(column.astype(str), sort=True)[0]

    @property
    def z(self) -> np.ndarray:
        """The same with mean 0 and spread 1."""
        return np.asarray((self.y - self.y.mean()) / self.y.std())

    @property
    def event(self) -> np.ndarray:
        """What a leak of yes and no is about: the largest class, or numbers above the median."""
        return self.y > np.median(self.y) if self.task == "regression" else self.y == np.bincount(self.y).argmax()

    def numbers(self) -> list[str]:
        """Features of more than 20 numbers."""
        found = self.frame.select_dtypes("number").columns
        return [c for c in found if c != self.target and self.frame[c].nunique() > 20]


@dataclass
class Injected:
    """frame; column: the one that leaks, "" where none does. settings: of recipe.toml. origin [n, 2]: the two rows of the
    table that each row comes from. made [n]: rows that nobody observed. split, group: what targetleak is told."""

    frame: pd.DataFrame
    column: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    origin: np.ndarray | None = None
    made: np.ndarray | None = None
    split: str | None = None
    group: str | None = None


Injector = Callable[[Sheet, np.random.Generator, float], Injected | None]


@dataclass(frozen=True)
class Leak:
    """kind: where it comes from. strengths: how much of it. allowed, theirs: findings of each tool that count. control: the
    same without the leak; of leaks of columns the table itself."""

    name: str
    kind: str
    inject: Injector
    strengths: tuple[float, ...] = (1.0,)
    allowed: tuple[str, ...] = COLUMN
    theirs: tuple[str, ...] = THEIRS
    control: Injector | None = None


def seed(*parts: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, parts)).encode()))


def added(sheet: Sheet, values: Any, name: str = "extra") -> Injected:
    """The table with one more column, at a place in the middle."""
    frame = sheet.frame.copy()
    frame.insert(frame.shape[1] // 2, name, values)
    return Injected(frame, name)


def other_class(sheet: Sheet, random: np.random.Generator, share: float) -> np.ndarray:
    """The target with this share of it replaced by another class."""
    y, k = sheet.y, int(sheet.y.max()) + 1
    return np.where(random.random(len(y)) < share, (y + random.integers(1, k, len(y))) % k, y)


# The four kinds of targetleak's own benchmark, described afresh. Strength: the share of rows that the leak covers.
def proxy(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A number computed from the answer on some rows, noise on the others."""
    n = len(sheet.y)
    exact = 50 + 30 * sheet.z if sheet.task == "regression" else 100 * sheet.y / sheet.y.max()
    return added(sheet, np.where(random.random(n) < strength, exact, random.normal(50, 30, n)), "refund_amount")


def reason(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A code that is filled in for one outcome; another one comes for the other outcome alone."""
    n = len(sheet.y)
    told = np.where(sheet.event & (random.random(n) < strength), "reason_given", "not_applicable")
    return added(sheet, np.where(~sheet.event & (random.random(n) < 0.25), "no_contact", told), "cancellation_reason")


def never_taken(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A measurement that was not taken when the outcome came."""
    n = len(sheet.y)
    values = random.normal(10, 3, n)
    values[sheet.event & (random.random(n) < strength)] = np.nan
    return added(sheet, values, "final_reading")


def noisy_proxy(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """The answer and noise: two classes lie 1 + 4 * strength spreads apart."""
    return added(sheet, sheet.z * (1 + 4 * strength) / 2 + random.normal(size=len(sheet.y)), "risk_score")


# Ours
def copy(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    return added(sheet, sheet.frame[sheet.target].to_numpy())


def noisy_copy(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """3 % of the classes wrong, or noise of a twentieth of the spread."""
    if sheet.task == "regression":
        return added(sheet, sheet.y + random.normal(0, 0.05 * sheet.y.std(), len(sheet.y)))
    return added(sheet, other_class(sheet, random, 0.03))


def transformed(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Other codes for the classes; a number bent to an S."""
    if sheet.task == "regression":
        return added(sheet, 1 / (1 + np.exp(-sheet.z)))
    return added(sheet, [f"code {7 * v % 31}" for v in sheet.y])


def close(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Right in this share of the rows; a number with this correlation."""
    if sheet.task == "regression":
        return added(sheet, strength * sheet.z + (1 - strength**2) ** 0.5 * random.normal(size=len(sheet.y)))
    return added(sheet, other_class(sheet, random, 1 - strength))


def imputed(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    """A column whose gaps were filled with the mean of the class, or of the tenth of the target."""
    if not sheet.numbers():
        return None
    name = random.choice(sheet.numbers())
    x = pd.Series(sheet.frame[name].to_numpy(float))
    level = pd.Series(pd.qcut(sheet.y, 10, labels=False, duplicates="drop") if sheet.task == "regression" else sheet.y)
    x[random.random(len(x)) < strength] = np.nan
    frame = sheet.frame.copy()
    frame[name] = x.fillna(x.groupby(level).transform("mean")).to_numpy()
    return Injected(frame, name)


def coded_id(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Numbers given out class by class, or in the order of the target, with gaps."""
    place = np.lexsort((random.random(len(sheet.y)), sheet.y)).argsort()
    return added(sheet, 100_000 + np.cumsum(random.integers(1, 9, len(place)))[place])


def future(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Mean of the outcome over this row and the four that follow in the file."""
    y = sheet.y if sheet.task == "regression" else sheet.event.astype(float)
    return added(sheet, pd.Series(y[::-1]).rolling(5, min_periods=1).mean().to_numpy()[::-1])


def encoded(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A category without any meaning, eight rows a value, replaced by the mean of the target over its rows."""
    y = sheet.y if sheet.task == "regression" else sheet.event.astype(float)
    kind = random.integers(0, max(len(y) // 8, 2), len(y))
    return added(sheet, pd.Series(y).groupby(kind).transform("mean").to_numpy())


def gaps(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    """A column of the table empty in 70 % of the rows of one outcome and 10 % of the others."""
    free = [c for c in sheet.frame.columns if c != sheet.target and sheet.frame[c].nunique() > 1]
    name = random.choice(free)
    frame = sheet.frame.copy()
    frame[name] = frame[name].astype(object)
    frame.loc[random.random(len(frame)) < np.where(sheet.event, 0.7, 0.1), name] = None
    return Injected(frame, name)


# Rows and splits
def with_parts(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A given split; rows of train are copied into this share of test. 0: no row is in both."""
    frame = sheet.frame.drop_duplicates(subset=[c for c in sheet.frame if c != sheet.target]).reset_index(drop=True)
    n = len(frame)
    test = random.random(n) < 0.25
    origin = np.arange(n)
    to = np.flatnonzero(test)[: int(test.sum() * strength)]
    origin[to] = random.choice(np.flatnonzero(~test), len(to), replace=len(to) > (~test).sum())
    frame = frame.iloc[origin].reset_index(drop=True)
    frame["part"] = np.where(test, "test", "train")
    return Injected(frame, settings={"split_column": "part"}, split="part")


def identity(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Accounts that decide the outcome of this share of their rows; a random split. 0: they say nothing."""
    n = len(sheet.y)
    account = random.integers(0, max(n // 30, 20), n)
    frame = sheet.frame.drop(columns=sheet.target)
    told = np.where(random.random(n) < strength, account % 2 == 0, sheet.event)
    frame["outcome"] = np.where(told, "yes", "no")
    frame["account_id"] = [f"ACC{v:05d}" for v in account]
    frame["part"] = np.where(random.random(n) < 0.25, "test", "train")
    return Injected(frame, settings={"split_column": "part"}, split="part", group="account_id")


def dated(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """A date in a column, and rows parted at random."""
    injected = with_parts(sheet, random, 0.0)
    days = np.sort(random.integers(0, 900, len(injected.frame)))
    injected.frame["signup"] = (pd.Timestamp("2023-01-01") + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d")
    return injected


def visits(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    """Each row becomes an entity with this many visits: its numbers differ by a quarter of their spread, its outcome stays.
    The file is shuffled, and no column says who it is."""
    names = sheet.numbers()
    if len(names) < 3:
        return None
    who = random.permutation(np.repeat(np.arange(len(sheet.frame)), int(strength)))
    frame = sheet.frame.iloc[who].reset_index(drop=True)
    for name in names:
        frame[name] = (frame[name] + random.normal(0, 0.25 * frame[name].std(), len(frame))).round(4)
    return Injected(frame, origin=np.stack([who, who], axis=1), made=np.zeros(len(who), bool))


def copied(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    """15 % of the rows again, in a shuffled file; strength: how far their numbers moved, in spreads."""
    n, names = len(sheet.frame), sheet.numbers()
    if strength and len(names) < 3:
        return None
    who = random.permutation(np.r_[np.arange(n), random.choice(n, round(0.15 * n), replace=False)])
    frame = sheet.frame.iloc[who].reset_index(drop=True)
    again = frame.index.isin(np.setdiff1d(np.arange(len(who)), np.unique(who, return_index=True)[1]))
    for name in names if strength else []:
        moved = frame[name] + random.normal(0, strength * frame[name].std(), len(frame))
        frame[name] = frame[name].astype(float).where(~again, moved)
    return Injected(frame, origin=np.stack([who, who], axis=1), made=np.zeros(len(who), bool))


def as_it_is(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """The rows in another order, without the leak."""
    who = random.permutation(len(sheet.frame))
    return Injected(sheet.frame.iloc[who].reset_index(drop=True))


def one_visit(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    return visits(sheet, random, 1)


def oversampled(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected | None:
    """Rows of the smaller classes drawn between two neighbors of one class (Chawla et al. 2002) until all are as large;
    where they are already, half of a class is taken away before."""
    from sklearn.neighbors import NearestNeighbors

    names = sheet.numbers()
    if sheet.task == "regression" or len(names) < 3:
        return None
    y = sheet.y
    kept = np.ones(len(y), bool)
    if np.bincount(y).min() > 0.6 * np.bincount(y).max():
        last = np.flatnonzero(y == np.bincount(y).argmin())
        kept[last[: 2 * len(last) // 3]] = False
    rows = np.flatnonzero(kept)
    x = sheet.frame[names].fillna(sheet.frame[names].median()).to_numpy(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    pairs = [np.stack([rows, rows], axis=1)]
    for k, size in enumerate(np.bincount(y[rows])):
        own = rows[y[rows] == k]
        more = np.bincount(y[rows]).max() - size
        if more and len(own) > 6:
            near = NearestNeighbors(n_neighbors=6).fit(x[own]).kneighbors(x[own])[1][:, 1:]
            one = random.integers(0, len(own), more)
            pairs.append(np.stack([own[one], own[near[one, random.integers(0, 5, more)]]], axis=1))
    origin = np.concatenate(pairs)[random.permutation(sum(map(len, pairs)))]
    made = origin[:, 0] != origin[:, 1]
    frame = sheet.frame.iloc[origin[:, 0]].reset_index(drop=True)
    at = random.random(len(frame))
    for name in names:
        one, other = (sheet.frame[name].to_numpy(float)[origin[:, i]] for i in (0, 1))
        frame[name] = np.where(made, one + at * (other - one), one)
    return Injected(frame, origin=origin, made=made)


def selected(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """The 20 of 2,000 columns of noise that go best with the target, over all rows."""
    noise = random.normal(size=(len(sheet.y), 2000))
    z = sheet.z if sheet.task == "regression" else sheet.event - sheet.event.mean()
    best = np.argsort(-np.abs(z @ noise))[:20]
    frame = sheet.frame[[sheet.target]].copy()
    return Injected(pd.concat([frame, pd.DataFrame(noise[:, best], index=frame.index).add_prefix("g")], axis=1))


def unselected(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """20 columns of noise, and the numbers of the table as they are."""
    frame = sheet.frame.copy()
    return Injected(
        pd.concat(
            [frame, pd.DataFrame(random.normal(size=(len(frame), 20)), index=frame.index).add_prefix("g")], axis=1
        )
    )


def in_time(sheet: Sheet, values: pd.Series) -> Injected:
    """The table in the order of its days, with a column that was made of the outcomes of other days."""
    injected = added(sheet, values.to_numpy())
    days = pd.date_range("2001-01-01", periods=len(values)).strftime("%Y-%m-%d")
    injected.frame.insert(0, "day", days)
    injected.settings = {"time": "day", "iid": ""}
    return injected


def outcome(sheet: Sheet) -> pd.Series:
    return pd.Series(sheet.y if sheet.task == "regression" else sheet.event.astype(float))


def rolling(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Mean of the outcome of this row and the four before it."""
    return in_time(sheet, outcome(sheet).rolling(5).mean())


def rolled_before(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Mean of the outcome of the five rows before."""
    return in_time(sheet, outcome(sheet).shift(1).rolling(5).mean())


def expanding(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """Mean of the outcome of all rows up to this one."""
    return in_time(sheet, outcome(sheet).expanding(5).mean())


def expanded_before(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    return in_time(sheet, outcome(sheet).shift(1).expanding(5).mean())


def tomorrow(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    """The mean of the outcome of the next two rows, with noise of a twentieth of its spread."""
    y = outcome(sheet)
    return in_time(sheet, (y.shift(-1) + y.shift(-2)) / 2 + random.normal(0, 0.05 * y.std(), len(y)))


def yesterday(sheet: Sheet, random: np.random.Generator, strength: float) -> Injected:
    y = outcome(sheet)
    return in_time(sheet, (y.shift(1) + y.shift(2)) / 2 + random.normal(0, 0.05 * y.std(), len(y)))


STRENGTHS = (1.0, 0.7, 0.4, 0.2)
GROUPS = (*TWICE, "undeclared time or group", "groups apart", "rows of one thing")
COLUMNS = (
    Leak("proxy computed from the answer", "targetleak", proxy, STRENGTHS),
    Leak("reason code of one outcome", "targetleak", reason, STRENGTHS),
    Leak("measurement not taken at the outcome", "targetleak", never_taken, STRENGTHS),
    Leak("answer and noise", "targetleak", noisy_proxy, STRENGTHS),
    Leak("exact copy", "ours", copy),
    Leak("noisy copy", "ours", noisy_copy),
    Leak("monotone transform or other codes", "ours", transformed),
    Leak("right in this share of rows", "ours", close, (0.95, 0.9)),
    Leak("imputed with the outcome", "ours", imputed, (0.4,)),
    Leak("id given out by outcome", "ours", coded_id, allowed=NAMES, theirs=(*THEIRS, "identifier-like")),
    Leak("mean of this and later outcomes", "ours", future),
    Leak("target encoding without folds", "ours", encoded),
    Leak("missing values that tell", "ours", gaps, allowed=(*COLUMN, "missing values")),
)
SPLITS = (
    Leak("test rows copied from train", "targetleak", with_parts, (1.0, 0.5, 0.1), TWICE, ("train-test-contamination",),
         with_parts),
    Leak("identity tells the outcome", "targetleak", identity, (1.0, 0.6), GROUPS, ("group-overlap",), identity),
    Leak("date under a random split", "targetleak", dated, allowed=("undeclared time or group", "time in order", "given split"),
         theirs=("temporal-column",), control=with_parts),
    Leak("five visits of each entity, shuffled", "ours", visits, (5.0,), GROUPS, ("duplicate-rows",), one_visit),
    Leak("duplicated rows", "ours", copied, (0.0,), TWICE, ("duplicate-rows",), as_it_is),
    Leak("near copies", "ours", copied, (0.01,), TWICE, ("duplicate-rows",), as_it_is),
    Leak("SMOTE before the split", "ours", oversampled, (1.0,), GROUPS, ("duplicate-rows",), as_it_is),
    Leak("columns selected on all rows", "ours", selected, allowed=("selected features", "permuted labels"), theirs=(),
         control=unselected),
)  # fmt: skip
IN_TIME = (
    Leak("rolling mean with this row", "ours", rolling, control=rolled_before),
    Leak("expanding mean with this row", "ours", expanding, control=expanded_before),
    Leak("outcomes of the next two rows", "ours", tomorrow, control=yesterday),
)
