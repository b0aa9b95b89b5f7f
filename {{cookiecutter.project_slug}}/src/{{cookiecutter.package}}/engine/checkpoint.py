"""Checkpoints: whole or absent, hashed, and loaded without ever unpickling code.

A checkpoint is a folder <kind>-<step>/ holding weights.safetensors, progress.json, optionally state.pt (optimizer and
random generators, read with weights_only=True) and manifest.json with the sha256 of each. It is written under another
name, synced, and renamed: a crash at any byte leaves the earlier ones untouched. One process writes to a folder at a
time; steps/train.py holds the lock.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError, first_line
from .files import sha256, sync_folder, to_json

KEEP = 2  # newest checkpoints of a kind that are kept: one more than needed, should the newest turn out broken
FILES = {"weights.safetensors", "progress.json", "state.pt"}


@dataclass(frozen=True)
class Checkpoint:
    """weights: name -> tensor. progress: where training stands (JSON). state: optimizer and generators, or None."""

    folder: Path
    weights: dict[str, Tensor]
    progress: dict[str, Any]
    state: dict[str, Any] | None


def save(
    folder: Path,
    kind: str,
    step: int,
    weights: dict[str, Tensor],
    progress: dict[str, Any],
    state: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint, then remove what is not needed any more. Raises UserError when the disk refuses.

    The one just written and the newest KEEP - 1 before it stay. One of a later step is removed: it was passed over as
    broken, or belongs to a future that was undone. A name that is taken is not reused: replacing a folder takes two
    renames, and a crash between them would leave neither.
    """
    names = chain([f"{kind}-{step:09d}"], (f"{kind}-{step:09d}-{attempt}" for attempt in count(1)))
    final = next(folder / name for name in names if not os.path.lexists(folder / name))
    temporary = folder / f".{final.name}.tmp"
    try:
        _write(temporary, weights, progress, state)
        os.replace(temporary, final)
        sync_folder(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"checkpoint {final} cannot be written: {first_line(error)} ({_free(folder)}); earlier checkpoints are"
            " intact: fix that and go on with: recipe train --resume"
        ) from None
    kept = [path for path in _of_kind(folder, kind) if _order(path) <= _order(final)][-KEEP:]
    for old in set(_of_kind(folder, kind)) - set(kept):
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(folder: Path, kind: str, warn: Any = print, upto: int | None = None) -> Checkpoint:
    """The newest checkpoint of a kind that is whole; each broken one is named through `warn` and passed over.

    upto: ignore those of later steps. Raises UserError when none is left.
    """
    for path in reversed(_of_kind(folder, kind)):
        if upto is not None and _order(path)[0] > upto:
            continue
        try:
            return read(path)
        except Exception as error:  # a broken or hostile file may raise anything; the one before may still be good
            warn(f"  checkpoint {path.name} is broken ({first_line(error)}); going back to the one before it")
    raise UserError(f"no valid {kind} checkpoint in {folder}; start again: recipe train")


def read(path: Path) -> Checkpoint:
    """One checkpoint, its hashes verified before anything is parsed. Raises whatever is wrong with it."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not FILES - {"state.pt"} <= manifest.keys() <= FILES:
        raise ValueError("its manifest does not name the files of a checkpoint")
    for name, digest in manifest.items():
        if sha256(path / name) != digest:
            raise ValueError(f"{name} does not have the hash it was saved with")
    state = _read_state(path / "state.pt") if "state.pt" in manifest else None
    progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
    return Checkpoint(path, load_file(path / "weights.safetensors"), progress, state)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # what it raises is a page long, and advises to load it without care
        raise ValueError(f"{path.name} holds more than tensors and plain values, which could run code") from None


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed while writing left behind."""
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, weights: dict[str, Tensor], progress: dict[str, Any], state: dict[str, Any] | None) -> None:
    """All files of a checkpoint, with their hashes, synced to the disk together with their names."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(tensors, folder / "weights.safetensors")
    (folder / "progress.json").write_text(to_json(progress, indent=None), encoding="utf-8")
    if state is not None:
        torch.save(state, folder / "state.pt")
    manifest = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(to_json(manifest), encoding="utf-8")
    for path in folder.iterdir():
        with open(path, "rb+") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
    sync_folder(folder)


def _of_kind(folder: Path, kind: str) -> list[Path]:
    """Checkpoints of a kind, oldest first. Symbolic links are none: they may lead out of the run's folder."""
    found = [p for p in folder.glob(f"{kind}-*") if re.fullmatch(rf"{kind}-\d{{9,18}}(-\d{{1,9}})?", p.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_order)


def _order(path: Path) -> tuple[int, int]:
    """Step, and which attempt at it: "last-000000007" is (7, 0), "last-000000007-1" is (7, 1)."""
    _, step, *attempt = path.name.split("-")
    return int(step), int(attempt[0]) if attempt else 0


def _free(folder: Path) -> str:
    """How much room is left, in words; a full disk is the usual reason and the libraries' messages hide it."""
    there = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    try:
        return f"{shutil.disk_usage(there).free / 1e6:,.0f} MB are free there"
    except OSError as error:
        return str(error.strerror)
