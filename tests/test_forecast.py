"""Forecasts: an example knows what was known at its origin and nothing of what came later; the simplest forecasts by hand; bad
settings; and the whole recipe on one series and on several."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from inside import Inside
from my_model.config import make_config
from my_model.engine.splits import assign
from my_model.errors import UserError
from my_model.sequence.baseline import baselines
from my_model.sequence.recipe import TASK, Config
from my_model.task import Data

torch.set_num_threads(1)
SETTINGS = {"task": "regression", "target": "load", "step": "day", "time": "day", "horizon": 7, "season": 7, "max_length": 28}


def demand(days: int = 420, places: tuple[str, ...] = ("north", "south"), seed: int = 0) -> pl.DataFrame:
    """Two years of days: a level that drifts, a week that repeats itself, noise, gaps, and the temperature beside it."""
    random, rows = np.random.default_rng(seed), []
    for number, place in enumerate(places):
        level = 50.0 + 20 * number
        for day in range(days):
            level += float(random.normal()) / 4
            warm = round(float(10 * np.sin(day / 58) + random.normal()), 2)
            load = None if random.random() < 0.02 else round(level + (0, 1, 2, 2, 1, -6, -8)[day % 7] + float(random.normal()) / 2, 2)
            rows.append((place, day, load, warm))
    return pl.DataFrame(rows, schema=["place", "day", "load", "warm"], orient="row", infer_schema_length=None)


def config_of(**settings: Any) -> Config:
    small = {"modality": "sequence", "hidden": 8, "layers": 1, "device": "cpu", "series": "place"}
    return make_config(Config, {**small, **SETTINGS, **settings}, "test")  # type: ignore[return-value]


def loaded(root: Path, frame: pl.DataFrame, **settings: Any) -> tuple[Config, Data]:
    (root / "data").mkdir(exist_ok=True)
    frame.write_csv(root / "data" / "train.csv")
    config = config_of(**settings)
    return config, TASK.load(config, root)


def test_every_value_is_predicted_once_from_what_was_known(tmp_path: Path) -> None:
    frame = demand()
    data = loaded(tmp_path, frame.sample(fraction=1, shuffle=True, seed=1))[1]
    assert data.roles == {
        "place": "id", "load": "target", "day": "time", "ahead": "numeric", "past load": "series", "warm": "series",
    }  # fmt: skip
    known = frame.filter((pl.col("day") >= 7) & pl.col("load").is_not_null())
    assert data.frame["place", "day", "load"].sort("place", "day").equals(known["place", "day", "load"].sort("place", "day"))
    for row in data.frame.sample(100, seed=2).iter_rows(named=True):
        origin = row["day"] - row["ahead"] + 1
        assert (origin - 7) % 7 == 0 and 1 <= row["ahead"] <= 7
        told = frame.filter((pl.col("place") == row["place"]) & pl.col("day").is_between(max(origin - 28, 0), origin - 1))
        assert json.loads(row["past load"]) == told["load"].to_list() and json.loads(row["warm"]) == told["warm"].to_list()


def test_a_file_with_one_series_needs_no_column_for_it(tmp_path: Path) -> None:
    frame = demand(places=("north",))
    data = loaded(tmp_path, frame.drop("place"), series="")[1]
    assert data.frame.equals(loaded(tmp_path, frame)[1].frame.drop("place"))


def test_a_table_of_one_series_is_told_how_it_is_forecast(tmp_path: Path) -> None:
    config = {"series": "", "step": "", "time": "", "horizon": 0, "season": 0}
    with pytest.raises(UserError, match="where the file is one series, set horizon, step and time to forecast it"):
        loaded(tmp_path, demand(places=("north",)).select("day", "load"), **config)


def test_parts_lie_one_after_the_other(tmp_path: Path) -> None:
    config, data = loaded(tmp_path, demand())
    part, day = assign(config, data), data.frame["day"].to_numpy()
    assert [day[part == n].max() < day[part == n + 1].min() for n in (0, 1)] == [True, True]


def test_the_simplest_forecasts_are_those_done_by_hand(tmp_path: Path) -> None:
    frame = demand()
    config, data = loaded(tmp_path, frame)
    prep = TASK.prepare(config, data)
    found = baselines(config, prep, data)
    assert list(found)[:2] == ["last_value", "seasonal_naive"]
    for name in found:
        (tmp_path / name).mkdir()
        found[name].save(tmp_path / name)
        assert np.allclose(found[name].predict(data), TASK.load_baseline(config, prep, tmp_path / name).predict(data), atol=1e-5), name
    value = {(place, day): load for place, day, load in frame["place", "day", "load"].iter_rows()}
    last, seasonal = (found[n].predict(data)[:, 0] * prep["target_scale"] + prep["target_mean"] for n in ("last_value", "seasonal_naive"))
    for i, row in enumerate(data.frame.iter_rows(named=True)):
        origin = row["day"] - row["ahead"]
        before = next(value[row["place"], day] for day in range(origin, -1, -1) if value[row["place"], day] is not None)
        assert last[i] == pytest.approx(before, abs=1e-3)
        again = value[row["place"], row["day"] - 7]
        assert seasonal[i] == pytest.approx(before if again is None else again, abs=1e-3)


def test_the_season_is_found_again_in_a_horizon_longer_than_it(tmp_path: Path) -> None:
    config, data = loaded(tmp_path, demand(places=("north",)), horizon=20)
    prep = TASK.prepare(config, data)
    rows = data.frame.with_row_index().filter(pl.col("ahead").is_in([3, 10, 17]) & (pl.col("day") > 40))
    values = baselines(config, prep, data, "seasonal_naive")["seasonal_naive"].predict(data)[:, 0]
    for _, same in rows.with_columns(origin=pl.col("day") - pl.col("ahead")).group_by("origin"):
        assert len(set(values[same["index"].to_numpy()])) == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"task": "binary"}, "horizon = 7 predicts numbers; set task = 'regression', not 'binary'"),
    ({"time": ""}, "horizon = 7 needs step and time, both the column that orders the rows; step is 'day' and time ''"),
    ({"step": "", "time": ""}, "horizon = 7 needs step and time"),
    ({"horizon": 0, "time": ""}, "season = 7 is for a forecast: it needs a horizon"),
    ({"max_length": 5}, "season = 7 is for a forecast: it needs a horizon, and max_length = 5 of a season or more"),
    ({"series": "where"}, "series names column 'where'"),
    ({"target": "lode"}, "target names column 'lode'.*did you mean 'load'"),
    ({"target": "place", "series": ""}, "column 'place' of .*, which holds no numbers: 'north'"),
    ({"season": 28, "max_length": 28, "horizon": 500, "data": "data/short.csv"}, "no series of .* has more than 28 steps"),
    ({"max_length": 65_536, "data": "data/long.csv"}, "makes examples of .* lower max_length = 65536"),
]


@pytest.mark.parametrize(("settings", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_what_cannot_be_forecast_is_refused_in_a_sentence(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    (tmp_path / "data").mkdir()
    demand(20).write_csv(tmp_path / "data" / "short.csv")
    if "long" in str(settings):
        demand(9_000, ("north",)).write_csv(tmp_path / "data" / "long.csv")
    with pytest.raises(UserError, match=words):
        loaded(tmp_path, demand(40), **settings)


def walk(root: Path, frame: pl.DataFrame, **settings: Any) -> Inside:
    inside = Inside(root, modality="sequence", iid="", **{**SETTINGS, "hidden": 8, "layers": 1, "lr": 0.01, "epochs": 4, **settings})
    frame.write_csv(root / "data" / "train.csv")
    for step in ("audit", "split", "baseline", "check", "train", "evaluate", "export", "promote"):
        answer = inside.recipe(step)
        assert answer.status == 0, (step, answer.output)
    verdicts = {f["check"]: f["verdict"] for step in ("audit", "split", "check") for f in inside.record(step)["findings"]}
    assert {name: v for name, v in verdicts.items() if v in ("WARN", "FAIL")} == {}
    assert [verdicts[n] for n in ("refit", "permuted labels", "no mixing", "decoded back", "time steps")] == ["PASS"] * 5
    return inside


def test_the_whole_recipe_on_several_series(tmp_path: Path) -> None:
    frame = demand().with_columns(height=pl.when(pl.col("place") == "north").then(740.0).otherwise(12.5))
    inside = walk(tmp_path, frame, series="place", static=["height"])
    scores = {name: one["metrics"]["rmse"]["value"] for name, one in inside.record("baseline")["result"]["baselines"].items()}
    assert scores["seasonal_naive"] < scores["last_value"] < scores["mean"]
    new = frame.filter(pl.col("day") > 380)
    new.write_csv(tmp_path / "data" / "new.csv")
    assert inside.recipe("predict", "data/new.csv").status == 0
    found = pl.read_csv(tmp_path / "data" / "new.predicted.csv")
    assert found["place", "ahead"].rows() == [(place, ahead) for place in ("north", "south") for ahead in range(1, 8)]
    # rows of days to come, still without a load, do not move the end of what is known
    later = [(place, day, None, 0.0, height) for place, height in (("north", 740.0), ("south", 12.5)) for day in (420, 421)]
    pl.concat([new, pl.DataFrame(later, schema=new.schema, orient="row")]).write_csv(tmp_path / "data" / "open.csv")
    assert inside.recipe("predict", "data/open.csv").status == 0
    opened = pl.read_csv(tmp_path / "data" / "open.predicted.csv")
    assert opened["prediction"].to_list() == found["prediction"].to_list()
    watched = inside.recipe("monitor", "data/new.csv")
    assert re.search(r"PASS +rejected rows", watched.output), watched.output


def test_the_whole_recipe_on_one_series_with_dates(tmp_path: Path) -> None:
    dates = pl.date_range(pl.date(2023, 1, 1), pl.date(2024, 2, 24), eager=True)
    frame = demand(places=("north",)).select(pl.lit(dates).alias("day"), "load", "warm")
    inside = walk(tmp_path, frame, series="", model="gru")
    assert inside.recipe("predict", "data/train.csv").status == 0
    assert pl.read_csv(tmp_path / "data" / "train.predicted.csv").height == 7


def smoothed(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """Each load is the mean with the three days after it: the last of what is known says what comes."""
    return frame.with_columns(pl.col("load").reverse().rolling_mean(4, min_samples=1).reverse())


def filled_from_behind(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    return frame.with_columns(pl.col("load").fill_null(strategy="backward"))


def standardized(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    return frame.with_columns((pl.col("load") - pl.col("load").mean()) / pl.col("load").std())


def one_step_late(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """The temperature of a day stands in the row of the day before."""
    return frame.with_columns(pl.col("warm").shift(-1))


@pytest.mark.parametrize("change", [smoothed, filled_from_behind, standardized, one_step_late])
def test_what_looks_ahead_of_its_origin_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    import my_model.sequence.table as tables

    windows = tables.windows
    monkeypatch.setattr(tables, "windows", lambda config, frame, *rest: windows(config, change(frame, config), *rest))
    inside = Inside(tmp_path, modality="sequence", iid="", **{**SETTINGS, "hidden": 8, "layers": 1, "series": ""})
    frame = demand(places=("north",)).drop("place")
    gaps = pl.when(pl.col("day") % 7 == 6).then(None).otherwise("load")  # the day before each origin, a Sunday
    (frame.with_columns(load=gaps) if change is filled_from_behind else frame).write_csv(tmp_path / "data" / "train.csv")
    project = inside.module("cli").open_project(inside.module("cli").parse(["check", "--quiet", "--project", str(tmp_path)]))
    raw = inside.module("checks.leak_probes")._raw(project)
    found = inside.module("checks.leak_probes")._known_then(SimpleNamespace(task=project.task), project, raw)
    assert found.verdict == "FAIL" and "was known at an origin moves" in found.observed, found
