"""Simple models of tables: fitted, saved, and brought back with the same outputs, for every task."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.errors import UserError
from my_model.tabular.baseline import inner_split
from my_model.tabular.recipe import TASK, Config

from .tables import table


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
        ("multiclass", lambda frame: frame, ["logistic", "rbf_svc", "lightgbm"]),  # that happens to have two classes
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


EDITS = [  # each made LightGBM's own parser abort the process, crash or never return
    (r"(left_child=)\S+", r"\g<1>0"),
    (r"(split_feature=)\S+", r"\g<1>999999999"),
    (r"(split_feature=)\S+", r"\g<1>-2147483648"),
    (r"(threshold=\S+ )\S+ ", r"\g<1>"),
    (r"(num_cat=)\d+", r"\g<1>nan"),
    (r"(num_leaves=)\d+", r"\g<1>999999999"),
    (r"(num_leaves=)\d+", r"\g<1>"),
    (r"(cat_threshold=)\S+", r"\g<1>"),
    (r"(cat_boundaries=)\S+", r"\g<1>7"),
    (r"(right_child=)\S+", r"\g<1>1.5"),
    (r"(leaf_value=)\S+", r"\g<1>nan"),
    (r"(num_class=)\d+", r"\g<1>999999999"),
    (r"(max_feature_idx=)\d+", r"\g<1>2147483647"),
    (r"is_linear=0", "is_linear=1"),
]


@pytest.mark.parametrize(("found", "put"), EDITS)
def test_edited_trees_are_refused_before_lightgbm_reads_them(trees: Any, found: str, put: str) -> None:
    config, prep, folder, text = trees
    edited, times = re.subn(found, put, text, count=1)
    assert times == 1 and edited != text
    (folder / "lightgbm.txt").write_text(edited)
    with pytest.raises(UserError, match=r"lightgbm\.txt is not the model that was saved there") as said:
        TASK.load_baseline(config, prep, folder)
    assert "\n" not in str(said.value)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A saved LightGBM with splits on numbers and on sets of categories: config, prep, its folder and its text."""
    root = tmp_path_factory.mktemp("trees")
    kind = pl.int_range(pl.len()) * 7 % 12
    frame = table(n=400).with_columns(("kind " + kind.cast(pl.String)).alias("kind"), (kind % 3 == 0).alias("target"))
    frame.write_csv(root / "train.csv")
    config = Config(data=str(root / "train.csv"), target="target", task="binary", iid="drawn", onehot_max=1)
    data = TASK.load(config, root)
    prep = TASK.prepare(config, data)
    TASK.baselines(config, prep, data, "lightgbm")["lightgbm"].save(root)
    return config, prep, root, (root / "lightgbm.txt").read_text()
