"""Stopping politely, and being alone: the first signal asks the loop to finish its step and save, the second leaves at
once; a run folder has one writer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ..errors import UserError


@dataclass
class Signals:
    """received: number of the signal that came, 0 while none has."""

    received: int = 0


@contextlib.contextmanager
def on_signals(relayed: bool = False) -> Iterator[Signals]:
    """Note SIGINT, SIGTERM and SIGHUP (a closed terminal, unless nohup ignores it) in the yielded object while the block
    runs. Main thread only; elsewhere nothing is caught. relayed: a launcher passes on the signals that it gets, so that
    the second may be the first once more; it is noted like the first, and the launcher kills who takes too long."""
    state = Signals()

    def handle(number: int, _: FrameType | None) -> None:
        if state.received and not relayed:
            os._exit(128 + number)
        state.received = number

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        numbers.append(hangup)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the folder's lock while the block runs; the system frees it when the process dies, however it dies.

    Raises UserError when another process holds it, unless told to wait; and when the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise UserError(f"{folder.name} is being written by another process; wait for it, or stop it first") from None
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}; fix its permissions or free some space"
        ) from None
    try:
        yield
    finally:
        lock.release()
