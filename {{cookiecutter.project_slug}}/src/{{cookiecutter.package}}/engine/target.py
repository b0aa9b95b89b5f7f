"""The target: refused where nothing can be learned from it, fitted on the training part, encoded for the loss.

The same for every modality: only what lies in front of it differs.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..config import Config
from ..errors import UserError
from ..task import Data
from . import formatted

if TYPE_CHECKING:
    from torch import Tensor


def with_target(frame: pl.DataFrame, target: str) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows that have a target, and those that have none, if any."""
    empty = frame[target].is_null()
    return frame.filter(~empty), frame.filter(empty) if empty.any() else None


def check_target(config: Config, frame: pl.DataFrame, path: Path) -> None:
    """Refuse a target that does not fit the task, or that is the same in every row."""
    target = frame[config.target]
    if len(target) < 10:
        raise UserError(f"{path} has {len(target)} rows with a target; at least 10 are needed")
    if config.task in ("regression", "ranking"):
        return _check_number(config, target)
    classes = target.n_unique()
    if classes < 2:
        raise UserError(f"target {config.target!r} is {target[0]!r} in every row; there is nothing to predict")
    if config.task == "binary" and classes != 2:
        raise UserError(
            f"target {config.target!r} has {classes} values; task = 'binary' needs 2: use 'multiclass' or 'regression'"
        )
    if classes > 0.5 * len(target) and classes > 20:
        raise UserError(
            f"target {config.target!r} has {classes} values in {len(target)} rows; is the task 'regression'?"
        )
    if config.positive and config.task == "binary" and config.positive not in as_text(target.unique()).to_list():
        raise UserError(
            f"positive = {config.positive!r} is not among the values of {config.target!r}: {', '.join(map(str, target.unique().sort()))}"
        )


def without_classes(data: Data, names: list[str]) -> Data:
    """The rows of all classes but these. Raises UserError for one that is not there, and where fewer than two are left."""
    column = as_text(data.frame[data.target])
    there = column.unique().drop_nulls().to_list()
    if odd := [name for name in names if name not in there]:
        close = difflib.get_close_matches(odd[0], there, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(there)[:8])}"
        raise UserError(f"drop_classes names {odd[0]!r}, which is no class of {data.target!r}; {hint}")
    if len(there) - len(set(names)) < 2:
        raise UserError(
            f"drop_classes leaves {len(there) - len(set(names))} class of {data.target!r}; at least 2 are needed"
        )
    return data.take(np.flatnonzero(~column.is_in(names).to_numpy()))


def _check_number(config: Config, target: pl.Series) -> None:
    if not target.dtype.is_numeric():
        values = target.cast(pl.String).rename("")
        readable = not formatted.numbers(values, formatted.written(values)).null_count()
        raise UserError(
            f"target {config.target!r} holds text such as {target[0]!r}; task = {config.task!r} needs numbers"
            + (f": numeric = [{json.dumps(config.target)}] reads them so" if readable else "")
        )
    if config.task == "regression" and target.n_unique() == 1:
        raise UserError(f"target {config.target!r} is {target[0]!r} in every row; there is nothing to predict")
    if config.task == "ranking" and (float(target.min()) < 0 or float(target.max()) > 30):  # type: ignore[arg-type]
        raise UserError(
            f"target {config.target!r} must be a relevance from 0 to 30; it runs from {target.min()!r} to {target.max()!r}"
        )


def fit_target(config: Config, train: Data) -> dict[str, Any]:
    """What every prep holds of the target: classes, outputs, prior, target_mean and target_scale."""
    column = train.frame[config.target]
    fitted: dict[str, Any] = {"classes": [], "outputs": 1, "prior": [], "target_mean": 0.0, "target_scale": 1.0}
    if config.task in ("binary", "multiclass"):
        named = column if column.dtype.is_numeric() else as_text(column)
        classes = [str(value) for value in named.unique().sort()]
        if config.positive and config.task == "binary":
            classes = [*(c for c in classes if c != config.positive), config.positive]
        counts = [int((as_text(column) == name).sum()) for name in classes]
        fitted |= {
            "classes": classes,
            "outputs": len(classes) if config.task == "multiclass" else 1,
            "prior": [c / len(column) for c in counts],
        }
    elif config.task == "regression":
        values = column.cast(pl.Float64).to_numpy()
        fitted |= {"target_mean": float(values.mean()), "target_scale": float(values.std()) or 1.0}
    return fitted


def targets(config: Config, prep: dict[str, Any], data: Data) -> np.ndarray:
    """Encoded targets [n]: float32 0/1, int64 class numbers, float32 standardized values, or float32 relevance."""
    column = data.frame[data.target]
    if not prep["classes"]:
        return ((column.cast(pl.Float64).to_numpy() - prep["target_mean"]) / prep["target_scale"]).astype(np.float32)
    numbers = codes(column, prep["classes"]) - 1
    if (numbers < 0).any():
        unseen = as_text(column).to_list()[int((numbers < 0).argmax())]
        raise UserError(
            f"class {unseen!r} of {data.target!r} does not occur in the training part; a stratified split keeps every class in every part"
        )
    return numbers.astype(np.float32) if config.task == "binary" else numbers


def query_numbers(config: Config, data: Data) -> Tensor | None:
    """Number of the query of each row, int64 [n]; None when no query is declared."""
    if not config.query:
        return None
    import torch

    return torch.from_numpy(as_text(data.frame[config.query]).fill_null("").rank("dense").to_numpy().astype(np.int64))


def prior_logits(prep: dict[str, Any]) -> Tensor:
    """Output [k] of a model that knows only the class shares; 0 for regression and ranking. Raises UserError for another k."""
    import torch

    k, outputs = len(prep["prior"]), prep["outputs"]
    if not k:
        return torch.zeros(outputs)
    if outputs != k and (outputs, k) != (1, 2):
        raise UserError(f"{outputs} outputs do not fit {k} classes; engine/target.py has to set outputs to {k}")
    log_prior = torch.tensor(prep["prior"]).clamp(min=1e-6).log()
    return log_prior[1:] - log_prior[:1] if prep["outputs"] == 1 else log_prior


def as_text(column: pl.Series) -> pl.Series:
    """The values as strings, nulls as they are."""
    return column.cast(pl.String)


def counted(column: pl.Series) -> dict[str, int]:
    """Rows of each value as text, the most frequent first; of any column, whatever it is called."""
    values = as_text(column).drop_nulls().rename("value")
    return dict(values.value_counts(name="rows").sort("rows", "value", descending=[True, False]).rows())


def numbered(vocabulary: list[str]) -> dict[Any, int]:
    """Position of each word in the vocabulary plus one."""
    return {word: number for number, word in enumerate(vocabulary, start=1)}


def codes(column: pl.Series | list[Any], vocabulary: list[str] | Mapping[Any, int]) -> np.ndarray:
    """Position in the vocabulary plus one, int64 [n]; 0 for anything else. column: or texts and whole numbers in a list.
    vocabulary: or `numbered` already, where it is used again and again."""
    places = vocabulary if isinstance(vocabulary, Mapping) else numbered(vocabulary)
    values = (
        as_text(column).to_list() if isinstance(column, pl.Series) else [v if v is None else str(v) for v in column]
    )
    return np.array([places.get(value, 0) for value in values], dtype=np.int64)
