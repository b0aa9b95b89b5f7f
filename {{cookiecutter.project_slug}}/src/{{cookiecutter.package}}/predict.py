"""Answers for the rows of a file, or for the pictures of a folder, by a trained model of this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from .engine import kinds, metrics
from .engine.data import Recipe
from .engine.evaluate import judged
from .engine.fitted import Fitted
from .engine.folders import files_below
from .engine.table import LINES, Declared, read_table, require_columns
from .engine.truth import saved_truth
from .errors import UserError
from .task import FEATURES, Data


def predict(recipe: Recipe, model: Fitted, run: Path, path: Path) -> pl.DataFrame:
    """The rows, each with its `prediction`, and with the probability of each class where there are classes. run: folder of the
    training run. Raises UserError naming the first row that cannot be read."""
    if taken := [n for n in recipe.data.columns(*FEATURES) if n == "prediction" or n.startswith("probability of ")]:
        raise UserError(f"the data have a column {taken[0]!r}, which the answers need; rename it")
    frame = readable(recipe, model, path)
    prep, config, target = model.prep, model.config, recipe.data.target
    stand_in = prep["classes"][0] if prep["classes"] else float(prep["target_mean"])
    features = frame.with_columns(pl.lit(stand_in).alias(target))
    outputs, _ = model.outputs(Data(features, target, recipe.data.roles, "", kinds=recipe.data.kinds))
    shown = frame.select(c for c in frame.columns if c in recipe.data.frame.columns)
    if not prep["classes"]:
        return shown.with_columns(pl.Series("prediction", metrics.values(prep, outputs)))
    as_used = judged(config, model, (np.load(run / "outputs.npy", allow_pickle=False), outputs), saved_truth(run))
    probability = metrics.class_probabilities(outputs / as_used.temperature)
    called = [prep["classes"][c] for c in as_used.decided] if as_used.decided is not None else []
    columns = [pl.Series(f"probability of {name}", probability[:, i]) for i, name in enumerate(prep["classes"])]
    return shown.with_columns(pl.Series("prediction", called), *columns)


def readable(recipe: Recipe, model: Fitted, path: Path) -> pl.DataFrame:
    """The features of the rows, each column read as it was for training."""
    if not path.exists():
        raise UserError(
            f"{path} is neither a file nor a folder; name a CSV, JSONL or Parquet file or a folder of images"
        )
    data, config = recipe.data, model.config
    names = data.columns(*FEATURES)
    if path.is_dir():
        frame = pl.DataFrame({names[0]: [str(file.absolute()) for file in files_below(path)]})
    else:
        frame = in_kinds_of_training(recipe, path, names)
    if config.query and config.query not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias(config.query))
    if not frame.height:
        raise UserError(f"{path} holds no rows")
    found, reasons = model.task.validate_rows(config, model.prep, frame)
    if odd := [f"row {i} {why}" for i, why in enumerate(reasons, start=1) if why]:
        raise UserError(f"{path} {odd[0]} ({len(odd)} such)")
    return found


def in_kinds_of_training(recipe: Recipe, path: Path, names: list[str]) -> pl.DataFrame:
    """These columns of a table. What a column looks like in this file says nothing: "01234" is no number where training read texts."""
    data, config = recipe.data, recipe.config
    kind_of = {name: kinds.to_predict(data, name) for name in names}
    numbers = [name for name in names if kind_of[name]["kind"] in ("number", "integer")]
    texts = [name for name in names if kind_of[name]["kind"] in ("text", "image")]
    typed = path.suffix in (".parquet", *LINES)
    series = [name for name in names if kind_of[name]["kind"] == "series"]
    said = Declared(config.drop, series=series) if typed else Declared(config.drop, numbers, texts, series)
    frame = recipe.task.rows_to_predict(config, path)
    frame = read_table(path, declared=said).frame if frame is None else frame
    require_columns({"the model": names}, frame, path)
    columns = []
    for name in names:
        values = frame[name].to_list()
        if data.roles[name] == "image":
            values = [None if v is None else str((path.parent / v).absolute()) for v in values]
        column, bad = kinds.of_values(name, values, kind_of[name])
        if bad:
            why = kinds.why(values[bad[0]], kind_of[name])
            raise UserError(f"{path} row {bad[0] + 1} has {values[bad[0]]!r} in column {name!r}, which {why}")
        columns.append(column)
    return pl.DataFrame([*columns, *(frame[[config.query]] if config.query in frame.columns else [])])
