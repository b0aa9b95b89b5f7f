"""Leaks, order and near copies on whole projects: sound tables get no FAIL, and faults of the same kinds are still found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cases
import numpy as np
import polars as pl
import pytest
from conftest import bake, environment

N = 600
DRIVER = """
import json, sys
from pathlib import Path
from recipe_kit import cli
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    for step in ("audit", "split"):
        past = ["--force", "to see what split finds"] if step == "split" else []
        args = cli.parse([step, "--quiet", "--project", str(folder), *past])
        cli._dispatch(args)
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/record.json"))]
    found[folder.name] = {f["check"]: f for record in records for f in record["findings"]}
Path(sys.argv[2]).write_text(json.dumps(found))
"""


@dataclass
class Table:
    """frame, what recipe.toml says of it, and what is expected: check -> verdicts that are right for it. names: columns that
    the check's next command must name."""

    frame: pl.DataFrame
    settings: dict[str, Any]
    expected: dict[str, tuple[str, ...]]
    names: tuple[str, ...] = ()


STRONG, ORDER, NEAR, MADE = "dominant feature", "row-order dependence", "near duplicates", "target-derived feature"
QUIET = ("PASS", "NOT APPLICABLE")
BINARY = {"task": "binary"}
NUMBER = {"task": "regression"}


def random_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def honest(seed: int, n: int = N) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Six related columns; a binary target that they tell in part; a number that they tell in part."""
    random = random_of(seed)
    x = random.normal(size=(n, 6)) + random.normal(size=(n, 1))
    number = x[:, 0] - x[:, 1] + random.normal(size=n)
    frame = pl.DataFrame({f"x{i}": x[:, i].round(4) for i in range(6)})
    return frame, np.where(number + random.normal(size=n) > 0, "yes", "no"), number.round(5)


def case(name: str, folder: Path) -> pl.DataFrame:
    folder.mkdir()
    cases.CASES[name](folder)
    return pl.read_csv(folder / "train.csv", infer_schema_length=None)


def strong(folder: Path) -> Iterator[tuple[str, Table]]:
    """Honest columns, however strong, are at most a question; columns that are the target are a FAIL each."""
    asks, sure = {STRONG: ("WARN",)}, {STRONG: ("FAIL",)}
    yield "case_strong", Table(case("one_strong_column", folder / "one_strong_column"), BINARY, asks, ("score",))
    from sklearn.datasets import load_iris

    iris = load_iris()
    petal = pl.DataFrame({"petal": iris.data[:, 2], "target": np.where(iris.target == 0, "setosa", "other")})
    yield "strong_petal", Table(petal, BINARY, asks, ("petal",))
    random = random_of(1)
    y = random.integers(0, 3, N)
    kinds = pl.DataFrame({"mark": [f"m{3 * v + w}" for v, w in zip(y, random.integers(0, 3, N), strict=True)], "target": y})
    yield "strong_kinds", Table(kinds, {"task": "multiclass"}, asks, ("mark",))
    scale = random.normal(50, 10, N)
    other = pl.DataFrame({"reading": scale.round(1), "target": (2 * scale + random.normal(0, 0.5, N)).round(2)})
    yield "strong_number", Table(other, NUMBER, asks, ("reading",))

    frame, label, number = honest(2)
    for name, column in {
        "same": label, "code": np.where(label == "yes", 7, 3), "typos": np.where(random.random(N) < 0.004, "no", label),
    }.items():  # fmt: skip
        copied = frame.with_columns(copied=pl.Series(column), target=pl.Series(label))
        yield f"copy_{name}", Table(copied, BINARY, sure, ("copied",))
    for name, column in {
        "same": number, "unit": (number * 2.2046 + 30).round(1), "log": np.log(number + 20).round(5), "turned": -number,
    }.items():  # fmt: skip
        target = number + 20 if name == "log" else number
        copied = frame.with_columns(copied=pl.Series(column), target=pl.Series(target))
        yield f"copy_number_{name}", Table(copied, NUMBER, sure, ("copied",))
    both = frame.with_columns(one=pl.Series(label), other=pl.Series(label == "yes").cast(pl.Int64), target=pl.Series(label))
    yield "copies_two", Table(both, BINARY, sure, ("one", "other"))
    kept = {**BINARY, "known_at_prediction": ["one", "other"]}
    yield "copies_two_known", Table(both, kept, {STRONG: ("PASS",)})
    shared = (label == "yes") + 0.4 * random.normal(size=N)
    more = {f"y{i}": (number + (i + 2) * (frame["x2"].to_numpy() + random.normal(size=N))).round(4) for i in range(4)}
    vouched = frame.with_columns(**{name: pl.Series(values) for name, values in more.items()}).with_columns(one=pl.Series(shared), other=pl.Series(10 - 3 * shared), target=pl.Series(label))
    yield "copies_vouching", Table(vouched, BINARY, {MADE: ("WARN",)}, ("one", "other"))


def ordered(folder: Path) -> Iterator[tuple[str, Table]]:
    """Rows that follow their neighbors ask for a time or a group; without order, or sorted by the target, they do not."""
    asks, quiet, random = {ORDER: ("WARN",)}, {ORDER: QUIET}, random_of(3)
    follows = case("autocorrelated", folder / "autocorrelated")
    yield "case_order", Table(follows, NUMBER, asks, ("time", "group"))
    yield "order_shuffled", Table(follows.sample(fraction=1, shuffle=True, seed=0), NUMBER, {ORDER: ("PASS",)})
    yield "order_sorted", Table(follows.sort("target"), NUMBER, quiet)
    frame, label, number = honest(4)
    yield "order_none", Table(frame.with_columns(target=pl.Series(number)), NUMBER, {ORDER: ("PASS",)})
    tail = frame.with_columns(target=pl.Series(np.exp(3 * number)))
    yield "order_heavy_tail", Table(tail, NUMBER, {ORDER: ("PASS",)})
    yield "order_by_feature", Table(frame.with_columns(target=pl.Series(number)).sort("x0"), NUMBER, {ORDER: ("PASS",)})
    season = number + 2 * np.sin(np.arange(N) / 9)
    yield "order_season", Table(frame.with_columns(target=pl.Series(season)), NUMBER, asks)
    people = number + np.repeat(random.normal(0, 2, N // 4), 4)
    yield "order_people", Table(frame.with_columns(target=pl.Series(people)), NUMBER, asks)
    states = np.where(np.repeat(random.random(N // 6) < 0.6, 6), np.repeat(random.choice(["no", "yes"], N // 6), 6), label)
    yield "order_states", Table(frame.with_columns(target=pl.Series(states)), BINARY, asks)


def nearly(folder: Path) -> Iterator[tuple[str, Table]]:
    """Near copies are found among few numbers and mixed columns, and tables without them stay quiet."""
    random = random_of(5)
    frame, label, _ = honest(6)
    kinds = frame.select("x0", "x1", "x2").with_columns(
        *(pl.Series(f"k{i}", random.choice(list("abc"), N)) for i in range(5)), target=pl.Series(label)
    )
    moved = [pl.col(c) + pl.Series(random.normal(0, 0.002, 60)) for c in ("x0", "x1", "x2")]
    copied = pl.concat([kinds, kinds[:60].with_columns(moved)]).sample(fraction=1, shuffle=True, seed=1)
    found = {NEAR: ("WARN",), "near duplicates across parts": ("WARN", "FAIL")}
    quiet = {NEAR: QUIET, "near duplicates across parts": QUIET}
    yield "near_eight_columns", Table(copied, BINARY, found)
    yield "near_none", Table(kinds, BINARY, quiet)
    yield "near_numbers", Table(copied.drop([f"k{i}" for i in range(5)]), BINARY, found)
    grid = pl.DataFrame({f"q{i}": random.integers(1, 6, 2000) for i in range(7)} | {"age": random.integers(18, 90, 2000)})
    survey = grid.with_columns(target=pl.Series(np.where(random.random(2000) < 0.5, "yes", "no")))
    yield "near_survey", Table(survey, BINARY, quiet)
    coins = pl.DataFrame({f"q{i}": random.integers(0, 2, N) for i in range(12)}).with_columns(target=pl.Series(label))
    yield "near_nothing_measured", Table(coins, BINARY, {NEAR: ("NOT APPLICABLE",)})


def groups(folder: Path) -> Iterator[tuple[str, Table]]:
    """Groups that a split by time parts are asked about, and noted where the split was chosen."""
    frame, label, _ = honest(7)
    visits = frame.with_columns(
        who=pl.Series([f"p{i % 120}" for i in range(N)]), day=pl.Series(np.arange(N)), target=pl.Series(label)
    )
    settings = {**BINARY, "group": "who", "time": "day"}
    yield "groups_asked", Table(visits, settings, {"groups apart": ("WARN",)}, ("group", "time"))
    yield "groups_chosen", Table(visits, {**settings, "split": "time"}, {"groups apart": ("PASS",)}, ("group",))
    yield "groups_kept", Table(visits, {**settings, "split": "group"}, {"groups apart": ("PASS",)})


def ranked(folder: Path) -> Iterator[tuple[str, Table]]:
    """The same leaks within queries."""
    random = random_of(8)
    query = np.repeat(np.arange(100), 8)
    x = random.normal(size=(800, 4)) + random.normal(size=(100, 4)).repeat(8, axis=0)
    relevance = np.digitize(x[:, 0] - x[:, 1] + random.normal(size=800), [0.5, 1.5, 2.5])
    frame = pl.DataFrame({f"x{i}": x[:, i].round(4) for i in range(4)})
    frame = frame.with_columns(query=pl.Series(query), target=pl.Series(relevance))
    settings = {"task": "ranking", "query": "query"}
    missing, row = "informative missingness", "row number as feature"
    yield "rank_honest", Table(frame, settings, dict.fromkeys((STRONG, row, MADE), ("PASS",)))
    yield "rank_copy", Table(frame.with_columns(grade=10 * pl.col("target") + 5), settings, {STRONG: ("FAIL",)}, ("grade",))
    scored = pl.col("target") + pl.Series(0.1 * random.normal(size=800)) + pl.col("query")
    yield "rank_strong", Table(frame.with_columns(score=scored), settings, {STRONG: ("WARN",)}, ("score",))
    gone = pl.when(pl.Series(random.random(800) < 0.9) & (pl.col("target") > 0)).then(None).otherwise(pl.col("x3"))
    yield "rank_missing", Table(frame.with_columns(late=gone), settings, {missing: ("WARN",)}, ("late",))
    placed = frame.sort("query", "target", descending=[False, True])
    placed = placed.with_columns(place=pl.int_range(1, pl.len() + 1).over("query"))
    yield "rank_sorted_place", Table(placed, settings, {row: ("FAIL",)}, ("place",))
    shown = frame.with_columns(place=pl.int_range(1, pl.len() + 1).over("query"))
    yield "rank_place", Table(shown, settings, {row: ("WARN",)}, ("place",))
    yield "rank_sorted", Table(placed.drop("place"), settings, {row: ("PASS",)})


KINDS = (strong, ordered, nearly, groups, ranked)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Table], dict[str, dict[str, Any]]]:
    """Every table, and what audit and split find in it: all in one process, since its imports take longest."""
    place = tmp_path_factory.mktemp("leaks")
    project = bake(place / "project")
    tables = {name: table for kind in KINDS for name, table in kind(place)}
    for name, table in tables.items():
        folder = place / "tables" / name
        (folder / "data").mkdir(parents=True)
        table.frame.write_csv(folder / "data" / "train.csv")
        settings = {"iid": "drawn one by one", "device": "cpu", "tracker": "none", **table.settings}
        (folder / "recipe.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
    words = [sys.executable, "-c", DRIVER, str(place / "tables"), str(place / "found.json")]
    done = subprocess.run(words, env=environment(project), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return tables, json.loads((place / "found.json").read_text())


NAMES = [
    *("case_strong", "strong_petal", "strong_kinds", "strong_number", "copy_same", "copy_code", "copy_typos"),
    *("copy_number_same", "copy_number_unit", "copy_number_log", "copy_number_turned"),
    *("copies_two", "copies_two_known", "copies_vouching"),
    *("case_order", "order_shuffled", "order_sorted", "order_none", "order_heavy_tail", "order_by_feature"),
    *("order_season", "order_people", "order_states"),
    *("near_eight_columns", "near_none", "near_numbers", "near_survey", "near_nothing_measured"),
    *("groups_asked", "groups_chosen", "groups_kept"),
    *("rank_honest", "rank_copy", "rank_strong", "rank_missing", "rank_sorted_place", "rank_place", "rank_sorted"),
]


@pytest.mark.parametrize("name", NAMES)
def test_verdicts(name: str, audited: tuple[dict[str, Table], dict[str, dict[str, Any]]]) -> None:
    table, found = audited[0][name], audited[1][name]
    assert set(audited[0]) == set(NAMES)
    for check, verdicts in table.expected.items():
        assert found[check]["verdict"] in verdicts, (check, found[check]["verdict"], found[check]["observed"])
        if table.names:
            assert all(column in found[check]["next"] for column in table.names), found[check]["next"]
