"""Randomness with an owner: everything random follows from `seed`, and its state can be saved and put back."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python, NumPy and torch (all devices), and ask for deterministic kernels.

    On CUDA some operations have no deterministic kernel; torch then warns and results may differ in the last bits.
    """
    random.seed(seed)
    np.random.seed(seed)  # libraries still use the global generator
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling every new tensor with NaN is a debugging aid; it costs 5 % of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on these numbers alone, for example (seed, epoch) or (seed, epoch, index)."""
    state = int(np.random.SeedSequence([n % 2**63 for n in numbers]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state % 2**63)


def rng_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and plain values that load with weights_only=True."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `rng_state` returned. CUDA generators are restored when their number is the same."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
