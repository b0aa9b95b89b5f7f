"""Whole groups into parts: near the sizes that are asked for, with every class in every part where the groups allow it.

A random order of the groups, cut where a part is full, is the plainest way; the first of TRIES orders that keeps all classes is
taken. Where none does, groups of the rarest classes go to the parts that lack them first, as in scikit-learn's
StratifiedGroupKFold, and the others fill up. All of it follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRIES = 50
RARE = 30  # groups for each part: a class in more of them reaches every part in any random order


@dataclass(frozen=True)
class Wanted:
    """rows: of each bin [b]. weight: of a class that a bin lacks [b]; one with too few groups goes without where it is least."""

    rows: np.ndarray
    weight: np.ndarray

    def least(self, groups: np.ndarray) -> np.ndarray:
        """What classes of so many groups [k] cost at best: a group lies in one bin."""
        lost = np.r_[0.0, np.cumsum(np.sort(self.weight))]
        return lost[np.maximum(len(self.rows) - groups, 0)]


def place(groups: np.ndarray, classes: np.ndarray, wanted: Wanted, seed: int) -> np.ndarray:
    """Bin of every row, int64 [n], equal groups in one bin. groups, classes: numbers [n] from 0 without gaps."""
    wide = int(classes.max()) + 1
    counts = np.bincount(groups * wide + classes, minlength=(int(groups.max()) + 1) * wide).reshape(-1, wide)
    random = np.random.default_rng(seed)
    best, cost = np.zeros(len(counts), dtype=np.int64), (np.inf, np.inf)
    for attempt in range(2 * TRIES):
        order = random.permutation(len(counts))
        bins = _cut(counts.sum(axis=1), order, wanted.rows) if attempt < TRIES else _fill(counts, order, wanted)
        if (found := _cost(bins, counts, wanted)) < cost:
            best, cost = bins, found
        if cost == (0, 0) or (attempt >= TRIES and len(counts) > 10_000):  # of so many groups one attempt says it all
            break
    return best[groups]


def _cut(sizes: np.ndarray, order: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Groups in this order, each into the bin in which the middle of its rows falls: bin of each group [g]."""
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    bins = np.empty(len(order), dtype=np.int64)
    bins[order] = np.searchsorted(np.cumsum(rows)[:-1], middle, "right")
    return bins


def _fill(counts: np.ndarray, order: np.ndarray, wanted: Wanted) -> np.ndarray:
    """Groups too large for any but the largest bin go there; then each rare class gets a group in every bin that lacks it, the
    rarest first; the others fill up."""
    sizes, bins, left = counts.sum(axis=1), np.full(len(counts), -1), wanted.rows.astype(np.float64)
    largest = int(left.argmax())
    bins[sizes > 2 * np.delete(left, largest).max()] = largest
    spread = (counts > 0).sum(axis=0)
    for c in [c for c in np.argsort(spread, kind="stable") if spread[c] < RARE * len(left)]:
        holders = order[counts[order, c] > 0]
        for b in np.argsort(-wanted.weight, kind="stable"):
            free = holders[bins[holders] < 0]
            if len(free) and not (bins[holders] == b).any():
                room = wanted.rows[b] - sizes[bins == b].sum()
                fits = free[sizes[free] <= room]
                bins[fits[0] if len(fits) else free[sizes[free].argmin()]] = b
    left -= np.bincount(bins[bins >= 0], weights=sizes[bins >= 0], minlength=len(left))
    rest = order[bins[order] < 0]
    if len(rest):
        room = left.clip(min=0)
        bins[rest] = _cut(sizes[rest], np.arange(len(rest)), room * sizes[rest].sum() / max(room.sum(), 1e-9))
    return bins


def _cost(bins: np.ndarray, counts: np.ndarray, wanted: Wanted) -> tuple[float, float]:
    """(classes that bins lack and need not lack, how far sizes lie outside half to twice what is wanted)."""
    held = np.stack([counts[bins == b].sum(axis=0) for b in range(len(wanted.rows))])
    lacking = float((wanted.weight[:, None] * (held == 0)).sum() - wanted.least((counts > 0).sum(axis=0)).sum())
    apart = np.abs(np.log(np.maximum(held.sum(axis=1), 0.1) / wanted.rows)) - np.log(2)
    return lacking, round(float(apart.clip(min=0).sum()), 9)
