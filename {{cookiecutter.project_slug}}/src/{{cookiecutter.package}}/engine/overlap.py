"""Whether rows were seen before: hashes of rows, and a sketch of a part that is small enough to keep in a record."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from ..task import Data

SKETCH = 64  # hashes kept of a part: an overlap of 5 % shows as three of them
BYTES = 6
PLACES = ("image", "part")  # roles of columns that say where a row lies, and nothing of what it is


def row_hashes(data: Data) -> np.ndarray:
    """Hash of the values of each row, uint64 [n]: the same wherever and whenever it is computed. Where a row lies is no value."""
    return np.concatenate([_hashes(chunk) for chunk in data.chunks()])


def _hashes(data: Data) -> np.ndarray:
    names = [name for name in data.frame.columns if data.roles.get(name) not in PLACES]
    values = pl.DataFrame([data.frame[name].cast(pl.String).fill_null("") for name in names])
    texts = values.select(pl.concat_str(pl.all(), separator="\x1f")).to_series()
    digests = (hashlib.blake2b(text.encode(), digest_size=BYTES).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest) for digest in digests), dtype=np.uint64, count=len(data))


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
