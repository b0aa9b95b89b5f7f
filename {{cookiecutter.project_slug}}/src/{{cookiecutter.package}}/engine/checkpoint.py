"""Checkpoints: whole or absent, hashed, and loaded without ever unpickling code.

A checkpoint is a folder <kind>-<step>/ holding weights.safetensors, progress.json, optionally state.pt (optimiser and
random generators, read with weights_only=True) and manifest.json with the sha256 of each. It is written under another
name, synced, and renamed: a crash at any byte leaves the earlier ones untouched.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from .files import sha256, sync_folder, to_json

KEEP = 2  # newest checkpoints of a kind that are kept: the last good one survives a broken newer one


@dataclass(frozen=True)
class Checkpoint:
    """weights: name -> tensor. progress: where training stands (JSON). state: optimiser and generators, or None."""

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
    """Write a checkpoint and remove all but the newest KEEP of its kind. Raises UserError when the disk refuses."""
    final = folder / f"{kind}-{step:09d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()},
            temporary / "weights.safetensors",
        )
        (temporary / "progress.json").write_text(to_json(progress), encoding="utf-8")
        if state is not None:
            torch.save(state, temporary / "state.pt")
        manifest = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(to_json(manifest), encoding="utf-8")
        for path in temporary.iterdir():
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk as RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"checkpoint {final} cannot be written: {error}; earlier checkpoints are intact") from None
    for old in _of_kind(folder, kind)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(folder: Path, kind: str, warn: Any = print) -> Checkpoint:
    """The newest checkpoint of a kind whose hashes hold; each broken one is named through `warn` and passed over."""
    for path in reversed(_of_kind(folder, kind)):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            warn(f"checkpoint {path.name} is broken ({error}); going back to the one before it")
    raise UserError(f"no valid {kind} checkpoint in {folder}; start the run again without --resume")


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    if not {"weights.safetensors", "progress.json"} <= set(manifest):
        raise ValueError("its manifest is incomplete")
    for name, digest in manifest.items():
        if sha256(path / name) != digest:
            raise ValueError(f"{name} does not have the hash it was saved with")
    state = torch.load(path / "state.pt", weights_only=True, map_location="cpu") if "state.pt" in manifest else None
    progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
    return Checkpoint(path, load_file(path / "weights.safetensors"), progress, state)


def _of_kind(folder: Path, kind: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{kind}-*") if path.is_dir())


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
