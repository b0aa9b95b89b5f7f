"""Unit tests of the configured loss on outputs whose loss is known, and of the step that averages it."""

from __future__ import annotations

import gc
import math

import torch
from torch import Tensor, nn

from ..adopted import Adopted
from ..owner.engine.losses import CLASSIFICATION
from ..owner.task import Batch
from .check_result import CheckResult, check_result, not_applicable
from .context import Context, has_batch_norm, quiet

FAR = 200.0  # logits that a network reaches where training goes astray; exp of them is no number in 32 bits
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
    balanced = 1 / (
        k * torch.tensor(context.prep["prior"]).clamp(min=1e-12)
    )  # not the owner's formula: that is judged here
    weights = balanced if config.class_weights == "balanced" else torch.ones(k)
    batch = Batch(None, y.float() if one else y, y)
    wrong = plain(-sure if one else sure.roll(1, dims=0), batch)
    if isinstance(context.task, Adopted):
        return _in_order(plain(sure, batch), plain(torch.zeros_like(sure), batch), wrong)
    gamma = config.focal_gamma if config.resolved_loss == "focal" else 0.0
    even = math.log(k) * (1 - 1 / k) ** gamma * weights
    problems = _problems(
        {
            "undecided outputs": (plain(torch.zeros(k, context.prep["outputs"]), batch), even),
            "right and sure outputs": (plain(sure, batch), weights * 24 * config.label_smoothing * (k - 1) / k),
        }
    )
    if wrong.shape == (k,) and bool((wrong < 5 * weights).any()):
        problems.append(f"sure and wrong outputs cost only {float(wrong.min()):.3g}")
    far = plain(FAR * (-sure if one else sure.roll(1, dims=0)).sign(), batch)
    if far.shape == (k,) and not bool((far > FAR / 2 * weights).all()):
        problems.append(f"outputs of {FAR:g} that are wrong cost {float(far.min()):.3g}: it breaks or is flat there")
    return _finding(problems, f"undecided {float(even.mean()):.4f}, right ~0, wrong large, for each of {k} classes")


def _known_values(context: Context) -> CheckResult:
    y = torch.tensor([2.0, 1.0, 0.0, 3.0])
    query = torch.zeros(4, dtype=torch.int64)
    batch = Batch(None, y, torch.arange(4), query)
    name = context.config.resolved_loss
    if isinstance(context.task, Adopted):
        return _in_order(*(context.loss(y[:, None] + off, batch) for off in (0.0, 1.0, 3.0)))
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


def _in_order(right: Tensor, undecided: Tensor, wrong: Tensor) -> CheckResult:
    """A loss that the kit does not know, with weights or smoothing of its own: what is worse must cost more."""
    sound = bool((right < undecided).all() and (undecided < wrong).all() and wrong.isfinite().all())
    told = f"right {float(right.mean()):.4g}, undecided {float(undecided.mean()):.4g}, wrong {float(wrong.mean()):.4g}"
    return _finding([] if sound else [told], "right < undecided < wrong, for each example")


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
    optimizer = context.optimizer(model, config)
    batch = context.batch(context.rows(min(16, context.few)))
    values = [context.step(model, [batch], optimizer, config) / len(batch.y) for _ in range(11)]
    rise = values[-1] - values[0]
    return check_result(
        "downhill",
        f"ten steps at a tenth of lr change the loss of their own batch from {values[0]:.5f} to {values[-1]:.5f}",
        fail=rise > 1e-6 * max(abs(values[0]), 1.0),
        evidence={"losses": values},
    )


def declared_gradient(context: Context) -> CheckResult:
    """The gradient of a step against the slope of the mean declared loss along it, from two losses on either side."""
    rows = context.rows(16)
    model, batch, gradient = quiet(context.fresh()), context.batch(rows), _gradient(context, [rows])
    held = [p for p in model.parameters() if p.requires_grad]
    sizes, norm = [p.numel() for p in held], float(gradient.norm())
    if sum(sizes) != len(gradient) or norm < 1e-6 or context.config.precision == "bf16":
        return not_applicable("declared gradient", "some parameters get no gradient, or half precision hides it")

    @torch.no_grad()
    def moved(by: float) -> float:
        for p, part in zip(held, gradient.split(sizes), strict=True):
            p.add_(part.view_as(p), alpha=by / norm)
        return float(context.loss(model(batch.x).float(), batch).cpu().double().mean())

    if isinstance(context.task, Adopted):  # its step may clip, or weigh the classes: the direction tells
        context.loss(model(batch.x).float(), batch).mean().backward()
        own = torch.cat([p.grad.flatten() for p in held if p.grad is not None])
        ratio = float(own @ gradient / (own.norm() * norm).clamp(min=1e-12))
        words = f"the gradient of a step and that of the mean loss have a cosine of {ratio:.3f}"
        return check_result("declared gradient", words, fail=not ratio > 0.9, evidence={"ratio": ratio})
    if moved(0.0) != moved(0.0):
        return not_applicable("declared gradient", "two losses of the same examples differ: something random is left")
    reach = min(5e-3 * max(moved(0.0), 0.1) / norm, 1e-2 * float(nn.utils.get_total_norm(held)))  # far above rounding
    ratio = (moved(reach) - moved(-2 * reach)) / (2 * reach * norm)
    return check_result(
        "declared gradient",
        f"along the gradient of a step the loss rises {ratio:.3f} times as fast as the gradient says",
        fail=not 0.9 < ratio < 1.1,
        evidence={"ratio": ratio},
    )


def memory_per_step(context: Context) -> CheckResult:
    """Tensors that Python holds before and after eight equal steps: none may stay behind."""
    model, batch, held = quiet(context.fresh()), context.batch(context.rows(min(16, context.few))), []
    optimizer = context.optimizer(model)
    for number in range(12):
        context.step(model, [batch], optimizer)
        if number in (3, 11):
            gc.collect()
            held.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    kept = (held[1] - held[0]) / 8
    return check_result(
        "memory per step", f"each step leaves {kept:.3g} tensors behind", fail=kept >= 1, evidence={"held": held}
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
    optimizer = context.optimizer(model, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    seen: list[Tensor] = []

    def observe() -> None:
        seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]))

    for _ in range(times):
        context.step(model, [context.batch(rows) for rows in parts], optimizer, config, observe)
    return seen
