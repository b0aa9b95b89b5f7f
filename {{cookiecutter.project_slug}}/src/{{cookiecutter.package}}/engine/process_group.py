"""Several processes on one run, each with its share of every batch: DistributedDataParallel, or FSDP2 where the model is
to be shared out too. gloo for tensors on the CPU, nccl for those on CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ..config import Config
from ..errors import UserError, first_line
from ..task import Batch, Examples, Task
from .distributed import NOTHING, Distributed
from .seed import generator

PATIENCE = timedelta(minutes=30)  # that a process waits for another: for the first to read its data, mostly
LOST = ("gloo", "NCCL", "onnection", "Broken pipe", "imed out", "TCPStore")  # in messages about a process that is gone


class ProcessGroup(Distributed):
    """One of `size` processes that torchrun started; `local` of `here` on this machine. fsdp: the model is shared out."""

    def __init__(self, rank: int, local: int, size: int, here: int, fsdp: bool = False) -> None:
        self.rank, self.local, self.size, self.here = rank, local, size, here
        self.strategy = "fsdp" if fsdp else "ddp"
        self.device = torch.device("cpu")
        self.forward: DistributedDataParallel | None = None
        self.trainable: list[bool] = []

    def wait(self) -> None:
        if not self.first:
            self._join()

    def _join(self) -> None:
        if self.local < torch.cuda.device_count():
            torch.cuda.set_device(self.local)
        dist.init_process_group(timeout=PATIENCE)

    def refuse(self, config: Config, task: Task) -> None:
        n = f"{self.size} processes were started"
        if task.final_baseline(config):
            raise UserError(
                f"{n}, and model = {task.final_baseline(config)!r} is fitted in one; run it without torchrun"
            )
        if self.size > config.batch_size:
            raise UserError(
                f"{n}, more than batch_size = {config.batch_size} has examples to share out; start fewer, or raise it"
            )
        mps = config.device == "mps" or (config.device == "auto" and torch.backends.mps.is_available())
        if ":" in config.device or mps:
            device = "mps" if mps else config.device
            raise UserError(f"{n}, and device = {device!r} is one device; use 'cuda' or 'cpu'")
        if config.device != "cpu" and 0 < torch.cuda.device_count() < self.here:
            raise UserError(
                f"{self.here} processes were started on this machine, and torch sees {torch.cuda.device_count()} CUDA"
                " devices; start one a device (--nproc-per-node), or use device = 'cpu'"
            )

    @contextlib.contextmanager
    def together(self, said: Any) -> Iterator[Any]:
        if not dist.is_initialized():
            self._join()
        try:
            yield self.broadcast(said)
            dist.destroy_process_group()
        except RuntimeError as error:
            if not any(word in str(error) for word in LOST):
                raise
            raise UserError(
                f"another process of this job is gone ({first_line(error)}); its own message says why;"
                " go on from the last checkpoint with the same command and --resume"
            ) from None

    def shares(
        self, examples: Examples, batches: list[Tensor], epoch: int = 0, augment: bool = False
    ) -> Iterator[tuple[Batch, int]]:
        """A share of nothing is made of one row and then emptied: it takes part in the step, and counts for nothing."""
        own = [self.share(rows, examples.query) for rows in batches]
        plan = [mine if len(mine) else rows[:1] for mine, rows in zip(own, batches, strict=True)]
        made = examples.batches(plan, epoch, augment)
        for batch, mine, rows in zip(made, own, batches, strict=True):
            yield batch if len(mine) else batch.head(0), len(rows)

    def share(self, rows: Tensor, query: Tensor | None) -> Tensor:
        """Every size-th row, so that of a batch sorted by length each gets short and long ones; or whole queries."""
        if query is None:
            return rows[self.rank :: self.size]
        lengths = torch.unique_consecutive(query[rows], return_counts=True)[1]
        return torch.cat([rows[:0], *rows.split(lengths.tolist())[self.rank :: self.size]])

    def seed(self, seed: int, step: int) -> None:
        torch.manual_seed(generator(seed, step, self.rank).initial_seed())

    def shard(self, config: Config, task: Task, model: nn.Module) -> nn.Module:
        self.device = next(model.parameters()).device
        model = _synchronized(config, task, model, self.device)
        if self.strategy == "fsdp":
            mesh = init_device_mesh(self.device.type, (self.size,))
            for block in _blocks(model):
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh)
        return model

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP takes note of what is trainable when it is made, so it is made anew when that changes."""
        if self.strategy == "fsdp":
            return model
        trainable = [parameter.requires_grad for parameter in model.parameters()]
        if self.forward is None or self.forward.module is not model or trainable != self.trainable:
            self.forward, self.trainable = DistributedDataParallel(model), trainable
        return self.forward

    def no_sync(self, model: nn.Module, more: bool) -> contextlib.AbstractContextManager[Any]:
        """DDP sends the sum once. FSDP sends each: held back, gradients would need the room it is there to save."""
        ddp = isinstance(model, DistributedDataParallel)
        return model.no_sync() if ddp and more else NOTHING  # type: ignore[operator]

    def all_reduce(self, values: list[Tensor]) -> list[Tensor]:
        totals = torch.stack(values)
        dist.all_reduce(totals)
        return list(totals)

    def agree(self, signal: int, due: bool) -> tuple[int, bool]:
        asked = torch.tensor([signal, int(due and self.first)], device=self.device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        number, save = asked.tolist()
        return number, bool(save)

    def broadcast(self, value: Any) -> Any:
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    def all_gather(self, values: list[Any]) -> list[Any]:
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, values)
        return [value for part in held for value in part]

    def assembled(self, part: Tensor, index: Tensor, n: int) -> Tensor:
        rows = part.new_zeros((n, *part.shape[1:]))
        rows[index] = part
        dist.all_reduce(rows)  # every row is zero but in one process
        return rows

    def full_tensor(self, value: Any) -> Any:
        """One tensor at a time, moved to the CPU of the first: together they may not fit on a device."""
        if isinstance(value, dict):
            return {key: self._kept(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._kept(item) for item in value]
        return value.full_tensor() if isinstance(value, DTensor) else value

    def _kept(self, value: Any) -> Any:
        whole = self.full_tensor(value)
        return (whole.cpu() if self.first else None) if isinstance(value, DTensor) else whole

    def distribute_tensor(self, values: dict[Any, Any], like: dict[Any, Any]) -> dict[Any, Any]:
        return {key: _place(value, like.get(key)) for key, value in values.items()}

    def unwrapped(self, model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
        return make()


def _synchronized(config: Config, task: Task, model: nn.Module, device: torch.device) -> nn.Module:
    """BatchNorm that learns takes its statistics over the batches of all processes, which torch can do on CUDA alone."""
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    names = [f"{name}.{own}" for name, module in norms.items() for own, _ in module.named_parameters()]
    if all(task.frozen(config, name) for name in names):
        return model  # there is none, or it keeps the statistics it has
    if device.type != "cuda":
        raise UserError(
            "norm = 'batch' looks across the whole batch, and on a CPU torch cannot do that over several processes; set"
            " norm to another kind, or use one process"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Layers that are made of layers (those of an encoder, the blocks of a ResNet): FSDP fetches one of them at a time."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    layers = [layer for one in lists for layer in one]
    return [one for one in layers if any(True for _ in one.children()) and any(True for _ in one.parameters())][::-1]


def _place(value: Any, like: Any) -> Any:
    """Shard a tensor as `like` is sharded; the values of a dict (an optimizer's of one parameter) where they match."""
    if isinstance(value, dict):
        return {key: _place(item, like) for key, item in value.items()}
    if isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value
