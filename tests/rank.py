"""`recipe` as one of several processes, with a trap in it: what test_distributed.py has torchrun start.

    torchrun --nproc-per-node=2 rank.py TRAP train ...

TRAP is JSON. rank, step, does: what happens to which process before which of its steps, "SIGKILL", "SIGTERM", ... or "nan"
for its batch. often: the state is saved after every step. apart: each process has a project folder of its own,
--project DIR0, DIR1, ...: machines that share no disk. narrow: an image network of an eighth of the channels.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import sys
from typing import Any

import torch

torch.set_num_threads(1)


class Last:
    """Goes when the interpreter is torn down, and says so where threads of gloo are left: one may then abort the process."""

    def __del__(self, listed: Any = os.listdir, read: Any = open, tell: Any = os.write) -> None:
        if any("gloo" in read(f"/proc/self/task/{thread}/comm").read() for thread in listed("/proc/self/task")):
            tell(2, b"gloo outlives the interpreter\n")


LAST = Last() if sys.platform == "linux" else None


def main(trap: dict[str, Any], *words: str) -> int:
    """Set the trap, then run the command."""
    rank = int(os.environ.get("RANK", 0))
    loop = importlib.import_module("recipe_kit.owner.engine.loop")
    if trap.get("often"):
        loop.SAVE_SECONDS = -1.0
    if trap.get("narrow"):
        importlib.import_module("torchvision").models.get_model = importlib.import_module("crash").narrow_resnet
    if trap.get("rank") == rank:
        spring(loop, trap["step"], trap["does"])
    if trap.get("apart"):
        at = words.index("--project") + 1
        words = (*words[:at], f"{words[at]}{rank}", *words[at + 1 :])
    return int(importlib.import_module("recipe_kit.cli").main(list(words)))


def spring(loop: Any, number: int, does: str) -> None:
    """Do it before call `number` (from 1) of the loop's step."""
    real, calls = loop.step, itertools.count(1)

    def step(model: Any, batches: list[Any], *rest: Any) -> Any:
        if next(calls) == number:
            if does != "nan":
                os.kill(os.getpid(), getattr(signal, does))
            else:
                batches = [b._replace(x={k: x * torch.nan for k, x in b.x.items()}) for b in batches]
        return real(model, batches, *rest)

    loop.step = step


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), *sys.argv[2:]))
