"""The training loop: batches in, weights and records out. Read `step` and `fit` and you have read the training path."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Config
from ..errors import Stopped, UserError
from ..task import Batch, Examples, Task
from . import checkpoint, metrics, stop
from .callback import Callback
from .distributed import SINGLE, Distributed
from .losses import Loss, make_loss
from .memory import freed_kept
from .optim import lr_factor, make_optimizer, set_lr
from .resume import Progress, Saved, restore, save_best, save_last
from .seed import generator, seed_everything

log = logging.getLogger(__name__)

CURVED = 2_000  # validation examples whose loss is kept for every epoch
SAVE_SECONDS = 600.0  # `last` is also saved this often inside an epoch: what a crash can cost
STRETCHES = 1024  # that are shuffled together: with 256 rows each, a quarter of a million
POOL = 50  # batches per length bucket: wide enough to stay random, narrow enough to waste little padding


class NonFinite(Exception):
    """The loss or a gradient is not a number; raised before the optimizer could spread it into the weights.

    batches: the micro-batches of the step, of all processes. where: the first layer that broke, where a callback has found it.
    """

    def __init__(self, what: str, batches: list[Batch]) -> None:
        super().__init__(what)
        self.batches = batches
        self.where = ""

    def __str__(self) -> str:
        return f"{self.args[0]}{f'; first to break: {self.where}' if self.where else ''}"


def find_device(config: Config) -> torch.device:
    """The configured device. Raises UserError when it is not there."""
    if config.device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    device = torch.device(config.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device = {config.device!r}, but torch {torch.__version__} sees no CUDA device; use device = 'auto'"
        )
    return device


def plan(
    examples: Examples, batch_size: int, seed: int | None = None, epoch: int = 0, oversample: bool = False
) -> list[Tensor]:
    """Positions of the examples in each batch; every example once, or with `oversample` those of rarer classes several times.
    A function of (seed, epoch) alone.

    Without a seed the order is by length, for evaluation. With lengths, batches are formed inside shuffled pools, so
    that texts of like length meet. With queries, a query is never cut. A last batch of one example joins the batch
    before it: BatchNorm cannot train on one.
    """
    n = len(examples)
    if examples.query is not None:
        return _plan_queries(examples.query, batch_size, seed, epoch)
    random = None if seed is None else generator(seed, epoch)
    order = torch.arange(n) if random is None else shuffled(n, random, getattr(examples, "stretch", 1))
    if oversample and random is not None:
        order = oversampled(examples.y.cpu(), random)
        n = len(order)
    if examples.lengths is not None:
        pool = n if random is None else POOL * batch_size
        order = torch.cat([part[examples.lengths[part].argsort(stable=True)] for part in order.split(pool)])
    batches = list(order.split(batch_size)) if n > batch_size else [order]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    if examples.lengths is not None and random is not None:
        batches = [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]
    return batches


def oversampled(y: Tensor, random: torch.Generator) -> Tensor:
    """Positions of these classes [n] in a random order, those of rarer classes as often as it takes for all to be equally
    frequent; what does not divide evenly is drawn anew each time."""
    most = int(y.unique(return_counts=True)[1].max())
    each = [
        rows[torch.randperm(len(rows), generator=random)]
        for value in y.unique()
        for rows in [(y == value).nonzero()[:, 0]]
    ]
    order = torch.cat([rows.repeat(-(-most // len(rows)))[:most] for rows in each])
    return order[torch.randperm(len(order), generator=random)]


def shuffled(n: int, random: torch.Generator, stretch: int = 1) -> Tensor:
    """A random order of n examples. Where they lie on disk, `stretch` > 1 neighbors are read together: stretches come in
    random order, and so do the examples of STRETCHES of them, which are as many places of the file as a batch mixes."""
    if stretch == 1 or n <= stretch * STRETCHES:
        return torch.randperm(n, generator=random)
    starts = stretch * torch.randperm(math.ceil(n / stretch), generator=random)
    order, at = torch.empty(n, dtype=torch.int64), 0  # filled in place: of 16 million examples each copy is 130 MB
    for some in starts.split(STRETCHES):
        pool = (some[:, None] + torch.arange(stretch)).flatten()
        pool = pool[pool < n]
        order[at : at + len(pool)] = pool[torch.randperm(len(pool), generator=random)]
        at += len(pool)
    return order


def _plan_queries(query: Tensor, batch_size: int, seed: int | None, epoch: int) -> list[Tensor]:
    order = query.argsort(stable=True)
    rows = list(order.split(torch.unique_consecutive(query[order], return_counts=True)[1].tolist()))
    if seed is not None:
        rows = [rows[i] for i in torch.randperm(len(rows), generator=generator(seed, epoch)).tolist()]
    batches: list[Tensor] = []
    current: list[Tensor] = []
    size = 0
    for members in rows:
        if current and size + len(members) > batch_size:
            batches.append(torch.cat(current))
            current, size = [], 0
        current.append(members)
        size += len(members)
    return [*batches, torch.cat(current)] if current else batches


def autocast(config: Config, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in bfloat16 when the config asks for it; weights, loss and metrics stay float32."""
    return torch.autocast(device.type, torch.bfloat16) if config.precision == "bf16" else contextlib.nullcontext()


def step(
    model: nn.Module,
    batches: list[Batch],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    config: Config,
    observe: Callable[[], None] = lambda: None,
    distributed: Distributed = SINGLE,
    examples: int = 0,
) -> float:
    """One optimizer step over all examples of `batches` together; returns their summed loss.

    The gradient is that of the mean over all examples, however they are cut into batches. Of several processes each has
    its own share as `batches`; `examples` is then the number in all of them, and their gradients are averaged on the
    way back. `observe` sees the gradients before they are clipped. Raises NonFinite, with weights and optimizer
    untouched, when loss or gradient is not finite, in every process alike.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]  # model.parameters() takes 40 us
    device = parameters[0].device
    examples = examples or sum(len(batch.y) for batch in batches)
    optimizer.zero_grad(set_to_none=True)
    parts = []
    for number, batch in enumerate(batches, start=1):
        batch = batch.to(device)
        with distributed.no_sync(model, number < len(batches)):
            with autocast(config, device):
                output = model(batch.x)
            part = loss(output.float(), batch).sum()
            (part / (examples / distributed.size)).backward()  # processes average their gradients
        parts.append(part.detach())
    observe()
    total_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    *sums, norm = torch.stack(
        [*distributed.all_reduce(parts), distributed.full_tensor(total_norm)]
    ).tolist()  # the one wait for the device
    if not math.isfinite(sum(sums) + norm):
        what = f"the gradient norm is {norm} and the loss {sum(sums) / examples}"
        raise NonFinite(what, distributed.all_gather(batches))
    if 0 < config.clip < norm:
        nn.utils.clip_grads_with_norm_(parameters, config.clip, total_norm)
    optimizer.step()
    return sum(sums)


@torch.inference_mode()
def predict(model: nn.Module, examples: Examples, config: Config, distributed: Distributed = SINGLE) -> np.ndarray:
    """Outputs [n, k] float32 for all examples, in their own order, in evaluation mode and in the training precision."""
    device = next(model.parameters()).device
    was_training = model.training
    if was_training:
        model.eval()
    batches = plan(examples, 4 * config.batch_size)
    parts, rows = [], []
    for batch, _ in distributed.shares(examples, batches):
        with autocast(config, device):
            parts.append(model(batch.to(device).x).float())
        rows.append(batch.index)
    outputs = (torch.cat(parts) if len(parts) > 1 else parts[0]).cpu()  # once, so that no batch waits for the device
    if was_training:
        model.train()
    return distributed.assembled(outputs, torch.cat(rows), len(examples)).numpy()


@torch.inference_mode()
def forward(model: nn.Module, x: dict[str, np.ndarray], config: Config) -> np.ndarray:
    """`predict` for one batch [b, k], by a model that is in evaluation mode already."""
    device = next(model.parameters()).device
    with autocast(config, device):
        outputs: Tensor = model({name: torch.from_numpy(array).to(device) for name, array in x.items()})
    return outputs.float().cpu().numpy()


def losses_of(loss: Loss, outputs: np.ndarray, examples: Examples) -> np.ndarray:
    """Loss of every example [n], from outputs [n, k] in the examples' order: the whole split at once."""
    batch = Batch(None, examples.y.cpu(), torch.arange(len(examples)), examples.query)
    if examples.query is None:
        return loss(torch.from_numpy(outputs), batch).numpy()
    value = torch.empty(len(examples))
    for rows in plan(examples, 1):  # one query at a time: a pair loss is quadratic in the rows it sees
        part = Batch(None, batch.y[rows], rows, examples.query[rows].cpu())
        value[rows] = loss(torch.from_numpy(outputs)[rows], part)
    return value.numpy()


def epoch_plan(config: Config, train: Examples, epoch: int) -> list[Tensor]:
    """The batches of a training epoch."""
    oversample = config.class_weights == "oversample" and config.task in ("binary", "multiclass")
    return plan(train, config.batch_size, config.seed, epoch, oversample)


def planned_steps(config: Config, train: Examples) -> int:
    """Optimizer steps the schedule reckons with. For ranking an estimate: whole queries are packed anew in each epoch."""
    return config.epochs * math.ceil(len(epoch_plan(config, train, 0)) / config.accumulate)


def fit(
    config: Config,
    task: Task,
    prep: dict[str, Any],
    train: Examples,
    val: Examples,
    folder: Path,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    skip: int = 0,
    distributed: Distributed = SINGLE,
) -> tuple[nn.Module, Progress]:
    """Train the task's model; returns it with its best weights, and the progress with its curves.

    Checkpoints go to folder/checkpoints: `last` after every epoch, every SAVE_SECONDS and on a signal, `best` whenever the
    validation loss is the lowest so far. At most `skip` steps whose loss or gradient is not finite are passed over; the next
    one raises NonFinite. Raises Stopped (after saving) on a signal. Of several processes each calls this; the first alone
    writes, and returns with the best weights.
    """
    seed_everything(config.seed, config.deterministic)
    device = find_device(config)
    model = distributed.shard(config, task, task.model(config, prep).to(device))
    loss, optimizer = make_loss(config, prep), make_optimizer(config, task, model)
    compiled: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment]
    steps = planned_steps(config, train)
    for callback in callbacks:
        callback.on_start(model, loss, steps)
    state = Saved(folder, task, model, optimizer, callbacks, distributed)
    progress = restore(state) if resume else Progress()

    with freed_kept(), stop.on_signals(relayed=distributed.size > 1) as signals:
        saved = time.monotonic()
        while progress.epoch < config.epochs and not progress.stopped:
            began, waited = time.perf_counter(), 0.0
            task.set_trainable(config, model, progress.epoch)
            model.train()
            forward = distributed.wrap(compiled)
            todo = epoch_plan(config, train, progress.epoch)[progress.batches :]
            batches = distributed.shares(train, todo, progress.epoch, augment=True)
            while group := take(batches, config.accumulate):
                waited += group.seconds
                set_lr(optimizer, config.lr * progress.plateau * lr_factor(config, progress.step, steps))
                distributed.seed(config.seed, progress.step)
                observe = partial(observed, callbacks, progress.step)
                with tolerated(model, progress, skip, callbacks):
                    progress.loss_sum += step(
                        forward, group.batches, loss, optimizer, config, observe, distributed, group.examples
                    )
                    progress.seen += group.examples
                    for callback in callbacks:
                        callback.on_step(progress.step)
                progress.step += 1
                progress.batches += len(group.batches)
                signal, due = distributed.agree(signals.received, time.monotonic() - saved > SAVE_SECONDS)
                if signal or due:
                    saved = time.monotonic()
                    save_last(state, progress)
                if signal:
                    raise Stopped(signal)
            outputs = predict(model, val, config, distributed)
            each = losses_of(loss, outputs, val)
            row = distributed.broadcast(
                {
                    "epoch": progress.epoch,
                    "train_loss": progress.loss_sum / max(progress.seen, 1),
                    "val_loss": float(each.mean(dtype=np.float64)),
                    "val_metric": metrics.score(config, prep, outputs, metrics.Truth.of(val)),
                    "lr": optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["scale"],
                    **{name: value for callback in callbacks for name, value in callback.columns().items()},
                    "seen": progress.seen,
                    "seconds": time.perf_counter() - began,
                    "loader_seconds": waited,
                }
            )
            progress.curves.append(row)
            progress.losses.append(torch.from_numpy(each[:CURVED].astype(np.float32)))
            if close_epoch(config, progress):
                save_best(state, progress)
            save_last(state, progress)
            saved = time.monotonic()
            for callback in callbacks:
                callback.on_epoch(progress)
            if signal := distributed.agree(signals.received, False)[0]:
                raise Stopped(signal)
    if progress.best_epoch < 0:
        raise UserError(f"{progress.stopped}, in every epoch: there is no best model; try lr={config.lr / 10:g}")
    if not distributed.first:
        return model, progress
    model = distributed.unwrapped(model, lambda: task.model(config, prep).to(device))
    best = checkpoint.load(folder / "checkpoints", "best", log.warning, progress.best_step)
    task.load_state(model, best.weights)
    for callback in callbacks:
        callback.on_end(progress)
    return model, progress


def observed(callbacks: Sequence[Callback], number: int) -> None:
    """Let every callback see the gradients of a step."""
    for callback in callbacks:
        callback.on_gradients(number)


@contextlib.contextmanager
def tolerated(model: nn.Module, progress: Progress, skip: int, callbacks: Sequence[Callback]) -> Iterator[None]:
    """A step that turns out not finite is told to the callbacks, and passed over while fewer than `skip` were; else NonFinite
    goes on. What the forward pass alone has changed, BatchNorm's running statistics, is put back."""
    before = [buffer.clone() for buffer in model.buffers()] if skip else []
    try:
        yield
    except NonFinite as broken:
        for callback in callbacks:
            callback.on_nonfinite(broken, progress.step)
        if len(progress.skipped) >= skip:
            raise
        for buffer, old in zip(model.buffers(), before, strict=True):
            buffer.copy_(old)
        progress.skipped.append(progress.step)
        log.warning(f"  skipped step {progress.step} ({len(progress.skipped)} of at most {skip}): {broken}")


@dataclass
class Taken:
    """Micro-batches of one optimizer step, the examples that all processes have in them, and the seconds spent waiting."""

    batches: list[Batch]
    examples: int
    seconds: float

    def __bool__(self) -> bool:
        return bool(self.batches)


def take(batches: Iterator[tuple[Batch, int]], count: int) -> Taken:
    """The next `count` of what `Distributed.shares` yields, fewer at the end, with the time the loader took."""
    before = time.perf_counter()
    taken = list(islice(batches, count))
    seconds = time.perf_counter() - before
    return Taken([batch for batch, _ in taken], sum(examples for _, examples in taken), seconds)


def close_epoch(config: Config, progress: Progress) -> bool:
    """Move on to the next epoch; decide on best, plateau and early stopping. Returns whether this epoch is the best."""
    val_loss = progress.curves[-1]["val_loss"]
    improved = val_loss < progress.best
    if improved:
        progress.best, progress.best_epoch, progress.best_step = val_loss, progress.epoch, progress.step
    waited = progress.epoch - progress.best_epoch
    if config.schedule == "plateau" and waited and waited % max(config.patience // 2, 1) == 0:
        progress.plateau *= 0.3
    if not math.isfinite(val_loss):
        progress.stopped = f"validation loss is {val_loss}"
    elif config.patience and waited >= config.patience:
        progress.stopped = f"no better validation loss for {config.patience} epochs"
    progress.epoch, progress.batches, progress.loss_sum, progress.seen = progress.epoch + 1, 0, 0.0, 0
    return improved
