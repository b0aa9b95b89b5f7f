"""Whole numbers that name things are told from quantities, as seldom wrongly as the check says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from my_model.config import Config, setting
from my_model.task import Data
from recipe_kit.checks import near_rows
from recipe_kit.checks.identifiers import CHANCE, identifiers, names_things

from .tables import config_of, data_of

Columns = dict[str, np.ndarray]
R = np.random.Generator


def users(random: R, n: int, values: np.ndarray) -> Columns:
    """Rows of things that these numbers name: each has a taste of its own, and an age."""
    at = random.integers(0, len(values), n)
    taste, age = random.normal(size=len(values)), random.integers(18, 90, len(values))
    y = taste[at] + 0.7 * random.normal(size=n) > 0
    return {
        "thing": random.permutation(values)[at],
        "age": age[at],
        "x": random.normal(size=n),
        "target": y.astype(int),
    }


def smooth(random: R, n: int, values: np.ndarray) -> Columns:
    """Rows of a quantity: what it says of the target changes little from one value to the next."""
    risk = (values - values.mean()) / (values.std() or 1)
    y = risk - 0.5 * risk**2 + random.normal(size=n) > 0
    return {"thing": values, "x": risk + random.normal(size=n), "target": y.astype(int)}


def visits(random: R, n: int) -> Columns:
    """Visits of 60 patients: their blood pressure at the start comes back with them, and names nobody."""
    who = random.integers(0, 60, n)
    start, taste = random.integers(90, 180, 60), random.normal(size=60)
    y = taste[who] + random.normal(size=n) > 0
    return {"patient": who + 500, "thing": start[who], "x": taste[who] + random.normal(size=n), "target": y.astype(int)}


NAMES: dict[str, Callable[[R], Columns]] = {
    "counted up": lambda r: users(r, 4000, np.arange(1000, 1300)),
    "drawn": lambda r: users(r, 3000, r.choice(900_000, 250, replace=False) + 100_000),
    "few rows of each": lambda r: users(r, 2000, np.arange(700)),
    "shops": lambda r: users(r, 5000, np.arange(1, 81)),
}
QUANTITIES: dict[str, Callable[[R], Columns]] = {
    "ages": lambda r: smooth(r, 3000, r.integers(18, 90, 3000)),
    "counts": lambda r: smooth(r, 3000, r.poisson(30, 3000)),
    "years": lambda r: users(r, 3000, np.arange(1960, 2020)),
    "amounts": lambda r: smooth(r, 3000, r.lognormal(8, 1, 3000).round().astype(int)),
    "ratings": lambda r: smooth(r, 2000, r.integers(1, 11, 2000)),
    "drawn from a range, and of no use": lambda r: {
        "thing": r.integers(0, 300, 3000), "x": r.normal(size=3000), "target": r.integers(0, 2, 3000),
    },
    "a fact of each patient": lambda r: visits(r, 1500),
    "amounts of each district": lambda r: users(r, 3000, np.unique(r.lognormal(9, 1.2, 150).round().astype(int))),
}  # fmt: skip


def called(columns: Columns, name: str = "thing") -> Data:
    return data_of(pl.DataFrame(columns).rename({"thing": name}))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_names_are_noticed_whatever_they_are_called(kind: str, seed: int) -> None:
    found = identifiers(config_of(), called(NAMES[kind](np.random.default_rng(seed))))
    assert found.verdict == "WARN" and list(found.evidence["columns"]) == ["thing"]
    assert 'categorical = ["thing"]' in found.next and 'group = "thing"' in found.next


@pytest.mark.parametrize("kind", QUANTITIES)
@pytest.mark.parametrize("seed", range(3))
def test_quantities_are_left_alone(kind: str, seed: int) -> None:
    data = called(QUANTITIES[kind](np.random.default_rng(seed)))
    assert "thing" not in names_things(data, data.columns("numeric"))


def test_false_alarms_are_as_rare_as_said() -> None:
    """Columns half of whose information lies in their order are the hardest: CHANCE of them, at most, are called names."""
    alarms, tried = 0, 300
    for seed in range(tried):
        random = np.random.default_rng(seed)
        steps = np.cumsum(random.normal(size=200))
        effect = steps / steps.std() + random.normal(size=200)  # neighbors share more than half
        at = random.integers(0, 200, 2000)
        y = effect[at] + random.normal(size=2000)
        data = data_of(pl.DataFrame({"thing": at, "target": y}))
        alarms += bool(names_things(data, ["thing"]))
    assert alarms <= tried * CHANCE + 3 * np.sqrt(tried * CHANCE)


@pytest.mark.slow
def test_numbers_of_no_use_are_hardly_ever_called_names() -> None:
    alarms = 0
    for seed in range(600):
        random = np.random.default_rng(seed)
        data = data_of(pl.DataFrame({"thing": random.integers(0, 100, 500), "target": random.normal(size=500)}))
        alarms += bool(names_things(data, ["thing"]))
    assert alarms <= 1


def test_a_name_is_further_evidence_and_decides_nothing_alone() -> None:
    """Zip codes of one district lie side by side and are alike: only their name tells them from a quantity."""
    random = np.random.default_rng(0)
    district = np.repeat(random.normal(size=20), 15)
    at = random.integers(0, 300, 6000)
    effect = district + 0.5 * random.normal(size=300)
    columns = {
        "thing": 10_000 + 13 * at,
        "x": random.normal(size=6000),
        "target": effect[at] + random.normal(size=6000),
    }
    assert not names_things(called(columns), ["thing"])
    assert list(names_things(called(columns, "zip"), ["zip"])) == ["zip"]
    assert not names_things(called(QUANTITIES["counts"](random), "visitCount"), ["visitCount"])
    of_no_use = QUANTITIES["drawn from a range, and of no use"](random)
    assert not names_things(called(of_no_use, "store_id"), ["store_id"])


@pytest.mark.parametrize("name", ["customerID", "order.no", "uid"])
def test_numbers_of_rows_are_offered_as_id(name: str) -> None:
    random = np.random.default_rng(0)
    columns = {
        "thing": random.permutation(10**6)[:500],
        "x": random.normal(size=500),
        "target": random.integers(0, 2, 500),
    }
    found = identifiers(config_of(), called(columns, name))
    assert found.verdict == "WARN" and f'id = ["{name}"]' in found.next
    assert identifiers(config_of(), called(columns, "salary")).verdict == "PASS"


class Tabular(Config):
    """A config with the setting that tables have."""

    numeric: list[str] = setting([], "data", "Columns to read as numbers")


def test_what_the_owner_says_is_a_number_stays_one() -> None:
    data = called(NAMES["counted up"](np.random.default_rng(0)))
    assert identifiers(Tabular(numeric=["x", "age"]), data).verdict == "WARN"
    assert identifiers(Tabular(numeric=["thing", "x", "age"]), data).verdict == "NOT APPLICABLE"
    numbered = data_of(pl.DataFrame({"sample_no": [*range(100), *range(20)], "target": ["a", "b"] * 60}))
    assert near_rows.columns(Tabular(), numbered)[0] == []
    assert near_rows.columns(Tabular(numeric=["sample_no"]), numbered)[0] == ["sample_no"]
