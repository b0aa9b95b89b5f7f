"""Series: how tables of both shapes are read, that no network sees the padding, and the whole recipe on waves that are made up."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import TEMPLATE, bake, environment
from inside import Inside
from my_model.config import make_config
from my_model.engine.callback import Callback
from my_model.engine.loop import fit, plan, step
from my_model.engine.losses import make_loss
from my_model.engine.optim import make_optimizer
from my_model.engine.splits import assign
from my_model.errors import Stopped, UserError
from my_model.sequence import data as of_data
from my_model.sequence import features
from my_model.sequence.recipe import TASK, Config
from my_model.task import Data
from recipe_kit.checks.of_kind import of_kind

torch.set_num_threads(1)
MODELS = ("conv", "lstm", "gru", "transformer")
WIDE: dict[str, Any] = {"series": "", "step": ""}
LONG = {"series": "who", "step": "at", "static": ["place"], "target": "speed"}


def waves(n: int = 120, seed: int = 0, task: str = "binary") -> pl.DataFrame:
    """A long table: slow and fast waves of 8 to 20 steps, beside them noise with gaps, and where each was measured."""
    random, rows = np.random.default_rng(seed), []
    for i in range(n):
        length, fast, start = int(random.integers(8, 21)), i % 2, random.uniform(0, 6)
        y: Any = ("slow", "fast")[fast] if task == "binary" else round(0.5 + 0.9 * fast + random.normal() / 10, 3)
        place = str(random.choice(["hill", "lake"]))
        for at in range(length):
            wave = round(5 * np.sin(start + at * (0.5 + 0.9 * fast)) + random.normal() / 3 + 20, 3)
            noise = None if random.random() < 0.1 else round(float(random.normal()), 3)
            rows.append((f"w{i:03d}", at, place, wave, noise, y))
    return pl.DataFrame(
        rows, schema=["who", "at", "place", "wave", "noise", "speed"], orient="row", infer_schema_length=None
    )


def wide(long: pl.DataFrame) -> pl.DataFrame:
    """The same with one row a series, its channels lists."""
    once = [pl.col(name).first() for name in ("place", "speed")]
    return long.group_by("who", maintain_order=True).agg(*once, "wave", "noise").drop("who")


def config_of(**settings: Any) -> Config:
    small = {"modality": "sequence", "iid": "one by one", "hidden": 8, "layers": 1, "device": "cpu", "batch_size": 16}
    return make_config(Config, {**small, **settings}, "test")  # type: ignore[return-value]


def loaded(root: Path, frame: pl.DataFrame, **settings: Any) -> tuple[Config, Data]:
    (root / "data").mkdir(exist_ok=True)
    frame.write_csv(root / "data" / "train.csv")
    config = config_of(**{**LONG, **settings})
    return config, TASK.load(config, root)


def prepared(root: Path, **settings: Any) -> tuple[Config, dict[str, Any], Data]:
    config, data = loaded(root, waves(40), **settings)
    return config, TASK.prepare(config, data), data


def as_csv(frame: pl.DataFrame) -> pl.DataFrame:
    lists = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    return frame.with_columns(pl.Series(n, [json.dumps(v.to_list()) for v in frame[n]]) for n in lists)


def test_a_long_table_and_tables_of_lists_are_read_alike(tmp_path: Path) -> None:
    long = waves(30)
    shuffled = long.sample(fraction=1, shuffle=True, seed=1)
    data = loaded(tmp_path, shuffled)[1]
    assert data.frame["who"].to_list() == shuffled["who"].unique(maintain_order=True).to_list()
    data = loaded(tmp_path, long)[1]
    assert len(data) == 30 and data.roles["wave"] == data.roles["noise"] == "series"
    assert (data.roles["who"], data.roles["place"], data.roles["speed"]) == ("id", "categorical", "target")
    assert json.loads(data.frame["wave"][3]) == long.filter(pl.col("who") == "w003")["wave"].to_list()
    lists = wide(long)
    as_csv(lists).write_csv(tmp_path / "data" / "lists.csv")
    lists.write_ndjson(tmp_path / "data" / "lists.jsonl")
    lists.write_parquet(tmp_path / "data" / "lists.parquet")
    for end in ("csv", "jsonl", "parquet"):
        for channels in ([], ["wave", "noise"]):
            config = config_of(data=f"data/lists.{end}", static=["place"], target="speed", channels=channels)
            found = TASK.load(config, tmp_path)
            assert found.frame.equals(data.frame[found.frame.columns]), end
            assert found.columns("series") == ["wave", "noise"]


def by_step(long: pl.DataFrame, name: Callable[[str, int], str]) -> pl.DataFrame:
    """The same with a column for each step of a channel, in an order that is none, empty behind the end."""
    columns = {
        name(channel, at): [row[at] if at < len(row) else None for row in wide(long)[channel].to_list()]
        for at in (3, 0, *range(19, 3, -1), 2, 1)
        for channel in ("wave", "noise")
    }
    return wide(long)[["place", "speed"]].hstack(pl.DataFrame(columns, infer_schema_length=None))


NAMES: dict[str, Callable[[str, int], str]] = {
    "wave_3": lambda channel, at: f"{channel}_{at}",
    "wave03": lambda channel, at: f"{channel}{at:02d}",
    "wave[3]": lambda channel, at: f"{channel}[{at}]",
    "('wave', 3)": lambda channel, at: f"('{channel}', {at})",
    "3_wave": lambda channel, at: f"{at}_{channel}",
    "wave_-7": lambda channel, at: f"{channel}_{at - 10}",
    "wave 0.75": lambda channel, at: f"{channel} {at / 4}",
}


@pytest.mark.parametrize("style", NAMES)
def test_a_wide_table_is_read_as_the_long_one(tmp_path: Path, style: str) -> None:
    long = waves(30)
    expected = loaded(tmp_path, long)[1].frame
    frame = by_step(long, NAMES[style])
    frame.write_csv(tmp_path / "data" / "wide.tsv", separator="\t", null_value="NaN")
    frame.write_ndjson(tmp_path / "data" / "wide.jsonl")
    frame.write_parquet(tmp_path / "data" / "wide.parquet")
    for end in ("tsv", "jsonl", "parquet"):
        for channels in ([], ["wave", "noise"]):
            config = config_of(data=f"data/wide.{end}", static=["place"], target="speed", channels=channels)
            found = TASK.load(config, tmp_path)
            assert set(found.columns("series")) == {"wave", "noise"} and found.roles["place"] == "categorical"
            assert found.frame.equals(expected[found.frame.columns]), end


@pytest.mark.parametrize(
    ("columns", "settings", "channels"),
    [
        (["0", "1", "10", "2"], {}, {"value": ["0", "1", "2", "10"]}),
        (["4000", "3990", "3980"], {}, {"value": ["4000", "3990", "3980"]}),
        (["23:00", "00:00", "01:00"], {}, {"value": ["23:00", "00:00", "01:00"]}),
        (["t_2013-12", "t_2014-01", "t_2014-02"], {}, {"t": ["t_2013-12", "t_2014-01", "t_2014-02"]}),
        (["pm10_1", "pm10_2", "pm10_0"], {}, {"pm10": ["pm10_0", "pm10_1", "pm10_2"]}),
        (["temp", "temp.1", "temp.2"], {}, {"temp_steps": ["temp", "temp.1", "temp.2"]}),
        (["label_1", "label_2", "label_3"], {}, {"label_steps": ["label_1", "label_2", "label_3"]}),
        (["a_1", "a_2", "a_3", "dose_1", "dose_2"], {"static": ["dose_1", "dose_2"]}, {"a": ["a_1", "a_2", "a_3"]}),
        (["a_1", "a_2", "a_3", "dose_1", "dose_2"], {"channels": ["dose"]}, {"dose": ["dose_1", "dose_2"]}),
    ],
)
def test_what_the_names_of_columns_say(
    tmp_path: Path, columns: list[str], settings: dict[str, Any], channels: dict[str, list[str]]
) -> None:
    (tmp_path / "data").mkdir()
    rows = np.arange(len(columns) * 12).reshape(12, -1)
    frame = pl.DataFrame({"label": ["a", "b"] * 6, **{name: rows[:, i] for i, name in enumerate(columns)}})
    frame.write_csv(tmp_path / "data" / "train.csv")
    data = TASK.load(config_of(target="label", **settings), tmp_path)
    first = {name: json.loads(data.frame[name][1]) for name in data.columns("series")}
    assert first == {name: [frame[column][1] for column in steps] for name, steps in channels.items()}


def test_a_series_of_a_wide_table_ends_with_its_last_value(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("y,a1,a2,a3,b1,b2,b3\n" + "u,1,,3,,,\nv,,2,,4,,\nu,7,,,,,\n" * 4)
    found = TASK.load(config_of(target="y"), tmp_path).frame
    assert found["a"][:3].to_list() == ["[1.0, null, 3.0]", "[null, 2.0]", "[7.0]"]
    assert found["b"][:3].to_list() == ["[null, null, null]", "[4.0, null]", "[null]"]


BAD: list[tuple[Callable[[pl.DataFrame], pl.DataFrame], dict[str, Any], str]] = [
    (lambda f: f, {"series": "whose"}, "series names column 'whose'.*did you mean 'who'"),
    (lambda f: f, {"step": "place"}, "step = 'place' of .* holds text such as"),
    (lambda f: f, {"static": ["plaice"]}, "static names column 'plaice'.*did you mean 'place'"),
    (lambda f: f, {"channels": ["wave", "place"]}, "both name column|holds no numbers|'place' of .* is read as numbers"),
    (lambda f: f, {"channels": ["wave", "speed"]}, "names column 'speed', which is target"),
    (lambda f: f, {"drop": ["wave", "noise"]}, "no column of numbers left for a channel"),
    (lambda f: f, {"drop": ["place"]}, "drop holds 'place'"),
    (lambda f: f, {"series": ""}, "step = 'at' orders the rows of a series; set series"),
    (lambda f: f, {"series": "", "step": ""}, "has no column of lists such as .* set series"),
    (lambda f: f, {"hidden": 10, "model": "transformer"}, "hidden = 10 is no multiple of the 4 heads; use 12"),
    (lambda f: f, {"task": "multiclass", "target": "place", "static": []}, ""),
    (lambda f: f.with_columns(speed=pl.when(pl.col("at") > 5).then(pl.lit("odd")).otherwise("speed")), {}, "'speed' of .* has 2 values in series 'w000'"),
    (lambda f: f.with_columns(who=pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("who")), {}, "without a value in series = 'who'"),
    (lambda f: f.with_columns(at=pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("at")), {}, "without a value in step = 'at'"),
    (lambda f: as_csv(wide(f)).with_columns(pl.lit("[1, a]").alias("wave")), {"series": "", "step": "", "channels": ["wave"]}, r"holds '\[1, a\]', which is not a list of numbers"),
    (lambda f: as_csv(wide(f)).with_columns(pl.lit("[1.5]").alias("wave")), {"series": "", "step": ""}, "row 1 has channels of different lengths: 1 in 'wave' and"),
    (lambda f: as_csv(wide(f)).with_columns(wave=pl.lit("[]"), noise=pl.lit("[]")), {"series": "", "step": ""}, "row 1 is a series without a step"),
    (lambda f: by_step(f, NAMES["wave_3"]).rename({"wave_1": "wave_03"}), WIDE, "columns 'wave_3' and 'wave_03' of .* are of one step"),
    (lambda f: by_step(f, NAMES["wave_3"]).head(0), WIDE, "has a header but no rows"),
    (lambda f: by_step(f, NAMES["wave_3"]).drop("noise_7"), WIDE, "differ in their steps: 'wave' has 20 .wave_3, .* 'noise' has 19 .* in static or drop"),
    (lambda f: by_step(f, NAMES["wave_3"]), WIDE | {"channels": ["waves"]}, "channels names column 'waves'.* did you mean 'wave'"),
    (lambda f: by_step(f, NAMES["wave_3"]).cast({"wave_3": pl.String}).with_columns(wave_3=pl.lit("?")), WIDE, r"column 'wave_3' of .* holds '\?' \(12 such\)"),
    (lambda f: by_step(f, lambda c, at: f"{c}_{at}" if c == "wave" and at < 2 else f"{c} {'abcdefghijklmnopqrst'[at]}"), WIDE, "no 3 columns of numbers named by their step"),
    (lambda f: by_step(f, lambda c, at: str(np.sin(at) + (c == "wave"))), WIDE, "begins with .* and no names; put a header above it"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "settings", "sentence"), BAD, ids=[words[:40] or "sound" for *_, words in BAD])
def test_bad_input_gets_one_sentence(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], settings: dict[str, Any], sentence: str
) -> None:
    if not sentence:
        assert len(loaded(tmp_path, change(waves(12)), **settings)[1]) == 12
        return
    with pytest.raises(UserError, match=sentence) as error:
        loaded(tmp_path, change(waves(12)), **settings)
    assert "\n" not in str(error.value)


def test_scales_are_those_of_the_training_part_and_rows_decode_back(tmp_path: Path) -> None:
    config, prep, data = prepared(tmp_path, max_length=12)
    part = assign(config, data)
    train = data.take(np.flatnonzero(part == 0))
    fitted = TASK.prepare(config, train)
    far = train.frame["wave"].to_list()
    known = np.concatenate([json.loads(one)[-12:] for one in far])
    assert fitted["channels"]["wave"] == {
        "center": pytest.approx(known.mean()),
        "scale": pytest.approx(known.std()),
        "missing": False,
    }
    assert fitted["channels"]["noise"]["missing"]
    examples = TASK.examples(config, prep, data)
    assert int(examples.lengths.max()) == 12  # type: ignore[union-attr]
    batch = next(iter(examples.batches([torch.tensor([5, 0, 7])])))
    shown, steps = TASK.show(prep, batch, 0), json.loads(data.frame["wave"][5])[-12:]
    assert shown["steps"] == len(steps) and shown["place"] == data.frame["place"][5]
    assert [float(word) for word in shown["wave"].split(", ")] == pytest.approx(steps, rel=1e-3)
    gaps = [value is None for value in json.loads(data.frame["noise"][5])[-12:]]
    assert [word == "gap" for word in shown["noise"].split(", ")] == gaps
    assert (
        batch.x["values"].shape == (3, 3, 12)
        and not batch.x["values"][~batch.x["mask"].bool()[:, None].expand(-1, 3, -1)].any()
    )


def test_each_series_by_itself_forgets_its_level_and_its_size(tmp_path: Path) -> None:
    _, prep, data = prepared(tmp_path, scaling="series")
    larger = data.frame.with_columns(
        pl.Series("wave", [json.dumps([7 * v + 100 for v in json.loads(one)]) for one in data.frame["wave"]])
    )
    one, other = (of_data.encode(prep, frame)[0] for frame in (data.frame, larger))
    assert np.allclose(one, other, atol=1e-5)
    level = np.array([[3.3], [3.3], [3.3], [1.0], [2.0]])
    assert of_data.by_series(level, np.array([0, 3, 5])).ravel().tolist() == [0, 0, 0, -1, 1]


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_no_output_and_no_gradient(tmp_path: Path, name: str) -> None:
    """A series alone, in a batch of longer ones, and behind it any number of steps that are not there, whatever they hold."""
    config, prep, data = prepared(tmp_path, model=name, layers=2)
    examples, network = TASK.examples(config, prep, data), TASK.model(config, prep)
    batch = next(iter(examples.batches([torch.arange(12)])))
    b, c, _ = batch.x["values"].shape
    rubbish = torch.full((b, c, 9), 1e4)
    longer = {
        **batch.x,
        "values": torch.cat([batch.x["values"], rubbish], 2),
        "mask": torch.nn.functional.pad(batch.x["mask"], (0, 9)),
    }
    found = []
    for x in (batch.x, longer):
        network.zero_grad()
        out = network(x)
        out.square().sum().backward()
        found.append([out.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    assert len(found[0]) > 4 and all(torch.allclose(p, q, atol=1e-5, rtol=1e-4) for p, q in zip(*found, strict=True))
    network.eval()
    with torch.inference_mode():
        alone = torch.cat([network(next(iter(examples.batches([torch.tensor([i])]))).x) for i in range(12)])
        assert torch.allclose(network(batch.x), alone, atol=1e-6)
        assert not torch.allclose(alone[0], alone[1], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_every_network_learns_waves(tmp_path: Path, name: str, task: str) -> None:
    torch.manual_seed(0)
    config, data = loaded(tmp_path, waves(64, task=task), task=task, model=name, lr=0.01, hidden=16)
    prep = TASK.prepare(config, data)
    examples, network = TASK.examples(config, prep, data), TASK.model(config, prep).train()
    optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
    losses = []
    for epoch in range(40):
        for batch in examples.batches(plan(examples, 32, 0, epoch)):
            losses.append(step(network, [batch], loss, optimizer, config) / len(batch.y))
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:2])


def test_summaries_are_what_their_names_say(tmp_path: Path) -> None:
    x = [3.0, float("nan"), 1.0, 4.0, 1.0, 5.0]
    values = np.array([*x, 2.0, 2.0])[:, None]
    told = features.summaries(values, np.array([0, 6, 8]))
    known, at = np.array([3.0, 1, 4, 1, 5]), np.array([0.0, 2, 3, 4, 5])
    named = dict(zip(features.TOLD, told[0, 1:], strict=True))
    assert told[:, 0].tolist() == [6, 2]
    assert named["mean"] == pytest.approx(known.mean()) and named["sd"] == pytest.approx(known.std())
    assert [named[n] for n in ("min", "max", "first", "last", "median")] == [1, 5, 3, 5, 3]
    assert named["slope"] == pytest.approx(np.polyfit(at, known, 1)[0]) and named["gaps"] == pytest.approx(1 / 6)
    assert named["change"] == pytest.approx(np.mean([3, 3, 4]))
    centered = np.array(x) - known.mean()
    assert named["autocorrelation 1"] == pytest.approx(np.nanmean(centered[1:] * centered[:-1]) / known.var())
    assert told[1, 1] == 2 and np.isnan(told[1, 1 + features.TOLD.index("autocorrelation 1")])


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_baselines_come_back_from_their_files(tmp_path: Path, task: str) -> None:
    config, data = loaded(tmp_path, waves(80, task=task), task=task)
    prep = TASK.prepare(config, data)
    found = TASK.baselines(config, prep, data)
    assert set(found) == ({"logistic", "rbf_svc", "lightgbm"} if task == "binary" else {"ridge", "lightgbm"})
    for name, fitted in found.items():
        folder = tmp_path / name
        folder.mkdir()
        fitted.save(folder)
        again = TASK.load_baseline(config, prep, folder)
        assert np.allclose(again.predict(data), fitted.predict(data), atol=1e-5), name
    (tmp_path / "lightgbm" / "lightgbm.txt").write_text("tree\n")
    with pytest.raises(UserError, match="is not the model that was saved there"):
        TASK.load_baseline(config, prep, tmp_path / "lightgbm")


def test_the_trees_are_read_as_those_of_tables_are() -> None:
    package = TEMPLATE / "src" / "{{cookiecutter.package}}"
    assert (package / "sequence" / "trees.py").read_text() == (package / "tabular" / "trees.py").read_text()


def said(config: Config, data: Data) -> dict[str, Any]:
    return {found.check: found for found in of_kind(config, "audit")(config, data)}


def test_the_audit_of_sound_series_is_silent(tmp_path: Path) -> None:
    found = said(*loaded(tmp_path, waves()))
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(
        ("time steps", "columns left out", "constant channels", "row number as channel", "mark of one class", "length and padding"),
        "PASS",
    )


def cut_by_class(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter((pl.col("speed") == "slow") | (pl.col("at") < 8))


def padded_by_class(frame: pl.DataFrame) -> pl.DataFrame:
    cut = (pl.col("speed") == "fast") & (pl.col("at") < 3)
    return frame.with_columns(pl.when(cut).then(0.0).otherwise(pl.col(n)).alias(n) for n in ("wave", "noise"))


def ended_by_class(frame: pl.DataFrame, mark: float | None = 9.0) -> pl.DataFrame:
    """Half of the fast waves end with a value that somebody set when the answer was known."""
    number = pl.col("who").str.slice(1).cast(pl.Int64)
    last = (pl.col("at") == pl.col("at").max().over("who")) & (pl.col("speed") == "fast") & (number % 4 == 1)
    return frame.with_columns(pl.when(last).then(pl.lit(mark, pl.Float64)).otherwise("noise").alias("noise"))


INJECTED: list[tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str]] = [
    (lambda f: f.with_columns(at=pl.col("at") + (pl.col("at") > 6) * 3), "time steps", r"of .* steps are not; 0 rows"),
    (
        lambda f: pl.concat([f, f.filter(pl.col("at") == 4)]),
        "time steps",
        "120 rows have the at of the row before, in 120 series",
    ),
    (lambda f: f.with_columns(noise=pl.lit(1.5)), "constant channels", "the same in all series: noise"),
    (lambda f: f.with_columns(noise=pl.col("noise").mean().over("who")), "constant channels", "noise 100.0%"),
    (lambda f: f.with_row_index("row"), "row number as channel", "row numbers the rows"),
    (lambda f: f.with_columns(row=pl.int_range(f.height).shuffle(1) + 7), "row number as channel", "row numbers the rows"),
    (cut_by_class, "length and padding", "the length"),
    (padded_by_class, "length and padding", "the zeros at the start"),
    (ended_by_class, "mark of one class", "^noise ends with 9 in [1-3][0-9] series, all of one class$"),
    (lambda f: ended_by_class(f.with_columns(pl.col("noise").fill_null(0.5)), None), "mark of one class", "noise ends with a gap in "),
]


@pytest.mark.parametrize(
    ("inject", "check", "words"), INJECTED, ids=[f"{check}: {words[:24]}" for _, check, words in INJECTED]
)
def test_the_audit_finds_the_injected_fault(
    tmp_path: Path, inject: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str
) -> None:
    found = said(*loaded(tmp_path, inject(waves())))
    assert found[check].verdict == "WARN" and re.search(words, found[check].observed), found[check].observed
    beside = {"mark of one class"}  # padding of one class is one, too
    assert {name for name, one in found.items() if one.verdict != "PASS"} - beside == {check} - beside


def test_the_audit_names_columns_that_nothing_reads(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    frame = by_step(waves(), NAMES["wave_3"]).with_columns(age=pl.int_range(120) % 50, id=pl.int_range(120), site=pl.lit("x"))
    frame.write_csv(tmp_path / "data" / "train.csv")
    for settings, left in (({}, "place, age"), ({"static": ["place"], "drop": ["age"]}, "none")):
        config = config_of(target="speed", **settings)
        found = said(config, TASK.load(config, tmp_path))
        assert found.pop("columns left out").observed == left
        assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(found, "PASS")


def test_row_numbers_of_a_file_sorted_by_class_fail(tmp_path: Path) -> None:
    found = said(*loaded(tmp_path, waves().sort("speed", maintain_order=True).with_row_index("row"), drop=["noise"]))
    assert found["row number as channel"].verdict == "FAIL" and 'drop = ["noise", "row"]' in found["row number as channel"].next


class Signal(Callback):
    """SIGTERM in the middle of an epoch."""

    def on_step(self, step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", ["conv", "lstm", "transformer"])
def test_a_run_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path, name: str) -> None:
    config, data = loaded(tmp_path, waves(60), model=name, epochs=3, dropout=0.2, patience=0)
    prep = TASK.prepare(config, data)
    examples = TASK.examples(config, prep, data)
    whole = fit(config, TASK, prep, examples, examples, tmp_path / "whole")[0].state_dict()
    with pytest.raises(Stopped):
        fit(config, TASK, prep, examples, examples, tmp_path / "cut", callbacks=[Signal()])
    again = fit(config, TASK, prep, examples, examples, tmp_path / "cut", resume=True)[0].state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A project on waves in a long table, from audit to export."""
    root = tmp_path_factory.mktemp("waves")
    small = {"hidden": 8, "layers": 1, "lr": 0.01, "epochs": 6, "batch_size": 16}
    inside = Inside(root, modality="sequence", task="binary", **LONG, **small)
    waves().write_csv(root / "data" / "train.csv")
    for words in (
        ["audit"],
        ["split"],
        ["baseline"],
        ["check"],
        ["train"],
        ["diagnose"],
        ["evaluate"],
        ["report"],
        ["export"],
        ["promote"],
    ):
        answer = inside.recipe(*words)
        assert answer.status == 0, (words, answer.output)
    return inside


def test_the_whole_recipe_and_every_check_on_sound_series(walked: Inside) -> None:
    verdicts = {
        f["check"]: f["verdict"] for step in ("audit", "split", "check") for f in walked.record(step)["findings"]
    }
    assert {name: v for name, v in verdicts.items() if v in ("WARN", "FAIL")} == {}
    applied = (
        "refit",
        "permuted labels",
        "no mixing",
        "overfit a batch",
        "decoded back",
        "rows and labels",
        "duplicate rows",
    )
    assert [name for name in applied if verdicts[name] != "PASS"] == []
    assert walked.record("train")["result"]["metrics"]["auc"]["value"] > 0.9
    page = (walked.root / "report.html").read_text()
    assert "length and padding" in page


def test_series_to_predict_are_gathered_and_answered_alike_in_every_shape(walked: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = waves(12, seed=5)
    frame.drop("speed").write_csv(walked.root / "data" / "new.csv")
    monkeypatch.chdir(walked.root)
    lists = frame.group_by("who", maintain_order=True).agg(pl.col("place").first(), "wave", "noise")
    lists.write_ndjson(walked.root / "data" / "new.jsonl")
    assert walked.recipe("predict", "data/new.jsonl").status == 0
    assert walked.recipe("predict", "data/new.csv").status == 0
    of_steps = pl.read_csv(walked.root / "data" / "new.predicted.csv")
    found = [
        json.loads(line) for line in (walked.root / "data" / "new.predicted.jsonl").read_text().split("\n") if line
    ]
    assert [row["who"] for row in found] == frame["who"].unique(maintain_order=True).to_list()
    assert np.mean([row["prediction"] == ("slow", "fast")[i % 2] for i, row in enumerate(found)]) > 0.8
    as_csv(wide(frame)).write_csv(walked.root / "data" / "lists.csv")
    assert walked.recipe("predict", "data/lists.csv").status == 0
    with_lists = pl.read_csv(walked.root / "data" / "lists.predicted.csv")
    by_step(frame, NAMES["wave_3"]).drop("speed").write_csv(walked.root / "data" / "wide.csv")
    assert walked.recipe("predict", "data/wide.csv").status == 0
    with_steps = pl.read_csv(walked.root / "data" / "wide.predicted.csv")
    for other in (with_lists, of_steps, with_steps):
        assert np.allclose(other["probability of fast"], [row["probability of fast"] for row in found], atol=1e-6)
    assert of_steps["who"].to_list() == [row["who"] for row in found]
    watched = walked.recipe("monitor", "data/new.csv")
    assert re.search(r"PASS +rejected rows", watched.output), watched.output


def test_a_request_carries_lists_and_one_bad_row_spoils_no_other(walked: Inside) -> None:
    model, registry = walked.module("production.model"), walked.module("production.registry")
    package = model.load(TASK, registry.find(walked.root, registry.promoted(walked.root)))
    good = {"wave": [20.0, 23, None, 18.5, 17], "noise": [0.1, None, 0.2, 0, 1], "place": "hill"}
    wrong = [[1, "a"], "twelve", [[1.0]], [10**400], [True], ["2024-01-01"], {"a": 1}, [float("inf")]]
    sound = [None, [], [1, 2, 3.5, 4, float("nan")], "[1, 2, null, 4, 5]"]
    found = package.answer([good, *({**good, "wave": wave} for wave in (*wrong, [1.0], *sound))])
    assert [bool(why) for why in found.reasons] == [False, *[True] * 9, *[False] * 4], found.reasons
    assert all("which is not a list of numbers" in why for why in found.reasons[1:9])
    assert "channels of different lengths: 1 in 'wave' and 5 in 'noise'" in found.reasons[9]
    assert found.answers[0] is not None and set(found.answers[0]["probabilities"]) == {"slow", "fast"}


def test_a_sample_of_series_is_a_table_of_lists(walked: Inside) -> None:
    assert walked.recipe("sample").status == 0
    settings = tomllib.loads((walked.root / "tests" / "sample" / "sample.toml").read_text())
    assert settings == {"data": "tests/sample/rows.csv", "target": "speed", "static": ["place"]}
    found = TASK.load(config_of(**settings), walked.root)
    assert len(found) == 64 and found.columns("series") == ["wave", "noise"]


def with_hours(long: pl.DataFrame) -> pl.DataFrame:
    """Channels with numbers in their names, as sensors have them, and a second column that orders the rows."""
    return long.rename({"wave": "s1", "noise": "s2"}).with_columns(s3=pl.col("s1") - 1, row=pl.int_range(long.height))


def alike(long: pl.DataFrame) -> pl.DataFrame:
    """The last column a channel that many series have in common, and a moment that comes twice, as an hour in autumn does."""
    noise = (pl.col("at") % 3).cast(pl.Float64).alias("noise")
    return pl.concat([long[:1], long]).select("who", "at", "place", "speed", "wave", noise)


LISTS = {"series": "", "step": "", "channels": ["wave", "noise"], "static": ["place"]}
PROPOSED: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], dict[str, Any]]] = {
    "long.csv": (lambda f: f, {**LISTS, "series": "who", "step": "at"}),
    "shuffled.parquet": (lambda f: f.sample(fraction=1, shuffle=True, seed=1), {**LISTS, "series": "who", "step": "at"}),
    "sensors.csv": (with_hours, {"series": "who", "step": "at", "channels": ["s1", "s2", "s3"], "static": ["place"]}),
    "alike.csv": (alike, {**LISTS, "series": "who", "step": "at"}),
    "no_step.csv": (lambda f: f.drop("at"), {**LISTS, "series": "who"}),
    "lists.csv": (lambda f: as_csv(wide(f)), LISTS),
    "lists.jsonl": (wide, LISTS),
    "lists.parquet": (wide, LISTS),
    "wide.csv": (lambda f: by_step(f, NAMES["wave_3"]), LISTS),
    "wide.parquet": (lambda f: by_step(f, NAMES["3_wave"]).with_row_index("id"), LISTS),
}


@pytest.mark.parametrize("name", PROPOSED)
def test_init_proposes_how_series_are_read(tmp_path: Path, name: str) -> None:
    """What it writes for a project that read other data before loads as it stands."""
    change, expected = PROPOSED[name]
    inside = Inside(tmp_path, modality="sequence", task="multiclass", series="old", static=["older"], channels=["oldest"])
    path, frame = tmp_path / "data" / name, change(waves(40))
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}[path.suffix](path)
    answer = inside.recipe("init", f"data/{name}", "--write")
    assert answer.status == 0, answer.output
    found = tomllib.loads((tmp_path / "recipe.toml").read_text())
    assert {key: found.get(key, "") for key in expected} == expected
    assert (found["target"], found["task"], found["data"]) == ("speed", "binary", f"data/{name}")
    assert ("# series" in answer.output) == (name == "sensors.csv")
    data = TASK.load(config_of(**{**found, "iid": "one by one"}), tmp_path)
    assert len(data) == 40 and data.columns("series") == expected["channels"]


def test_init_says_what_no_series_are(tmp_path: Path) -> None:
    inside = Inside(tmp_path, modality="sequence", task="binary")
    pl.DataFrame({"age": range(40), "income": range(40, 80), "y": ["u", "v"] * 20}).write_csv(tmp_path / "data" / "t.csv")
    answer = inside.recipe("init", "data/t.csv")
    assert answer.status == 2 and "no 3 columns of numbers named by their step" in answer.output


def test_a_generated_project_passes_its_own_tests(tmp_path: Path) -> None:
    project = bake(tmp_path, modality="sequence", task="multiclass", package="my_model")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
