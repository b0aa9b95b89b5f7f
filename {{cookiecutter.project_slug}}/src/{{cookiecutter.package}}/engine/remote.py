"""Data that lie elsewhere, as s3://bucket/train.csv: read through fsspec, which torch brings along. Each version is kept in
data/.remote, so that a run needs no network for data it has seen, and the split no other data than it was made for."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path, PurePosixPath

from ..errors import UserError, first_line

log = logging.getLogger(__name__)
KEPT = Path("data", ".remote")
SAID_ANEW = ("url", "security")  # in what a store tells of a file, for the same bytes


def local(root: Path, place: str) -> str:
    """Where the data of a setting lie on this machine, below root; of an address the newest version, or the last one that was
    fetched where the store cannot be asked. Raises UserError where there is none, and where DVC has not brought a file."""
    if "://" not in place:
        path = root / place
        tracked = [] if os.path.exists(path) else [p for p in (path, *path.parents) if os.path.isfile(f"{p}.dvc")]
        if tracked:
            pointer = os.path.relpath(f"{tracked[0]}.dvc", root)
            raise UserError(f"{place} is not there, and {pointer} says that DVC keeps it; run: dvc pull {pointer}")
        return place
    key, name = _hash(place), PurePosixPath(place.split("::")[0].split("?")[0]).name
    try:
        version = _newest(root / KEPT, place, key, name)
    except Exception as error:  # of whatever kind the store has
        why = f"{type(error).__name__}: {first_line(error)}"
        kept = sorted((root / KEPT).glob(f"{key}-*"), key=os.path.getmtime)
        if not kept:
            do = "install that" if isinstance(error, ImportError) else "check the address, the login and the network"
            raise UserError(f"{place} cannot be read ({why}); {do}") from None
        log.warning(f"  {place} cannot be asked for news ({why}); going on with what was fetched last")
        version = kept[-1]
    os.utime(version)  # the last one that was there
    return (version / name).relative_to(root).as_posix()


def _newest(folder: Path, place: str, key: str, name: str) -> Path:
    """The newest version, fetched whole or not at all unless it is there already."""
    import fsspec

    store, path = fsspec.url_to_fs(place)
    facts = store.info(path)
    files = store.find(path, detail=True) if facts["type"] == "directory" else {path: facts}
    told = [(file, key, of[key]) for file, of in sorted(files.items()) for key in sorted(of) if key not in SAID_ANEW]
    version = folder / f"{key}-{_hash(repr(told))}"
    if not version.exists():
        log.info(f"  fetching {place}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            targets = [Path(new, name, PurePosixPath(file).relative_to(path)) for file in files]
            if odd := [file for file in targets if ".." in file.parts]:
                raise ValueError(f"{odd[0].name} leads out of it")
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            store.get(list(files), list(map(str, targets)))
            Path(new).rename(version)
    return version


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
