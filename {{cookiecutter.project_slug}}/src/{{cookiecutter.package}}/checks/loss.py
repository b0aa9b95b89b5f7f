"""Unit tests of the configured loss on outputs whose loss is known, and of the step that averages it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..engine.loop import step
from ..engine.losses import class_weights
from ..engine.optim import make_optimiser
from ..task import Batch
from .bench import Bench, has_batch_norm, quiet
from .finding import Finding, finding, not_applicable


def known_outputs(bench: Bench) -> Finding:
    """The loss of outputs that are right, wrong and undecided, for every class; one value per example.

    Right and sure is near the smoothed minimum, wrong and sure is large, all-equal logits give ln k (focal: times
    (1 - 1/k)^gamma), a perfect regression gives 0 and an error of 2 its square, absolute or Huber value.
    """
    if not bench.prep["classes"]:
        return _known_values(bench)
    k, config = max(bench.prep["outputs"], 2), bench.config
    y = torch.arange(k)
    one = bench.prep["outputs"] == 1
    sure = torch.where(y[:, None] == 1, 12.0, -12.0) if one else torch.eye(k) * 24.0
    plain = bench.loss
    weights = class_weights(bench.prep["prior"]) if config.class_weights == "balanced" else torch.ones(k)
    batch = Batch(None, y.float() if one else y, y)
    gamma = config.focal_gamma if config.resolved_loss == "focal" else 0.0
    even = math.log(k) * (1 - 1 / k) ** gamma * weights
    problems = _problems(
        {
            "undecided outputs": (plain(torch.zeros(k, bench.prep["outputs"]), batch), even),
            "right and sure outputs": (plain(sure, batch), weights * 24 * config.label_smoothing * (k - 1) / k),
        }
    )
    wrong = plain(-sure if one else sure.roll(1, dims=0), batch)
    if wrong.shape == (k,) and bool((wrong < 5 * weights).any()):
        problems.append(f"sure and wrong outputs cost only {float(wrong.min()):.3g}")
    return _finding(problems, f"undecided {float(even.mean()):.4f}, right ~0, wrong large, for each of {k} classes")


def _known_values(bench: Bench) -> Finding:
    y = torch.tensor([2.0, 1.0, 0.0, 3.0])
    query = torch.zeros(4, dtype=torch.int64)
    batch = Batch(None, y, torch.arange(4), query)
    name = bench.config.resolved_loss
    if name == "pairwise":
        cases = {
            "equal scores": (bench.loss(torch.zeros(4, 1), batch), torch.full((4,), math.log(2))),
            "right order": (bench.loss(20 * y[:, None], batch), torch.zeros(4)),
        }
    else:
        off = {"mse": 4.0, "mae": 2.0, "huber": 1.5}[name]
        cases = {
            "perfect outputs": (bench.loss(y[:, None], batch), torch.zeros(4)),
            "outputs off by 2": (bench.loss(y[:, None] + 2, batch), torch.full((4,), off)),
        }
    return _finding(_problems(cases), "0 when right, the known value when off by 2 (pairs: ln 2 for equal scores)")


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


def _finding(problems: list[str], expected: str) -> Finding:
    return finding(
        "loss of known outputs", "; ".join(problems) or "as computed by hand", fail=bool(problems), known=expected
    )


def mean_not_sum(bench: Bench) -> Finding:
    """Every example twice must give the gradient of every example once: a mean does, a sum gives twice as much."""
    rows = bench.rows(16)
    once, twice = (_gradient(bench, [part]) for part in (rows, rows.repeat(2)))
    ratio = float(twice.norm() / once.norm().clamp(min=1e-12))
    return finding(
        "mean, not sum",
        f"doubling the batch multiplies the gradient by {ratio:.3f}",
        fail=not 0.9 < ratio < 1.1,
        evidence={"ratio": ratio},
    )


def accumulation(bench: Bench) -> Finding:
    """Two uneven micro-batches accumulated must give the gradient of both together."""
    if has_batch_norm(bench.fresh()):
        return not_applicable("accumulation", "BatchNorm sees each micro-batch by itself")
    rows = bench.rows(15)
    cut = _cut(bench, rows)
    whole, parts = _gradient(bench, [rows]), _gradient(bench, [rows[:cut], rows[cut:]])
    apart = float((whole - parts).norm() / whole.norm().clamp(min=1e-12))
    limit = 0.05 if bench.config.precision == "bf16" else 1e-3
    return finding(
        "accumulation",
        f"gradients differ by {apart:.1e} of their size",
        fail=apart > limit,
        evidence={"difference": apart},
        limit=limit,
    )


def fresh_gradients(bench: Bench) -> Finding:
    """Gradients are cleared before each step: the same step eight times at rate zero gives the same gradient, and in
    each step of the short training the gradient is what the backward passes of that step brought, no more.

    The second half sees what is cleared only now and then: to miss one step in p costs (1 - p) to the power of 60.
    """
    first, *others = _gradients(bench, [bench.rows(min(16, bench.few))], times=8)
    ratios = [float(other.norm() / first.norm().clamp(min=1e-12)) for other in others]
    ratio = max(ratios, key=lambda value: abs(value - 1))
    stale = bench.short.stale
    return finding(
        "fresh gradients",
        f"of eight equal steps, the one most unlike the first has {ratio:.3f} times its gradient; {len(stale)} of"
        f" {len(bench.short.losses)} real steps hold gradients of a step before",
        fail=not 0.9 < ratio < 1.1 or bool(stale),
        evidence={"ratio": ratio, "stale": stale},
    )


def downhill(bench: Bench) -> Finding:
    """A few very small steps on one batch must lower its loss: the gradient is followed down, not up."""
    config = bench.config.model_copy(update={"lr": bench.config.lr / 10, "weight_decay": 0.0})
    model = quiet(bench.fresh())
    optimiser = make_optimiser(config, bench.task, model)
    batch = bench.batch(bench.rows(min(16, bench.few)))
    values = [float(step(model, [batch], bench.loss, optimiser, config)) / len(batch.y) for _ in range(11)]
    rise = values[-1] - values[0]
    return finding(
        "downhill",
        f"ten steps at a tenth of lr change the loss of their own batch from {values[0]:.5f} to {values[-1]:.5f}",
        fail=rise > 1e-6 * max(abs(values[0]), 1.0),
        evidence={"losses": values},
    )


def _cut(bench: Bench, rows: Tensor) -> int:
    """Where to cut rows in two uneven parts without cutting a query."""
    if bench.train.query is None:
        return len(rows) // 3
    query = bench.train.query.cpu()[rows]
    return int((query == query[0]).sum())


def _gradient(bench: Bench, parts: list[Tensor]) -> Tensor:
    """The gradient that `loop.step` computes, before clipping, as one vector."""
    return _gradients(bench, parts, 1)[0]


def _gradients(bench: Bench, parts: list[Tensor], times: int) -> list[Tensor]:
    """The gradients of `times` equal steps at rate zero."""
    config = bench.config.model_copy(update={"weight_decay": 0.0, "clip": 0.0})
    model = quiet(bench.fresh())
    optimiser = make_optimiser(config, bench.task, model)
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    seen: list[Tensor] = []

    def observe() -> None:
        seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]))

    for _ in range(times):
        step(model, [bench.batch(rows) for rows in parts], bench.loss, optimiser, config, observe)
    return seen
