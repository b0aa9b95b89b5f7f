"""How sharp the minimum is: what a small step uphill in weight space costs."""

from __future__ import annotations

import torch
from torch import nn

from .owner.engine.losses import Loss
from .owner.task import Batch

RADIUS = 0.05  # of the step, as in the paper


def sharpness(model: nn.Module, loss: Loss, batches: list[Batch], radius: float = RADIUS) -> float:
    """Rise of the mean loss over these batches after a step of length `radius` along its gradient (Foret et al. 2021).

    In evaluation mode; weights, gradients and mode are put back. Compare it between runs of one architecture only: it
    depends on the scale of the weights.
    """
    training, held = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    n, start, gradients = sum(len(batch.y) for batch in batches), 0.0, [torch.zeros_like(p) for p in held]
    for batch in batches:  # one after the other: all at once would need more memory than any step of the training
        part = loss(model(batch.x).float(), batch).sum() / n
        start += part.item()
        for total, gradient in zip(gradients, torch.autograd.grad(part, held, allow_unused=True), strict=True):
            total += 0 if gradient is None else gradient
    kept = [p.detach().clone() for p in held]
    norm = nn.utils.get_total_norm(gradients).clamp(min=1e-12)
    with torch.no_grad():
        for parameter, gradient in zip(held, gradients, strict=True):
            parameter.add_(radius * gradient / norm)
        moved = sum(loss(model(batch.x).float(), batch).sum().item() / n for batch in batches)
        for parameter, old in zip(held, kept, strict=True):
            parameter.copy_(old)
    model.train(training)
    return moved - start
