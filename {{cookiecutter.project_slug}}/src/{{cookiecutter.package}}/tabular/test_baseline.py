"""Simple models of tables: fitted, saved, and brought back with the same outputs, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ..errors import UserError
from ..tests.tables import table
from .baseline import inner_split
from .recipe import TASK, Config


def three_kinds(frame: pl.DataFrame) -> pl.DataFrame:
    high, low = pl.col("x0") > 0.5, pl.col("x0") < -0.5
    return frame.with_columns(
        pl.when(high).then(pl.lit("high")).when(low).then(pl.lit("low")).otherwise(pl.lit("mid")).alias("target")
    )


def amounts(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns((3 * pl.col("x0") + pl.col("x1")).alias("target"))


@pytest.mark.parametrize("name", ["logistic", "rbf_svc", "lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("classes", [2, 3])
def test_class_weights_reach_every_baseline(tmp_path: Path, name: str, classes: int) -> None:
    """A class of 5 % among noise is hardly ever called; weighed, it is called as often as its share of the weights says."""
    if name in ("xgboost", "catboost"):
        pytest.importorskip(name)
    random = np.random.default_rng(0)
    y = random.choice(classes, 1500, p=[0.05, *[0.95 / (classes - 1)] * (classes - 1)])
    frame = pl.DataFrame({"x0": random.normal(size=1500) + 0.8 * (y == 0), "x1": random.normal(size=1500)})
    frame.with_columns(pl.Series("target", [f"c{v}" for v in y])).write_csv(tmp_path / "train.csv")
    called = {}
    for weights in ("none", "balanced"):
        task = "binary" if classes == 2 else "multiclass"
        settings = {
            "target": "target",
            "task": task,
            "iid": "drawn independently",
            "positive": "c0" if classes == 2 else "",
        }
        config = Config(data=str(tmp_path / "train.csv"), class_weights=weights, **settings)
        data = TASK.load(config, tmp_path)
        prep = TASK.prepare(config, data)
        outputs = TASK.baselines(config, prep, data, only=name)[name].predict(data)
        rare = prep["classes"].index("c0")
        called[weights] = float(
            ((outputs[:, 0] > 0) == rare if classes == 2 else outputs.argmax(axis=1) == rare).mean()
        )
    assert called["none"] < 0.1 and called["balanced"] > 2 * called["none"] + 0.05, called


@pytest.mark.parametrize(
    ("task", "target", "names"),
    [
        ("binary", lambda frame: frame, ["logistic", "rbf_svc", "lightgbm"]),
        ("multiclass", three_kinds, ["logistic", "rbf_svc", "lightgbm"]),
        ("regression", amounts, ["ridge", "lightgbm"]),
    ],
)
def test_baselines_learn_and_survive_the_disk(tmp_path: Path, task: str, target: Any, names: list[str]) -> None:
    target(table(n=300)).write_csv(tmp_path / "train.csv")
    config = Config(
        data=str(tmp_path / "train.csv"), target="target", task=task, iid="drawn independently", onehot_max=3
    )
    data = TASK.load(config, tmp_path)
    prep = TASK.prepare(config, data)
    y = TASK.examples(config, prep, data).y.numpy()
    fitted = TASK.baselines(config, prep, data)
    assert [name for name in fitted if name not in ("xgboost", "catboost")] == names
    for name in names:
        outputs = fitted[name].predict(data)
        assert outputs.shape == (300, prep["outputs"])
        if task == "regression":
            assert np.corrcoef(outputs[:, 0], y)[0, 1] > 0.9, name
        else:
            called = outputs[:, 0] > 0 if task == "binary" else outputs.argmax(axis=1)
            assert (called == y).mean() > 0.85, name
        folder = tmp_path / name
        folder.mkdir()
        fitted[name].save(folder)
        assert np.allclose(TASK.load_baseline(config, prep, folder).predict(data), outputs, atol=1e-5), name
    with pytest.raises(UserError, match="run it again: recipe baseline"):
        TASK.load_baseline(config, prep, tmp_path)


def test_trees_are_counted_on_rows_that_a_split_of_the_same_kind_keeps_apart(tmp_path: Path) -> None:
    """The latest, or whole groups; where there are too few groups for that, any."""
    frame = table(n=400).with_columns(
        day=pl.int_range(400) // 4, shop=pl.int_range(400) % 20, town=pl.int_range(400) % 2
    )
    frame.sample(fraction=1, shuffle=True, seed=0).write_csv(tmp_path / "train.csv")

    def inner(**settings: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
        config = Config(data=str(tmp_path / "train.csv"), target="target", task="binary", **settings)
        data = TASK.load(config, tmp_path)
        chosen = pl.Series(inner_split(config, data))
        assert 20 <= chosen.sum() <= 100
        return data.frame.filter(chosen), data.frame.filter(~chosen)

    later, earlier = inner(time="day")
    assert later["day"].min() > earlier["day"].max()  # type: ignore[operator]
    some, others = inner(group="shop")
    assert not set(some["shop"]) & set(others["shop"])
    inner(group="town")
