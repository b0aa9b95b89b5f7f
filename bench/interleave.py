"""Several trainings side by side, each in a process of its own, a few steps each in turn."""

from __future__ import annotations

import multiprocessing
import random
import resource
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Turns:
    """A training's side: stops after every `block` optimizer steps until it is told to go on, and notes what each block
    took: processor seconds, and pages of memory that the system had to hand out."""

    def __init__(self, line: Connection, block: int) -> None:
        self.line, self.block = line, block
        self.steps, self.started = 0, (0.0, 0)
        self.seconds: list[float] = []
        self.pages: list[float] = []

    def after_step(self, *_: Any) -> None:
        """Called when the optimizer has just made a step."""
        self.steps += 1
        if self.steps % self.block == 0:
            if self.steps > self.block:  # the first block holds the setting up
                seconds, pages = used()
                self.seconds.append((seconds - self.started[0]) / self.block)
                self.pages.append((pages - self.started[1]) / self.block)
            self.line.send(None)
            self.line.recv()
            self.started = used()


def used() -> tuple[float, int]:
    """What this process has had so far: seconds of a processor, and pages."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime, found.ru_minflt


def take_part(line: Connection, way: Callable[..., Any], *words: Any) -> None:
    """Body of a process: `way(line, *words)`, and what it returns, or what became of it."""
    try:
        line.recv()
        line.send((way(line, *words), ""))
    except BaseException:
        line.send((None, traceback.format_exc()))


def side_by_side(way: Callable[..., Any], words: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """What `way(line, *words)` returns for every name, all run in turns.

    Whatever else the machine does then hits all alike, and blocks of the same number can be compared. The order is drawn
    anew for every block: who comes after another finds caches as that one left them. Each is a process of its own, since
    what one way allocates and frees is memory that another in the same process would find.
    """
    new = multiprocessing.get_context("spawn")
    lines, found = {}, {}
    for name, own in words.items():
        lines[name], theirs = new.Pipe()
        new.Process(target=take_part, args=(theirs, way, *own), name=name, daemon=True).start()
        theirs.close()  # so that the end of the process is the end of the line
    drawn, names = random.Random(0), list(words)
    while names:
        for name in list(names):
            lines[name].send(None)
            if (said := lines[name].recv()) is not None:
                found[name], trouble = said
                if trouble:
                    raise SystemExit(f"{name} failed:\n{trouble[-3000:]}")
                names.remove(name)
        drawn.shuffle(names)
    return found
