"""One image file: its bytes, what is wrong with them, and its pixels as 8-bit RGB whatever it was saved as."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..engine.files import IMAGES
from ..errors import UserError

MOST_PIXELS = 50_000_000  # a large photograph; a file that unpacks to more is a decompression bomb, or wants cutting up
SEEN = "images.parquet"  # what is known of each file, so that every file is decoded once and not in every step
TOGETHER = 16  # files that a thread takes at a time: each turn costs 50 microseconds and 2 kB


class Facts(NamedTuple):
    """What one file is. mode and kind as Pillow names them; problem: why it cannot be used, '' when it can.

    bytes, modified (ns since 1970): as the file system says. width, height: pixels. blank: one colour everywhere.
    """

    path: str
    bytes: int = -1
    modified: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    kind: str = ""
    problem: str = ""
    blank: bool = False


COLUMNS = pl.DataFrame([Facts("")], orient="row").schema
STAMP = ["path", "bytes", "modified"]


def look(path: str) -> Facts:
    """Read, hash and decode one file. Never raises: what a decoder says of a broken file becomes its `problem`."""
    size, modified = _stamp(path)
    if size < 0:
        return Facts(path, problem="missing")
    known: dict[str, Any] = {"bytes": size, "modified": modified}
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Facts(path, **known, problem=f"unreadable: {error.strerror}")
    known["sha256"] = hashlib.sha256(content).hexdigest()
    if not content:
        return Facts(path, **known, problem="0 bytes")
    try:
        return Facts(path, **known, **_decode(content))
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        return Facts(path, **known, problem=_words(error))


def _decode(content: bytes) -> dict[str, Any]:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=IMAGES) as image:
        facts = {"width": image.width, "height": image.height, "mode": image.mode, "kind": image.format or ""}
        if image.width * image.height > MOST_PIXELS:
            return {**facts, "problem": f"too large: {image.width} x {image.height} pixels in {len(content):,} bytes"}
        image.load()
        facts["mode"] = image.mode if "transparency" not in image.info else f"{image.mode} with transparency"
        if image.mode == "F":
            return {**facts, "problem": "no agreed white: 32-bit floating point"}
        low_high = image.getextrema() if image.mode != "P" else image.convert("RGB").getextrema()
        pairs: Any = low_high if isinstance(low_high[0], tuple) else (low_high,)
        if image.mode == "I" and not 0 <= pairs[0][0] <= pairs[0][1] < 65536:
            return {**facts, "problem": f"no agreed white: values from {pairs[0][0]} to {pairs[0][1]}"}
        return {**facts, "blank": all(low == high for low, high in pairs)}


def _words(error: Exception) -> str:
    from PIL import Image

    said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {said}"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image, or of an unknown kind"
    if "truncat" in said.lower() or "not processed" in said or isinstance(error, EOFError):
        return f"truncated: {said}"
    return f"cannot be decoded: {said}"


def look_at(paths: pl.Series) -> pl.DataFrame:
    """The facts of each file, read now."""
    return pl.DataFrame(in_threads(look, paths), COLUMNS, orient="row")


def scan(paths: pl.Series, runs: Path) -> pl.DataFrame:
    """The facts of each file, in the order of `paths`. A file of the same size and time as at the last look is not read again."""
    cache = runs / SEEN
    asked = paths.alias("path").to_frame()
    now = asked.unique(maintain_order=True)
    stamps = np.fromiter(map(_stamp, now["path"]), np.dtype((np.int64, 2)), len(now))
    known = _remembered(cache).join(now.with_columns(bytes=stamps[:, 0], modified=stamps[:, 1]), on=STAMP, how="semi")
    new = now.join(known, on="path", how="anti", maintain_order="left")
    facts = pl.concat([known, look_at(new["path"])])
    if len(new) and runs.is_dir():
        try:
            facts.write_parquet(cache)
        except OSError:  # a full or read-only disk only costs the time to look again
            cache.unlink(missing_ok=True)
    return asked.join(facts, on="path", how="left", maintain_order="left")


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except OSError:
        return -1, 0


def _remembered(cache: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(cache, columns=list(COLUMNS)).cast(COLUMNS).drop_nulls().unique("path")
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame(schema=COLUMNS)


def in_threads(function: Callable[[Any], Any], items: pl.Series) -> Iterator[Any]:
    """function(item) for each, in order. Decoders let go of Python's lock, so threads use all cores."""
    from PIL import Image  # noqa: F401  imported once, before the threads

    turns = (items[at : at + TOGETHER] for at in range(0, len(items), TOGETHER))
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # what Pillow warns about is looked at here: sizes, and what cannot be decoded
        for done in pool.map(lambda some: list(map(function, some)), turns):
            yield from done


def to_rgb(image: Any) -> Any:
    """8 bits of red, green and blue: 16 bits scaled down, CMYK and palettes converted, transparency laid on white.

    Pillow's own convert("RGB") turns 16 bits white and uncovers what transparency had hidden.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def pixels(path: str, side: int, interpolation: str = "bilinear") -> np.ndarray:
    """The middle square of an image, uint8 [3, side, side]: the shorter side is scaled to `side`, the longer one cropped.

    Turned as its EXIF says. Raises UserError for a file that was sound when it was last looked at and is not now.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=IMAGES) as image:
            upright = to_rgb(ImageOps.exif_transpose(image))
        method = Image.Resampling[interpolation.upper()]
        return np.asarray(ImageOps.fit(upright, (side, side), method)).transpose(2, 0, 1).copy()
    except Exception as error:
        raise UserError(
            f"{path} has changed since it was last looked at ({_words(error)}); run: recipe audit"
        ) from None


def all_pixels(paths: pl.Series, side: int, interpolation: str = "bilinear") -> np.ndarray:
    """`pixels` of every file, uint8 [n, 3, side, side]."""
    one = np.dtype((np.uint8, (3, side, side)))
    return np.fromiter(in_threads(lambda path: pixels(path, side, interpolation), paths), one, len(paths))
