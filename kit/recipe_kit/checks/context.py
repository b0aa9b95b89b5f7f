"""The work context of the pre-training checks: fresh models and small batches of the project's own data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ..adopted import Adopted, loss_of, optimizer_of
from ..owner.config import Config
from ..owner.engine.loop import epoch_plan, find_device, step
from ..owner.engine.losses import Loss
from ..owner.engine.seed import generator, seed_everything
from ..owner.engine.splits import splits
from ..owner.task import Batch, Data, Examples, Task
from ..project import Project

STEPS = 60  # of the short training that several checks judge
LARGE = 1_000_000  # parameters from which a step over a whole batch takes a processor a second or more
MANY = 1_000_000  # rows that are looked at together
FEW = 8  # examples a step of a short training of such a network
OTHERS = 1_200  # examples that the checks beside the short training go through, forth and back, give or take a half
PATIENCE = 120.0  # seconds that all of it may take before cheaper inputs are looked for


@dataclass
class Rows:
    """Some rows of other examples, as examples: the same encoding, fewer of them."""

    whole: Examples
    rows: Tensor

    def __post_init__(self) -> None:
        self.y: Tensor = self.whole.y[self.rows.to(self.whole.y.device)]
        self.query = None if self.whole.query is None else self.whole.query[self.rows.to(self.whole.query.device)]
        lengths = self.whole.lengths
        self.lengths = None if lengths is None else lengths[self.rows.to(lengths.device)]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """The same batches that the whole examples would give for these rows."""
        whole = self.whole.batches([self.rows[part] for part in plan], epoch, augment)
        for batch, part in zip(whole, plan, strict=True):
            yield batch._replace(index=part)


@dataclass
class Short:
    """A short training. start: the weights before it. norms: gradient norm of each tensor at each step; totals: of all
    together. moved: how far a step moved all weights, as a share of their norm at the start. seen: rows trained on.
    stale: steps whose gradient is not what its own backward passes brought."""

    model: nn.Module
    start: dict[str, Tensor]
    norms: dict[str, list[float]]
    totals: list[float]
    losses: list[float]
    moved: list[float]
    seen: Tensor
    stale: list[int]


@dataclass
class Context:
    """What a check needs: the settings, the modality, the preprocessing, both parts (as data and encoded) and a device.

    inputs: what the network is tried on where its own inputs would take too long, in words.
    """

    config: Config
    task: Task
    prep: dict[str, Any]
    data: dict[str, Data]
    train: Examples
    val: Examples
    inputs: str = ""

    @property
    def parts(self) -> tuple[Config, Task, dict[str, Any], Examples, Examples]:
        """What `fit` is given first."""
        return self.config, self.task, self.prep, self.train, self.val

    @property
    def device(self) -> torch.device:
        return find_device(self.config)

    @property
    def loss(self) -> Loss:
        return loss_of(self.config, self.task, self.prep)

    def optimizer(self, model: nn.Module, config: Config | None = None) -> torch.optim.Optimizer:
        """A new optimizer of the project for this model."""
        return optimizer_of(config or self.config, self.task, model)

    def step(
        self,
        model: nn.Module,
        batches: list[Batch],
        optimizer: torch.optim.Optimizer,
        config: Config | None = None,
        observe: Callable[[], None] = lambda: None,
    ) -> float:
        """One step of the project over all examples of `batches` together; returns their summed loss."""
        if isinstance(self.task, Adopted):
            return self.task.step(self.prep, model, batches, optimizer, observe)
        return step(model, batches, self.loss, optimizer, config or self.config, observe)

    def fresh(self, seed: int | None = None) -> nn.Module:
        """A newly initialized model on the device, in training mode; the same one for the same seed."""
        seed_everything(self.config.seed if seed is None else seed, self.config.deterministic)
        model = self.task.model(self.config, self.prep).to(self.device)
        self.task.set_trainable(self.config, model, self.config.epochs)
        return model.train()

    def rows(self, n: int, seed: int = 0) -> Tensor:
        """Positions of about n training examples: spread over the classes, whole queries for ranking."""
        order = torch.randperm(len(self.train), generator=generator(seed))
        if self.train.query is not None:
            query = self.train.query.cpu()
            kept = query[order].unique_consecutive()[: max(n // 8, 2)]
            rows = torch.isin(query, kept).nonzero().squeeze(1)
            return rows[query[rows].argsort(stable=True)]  # in the file those of one query may lie apart
        y = self.train.y.cpu()
        if not self.prep["classes"] or y.ndim > 1:
            return order[:n].clone()  # of millions of rows every copy counts
        each = [_first(order, y, value, n) for value in y.unique()]
        turns = [part[i : i + 1] for i in range(n) for part in each]
        return torch.cat(turns)[:n]

    def batch(self, rows: Tensor, augment: bool = False, epoch: int = 0) -> Batch:
        """One batch of training examples on the device."""
        return next(iter(self.train.batches([rows], epoch, augment))).to(self.device)

    @cached_property
    def few(self) -> int:
        """Examples a step of a short training: those of the config, or FEW for a large network whose batch is no part of
        what it computes, as it is for BatchNorm."""
        model = self.fresh()
        large = sum(p.numel() for p in model.parameters()) > LARGE
        return min(self.config.batch_size, FEW) if large and not has_batch_norm(model) else self.config.batch_size

    @cached_property
    def seconds(self) -> float:
        """About how long all steps of all checks take, from the second of two steps on a few examples."""
        model = self.fresh()
        optimizer = self.optimizer(model)
        batch = self.batch(self.rows(FEW))
        for _ in range(2):
            before = time.perf_counter()
            self.step(model, [batch], optimizer)
        return (time.perf_counter() - before) / len(batch.y) * (STEPS * self.few + OTHERS)

    @cached_property
    def short(self) -> Short:
        """The first STEPS real steps of a fresh network; done once, and not to be changed by the checks that judge it."""
        model = self.fresh()
        optimizer = self.optimizer(model)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        short = Short(model, start, {name: [] for name in start}, [], [], [], torch.empty(0), [])

        brought: dict[str, Tensor] = {}
        hooks = [p.register_hook(partial(_collect, brought, n)) for n, p in model.named_parameters() if p.requires_grad]

        def observe() -> None:
            clipped = isinstance(self.task, Adopted)  # a step of its own is seen only after it has clipped
            held = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            if not all(_same(gradient, brought.get(n), clipped) for n, gradient in held.items()):
                short.stale.append(len(short.totals))
            norms = {n: float(p.grad.norm()) if p.grad is not None else 0.0 for n, p in model.named_parameters()}
            short.totals.append(math.sqrt(sum(norm * norm for norm in norms.values())))
            for name, norm in norms.items():
                short.norms[name].append(norm)

        trained = [p.detach() for p in model.parameters() if p.requires_grad]
        before = [p.clone() for p in trained]
        scale = nn.utils.get_total_norm(before).clamp(min=1e-12)  # weights that explode would hide their own steps
        seen = []
        for batch in self.stream(STEPS, self.few):
            brought.clear()
            loss = self.step(model, [batch], optimizer, observe=observe)
            short.losses.append(loss / len(batch.y))
            short.moved.append(
                float(nn.utils.get_total_norm([p - b for p, b in zip(trained, before, strict=True)]) / scale)
            )
            for p, b in zip(trained, before, strict=True):
                b.copy_(p)
            seen.append(batch.index.cpu())
        for hook in hooks:
            hook.remove()
        short.seen = torch.cat(seen).unique()
        return short

    def stream(self, steps: int, size: int = 0, seed: int | None = None) -> Iterator[Batch]:
        """The batches of the first `steps` steps, as training would see them; of `size` examples when it is given."""
        config, left, epoch = self.config, steps, 0
        config = config.model_copy(
            update={"batch_size": size or config.batch_size, "seed": config.seed if seed is None else seed}
        )
        while left:
            todo = epoch_plan(config, self.train, epoch)[:left]
            for batch in self.train.batches(todo, epoch, augment=True):
                yield batch.to(self.device)
            left, epoch = left - len(todo), epoch + 1


def open_context(project: Project) -> Context:
    """The context of a project: its parts, encoded by what training would learn from the training part."""
    config, task, data = project.config, project.task, splits(project)
    prep = task.prepare(config, data["train"])
    train, val = (task.examples(config, prep, data[name]) for name in ("train", "val"))
    return Context(config, task, prep, data, train, val)


def affordable(context: Context, say: Callable[[str], None]) -> Context:
    """The same context, or where its steps would take longer than PATIENCE one with cheaper inputs; says so beforehand."""
    try:
        expected = context.seconds
    except Exception:  # a project that cannot take a step: each check says so for itself
        return context
    if expected <= PATIENCE:
        return context
    said = f"  the checks take about {expected / 60:.0f} minutes on this {context.device.type}, to judge by one step"
    train, val, inputs = context.task.cheaper(context.prep, (context.train, context.val), PATIENCE / expected)
    other = replace(context, train=train, val=val, inputs=inputs)
    try:
        said += f"; trials see {inputs} instead: about {math.ceil(other.seconds / 60)}" if inputs else ""
    except RuntimeError:  # a network of the owner's that takes no other inputs
        other = context
    say(said)
    return other if other.inputs else context


def _first(order: Tensor, y: Tensor, value: Tensor, n: int) -> Tensor:
    """The first n rows of one class, at most, in this order."""
    found = order[:0]
    for some in order.split(MANY):
        if len(found := torch.cat([found, some[y[some] == value]])) >= n:
            break
    return found[:n]


def _collect(brought: dict[str, Tensor], name: str, gradient: Tensor) -> None:
    """A backward pass brings a gradient: adds it up under the parameter's name."""
    brought[name] = brought[name] + gradient if name in brought else gradient.detach().clone()


def _same(held: Tensor, brought: Tensor | None, clipped: bool = False) -> bool:
    """Whether a buffer holds what was brought, up to rounding and, where it may be `clipped` already, to a factor from 0 to
    1; one that nothing was brought to must be all zero."""
    if brought is None:
        return not bool(held.any())
    factor = ((held * brought).sum() / brought.square().sum().clamp(min=1e-30)).clamp(0, 1) if clipped else 1.0
    return bool((held - factor * brought).norm() <= 1e-3 * min(held.norm(), brought.norm()) + 1e-12)


@torch.no_grad()
def last_linear(model: nn.Module, x: Any) -> tuple[Tensor, tuple[nn.Linear, Tensor] | None]:
    """Outputs [b, k]; and of the linear layers that are as wide the one that was called last, with its input."""
    seen: list[tuple[nn.Linear, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0]))) for layer in layers]
    output = model(x).float()
    for hook in hooks:
        hook.remove()
    return output, next((one for one in reversed(seen) if one[0].out_features == output.shape[1]), None)


def quiet(model: nn.Module) -> nn.Module:
    """Turn dropout, of units and of whole residual branches, off in place: it is noise for a check, and `eval` would
    change BatchNorm too."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "StochasticDepth":
            vars(module)["p"] = 0.0
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            vars(module)["dropout"] = 0.0
    return model


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any BatchNorm of the model uses the statistics of the batch (a frozen one, in eval mode, does not)."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules())


def map_inputs(x: Any, change: Any) -> Any:
    """Apply `change` to the tensor, or to every tensor of the dict, that enters the model."""
    return {name: change(value) for name, value in x.items()} if isinstance(x, dict) else change(x)
