"""Plots made of rows: intervals of many models or slices under each other, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .axes import BOTTOM, RIGHT, WIDTH, Scale, figure, text, usable, x_axis

ROW = 36  # a name, and its interval under it
MOST_CLASSES = 30
LETTER = 6.8  # width of a letter or digit of 12 units


def intervals(
    title: str, rows: Mapping[str, Mapping[str, Any]], x: str, mark: str = "", line: float | None = None, note: str = ""
) -> str:
    """A forest plot: name -> value, low, high; the name and the numbers stand above each interval.

    mark: the name drawn in another color. line: a value to compare all with. Rows without bounds are drawn as a dot.
    """
    drawn = {n: r for n, r in rows.items() if usable(r.get("value"))}
    if not drawn:
        return ""
    ends = [r[k] for r in drawn.values() for k in ("value", "low", "high") if usable(r.get(k))]
    height = 8 + BOTTOM + ROW * len(drawn)
    to_x = Scale([*ends, *([line] if usable(line) else [])], 8, WIDTH - RIGHT)  # type: ignore[list-item]
    parts = [x_axis(x, to_x, height, 8)]
    if line is not None and usable(line):
        parts.append(f"<path class='mark' d='M{to_x(line):.1f} 4V{height - BOTTOM}'/>")
    parts += [_interval(8 + ROW * i, name, row, to_x, name == mark) for i, (name, row) in enumerate(drawn.items())]
    return figure(title, parts, height=height, note=note)


def _interval(top: float, name: str, row: Mapping[str, Any], to_x: Scale, marked: bool) -> str:
    color, at = int(marked), top + 23
    bounded = usable(row.get("low")) and usable(row.get("high"))
    numbers = f"{row['value']:.4g}" + (f" [{row['low']:.4g}, {row['high']:.4g}]" if bounded else "")
    line = f"<path class='s{color}' d='M{to_x(row['low']):.1f} {at}H{to_x(row['high']):.1f}'/>" if bounded else ""
    dot = f"<circle class='f{color}' cx='{to_x(row['value']):.1f}' cy='{at}' r='5'/>"
    room = WIDTH - RIGHT - 16 - LETTER * len(numbers)
    names = text(8, top + 11, _short(name, room), kind="t name over")
    return line + dot + names + text(WIDTH - RIGHT, top + 11, numbers, "end", "t over")


def matrix(title: str, table: Sequence[Sequence[float]], names: Sequence[str], note: str = "") -> str:
    """A confusion matrix: rows are the truth, columns what was called; shade is the share of the row."""
    k = len(table)
    if not 0 < k <= MOST_CLASSES:
        return ""
    left, top = min(max(8 + LETTER * max(len(str(n)) for n in names), 46), 110), 34
    wide = min((WIDTH - RIGHT - left) / k, 64)
    high = min(max(wide, 15), 40)
    parts = [text(left, 13, "called"), text(4, 13, "truth")]
    for i, row in enumerate(table):
        middle = top + high * (i + 0.5) + 4
        parts.append(text(left - 5, middle, _short(str(names[i]), left - 8), "end"))
        if wide >= 20 or i % 2 == 0:
            parts.append(text(left + wide * (i + 0.5), 28, _short(str(names[i]), max(wide, 20)), "middle"))
        for j, count in enumerate(row):
            parts.append(
                _cell((left + wide * j, top + high * i, wide, high), (i == j, count, sum(row) or 1), names, i, j)
            )
    return figure(title, parts, height=top + high * k + 6, note=note)


def _cell(
    box: tuple[float, float, float, float], seen: tuple[bool, float, float], names: Sequence[str], i: int, j: int
) -> str:
    (x, y, wide, high), (right, count, total) = box, seen
    words = f"{names[i]} called {names[j]}: {count:g} ({count / total:.0%})"
    square = (
        f"<rect class='f{int(not right)}' opacity='{0.06 + 0.6 * count / total:.2f}' x='{x:.1f}' y='{y:.1f}'"
        f" width='{wide - 1:.1f}' height='{high - 1:.1f}'><title>{escape(words)}</title></rect>"
    )
    number = _count(count)
    fits = count and LETTER * len(number) <= wide
    return square + (text(x + wide / 2, y + high / 2 + 4, number, "middle", "t name") if fits else "")


def _count(count: float) -> str:
    return f"{count:g}" if count < 10_000 else f"{count / 1000:.0f}k"


def _short(name: str, room: float) -> str:
    letters = max(int(room / LETTER), 1)
    return name if len(name) <= letters else name[: max(letters - 1, 1)] + "…" * (letters > 1)
