"""Printing that never stops a run: a closed pipe, a lost terminal or a full disk behind stdout ends the printing alone.

Colors and the progress bar are for a person at a terminal: a file or a pipe gets plain lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from typing import TextIO

from .secret import hidden

# Control characters, shown as what they are: a class name or a file name must not steer the terminal.
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
CONTROL |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029)}  # separators of lines and paragraphs
COLORS = {"PASS": 32, "NOTE": 36, "WARN": 33, "FAIL": 31, "NOT APPLICABLE": 90}  # ANSI numbers
VERDICT = re.compile(r"(?m)^(  |[a-z-]+: )(PASS|NOTE|WARN|FAIL|NOT APPLICABLE)(?= )")
EVERY = 0.2  # seconds between two drawings of the progress bar
BLOCKS = 24  # its width


def say(text: str = "", error: bool = False) -> None:
    """Print one line to stdout, or to stderr. When nobody can read it any more, this and all later lines go nowhere."""
    stream = sys.stderr if error else sys.stdout
    text = hidden(text.translate(CONTROL))
    if colored(stream):
        text = VERDICT.sub(lambda found: f"{found[1]}\x1b[{COLORS[found[2]]}m{found[2]}\x1b[0m", text)
    Bar.clear()
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


def interactive(stream: TextIO) -> bool:
    """Whether a person may be looking: a terminal that can do more than print."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (OSError, ValueError):
        return False


def colored(stream: TextIO) -> bool:
    """Whether verdicts are colored: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and interactive(stream)


class Bar:
    """How far a run is and how long it has to go, on the last line of the terminal; any line printed takes its place.

    It is drawn on stderr, so that what is piped from stdout stays clean. With early stopping the time left is the most
    it can be, and the line says so.
    """

    shown = False

    def __init__(self, steps: int, quiet: bool, most: bool) -> None:
        self.steps, self.words = max(steps, 1), "at most " if most else ""
        self.off = quiet or not interactive(sys.stderr)
        self.first, self.began, self.drawn = -1, 0.0, 0.0

    def at(self, step: int) -> None:
        """Say that `step` steps are done; the first call sets the clock, since a resumed run starts in the middle."""
        if self.off:
            return
        now = time.monotonic()
        if self.first < 0:
            self.first, self.began = step, now
        if now - self.drawn < EVERY or step == self.first:
            return
        self.drawn = now
        share, gone = min(step / self.steps, 1.0), now - self.began
        left = gone / (step - self.first) * max(self.steps - step, 0)
        full = round(share * BLOCKS)
        line = (
            f"  [{'#' * full}{'.' * (BLOCKS - full)}] {share:4.0%}  {clock(gone)} gone, {self.words}{clock(left)} left"
        )
        self.draw(line[: shutil.get_terminal_size().columns - 1])

    @staticmethod
    def draw(line: str) -> None:
        """Put `line` in the place of the line the cursor is on."""
        with contextlib.suppress(OSError, ValueError):
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            Bar.shown = bool(line)

    @staticmethod
    def clear() -> None:
        """Take the bar off the terminal, if one is there."""
        if Bar.shown:
            Bar.draw("")


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
