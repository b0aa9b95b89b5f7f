"""Checks on what the loop is going to do: the order of examples, the learning rate, decay, patience, augmentation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..owner.engine.loop import epoch_plan
from ..owner.engine.optim import lr_factor, make_optimizer
from .check_result import CheckResult, check_result, not_applicable
from .context import Context

EPOCHS = 3  # that augmentation is looked at in
Draws = tuple[float, float]  # mean and standard deviation of the label entropy in a batch, over shuffled batches


def order(context: Context) -> CheckResult:
    """Batches of an epoch: every example once, another order each epoch, and not sorted by label.

    Sortedness is judged by the entropy of labels inside a batch against its expectation under shuffling; where batches are
    made of examples of like length, of shuffled examples of like length. That these hold like labels is then a WARN.
    """
    first, second = (epoch_plan(context.config, context.train, epoch) for epoch in (0, 1))
    found, some, batches = torch.cat(first), [rows.clone() for rows in first[:50]], len(first)
    del first  # of millions of rows every copy counts
    same = torch.equal(found, torch.cat(second)) and len(context.train) > 8
    del second
    found.numpy().sort()
    every = found.unique() if context.config.class_weights == "oversample" else found
    once = torch.equal(every, torch.arange(len(context.train)))
    entropy, shuffled, alike = _label_entropy(context, some, found)
    by_length, sorted_labels = (entropy < mean - 6 * sd and entropy < 0.8 * mean for mean, sd in (shuffled, alike))
    among = "" if context.train.lengths is None else f", shuffled among like lengths {alike[0]:.3f}"
    observed = f"{len(found)} of {len(context.train)} examples in {batches} batches; label entropy in a batch {entropy:.3f}, shuffled {shuffled[0]:.3f}{among}"
    return check_result(
        "order of examples",
        observed + ("; the order is the same in every epoch" if same else ""),
        fail=not once or same or sorted_labels,
        warn=by_length,
        why="lost" if not once else "order" if same or sorted_labels else "length",
        evidence={"entropy": entropy, "expected": alike[0], "shuffled": shuffled[0]},
    )


def _label_entropy(context: Context, batches: list[Tensor], rows: Tensor) -> tuple[float, Draws, Draws]:
    """Mean label entropy over the batches; and over ten draws of the same sizes from `rows`, as they were drawn, and sorted
    by length where examples have one."""
    y = context.train.y.cpu()
    labels = y if context.prep["classes"] and y.ndim == 1 else y.float() > y.float().median()
    k, seen, sizes = int(labels.max()) + 1, torch.cat(batches), [len(b) for b in batches]

    def mean_entropy(order: Tensor) -> float:
        total = 0.0
        for part in order.split(sizes):
            share = torch.bincount(labels[part].long(), minlength=k).double() / len(part)
            total -= float((share * share.clamp(min=1e-12).log()).sum()) / len(sizes)
        return total

    draws = (np.random.default_rng(s).choice(len(rows), len(seen), replace=False) for s in range(10))
    drawn, lengths = [rows[torch.from_numpy(draw)] for draw in draws], context.train.lengths
    alike = drawn if lengths is None else [draw[lengths[draw].argsort(stable=True)] for draw in drawn]
    found = [[mean_entropy(draw) for draw in some] for some in (drawn, alike)]
    first, second = ((float(np.mean(each)), float(np.std(each)) + 1e-9) for each in found)
    return mean_entropy(seen), first, second


def schedule(context: Context) -> CheckResult:
    """The planned learning rate over all steps: it reaches its peak, and ends low when it is meant to decay."""
    steps = context.config.epochs * math.ceil(
        len(epoch_plan(context.config, context.train, 0)) / context.config.accumulate
    )
    factors = [lr_factor(context.config, s, steps) for s in range(steps)]
    peak, end = max(factors), factors[-1]
    decays = context.config.schedule in ("cosine", "linear", "one_cycle")
    low_peak, high_end = not 0.9 <= peak <= 1.0 + 1e-9, decays and end > 0.2 and steps > 10
    return check_result(
        "schedule",
        f"over {steps} steps the learning rate peaks at {peak:.2f} of lr after {int(np.argmax(factors))} steps and ends at {end:.2f}",
        fail=low_peak or high_end,
        evidence={"peak": peak, "end": end, "steps": steps},
        decays=", an end near 0" if decays else "",
    )


def decay(context: Context) -> CheckResult:
    """Weight decay inside the range that has been seen to work: 1e-4..1e-2 usual, 0.3 the largest published (ViT); and a
    step without a gradient shrinks the weights that decay."""
    value, model = context.config.weight_decay, context.fresh().cpu().double()  # no float64 on MPS
    held = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(context.config, context.task, model)
    for p in held:
        p.grad = torch.zeros_like(p)
    before = float(nn.utils.get_total_norm(held))
    optimizer.step()
    after = float(nn.utils.get_total_norm(held))
    idle = value * context.config.lr > 1e-12 and not after < before
    return check_result(
        "weight decay",
        f"weight_decay = {value:g}"
        + (", and a step without a gradient leaves the weights as they are" if idle else ""),
        fail=idle,
        warn=value > 0.3,
        why="idle" if idle else "causes",
    )


def patience(context: Context) -> CheckResult:
    """Early stopping that waits long enough to see a curve: patience 3 and more (5-10 is usual), or off."""
    value, epochs = context.config.patience, context.config.epochs
    return check_result("patience", f"patience = {value} of {epochs} epochs", warn=0 < value < 3 and epochs > value)


def augmentation(context: Context) -> CheckResult:
    """Training inputs vary with epoch and example when augmentation is on, and are a function of (seed, epoch, index).

    Several epochs are looked at: an augmentation that touches few examples may leave all of these alone in one of them.
    """
    rows = context.rows(8)
    plain = _inputs(context, rows)
    epochs = [_inputs(context, rows, epoch) for epoch in range(EPOCHS)]
    changed = [epoch for epoch, inputs in enumerate(epochs) if not _equal(plain, inputs)]
    if not changed:
        return not_applicable("augmentation", f"no input of {len(rows)} examples changes in {EPOCHS} epochs")
    drifts = not _equal(epochs[changed[0]], _inputs(context, rows, changed[0]))
    frozen = all(_equal(epochs[0], inputs) for inputs in epochs)
    alike = _alike(context, rows, changed[0])
    observed = (
        "the same (epoch, example) gives two different inputs"
        if drifts
        else "every epoch shows the same augmented inputs"
        if frozen
        else "every example gets the same augmentation"
        if alike
        else "inputs vary with epoch and example, and repeat for the same two"
    )
    return check_result("augmentation", observed, fail=drifts or frozen or alike)


def _inputs(context: Context, rows: Tensor, epoch: int | None = None) -> Any:
    """These examples as training sees them in an epoch; plain without one."""
    return next(iter(context.train.batches([rows], epoch or 0, epoch is not None))).x


def _equal(one: Any, other: Any) -> bool:
    pairs = [(one[k], other[k]) for k in one] if isinstance(one, dict) else [(one, other)]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _alike(context: Context, rows: Tensor, epoch: int) -> bool:
    """One example, entered eight times under its own index, cannot tell; eight neighbors that all stay the same could."""
    changed = [not _equal(_inputs(context, row[None]), _inputs(context, row[None], epoch)) for row in rows]
    return not any(changed)
