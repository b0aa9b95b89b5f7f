"""How many processes train together, and which of them this one is. `Distributed` is one process alone: what it is asked to
share, add up or agree on comes back as it went in. `process_group.py` has the case of several."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..config import Config
    from ..task import Batch, Examples, Task

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
NOTHING = contextlib.nullcontext()


class Distributed:
    """One process. The null object: the loop asks the same of it as of several processes."""

    rank, size = 0, 1
    strategy = ""  # how the model is held: "ddp" or "fsdp"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and decides."""
        return self.rank == 0

    def wait(self) -> None:
        """All but the first: wait here until the first has found nothing to refuse."""

    def refuse(self, config: Config, task: Task) -> None:
        """Raise UserError for settings that this number of processes cannot train with."""

    @contextlib.contextmanager
    def together(self, said: Any) -> Iterator[Any]:
        """The part of a run that all processes take part in; yields what the first says."""
        yield said

    def shares(
        self, examples: Examples, batches: list[Tensor], epoch: int = 0, augment: bool = False
    ) -> Iterator[tuple[Batch, int]]:
        """This process's share of each batch, and how many examples the whole batch has."""
        return zip(examples.batches(batches, epoch, augment), map(len, batches), strict=True)

    def seed(self, seed: int, step: int) -> None:
        """Several processes are seeded before every step, by (seed, step, rank); one goes on with the generators it has."""

    def shard(self, config: Config, task: Task, model: nn.Module) -> nn.Module:
        """The model as it is held here, before its optimizer is made."""
        return model

    def wrap(self, model: nn.Module) -> nn.Module:
        """What is called for training; asked anew in each epoch, since what is trainable may have changed."""
        return model

    def no_sync(self, model: nn.Module, more: bool) -> contextlib.AbstractContextManager[Any]:
        """While `more` micro-batches of a step are to come, gradients need not travel."""
        return NOTHING

    def all_reduce(self, values: list[Tensor]) -> list[Tensor]:
        """Each of these scalars, summed over all processes."""
        return values

    def agree(self, signal: int, due: bool) -> tuple[int, bool]:
        """A signal that any process got, and whether the first finds it is time to save."""
        return signal, due

    def broadcast(self, value: Any) -> Any:
        """The value that the first has."""
        return value

    def all_gather(self, values: list[Any]) -> list[Any]:
        """The lists of all processes, one after the other."""
        return values

    def assembled(self, part: Tensor, index: Tensor, n: int) -> Tensor:
        """Rows [n, k] in their order, of which each process has `part`, with positions `index`."""
        return part[index.argsort()]

    def full_tensor(self, value: Any) -> Any:
        """A tensor, or a dict or list of them, with what is sharded put together; in a dict or list for the first alone."""
        return value

    def distribute_tensor(self, values: dict[Any, Any], like: dict[Any, Any]) -> dict[Any, Any]:
        """Whole tensors held as those of `like` with the same key are held."""
        return values

    def unwrapped(self, model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
        """A model that the first process can use alone: a fresh one where this one is sharded or synchronized."""
        return model


SINGLE = Distributed()


def is_distributed() -> bool:
    """Whether this process was started as one of several."""
    return all(name in os.environ for name in LAUNCHED) and os.environ["WORLD_SIZE"] != "1"


def launched(step: str, fsdp: bool = False) -> Distributed:
    """The group of processes that torchrun, or a launcher like it, started this one in. fsdp: shard the model.

    Raises UserError, in the first process, for a step that only one process can do.
    """
    if not is_distributed():
        if fsdp:
            raise UserError("--fsdp shares the model among processes, and there is one; start several with torchrun")
        return SINGLE
    if step != "train" and os.environ["RANK"] == "0":
        raise UserError(
            f"{step} runs in one process, and {os.environ['WORLD_SIZE']} were started; only train takes several:"
            f" run it as recipe {step}, without torchrun"
        )
    from .process_group import ProcessGroup

    rank, local, size, here = (int(os.environ[name]) for name in LAUNCHED[:4])
    return ProcessGroup(rank, local, size, here, fsdp)


def exit_process(status: int) -> int:
    """The exit status. One of several processes ends right here: caches of torch keep the group that FSDP shares a model in,
    and so threads of gloo; one that lets go of a tensor when no interpreter is left aborts (pytorch/pytorch#179291)."""
    if is_distributed():
        atexit._run_exitfuncs()
        print(end="", flush=True)
        os._exit(status)
    return status
