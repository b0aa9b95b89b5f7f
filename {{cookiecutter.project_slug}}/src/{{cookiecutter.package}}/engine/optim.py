"""The optimizer with its parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..config import Config
from ..errors import UserError
from ..task import Task


def make_optimizer(config: Config, task: Task, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) or SGD with Nesterov momentum over every parameter of the model.

    Weight decay is decoupled and spares biases, norms and embeddings. Frozen parameters are included: they get no
    gradient and so no update, and can be thawed later. Each group keeps its own factor on the learning rate in "scale".
    """
    spared = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = 0.0 if parameter.ndim < 2 or id(parameter) in spared else config.weight_decay
        groups.setdefault((decay, task.lr_scale(config, name)), []).append(parameter)
    param_groups = [{"params": p, "weight_decay": d, "scale": s, "lr": config.lr * s} for (d, s), p in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(param_groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    # One fused kernel, where torch has it.
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters())
    return torch.optim.AdamW(param_groups, lr=config.lr, fused=fused)


def lr_factor(config: Config, step: int, steps: int) -> float:
    """Learning rate at `step` (0-based) of `steps`, as a share of config.lr.

    Linear warm-up over the first `warmup` share, reaching 1; then cosine or linear to 0, or constant. one_cycle
    (Smith 2018) warms up over at least 30 % of the steps along a cosine. plateau is constant here: the loop multiplies it.
    """
    warm = max(round((max(config.warmup, 0.3) if config.schedule == "one_cycle" else config.warmup) * steps), 0)
    if step < warm:
        rising = (step + 1) / warm
        return (1 - math.cos(math.pi * rising)) / 2 if config.schedule == "one_cycle" else rising
    progress = (step - warm) / max(steps - warm - 1, 1)
    if config.schedule in ("cosine", "one_cycle"):
        return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    if config.schedule == "linear":
        return max(1.0 - progress, 0.0)
    if config.schedule in ("constant", "plateau"):
        return 1.0
    raise UserError(f"schedule = {config.schedule!r} has no formula; write one in lr_factor in engine/optim.py")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate to `lr` times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
