"""Run folders: runs/<number>-<step>/, numbered in the order in which they began."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from ..errors import UserError


def new_run(root: Path, step: str, taken: Iterable[str] = ()) -> Path:
    """A new, empty run folder with the next number. taken: ids of runs whose folders may be gone, as in a clone; their numbers
    are not given twice. Raises UserError when runs/ cannot be written."""
    runs = root / "runs"
    try:
        runs.mkdir(exist_ok=True)
        numbers = [int(p.name[:4]) for p in runs.glob("[0-9][0-9][0-9][0-9]-*")]
        numbers += [int(name[:4]) for name in taken if name[:4].isdigit()]
        for number in count(1 + max(numbers, default=0)):
            with suppress(FileExistsError):  # another process was quicker
                if not list(runs.glob(f"{number:04d}-*")):
                    (folder := runs / f"{number:04d}-{step}").mkdir()
                    break
    except OSError as error:
        raise UserError(f"{runs} cannot be written: {error.strerror}; fix its permissions or free some space") from None
    return folder
