"""From a CSV or Parquet file to tensors. Everything learned is learned in `prepare`, from the training part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine import given
from ..engine.kinds import of_values
from ..engine.table import declared, larger_than_memory, noted, read_table, require_columns
from ..engine.target import (
    as_text,
    check_target,
    codes,
    fit_target,
    numbered,
    query_numbers,
    targets,
    with_target,
)
from ..errors import UserError
from ..task import FEATURES, Batch, Data
from .unknown import UNKNOWN, Forget, forgetting

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

BINS = 16  # quantile bins of a piecewise-linear embedding
BLOCK = 65_536  # rows whose numbers are scaled together: in 64 bits a long table would take four times its room
LARGEST = 3e38  # that a simple feature may be: trees read float32

# Or the columns of a request, for whose few rows a frame would cost more than the network.
Frame = pl.DataFrame | dict[str, list[Any]]


def load(config: Config, root: Path) -> Data:
    """Read the file, give every column a role, and leave out rows without a target. Raises UserError for bad input."""
    path = root / config.data
    if said := larger_than_memory(path):
        raise UserError(f"{path}: {said}; set sample_rows = 200_000 in recipe.toml, and it is read in pieces")
    settings = declared(config, numeric=config.numeric)
    table = given.read(config, root, lambda file: read_table(file, declared=settings))
    require_named(config, table.frame, path)
    labeled, unlabeled = with_target(table.frame, config.target)
    check_target(config, labeled, path)
    roles = infer_roles(config, labeled)
    notes = noted(config, path, table)
    return Data(labeled, config.target, roles, given.sources_hash(config, root), unlabeled, table.kinds, notes)


def require_named(config: Config, frame: pl.DataFrame, path: Path) -> None:
    """Refuse a setting that names a column the file does not have."""
    named = {
        "target": [config.target],
        "group": [config.group],
        "time": [config.time],
        "query": [config.query],
        "split_column": [config.split_column],
        "drop": config.drop,
        "numeric": config.numeric,
        "categorical": config.categorical,
        "id": config.id,
        "slices": config.slices,
        "ordinal": [parse_ordinal(text)[0] for text in config.ordinal],
    }
    require_columns(named, frame, path)


def parse_ordinal(text: str) -> tuple[str, list[str]]:
    """ "size: small < medium < large" -> ("size", ["small", "medium", "large"])."""
    name, colon, order = text.partition(":")
    levels = [level.strip() for level in order.split("<")]
    if not colon or len(levels) < 2 or not all(levels) or len(set(levels)) < len(levels):
        raise UserError(
            f'ordinal = {text!r} is not of the form "column: low < middle < high" with two or more different levels'
        )
    return name.strip(), levels


def infer_roles(config: Config, frame: pl.DataFrame) -> dict[str, str]:
    """Role of every column: what the settings say, else numbers are numeric; texts, booleans and dates by their use.

    A text column with a value of its own in nearly every row is an id. Dates that are no declared time are dropped
    from the features: a network cannot extrapolate them, and the audit asks about them.
    """
    declared = {config.target: "target"}
    for role, names in (
        ("numeric", config.numeric),
        ("categorical", config.categorical),
        ("id", config.id),
        ("ordinal", [parse_ordinal(text)[0] for text in config.ordinal]),
        ("drop", config.drop),
        ("group", [config.group]),
        ("time", [config.time]),
        ("query", [config.query]),
        ("part", [given.column(config)]),
    ):
        declared |= {name: role for name in names if name and name != config.target}
    return {name: declared.get(name) or _role_of(frame[name]) for name in frame.columns}


def _role_of(column: pl.Series) -> str:
    if column.dtype.is_numeric():
        return "numeric"
    present = len(column) - column.null_count()
    if column.dtype.is_temporal() or not present:
        return "drop"
    unique = column.n_unique() > 0.95 * max(present, 1) and present > 20
    return "id" if unique else "categorical"


def cleaned(config: Config, train: Data) -> Data:
    """The training part, with `missing = "drop"` without the rows that have a gap. The other parts keep theirs, filled with the
    median, as rows to predict are."""
    if config.missing != "drop":
        return train
    whole = train.frame.select(pl.all_horizontal(pl.col(train.columns(*FEATURES)).is_not_null())).to_series()
    if not whole.any():
        raise UserError('every training row has a gap, and missing = "drop" leaves none; use missing = "median"')
    left = train.take(np.flatnonzero(whole.to_numpy()))
    if (
        config.task in ("binary", "multiclass")
        and left.frame[train.target].n_unique() < train.frame[train.target].n_unique()
    ):
        raise UserError(
            'a class has gaps in all of its training rows, and missing = "drop" leaves none; use missing = "median"'
        )
    return left


def prepare(config: Config, train: Data) -> dict[str, Any]:
    """Scales, fills, vocabularies, classes and prior of the training part: of its sample where it is larger than memory."""
    frame = train.sample().frame
    numeric = {name: _fit_numeric(config, frame[name]) for name in train.columns("numeric")}
    for text in config.ordinal:
        name, levels = parse_ordinal(text)
        if name in train.columns("ordinal"):
            numeric[name] = {**_fit_numeric(config, _ordinal(frame[name], levels)), "levels": levels}
    onehot: dict[str, list[str]] = {}
    embedded: dict[str, list[str]] = {}
    for name in train.columns("categorical"):
        vocabulary = as_text(frame[name]).drop_nulls().unique().sort().to_list()
        (onehot if len(vocabulary) <= config.onehot_max else embedded)[name] = vocabulary
    if not numeric and not onehot and not embedded:
        raise UserError(
            f"no feature column is left: {', '.join(f'{n} is {r}' for n, r in train.roles.items())[:300]}; look at drop and id"
        )
    return {
        **fit_target(config, train),
        "task": config.task,
        "numeric": numeric,
        "onehot": onehot,
        "embedded": embedded,
        "kinds": {name: train.kinds[name] for name in (*onehot, *embedded) if name in train.kinds},
    }


def _fit_numeric(config: Config, column: pl.Series) -> dict[str, Any]:
    x = column.cast(pl.Float64, strict=False)
    known = x.drop_nulls().to_numpy()
    if not len(known):
        known = np.zeros(1)
    fill = {
        "mean": float(known.mean()),
        "zero": 0.0,
        "mode": float(pl.Series(known).mode().min()),  # type: ignore[arg-type]
    }.get(config.missing, float(np.median(known)))
    filled = x.fill_null(fill).to_numpy()
    if config.scaling == "standard":
        center, scale = float(filled.mean()), float(filled.std()) if np.ptp(filled) else 0.0  # rounding gives 1e-17
    elif config.scaling == "minmax":
        center, scale = float(filled.min()), float(filled.max() - filled.min())
    else:
        center, scale = 0.0, 1.0
    edges = np.unique(np.quantile((filled - center) / (scale or 1.0), np.linspace(0, 1, BINS + 1))).tolist()
    # A constant column has scale 0; dividing by 1 keeps it at 0 everywhere.
    return {"fill": fill, "center": center, "scale": scale or 1.0, "missing": bool(x.null_count()), "edges": edges}


def _ordinal(column: pl.Series | list[Any], levels: list[str]) -> pl.Series:
    """Positions of the levels; values outside the declared order are missing."""
    places = codes(column, levels) - 1.0
    return pl.Series(np.where(places < 0, np.nan, places), nan_to_null=True)


@dataclass
class Rows:
    """A part as tensors; a batch is one index operation on each. x: "numeric" [n, d] float32, "categorical" [n, c] int64."""

    x: dict[str, Tensor]
    y: Tensor
    query: Tensor | None = None
    lengths: Tensor | None = None
    forget: Forget | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """Direct indexing: 25 times faster per batch than a DataLoader, measured."""
        for rows in plan:
            query = None if self.query is None else self.query[rows]
            x = {name: tensor[rows] for name, tensor in self.x.items()}
            if augment and self.forget:
                self.forget(x, rows, epoch)
            yield Batch(x, self.y[rows], rows, query)


def examples(config: Config, prep: dict[str, Any], data: Data) -> Rows:
    """Encode a part. Categories unseen in training become UNKNOWN; classes unseen in training raise UserError."""
    import torch

    x = {name: torch.from_numpy(array) for name, array in encode(prep, data.frame).items()}
    y = torch.from_numpy(targets(config, prep, data))
    return Rows(x, y, query_numbers(config, data), forget=forgetting(config, prep, len(y)))


def encode(prep: dict[str, Any], frame: Frame) -> dict[str, np.ndarray]:
    """Features of a frame: "numeric" [n, d] (numbers, missing indicators, one-hot) and "categorical" [n, c] codes."""
    return encoder(prep)(frame)


def encoder(prep: dict[str, Any]) -> Callable[[Frame], dict[str, np.ndarray]]:
    """`encode` for one frame after the other: whatever does not depend on the frame is made once."""
    numbers = _scaler(prep["numeric"])
    onehot = {n: (numbered(v), np.eye(len(v) + 1, dtype=np.float32)[:, 1:]) for n, v in prep["onehot"].items()}
    embedded = {name: numbered(vocabulary) for name, vocabulary in prep["embedded"].items()}

    def encode(frame: Frame) -> dict[str, np.ndarray]:
        columns = [numbers(frame)] if prep["numeric"] else []
        columns += [hot[codes(frame[name], places)] for name, (places, hot) in onehot.items()]
        encoded = {"numeric": np.concatenate(columns, axis=1)} if columns else {}
        if embedded:
            encoded["categorical"] = np.stack([codes(frame[name], places) for name, places in embedded.items()], axis=1)
        return encoded

    return encode


def _floats(column: pl.Series | list[Any]) -> np.ndarray:
    """Numbers [n] float64, NaN for missing."""
    if isinstance(column, list):
        return np.array(column, dtype=np.float64)
    return column.cast(pl.Float64, strict=False).to_numpy()


def _scaler(prep: dict[str, dict[str, Any]]) -> Callable[[Frame], np.ndarray]:
    """Scaled numbers [n, d] float32 of a frame; behind one that had gaps in training, whether it is missing."""
    fill, center, scale, gaps = (
        np.array([f[key] for f in prep.values()]) for key in ("fill", "center", "scale", "missing")
    )
    behind = np.searchsorted(np.flatnonzero(gaps), np.arange(len(prep))) + np.arange(len(prep))  # place of each number

    def numbers(frame: Frame) -> np.ndarray:
        if isinstance(frame, pl.DataFrame) and frame.height > BLOCK:
            return np.concatenate([numbers(part) for part in frame.iter_slices(BLOCK)])
        columns = (_ordinal(frame[name], f["levels"]) if "levels" in f else frame[name] for name, f in prep.items())
        raw = np.stack([_floats(column) for column in columns], axis=1)
        missing = np.isnan(raw)
        scaled = np.clip((np.where(missing, fill, raw) - center) / scale, -1e6, 1e6)
        found = np.empty((len(raw), len(prep) + gaps.sum()), dtype=np.float32)
        found[:, behind] = scaled
        found[:, behind[gaps] + 1] = missing[:, gaps]
        return found

    return numbers


def simple_features(config: Config, data: Data) -> np.ndarray | None:
    """Numbers as they are and categories as codes [n, d], NaN for missing: enough for trees. None without any."""
    columns = data.columns("numeric", "categorical", "ordinal")
    numbers = [data.frame[c] if data.roles[c] == "numeric" else as_text(data.frame[c]).rank("dense") for c in columns]
    floats = [column.cast(pl.Float64, strict=False).clip(-LARGEST, LARGEST).to_numpy() for column in numbers]
    return np.stack(floats, axis=1) if floats else None


def feature_names(prep: dict[str, Any]) -> list[str]:
    """Names of the columns of "numeric", in order."""
    names = []
    for name, fitted in prep["numeric"].items():
        names += [name, f"{name} is missing"] if fitted["missing"] else [name]
    return names + [f"{name} = {value}" for name, vocabulary in prep["onehot"].items() for value in vocabulary]


def show(prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
    """One example decoded back from its tensors into the units of the file."""
    shown: dict[str, Any] = {}
    numbers = batch.x["numeric"][row].cpu().numpy() if "numeric" in batch.x else np.zeros(0)
    at = 0
    for name, fitted in prep["numeric"].items():
        value = float(numbers[at]) * fitted["scale"] + fitted["center"]
        missing = fitted["missing"] and numbers[at + 1] > 0
        shown[name] = "missing" if missing else _shown(fitted, value)
        at += 1 + fitted["missing"]
    for name, vocabulary in prep["onehot"].items():
        hot = np.flatnonzero(numbers[at : at + len(vocabulary)])
        shown[name] = _value(prep, name, vocabulary[hot[0]]) if len(hot) else "unknown"
        at += len(vocabulary)
    for i, (name, vocabulary) in enumerate(prep["embedded"].items()):
        code = int(batch.x["categorical"][row, i])
        shown[name] = "unknown" if code == UNKNOWN else _value(prep, name, vocabulary[code - 1])
    return shown


def _value(prep: dict[str, Any], name: str, text: str) -> Any:
    """The value that a vocabulary holds as text: True, 4, a date."""
    kind = prep["kinds"].get(name, {"kind": "text"})
    return of_values(name, [text], {"kind": kind["kind"]})[0][0]


def _shown(fitted: dict[str, Any], value: float) -> Any:
    """A number to a millionth of its scale; an ordinal one as its level, where it is one."""
    levels = dict(enumerate(fitted.get("levels", [])))
    place = round(value) if math.isfinite(value) and abs(value - round(value)) < 0.01 else -1
    return levels.get(place, round(value, 6 - math.floor(math.log10(fitted["scale"]))))
