"""Train, validation and test: who is in which part, pinned by hashes in split.json.

The assignment is a function of (data, settings of group "split"), so the manifest stays small: it holds the rule, the
sizes and a hash of each part, and every reader derives the parts again and verifies them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from ..config import Config
from ..errors import UserError
from ..task import Data
from . import grouped
from .data import Recipe
from .files import read_json, to_json, write_atomic
from .fingerprint import data_hash
from .given import PARTS, given_parts, not_given
from .hashes import row_hashes
from .target import counted

MANIFEST = "split.json"


def shares(config: Config, n: int) -> tuple[float, float]:
    """Shares of validation and test rows: 15 % each under 10,000 rows, 10 % under a million, 1 % from there."""
    usual = 0.15 if n < 10_000 else 0.10 if n < 1_000_000 else 0.01
    return config.val_share or usual, config.test_share or usual


def assign(config: Config, data: Data) -> np.ndarray:
    """Part of every row, int8 [n]: 0 train, 1 validation, 2 test. Deterministic in data and config.

    Raises UserError when a part would be empty.
    """
    kind, n = config.split_kind, len(data)
    part = _given(config, data) if kind == "given" else _drawn(config, data, kind, *shares(config, n))
    empty = [name for number, name in enumerate(PARTS) if not (part == number).any()]
    if empty:
        raise UserError(
            f"a {kind} split of {n} rows leaves {empty[0]} empty; raise val_share or test_share, or bring more data"
        )
    return part


def _given(config: Config, data: Data) -> np.ndarray:
    """The parts as they were given; one that was not is cut from the training rows as if they were all."""
    part, lacking = given_parts(config, data), not_given(config, data)
    if config.folds and "val" not in lacking:
        raise UserError(f"folds = {config.folds}, but the split gives the rows that validate; set folds = 0")
    if lacking:
        train = np.flatnonzero(part == 0)
        val, test = shares(config, len(train))
        cut = (val if "val" in lacking else 0.0, test if "test" in lacking else 0.0)
        part[train] = _drawn(config, data.take(train), config.drawn_kind, *cut)
    return part


def _drawn(config: Config, data: Data, kind: str, val: float, test: float) -> np.ndarray:
    """A split by this rule with these shares of validation and test rows; with a share of 0 there are none."""
    if kind == "time":
        return _by_time(config, data.frame[config.time], val, test)
    if kind == "group":
        return _by_group(config, _groups(config, data), _classes(config, data), val, test)
    strata = _classes(config, data) if kind == "stratified" else np.zeros(len(data))
    return _by_stratum(config, strata, val, test)


def _by_stratum(config: Config, strata: np.ndarray, val: float, test: float) -> np.ndarray:
    """Within each stratum a random order is cut in three; a stratum of three rows or more reaches every part. Of k folds the
    rows outside test are dealt out to, number `fold` validates."""
    part = np.zeros(len(strata), dtype=np.int8)
    order = np.random.default_rng(config.split_seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1):
        n_val, n_test = (max(round(share * len(rows)), int(len(rows) >= 3)) if share else 0 for share in (val, test))
        part[rows[:n_test]] = 2
        rest = rows[n_test:]
        part[rest[config.fold :: config.folds] if config.folds else rest[:n_val]] = 1
    return part


def cross(config: Config, data: Data, k: int) -> np.ndarray:
    """Fold of every row, int [n], 0 to k - 1: stratified by class, whole groups, or, with a declared time, 0 for the oldest rows,
    which only train, and 1 to k for those that validate in turn. Raises UserError where there are too few groups or moments."""
    kind = config.drawn_kind
    if kind == "time":
        moment = data.frame[config.time].rank("dense").fill_null(0).to_numpy()
        moments, counts = np.unique(moment, return_counts=True)
        if len(moments) <= k:
            raise UserError(
                f"time = {config.time!r} has {len(moments)} different values; {k} folds need at least {k + 1}"
            )
        ends = np.searchsorted(np.cumsum(counts), np.arange(1, k + 1) * len(moment) / (k + 1))
        steps = np.arange(k)  # a moment of its own for each fold
        ends = np.minimum(np.maximum.accumulate(ends - steps) + steps, len(moments) - k - 1 + steps)
        return np.searchsorted(moments[ends], moment, side="left")
    folds = np.zeros(len(data), dtype=np.int64)
    for fold in range(k):
        drawn = config.model_copy(update={"folds": k, "fold": fold})
        folds[_drawn(drawn, data, kind, 0.0, 0.0) == 1] = fold
    return folds


def _classes(config: Config, data: Data) -> np.ndarray:
    """Number of the class of each row; of a target that has none, the same for all."""
    if config.task in ("regression", "ranking") and config.split_kind != "stratified":
        return np.zeros(len(data), dtype=np.int64)
    return data.frame[data.target].rank("dense").to_numpy().astype(np.int64) - 1


def _by_group(config: Config, groups: np.ndarray, classes: np.ndarray, val: float, test: float) -> np.ndarray:
    """Whole groups, near the shares of the rows, with every class in every part where groups allow (see grouped.py)."""
    names, least = int(groups.max()) + 1, 1 + (config.folds or (val > 0) + (test > 0))
    if names < least:
        raise UserError(
            f"{config.group or config.query!r} has {names} values; {least} parts of whole groups need at least {least}: bring more,"
            f" or name another column as group"
        )
    if config.folds:
        rows = np.r_[test, np.full(config.folds, (1 - test) / config.folds)]
        bins = grouped.place(
            groups, classes, grouped.Wanted(rows * len(groups), np.r_[1, np.full(config.folds, 2)]), config.split_seed
        )
        return np.select([bins == 0, bins == config.fold + 1], [2, 1], 0).astype(np.int8)
    asked = [(2, test, 1), (1, val, 2), (0, 1 - test - val, 4)]  # part, share of rows, weight of a class it lacks
    parts, rows, weight = zip(*[each for each in asked if each[1] > 0], strict=True)
    wanted = grouped.Wanted(np.array(rows) * len(groups), np.array(weight))
    return np.array(parts, dtype=np.int8)[grouped.place(groups, classes, wanted, config.split_seed)]


def _groups(config: Config, data: Data) -> np.ndarray:
    """Number of the group of each row. With both a group and a query column, rows that share either belong together."""
    columns = [c for c in dict.fromkeys((config.group, config.query)) if c]
    numbers = [
        data.frame[c].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1 for c in columns
    ]
    if len(numbers) == 1:
        return numbers[0]
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = numbers[0], numbers[1] + numbers[0].max() + 1
    size = int(second.max()) + 1
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    return connected_components(graph, directed=False)[1][first]


def _by_time(config: Config, time: pl.Series, val: float, test: float) -> np.ndarray:
    """Oldest rows train, the next validate, the newest test; rows with one time stay together. Nulls count as oldest."""
    if time.dtype == pl.String and not time.drop_nulls().str.contains(r"^\d{4}\D?\d\d").all():
        raise UserError(
            f"time = {config.time!r} holds texts like {time.drop_nulls()[0]!r}; write them as 2013-01-31 or 2013-01-31 12:00"
        )
    moment = time.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    moments, counts = np.unique(moment, return_counts=True)
    least = 1 + (val > 0) + (test > 0)
    if len(moments) < least:
        raise UserError(
            f"time = {config.time!r} has too few different values ({len(moments)}): rows of one moment stay together, so {least} parts need at"
            f" least {least}; name a finer time, or a group or iid instead of time"
        )
    before = np.r_[0, np.cumsum(counts)]  # rows older than each moment
    # The first moment of a part is the one at which it is nearest to its share; each part has one moment at least.
    first_test, room = len(moments), 1 + (val > 0)
    if test:
        first_test = int(np.abs(before[room:-1] - (1 - test) * len(moment)).argmin()) + room
    first_val = first_test
    if val:
        first_val = int(np.abs(before[1:first_test] - (1 - test - val) * len(moment)).argmin()) + 1
    place = np.searchsorted(moments, moment)
    return np.where(place >= first_test, 2, np.where(place >= first_val, 1, 0)).astype(np.int8)


def together(config: Config, data: Data) -> np.ndarray | None:
    """Number of the group of each row of a part: rows of one patient, user or machine say less than as many unrelated rows. None
    where no group is declared."""
    return _groups(config, data) if config.group else None


def manifest(recipe: Recipe, part: np.ndarray) -> dict[str, Any]:
    """What split.json holds: the rule, the data's hash, and per part its rows, its hash, its classes and times."""
    config, data = recipe.config, recipe.data
    described = {}
    for number, name in enumerate(PARTS):
        rows = np.flatnonzero(part == number)
        described[name] = {
            "rows": len(rows),
            "share": round(len(rows) / len(data), 4),
            "sha256": _hash(rows),
            **_facts(config, data.take(rows)),
        }
    return {
        "kind": config.split_kind,
        "seed": config.split_seed,
        "folds": [config.fold, config.folds] if config.folds else None,
        "cut": not_given(config, data),
        "iid": config.iid,
        "data": data_hash(config, data),
        "split": config.fingerprint("split"),
        "parts": described,
    }


def _facts(config: Config, data: Data) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if config.task in ("binary", "multiclass"):
        facts["classes"] = dict(sorted(counted(data.frame[data.target]).items()))
    if config.time:
        facts["time"] = [str(data.frame[config.time].min()), str(data.frame[config.time].max())]
    if config.group:
        facts["groups"] = data.frame[config.group].n_unique()
    return facts


def _hash(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def write_manifest(recipe: Recipe, part: np.ndarray) -> dict[str, Any]:
    """Pin the split in split.json, which belongs in version control. Returns its content."""
    content = manifest(recipe, part)
    write_atomic(recipe.root / MANIFEST, to_json(content) + "\n")
    return content


def read_manifest(recipe: Recipe) -> dict[str, Any]:
    """The content of split.json. Raises UserError when it is absent or not one."""
    content = read_json(recipe.root / MANIFEST, "the pinned split", "run: recipe split")
    parts = content.get("parts") if isinstance(content, dict) else None
    if (
        not isinstance(parts, dict)
        or set(parts) != set(PARTS)
        or not all(isinstance(part, dict) and isinstance(part.get("sha256"), str) for part in parts.values())
    ):
        raise UserError(f"{recipe.root / MANIFEST} is not a split manifest; delete it and run: recipe split")
    return content


def split_hash(content: dict[str, Any]) -> str:
    """One hash for the three parts of a manifest."""
    return hashlib.sha256("".join(content["parts"][name]["sha256"] for name in PARTS).encode()).hexdigest()[:16]


def _derive(recipe: Recipe) -> np.ndarray:
    """The assignment, verified against split.json. Raises UserError when data, settings or the file have changed."""
    config, data, pinned = recipe.config, recipe.data, read_manifest(recipe)
    for what, now in (("data", data_hash(config, data)), ("split", config.fingerprint("split"))):
        if pinned.get(what) != now:
            raise UserError(
                f"{MANIFEST} was made for other {what} (the {what} or its settings changed since); run: recipe split"
            )
    part = assign(config, data)
    for number, name in enumerate(PARTS):
        if _hash(np.flatnonzero(part == number)) != pinned["parts"][name]["sha256"]:
            raise UserError(
                f"the {name} part no longer has the hash in {MANIFEST}; restore that file from git, or run: recipe split"
            )
    return part


def splits(recipe: Recipe) -> dict[str, Data]:
    """The training and validation parts. The test part stays shut: only `open_test` returns it."""
    part = _derive(recipe)
    parts = {name: recipe.data.take(np.flatnonzero(part == number)) for number, name in enumerate(PARTS[:2])}
    return {**parts, "train": recipe.task.cleaned(recipe.config, parts["train"])}


def outside_test(recipe: Recipe) -> Data:
    """All rows outside the test part, in file order: what an audit may look at once there is a split."""
    return recipe.data.take(np.flatnonzero(_derive(recipe) != 2))


def open_test(recipe: Recipe) -> Data:
    """The test part. For steps/evaluate.py alone, which writes down that it was opened before it looks."""
    return recipe.data.take(np.flatnonzero(_derive(recipe) == 2))


def hidden(test: Data, train: Data) -> Data:
    """The test part with its labels hidden: each is that of the first training row, so that rows can be encoded all the same."""
    column = train.frame[test.target]
    return replace(test, frame=test.frame.with_columns(pl.lit(column[0], dtype=column.dtype).alias(test.target)))


def hashed(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the rows of the test part, and of the others: enough to know them again, and nothing to learn from."""
    part = _derive(recipe)
    every = row_hashes(recipe.data)
    return every[part == 2], every[part != 2]
