"""Several trainings side by side in one process, a few steps each in turn."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any


class Turns:
    """Lets threads work one after the other, `block` optimiser steps at a time, and notes the processor time of each block.

    Whatever else the machine does then hits every way alike, and blocks of the same number can be compared. The order is
    drawn anew for every block: who comes after another finds caches as that one left them.
    """

    def __init__(self, names: list[str], block: int) -> None:
        self.names, self.block, self.turn = list(names), block, 0
        self.random = random.Random(0)
        self.changed = threading.Condition()
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.steps = dict.fromkeys(names, 0)
        self.started: dict[str, float] = {}

    def after_step(self, *_: Any) -> None:
        """Called in the thread whose optimiser has just made a step."""
        name = threading.current_thread().name
        self.steps[name] += 1
        if self.steps[name] % self.block == 0:
            now = time.thread_time()
            if name in self.started:  # the first block holds the setting up
                self.seconds[name].append((now - self.started[name]) / self.block)
            self.pass_on()
            self.wait(name)
            self.started[name] = time.thread_time()

    def wait(self, name: str) -> None:
        """Until it is this thread's turn."""
        with self.changed:
            self.changed.wait_for(lambda: self.names[self.turn] == name)

    def pass_on(self, leave: bool = False) -> None:
        """To the next thread; who leaves does not come again."""
        with self.changed:
            if leave:
                del self.names[self.turn]
            else:
                self.turn += 1
            if self.turn == len(self.names):
                self.turn = 0
                self.random.shuffle(self.names)
            self.changed.notify_all()

    def take_part(self, name: str, way: Callable[[], None]) -> None:
        """Body of a thread."""
        self.wait(name)
        try:
            way()
        finally:
            self.pass_on(leave=True)
