"""One image file: its bytes, what is wrong with them, and its pixels as 8-bit RGB whatever it was saved as."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..engine.files import IMAGES
from ..errors import UserError, first_line

MOST_PIXELS = 50_000_000  # a large photograph; a file that unpacks to more is a decompression bomb, or wants cutting up
MOST_BYTES = 8 * MOST_PIXELS  # of a file: four channels of 16 bits
SEEN = "images.parquet"  # what was decoded from which bytes, so that every file is decoded once and not in every step
NO_IMAGE = "no image, or of an unknown kind"
TOGETHER = 16  # files that a thread takes at a time: each turn costs 50 microseconds and 2 kB


class Facts(NamedTuple):
    """What one file is. mode and kind as Pillow names them; problem: why it cannot be used, '' when it can.

    bytes: of the file. width, height: pixels. blank: one color everywhere.
    """

    path: str
    bytes: int = -1
    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    kind: str = ""
    problem: str = ""
    blank: bool = False


COLUMNS = pl.DataFrame([Facts("")], orient="row").schema
Seen = dict[str, list[Any]]  # what was decoded from sound bytes, by their sha256: the fields of Facts behind it


def look(path: str | bytes, seen: Seen | None = None) -> Facts:
    """Read and hash one file, and decode it unless its bytes were seen before. Never raises: what the system or a decoder
    says of a file becomes its `problem`. A request brings the bytes themselves."""
    if isinstance(path, bytes):
        return _facts("", path, seen)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device read without end
            return Facts(path, problem="no plain file")
        if status.st_size > MOST_BYTES:
            return Facts(path, status.st_size, problem=f"too large: {status.st_size:,} bytes")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return Facts(path, problem="missing: a link to nothing" if os.path.islink(path) else "missing")
    except (OSError, ValueError) as error:
        return Facts(path, problem=f"unreadable: {getattr(error, 'strerror', None) or error}")
    return _facts(path, content, seen)


def _facts(path: str, content: bytes, seen: Seen | None) -> Facts:
    known = (path, len(content), hashlib.sha256(content).hexdigest())
    if not content:
        return Facts(*known, problem="0 bytes")
    if seen and known[2] in seen:
        return Facts(*known, *seen[known[2]])
    try:
        return Facts(*known, **_decode(content))
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        return Facts(*known, problem=_words(error))


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

    said = first_line(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {said}"
    if isinstance(error, Image.UnidentifiedImageError):
        return NO_IMAGE
    if "truncat" in said.lower() or "not processed" in said or isinstance(error, EOFError):
        return f"truncated: {said}"
    return f"cannot be decoded: {said}"


def look_at(paths: pl.Series, seen: Seen | None = None) -> pl.DataFrame:
    """The facts of each file, read now."""
    return pl.DataFrame(in_threads(partial(look, seen=seen), paths), COLUMNS, orient="row")


def scan(paths: pl.Series, runs: Path) -> pl.DataFrame:
    """The facts of each file, in the order of `paths`. Every file is read and hashed, which takes a tenth of the time of
    decoding it; only bytes that were not seen before are decoded. Neither size nor time would tell that two were swapped."""
    cache = runs / SEEN
    asked = paths.alias("path").to_frame()
    seen = _remembered(cache)
    facts = look_at(asked["path"].unique(maintain_order=True), seen)
    sound = facts.filter(pl.col("problem") == "").unique("sha256", maintain_order=True)
    if runs.is_dir() and not seen.keys() >= set(sound["sha256"]):
        try:
            sound.drop("path").write_parquet(cache)
        except OSError:  # a full or read-only disk only costs the time to decode again
            cache.unlink(missing_ok=True)
    return asked.join(facts, on="path", how="left", maintain_order="left")


def _remembered(cache: Path) -> Seen:
    kept = {name: kind for name, kind in COLUMNS.items() if name not in ("path", "bytes")}
    try:
        known = (
            pl.read_parquet(cache, columns=list(kept))
            .cast(pl.Schema(kept))
            .drop_nulls()
            .filter(pl.col("problem") == "")
        )
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return {digest: facts for digest, *facts in known.iter_rows()}


def in_threads(function: Callable[[Any], Any], items: pl.Series) -> Iterator[Any]:
    """function(item) for each, in order. Decoders let go of Python's lock, so threads use all cores."""
    from PIL import Image  # noqa: F401  imported once, before the threads

    turns = (items[at : at + TOGETHER] for at in range(0, len(items), TOGETHER))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns about is looked at here: sizes, and what cannot be decoded
        if len(items) <= TOGETHER:
            yield from map(function, items)
            return
        with ThreadPoolExecutor() as pool:
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


def pixels(path: str | bytes, side: int, interpolation: str = "bilinear") -> np.ndarray:
    """The middle square of an image, uint8 [3, side, side]: the shorter side is scaled to `side`, the longer one cropped.

    Turned as its EXIF says. Raises UserError for a file that was sound when it was last looked at and is not now.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=IMAGES) as image:
            upright = to_rgb(ImageOps.exif_transpose(image))
        method = Image.Resampling[interpolation.upper()]
        return np.asarray(ImageOps.fit(upright, (side, side), method)).transpose(2, 0, 1).copy()
    except Exception as error:
        name = "a picture of the request" if isinstance(path, bytes) else path
        raise UserError(
            f"{name} has changed since it was last looked at ({_words(error)}); run: recipe audit"
        ) from None


def all_pixels(paths: pl.Series, side: int, interpolation: str = "bilinear") -> np.ndarray:
    """`pixels` of every file, uint8 [n, 3, side, side]."""
    one = np.dtype((np.uint8, (3, side, side)))
    return np.fromiter(in_threads(lambda path: pixels(path, side, interpolation), paths), one, len(paths))
