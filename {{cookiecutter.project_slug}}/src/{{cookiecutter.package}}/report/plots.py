"""Small plots as inline SVG: they take the page's colours, scale with it, and carry a title for screen readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 40

Series = dict[str, tuple[Sequence[float], Sequence[float]]]


def lines(
    title: str,
    series: Series,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    marks: dict[str, float] | None = None,
) -> str:
    """Curves: name -> (xs, ys). marks: name -> x position of a vertical line. Non-finite points are left out."""
    clean = {
        n: [(a, b) for a, b in zip(xs, ys, strict=False) if _usable(a, log_x) and _usable(b, log_y)]
        for n, (xs, ys) in series.items()
    }
    points = [p for ps in clean.values() for p in ps]
    if not points:
        return ""
    to_x = _scale([p[0] for p in points], LEFT, WIDTH - RIGHT, log_x)
    to_y = _scale([p[1] for p in points], HEIGHT - BOTTOM, TOP, log_y)
    parts = [_axes(title, x, y, to_x, to_y)]
    for i, (name, ps) in enumerate(clean.items()):
        if ps:
            path = " ".join(f"{'ML'[j > 0]}{to_x(a):.1f} {to_y(b):.1f}" for j, (a, b) in enumerate(ps))
            dots = (
                f"<circle class='f{i % 8}' cx='{to_x(ps[0][0]):.1f}' cy='{to_y(ps[0][1]):.1f}' r='3'/>"
                if len(ps) == 1
                else ""
            )
            parts.append(f"<path class='s{i % 8}' d='{path}'><title>{escape(name)}</title></path>{dots}")
    for name, at in (marks or {}).items():
        if _usable(at, log_x):
            parts.append(
                f"<path class='mark' d='M{to_x(at):.1f} {TOP}V{HEIGHT - BOTTOM}'/><text class='t' x='{to_x(at) + 4:.1f}' y='{TOP + 10}'>{escape(name)}</text>"
            )
    return _figure(title, parts, list(clean) if len(clean) <= 8 else [])


def bars(title: str, edges: Sequence[float], counts: Sequence[float], x: str, y: str) -> str:
    """A histogram: n + 1 edges, n counts."""
    if not len(counts) or not max(counts):
        return ""
    to_x, to_y = _scale(list(edges), LEFT, WIDTH - RIGHT), _scale([0.0, max(counts)], HEIGHT - BOTTOM, TOP)
    rects = [
        f"<rect class='f0' x='{to_x(a):.1f}' y='{to_y(c):.1f}' width='{max(to_x(b) - to_x(a) - 1, 1):.1f}' height='{to_y(0) - to_y(c):.1f}'><title>{a:.3g} to {b:.3g}: {c:.4g}</title></rect>"
        for a, b, c in zip(edges, edges[1:], counts, strict=False)
    ]
    return _figure(title, [_axes(title, x, y, to_x, to_y), *rects], [])


def intervals(title: str, rows: dict[str, dict[str, float]], x: str, mark: str = "") -> str:
    """A forest plot: name -> value, low, high; one line each."""
    rows = {n: r for n, r in rows.items() if all(_usable(r.get(k), False) for k in ("value", "low", "high"))}
    if not rows:
        return ""
    height = TOP + BOTTOM + 30 * len(rows)
    left = 24 + 7 * min(max(map(len, rows)), 24)
    to_x = _scale([v for r in rows.values() for v in (r["low"], r["high"])], left, WIDTH - RIGHT)
    parts = [_x_axis(x, to_x, height, left)]
    for i, (name, r) in enumerate(rows.items()):
        at = TOP + 15 + 30 * i
        kind = "f1" if name == mark else "f0"
        parts.append(
            f"<text class='t' x='{left - 8}' y='{at + 4}' text-anchor='end'>{escape(name[:24])}</text>"
            f"<path class='{'s1' if name == mark else 's0'}' d='M{to_x(r['low']):.1f} {at}H{to_x(r['high']):.1f}'/>"
            f"<circle class='{kind}' cx='{to_x(r['value']):.1f}' cy='{at}' r='5'><title>{escape(name)} {r['value']:.4f} [{r['low']:.4f}, {r['high']:.4f}]</title></circle>"
        )
    return _figure(title, parts, [], height)


def matrix(title: str, table: Sequence[Sequence[float]], names: Sequence[str], x: str, y: str) -> str:
    """A confusion matrix: rows are the truth, columns what was called; shade is the share of the row."""
    k = len(table)
    if not 0 < k <= 30:
        return ""
    cell = min(46, 400 // k)
    left, size = 110, cell * k
    parts = []
    for i, row in enumerate(table):
        total = sum(row) or 1
        label = f"<text class='t' x='{left - 6}' y='{30 + cell * i + cell / 2 + 4:.0f}' text-anchor='end'>{escape(str(names[i])[:14])}</text>"
        parts.append(label)
        for j, count in enumerate(row):
            share = count / total
            number = (
                f"<text class='t' x='{left + cell * j + cell / 2:.0f}' y='{30 + cell * i + cell / 2 + 4:.0f}' text-anchor='middle'>{count:g}</text>"
                if cell >= 24
                else ""
            )
            parts.append(
                f"<rect class='f{0 if i == j else 1}' opacity='{0.08 + 0.72 * share:.2f}' x='{left + cell * j}' y='{30 + cell * i}' width='{cell - 1}' height='{cell - 1}'>"
                f"<title>{escape(str(names[i]))} called {escape(str(names[j]))}: {count:g} ({share:.0%})</title></rect>{number}"
            )
    parts.append(
        f"<text class='t' x='{left}' y='20'>{escape(x)} across, {escape(y)} down: {escape(', '.join(str(n)[:10] for n in names[:8]))}{' ...' if k > 8 else ''}</text>"
    )
    return _figure(title, parts, [], size + 44)


def reliability(title: str, curves: dict[str, list[dict[str, float]]]) -> str:
    """Reliability diagram: share right against confidence, with the diagonal of a perfectly calibrated model."""
    series: Series = {"perfect": ([0, 1], [0, 1])}
    series |= {name: ([b["confidence"] for b in bins], [b["right"] for b in bins]) for name, bins in curves.items()}
    return lines(title, series, "probability said", "share that was true")


def _usable(value: float | None, log: bool) -> bool:
    return value is not None and math.isfinite(value) and (not log or value > 0)


class _scale:
    """A linear or logarithmic map from values to pixels, with its tick values."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool = False) -> None:
        self.log = log
        low, high = min(values), max(values)
        if log:
            low, high = math.log10(low), math.log10(high)
        pad = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
        self.low, self.high, self.start, self.end = low - pad, high + pad, start, end

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        if self.log:
            first, last = math.ceil(self.low), math.floor(self.high)
            return [(10.0**e, f"1e{e}") for e in range(first, last + 1, max((last - first) // most + 1, 1))]
        step = 10 ** math.floor(math.log10((self.high - self.low) / most))
        step = next(step * m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= most)
        first = math.ceil(self.low / step)
        return [(step * i, f"{step * i:.6g}") for i in range(first, math.floor(self.high / step) + 1)]


def _axes(title: str, x: str, y: str, to_x: _scale, to_y: _scale) -> str:
    left = [
        f"<path class='grid' d='M{LEFT} {to_y(v):.1f}H{WIDTH - RIGHT}'/><text class='t' x='{LEFT - 6}' y='{to_y(v) + 4:.1f}' text-anchor='end'>{label}</text>"
        for v, label in to_y.ticks(5)
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f"<text class='t' transform='rotate(-90 13 {middle})' x='13' y='{middle}' text-anchor='middle'>{escape(y)}</text>"
    return "".join(left) + turned + _x_axis(x, to_x, HEIGHT, LEFT)


def _x_axis(x: str, to_x: _scale, height: float, left: float) -> str:
    base = height - BOTTOM
    ticks = [
        f"<path class='grid' d='M{to_x(v):.1f} {base}v5'/><text class='t' x='{to_x(v):.1f}' y='{base + 17}' text-anchor='middle'>{label}</text>"
        for v, label in to_x.ticks()
    ]
    return f"<path class='axis' d='M{left} {base}H{WIDTH - RIGHT}'/>{''.join(ticks)}<text class='t' x='{(left + WIDTH - RIGHT) / 2}' y='{base + 33}' text-anchor='middle'>{escape(x)}</text>"


def _figure(title: str, parts: list[str], names: list[str], height: float = HEIGHT) -> str:
    legend = (
        "".join(f"<span class='key'><i class='b{i % 8}'></i>{escape(n)}</span>" for i, n in enumerate(names))
        if len(names) > 1
        else ""
    )
    body = f"<svg viewBox='0 0 {WIDTH} {height:.0f}' role='img' aria-label='{escape(title, quote=True)}'><title>{escape(title)}</title>{''.join(parts)}</svg>"
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}<div class='legend'>{legend}</div></figure>"
