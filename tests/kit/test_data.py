"""Checks on the data, each passing on a sound table and failing on its fault; at mild, medium and extreme strength."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.config import GROUPS, Config
from my_model.engine import source
from my_model.engine.table import read_table
from my_model.task import Data
from recipe_kit.checks import data as columns
from recipe_kit.checks import duplicates, units, values
from recipe_kit.checks.check_result import Cause, CheckResult, sentences
from recipe_kit.checks.independence import who_and_when
from recipe_kit.steps.audit import CHECKS

from .tables import config_of, data_of, table

SEEDS = (0, 1, 2)


def regression(seed: int) -> tuple[Config, Data]:
    frame = table(seed=seed)
    heavy = np.exp((2 * frame["x0"] + frame["x1"] - frame["x2"]).to_numpy())
    return config_of(task="regression"), data_of(frame.with_columns(pl.Series("target", heavy)))


def sound(seed: int) -> list[tuple[Config, Data]]:
    """Tables that are awkward and yet fine: heavy tails, amounts piled up at zero, a declared 1:50, gaps, sorted rows."""
    random, frame = np.random.default_rng(seed), table(seed=seed)
    signal = (frame["x0"] + frame["x1"] - frame["x2"]).to_numpy()
    tails = frame.with_columns(
        pl.Series("lognormal", np.exp(3 * random.normal(size=600))), pl.Series("cauchy", random.standard_cauchy(600))
    )
    piled = frame.with_columns(
        pl.Series("paid", np.maximum(random.normal(-1, 1, 600), 0) * 100),
        pl.Series("age", random.integers(18, 90, 600)),
    )
    rare = frame.with_columns(pl.Series("target", np.where(signal > np.sort(signal)[-13], "yes", "no")))
    gaps = frame.with_columns(
        pl.when(pl.Series(random.random(600) < 0.05)).then(None).otherwise(pl.col("x1")).alias("x1")
    )
    tables = [(config_of(), data_of(f)) for f in (frame, tails, piled, gaps, frame.sort("target"))]
    return [
        *tables,
        (config_of(class_weights="balanced"), data_of(rare)),
        (config_of(loss="focal"), data_of(rare)),
        (config_of(imbalance="every case is looked at by a person"), data_of(rare)),
        (config_of(metric="average_precision"), data_of(rare)),
        regression(seed),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_sound_tables_pass(seed: int) -> None:
    found = [check(config, data) for config, data in sound(seed) for check in CHECKS]
    assert [f"{f.check}: {f.observed}" for f in found if f.verdict in ("WARN", "FAIL")] == []


def keep(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """All of one class, and this share of the other (fault D6)."""
    return frame.filter((pl.col("target") == "no") | pl.Series(random.random(len(frame)) < share))


def overwrite(name: str, value: Any) -> Callable[[pl.DataFrame, float, np.random.Generator], pl.DataFrame]:
    """This share of a column becomes `value` (fault D9)."""
    return lambda frame, share, random: frame.with_columns(
        pl.when(pl.Series(random.random(len(frame)) < share)).then(value).otherwise(pl.col(name)).alias(name)
    )


def scale(frame: pl.DataFrame, factor: float, random: np.random.Generator) -> pl.DataFrame:
    """Two values with the decimal point lost."""
    hit = np.isin(np.arange(len(frame)), random.integers(0, len(frame), 2))
    return frame.with_columns(pl.when(pl.Series(hit)).then(factor).otherwise(pl.col("x0")).alias("x0"))


def repeat(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Random rows a second time (fault D8)."""
    return pl.concat([frame, frame[random.integers(0, len(frame), int(share * len(frame)))]])


def contradict(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Random rows a second time, with the other label."""
    more = frame[random.permutation(len(frame))[: int(share * len(frame))]]
    return pl.concat(
        [
            frame,
            more.with_columns(
                pl.when(pl.col("target") == "yes").then(pl.lit("no")).otherwise(pl.lit("yes")).alias("target")
            ),
        ]
    )


def nearly(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Random rows a second time, each number off by a little."""
    more = frame[random.permutation(len(frame))[: int(share * len(frame))]]
    return pl.concat([frame, more.with_columns(pl.col(f"x{i}") + 1e-4 * random.normal() for i in range(6))])


def constant(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """This many of the seven features hold one value."""
    return frame.with_columns(pl.lit(1.0).alias(f"x{i}") for i in range(int(share)))


def many(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """A category of this many values."""
    return frame.with_columns(pl.Series("kind", [f"v{v}" for v in random.integers(0, int(share), len(frame))]))


def integers(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """An age column in which this share is -999."""
    return frame.with_columns(
        pl.Series("age", np.where(random.random(len(frame)) < share, -999, random.integers(18, 90, len(frame))))
    )


def other_unit(factor: float) -> Callable[[pl.DataFrame, float, np.random.Generator], pl.DataFrame]:
    """This share of a column of lengths is in another unit."""

    def fault(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
        length = np.exp(random.normal(3, 0.2, len(frame)))
        return frame.with_columns(
            pl.Series("length", np.where(random.random(len(frame)) < share, length * factor, length))
        )

    return fault


def fahrenheit(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """This share of temperatures is in degrees F."""
    celsius = random.normal(12, 4, len(frame))
    return frame.with_columns(
        pl.Series("degrees", np.where(random.random(len(frame)) < share, 1.8 * celsius + 32, celsius))
    )


def spelled(frame: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """This share of a category in capitals with a blank."""
    hit = pl.Series(random.random(len(frame)) < share)
    return frame.with_columns(
        pl.when(hit).then(pl.col("kind").str.to_uppercase() + " ").otherwise(pl.col("kind")).alias("kind")
    )


FAULTS: list[tuple[Any, str, Any, tuple[float, float, float]]] = [
    (columns.balance, "WARN", keep, (0.08, 0.05, 0.01)),
    (columns.missing, "WARN", overwrite("x0", None), (0.97, 0.99, 1.0)),
    (columns.useless, "WARN", constant, (4, 5, 6)),
    (columns.cardinality, "WARN", many, (80, 150, 550)),
    (values.sentinels, "WARN", overwrite("x0", 0.0), (0.05, 0.15, 0.4)),
    (values.sentinels, "WARN", overwrite("x0", -999.0), (0.02, 0.1, 0.3)),
    (values.sentinels, "WARN", integers, (0.02, 0.1, 0.3)),
    (units.mixed_units, "WARN", other_unit(1000), (0.05, 0.3, 0.6)),
    (units.mixed_units, "WARN", other_unit(25.4), (0.05, 0.3, 0.6)),
    (units.mixed_units, "WARN", fahrenheit, (0.1, 0.3, 0.6)),
    (units.spellings, "WARN", spelled, (0.02, 0.1, 0.5)),
    (values.distributions, "WARN", scale, (1e4, 1e6, 1e9)),
    (duplicates.exact, "WARN", contradict, (0.003, 0.01, 0.04)),
    (duplicates.exact, "WARN", repeat, (0.015, 0.03, 0.045)),
    (duplicates.exact, "FAIL", repeat, (0.08, 0.5, 3.0)),
    (duplicates.near, "WARN", nearly, (0.02, 0.1, 0.5)),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strength", [0, 1, 2], ids=["mild", "medium", "extreme"])
@pytest.mark.parametrize(
    ("check", "verdict", "fault", "strengths"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_faults_fail(
    check: Any, verdict: str, fault: Any, strengths: tuple[float, ...], strength: int, seed: int
) -> None:
    frame = fault(table(seed=seed), strengths[strength], np.random.default_rng(seed))
    found = check(config_of(), data_of(frame))
    assert found.verdict == verdict, found.observed
    assert len(found.causes) >= 2 and found.next


@pytest.mark.parametrize("seed", SEEDS)
def test_two_humps_that_are_no_units_are_green(seed: int) -> None:
    """Two kinds of things: far apart by another factor, or a known factor apart and of another shape."""
    random, frame = np.random.default_rng(seed), table(seed=seed)
    second = random.random(600) < 0.4
    factor = np.where(second, 40 * random.lognormal(0, 0.2, 600), random.lognormal(0, 0.2, 600))
    shape = np.where(second, 1000 * random.lognormal(0, 0.9, 600), random.lognormal(0, 0.2, 600))
    two = frame.with_columns(pl.Series("factor", factor), pl.Series("shape", shape), pl.Series("year", 2000 + second))
    assert units.mixed_units(config_of(), data_of(two)).verdict == "PASS"


@pytest.mark.parametrize(("values", "same"), [(["New York", "new-york"], True), (["A+", "A-"], False), (["1-2", "12"], False), (["+", "-"], False), (["é", "e"], True), (["<5", ">5"], False)])  # fmt: skip
def test_spellings_are_told_from_different_values(values: list[str], same: bool) -> None:
    frame = pl.DataFrame({"kind": values * 20, "target": ["yes", "no"] * 20})
    assert units.spellings(config_of(), data_of(frame)).verdict == ("WARN" if same else "PASS")


@pytest.mark.parametrize(
    ("counts", "lost"),
    [
        ([120, 110, 130, 118, 115, 25], True),
        ([120, 110, 130, 118, 115, 60], False),  # half is no evidence at this size
        ([1200, 1180, 1210, 1190, 1205, 500], True),
        ([400, 200, 100, 50, 25], False),  # sizes that fall off are natural
        ([300, 290, 40], False),  # two others do not say what is usual
        ([120, 110, 130, 118, 115, 105], False),
    ],
)
def test_a_class_far_rarer_than_others_that_are_alike(counts: list[int], lost: bool) -> None:
    assert columns.outlying(np.array(counts)) is lost
    frame = pl.DataFrame({"target": np.repeat([f"c{i}" for i in range(len(counts))], counts)})
    found = columns.balance(config_of(task="multiclass"), data_of(frame))
    assert ("far from the others" in found.observed) is lost
    declared = columns.balance(config_of(task="multiclass", class_weights="balanced"), data_of(frame))
    assert "far from the others" not in declared.observed


def test_class_sizes_drawn_alike_seldom_look_lost() -> None:
    random = np.random.default_rng(0)
    sizes = [np.exp(random.normal(5, spread, k)).astype(int) for k in (4, 6, 20) for spread in (0.05, 0.3, 1.0) for _ in range(100)]  # fmt: skip
    assert np.mean([columns.outlying(counts) for counts in sizes]) < 0.02


def test_one_class_fails() -> None:
    assert columns.balance(config_of(), data_of(table().with_columns(pl.lit("no").alias("target")))).verdict == "FAIL"


def test_rare_class_is_named_even_when_weighed() -> None:
    frame = keep(table(), 0.01, np.random.default_rng(0))
    found = columns.balance(config_of(class_weights="balanced"), data_of(frame))
    assert found.verdict == "WARN" and "rarest is yes" in found.observed


def test_few_possible_rows_are_no_copies() -> None:
    """Three coins thrown 200 times repeat: nobody copied them."""
    frame = pl.DataFrame(np.random.default_rng(0).integers(0, 2, (200, 4)), schema=["x0", "x1", "x2", "target"])
    assert duplicates.exact(config_of(), data_of(frame)).verdict == "PASS"


def test_the_same_row_on_another_day_is_no_copy() -> None:
    frame = pl.concat([table(), table()]).with_columns(pl.Series("day", np.repeat([1, 2], 600)))
    assert duplicates.exact(config_of(time="day"), data_of(frame, day="time")).verdict == "PASS"
    assert duplicates.exact(config_of(), data_of(frame, day="drop")).verdict == "FAIL"


@pytest.mark.parametrize("size", [8, 64])
def test_near_copies_of_images_small_and_large(tmp_path: Path, size: int) -> None:
    from PIL import Image

    random, paths, pixels = np.random.default_rng(0), [], np.zeros((8, 8), dtype=np.uint8)
    for number in range(40):
        drawn = random.integers(0, 255, (8, 8), dtype=np.uint8)
        noise = random.integers(-2, 3, (8, 8))  # as another encoder or scanner leaves
        pixels = drawn if number < 36 else (pixels + noise).clip(0, 255).astype(np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"not an image")
    frame = pl.DataFrame(
        {"path": [*map(str, paths), str(tmp_path / "broken.png"), "nowhere.png"], "target": ["a", "b"] * 21}
    )
    found = duplicates.near(config_of(), data_of(frame, path="image"))
    assert found.verdict == "WARN"
    assert {number for pair in found.evidence["pairs"] for number in pair} == {35, 36, 37, 38, 39}
    assert duplicates.near(config_of(), data_of(frame[:36], path="image")).verdict == "PASS"


def test_near_copies_need_measured_columns_and_equal_categories() -> None:
    frame = nearly(table(), 0.1, np.random.default_rng(0))
    assert duplicates.near(config_of(), data_of(frame.drop("x0", "x1"))).verdict == "WARN"
    without = duplicates.near(config_of(), data_of(frame.select("kind", pl.col("x0") > 0, "target")))
    assert without.verdict == "NOT APPLICABLE" and "0 columns of numbers" in without.observed
    other = frame.with_columns(pl.Series("kind", ["a"] * 600 + ["b"] * 60))
    assert duplicates.near(config_of(), data_of(other)).verdict == "PASS"


def test_one_percent_rule_adds_up_what_fails() -> None:
    causes = (Cause("data", "one"), Cause("data", "two"))
    red = [CheckResult(name, "WARN", "observed", "expected", causes, share=0.006) for name in ("first", "second")]
    green = CheckResult("third", "PASS", "observed", "expected", share=0.5)
    assert columns.one_percent([red[0], green]).verdict == "PASS"
    found = columns.one_percent([*red, green])
    assert found.verdict == "WARN" and "1.2%" in found.observed and "third" not in found.observed


def test_every_cause_names_where_it_lies() -> None:
    """A group of settings, or what is around them."""
    known = {*GROUPS, "reproducibility", "production"} - {"tracking"}
    causes = [
        line for words in sentences().values() for value in words.values() if isinstance(value, list) for line in value
    ]
    assert len(causes) > 200 and [line for line in causes if line.split(": ", 1)[0] not in known] == []


def test_who_and_when_is_part_of_the_audit() -> None:
    assert who_and_when in CHECKS and len(set(CHECKS)) == len(CHECKS)


@pytest.mark.parametrize("n", [20_000])
def test_the_table_checks_take_seconds_on_a_large_table(n: int) -> None:
    import time

    frame = table(n).with_columns(pl.Series(f"y{i}", np.random.default_rng(i).normal(size=n)) for i in range(14))
    config, data = config_of(), data_of(frame)
    duplicates.near(config, data)  # the first call pays for imports
    before = time.perf_counter()
    for check in CHECKS:
        check(config, data)
    assert time.perf_counter() - before < 8


@pytest.mark.parametrize(
    ("usual", "last"),
    [("1", "2"), ("1", "1.5"), ("1", "x"), ("", "3"), ("", "x"), ("true", "1"), ("2020-01-02", "soon"), ("x", "1")],
)
def test_types_told_from_the_first_rows_are_those_of_all_rows(
    tmp_path: Path, usual: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = tmp_path / "table.csv", source.LOOK + 10
    path.write_text("a,b\n" + "".join(f"{usual},{i}\n" for i in range(rows)) + f"{last},0\n")
    found = read_table(path)
    assert read_table(path, 50).frame.height == 50
    monkeypatch.setattr(source, "LOOK", 2 * rows)  # the csv module reads all of it, and every row decides
    whole = read_table(path)
    assert found.frame.equals(whole.frame) and found.frame.schema == whole.frame.schema and found.kinds == whole.kinds
