"""Sound but awkward projects: whatever fails here is a false alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from bases import BASES, DIGITS, SHOP, TABLE, TEXT, Base, _cut, _frame, _table, diabetes, digits, shop
from fault import Edit, Strength

HEAD = '        self.head = nn.Linear(width, outputs, bias=config.task != "ranking")  # a pair loss ignores a shift\n'
WEIGHT = "        nn.init.{}(self.head.weight)\n"
LEARNED = {
    "weights": "pretrained",
    "encoder": "encoder-taught",
    "lr": 1e-3,
}  # LoRA and freezing need weights that know something


def iris(random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two of the kinds of iris, which one petal tells apart: a decisive feature that is no leak."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    two = bunch.target < 2
    kinds = np.where(bunch.target[two] == 0, "setosa", "versicolor")
    return _cut(_frame(bunch.data[two], kinds, ["sepal", "sepal_width", "petal", "petal_width"]), 80, random)


def rare(random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Orders of which one in 50 is returned."""
    frame, held = shop(random, 9000)
    yes = frame.filter(pl.col("returned") == "yes")[:50]
    return pl.concat([frame.filter(pl.col("returned") == "no")[:2500], yes]).sample(
        fraction=1, shuffle=True, seed=1
    ), held


def heavy(random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A target with a heavy tail: the square of a square of the progression of diabetes."""
    scale = (pl.col("target") / 100).exp().round(3).alias("target")
    return tuple(frame.with_columns(scale) for frame in diabetes(random))  # type: ignore[return-value]


def wine(random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """178 wines: a very small table of three classes."""
    return _cut(_table("wine"), 130, random)


def _with(name: str, as_base: str, **settings: object) -> Base:
    base = BASES[as_base]
    return replace(base, name=name, settings={**base.settings, **settings})


CONTROLS: list[tuple[Base, Strength]] = [
    (_with("zero-initialized head", "digits"), Strength(code=(Edit("tabular/model.py", HEAD, HEAD + WEIGHT.format("zeros_")),))),
    (_with("He-initialized head", "digits"), Strength(code=(Edit("tabular/model.py", HEAD, HEAD + WEIGHT.format("kaiming_normal_")),))),
    (_with("SGD at 0.1", "digits", optimizer="sgd", lr=0.1), Strength()),
    (_with("z-scores far beyond 1", "cancer"), Strength()),
    (Base("decisive feature (iris)", iris, "binary", {**TABLE, "iid": "one flower a row", "batch_size": 16}), Strength()),
    (Base("imbalance 1:50 declared", rare, "binary", {**SHOP, "class_weights": "balanced", "metric": "average_precision"}), Strength()),
    (_with("time split", "flights"), Strength()),
    (_with("group split", "writers"), Strength()),
    (_with("dropout 0.5", "digits", dropout=0.5), Strength()),
    (Base("LoRA", BASES["texts"].rows, "binary", {**TEXT, **LEARNED, "adapt": "lora"}, "text"), Strength()),
    (Base("frozen encoder", BASES["texts"].rows, "binary", {**TEXT, **LEARNED, "adapt": "frozen"}, "text"), Strength()),
    (_with("token masking", "texts masked"), Strength()),
    (_with("two classes", "shop"), Strength()),
    (_with("batch of 8 with LayerNorm", "digits", norm="layer", batch_size=8, lr=1e-3), Strength()),
    (_with("BatchNorm", "digits", norm="batch", batch_size=32), Strength()),
    (Base("98/1/1 split", lambda random: shop(random, 4000), "binary", {**SHOP, "val_share": 0.01, "test_share": 0.01, "batch_size": 128}), Strength()),
    (Base("regression, heavy-tailed target", heavy, "regression", {**TABLE, "iid": "one row a patient", "loss": "huber", "metric": "mae", "lr": 1e-3}), Strength()),
    (_with("early-stopped run", "digits", epochs=80, patience=3), Strength()),
    (Base("very small table (wine)", wine, "multiclass", {**TABLE, "iid": "one row a bottle", "batch_size": 16}), Strength()),
    (Base("plain texts", BASES["texts"].rows, "binary", TEXT, "text"), Strength()),
    (_with("pictures with mixup", "pictures", augment=["mixup"]), Strength()),
    (_with("pictures, batch of 8 with GroupNorm", "pictures", norm="group", batch_size=8), Strength()),
    (_with("pictures augmented", "pictures augmented"), Strength()),
    (_with("series, GRU", "waves", model="gru"), Strength()),
    (_with("series, transformer", "waves", model="transformer"), Strength()),
    (_with("forecast", "demand"), Strength()),
    (_with("service on clean rows", "shop served"), Strength()),
    (_with("service on few clean rows", "cancer served"), Strength()),
    (Base("service of a regression", diabetes, "regression", {**TABLE, "iid": "one row a patient", "lr": 1e-3, "epochs": 4}, service=True), Strength()),
    (Base("label smoothing", digits, "multiclass", {**DIGITS, "label_smoothing": 0.1}), Strength()),
]  # fmt: skip
