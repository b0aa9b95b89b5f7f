"""Stopping politely: the first SIGINT or SIGTERM asks the loop to finish its step and save, the second leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Signals:
    """received: number of the signal that came, 0 while none has."""

    received: int = 0


@contextlib.contextmanager
def on_signals() -> Iterator[Signals]:
    """Note SIGINT and SIGTERM in the yielded object while the block runs (main thread only; elsewhere nothing is caught)."""
    state = Signals()

    def handle(number: int, _: FrameType | None) -> None:
        if state.received:
            os._exit(128 + number)
        state.received = number

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
