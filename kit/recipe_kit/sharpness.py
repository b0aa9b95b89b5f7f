"""How sharp the minimum is: what a small step uphill in weight space costs."""

from __future__ import annotations

import torch
from torch import nn

from .owner.engine.losses import Loss
from .owner.task import Batch

RADIUS = 0.05  # of the step, as in the paper


def sharpness(model: nn.Module, loss: Loss, batch: Batch, radius: float = RADIUS) -> float:
    """Rise of the mean loss on a batch after a step of length `radius` along its gradient (Foret et al. 2021).

    In evaluation mode; weights, gradients and mode are put back. Compare it between runs of one architecture only: it
    depends on the scale of the weights.
    """
    training, held = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    start = loss(model(batch.x).float(), batch).mean()
    gradients = torch.autograd.grad(start, held, allow_unused=True)
    kept = [p.detach().clone() for p in held]
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm().clamp(min=1e-12)
    with torch.no_grad():
        for parameter, gradient in zip(held, gradients, strict=True):
            if gradient is not None:
                parameter.add_(radius * gradient / norm)
        moved = loss(model(batch.x).float(), batch).mean()
        for parameter, old in zip(held, kept, strict=True):
            parameter.copy_(old)
    model.train(training)
    return float(moved - start.detach())
