"""Does the network use its input, and is it the same in evaluation as in training? Judged after a short training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..owner.engine.loop import plan
from ..owner.engine.losses import expected_initial_loss
from ..owner.engine.seed import generator
from .check_result import CheckResult, check_result
from .context import Context, Rows, has_batch_norm, map_inputs, quiet
from .network import told_apart

LOOKS = (16, 32, 64, 150)  # steps after which a short training is judged
SURE = 5.0  # standard errors that end it early: one chance look in three million is as far out


def input_matters(context: Context) -> CheckResult:
    """After a short training, inputs taken from other examples must be worse than the right ones.

    Judged on examples that were seen, so that the answer is about the pipeline and not about generalization. Where the short
    training leaves doubt, a few examples that can be told apart are trained on until there is none, for at most 150 steps;
    the rate is tried as configured, then ten times higher. It fails where the outputs ignore the input at every look:
    ten times the learning rate may kill a sound network.
    """
    always, unread = True, _unread(context)
    for model, rows, last in _trained(context):
        ignored, mean, error, blank = _swap_inputs(context, model, rows)
        always = always and ignored
        if mean > (2 if last else SURE) * error:
            break
    return check_result(
        "input matters",
        f"another example's input raises the loss by {mean:.4f} +/- {error:.4f}; a blank one moves the output by {blank:.2g}"
        f"{unread}",
        fail=always or bool(unread),
        warn=not mean > 2 * error,
        evidence={"difference": mean, "error": error},
        steps=f"at most {LOOKS[-1]}",
    )


def _unread(context: Context) -> str:
    """Which columns, or channels, of the numbers in a batch never reach the outputs after a short training, in words; "" where
    they do. No gradient reaches them, and the outputs stay the same to the last bit when they come from other examples."""
    model, batch = copy.deepcopy(context.short.model).eval(), context.batch(context.short.seen[:256])
    inputs = batch.x if isinstance(batch.x, dict) else {"input": batch.x}

    def outputs(name: str, tensor: Tensor) -> Tensor:
        return model({**inputs, name: tensor} if isinstance(batch.x, dict) else tensor)  # type: ignore[no-any-return]

    for name, tensor in inputs.items():
        if not tensor.is_floating_point() or tensor.ndim < 2:
            continue
        leaf = tensor.clone().requires_grad_()
        with torch.backends.cudnn.flags(enabled=False):  # whose recurrent layers have no gradient in evaluation mode
            output = outputs(name, leaf)
        if not output.requires_grad:
            continue
        weight = torch.randn(output.shape, generator=generator(0)).to(output)
        (gradient,) = torch.autograd.grad((output * weight).sum(), leaf, materialize_grads=True)
        axes = [axis for axis in range(tensor.ndim) if axis != 1]
        varied = tensor.amax(axes) > tensor.amin(axes)
        silent = varied & (gradient.abs().sum(axes) == 0)
        swapped = tensor.clone()
        swapped[:, silent] = tensor.roll(1, 0)[:, silent]
        with torch.no_grad():
            if 0 < silent.sum() < varied.sum() and torch.equal(outputs(name, swapped), outputs(name, tensor)):
                where = ", ".join(map(str, silent.nonzero()[:, 0].tolist()[:5]))
                return f"; {int(silent.sum())} of {int(varied.sum())} columns of {name} never reach the output (numbers {where})"
    return ""


def _trained(context: Context) -> Iterator[tuple[nn.Module, Tensor, bool]]:
    """Models in evaluation mode, rows they have seen, and whether it is the last look at a rate."""
    seen = context.short.seen
    if context.train.query is None:
        seen = seen[torch.randperm(len(seen), generator=generator(0))]
    yield copy.deepcopy(context.short.model).eval(), seen, False
    rows = told_apart(context, 64)
    for factor in (1, 10):
        config = context.config.model_copy(update={"lr": context.config.lr * factor})
        for steps, model in zip(LOOKS, _train_briefly(context, config, Rows(context.train, rows)), strict=True):
            yield model, rows, steps == LOOKS[-1]


def _train_briefly(context: Context, config: Any, part: Rows) -> Iterator[nn.Module]:
    """The model, in evaluation mode, after each of LOOKS steps."""
    model = quiet(context.fresh())
    optimizer = context.optimizer(model, config)
    done = 0
    while done < LOOKS[-1]:
        for batch in part.batches(plan(part, context.few, 0, done)[: LOOKS[-1] - done]):
            context.step(model, [batch.to(context.device)], optimizer, config)
            done += 1
            if done in LOOKS:
                yield model.eval()
                model.train()


@torch.no_grad()
def _swap_inputs(context: Context, model: nn.Module, rows: Tensor) -> tuple[bool, float, float, float]:
    """(outputs ignore the input, mean rise of the loss with swapped inputs, its standard error, shift with blank ones)."""
    batch = context.batch(rows[: max(4 * context.few, 128)])
    order = torch.randperm(len(batch.y), generator=generator(context.config.seed))
    shift = torch.empty_like(order).scatter_(0, order, order.roll(1))  # no example keeps its own
    right = model(batch.x).float()
    wrong = model(map_inputs(batch.x, lambda t: t[shift.to(t.device)])).float()
    masked = isinstance(batch.x, dict) and any("mask" in name for name in batch.x)
    blank = wrong if masked else model(map_inputs(batch.x, torch.zeros_like)).float()
    difference = context.loss(wrong, batch) - context.loss(right, batch)
    ignored = torch.equal(right, wrong) or bool((right - right[:1]).abs().max() < 1e-6)
    error = float(difference.std() / max(len(difference), 2) ** 0.5)
    return ignored, float(difference.mean()), error, float((blank - right).abs().mean())


def train_against_eval(context: Context) -> CheckResult:
    """The same batch in training and in evaluation mode (dropout off) after a short training: nearly the same loss."""
    model = quiet(copy.deepcopy(context.short.model)).train()
    batch = context.batch(context.rows(max(context.config.batch_size, 32), seed=2))
    with torch.no_grad():
        train = float(context.loss(model(batch.x).float(), batch).mean())
        evaluated = float(context.loss(model.eval()(batch.x).float(), batch).mean())
    expected = expected_initial_loss(context.config, context.prep) or 1.0
    return check_result(
        "train against eval",
        f"loss {train:.4f} in training mode, {evaluated:.4f} in evaluation mode, same batch",
        warn=evaluated > 2 * train + 0.5 * expected,
        evidence={"train": train, "eval": evaluated, "batch_norm": has_batch_norm(model.train())},
    )
