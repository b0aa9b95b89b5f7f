"""Pictures that installed packages ship, for bench/folders.py: digits, photographs, faces, and letters in their fonts."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WHEEL = "scikit-image==0.26.0"  # ships photographs, textures and faces; downloaded, never installed
CACHE = Path.home() / ".cache" / "recipe-folders"
TEXT_FONTS = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")
Made = dict[str, Any]
SETS: dict[str, Callable[[Path], Made]] = {}
WRITERS = {"iid": "each digit was written by itself"}
PATCHES = {"iid": "patches that do not overlap"}
DRAWN = {"iid": "drawn one by one"}


def image_set(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
    """Register a function that writes a folder of images into the project's data folder and returns settings; the first
    line of its description goes into the page."""
    SETS[make.__name__] = make
    return make


@cache
def wheel() -> zipfile.ZipFile:
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(CACHE.glob("scikit_image-*.whl"))):
        words = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(CACHE), WHEEL]
        subprocess.run([sys.executable, *words], check=True)
        found = sorted(CACHE.glob("scikit_image-*.whl"))
    return zipfile.ZipFile(found[0])


def shipped(name: str) -> bytes:
    return wheel().read(f"skimage/data/{name}")


@cache
def photo(name: str) -> Image.Image:
    if name in ("china", "flower"):
        import sklearn.datasets

        return Image.open(Path(sklearn.datasets.__file__).parent / "images" / f"{name}.jpg").convert("RGB")
    return Image.open(io.BytesIO(shipped(name))).convert("RGB")


def patches(name: str, n: int, side: int = 24, seed: int = 0) -> list[Image.Image]:
    """Patches of a photograph that do not overlap, in random order."""
    whole = photo(name)
    grid = [(x, y) for x in range(0, whole.width - side + 1, side) for y in range(0, whole.height - side + 1, side)]
    order = np.random.default_rng(seed).permutation(len(grid))[:n]
    return [whole.crop((*grid[i], grid[i][0] + side, grid[i][1] + side)) for i in order]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15.9).astype(np.uint8), found.target


def some_digits(wanted: tuple[int, ...], each: int) -> Iterator[tuple[str, int, Image.Image]]:
    pictures, labels = digits()
    for digit in wanted:
        for number, row in enumerate(np.flatnonzero(labels == digit)[:each]):
            yield str(digit), number, Image.fromarray(pictures[row]).resize((16, 16))


@cache
def faces() -> np.ndarray:
    return (np.load(io.BytesIO(shipped("lfw_subset.npy"))) * 255).astype(np.uint8)  # [200, 25, 25]: faces, then others


def fonts(*words: str) -> list[Path]:
    import matplotlib

    found = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    return [path for path in found if any(word in path.name for word in words)]


def letter(text: str, font: Path, side: int = 24, turn: float = 0.0) -> Image.Image:
    image = Image.new("L", (side, side), 255)
    kind = ImageFont.truetype(str(font), round(side * 0.75))
    ImageDraw.Draw(image).text((side / 2, side / 2), text, font=kind, anchor="mm", fill=0)
    return image.rotate(turn, fillcolor=255)


def letters(texts: str, n: int, seed: int = 0) -> Iterator[tuple[str, str, Image.Image]]:
    """(letter, font, image): n of each, in random fonts and turns."""
    random, known = np.random.default_rng(seed), fonts(*TEXT_FONTS)
    for text in texts:
        for number in range(n):
            font = known[int(random.integers(len(known)))]
            yield text, f"{font.stem}-{number}", letter(text, font, turn=float(random.uniform(-20, 20)))


def put(out: Path, where: str, image: Image.Image, **settings: Any) -> Path:
    path = out / where
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **settings)
    return path
