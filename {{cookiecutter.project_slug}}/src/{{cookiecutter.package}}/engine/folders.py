"""The files of a folder of images, the same for training, `predict` and `init`. Links are followed or refused."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .given import part_level, says_parts

# Every ending of the formats in files.IMAGES, which only Pillow knows and a project for tables lacks.
PICTURES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm",
)  # fmt: skip
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # what file browsers and archives leave behind, beside hidden files


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, in order; hidden ones and litter are passed over. A link counts as what it leads to, and as
    a file where that is nothing. Raises UserError for a link to a folder around it and a folder that cannot be listed."""
    return sorted(_walk(folder, ()))


def _walk(folder: Path, around: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """around: device and number of each folder that this one was reached through."""
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"folder {folder} cannot be listed: {error.strerror}; fix its permissions") from None
    here = (status.st_dev, status.st_ino)
    if here in around:
        raise UserError(f"{folder} is a link to {folder.resolve()}, which it lies in: it never ends; remove the link")
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in LITTER:
            continue
        if os.path.isdir(entry.path):
            yield from _walk(Path(entry.path), (*around, here))
        else:
            yield Path(entry.path)


def data_root(table: Path) -> Path:
    """The folder that images named in a table must lie in: one called data that holds the table, at most three levels
    up, else the table's own."""
    table = Path(os.path.abspath(table))
    return next((folder for folder in table.parents[:3] if folder.name == "data"), table.parent)


def outside(table: Path, name: str) -> bool:
    """Whether a name in a table leads out of the data root. Links in there are followed: whoever put them there meant it."""
    root = data_root(table)
    return not Path(os.path.abspath(table.parent / name)).is_relative_to(root)


def beside(source: Path, data: Path) -> Path:
    """Next to which path the answers for `source` belong: of one among the class folders of `data` beside `data`, where nothing takes
    them for an example."""
    return data if source.is_dir() and data.resolve() in source.resolve().parents else source


def class_folders(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Images of each class, and of each part where folders give one. Raises UserError where there are no two classes."""
    inside = [file.relative_to(path).parts for file in files_below(path) if file.suffix.lower() in PICTURES]
    level = part_level(inside)
    at = int(level == 0)
    classes = Counter(parts[at] for parts in inside if len(parts) > at + 1)
    if level is None and says_parts(classes):
        raise UserError(
            f"{path} holds {', '.join(sorted(classes))}, names of parts and not of classes, and no folders in them; make a folder for"
            " each class there"
        )
    if len(classes) < 2:
        deeper = sorted({parts[1] for parts in inside if len(parts) > 2})
        hint = (
            f"; {path / next(iter(classes))} has: look there"
            if len(deeper) > 1
            else "; it should hold one folder a class"
        )
        raise UserError(f"{path} has no two folders with images in them{hint}")
    given = Counter(parts[level] for parts in inside if len(parts) > level + 1) if level is not None else {}
    return dict(sorted(classes.items())), dict(sorted(given.items()))
