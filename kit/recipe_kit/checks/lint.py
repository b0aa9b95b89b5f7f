"""Checks that read the network like a linter: order of layers, parameters nobody steps, outputs of the wrong kind."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..owner.task import Batch
from .check_result import CheckResult, check_result, not_applicable
from .context import Context, has_batch_norm, last_linear, map_inputs

LINEAR = (nn.Linear, nn.modules.conv._ConvNd)
TRANSPARENT = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.dropout._DropoutNd,
    nn.Identity,
    nn.Flatten,
)
# Share of the variance of an activation of standard normal numbers that no straight line explains: ReLU .27, GELU .17,
# tanh .07, and the least curved one in use, the logistic function, .017. Under a tenth of that it is a straight line.
CURVED = 0.0017
SMALL_BATCH = 16  # under this BatchNorm's statistics are too noisy (Wu and He 2018, figure 1)


def activations(context: Context) -> CheckResult:
    """Two linear layers with nothing but norm, dropout, reshape or an activation that is a straight line between them are
    one linear layer; and so is a network of several layers whose output is straight along every line between two inputs.

    The first reads modules in the order they run, the second the whole network, so that activations called as functions
    count too. A narrow middle is a deliberate low-rank factor (LoRA, the bottleneck of an inverted residual) and is let
    pass.
    """
    model = context.fresh().eval()
    pairs, narrow = _linear_pairs(context, model)
    several = sum(isinstance(m, LINEAR) for m in model.modules()) > 1
    whole = several and not pairs and not narrow and all(_straight_network(context, model, far) for far in (1.0, 100.0))
    observed = "every hidden layer is followed by a non-linearity"
    if pairs:
        observed = f"{pairs[0][0]} feeds {pairs[0][1]} with no activation between, or one that is a straight line"
    elif whole:
        observed = "halfway between any two inputs the output is halfway too: all layers together are one linear layer"
    return check_result(
        "activations",
        observed,
        fail=bool(pairs) or whole,
        evidence={"pairs": pairs, "straight": whole},
        first=pairs[0][0] if pairs else "each hidden layer",
    )


def _linear_pairs(context: Context, model: nn.Module) -> tuple[list[tuple[str, str]], bool]:
    """Names of linear layers of which the second gets what the first gives, with nothing curved between; and whether
    some were let pass for their narrow middle."""
    names = {module: name for name, module in model.named_modules()}
    source: dict[int, nn.Module] = {}
    alive: list[Any] = []  # keeps every tensor, so that an id is never used twice
    pairs: list[tuple[str, str]] = []
    narrow: list[nn.Module] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if not inputs or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            return
        alive.extend((inputs[0], output))
        before = source.get(id(inputs[0]))
        if isinstance(module, LINEAR):
            if before is not None and _width(before, "out") < min(_width(before, "in"), _width(module, "out")):
                narrow.append(module)
            elif before is not None:
                pairs.append((names[before], names[module]))
            source[id(output)] = module
        elif before is not None and (isinstance(module, TRANSPARENT) or module in straight):
            source[id(output)] = before
        else:
            source.pop(id(output), None)

    leaves = [m for m in model.modules() if not list(m.children())]
    straight = {m for m in leaves if not isinstance(m, (*LINEAR, *TRANSPARENT)) and is_straight(m)}
    hooks = [m.register_forward_hook(hook) for m in leaves]
    with torch.no_grad():
        model(context.batch(context.rows(4)).x)
    for handle in hooks:
        handle.remove()
    return pairs, bool(narrow)


def is_straight(module: nn.Module) -> bool:
    """Whether a module takes numbers one by one, as an activation does, and gives a straight line (see CURVED), also for
    numbers four times as large: some activations are bent far out only."""
    return all(_curvature(module, scale) < CURVED for scale in (1.0, 4.0))


def _curvature(module: nn.Module, scale: float) -> float:
    """Share of the variance that no straight line explains, for normal numbers; infinity for what is no activation."""
    z = scale * torch.special.ndtri((torch.arange(2048, dtype=torch.float64) + 0.5) / 2048)
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(0))
    place = next((p for p in module.parameters()), torch.empty(0))
    try:
        with torch.no_grad():
            value, mixed = (module(x.to(place).reshape(1, -1)).flatten().double().cpu() for x in (z, z[order]))
    except Exception:  # no activation: it wants numbers of another kind or shape
        return math.inf
    if value.shape != z.shape or not torch.allclose(value[order], mixed) or not float(value.var()) > 0:
        return math.inf
    slope, level = ((value - value.mean()) * z).mean() / (z * z).mean(), value.mean()
    return float((value - level - slope * z).var() / value.var())


@torch.no_grad()
def _straight_network(context: Context, model: nn.Module, far: float) -> bool:
    """Whether outputs halfway between two examples are halfway, up to rounding; inputs that are no decimals are all alike.

    far: what the inputs are multiplied by. Close to zero a tanh is straight for all that rounding shows.
    """
    some = context.batch(context.rows(64)).x
    if not any(t.is_floating_point() for t in (some.values() if isinstance(some, dict) else [some])):
        return False
    start = map_inputs(some, lambda t: far * t if t.is_floating_point() else t[:1].expand_as(t))
    end = map_inputs(start, lambda t: t.roll(1, dims=0))
    half = map_inputs(start, lambda t: (t + t.roll(1, dims=0)) / 2 if t.is_floating_point() else t)
    one, other, middle = (model(x).double() for x in (start, end, half))
    spread = float((one - other).norm())
    return spread > 0 and float((middle - (one + other) / 2).norm()) < 1e-4 * spread


def _width(module: nn.Module, end: str) -> int:
    return int(getattr(module, f"{end}_features", None) or getattr(module, f"{end}_channels"))


def parameters_stepped(context: Context) -> CheckResult:
    """Every trainable tensor behind the loss is a registered parameter, and the optimizer holds all of them."""
    model = context.fresh()
    held = {id(p) for group in context.optimizer(model).param_groups for p in group["params"]}
    known = {id(p) for p in model.parameters()}
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    batch = context.batch(context.rows(8))
    stray = [t for t in _leaves(context.loss(model(batch.x).float(), batch).sum()) if id(t) not in known]
    observed = f"{len(known)} tensors registered, all held by the optimizer"
    if missing:
        observed = f"the optimizer does not hold {', '.join(missing[:4])}"
    elif stray:
        observed = f"{len(stray)} trainable tensors are no parameters of the model (shapes {', '.join(str(tuple(t.shape)) for t in stray[:3])})"
    return check_result(
        "parameters stepped", observed, fail=bool(missing or stray), why="missing" if missing else "stray"
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


def output_kind(context: Context) -> CheckResult:
    """Outputs are logits or values of the right shape: [b, k], finite, not already probabilities, not bounded away."""
    model = context.fresh().eval()
    batch = context.batch(context.rows(64))
    with torch.no_grad():
        output = model(batch.x).float()
    shape = (len(batch.y), context.prep["outputs"])
    problem, why = "", ""
    if tuple(output.shape) != shape:
        problem, why = f"output of shape {tuple(output.shape)}", "shape"
    elif not bool(output.isfinite().all()):
        problem, why = "outputs that are not finite", "infinite"
    elif context.prep["classes"] and (_probabilities(model, batch, output) or _limited(context, batch, output)):
        problem, why = "outputs that a last activation limits, such as probabilities", "probabilities"
    elif context.config.task == "regression" and _limited(context, batch, output):
        problem, why = "a last activation that bounds a regression output", "bounded"
    return check_result(
        "output kind",
        problem or f"logits or values of shape {shape}, finite",
        fail=bool(problem),
        why=why,
        shape=shape,
        k=shape[1],
    )


def _probabilities(model: nn.Module, batch: Batch, output: Tensor) -> bool:
    """Outputs that sum to one; a single one from 0 to 1 behind no linear layer, whose bias `_limited` could move."""
    if not bool(((output >= 0) & (output <= 1)).all()):
        return False
    if output.shape[1] > 1:
        return bool((output.sum(dim=1) - 1).abs().max() < 1e-4)
    return last_linear(model, batch.x)[1] is None


@torch.no_grad()
def _limited(context: Context, batch: Batch, output: Tensor) -> bool:
    """Whether outputs stop at a limit as the last bias moves by 100 and by 200, as behind a sigmoid, a tanh or a ReLU; of a
    regression, one that targets lie beyond: a tanh may do for what is from -1 to 1."""
    model, shown = context.fresh().eval(), []
    if (last := last_linear(model, batch.x)[1]) is None:
        return False
    if last[0].bias is None:
        last[0].bias = nn.Parameter(last[0].weight.new_zeros(last[0].out_features))
    for by in (100.0, 100.0, -300.0, -100.0):
        last[0].bias.add_(by)
        shown.append(model(batch.x).float())
    if not all(bool(some.isfinite().all()) for some in shown):
        return False
    above = torch.allclose(shown[0], shown[1]) and not torch.allclose(shown[0], output, atol=1e-3)
    if context.config.task == "regression":
        below = torch.allclose(shown[2], shown[3]) and not torch.allclose(shown[2], shown[0], atol=1e-3)
        y = context.train.y.to(output)
        return bool((above and (y > shown[1].max()).any()) or (below and (y < shown[3].min()).any()))
    return above or (bool((shown[2] == 0).all()) and bool((shown[0] != 0).any()))


def normalization(context: Context) -> CheckResult:
    """BatchNorm wants batches of 16 and more; a bias before it is dead weight; dropout before it shifts its statistics."""
    model = context.fresh()
    layers = [m for m in model.modules() if not list(m.children())]
    norms = [m for m in layers if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return not_applicable("normalization", "the network has no BatchNorm")
    before = [one for one, norm in pairwise(layers) if norm in norms]
    small = has_batch_norm(model) and context.config.batch_size < SMALL_BATCH
    bias = [one for one in before if isinstance(one, LINEAR) and one.bias is not None]
    dropout = [one for one in before if isinstance(one, nn.modules.dropout._DropoutNd)]
    problems = [
        text
        for bad, text in (
            (small, f"BatchNorm with batch_size = {context.config.batch_size}"),
            (bias, f"{len(bias)} layers with a bias before BatchNorm"),
            (dropout, f"{len(dropout)} dropouts right before BatchNorm"),
        )
        if bad
    ]
    return check_result(
        "normalization",
        "; ".join(problems) or f"{len(norms)} BatchNorm layers, batches of {context.config.batch_size}",
        fail=has_batch_norm(model) and context.config.batch_size == 1,
        warn=bool(problems),
        why="small" if small else "order",
        least=SMALL_BATCH,
    )
