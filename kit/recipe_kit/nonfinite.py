"""When loss or gradient is no number: which layer broke first, and the batch it broke on, kept for a closer look."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from .owner.config import Config
from .owner.engine.callback import Callback
from .owner.engine.distributed import SINGLE, Distributed
from .owner.engine.files import to_json, write_atomic
from .owner.engine.loop import NonFinite
from .owner.engine.losses import Loss
from .owner.errors import UserError
from .owner.task import Batch

log = logging.getLogger(__name__)
BATCH = "broken_batch.safetensors"


class Autopsy(Callback):
    """Finds the first layer that broke, by running the batch again, and writes the batch to the run's folder."""

    def __init__(self, folder: Path, config: Config, distributed: Distributed = SINGLE) -> None:
        self.folder, self.bf16, self.distributed = folder, config.precision == "bf16", distributed

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        self.model, self.loss = model, loss

    def on_nonfinite(self, broken: NonFinite, step: int) -> None:
        model, device = self.model, next(self.model.parameters()).device
        buffers = [buffer.clone() for buffer in model.buffers()]
        with torch.random.fork_rng(), torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            found = next(filter(None, (first_broken(model, b.to(device), self.loss) for b in broken.batches)), "")
        for buffer, old in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(old)
        broken.where = f"{found or 'nothing when run again'} (step {step}, see {self.folder.name}/{BATCH})"
        tensors = {f"{i}.{name}": tensor for i, b in enumerate(broken.batches) for name, tensor in _tensors(b).items()}
        if not self.distributed.first:
            return
        temporary = self.folder / f".{BATCH}.tmp"
        try:
            save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, temporary)
            temporary.replace(self.folder / BATCH)
            rows = [int(row) for batch in broken.batches for row in batch.index]
            told = {"step": step, "what": str(broken), "rows": rows}
            write_atomic(self.folder / "broken_batch.json", to_json(told))
        except (OSError, SafetensorError, UserError) as error:  # what broke is still worth saying
            log.warning(f"  the broken batch could not be written: {error}")


def first_broken(model: nn.Module, batch: Batch, loss: Loss) -> str:
    """In words: the input, a weight, the first layer on the way forward, the loss, or the first on the way back."""
    if bad := [name for name, tensor in _tensors(batch).items() if not _finite(tensor)]:
        return f"the batch itself, in {' and '.join(bad)}"
    if bad := [name for name, parameter in model.named_parameters() if not _finite(parameter)]:
        return f"the weights in {bad[0]}"
    names = {
        module: f"layer {name or 'of the whole model'!r} ({type(module).__name__})"
        for name, module in model.named_modules()
    }
    order: list[nn.Module] = []
    found: list[nn.Module] = []

    def look(module: nn.Module, _: Any, output: Any) -> None:
        order.append(module)
        if not all(_finite(tensor) for tensor in _flat(output)):
            found.append(module)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        output = model(batch.x)
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return f"{names[found[0]]}, on the way forward"
    value = loss(output.float(), batch).sum()
    if not _finite(value):
        return "the loss, from finite outputs"
    model.zero_grad(set_to_none=True)
    value.backward()
    own = {module: list(module.parameters(recurse=False)) for module in order}
    late = [m for m in reversed(order) if any(p.grad is not None and not _finite(p.grad) for p in own[m])]
    return f"{names[late[0]]}, on the way back" if late else ""


def _tensors(batch: Batch) -> dict[str, Tensor]:
    x = batch.x if isinstance(batch.x, dict) else {"x": batch.x}
    query = {} if batch.query is None else {"query": batch.query}
    return {**x, "y": batch.y, "index": batch.index, **query}


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)


def _finite(tensor: Tensor) -> bool:
    tensor = getattr(tensor, "full_tensor", lambda: tensor)()  # a sharded one is judged whole, by every process alike
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
