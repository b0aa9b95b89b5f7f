"""LightGBM as the final model: grown by the settings of recipe.toml, and stopped early on validation as the network is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..engine import metrics
from ..engine.callback import Callback
from ..engine.resume import Progress
from ..engine.seed import generator
from ..task import Batch, Examples
from .baseline import STOP, LightGBM, dataset, parameters

if TYPE_CHECKING:
    from .recipe import Config

POINTS = 50  # of the curves, about
BLOCK = 100_000  # rows of validation that are encoded together


def fit_final(
    config: Config, prep: dict[str, Any], parts: tuple[Examples, Examples], callbacks: Sequence[Callback] = ()
) -> tuple[LightGBM, np.ndarray, list[dict[str, Any]]]:
    """The trees grown on the first part and stopped on the second, their outputs there [n, k], and the curves, which the
    callbacks hear of as of the epochs of a network: one row every so many trees.

    Of rows that are larger than memory `sample_rows` random ones of each part grow and stop the trees.
    """
    import lightgbm

    began = time.perf_counter()
    grown, held = (gathered(part, config.sample_rows) for part in parts)
    train = dataset(config, prep, grown)
    settings, losses = parameters(config, prep, len(grown.y)), dict[str, Any]()
    settings |= {"learning_rate": config.shrinkage, "num_leaves": config.num_leaves}
    settings |= {"bagging_fraction": config.subsample, "bagging_freq": 1}
    settings |= {"min_data_in_leaf": config.min_child_samples} if config.min_child_samples else {}
    booster = lightgbm.train(
        settings,
        train,
        config.n_estimators,
        valid_sets=[train, dataset(config, prep, held, reference=train)],
        valid_names=["train", "val"],
        callbacks=[lightgbm.record_evaluation(losses), lightgbm.early_stopping(STOP, verbose=False)],
    )
    model = LightGBM(prep, booster, max(booster.best_iteration, 1))
    curves = curves_of(config, model, held, losses, (time.perf_counter() - began) / booster.current_iteration())
    tell(callbacks, curves, model.rounds)
    blocks = parts[1].batches(list(torch.arange(len(parts[1])).split(BLOCK)))
    return model, np.concatenate([model.outputs(batch.x) for batch in blocks]), curves


def gathered(part: Examples, most: int) -> Batch:
    """All examples of a part as one batch, or `most` random ones of them."""
    rows = torch.arange(len(part))
    if 0 < most < len(part):
        rows = torch.randperm(len(part), generator=generator(0))[:most].sort().values
    return next(iter(part.batches([rows])))


def curves_of(
    config: Config, model: LightGBM, held: Batch, losses: dict[str, Any], seconds: float
) -> list[dict[str, Any]]:
    """Losses and the metric after every so many trees and after the best number; "epoch" counts trees. Of rankings, where
    LightGBM's own measure is NDCG, a loss is what is missing to 1."""
    train, val = (np.array(next(iter(losses[name].values()))) for name in ("train", "val"))
    train, val = (1 - train, 1 - val) if config.task == "ranking" else (train, val)
    outputs, before, rows = np.zeros((len(held.y), 1), dtype=np.float32), 0, []
    for trees in sorted({*range(1, len(val) + 1, max(len(val) // POINTS, 1)), model.rounds}):
        outputs = outputs + model.outputs(held.x, before, trees - before)
        score = metrics.score(config, model.prep, outputs, metrics.Truth.of(held))
        row = {"epoch": trees, "train_loss": train[trees - 1], "val_loss": val[trees - 1], "val_metric": score}
        rows.append({**row, "lr": config.shrinkage, "seconds": seconds * (trees - before)})
        before = trees
    return rows


def tell(callbacks: Sequence[Callback], curves: list[dict[str, Any]], best: int) -> None:
    """The callbacks hear of each row, and of the end."""
    progress = Progress(best_epoch=best, best=min(row["val_loss"] for row in curves))
    for row in curves:
        progress.curves.append(row)
        progress.epoch = progress.step = row["epoch"]
        for callback in callbacks:
            callback.on_epoch(progress)
    for callback in callbacks:
        callback.on_end(progress)
