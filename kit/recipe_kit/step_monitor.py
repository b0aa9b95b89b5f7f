"""Gradients as seen while training: per-layer norms and update ratios at a few dozen steps, at no cost in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .owner.engine.callback import Callback
from .owner.engine.distributed import SINGLE, Distributed
from .owner.engine.files import to_json, write_atomic
from .owner.engine.losses import Loss
from .owner.engine.resume import Progress

SAMPLES = 60  # steps that are looked at closely


class StepMonitor(Callback):
    """Collects gradient norms per parameter tensor, and writes them to gradients.json in `folder` at the end."""

    def __init__(self, folder: Path, distributed: Distributed = SINGLE) -> None:
        self.folder, self.whole = folder, distributed.full_tensor
        self.norm = 0.0
        self.steps: list[int] = []
        self.layers: dict[str, dict[str, list[float]]] = {}
        self.before: dict[str, Tensor] = {}

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        self.model, self.every = model, max(steps // SAMPLES, 1)

    def on_gradients(self, step: int) -> None:
        """On sampled steps: the norm of each gradient before it is clipped."""
        if step % self.every:
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
