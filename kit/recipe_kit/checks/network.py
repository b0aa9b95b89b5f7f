"""Checks on a fresh network: does it start right, can it learn at all, do its gradients flow, does it use its input?"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..owner.engine.losses import expected_initial_loss
from ..owner.engine.seed import generator
from ..owner.task import Batch
from .check_result import CheckResult, check_result, not_applicable
from .context import Context, last_linear, quiet

UNIT = 1.0  # distance from which examples are told apart: a fresh layer turns inputs of size 1 by about as much
HE, CHI2 = 2.2, 3.84  # variance of weights times inputs as He et al. draw them, and a tenth; of a square, 95 %
ORDINARY = 16.0  # mean square of inputs that are scaled: four standard deviations
WIDE = 10_000  # numbers of one example from which fewer are looked at


def init_loss(context: Context) -> CheckResult:
    """The loss before training against what a model knowing only the class shares would have (ln k when balanced).

    FAIL beyond a factor of 2 either way: a He-initialized head alone reaches 1.34 ln k, so a tighter band would alarm
    on sound networks. Where few targets lie far out, most rows have next to no variance: outputs may then be as wide as
    all targets together. A regression may start as far off as its last layer, drawn no wider than He et al. (2015) draw it,
    takes inputs of ordinary size: behind residual blocks these are larger than behind a plain layer.
    """
    model, n = context.fresh().eval(), 4 * context.config.batch_size
    some = torch.randperm(len(context.train), generator=generator(0))[:n].clone()  # a file may be sorted
    with torch.no_grad():
        batch = context.batch(some if context.train.query is None else context.rows(n))
        output, drawn = _with_variance(model, batch.x)
        loss = float(context.loss(output, batch).mean())
        constant = float(context.loss(torch.zeros_like(output), batch).mean())
        spread = float(output.std(dim=0).mean()) if len(output) > 1 else 0.0
    expected = _expected(context, batch, constant)
    wide = max(expected, 1.0, CHI2 * drawn) if context.config.task == "regression" else expected
    ratio = loss / max(expected, 1e-12)
    vacuous = (
        " (the outputs are all alike, a zero head: this says nothing about the loss, see the loss tests)"
        if spread < 1e-7
        else ""
    )
    return check_result(
        "init loss",
        f"{loss:.4f}, {ratio:.2f} times the expected; outputs spread {spread:.2g}{vacuous}",
        fail=not 0.5 * expected <= loss <= expected + wide,
        why="high" if ratio > 1 else "low",
        evidence={"loss": loss, "expected": expected, "spread": spread},
        known=_expected_words(context),
        most=f"at most {expected + wide:.4f}, as the last layer is drawn"
        if wide > max(expected, 1.0)
        else "within a factor of 2",
    )


def _with_variance(model: nn.Module, x: Any) -> tuple[Tensor, float]:
    """Outputs [b, k], and the variance that drawing the weights of the last linear layer gives one; 0 where that layer is drawn
    wider than usual, or gets inputs that nobody scaled."""
    output, last = last_linear(model, x)
    if last is None:
        return output, 0.0
    drawn, size = float(last[0].weight.square().mean()) * last[0].in_features, float(last[1].float().square().mean())
    return output, drawn * size if drawn <= HE and size <= ORDINARY else 0.0


def _expected(context: Context, batch: Batch, constant: float) -> float:
    """The loss expected of these rows; `constant` is that of the constant that the head starts at, the mean of the target."""
    if context.config.resolved_loss == "mse":  # few rows have another variance than all, which must have 1
        return constant / max(float(context.train.y.double().square().mean()), 1e-12)
    expected = expected_initial_loss(context.config, context.prep, batch.y)
    return constant if expected is None or batch.query is not None else expected


def _expected_words(context: Context) -> str:
    k = len(context.prep["classes"])
    words = {"pairwise": "ln 2, a coin flip, for each row that is in a pair"}
    words["mse"] = "variance of the standardized target on these rows"
    shares = f"loss of the class shares on these rows (ln {k} = {math.log(k):.4f} when balanced)" if k else ""
    return words.get(context.config.resolved_loss, shares or "loss of predicting the mean")


def overfit(context: Context, examples: int = 16, steps: int = 300) -> CheckResult:
    """A sound network memorizes a few examples that can be told apart: a twentieth of the loss that one constant has on
    them, and every one right, within 300 steps.

    How many: 16, or as many as lie a unit apart (see `told_apart`); closer ones with different labels need a steeper
    function than 300 steps give. Dropout, label smoothing, decay and augmentation are off; the lr is tried as configured,
    then ten times higher (an lr made for a long run is often too small for a short one) and a tenth (targets that lie close
    together in a column with far outliers need small steps). Sound and broken networks lie
    two decades apart. A pass says that model, loss and step fit together; it says nothing about data, split, or a sum
    instead of a mean.
    """
    rows = told_apart(context, examples)
    if len(rows) < 2:
        return not_applicable("overfit a batch", "all inputs are alike")
    best, floor = math.inf, _floor(context, context.batch(rows))
    words: dict[str, Any] = {"floor": floor, "limit": steps, "examples": len(rows)}
    for factor in (1, 10, 0.1):
        config = context.config.model_copy(
            update={"weight_decay": 0.0, "label_smoothing": 0.0, "lr": context.config.lr * factor}
        )
        calm = Context(config, context.task, context.prep, context.data, context.train, context.val)
        model = quiet(calm.fresh())
        optimizer = calm.optimizer(model)
        batch = calm.batch(rows)
        for taken in range(1, steps + 1):
            value = calm.step(model, [batch], optimizer) / len(batch.y)
            best = min(best, value) if math.isfinite(value) else best
            if value < floor and _all_right(calm, model, batch):
                observed = f"{len(rows)} examples memorized in {taken} steps at lr {config.lr:g} (loss {value:.4f})"
                return check_result("overfit a batch", observed, evidence={"steps": taken, "loss": value}, **words)
    observed = f"lowest loss {best:.4f} on {len(rows)} rows, at lr {context.config.lr:g}, ten times and a tenth of it"
    return check_result("overfit a batch", observed, fail=True, evidence={"loss": best}, **words)


def _floor(context: Context, batch: Batch) -> float:
    """A twentieth of the loss of one constant on these rows, in their own unit: weights, and targets far out, scale it."""
    k = len(context.prep["classes"])
    even = torch.zeros(len(batch.y), context.prep["outputs"], device=batch.y.device)
    level = float(context.loss(even if k or batch.query is not None else even + batch.y.float().mean(), batch).mean())
    return 0.05 * (max(level / math.log(k), 1.0) if k else max(level, 0.02))


def told_apart(context: Context, most: int) -> Tensor:
    """Rows of all classes in turn, each as far from those before it as any: `most`, or as many as lie UNIT apart.

    Distances are those of the inputs as the network gets them; two codes or tokens that differ are one apart.
    """
    rows, kinds = _candidates(context)
    x = context.batch(rows).x
    parts = [part.reshape(len(rows), -1).cpu() for part in _tensors(x)]
    chosen, taken = [0], torch.zeros(int(kinds.max()) + 1)
    near = torch.full((len(rows),), math.inf)
    while len(chosen) < most:
        taken[kinds[chosen[-1]]] += 1
        near = torch.minimum(near, _distances(parts, chosen[-1]))
        fits = near >= UNIT if len(chosen) > 1 else near > 0
        if not fits.any():
            break
        fewest = taken[kinds] == taken[kinds[fits]].min()
        chosen.append(int(torch.where(fits & fewest, near, -1.0).argmax()))
    return rows[chosen]


def _candidates(context: Context) -> tuple[Tensor, Tensor]:
    """(rows to choose from, the kind of each: class, third of the targets, or relevance within one query)."""
    width = sum(part[0].numel() for part in _tensors(context.batch(context.rows(1)).x))
    rows = context.rows(64 if width > WIDE else 256)
    y = context.train.y.cpu()[rows]
    if context.train.query is not None:
        query = context.train.query.cpu()[rows]
        rows, y = rows[query == query.mode().values], y[query == query.mode().values]
    elif not context.prep["classes"]:
        y = torch.bucketize(y, y.quantile(torch.tensor([1 / 3, 2 / 3])))
    return rows, y.unique(return_inverse=True)[1]


def _tensors(x: Any) -> list[Tensor]:
    return list(x.values()) if isinstance(x, dict) else [x]


def _distances(parts: list[Tensor], i: int) -> Tensor:
    """Distance [n] of every row from row i."""
    squares = [(p - p[i]).double().square() if p.is_floating_point() else (p != p[i]).double() for p in parts]
    return torch.stack([square.nan_to_num().sum(dim=1) for square in squares]).sum(dim=0).sqrt().float()


def _all_right(context: Context, model: nn.Module, batch: Batch) -> bool:
    if not context.prep["classes"]:
        return True
    with torch.no_grad():
        output = model(batch.x).float()
    prediction = (output[:, 0] > 0).long() if output.shape[1] == 1 else output.argmax(dim=1)
    return bool((prediction == batch.y.long()).all())


def no_mixing(context: Context) -> CheckResult:
    """In evaluation mode, what a network says of one example must not depend on the others in the batch.

    Each example alone, and with other neighbors, against the whole batch. Also covers padding: a text alone is
    padded less than in a batch.
    """
    model = context.fresh()
    for batch in context.stream(2):  # BatchNorm gets real running statistics
        model(batch.x)
    model.eval()
    rows = context.rows(16, seed=1)
    with torch.no_grad():
        together = model(context.batch(rows).x).float()
        turned = model(context.batch(rows.flip(0)).x).float().flip(0)
        alone = torch.cat([model(context.batch(rows[i : i + 1]).x).float() for i in range(min(4, len(rows)))])
    scale = float(together.abs().max().clamp(min=1e-3))
    apart = max(float((together - turned).abs().max()), float((together[: len(alone)] - alone).abs().max())) / scale
    limit = 1e-2 if context.config.precision == "bf16" else 1e-3
    return check_result(
        "no mixing",
        f"outputs differ by up to {apart:.1e} of their size when the neighbors change",
        fail=apart > limit,
        evidence={"difference": apart},
        limit=limit,
    )
