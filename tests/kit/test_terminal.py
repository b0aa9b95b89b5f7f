"""Colors and the progress bar: there for a person at a terminal, gone everywhere else."""

from __future__ import annotations

import io
import sys

import pytest
from recipe_kit import terminal
from recipe_kit.terminal import Bar, clock, say

LINE = "  PASS           init loss: 0.69"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let both streams be a terminal. Called in a test, not before it: pytest sets its own streams when a test starts."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_verdicts_are_colored_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    say(f"{LINE}\n  FAIL  a\naudit: WARN in 1.0 s\n  a PASS inside, PASSED too")
    assert screen.getvalue() == (
        "  \x1b[32mPASS\x1b[0m           init loss: 0.69\n  \x1b[31mFAIL\x1b[0m  a\naudit: \x1b[33mWARN\x1b[0m in 1.0 s\n"
        "  a PASS inside, PASSED too\n"
    )


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colors_switch_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setenv(name, value)
    say(LINE)
    assert screen.getvalue() == f"{LINE}\n"


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", pipe)
    bar = Bar(10, quiet=False, most=False)
    for step in range(10):
        bar.at(step)
    say(LINE)
    assert pipe.getvalue() == f"{LINE}\n"


def drawn(bar: Bar, monkeypatch: pytest.MonkeyPatch, steps: range, seconds: float) -> None:
    """Let `seconds` pass before each of `steps`."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    for step in steps:
        bar.at(step)
        now[0] += seconds


def test_the_bar_knows_the_time_left_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    drawn(Bar(400, quiet=False, most=True), monkeypatch, range(200, 301), 2.0)  # resumed half way: 100 steps in 200 s
    last = screen.getvalue().rpartition("\r\x1b[K")[2]
    assert last == "  [##################......]  75%  3:20 gone, at most 3:20 left"
    say(LINE, error=True)
    assert screen.getvalue().endswith(f"{last}\r\x1b[K  \x1b[32mPASS\x1b[0m           init loss: 0.69\n")
    say("next")
    assert screen.getvalue().endswith("0.69\nnext\n")


def test_the_bar_is_still_when_quiet_and_rarely_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    drawn(Bar(1000, quiet=True, most=False), monkeypatch, range(1000), 1.0)
    assert screen.getvalue() == ""
    drawn(Bar(1000, quiet=False, most=False), monkeypatch, range(1000), 0.01)
    assert screen.getvalue().count("\r") <= 1000 * 0.01 / terminal.EVERY
    Bar.clear()


def test_clock() -> None:
    assert [clock(s) for s in (0.4, 61, 3599.6, 7384)] == ["0:00", "1:01", "1:00:00", "2:03:04"]
