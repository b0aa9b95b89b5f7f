"""Rows that come twice: exact copies, copies that disagree on the label, and near copies of rows, texts and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.files import IMAGES
from ..owner.task import Data
from . import near_rows
from .check_result import CheckResult, check_result, not_applicable
from .repeats import FEATURES, keys, repeats

ROWS = 4_000  # texts and images that near copies are looked for among
SHINGLE, LIKE = 3, 0.8  # words a shingle; Jaccard similarity from which two texts are near copies
BITS, SMALL = 4, 32  # of 64 bits of a perceptual hash that may differ; images under 32 pixels have too little in them
TINY = 8  # pixels a side at which those are compared


def exact(config: Config, data: Data) -> CheckResult:
    """Rows with the same features: copies, and copies that disagree on the label, beyond what chance brings.

    Rows of one declared group are never parted: one thing seen twice, with one label or two, harms no score.
    """
    if not data.columns(*FEATURES):
        return not_applicable("duplicate rows", "there is no feature column")
    copies = repeats(config, data, data.target)
    extra, apart = (1 - copies.natural) * copies.again, not (config.group or config.query)
    labels = config.task in ("binary", "multiclass") and apart and not copies.few
    share, conflict = extra / len(data), _conflicts(config, data) if labels else 0
    return check_result(
        "duplicate rows",
        f"{copies.again:,} rows ({copies.again / len(data):.1%}) repeat an earlier one, {extra:,.0f} more than by chance; "
        f"{conflict:,} rows share features but not the label",
        fail=share > 0.05 and apart and not copies.few,
        warn=(share > 0.01 and apart) or conflict > 0,
        why="copies" if extra > conflict else "conflicts",
        share=max(share, conflict / len(data)) if apart else 0.0,
        evidence={"copies": copies.again, "beyond chance": round(extra), "conflicts": conflict},
        chance=copies.chance,
    )


def _conflicts(config: Config, data: Data) -> int:
    """Rows with the features of another and a different label, beyond what chance brings."""
    key = keys(config, data)
    order = np.argsort(key, kind="stable")
    again = key[order[1:]] == key[order[:-1]]
    rows = order[np.r_[again, False] | np.r_[False, again]]  # in groups of two and more; all others need no table
    keyed = pl.DataFrame({"key": key[rows], "y": data.frame[data.target][rows].cast(pl.String)})
    groups = keyed.group_by("key").agg(pl.len().alias("n"), pl.col("y").n_unique().alias("labels"))
    found = int(groups.filter(pl.col("labels") > 1)["n"].sum())
    return round(found * (1 - repeats(config, data).natural)) if found else 0


def near(config: Config, data: Data) -> CheckResult:
    """Rows, texts or images that are nearly, but not exactly, the same."""
    found = near_pairs(config, data)
    if not found.what:
        return not_applicable("near duplicates", found.why)
    touched = len(np.unique(found.pairs[:, 1]))
    share = touched / max(found.looked, 1)
    return check_result(
        "near duplicates",
        f"{touched:,} of {found.looked:,} {found.what} are near copies of another ({share:.1%})",
        warn=share > 0.01,
        share=share,
        evidence={"pairs": found.pairs[:20].tolist(), "looked": found.looked},
    )


class Near(NamedTuple):
    """pairs: positions of two rows each, int64 [m, 2]. looked: rows that were compared. what: "rows", "texts" or "images";
    empty where none could be, and why."""

    pairs: np.ndarray
    looked: int
    what: str
    why: str = ""


def near_pairs(config: Config, data: Data) -> Near:
    """Pairs that are nearly the same, among rows that are not exactly so."""
    random = data.columns("text", "image") and len(data) > ROWS
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:ROWS]) if random else np.arange(len(data))
    few = data.take(rows).read()
    distinct = np.unique(keys(config, few), return_index=True)[1] if data.columns(*FEATURES) else rows
    if len(distinct) < len(rows):
        rows, few = rows[np.sort(distinct)], few.take(np.sort(distinct))
    why = ""
    if texts := data.columns("text"):
        joined = few.frame[texts].select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)).to_series()
        found, looked, what = np.array(_like_texts(joined.to_list()), dtype=np.int64), len(rows), "texts"
    elif images := data.columns("image"):
        alike, what = _like_images([str(p) for p in few.frame[images[0]]])
        found, looked, why = np.array(alike, dtype=np.int64), len(rows), "no two images could be read"
    else:
        found, looked, why = near_rows.near_rows(config, few)
        what = "" if why else "rows"
    return Near(rows[found.reshape(-1, 2)], looked, what, why)


def _like_texts(texts: list[str]) -> list[tuple[int, int]]:
    """Pairs of texts whose word shingles overlap: MinHash with locality-sensitive hashing (Broder 1997)."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=LIKE, num_perm=64)
    seen: list[Any] = []
    found = []
    for number, text in enumerate(texts):
        words = (text or "").lower().split()[:300]
        mark = MinHash(num_perm=64, seed=1)
        mark.update_batch([" ".join(words[i : i + SHINGLE]).encode() for i in range(max(len(words) - SHINGLE + 1, 1))])
        if len(words) >= 2 * SHINGLE:
            found += [(int(other), number) for other in index.query(mark) if seen[int(other)].jaccard(mark) >= LIKE]
            index.insert(str(number), mark)
        seen.append(mark)
    return found


def _like_images(paths: list[str]) -> tuple[list[tuple[int, int]], str]:
    """Pairs of like images: perceptual hashes that differ in at most BITS of 64, or for tiny images pixels as near as
    near copies of rows are. Unreadable images are left out."""
    import imagehash
    from PIL import Image

    hashes: dict[int, np.uint64] = {}
    tiny: dict[int, np.ndarray] = {}
    for number, path in enumerate(paths):
        if not Path(path).is_file():
            continue
        try:
            with Image.open(path, formats=IMAGES) as image:
                if min(image.size) < SMALL:
                    tiny[number] = np.asarray(image.convert("RGB").resize((TINY, TINY)), dtype=np.float32).ravel()
                else:
                    hashes[number] = np.packbits(imagehash.phash(image).hash.ravel()).view(np.uint64)[0]
        except Exception:  # a decoder raises whatever it stumbles over; a broken image has a finding of its own
            continue
    if len(hashes) + len(tiny) < 2:
        return [], ""
    places, marks = list(hashes), np.array(list(hashes.values()), dtype=np.uint64)
    pairs = []
    for i in range(1, len(marks)):
        close = np.flatnonzero(np.bitwise_count(marks[:i] ^ marks[i]) <= BITS)
        pairs += [(places[int(j)], places[i]) for j in close[:1]]
    small = list(tiny)
    if len(small) > near_rows.LEAST:
        close, nearest, _ = near_rows.close_rows(np.stack(list(tiny.values())), np.zeros(len(small), dtype=np.int64))
        pairs += sorted({(small[min(pair)], small[max(pair)]) for pair in zip(close, nearest[close], strict=True)})
    return pairs, "images"


CHECKS = (exact, near)
