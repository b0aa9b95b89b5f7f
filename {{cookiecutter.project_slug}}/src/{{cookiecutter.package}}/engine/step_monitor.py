"""Gradients as seen while training: per-layer norms and update ratios at a few dozen steps, at no cost in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .project import Run

SAMPLES = 60  # steps that are looked at closely


class StepMonitor:
    """Collects gradient norms per parameter tensor; `save` writes them to gradients.json."""

    def __init__(self, run: Run, model: nn.Module, steps: int) -> None:
        self.run, self.model = run, model
        self.every = max(steps // SAMPLES, 1)
        self.norm = 0.0
        self.steps: list[int] = []
        self.layers: dict[str, dict[str, list[float]]] = {}
        self.before: dict[str, Tensor] = {}

    def observer(self, step: int) -> Callable[[], None]:
        """What `loop.step` calls between backward and the update: looks on sampled steps, does nothing on others."""
        if step % self.every:
            return lambda: None

        def look() -> None:
            self.steps.append(step)
            self.before = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.grad is not None}
            whole = self.run.project.distributed.full_tensor
            each = [whole(p.grad.norm()) for p in self.model.parameters() if p.grad is not None]
            norms = dict(zip(self.before, torch.stack(each).tolist(), strict=True))
            self.norm = sum(v * v for v in norms.values()) ** 0.5
            for name, norm in norms.items():
                self.layers.setdefault(name, {"norm": [], "update": []})["norm"].append(norm)

        return look

    def after(self, step: int) -> None:
        """After a sampled step: how far each tensor moved, relative to its own norm."""
        if not self.before:
            return
        whole = self.run.project.distributed.full_tensor
        now = {n: p.detach() for n, p in self.model.named_parameters() if n in self.before}
        sizes = [whole(old.norm()).clamp(min=1e-12) for old in self.before.values()]
        moved = [whole(old.sub_(now[name]).norm()) for name, old in self.before.items()]  # in place: no third copy
        for name, share in zip(self.before, (torch.stack(moved) / torch.stack(sizes)).tolist(), strict=True):
            self.layers[name]["update"].append(share)
        self.before = {}

    def state(self) -> dict[str, Any]:
        """What was seen so far, for a checkpoint."""
        return {"step": self.steps, "layers": self.layers, "norm": self.norm}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.steps, self.layers, self.norm = state["step"], state["layers"], state["norm"]

    def save(self) -> None:
        """Write gradients.json: the sampled steps, and per tensor the gradient norms and update ratios."""
        self.run.save("gradients.json", {"step": self.steps, "layers": self.layers})
