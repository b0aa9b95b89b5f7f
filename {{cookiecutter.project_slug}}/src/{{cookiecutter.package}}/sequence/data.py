"""From lists of numbers to tensors: scaled by the training part, gaps marked, padded batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine.target import as_text, codes, fit_target, query_numbers, targets
from ..errors import UserError
from ..task import Batch, Data
from .forecast import AHEAD, carried, past

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

SHOWN = 24  # steps of a channel that a decoded example shows
LIST = pl.List(pl.Float64)


def arrays(frame: pl.DataFrame, channels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All series end to end: values [total, c] float64, NaN for a gap; and where each begins, starts [n + 1].

    A channel that a row does not have is a gap in every step.
    """
    lists = [frame[name].str.json_decode(LIST) for name in channels]
    each = np.stack([column.list.len().fill_null(0).to_numpy() for column in lists], axis=1).astype(np.int64)  # [n, c]
    length = each.max(axis=1, initial=0)
    values = np.full((int(length.sum()), len(channels)), np.nan)
    for i, column in enumerate(lists):
        there = each[:, i] > 0
        known = column.filter(pl.Series(there)).explode().cast(pl.Float64)
        values[np.repeat(there, length), i] = known.fill_null(float("nan")).to_numpy()
    return values, np.concatenate([[0], np.cumsum(length)])


def faults(frame: pl.DataFrame, channels: list[str]) -> list[str]:
    """What is wrong with each row as a series, [n]; "" where nothing is: it needs a step, and channels of one length."""
    commas = [
        pl.when(pl.col(name).str.contains(r"\d|null")).then(pl.col(name).str.count_matches(",") + 1).otherwise(0)
        for name in channels
    ]
    counts = frame.select(e.fill_null(0).cast(pl.Int64).alias(str(i)) for i, e in enumerate(commas)).to_numpy()
    most = counts.max(axis=1, initial=0)
    uneven = ((counts != most[:, None]) & (counts > 0)).any(axis=1)
    why = []
    for row, (steps, odd) in enumerate(zip(most, uneven, strict=True)):
        said = " and ".join(f"{n} in {name!r}" for n, name in zip(counts[row], channels, strict=True)) if odd else ""
        differ = f"has channels of different lengths: {said}" if odd else ""
        why.append(differ if steps else "is a series without a step")
    return why


def prepare(config: Config, train: Data) -> dict[str, Any]:
    """Scales of channels and static numbers, vocabularies of static categories, and the target; from the training part."""
    channels = train.columns("series")
    if not channels:
        others = ", ".join(f"{name} is {role}" for name, role in train.roles.items())
        raise UserError(f"no channel is left: {others[:300]}; look at drop")
    values, starts = cut(*arrays(train.frame, channels), config.max_length)
    gaps = np.isnan(values).any(axis=0)
    values = by_series(values, starts) if config.scaling == "series" else values
    return {
        **fit_target(config, train),
        "past": past(config.target) if config.horizon else "",
        "season": config.season,
        "task": config.task,
        "max_length": config.max_length,
        "scaling": config.scaling,
        "channels": {
            name: {**(scale(values[:, i]) if config.scaling == "standard" else PLAIN), "missing": bool(gaps[i])}
            for i, name in enumerate(channels)
        },
        "static": {name: _fit_static(train.frame[name]) for name in train.columns("numeric")},
        "categories": {
            name: as_text(train.frame[name]).drop_nulls().unique().sort().to_list()
            for name in train.columns("categorical")
        },
    }


PLAIN = {"center": 0.0, "scale": 1.0}


def scale(values: np.ndarray) -> dict[str, float]:
    """Center and scale of values that may be NaN; a constant has scale 1, and is 0 everywhere."""
    known = values[~np.isnan(values)]
    if not len(known):
        return PLAIN
    with np.errstate(over="ignore"):
        spread = float(known.std())
    return {"center": float(known.mean()), "scale": spread if np.ptp(known) and np.isfinite(spread) else 1.0}


def _fit_static(column: pl.Series) -> dict[str, Any]:
    x = column.cast(pl.Float64)
    fill = float(x.median() or 0.0)  # type: ignore[arg-type]
    return {"fill": fill, **scale(x.fill_null(fill).to_numpy()), "missing": bool(x.null_count())}


def cut(values: np.ndarray, starts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `most` steps of each series: where it ends is where it is when one asks."""
    length = np.diff(starts)
    if not len(length) or length.max() <= most:
        return values, starts
    left = np.arange(len(values)) - np.repeat(starts[1:], length) + most  # at least 0 for the steps that are kept
    return values[left >= 0], np.concatenate([[0], np.cumsum(np.minimum(length, most))])


def by_series(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Each channel of each series with mean 0 and variance 1 by itself; a constant one is 0."""
    known, length = ~np.isnan(values), np.diff(starts)

    def mean(x: np.ndarray) -> np.ndarray:
        total = np.add.reduceat(np.where(known, x, 0.0), starts[:-1])
        share = total / np.maximum(np.add.reduceat(known, starts[:-1], dtype=np.int64), 1)
        return np.asarray(np.repeat(share, length, axis=0))

    centered = values - mean(values)
    spread = np.sqrt(mean(centered**2))
    varied = spread > 1e-9 * np.maximum(np.abs(mean(values)), 1e-300)  # rounding leaves a constant some 1e-16 of itself
    return np.asarray(centered / np.where(varied, spread, 1.0) * varied)


def encode(prep: dict[str, Any], frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series end to end, values [total, c] float32 with a channel more for each that had gaps in training; starts [n + 1]; and
    static features [n, s]."""
    channels = prep["channels"]
    raw, starts = cut(*arrays(frame, list(channels)), prep["max_length"])
    line = raw[:, list(channels).index(prep["past"])] if prep["past"] else None
    gaps = np.isnan(raw)
    raw = by_series(raw, starts) if prep["scaling"] == "series" and len(raw) else raw
    center, size = (np.array([fitted[key] for fitted in channels.values()]) for key in ("center", "scale"))
    scaled = np.clip(np.where(gaps, 0.0, (raw - center) / size), -1e6, 1e6)
    marked = [i for i, fitted in enumerate(channels.values()) if fitted["missing"]]
    values = np.concatenate([scaled, gaps[:, marked]], axis=1).astype(np.float32)
    columns = []
    for name, fitted in prep["static"].items():
        x = frame[name].cast(pl.Float64)
        columns.append((x.fill_null(fitted["fill"]).to_numpy() - fitted["center"]) / fitted["scale"])
        columns += [x.is_null().to_numpy()] if fitted["missing"] else []
    for name, vocabulary in prep["categories"].items():
        columns += list(np.eye(len(vocabulary) + 1)[:, 1:][codes(frame[name], vocabulary)].T)
    columns += [] if line is None else list(carried(prep, line, starts, frame[AHEAD]).T)
    static = np.stack(columns, axis=1) if columns else np.zeros((frame.height, 0))
    return values, starts, np.clip(static, -1e6, 1e6).astype(np.float32)


@dataclass
class Series:
    """A part as numbers. A batch is padded to its own longest series; `lengths` lets the loop put like lengths together."""

    values: np.ndarray
    starts: np.ndarray
    static: Tensor
    y: Tensor
    query: Tensor | None
    lengths: Tensor | None

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """x: "values" float32 [b, c, longest of the batch], 0 behind the end; "mask" int64 [b, t], 1 where there is a step;
        and "static" float32 [b, s] where there are static columns."""
        for rows in plan:
            x = self._padded(rows.cpu().numpy())
            if self.static.shape[1]:
                x["static"] = self.static[rows]
            yield Batch(x, self.y[rows], rows, None if self.query is None else self.query[rows])

    def _padded(self, rows: np.ndarray) -> dict[str, Tensor]:
        import torch

        start = self.starts[rows]
        length = self.starts[rows + 1] - start
        place = np.arange(length.max())
        real = place < length[:, None]  # [b, t]
        at = np.where(real, start[:, None] + place, 0)
        values = np.where(real[:, None], self.values.T[:, at].transpose(1, 0, 2), np.float32(0))
        return {"values": torch.from_numpy(values), "mask": torch.from_numpy(real.astype(np.int64))}


def examples(config: Config, prep: dict[str, Any], data: Data) -> Series:
    """Encode a part. Classes unseen in training raise UserError."""
    import torch

    values, starts, static = encode(prep, data.frame)
    y = torch.from_numpy(targets(config, prep, data))
    lengths = torch.from_numpy(np.diff(starts))
    return Series(values, starts, torch.from_numpy(static), y, query_numbers(config, data), lengths)


def show(prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
    """One example decoded back from its tensors: its length, the first steps of each channel, and its static columns."""
    real = batch.x["mask"][row].bool().cpu()
    values = batch.x["values"][row].cpu().double()[:, real].numpy()
    shown: dict[str, Any] = {"steps": int(real.sum())}
    marks = iter(values[len(prep["channels"]) :])
    for fitted, (name, line) in zip(
        prep["channels"].values(), zip(prep["channels"], values, strict=False), strict=True
    ):
        gap = next(marks) > 0 if fitted["missing"] else np.zeros(len(line), dtype=bool)
        back = [f"{v * fitted['scale'] + fitted['center']:.4g}" for v in line[:SHOWN]]
        words = ", ".join("gap" if none else text for text, none in zip(back, gap, strict=False))
        shown[name] = words + (", ..." if len(line) > SHOWN else "")
    return shown | (_shown_static(prep, batch.x["static"][row].cpu().double().numpy()) if "static" in batch.x else {})


def _shown_static(prep: dict[str, Any], numbers: np.ndarray) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    at = 0
    for name, fitted in prep["static"].items():
        gap = fitted["missing"] and numbers[at + 1] > 0
        shown[name] = "missing" if gap else float(numbers[at]) * fitted["scale"] + fitted["center"]
        at += 1 + fitted["missing"]
    for name, vocabulary in prep["categories"].items():
        hot = np.flatnonzero(numbers[at : at + len(vocabulary)])
        shown[name] = vocabulary[hot[0]] if len(hot) else "unknown"
        at += len(vocabulary)
    for name, number in zip(("last value", "a season before"), numbers[at:], strict=False):
        shown[name] = float(number) * prep["target_scale"] + prep["target_mean"]
    return shown
