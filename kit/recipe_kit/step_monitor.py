"""Gradients as seen while training: per-layer norms and update ratios at each of the first hundred steps and a few dozen later ones,
at no cost in between; and whether several processes still hold weights of the same norms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .owner.engine.callback import Callback
from .owner.engine.distributed import SINGLE, Distributed
from .owner.engine.files import to_json, write_atomic
from .owner.engine.losses import Loss
from .owner.engine.resume import Progress
from .owner.errors import UserError

SAMPLES = 60  # steps that are looked at closely, over the whole run
FIRST = 100  # steps at its start, all of which are
SAME = 1e-6  # of the norm of a float32 tensor, which kernels of two devices may round apart


class StepMonitor(Callback):
    """Collects gradient norms per parameter tensor, and writes them to gradients.json in `folder` at the end."""

    def __init__(self, folder: Path, distributed: Distributed = SINGLE) -> None:
        self.folder, self.distributed, self.whole = folder, distributed, distributed.full_tensor
        self.norm = 0.0
        self.steps: list[int] = []
        self.layers: dict[str, dict[str, list[float]]] = {}
        self.before: dict[str, Tensor] = {}

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        self.model, self.every, self.first = model, max(steps // SAMPLES, 1), FIRST

    def on_gradients(self, step: int) -> None:
        """On sampled steps: the norm of each gradient before it is clipped."""
        if step % self.every and step >= self.first:
            return
        self.steps.append(step)
        self.before = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.grad is not None}
        each = [self.whole(p.grad.norm()) for p in self.model.parameters() if p.grad is not None]
        norms = dict(zip(self.before, torch.stack(each).tolist(), strict=True))
        self.norm = sum(v * v for v in norms.values()) ** 0.5
        for name, norm in norms.items():
            self.layers.setdefault(name, {"norm": [], "update": []})["norm"].append(norm)

    def on_step(self, step: int) -> None:
        """After a sampled step: how far each tensor moved, relative to its own norm."""
        if not self.before:
            return
        now = {n: p.detach() for n, p in self.model.named_parameters() if n in self.before}
        sizes = [self.whole(old.norm()).clamp(min=1e-12) for old in self.before.values()]
        moved = [self.whole(old.sub_(now[name]).norm()) for name, old in self.before.items()]  # in place: no third copy
        for name, share in zip(self.before, (torch.stack(moved) / torch.stack(sizes)).tolist(), strict=True):
            self.layers[name]["update"].append(share)
        self.before = {}

    def on_epoch(self, progress: Progress) -> None:
        """Raises UserError, in every process, where a weight of one is not that of another: only the first's would be saved. The
        layer norms of BLOOM-176B drifted apart so (Jiang et al. 2025, TrainCheck)."""
        if self.distributed.strategy != "ddp":
            return
        norms = {name: float(p.detach().double().norm()) for name, p in self.model.named_parameters()}
        every = self.distributed.all_gather([norms])
        for rank, other in enumerate(every):
            apart = [n for n, v in other.items() if not math.isclose(v, every[0][n], rel_tol=SAME)]
            if apart:
                raise UserError(
                    f"after epoch {progress.curves[-1]['epoch']} process {rank} holds other weights than process 0: {apart[0]} and"
                    f" {len(apart) - 1} more (norms {other[apart[0]]:.9g} and {every[0][apart[0]]:.9g}); something updates them in"
                    " one process alone, or by gradients that were not averaged"
                )

    def columns(self) -> dict[str, float]:
        """The norm of the whole gradient at the last sampled step."""
        return {"grad_norm": self.norm}

    def state(self) -> dict[str, Any]:
        """What was seen so far, for a checkpoint."""
        return {"step": self.steps, "layers": self.layers, "norm": self.norm}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.steps, self.layers, self.norm = state["step"], state["layers"], state["norm"]

    def on_end(self, progress: Progress) -> None:
        """Write gradients.json: the sampled steps, and per tensor the gradient norms and update ratios."""
        write_atomic(self.folder / "gradients.json", to_json({"step": self.steps, "layers": self.layers}))
