"""Sound data raises no FAIL: surveys, piled-up amounts, one noisy column, targets in any unit; and each check still has its fault.

Every test of sound data failed on the checks as they were, or stands beside one that did.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1"}

import cases
import numpy as np
import polars as pl
import pytest
from conftest import module

Frame = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def project(folder: Path, table: Frame | str, **settings: Any) -> Any:
    """A project on these columns, or on the file that a case of this name writes."""
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "data" / "train.parquet"
    if isinstance(table, str):
        cases.CASES[table](folder / "data")
        (path,) = (folder / "data").glob("train.*")
    else:
        pl.DataFrame(table).write_parquet(path)
    recipe = module("tabular.recipe")
    usual = {"data": f"data/{path.name}", "iid": "drawn one by one", "tracker": "none", "device": "cpu"}
    config = recipe.Config(**({"task": "binary"} | usual | settings))
    return module("project").Project(folder, config, recipe.TASK, quiet=True)


def context(found: Any) -> Any:
    """What the checks before training look at, over the pinned parts."""
    parts = module("engine.splits")
    parts.write_manifest(found, parts.assign(found.config, found.data))
    data = parts.splits(found)
    prep = found.task.prepare(found.config, data["train"])
    train, val = (found.task.examples(found.config, prep, data[name]) for name in ("train", "val"))
    return module("checks.context").Context(found.config, found.task, prep, data, train, val)


def repeats(found: Any) -> dict[str, str]:
    """Verdicts of the four checks that look for rows that come again."""
    parts, config, data = module("engine.splits"), found.config, found.data
    made = context(found)
    verdicts = [
        module("checks.duplicates").exact(config, data),
        module("checks.split").duplicates(config, data, parts.assign(config, data)),
        module("checks.pipeline").parts_as_pinned(made, found),
        module("checks.pipeline").test_apart(config, made.data, parts.open_test(found)),
    ]
    return {f.check: f.verdict for f in verdicts}


def answers(n: int, questions: int, noise: float, seed: int = 0) -> np.ndarray:
    """Answers from 1 to 5 that share an attitude: the quieter the noise, the more of them are alike throughout."""
    random = np.random.default_rng(seed)
    attitude = random.normal(size=(n, 1)) * 1.2
    return np.clip((attitude + noise * random.normal(size=(n, questions)) + 3).round(), 1, 5).astype(int)


def labeled(x: np.ndarray, seed: int = 1) -> Frame:
    """Columns with a target that the first decides, but for noise."""
    noise = np.random.default_rng(seed).normal(size=len(x)) * x[:, 0].std()
    target = np.where(x[:, 0] + noise > np.median(x[:, 0]), "yes", "no")
    return {**{f"q{i}": column for i, column in enumerate(x.T)}, "target": target}


def iris() -> Frame:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    return {f"x{i}": column for i, column in enumerate(bunch.data.T)} | {"target": bunch.target.astype(str)}


def people(n: int = 3000) -> Frame:
    random = np.random.default_rng(3)
    age, school = random.integers(20, 60, n), random.choice([8, 12, 12, 12, 16, 18], n)
    frame = {"age": age, "school": school, "experience": age - school - 6, "sex": random.choice(["f", "m"], n)}
    return frame | {"target": np.where(school + 4 * random.normal(size=n) > 12, "yes", "no")}


def rounded(n: int, columns: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(n, columns)).round(1)


def copies_in_groups() -> Frame:
    frame = labeled(np.repeat(np.random.default_rng(5).normal(size=(200, 4)), 3, axis=0))
    return frame | {"who": [f"p{i // 3}" for i in range(600)]}


NATURAL: dict[str, tuple[Callable[[], Frame | str], Frame]] = {
    "skewed_survey": (lambda: "skewed_survey", {}),
    "one attitude": (lambda: labeled(answers(2000, 12, 0.5)), {}),
    "one attitude, loud": (lambda: labeled(answers(1500, 8, 1.0)), {}),
    "iris": (iris, {"task": "multiclass"}),
    "column from others": (people, {}),
    "rounded": (lambda: labeled(rounded(600, 3)), {}),
    "rounded, few rows": (lambda: labeled(rounded(100, 2)), {}),
    "rare events": (lambda: labeled(np.random.default_rng(6).poisson(0.3, (2000, 8))), {}),
    "two rows": (lambda: labeled(np.repeat([[1.0, 5.0], [2.0, 3.0]], 200, axis=0)), {}),
    "one group": (copies_in_groups, {"group": "who", "iid": ""}),
}


@pytest.mark.parametrize("name", NATURAL)
@pytest.mark.parametrize("split_seed", [0, 1])
def test_rows_that_repeat_by_chance_are_no_copies(tmp_path: Path, name: str, split_seed: int) -> None:
    make, settings = NATURAL[name]
    found = repeats(project(tmp_path, make(), split_seed=split_seed, **settings))
    assert {check: v for check, v in found.items() if v not in ("PASS", "NOT APPLICABLE")} == {}


@pytest.mark.parametrize(("rows", "times"), [(60, 1), (10, 9), (40, 9)])
@pytest.mark.parametrize("columns", [4, 8])
def test_copies_of_rounded_rows_are_named(tmp_path: Path, columns: int, rows: int, times: int) -> None:
    frame = pl.DataFrame(labeled(rounded(800, columns)))
    copied = pl.concat([frame, *[frame[:rows]] * times]).sample(fraction=1, shuffle=True, seed=0)
    found = repeats(project(tmp_path, copied.to_dict()))
    # Of eight columns, three to five tell all rows apart; that those agree by chance is allowed for, a few percent of rows.
    assert found["duplicate rows"] in ("WARN", "FAIL") and found["duplicates across parts"] == "FAIL"


@pytest.mark.parametrize("begins", ["without a target", "with one class"])
@pytest.mark.parametrize("check", ["refit", "permuted_labels"])
def test_a_file_is_looked_at_where_it_has_something_to_learn(tmp_path: Path, check: str, begins: str) -> None:
    frame = pl.DataFrame(labeled(np.random.default_rng(7).normal(size=(6600, 3))))
    late = frame.with_columns(target=pl.when(pl.int_range(pl.len()) >= 3300).then("target"))
    found = project(tmp_path, (late if begins == "without a target" else frame.sort("target")).to_dict())
    probe = getattr(module("checks.leak_probes"), check)
    assert probe(context(found), found).verdict == "PASS"


def test_queries_whose_rows_lie_apart_are_not_cut(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    x = random.normal(size=(480, 3))
    frame = {f"x{i}": column for i, column in enumerate(x.T)} | {"q": np.tile(np.arange(24), 20)}
    frame["target"] = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    made = context(project(tmp_path, frame, task="ranking", query="q"))
    rows = made.rows(15)
    assert len(made.train.query[rows].unique_consecutive()) == len(made.train.query[rows].unique())
    assert module("checks.loss").accumulation(made).verdict == "PASS"


def test_rows_of_another_part_are_named_among_natural_repeats(tmp_path: Path) -> None:
    found = project(tmp_path, "skewed_survey")
    made, pipeline = context(found), module("checks.pipeline")
    for part in made.data.values():
        assert pipeline.test_apart(found.config, made.data, part).verdict == "FAIL"
    train, val = made.data["train"], made.data["val"]
    more = replace(train, frame=pl.concat([train.frame, val.frame]))
    surely = module("checks.repeats").known_again(found.config, val, more)[2]
    assert surely and not module("checks.repeats").known_again(found.config, val, train)[2]


def table(n: int = 1000, seed: int = 0) -> Frame:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, n))
    return {"a": a, "b": b, "target": np.where(a + random.normal(size=n) * 0.5 > 0, "yes", "no")}


def also(**columns: Callable[[np.random.Generator], Any]) -> Frame:
    random = np.random.default_rng(7)
    return table() | {name: make(random) for name, make in columns.items()}


DECODED: dict[str, tuple[Frame | str, Frame]] = {
    "mostly_zero": ("mostly_zero", {}),
    "flags": (also(flag=lambda r: r.random(1000) > 0.5, word=lambda r: r.choice(["TRUE", "FALSE"], 1000)), {}),
    "decimals": (also(price=lambda r: [Decimal(int(v)).scaleb(-2) for v in r.integers(1, 9999, 1000)]), {}),
    "dates": (
        also(day=lambda r: [dt.date(2024, 1, 1) + dt.timedelta(int(v)) for v in r.integers(0, 5, 1000)]),
        {"categorical": ["day"]},
    ),
    "categories of numbers": (
        also(size=lambda r: r.choice([1.0, 2.5, 1e-7], 1000), code=lambda r: r.choice(["007", "7", "7.0"], 1000)),
        {"categorical": ["size", "code"]},
    ),
    "ordered numbers": (also(grade=lambda r: r.integers(1, 5, 1000)), {"ordinal": ["grade: 1 < 2 < 3 < 4"]}),
    "small and far": (also(tiny=lambda r: r.normal(size=1000) * 1e-9, far=lambda r: 1e9 + r.normal(size=1000)), {}),
    "constant but for one": (also(rate=lambda r: np.where(np.arange(1000) == 500, 3e6, 0.1)), {}),
    "piled up, between 0 and 1": ("mostly_zero", {"scaling": "minmax"}),
}


@pytest.mark.parametrize("name", DECODED)
def test_values_are_compared_by_value(tmp_path: Path, name: str) -> None:
    frame, settings = DECODED[name]
    found = module("checks.pipeline").decoded(context(project(tmp_path, frame, **settings)))
    assert found.verdict == "PASS", found.observed


@pytest.mark.parametrize("name", ["mostly_zero", "flags", "small and far", "ordered numbers"])
@pytest.mark.parametrize("fault", ["scaled", "shifted", "swapped"])
def test_values_that_read_otherwise_are_named(tmp_path: Path, name: str, fault: str) -> None:
    frame, settings = DECODED[name]
    made = context(project(tmp_path, frame, **settings))
    x = made.val.x["numeric"]
    made.val.x["numeric"] = {"scaled": 1.01 * x, "shifted": x + 0.01, "swapped": x.flip(1)}[fault]
    found = module("checks.pipeline").decoded(made)
    assert found.verdict == "FAIL" and "in val" in found.observed and "in train" not in found.observed


def test_missing_and_unknown_are_no_excuse_for_values_that_training_has(tmp_path: Path) -> None:
    frame = also(kind=lambda r: r.choice(["u", "v"], 1000), gaps=lambda r: np.where(r.random(1000) < 0.2, np.nan, 1.5))
    made = context(project(tmp_path, frame))
    names = module("tabular.data").feature_names(made.prep)
    made.val.x["numeric"][:, [names.index("kind = u"), names.index("kind = v")]] = 0.0
    made.val.x["numeric"][:, names.index("gaps is missing")] = 1.0
    found = module("checks.pipeline").decoded(made)
    assert found.verdict == "FAIL" and "kind in val" in found.observed and "gaps in val" in found.observed


def noise(**settings: Any) -> tuple[Frame, Frame]:
    random = np.random.default_rng(8)
    frame = {"u": random.normal(size=800).round(2), "target": random.choice(["a", "b", "c"], 800)}
    return frame, {"task": "multiclass", **settings}


MEMORIZED: dict[str, tuple[Frame | str, Frame]] = {
    "noisy_few": ("noisy_few", {"task": "multiclass"}),
    "sgd": noise(optimizer="sgd", lr=0.1),
    "small network": noise(hidden=16, layers=2),
    "between 0 and 1": noise(scaling="minmax"),
    "four values": ({"u": np.arange(800) % 4, "target": np.random.default_rng(9).choice(["a", "b"], 800)}, {}),
    "one flag": ({"u": np.arange(800) % 2 == 0, "target": np.random.default_rng(9).choice(["a", "b"], 800)}, {}),
    "heavy tails": (labeled(np.exp(3 * np.random.default_rng(10).normal(size=(800, 2)))), {}),
    "one number": (
        {
            "u": np.random.default_rng(11).normal(size=800).round(2),
            "target": np.random.default_rng(12).normal(size=800),
        },
        {"task": "regression"},
    ),
}


@pytest.mark.parametrize("name", MEMORIZED)
def test_what_can_be_told_apart_is_memorized(tmp_path: Path, name: str) -> None:
    frame, settings = MEMORIZED[name]
    made = context(project(tmp_path, frame, **settings))
    for check in (module("checks.network").overfit, module("checks.inputs").input_matters):
        assert (found := check(made)).verdict != "FAIL", found.observed


def test_nothing_to_tell_apart_is_said(tmp_path: Path) -> None:
    frame = {"u": [1.0] * 100, "target": ["a", "b"] * 50}
    assert module("checks.network").overfit(context(project(tmp_path, frame))).verdict == "NOT APPLICABLE"


def broken(model: Any, fault: str) -> Any:
    """The network with one thing wrong."""
    from torch import nn

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Any) -> Any:
            if fault == "no input":
                x = {name: tensor * 0 for name, tensor in x.items()}
            out = self.inner(x)
            return {"sigmoid": out.sigmoid(), "softmax": out.softmax(-1), "detached": out.detach() + 0 * out}.get(
                fault, out
            )

    return Broken()


@pytest.mark.parametrize("name", ["noisy_few", "four values", "one number"])
@pytest.mark.parametrize("fault", ["no input", "sigmoid", "detached", "uphill", "not cleared"])
def test_a_broken_network_memorizes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    import torch

    frame, settings = MEMORIZED[name]
    made = context(project(tmp_path, frame, **settings))
    if fault == "uphill":
        monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: _uphill(self))
    elif fault == "not cleared":
        monkeypatch.setattr(torch.optim.AdamW, "zero_grad", lambda self, set_to_none=True: None)
    else:
        monkeypatch.setattr(type(made.task), "model", _broken_model(type(made.task).model, fault))
    found = module("checks.network").overfit(made)
    fresh = module("checks.loss").fresh_gradients(made) if fault == "not cleared" else found
    assert "FAIL" in (found.verdict, fresh.verdict), found.observed


def _uphill(optimizer: Any) -> None:
    import torch

    with torch.no_grad():
        for group in optimizer.param_groups:
            for p in group["params"]:
                p += group["lr"] * p.grad


def _broken_model(real: Any, fault: str) -> Any:
    return lambda self, config, prep: broken(real(self, config, prep), fault)


def regression(change: Callable[[np.ndarray], np.ndarray], n: int = 1500) -> Frame:
    random = np.random.default_rng(13)
    x = random.normal(size=(n, 4))
    y = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * random.normal(size=n)
    return {**{f"x{i}": column for i, column in enumerate(x.T)}, "target": change(y)}


UNITS: dict[str, Frame] = {
    "a million times": regression(lambda y: 1e6 * y),
    "a million more": regression(lambda y: 1e6 + y),
    "a billionth": regression(lambda y: 1e-9 * y),
    "lognormal": regression(lambda y: np.exp(2 * y)),
    "Pareto": regression(lambda y: 1e5 * np.random.default_rng(14).pareto(1.2, len(y)), 6000),
    "Cauchy": regression(lambda y: y + np.random.default_rng(15).standard_cauchy(len(y)), 20_000),
    "zero but for few": regression(lambda y: np.where(y > 2.5, 1e7, 0.0)),
    "sorted": regression(np.sort, 6000),
}


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_no_unit_and_no_tail_of_the_target_fails(tmp_path: Path, name: str, loss: str) -> None:
    made = context(project(tmp_path, UNITS[name], task="regression", loss=loss))
    network = module("checks.network")
    found = [network.init_loss(made), network.overfit(made), *module("checks.gradients").gradient_flow(made)]
    assert [f"{f.check}: {f.observed}" for f in found if f.verdict == "FAIL"] == []


def test_a_target_that_is_not_scaled_and_a_rate_far_too_high_fail(tmp_path: Path) -> None:
    made = context(project(tmp_path, UNITS["a million times"], task="regression"))
    plain = made.train.y * 1e6
    assert module("checks.network").init_loss(replace(made, train=replace(made.train, y=plain))).verdict == "FAIL"
    wild = replace(made, config=made.config.model_copy(update={"lr": 10.0, "clip": 0.0}))
    assert {f.check: f.verdict for f in module("checks.gradients").gradient_flow(wild)}["update size"] == "FAIL"


def test_two_kinds_of_things_are_no_units(tmp_path: Path) -> None:
    frame, units = pl.DataFrame(iris()), module("checks.units")
    found = project(tmp_path, frame.to_dict(), task="multiclass")
    assert units.mixed_units(found.config, found.data).verdict == "PASS"
    random = np.random.default_rng(16)
    length = np.exp(random.normal(3, 0.1, 600)) * np.where(random.random(600) < 0.4, 25.4, 1.0)
    found = project(tmp_path, table(600) | {"length": length})
    assert units.mixed_units(found.config, found.data).verdict == "WARN"
