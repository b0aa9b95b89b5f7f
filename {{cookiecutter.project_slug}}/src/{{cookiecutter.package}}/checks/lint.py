"""Checks that read the network like a linter: order of layers, parameters nobody steps, outputs of the wrong kind."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.optim import make_optimiser
from ..task import Batch
from .bench import Bench, has_batch_norm
from .finding import Cause, Finding, verdict

LINEAR = (nn.Linear, nn.modules.conv._ConvNd)
TRANSPARENT = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.dropout._DropoutNd,
    nn.Identity,
    nn.Flatten,
)
SMALL_BATCH = 16  # under this BatchNorm's statistics are too noisy (Wu and He 2018, figure 1)


def activations(bench: Bench) -> Finding:
    """Two linear layers with nothing but norm, dropout or reshape between them are one linear layer.

    A narrow middle is a deliberate low-rank factor (LoRA, the bottleneck of an inverted residual) and is let pass.
    """
    model = bench.fresh().eval()
    names = {module: name for name, module in model.named_modules()}
    source: dict[int, nn.Module] = {}
    alive: list[Any] = []  # keeps every tensor, so that an id is never used twice
    pairs: list[tuple[str, str]] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if not inputs or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            return
        alive.extend((inputs[0], output))
        before = source.get(id(inputs[0]))
        if isinstance(module, LINEAR):
            if before is not None and not _bottleneck(before, module):
                pairs.append((names[before], names[module]))
            source[id(output)] = module
        elif isinstance(module, TRANSPARENT) and before is not None:
            source[id(output)] = before
        else:
            source.pop(id(output), None)

    hooks = [m.register_forward_hook(hook) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model(bench.batch(bench.rows(4)).x)
    for handle in hooks:
        handle.remove()
    return Finding(
        "activations",
        verdict(bool(pairs)),
        f"{pairs[0][0]} feeds {pairs[0][1]} with no activation between"
        if pairs
        else "every hidden layer is followed by a non-linearity",
        "a non-linearity between any two linear layers (a narrow middle, as in LoRA, excepted)",
        (
            Cause("model", "an activation was removed or forgotten: the two layers act as one"),
            Cause("model", "the second layer is not needed"),
        )
        if pairs
        else (),
        f"put the activation back after {pairs[0][0]} in model.py" if pairs else "",
        evidence={"pairs": pairs},
    )


def _width(module: nn.Module, end: str) -> int:
    return int(getattr(module, f"{end}_features", None) or getattr(module, f"{end}_channels"))


def _bottleneck(first: nn.Module, second: nn.Module) -> bool:
    middle = _width(first, "out")
    return middle < _width(first, "in") and middle < _width(second, "out")


def parameters_stepped(bench: Bench) -> Finding:
    """Every trainable tensor behind the loss is a registered parameter, and the optimiser holds all of them."""
    model = bench.fresh()
    held = {id(p) for group in make_optimiser(bench.config, bench.task, model).param_groups for p in group["params"]}
    known = {id(p) for p in model.parameters()}
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    batch = bench.batch(bench.rows(8))
    stray = [t for t in _leaves(bench.loss(model(batch.x).float(), batch).sum()) if id(t) not in known]
    saw = f"{len(known)} tensors registered, all held by the optimiser"
    if missing:
        saw = f"the optimiser does not hold {', '.join(missing[:4])}"
    elif stray:
        saw = f"{len(stray)} trainable tensors are no parameters of the model (shapes {', '.join(str(tuple(t.shape)) for t in stray[:3])})"
    bad = bool(missing or stray)
    return Finding(
        "parameters stepped",
        verdict(bad),
        saw,
        "what the loss depends on is what the optimiser steps",
        (
            Cause("optimiser", "the optimiser was built before a layer was replaced, or from a part of the model"),
            Cause(
                "model",
                "a layer is kept in a plain list, dict or tensor: use nn.ModuleList, nn.ModuleDict, nn.Parameter",
            ),
        )
        if missing
        else (
            Cause(
                "model",
                "a layer is kept in a plain list, dict or tensor: use nn.ModuleList, nn.ModuleDict, nn.Parameter",
            ),
            Cause("optimiser", "a tensor of another model is used"),
        )
        if stray
        else (),
        "look at __init__ in model.py and at make_optimiser",
    )


def _leaves(loss: Tensor) -> list[Tensor]:
    """The leaf tensors that a backward pass from `loss` would give a gradient."""
    seen, todo, leaves = set(), [loss.grad_fn], []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        todo += [parent for parent, _ in node.next_functions]
    return leaves


def output_kind(bench: Bench) -> Finding:
    """Outputs are logits or values of the right shape: [b, k], finite, not already probabilities, not bounded away."""
    model = bench.fresh().eval()
    batch = bench.batch(bench.rows(64))
    with torch.no_grad():
        output = model(batch.x).float()
    shape = (len(batch.y), bench.prep["outputs"])
    problem = ""
    causes: tuple[Cause, ...] = ()
    if tuple(output.shape) != shape:
        problem = f"output of shape {tuple(output.shape)}"
        causes = (
            Cause("model", f"the last layer should have {shape[1]} outputs"),
            Cause("loss", "another task's head is in use"),
        )
    elif not bool(output.isfinite().all()):
        problem = "outputs that are not finite"
        causes = (
            Cause("preprocessing", "an input is not finite, or hugely scaled"),
            Cause("model", "a division by zero or a log of zero"),
        )
    elif bench.prep["classes"] and _probabilities(model, batch, output):
        problem = "outputs that are probabilities already"
        causes = (
            Cause("loss", "softmax or sigmoid is applied twice: in the model and in the loss"),
            Cause("model", "remove the last activation: the loss takes logits"),
        )
    elif bench.config.task == "regression" and _bounded(model):
        problem = "a last activation that bounds a regression output"
        causes = (
            Cause("model", "remove the last activation"),
            Cause("loss", "the loss and the output activation do not agree"),
        )
    return Finding(
        "output kind",
        verdict(bool(problem)),
        problem or f"logits or values of shape {shape}, finite",
        f"finite outputs of shape {shape}, before any softmax, sigmoid or other last activation",
        causes,
        "look at the end of forward in model.py",
    )


def _probabilities(model: nn.Module, batch: Batch, output: Tensor) -> bool:
    """Outputs that sum to one; a single output from 0 to 1 that stays there when the last bias grows by 100.

    A single fresh logit lies between 0 and 1 by chance where the prior does: healthy, so the range alone tells nothing.
    """
    inside = bool(((output >= 0) & (output <= 1)).all())
    if not inside or output.shape[1] > 1:
        return inside and bool((output.sum(dim=1) - 1).abs().max() < 1e-4)
    biases = [m.bias for m in model.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    if not biases:
        return True
    with torch.no_grad():
        biases[-1].add_(100.0)
        return bool((model(batch.x).float() <= 1).all())


def _bounded(model: nn.Module) -> bool:
    last = [
        m
        for m in model.modules()
        if not list(m.children()) and not isinstance(m, (nn.Identity, nn.modules.dropout._DropoutNd))
    ]
    return bool(last) and isinstance(last[-1], nn.Sigmoid | nn.Tanh | nn.Softmax | nn.ReLU)


def normalisation(bench: Bench) -> Finding:
    """BatchNorm wants batches of 16 and more; a bias before it is dead weight; dropout before it shifts its statistics."""
    model = bench.fresh()
    layers = [m for m in model.modules() if not list(m.children())]
    before = list(pairwise(layers))
    norms = [m for m in layers if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return Finding(
            "normalisation", "NOT APPLICABLE", "the network has no BatchNorm", "batches of 16 and more for BatchNorm"
        )
    small = has_batch_norm(model) and bench.config.batch_size < SMALL_BATCH
    bias = [
        b
        for a, b in before
        if isinstance(b, nn.modules.batchnorm._BatchNorm) and isinstance(a, LINEAR) and a.bias is not None
    ]
    dropout = [
        b
        for a, b in before
        if isinstance(b, nn.modules.batchnorm._BatchNorm) and isinstance(a, nn.modules.dropout._DropoutNd)
    ]
    problems = [
        text
        for bad, text in (
            (small, f"BatchNorm with batch_size = {bench.config.batch_size}"),
            (bias, f"{len(bias)} layers with a bias before BatchNorm"),
            (dropout, f"{len(dropout)} dropouts right before BatchNorm"),
        )
        if bad
    ]
    alone = has_batch_norm(model) and bench.config.batch_size == 1
    return Finding(
        "normalisation",
        verdict(alone, bool(problems)),
        "; ".join(problems) or f"{len(norms)} BatchNorm layers, batches of {bench.config.batch_size}",
        f"batches of {SMALL_BATCH} and more, no bias and no dropout right before BatchNorm",
        (
            Cause("model", "BatchNorm does not suit batches this small: use GroupNorm or LayerNorm"),
            Cause("loop", "the batch is too small; accumulation does not help BatchNorm"),
        )
        if small
        else (
            Cause("model", "the order of layers: linear without bias, BatchNorm, activation, dropout"),
            Cause("optimiser", "a bias that BatchNorm cancels only adds decay"),
        ),
        "recipe check norm=group" if small else "mend the order of layers in model.py",
    )
