"""Unit tests of the configured loss on outputs whose loss is known, and of the step that averages it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..owner.engine.loop import step
from ..owner.engine.losses import CLASSIFICATION, class_weights
from ..owner.engine.optim import make_optimizer
from ..owner.task import Batch
from .check_result import CheckResult, check_result, not_applicable
from .context import Context, has_batch_norm, quiet

OFF = {"mse": 4.0, "mae": 2.0, "huber": 1.5}  # what outputs that are off by 2 cost


def known_outputs(context: Context) -> CheckResult:
    """The loss of outputs that are right, wrong and undecided, for every class; one value per example.

    Right and sure is near the smoothed minimum, wrong and sure is large, all-equal logits give ln k (focal: times
    (1 - 1/k)^gamma), a perfect regression gives 0 and an error of 2 its square, absolute or Huber value.
    """
    if not context.prep["classes"]:
        return _known_values(context)
    if context.config.resolved_loss not in CLASSIFICATION:
        return _unknown(context)
    k, config = max(context.prep["outputs"], 2), context.config
    y = torch.arange(k)
    one = context.prep["outputs"] == 1
    sure = torch.where(y[:, None] == 1, 12.0, -12.0) if one else torch.eye(k) * 24.0
    plain = context.loss
    weights = class_weights(context.prep["prior"]) if config.class_weights == "balanced" else torch.ones(k)
    batch = Batch(None, y.float() if one else y, y)
    gamma = config.focal_gamma if config.resolved_loss == "focal" else 0.0
    even = math.log(k) * (1 - 1 / k) ** gamma * weights
    problems = _problems(
        {
            "undecided outputs": (plain(torch.zeros(k, context.prep["outputs"]), batch), even),
            "right and sure outputs": (plain(sure, batch), weights * 24 * config.label_smoothing * (k - 1) / k),
        }
    )
    wrong = plain(-sure if one else sure.roll(1, dims=0), batch)
    if wrong.shape == (k,) and bool((wrong < 5 * weights).any()):
        problems.append(f"sure and wrong outputs cost only {float(wrong.min()):.3g}")
    return _finding(problems, f"undecided {float(even.mean()):.4f}, right ~0, wrong large, for each of {k} classes")


def _known_values(context: Context) -> CheckResult:
    y = torch.tensor([2.0, 1.0, 0.0, 3.0])
    query = torch.zeros(4, dtype=torch.int64)
    batch = Batch(None, y, torch.arange(4), query)
    name = context.config.resolved_loss
    if name == "pairwise":
        cases = {
            "equal scores": (context.loss(torch.zeros(4, 1), batch), torch.full((4,), math.log(2))),
            "right order": (context.loss(20 * y[:, None], batch), torch.zeros(4)),
        }
    else:
        if name not in OFF:
            return _unknown(context)
        off = OFF[name]
        cases = {
            "perfect outputs": (context.loss(y[:, None], batch), torch.zeros(4)),
            "outputs off by 2": (context.loss(y[:, None] + 2, batch), torch.full((4,), off)),
        }
    return _finding(_problems(cases), "0 when right, the known value when off by 2 (pairs: ln 2 for equal scores)")


def _unknown(context: Context) -> CheckResult:
    """A loss of the owner's: the checks that compare gradients hold for it too, this one has to be taught."""
    name = context.config.resolved_loss
    return not_applicable(
        "loss of known outputs",
        f"no value is known of loss = {name!r}; teach one in checks/loss.py, or test it in tests/",
    )


def _problems(cases: dict[str, tuple[Tensor, Tensor]]) -> list[str]:
    problems = []
    for name, (value, expected) in cases.items():
        if value.shape != expected.shape:
            problems.append(
                f"{name}: the loss has shape {tuple(value.shape)}, not one value per example {tuple(expected.shape)}"
            )
        elif not torch.allclose(value.float(), expected.float(), rtol=1e-3, atol=1e-3):
            problems.append(f"{name}: {float(value.mean()):.4f} instead of {float(expected.mean()):.4f}")
    return problems


def _finding(problems: list[str], expected: str) -> CheckResult:
    return check_result(
        "loss of known outputs", "; ".join(problems) or "as computed by hand", fail=bool(problems), known=expected
    )


def mean_not_sum(context: Context) -> CheckResult:
    """Every example twice must give the gradient of every example once: a mean does, a sum gives twice as much."""
    rows = context.rows(16)
    once, twice = (_gradient(context, [part]) for part in (rows, rows.repeat(2)))
    ratio = float(twice.norm() / once.norm().clamp(min=1e-12))
    return check_result(
        "mean, not sum",
        f"doubling the batch multiplies the gradient by {ratio:.3f}",
        fail=not 0.9 < ratio < 1.1,
        evidence={"ratio": ratio},
    )


def accumulation(context: Context) -> CheckResult:
    """Two uneven micro-batches accumulated must give the gradient of both together."""
    if has_batch_norm(context.fresh()):
        return not_applicable("accumulation", "BatchNorm sees each micro-batch by itself")
    rows = context.rows(15)
    cut = _cut(context, rows)
    whole, parts = _gradient(context, [rows]), _gradient(context, [rows[:cut], rows[cut:]])
    apart = float((whole - parts).norm() / whole.norm().clamp(min=1e-12))
    limit = 0.05 if context.config.precision == "bf16" else 1e-3
    return check_result(
        "accumulation",
        f"gradients differ by {apart:.1e} of their size",
        fail=apart > limit,
        evidence={"difference": apart},
        limit=limit,
    )


def fresh_gradients(context: Context) -> CheckResult:
    """Gradients are cleared before each step: the same step eight times at learning rate zero gives the same gradient, and in
    each step of the short training the gradient is what the backward passes of that step brought, no more.

    The second half sees what is cleared only now and then: to miss one step in p costs (1 - p) to the power of 60.
    """
    first, *others = _gradients(context, [context.rows(min(16, context.few))], times=8)
    ratios = [float(other.norm() / first.norm().clamp(min=1e-12)) for other in others]
    ratio = max(ratios, key=lambda value: abs(value - 1))
    stale = context.short.stale
    return check_result(
        "fresh gradients",
        f"of eight equal steps, the one most unlike the first has {ratio:.3f} times its gradient; {len(stale)} of"
        f" {len(context.short.losses)} real steps hold gradients of a step before",
        fail=not 0.9 < ratio < 1.1 or bool(stale),
        evidence={"ratio": ratio, "stale": stale},
    )


def downhill(context: Context) -> CheckResult:
    """A few very small steps on one batch must lower its loss: the gradient is followed down, not up."""
    config = context.config.model_copy(update={"lr": context.config.lr / 10, "weight_decay": 0.0})
    model = quiet(context.fresh())
    optimizer = make_optimizer(config, context.task, model)
    batch = context.batch(context.rows(min(16, context.few)))
    values = [float(step(model, [batch], context.loss, optimizer, config)) / len(batch.y) for _ in range(11)]
    rise = values[-1] - values[0]
    return check_result(
        "downhill",
        f"ten steps at a tenth of lr change the loss of their own batch from {values[0]:.5f} to {values[-1]:.5f}",
        fail=rise > 1e-6 * max(abs(values[0]), 1.0),
        evidence={"losses": values},
    )


def _cut(context: Context, rows: Tensor) -> int:
    """Where to cut rows in two uneven parts without cutting a query."""
    if context.train.query is None:
        return len(rows) // 3
    query = context.train.query.cpu()[rows]
    return int((query == query[0]).sum())


def _gradient(context: Context, parts: list[Tensor]) -> Tensor:
    """The gradient that `loop.step` computes, before clipping, as one vector."""
    return _gradients(context, parts, 1)[0]


def _gradients(context: Context, parts: list[Tensor], times: int) -> list[Tensor]:
    """The gradients of `times` equal steps at learning rate zero."""
    config = context.config.model_copy(update={"weight_decay": 0.0, "clip": 0.0})
    model = quiet(context.fresh())
    optimizer = make_optimizer(config, context.task, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    seen: list[Tensor] = []

    def observe() -> None:
        seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]))

    for _ in range(times):
        step(model, [context.batch(rows) for rows in parts], context.loss, optimizer, config, observe)
    return seen
