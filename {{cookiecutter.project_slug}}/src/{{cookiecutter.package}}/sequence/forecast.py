"""Forecasts: a long table cut into examples, each of which knows what was known at one moment and nothing of what came later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine import kinds
from ..errors import UserError

if TYPE_CHECKING:
    from .recipe import Config

MOST = 100_000_000  # numbers in the lists of all examples
AHEAD = "ahead"  # the column that says how many steps ahead a value lies


def past(target: str) -> str:
    """The channel that holds what is known of the target."""
    return f"past {target}"


def windows(config: Config, frame: pl.DataFrame, channels: dict[str, str], path: Path, ending: bool) -> pl.DataFrame:
    """A row for each value of the target: its series up to an origin, as lists, and how many steps `ahead` of it the value lies.

    Origins lie `horizon` steps apart, so that each value is predicted once. ending: the end of each series is the only origin, and
    the values are not known yet; rows behind the last value of the target are left out. frame: one series after the other, each
    in the order of its steps; channels: name -> its column. Raises UserError for examples that would not fit into memory.
    """
    sizes = frame[config.series].rle().struct.field("len").to_numpy().astype(np.int64)
    if (size := int((np.minimum(sizes, config.max_length) * sizes).sum()) * len(channels)) > MOST:
        raise UserError(
            f"{path} makes examples of {size:,} numbers, over {MOST:,}; lower max_length = {config.max_length} to the steps that a"
            " forecast needs"
        )
    known = frame[config.target].is_not_null().to_numpy()
    columns = {name: frame[column].cast(pl.Float64).to_list() for name, column in channels.items()}
    texts: dict[str, list[str | None]] = {name: [] for name in channels}
    rows, ahead, least = [], [], max(2, config.season)
    for end, length in zip(np.cumsum(sizes), sizes, strict=True):
        start = end - length
        now = end - int(known[start:end][::-1].argmax())  # behind the last value that is known
        for origin in [now] if ending else range(start + least, end, config.horizon):
            steps = np.arange(1, 1 + (config.horizon if ending else min(config.horizon, end - origin)))
            ahead.append(steps)
            rows.append(np.minimum(origin + steps - 1, end - 1))
            for name, column in columns.items():
                told = kinds.written(column[max(start, origin - config.max_length) : origin])
                texts[name] += [told] * len(steps)
    if not rows:
        raise UserError(f"no series of {path} has more than {least} steps; there is nothing to predict")
    lists = [pl.Series(name, texts[name], dtype=pl.String) for name in channels]
    return frame[np.concatenate(rows)].with_columns(pl.Series(AHEAD, np.concatenate(ahead)), *lists)


def carried(prep: dict[str, Any], line: np.ndarray, starts: np.ndarray, ahead: pl.Series) -> np.ndarray:
    """What the simplest forecasts carry on, standardized as the target is: the last value known and, with a season, the value at
    the same place of the season before [n, 1 or 2]. line [total]: what is known of the target, NaN for a gap."""
    n = len(starts) - 1
    if not n:
        return np.zeros((0, 1 + bool(prep["season"])))
    last = np.maximum.reduceat(np.where(np.isnan(line), -1, np.arange(len(line))), starts[:-1])
    found = [np.where(last < 0, prep["target_mean"], line[last])]
    if season := prep["season"]:
        step = ahead.cast(pl.Int64).fill_null(1).to_numpy()
        place = starts[1:] - season + (step - 1) % season
        there = place >= starts[:-1]
        again = np.where(there, line[np.where(there, place, 0)], np.nan)
        found.append(np.where(np.isnan(again), found[0], again))
    return (np.stack(found, axis=1) - prep["target_mean"]) / prep["target_scale"]
