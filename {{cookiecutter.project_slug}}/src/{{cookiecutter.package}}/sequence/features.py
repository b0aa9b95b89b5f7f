"""A series in few numbers: what simple models learn from, and what the monitor compares."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl

from ..engine.target import as_text
from ..task import Data
from .data import arrays, cut, encode

TOLD = (
    "mean", "sd", "min", "max", "first", "last", "slope", "q25", "median", "q75", "change", "autocorrelation 1",
    "autocorrelation 2", "gaps",
)  # fmt: skip
PIECE = 2_000  # series that are padded together, to bound memory


def summaries(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each series its length, and of each channel what TOLD names: [n, 1 + 14 c]; NaN where nothing is known."""
    length, parts = np.diff(starts), []
    order = np.argsort(length, kind="stable")  # like lengths together, so that little is padded
    for rows in np.split(order, range(PIECE, len(order), PIECE)) if len(order) else []:
        place = np.arange(length[rows].max())
        real = place < length[rows][:, None]
        at = np.where(real, starts[rows][:, None] + place, 0)
        padded = np.where(real[:, None], values.T[:, at].transpose(1, 0, 2), np.nan)
        told = _of_channels(padded, length[rows]).reshape(len(rows), -1)
        parts.append(np.concatenate([length[rows][:, None].astype(np.float64), told], axis=1))
    return np.concatenate(parts)[np.argsort(order)] if parts else np.zeros((0, 1 + len(TOLD) * values.shape[1]))


def _of_channels(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    """x [b, c, t], NaN for gaps and padding -> [b, c, 14]."""
    there = ~np.isnan(x)
    count = there.sum(axis=2)
    ordered = np.sort(x, axis=2)  # NaN last
    at = np.arange(x.shape[2])
    first, last = there.argmax(axis=2), x.shape[2] - 1 - there[..., ::-1].argmax(axis=2)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of a channel that is all gaps nothing is known: NaN
        mean = np.nanmean(x, axis=2)
        centered = x - mean[..., None]
        variance = np.nanmean(centered**2, axis=2)
        time = np.where(there, at - (at * there).sum(axis=2, keepdims=True) / count[..., None], np.nan)
        slope = np.nansum(time * centered, axis=2) / np.nansum(time**2, axis=2)
        change = np.nanmean(np.abs(np.diff(x, axis=2)), axis=2) if x.shape[2] > 1 else 0.0 * mean
        again = [
            np.nanmean(centered[..., k:] * centered[..., :-k], axis=2) / variance if x.shape[2] > k else 0.0 * mean
            for k in (1, 2)
        ]
    ranks = [np.maximum((q * (count - 1)).round().astype(int), 0) for q in (0.0, 1.0, 0.25, 0.5, 0.75)]
    quantiles = [_pick(ordered, rank) for rank in ranks]
    ends = [_pick(x, place) for place in (first, last)]
    gaps = 1 - count / length[:, None]
    told = [mean, np.sqrt(variance), *quantiles[:2], *ends, slope, *quantiles[2:], change, *again, gaps]
    return np.stack([np.where(np.isfinite(one), one, np.nan) for one in told], axis=2)


def _pick(x: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, place[..., None], axis=2)[..., 0]


def of_encoded(prep: dict[str, Any], frame: pl.DataFrame) -> np.ndarray:
    """What the simple models learn from: summaries of the series as the network gets them, and static features [n, d]; a value
    that is not known is 0."""
    values, starts, static = encode(prep, frame)
    told = summaries(values[:, : len(prep["channels"])].astype(np.float64), starts)
    gaps = summaries(values[:, len(prep["channels"]) :].astype(np.float64), starts)[:, 1 :: len(TOLD)]  # their means
    return np.concatenate([np.nan_to_num(told), np.nan_to_num(gaps), static], axis=1)


def simple_features(data: Data) -> np.ndarray:
    """Summaries of the series as they are in the file, and static columns [n, d], NaN for missing: enough for trees."""
    told = summaries(*cut(*arrays(data.frame, data.columns("series")), 10_000))
    columns = [data.frame[name].cast(pl.Float64).to_numpy() for name in data.columns("numeric")]
    columns += [as_text(data.frame[n]).rank("dense").cast(pl.Float64).to_numpy() for n in data.columns("categorical")]
    return np.clip(np.column_stack([told, *columns]), -3e38, 3e38)


def monitored_features(prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """Length, and of each channel the mean, spread, range, change from step to step and share of gaps; static columns as they are."""
    channels = list(prep["channels"])
    told = summaries(*cut(*arrays(frame, channels), prep["max_length"]))
    columns = [pl.Series("steps", told[:, 0])]
    for i, name in enumerate(channels):
        for what in ("mean", "sd", "min", "max", "change", "gaps"):
            column = told[:, 1 + i * len(TOLD) + TOLD.index(what)]
            columns.append(pl.Series(f"{name}: {what}", column, nan_to_null=True))
    return pl.DataFrame([*columns, *(frame[name] for name in (*prep["static"], *prep["categories"]))])
