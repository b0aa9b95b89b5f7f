"""Printing that never stops a run: a closed pipe, a lost terminal or a full disk behind stdout ends the printing alone."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

# Control characters, shown as what they are: a class name or a file name must not steer the terminal.
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def say(text: str = "", error: bool = False) -> None:
    """Print one line to stdout, or to stderr. When nobody can read it any more, this and all later lines go nowhere."""
    stream = sys.stderr if error else sys.stdout
    text = text.translate(CONTROL)
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:  # a terminal that cannot show the letter: show its number
            print(text.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)
    except (OSError, ValueError):  # a reader that is gone, a full disk, a stream that was closed
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Point the stream's descriptor at nothing, so that no later write, nor the flush at exit, fails again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
