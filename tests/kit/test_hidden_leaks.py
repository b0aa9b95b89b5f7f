"""Leaks that no strength shows: transformed and spiked copies, outcomes of other rows, and rows of one thing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from recipe_kit.checks import labels, leakage, target_leaks

from .tables import config_of, data_of, table

SEEDS = (0, 1, 2)


def numbers(seed: int, n: int = 500) -> tuple[np.random.Generator, pl.DataFrame]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    return random, pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"target": x[:, 0] + random.normal(size=n)})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "FAIL"), (0.05, "WARN")])
def test_a_column_in_the_order_of_the_target_fails(noise: float, verdict: str, seed: int) -> None:
    """However it is bent; with noise, however little, it may be an honest column."""
    random, frame = numbers(seed)
    bent = np.arctan(frame["target"].to_numpy()) ** 3 + noise * random.normal(size=500)
    for column in (bent, -bent):
        found = leakage.single_column(config_of(task="regression"), data_of(frame.with_columns(leak=pl.Series(column))))
        assert found.verdict == verdict and "leak" in found.next, found.observed


def test_a_count_of_time_is_no_copy_of_what_grows() -> None:
    grown = pl.DataFrame({"year": np.arange(300), "target": np.exp(np.arange(300) / 50) + np.arange(300) ** 1.5})
    assert leakage.single_column(config_of(task="regression"), data_of(grown)).verdict == "WARN"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("told", "verdict"), [(True, "FAIL"), (False, "PASS")])
def test_gaps_filled_with_a_value_of_the_class_fail(told: bool, verdict: str, seed: int) -> None:
    """Two values that come often are no leak by themselves."""
    random, frame = np.random.default_rng(seed), table(seed=seed)
    gone, yes = random.random(600) < 0.2, (frame["target"] == "yes").to_numpy()
    filled = np.where(yes if told else random.random(600) < 0.5, 1.7, -0.4)
    column = np.where(gone, filled, random.normal(size=600))
    found = target_leaks.made_from_target(config_of(), data_of(frame.with_columns(x4=pl.Series(column))))
    assert found.verdict == verdict and ("x4" in found.next) is told, found.observed


@pytest.mark.parametrize("seed", SEEDS)
def test_means_of_the_class_fail_where_the_column_tells_the_classes_apart_itself(seed: int) -> None:
    """No row near them says otherwise, but they have more decimals than what was measured, and are the mean to the last one."""
    random = np.random.default_rng(seed)
    yes, gone = random.random(600) < 0.5, random.random(600) < 0.3
    length = (random.normal(size=600) + np.where(yes, 9, 0)).round(1)
    frame = table(seed=seed).with_columns(target=pl.Series(np.where(yes, "yes", "no")))
    of_class, of_all = np.where(yes, length[yes & ~gone].mean(), length[~yes & ~gone].mean()), length[~gone].mean()
    for filled, sure in ((of_class, True), (of_all, False)):
        column = frame.with_columns(x4=pl.Series(np.where(gone, filled, length)))
        assert (target_leaks.made_from_target(config_of(), data_of(column)).verdict == "FAIL") is sure


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("made", ["filled", "on a line", "heaped", "discount"])
def test_numbers_made_from_a_number_in_some_rows_are_named(made: str, seed: int) -> None:
    """Gaps filled with the mean of a tenth of the target, and a column on a line with it in a third of its rows; but no round
    values that people prefer, and no number that follows the target closely in all rows."""
    random, frame = numbers(seed, 800)
    y, x, some = frame["target"].to_numpy(), frame["x1"].to_numpy(), random.random(800) < 0.35
    tenth = np.argsort(np.argsort(y)) // 80
    column = {
        "filled": np.where(some, np.array([x[tenth == k].mean() for k in range(10)])[tenth], x),
        "on a line": np.where(some, 3 - 2 * y, 4 * x),
        "heaped": np.where(some, x.round(0), x.round(3)),
        "discount": y.round(1) + 0.05 * x.round(1),
    }[made]
    found = target_leaks.made_from_target(
        config_of(task="regression"), data_of(frame.with_columns(x1=pl.Series(column)))
    )
    told = "x1 has" in found.observed or "x1 is on a line" in found.observed
    assert told is (made in ("filled", "on a line")) and found.verdict != "FAIL", found.observed


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("share", "related", "named"), [(0.3, False, True), (0.3, True, False), (0.0, False, False)])
def test_a_value_of_one_outcome_alone_is_named_where_nothing_else_tells_of_it(
    task: str, share: float, related: bool, named: bool
) -> None:
    """A reason that is written down when the outcome is known; and a mark that others bear out, as an odor does in mushrooms.
    One leak in twenty is related to something by chance."""
    told = []
    for seed in SEEDS:
        random, frame = numbers(seed, 700)
        y = frame["target"].to_numpy()
        late = (y > np.median(y)) & (
            np.argsort(np.argsort(y * (random.random(700) < 0.5) + frame["x2"].to_numpy())) > 400
            if related
            else random.random(700) < share
        )
        reason = np.where(late, "moved", np.where(random.random(700) < 0.5, "none", "other"))
        target = pl.Series(y if task == "regression" else np.where(y > np.median(y), "yes", "no"))
        more = {f"z{i}": frame["x0"] + pl.Series(random.normal(size=700)) for i in range(2)}
        asked = frame.with_columns(target=target, reason=pl.Series(reason), **more)
        found = target_leaks.made_from_target(config_of(task=task), data_of(asked))
        told.append("reason" in found.next)
    assert sum(told) >= 2 if named else not any(told)


@pytest.mark.parametrize("own", [True, False])
def test_target_means_of_a_small_table_fail(own: bool) -> None:
    """Twenty groups that say nothing: too few to show how they rise, but each is the mean of its own rows to the last digit."""
    random = np.random.default_rng(0)
    for _ in range(5):
        frame = table(160, seed=int(random.integers(1000))).with_columns(shop=pl.Series(random.integers(0, 20, 160)))
        y = (frame["target"] == "yes").cast(pl.Float64)
        rate = pl.DataFrame({"shop": frame["shop"], "y": y if own else y.shuffle(seed=1)}).select(
            pl.col("y").mean().over("shop")
        )
        found = target_leaks.made_from_target(config_of(), data_of(frame.drop("shop").with_columns(rate=rate["y"])))
        assert (found.verdict == "FAIL") is own, found.observed


def test_how_far_a_relation_must_show_grows_with_the_columns() -> None:
    """At 2.5 standard errors one of twenty columns is related by chance, and one of three is not."""
    for others, named in ((20, ["a"]), (2, [])):
        tells = {"a": 2.6, **{f"b{i}": 9.0 for i in range(others)}}
        assert target_leaks.aloof(target_leaks.Shown(tells, tells, [])) == named


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("related", "verdict"), [(True, "WARN"), (False, "PASS")])
def test_a_proxy_stands_out_where_nothing_else_tells(related: bool, verdict: str, seed: int) -> None:
    """Five columns that say nothing of the target, but something of each other; and the same without that."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(600, 5)) + related * random.normal(size=(600, 1))
    y = random.random(600) < 0.5
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(5)} | {"target": np.where(y, "yes", "no")})
    leak = np.where(random.random(600) < 0.9, y, ~y).astype(float)
    found = target_leaks.made_from_target(config_of(), data_of(frame.with_columns(leak=pl.Series(leak))))
    assert found.verdict == verdict and ("leak" in found.next) is related, found.observed


@pytest.mark.parametrize("seed", SEEDS)
def test_values_missing_for_one_class_alone_are_named(seed: int) -> None:
    """Few, but all of one class, or of one class of many; the same number at random is none of that."""
    random, frame = np.random.default_rng(seed), table(seed=seed)
    yes = (frame["target"] == "yes").to_numpy()
    for gone, verdict in ((yes & (random.random(600) < 0.12), "WARN"), (random.random(600) < 0.06, "PASS")):
        holes = frame.with_columns(x4=pl.when(pl.Series(gone)).then(None).otherwise(pl.col("x4")))
        assert leakage.missing_tells(config_of(), data_of(holes)).verdict == verdict
    kinds = random.integers(0, 6, 600)
    gone = random.random(600) < np.where(kinds == 2, 0.8, 0.1)
    many = frame.with_columns(
        target=pl.Series([f"k{v}" for v in kinds]), x4=pl.when(pl.Series(gone)).then(None).otherwise(pl.col("x4"))
    )
    found = leakage.missing_tells(config_of(task="multiclass"), data_of(many))
    assert found.verdict == "WARN" and "x4" in found.next


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("shuffled", "verdict"), [(True, "WARN"), (False, "PASS")])
def test_values_missing_at_one_end_of_a_number_are_named(shuffled: bool, verdict: str, seed: int) -> None:
    """But not a stretch of a file that grows: a lag is empty at its start."""
    random, frame = numbers(seed)
    y = np.sort(frame["target"].to_numpy())
    gone = (y < np.quantile(y, 0.3)) & (random.random(500) < 0.6) if shuffled else np.arange(500) < 40
    order = random.permutation(500) if shuffled else np.arange(500)
    column = pl.Series(np.where(gone, np.nan, random.normal(size=500))).fill_nan(None)
    found = leakage.missing_tells(
        config_of(task="regression"), data_of(frame.with_columns(target=pl.Series(y), x1=column)[order])
    )
    assert found.verdict == verdict and ("x1" in found.next) is shuffled, found.observed


def series(seed: int, task: str, n: int = 600) -> tuple[pl.DataFrame, np.ndarray]:
    """Three columns and an outcome that goes on from row to row; its numbers, or 1 for yes."""
    random = np.random.default_rng(seed)
    state = np.zeros(n)
    for i in range(1, n):
        state[i] = 0.8 * state[i - 1] + random.normal()
    y = state if task == "regression" else (state > 0).astype(float)
    slow = np.sin(np.arange(n) / 9)
    frame = pl.DataFrame({"near": state + random.normal(size=n), "slow": slow, "count": np.arange(n) / 3})
    return frame.with_columns(target=pl.Series(y if task == "regression" else np.where(y > 0, "yes", "no"))), y


@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ("rolled", "FAIL"),
        ("rolled before", "PASS"),
        ("so far", "FAIL"),
        ("so far before", "PASS"),
        ("to come", "WARN"),
        ("none", "PASS"),
    ],
)
def test_outcomes_of_this_row_and_of_later_ones_are_told_from_earlier_ones(made: str, verdict: str, task: str) -> None:
    for seed in SEEDS:
        frame, y = series(seed, task)
        outcome, random = pl.Series(y), np.random.default_rng(9)
        column = {
            "rolled": outcome.rolling_mean(5),
            "rolled before": outcome.shift(1).rolling_mean(5),
            "so far": outcome.cum_sum() / np.arange(1, 601),
            "so far before": outcome.cum_sum().shift(1) / np.arange(600).clip(1),
            "to come": (outcome.shift(-1) + outcome.shift(-2)) / 2 + 0.05 * y.std() * random.normal(size=600),
            "none": pl.Series(random.normal(size=600)),
        }[made]
        found = leakage.target_in_time(config_of(task=task), data_of(frame.with_columns(leak=column)))
        assert found.verdict == verdict and ("leak" in found.next) is (verdict != "PASS"), found.observed


def test_windows_end_with_their_group() -> None:
    """Four people one after another: the mean of the last seven rows of each, this row among them."""
    frames = [series(seed, "regression", 150)[0].with_columns(who=pl.lit(f"p{seed}")) for seed in range(4)]
    frame = pl.concat(frames).with_columns(leak=pl.col("target").rolling_mean(7).over("who"))
    settings = {"task": "regression", "group": "who"}
    assert leakage.target_in_time(config_of(**settings), data_of(frame, who="group")).verdict == "FAIL"
    assert leakage.target_in_time(config_of(**settings), data_of(frame.drop("leak"), who="group")).verdict == "PASS"


@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize(("visits", "verdict"), [(1, "PASS"), (5, "WARN")])
def test_visits_of_one_patient_in_a_shuffled_file_are_seen(visits: int, verdict: str, task: str) -> None:
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        x = random.normal(size=(600, 8))
        y = x[:, 0] + 2 * random.normal(size=600)
        who = random.permutation(np.repeat(np.arange(600 // visits), visits))
        seen = pl.DataFrame(x[who] + 0.25 * random.normal(size=(600, 8))).rename(lambda name: f"x{name[7:]}")
        frame = seen.with_columns(
            target=pl.Series(y[who] if task == "regression" else np.where(y[who] > 0, "yes", "no"))
        )
        found = labels.rows_of_one_thing(config_of(task=task), data_of(frame))
        assert found.verdict == verdict, found.observed
        assert labels.rows_of_one_thing(config_of(task=task, group="x0"), data_of(frame)).verdict == "NOT APPLICABLE"
