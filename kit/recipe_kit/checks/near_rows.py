"""Rows of a table that are nearly the same: far nearer to each other than to any third, and more of them than by chance."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data
from .identifiers import is_called_name

FINE = 20  # values above which a column of numbers is measured; with fewer it must be equal, as categories must
COLUMNS = 2  # that are measured, at least: what is close in one number alone (proton and neutron, by mass) is no copy
OWN = 0.95  # share of rows with a whole number of their own from which it names the row
ROWS, BLOCK = 4_000, 500  # rows that are compared, and rows of a stretch that keeps neighbors together
LEAST = 30  # rows that have another one to be compared with
KTH = (2, 8)  # neighbors that a distance is held against: copies come in pairs, or several at a time
NEARER = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)  # of the distance to that neighbor
BY_CHANCE = 0.1  # share of the rows that may come so near by chance; what more rows do says nothing
NONE = np.zeros((0, 2), dtype=np.int64)
SURE = 1e-4  # chance of a false alarm at one of these distances, and 1e-3 over all of them


def near_rows(config: Config, data: Data) -> tuple[np.ndarray, int, str]:
    """(pairs of positions int64 [m, 2] of rows that are nearly the same, rows that could be compared, why none could be).

    Rows that agree in all categories and few-valued numbers are compared by the other numbers. Were they drawn from any
    smooth density of dimension d, the nearest would be nearer than a share t of the k-th nearest in t^d of the cases or
    so (Facco et al. 2017, for k = 2), and at t / 2 in 2^-d of those. Copies break that law: nearer than they are, hardly
    anything is lost from t to t / 2. d is taken at half of what the table shows, and at least as 1.
    """
    fine, equal = columns(config, data)
    if len(fine) < COLUMNS:
        return NONE, 0, f"{len(fine)} columns of numbers have over {FINE} values; {COLUMNS} have to agree in a copy"
    random = np.random.default_rng(0)
    z, cell = measured(data, fine, random), _cells(data, fine, equal)
    order = _stretches(z, cell, random)
    close, nearest, compared = close_rows(z[order], cell[order])
    if compared < LEAST:
        return NONE, 0, f"only {compared} rows have the categories of another, {LEAST} are needed"
    pairs = np.stack([order[close], order[nearest[close]]], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0), len(order), ""


def close_rows(z: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(rows of z [n, d] that lie nearer to their nearest than chance explains, the nearest of every row, rows that have one in
    their cell). cell [n]: sorted."""
    nearest, distances = _neighbors(z, cell, np.random.default_rng(0))
    compared = int(np.isfinite(distances[:, 0]).sum())
    return np.flatnonzero(_closer_than_chance(distances)) if compared >= LEAST else NONE[:, 0], nearest, compared


def columns(config: Config, data: Data) -> tuple[list[str], list[str]]:
    """(columns that are measured, columns that must be equal). Whole numbers that name a row or a thing are neither."""
    fine, equal = [], data.columns("categorical", "ordinal")
    for name in data.columns("numeric"):
        values = data.frame[name].n_unique()
        named = values > OWN * len(data) or (is_called_name(name) and name not in getattr(config, "numeric", []))
        named = named and data.frame[name].dtype.is_integer()
        if values > FINE and not named:
            fine.append(name)
        elif values <= FINE:
            equal.append(name)
    return fine, [*equal, *(c for c in (config.query, config.time, config.group) if c)]


def measured(data: Data, names: list[str], random: np.random.Generator) -> np.ndarray:
    """The columns [n, d] in quartile distances, far values drawn in, missing ones at the median; with half a step of noise,
    so that numbers on a grid are as far apart by chance as any others."""
    scaled = []
    for name in names:
        x = data.frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
        there = x[np.isfinite(x)]
        low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
        step = float(np.median(np.diff(np.unique(there))))
        x = np.where(np.isfinite(x), x, middle) + random.uniform(-0.5, 0.5, len(x)) * step
        scaled.append(np.arcsinh((x - middle) / ((high - low) or float(there.std()))))
    return np.stack(scaled, axis=1)


def _cells(data: Data, fine: list[str], equal: list[str]) -> np.ndarray:
    """Number of the rows that agree in all that must be equal, gaps included: int64 [n]."""
    columns = [data.frame[name] for name in equal] + [data.frame[name].is_null() for name in fine]
    rows = pl.DataFrame([column.alias(str(i)) for i, column in enumerate(columns)])  # whatever the columns are called
    return np.unique(rows.hash_rows().to_numpy(), return_inverse=True)[1]


def _stretches(z: np.ndarray, cell: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of the rows, cell by cell and along a random direction; of many rows random stretches of that order, since
    few copies would be left together in a random sample."""
    order = np.lexsort((z @ random.normal(size=z.shape[1]), cell))
    if len(order) <= ROWS:
        return order
    blocks = np.array_split(order, len(order) // BLOCK)
    return np.concatenate([blocks[i] for i in np.sort(random.permutation(len(blocks))[: ROWS // BLOCK])])


def _neighbors(z: np.ndarray, cell: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(nearest row of the same cell [n], distances to the nearest ones [n, k]): infinite where a row is alone, and as far as
    random rows are where a cell holds fewer than k others. cell: sorted."""
    from scipy.spatial.distance import cdist

    n, k = len(z), max(KTH)
    far = np.median(np.linalg.norm(z - z[random.permutation(n)], axis=1))
    nearest, distances = np.zeros(n, dtype=np.int64), np.full((n, k), far)
    distances[:, 0] = np.inf
    starts = np.flatnonzero(np.r_[True, np.diff(cell) != 0])
    for start, end in zip(starts, np.r_[starts[1:], n], strict=True):
        few = min(k, end - start - 1)
        if few:
            apart = cdist(z[start:end], z[start:end])
            np.fill_diagonal(apart, np.inf)
            nearest[start:end] = start + apart.argmin(axis=1)
            distances[start:end, :few] = np.sort(np.partition(apart, few - 1, axis=1)[:, :few], axis=1)
    return nearest, distances


def _closer_than_chance(distances: np.ndarray) -> np.ndarray:
    """Which rows lie nearer to their nearest than chance explains: bool [n], all False where none do surely."""
    from scipy.stats import binom

    best = np.zeros(len(distances), dtype=bool)
    d = _dimension(distances)
    for k in KTH:
        ratio = distances[:, 0] / np.maximum(distances[:, k - 1], 1e-300)
        for t in NEARER:
            usual = [1 - (1 - min(at**d, 1.0)) ** (k - 1) for at in (t, 2 * t)]
            near, wider = ratio < t, ratio < 2 * t
            worth = (k - 1) * t**d <= BY_CHANCE and near.sum() > best.sum()
            if worth and binom.sf(near.sum() - 1, wider.sum(), usual[0] / usual[1]) < SURE:
                best = near
    return best


def _dimension(distances: np.ndarray) -> float:
    """Half of the dimension that nearest and second nearest rows show, at least 1: rows near to each other often differ in
    fewer ways than all do."""
    ratio = (distances[:, 0] / np.maximum(distances[:, 1], 1e-300))[np.isfinite(distances[:, 0])]
    return max(1.0, 0.5 * float(np.log(max((ratio < 0.8).mean(), 1e-9)) / np.log(0.8)))
