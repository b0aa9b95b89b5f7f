"""Hashes by which rows are known again."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from ..task import Data

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
