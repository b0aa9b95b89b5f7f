"""Axes of the small plots: from values to pixels, ticks that can be read, and the frame around each plot.

A plot is 360 units wide and shown 340 to 460 pixels wide, so its 12-unit text is 11 pixels and more on a phone.
Colors come from the page, which knows about dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 26, 36
COLORS = 8
POINTS = 400  # of one curve: more than the pixels it is drawn on

Points = tuple[Sequence[float | None], Sequence[float | None]]


class Axes(NamedTuple):
    """Names of the axes, and which are logarithmic."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False


def usable(value: float | None, log: bool = False) -> bool:
    """Whether a value can be drawn; null, NaN and infinity cannot, nor can 0 on a logarithmic axis."""
    return value is not None and math.isfinite(value) and (not log or value > 0)


def clean(points: Points, axes: Axes) -> list[tuple[float, float]]:
    """The points that can be drawn, thinned evenly to at most POINTS."""
    kept = [
        (float(a), float(b))
        for a, b in zip(*points, strict=False)
        if a is not None and b is not None and usable(a, axes.log_x) and usable(b, axes.log_y)
    ]
    stride = math.ceil(len(kept) / POINTS)
    return kept[::stride] if stride > 1 else kept


class Scale:
    """A linear or logarithmic map from values to pixels, with its ticks."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, log: bool = False, whole: bool = False
    ) -> None:
        self.log, self.least = log, 1.0 if whole else 0.0  # least: the smallest step between ticks
        low, high = min(values), max(values)
        if log:
            low, high = math.log10(low), math.log10(high)
        flat = high - low <= 1e-9 * max(abs(low), abs(high), 1e-290)  # no more than rounding
        pad = (abs(high) * 0.1 or 1.0) if flat else (high - low) * 0.04
        self.low, self.high, self.start, self.end = low - pad, high + pad, start, end

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Values with their labels. On a logarithmic axis powers of ten; 1, 2 and 5 of each where these are few; round
        values as on a linear one where even those are fewer than three (a span under a decade)."""
        if not self.log:
            found = _round_values(self.low, self.high, most, self.least)
        else:
            first, last = math.floor(self.low), math.ceil(self.high)
            inside = [(m, e) for e in range(first, last + 1) for m in (1, 2, 5) if self._holds(math.log10(m) + e)]
            powers = [e for m, e in inside if m == 1]
            if len(powers) >= 3:
                found = [10.0**e for e in powers[:: math.ceil(len(powers) / most)]]
            else:
                found = [m * 10.0**e for m, e in inside]
                if len(found) < 3:
                    found = [v for v in _round_values(10**self.low, 10**self.high, most) if v > 0]
        digits = next((d for d in range(3, 15) if len({label(v, d) for v in found}) == len(found)), 15)
        return [(v, label(v, digits)) for v in found]

    def _holds(self, position: float) -> bool:
        return self.low <= position <= self.high


def _round_values(low: float, high: float, most: int, least: float = 0.0) -> list[float]:
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = max(next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= most), least)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def label(value: float, digits: int) -> str:
    """A number as a tick says it, with so many digits: 0.002, 15, 1500, 1e-7."""
    if 1000 <= abs(value) < 1e5:
        return f"{value:.{max(digits - 4, 0)}f}"
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "t") -> str:
    """A piece of text at a place."""
    return f"<text class='{kind}' x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{escape(words)}</text>"


def frame(axes: Axes, to_x: Scale, to_y: Scale, height: float = HEIGHT) -> str:
    """Both axes, with the name of y above its axis where it can be read without turning the head."""
    rows = [
        f"<path class='grid' d='M{LEFT} {to_y(v):.1f}H{WIDTH - RIGHT}'/>{text(LEFT - 5, to_y(v) + 4, name, 'end')}"
        for v, name in to_y.ticks()
    ]
    return "".join(rows) + text(4, 13, axes.y) + x_axis(axes.x, to_x, height, LEFT)


def x_axis(name: str, to_x: Scale, height: float, left: float) -> str:
    """The lower axis: a line, ticks, its name."""
    base = height - BOTTOM
    ticks = [
        f"<path class='grid' d='M{to_x(v):.1f} {base}v4'/>{text(to_x(v), base + 16, words, 'middle')}"
        for v, words in to_x.ticks()
    ]
    line = f"<path class='axis' d='M{left} {base}H{WIDTH - RIGHT}'/>"
    return line + "".join(ticks) + text((left + WIDTH - RIGHT) / 2, base + 31, name, "middle")


def figure(title: str, parts: list[str], names: Sequence[str] = (), height: float = HEIGHT, note: str = "") -> str:
    """The frame of the page around a plot: caption, picture, legend where there are several things, and a remark."""
    keys = "".join(f"<span class='key'><i class='b{i % COLORS}'></i>{escape(n)}</span>" for i, n in enumerate(names))
    legend = f"<div class='legend'>{keys}</div>" if len(names) > 1 else ""
    body = f"<svg viewBox='0 0 {WIDTH} {height:.0f}' role='img' aria-label='{escape(title, quote=True)}'>{''.join(parts)}</svg>"
    remark = f"<p class='note'>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}{legend}{remark}</figure>"
