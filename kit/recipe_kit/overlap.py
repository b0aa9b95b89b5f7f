"""Whether rows were seen before: from their hashes, and from a sketch of a part that is small enough to keep in a record."""

from __future__ import annotations

import numpy as np

from .owner.engine.hashes import BYTES

SKETCH = 64  # hashes kept of a part: an overlap of 5 % shows as three of them


def among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of these are among the known ones, of which there is one at least: bool [n]. Copies `known` once, where
    `numpy.isin` took a gigabyte for 16 million."""
    known = np.sort(known)
    return known[np.searchsorted(known, hashes).clip(max=len(known) - 1)] == hashes


def sketch(hashes: np.ndarray) -> list[str]:
    """The smallest distinct hashes (Broder 1997), as hexadecimal text."""
    return [f"{value:0{2 * BYTES}x}" for value in np.unique(hashes)[:SKETCH].tolist()]


def share_known(kept: list[str], hashes: np.ndarray) -> float:
    """Estimated share of these rows that were in the part a sketch was made of: of those the sketch could hold."""
    known = np.array([int(text, 16) for text in kept], dtype=np.uint64)
    within = hashes <= known.max() if len(known) == SKETCH else np.ones(len(hashes), dtype=bool)
    return float(np.isin(hashes[within], known).mean()) if within.any() else 0.0


def share_of_copies(hashes: np.ndarray, others: np.ndarray) -> float:
    """Share of these rows that have a copy among the others."""
    return float(among(hashes, others).mean()) if len(hashes) and len(others) else 0.0
