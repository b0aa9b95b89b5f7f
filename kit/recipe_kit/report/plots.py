"""The plots of the page as inline SVG: curves, histograms, points. Each returns "" when there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from .axes import (
    BOTTOM,
    COLORS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    Points,
    Scale,
    clean,
    figure,
    frame,
    text,
    usable,
)

Series = Mapping[str, Points]


def lines(
    title: str,
    series: Series,
    axes: Axes,
    marks: Mapping[str, float] | None = None,
    band: tuple[float, float] | None = None,
    note: str = "",
) -> str:
    """Curves: name -> (xs, ys). marks: name -> x of a vertical line. band: a shaded range of x."""
    drawn = {name: found for name, points in series.items() if (found := clean(points, axes))}
    if not drawn:
        return ""
    every = [p for points in drawn.values() for p in points]
    xs = [p[0] for p in every]
    to_x = Scale(xs, LEFT, WIDTH - RIGHT, axes.log_x, whole=all(x.is_integer() for x in xs))
    to_y = Scale([p[1] for p in every], HEIGHT - BOTTOM, TOP, axes.log_y)
    shade = _band(band, to_x, axes) if band else ""
    paths = [_path(i, name, points, to_x, to_y) for i, (name, points) in enumerate(drawn.items())]
    names = list(drawn) if len(drawn) <= COLORS else []
    return figure(title, [shade, frame(axes, to_x, to_y), *paths, *_marks(marks or {}, to_x, axes)], names, note=note)


def _path(i: int, name: str, points: list[tuple[float, float]], to_x: Scale, to_y: Scale) -> str:
    outline = " ".join(f"{'ML'[j > 0]}{to_x(a):.1f} {to_y(b):.1f}" for j, (a, b) in enumerate(points))
    dot = f"<circle class='f{i % COLORS}' cx='{to_x(points[0][0]):.1f}' cy='{to_y(points[0][1]):.1f}' r='3'/>"
    line = f"<path class='s{i % COLORS}' d='{outline}'><title>{escape(name)}</title></path>"
    return line + (dot if len(points) == 1 else "")


def _inside(value: float, to_x: Scale) -> float:
    return min(max(to_x(value), LEFT), WIDTH - RIGHT)


def _band(band: tuple[float, float], to_x: Scale, axes: Axes) -> str:
    if not all(usable(edge, axes.log_x) for edge in band):
        return ""
    start, end = (_inside(edge, to_x) for edge in band)
    return f"<rect class='band' x='{start:.1f}' y='{TOP}' width='{max(end - start, 2):.1f}' height='{HEIGHT - BOTTOM - TOP}'/>"


def _marks(marks: Mapping[str, float], to_x: Scale, axes: Axes) -> list[str]:
    """Vertical lines; their names stand on different heights, and to the left of a line near the right edge."""
    parts = []
    for i, (name, value) in enumerate(marks.items()):
        if usable(value, axes.log_x):
            x = _inside(value, to_x)
            late = x > WIDTH * 0.7
            words = text(x + (-4 if late else 4), TOP + 12 + 14 * i, name, "end" if late else "start", "t over at")
            parts.append(f"<path class='mark' d='M{x:.1f} {TOP}V{HEIGHT - BOTTOM}'/>{words}")
    return parts


def bars(title: str, edges: Sequence[float], counts: Mapping[str, Sequence[float]], axes: Axes, note: str = "") -> str:
    """Histograms stacked on each other: n + 1 edges, name -> n counts."""
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    if not totals or not max(totals):
        return ""
    to_x = Scale(list(edges), LEFT, WIDTH - RIGHT, axes.log_x)
    to_y = Scale([0.0, max(totals)], HEIGHT - BOTTOM, TOP)
    base, parts = [0.0] * len(totals), []
    for i, (name, column) in enumerate(counts.items()):
        for j, count in enumerate(column):
            if count:
                words = f"{name}: {count:g} from {edges[j]:.3g} to {edges[j + 1]:.3g}"
                left, right, low, top = to_x(edges[j]), to_x(edges[j + 1]), to_y(base[j]), to_y(base[j] + count)
                box = f"x='{left:.1f}' y='{top:.1f}' width='{max(right - left - 1, 1):.1f}' height='{low - top:.1f}'"
                parts.append(f"<rect class='f{i}' {box}><title>{escape(words)}</title></rect>")
            base[j] += count
    return figure(title, [frame(axes, to_x, to_y), *parts], list(counts), note=note)


def points(title: str, cloud: Points, axes: Axes, diagonal: bool = False, note: str = "") -> str:
    """A scatter plot of at most POINTS points; with `diagonal`, both axes share their range and x = y is drawn."""
    drawn = clean(cloud, axes)
    if not drawn:
        return ""
    xs, ys = [p[0] for p in drawn], [p[1] for p in drawn]
    if diagonal:
        xs = ys = [*xs, *ys]
    to_x, to_y = Scale(xs, LEFT, WIDTH - RIGHT, axes.log_x), Scale(ys, HEIGHT - BOTTOM, TOP, axes.log_y)
    low, high = min(xs), max(xs)
    line = f"<path class='mark' d='M{to_x(low):.1f} {to_y(low):.1f}L{to_x(high):.1f} {to_y(high):.1f}'/>"
    kind = "f0 dot" if len(drawn) > 100 else "f0"
    dots = [f"<circle class='{kind}' cx='{to_x(a):.1f}' cy='{to_y(b):.1f}' r='2.5'/>" for a, b in drawn]
    return figure(title, [frame(axes, to_x, to_y), line if diagonal else "", *dots], note=note)


def reliability(title: str, curves: Mapping[str, Sequence[Mapping[str, float]]], note: str = "") -> str:
    """Reliability diagram: share right against confidence. Dots grow with the rows behind them; on the dashed diagonal
    lies a perfectly calibrated model."""
    to_x, to_y = Scale([0.0, 1.0], LEFT, WIDTH - RIGHT), Scale([0.0, 1.0], HEIGHT - BOTTOM, TOP)
    parts = [frame(Axes("probability said", "share that was true"), to_x, to_y)]
    parts.append(f"<path class='mark' d='M{to_x(0):.1f} {to_y(0):.1f}L{to_x(1):.1f} {to_y(1):.1f}'/>")
    for i, (name, bins) in enumerate(curves.items()):
        places = [(b["confidence"], b["right"]) for b in bins]
        most = max((b["n"] for b in bins), default=1)
        parts.append(_path(i, name, places, to_x, to_y) if len(places) > 1 else "")
        parts += [
            f"<circle class='f{i}' cx='{to_x(b['confidence']):.1f}' cy='{to_y(b['right']):.1f}' r='{2 + 3 * (b['n'] / most) ** 0.5:.1f}'/>"
            for b in bins
        ]
    return figure(title, parts, list(curves), note=note)
