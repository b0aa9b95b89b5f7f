"""Files that are either whole or absent."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

IMAGES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")  # no kind that is decoded by another program (EPS)

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what a spreadsheet takes for the start of a formula


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write to a temporary neighbor, fsync, rename, fsync the folder: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}; free some space or fix the permissions") from None
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut (POSIX; Windows has no such call and needs none)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_json(value: Any, indent: int | None = 1, escape: bool = False) -> str:
    """JSON without NaN: non-finite floats become null, arrays and tuples lists, dates and times ISO texts, everything else
    must be JSON. `escape` writes every letter beyond ASCII by its number."""
    return json.dumps(_plain(value), indent=indent, sort_keys=False, ensure_ascii=escape, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a numpy array, whole or not at all."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_atomic(path, content.getvalue())


def read_json(path: Path, what: str, fix: str) -> Any:
    """The JSON in `path`, or a UserError that says what the file is for and how to fix it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} ({what}) does not exist; {fix}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} ({what}) cannot be read: {error}; {fix}") from None


def safe_cell(value: Any) -> Any:
    """A value for a CSV file that people open in a spreadsheet: a text that would run as a formula there gets an apostrophe
    in front (CWE-1236); numbers written as text stay as they are."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_sheet(frame: pl.DataFrame, path: Path) -> None:
    """A frame as CSV for people, see `safe_cell`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(safe_cell, frame.columns))
        writer.writerows(map(safe_cell, row) for row in frame.iter_rows())


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in chunks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
