"""LightGBM as the final model: its settings reach it, validation stops it, and it is tuned and tracked as a network is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
import torch
from my_model.engine import metrics
from my_model.engine.callback import Callback
from my_model.engine.resume import Progress
from my_model.tabular.baseline import STOP, flat
from my_model.tabular.boosting import fit_final
from my_model.tabular.recipe import TASK, Config

from .tables import table
from .test_baseline import amounts, three_kinds
from .test_cleaning import cancers

torch.set_num_threads(1)
OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression", "ranking": "lambdarank"}


def ranked(frame: pl.DataFrame) -> pl.DataFrame:
    """Twelve rows a query, of relevance 0 to 3."""
    score = (pl.col("x0") + pl.col("x1")).rank("ordinal") * 4 // (pl.len() + 1)
    return frame.with_columns(query=pl.int_range(pl.len()) // 12, target=score)


def parts(root: Path, task: str, n: int = 900, **settings: Any) -> tuple[Config, dict[str, Any], Any]:
    """Config, preprocessing and the encoded (train, validation) of a table with noise in its target."""
    make = {"multiclass": three_kinds, "regression": amounts, "ranking": ranked}.get(task, lambda frame: frame)
    frame = make(table(n=n))
    noise = np.random.default_rng(1).normal(size=n)
    frame = frame.with_columns(x0=pl.col("x0") + pl.Series(noise)).with_columns(
        x1=pl.col("x1") + pl.Series(noise[::-1])
    )
    frame.write_csv(root / "train.csv")
    more = {"query": "query"} if task == "ranking" else {"iid": "drawn independently"}
    config = Config(data=str(root / "train.csv"), target="target", task=task, model="lightgbm", **more, **settings)
    data = TASK.load(config, root)
    train, val = data.take(np.arange(2 * n // 3)), data.take(np.arange(2 * n // 3, n))
    prep = TASK.prepare(config, train)
    return config, prep, tuple(TASK.examples(config, prep, part) for part in (train, val))


def by_hand(config: Config, prep: dict[str, Any], train: Any, val: Any, **more: Any) -> lightgbm.Booster:
    """The same with LightGBM's own interface and the names it has for the settings."""
    sets = []
    for part in (train, val):
        query = None if part.query is None else np.unique(part.query.numpy(), return_counts=True)[1]
        names = list(range(flat(part.x, prep).shape[1] - len(prep["embedded"]), flat(part.x, prep).shape[1]))
        order = np.arange(len(part)) if part.query is None else np.argsort(part.query.numpy(), kind="stable")
        x, y = flat(part.x, prep)[order], part.y.numpy()[order]
        sets.append(lightgbm.Dataset(x, y, group=query, categorical_feature=names, reference=sets[0] if sets else None))
    settings = {
        "objective": OBJECTIVES[config.task], "num_class": prep["outputs"] if config.task == "multiclass" else 1, "eval_at": [10],
        "num_leaves": config.num_leaves, "learning_rate": config.shrinkage, "min_child_samples": config.min_child_samples or 12,
        "subsample": config.subsample, "subsample_freq": 1, "max_cat_to_onehot": 4, "verbosity": -1, "seed": 0, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, **more,
    }  # fmt: skip
    stop = lightgbm.early_stopping(STOP, verbose=False)
    return lightgbm.train(settings, sets[0], config.n_estimators, valid_sets=[sets[1]], callbacks=[stop])


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_leaves": 7, "shrinkage": 0.2, "min_child_samples": 40, "subsample": 0.6}, {"n_estimators": 9}],
    ids=str,
)
@pytest.mark.parametrize("task", OBJECTIVES)
def test_it_is_lightgbm_with_these_settings_stopped_on_validation(tmp_path: Path, task: str, settings: Any) -> None:
    config, prep, (train, val) = parts(tmp_path, task, **settings)
    model, outputs, curves = fit_final(config, prep, (train, val))
    other = by_hand(config, prep, train, val)
    assert model.rounds == other.best_iteration and model.rounds <= config.n_estimators
    expected = other.predict(flat(val.x, prep), raw_score=True, num_iteration=other.best_iteration)
    assert outputs.shape == (len(val), prep["outputs"])
    assert np.allclose(outputs, expected.reshape(len(val), -1), atol=1e-6)
    best = min(curves, key=lambda row: row["val_loss"])
    query = None if val.query is None else val.query.numpy()
    assert best["epoch"] == model.rounds and len(curves) <= 102
    assert best["val_metric"] == pytest.approx(
        metrics.score(config, prep, outputs, metrics.Truth(val.y.numpy(), query)), abs=1e-6
    )
    measured = next(iter(other.best_score["valid_0"].values()))
    assert best["val_loss"] == pytest.approx(1 - measured if task == "ranking" else measured)


def test_the_losses_are_those_of_the_network(tmp_path: Path) -> None:
    """The same numbers as the loss of a network of these outputs, so that curves of both can be laid side by side."""
    from my_model.engine.loop import losses_of
    from my_model.engine.losses import make_loss

    for task in ("binary", "multiclass", "regression"):
        config, prep, (train, val) = parts(tmp_path, task)
        _, outputs, curves = fit_final(config, prep, (train, val))
        mean = losses_of(make_loss(config, prep), outputs, val).mean()
        assert min(row["val_loss"] for row in curves) == pytest.approx(mean, rel=1e-4), task


def test_the_seed_draws_the_rows_of_each_tree_and_nothing_else(tmp_path: Path) -> None:
    for subsample, alike in ((1.0, True), (0.5, False)):
        config, prep, both = parts(tmp_path, "binary", subsample=subsample)
        one, other = (fit_final(config.model_copy(update={"seed": seed}), prep, both)[1] for seed in (0, 1))
        assert np.array_equal(one, other) is alike


def test_callbacks_hear_of_every_row_and_of_the_end(tmp_path: Path) -> None:
    class Heard(Callback):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.ended: tuple[int, float] | None = None

        def on_epoch(self, progress: Progress) -> None:
            self.steps.append(progress.step)
            assert progress.curves[-1]["epoch"] == progress.step

        def on_end(self, progress: Progress) -> None:
            self.ended = progress.best_epoch, progress.best

    config, prep, both = parts(tmp_path, "binary")
    heard = Heard()
    model, _, curves = fit_final(config, prep, both, [heard])
    assert heard.steps == [row["epoch"] for row in curves] == sorted(heard.steps)
    assert heard.ended == (model.rounds, min(row["val_loss"] for row in curves))


def test_rows_larger_than_memory_are_drawn(tmp_path: Path) -> None:
    """`sample_rows` of them grow the trees; every row of validation is answered."""
    config, prep, both = parts(tmp_path, "binary", n=3000)
    seen = []
    batches = type(both[0]).batches

    class Counted(type(both[0])):  # type: ignore[misc]
        def batches(self, plan: Any, *more: Any) -> Any:
            seen.append([len(rows) for rows in plan])
            return batches(self, plan, *more)

    for part in both:
        part.__class__ = Counted
    assert len(fit_final(config.model_copy(update={"sample_rows": 100}), prep, both)[1]) == 1000
    assert seen == [[100], [100], [1000]]


def test_the_recipe_goes_through_with_trees(tmp_path: Path) -> None:
    """No check of a network is asked for; the curves are kept and drawn; a changed setting is an experiment like any other."""
    inside = cancers(tmp_path, model="lightgbm", min_child_samples=20)
    assert inside.recipe("baseline").status == 0
    result = inside.done("train")["result"]
    curves = json.loads((inside.root / "runs" / inside.record("train")["id"] / "curves.json").read_text())
    assert result["model"] == "lightgbm" and result["best_epoch"] <= result["epochs"] == curves[-1]["epoch"]
    assert result["seconds"] > 0
    inside.set(num_leaves=3)
    record = inside.done("train")
    assert record["result"]["experiment"]["changed"] == {"num_leaves": [31, 3]}
    inside.done("report")
    page = (inside.root / "runs" / record["id"] / "report.html").read_text()
    assert "<figcaption>Loss</figcaption>" in page and "<figcaption>Validation auc</figcaption>" in page


def test_it_is_tuned_and_its_learning_curve_drawn(tmp_path: Path) -> None:
    inside = cancers(tmp_path, model="lightgbm")
    assert inside.recipe("baseline").status == 0
    result = inside.done("tune", "--trials", "3")["result"]
    searched = [sorted({name for trial in trials for name in trial["params"]}) for trials in result["stages"].values()]
    assert searched == [["shrinkage"], ["min_child_samples", "num_leaves"], ["subsample"]]
    assert result["stages"]["learning rate"][0]["params"] == {"shrinkage": 0.05}  # the present settings
    runs = [json.loads(path.read_text()) for path in sorted((inside.root / "runs").glob("*-train/record.json"))]
    assert {run["result"]["model"] for run in runs} == {"lightgbm"} and len(runs) == 9  # three settings, three seeds
    scores = inside.done("learning-curve")["result"]["scores"]
    assert [len(seeds) for seeds in scores] == [3, 3, 3] and len(set(scores[-1])) == 1 < len(set(scores[0]))


def test_seeds_that_change_nothing_are_no_noise_to_be_under(tmp_path: Path) -> None:
    """Three seeds of the same trees agree to the last bit: what is left is the chance of the rows, and it has a width."""
    inside = cancers(tmp_path, model="lightgbm")
    inside.recipe("baseline")
    inside.done("train", "--seeds", "3")
    inside.set(shrinkage=0.04)
    inside.done("train", "--seeds", "3")
    found = inside.record("train")["result"]["experiment"]["difference"]
    assert len(found["seeds"]) == 3 and found["high"] > found["low"] and not math.isclose(found["error"], 0)
    assert found["verdict"] == "undecided"


def test_cross_validation_fits_it_by_its_own_settings(tmp_path: Path) -> None:
    inside = cancers(tmp_path, model="lightgbm", n_estimators=1, num_leaves=2)
    stump = inside.done("cv")["result"]
    inside.set(n_estimators=1000, num_leaves=31)
    trees = inside.done("cv")["result"]
    assert stump["model"] == trees["model"] == "lightgbm" and next(iter(stump["scores"])) == "lightgbm"
    assert np.mean(stump["scores"]["lightgbm"]) < np.mean(trees["scores"]["lightgbm"]) - 0.02
    assert stump["scores"]["logistic"] == trees["scores"]["logistic"]
