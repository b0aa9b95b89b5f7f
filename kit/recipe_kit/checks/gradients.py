"""Do gradients reach every layer, at a size that can work? Judged over the first real steps of a fresh network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..owner.engine.losses import expected_initial_loss
from ..owner.task import Batch
from .check_result import CheckResult, check_result, not_applicable
from .context import Context


def gradient_flow(context: Context) -> list[CheckResult]:
    """Per-layer gradients and movements over the first real steps: frozen, detached, vanishing, exploding, dead.

    The first 10 steps are not judged: a zero head, LoRA's B or a zero gamma have zero gradients behind them at step 0.
    """
    short = context.short
    late = {name: values[min(10, len(values) // 2) :] for name, values in short.norms.items()}
    named = short.model.named_parameters()
    still = [name for name, p in named if bool((p.detach() == short.start[name]).all())]
    return [
        _never_updated(context, short.model, late, still),
        _sizes(context, short.totals, short.losses, {n: v for n, v in late.items() if short.start[n].ndim > 1}),
        _movement(context, short.moved, short.losses),
        _dead_units(context, short.model),
    ]


def _never_updated(context: Context, model: nn.Module, late: dict[str, list[float]], still: list[str]) -> CheckResult:
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    undeclared = sorted(name for name in frozen if not context.task.frozen(context.config, name))
    no_gradient = sorted(n for n, values in late.items() if n not in frozen and max(values, default=0.0) == 0.0)
    no_step = sorted(n for n in still if n not in frozen and n not in no_gradient)
    thawed = sorted(n for n in late if n not in frozen and context.task.frozen(context.config, n))
    bad = undeclared + no_gradient + no_step + thawed
    observed = f"{len(late) - len(frozen)} tensors train, {len(frozen)} are frozen on purpose"
    if bad:
        observed = "; ".join(
            f"{words}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
            for words, names in (
                ("frozen, though no setting says so", undeclared),
                ("no gradient ever", no_gradient),
                ("gradients, but never moved", no_step),
                ("trained, though the settings freeze them", thawed),
            )
            if names
        )
    return check_result(
        "every layer learns",
        observed,
        fail=bool(bad),
        why="thawed" if thawed else "no_step" if no_step and not no_gradient else "no_gradient",
        evidence={"bad": bad},
        first=bad[0].rsplit(".", 1)[0] if bad else "",
    )


def _sizes(context: Context, totals: list[float], losses: list[float], late: dict[str, list[float]]) -> CheckResult:
    """Vanishing is only told while the loss is still high; exploding is a norm over 10 with the loss not falling.

    `late` holds weights, not biases: a pair loss ignores a shift, and BatchNorm the bias before it, so those get none.
    """
    middle = float(torch.tensor(totals).median())
    expected = expected_initial_loss(context.config, context.prep) or losses[0]
    start, end = _ends(losses)
    high = end > 0.5 * expected
    weights = {n: float(torch.tensor(v).median()) for n, v in late.items() if v and max(v) > 0}
    low = [n for n, v in weights.items() if v < 1e-7 * max(weights.values())] if high else []
    explodes = middle > 10 and end > start
    clipped = sum(t > context.config.clip for t in totals) / len(totals) if context.config.clip else 0.0
    crushed = bool(context.config.clip) and middle > 100 * context.config.clip
    bad = bool(low) or explodes
    observed = f"median gradient norm {middle:.3g}, clipped on {clipped:.0%} of steps"
    return check_result(
        "gradient size",
        observed + (f"; next to nothing reaches {', '.join(low[:3])}" if low else ""),
        fail=bad,
        warn=crushed,
        why="crushed_and_bad" if crushed and bad else "crushed" if crushed else "bad",
        evidence={"norms": totals, "losses": losses},
        median=middle,
        clip=context.config.clip,
        lower=context.config.lr / 10,
    )


def _ends(losses: list[float]) -> tuple[float, float]:
    """The median loss of the first five steps and of the last five: one batch with a target far out moves neither."""
    return float(np.median(losses[:5])), float(np.median(losses[-5:]))


def _movement(context: Context, moved: list[float], losses: list[float]) -> CheckResult:
    """The weights together should move by about 1e-3 of their norm a step; far off means a learning rate that cannot work."""
    typical = float(torch.tensor(moved[len(moved) // 2 :]).median())
    start, end = _ends(losses)
    diverged = end > 2 * start + 1 or not math.isfinite(end)
    small, large = typical < 1e-6, typical > 0.3 or diverged
    return check_result(
        "update size",
        f"weights move {typical:.1e} of their first norm a step; loss {start:.4f} -> {end:.4f} in {len(losses)} steps",
        fail=small or large,
        why="small" if small else "large",
        evidence={"moved": moved, "losses": losses},
        lr=context.config.lr,
    )


def dead_shares(model: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """Share of units behind each ReLU that are zero for every example of the batches, by layer; {} without a ReLU."""
    alive: dict[tuple[str, int, int], Tensor] = {}  # a module may be called several times, at several widths
    calls: dict[str, int] = {}
    hooks, training = [], model.training
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):

            def hook(_m: nn.Module, _i: Any, out: Tensor, name: str = name) -> None:
                units = out.detach().flatten(0, 1).T if out.ndim == 3 else out.detach().transpose(0, 1)  # [units, ...]
                some, calls[name] = (units > 0).flatten(1).any(1), calls.get(name, 0) + 1
                key = (name, calls[name], len(some))
                alive[key] = some | alive.get(key, torch.zeros_like(some))

            hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        for batch in batches if hooks else []:
            calls.clear()
            model.eval()(batch.x)
    model.train(training)
    for handle in hooks:
        handle.remove()
    dead: dict[str, float] = {}
    for (name, _, _), units in alive.items():
        dead[name] = max(dead.get(name, 0.0), 1.0 - float(units.float().mean()))
    return dead


def _dead_units(context: Context, model: nn.Module) -> CheckResult:
    """Dead units among several hundred examples after a short training."""
    dead = dead_shares(model, [context.batch(context.rows(4 * context.config.batch_size))])
    if not dead:
        return not_applicable("dead units", "the network has no ReLU module")
    worst = max(dead, key=lambda name: dead[name])
    return check_result(
        "dead units",
        f"{dead[worst]:.0%} of the units of {worst} are zero for every example",
        fail=dead[worst] > 0.9,
        warn=dead[worst] > 0.5,
        evidence={"dead": dead},
        lower=context.config.lr / 10,
    )
