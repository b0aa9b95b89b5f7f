"""The monitor's page: the alerts, then every test, then what drifted most, drawn beside training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..checks.check_result import CheckResult
from ..report.axes import Axes
from ..report.page import Section, render, section, table
from ..report.plots import lines

DRAWN = 12  # quantities that are drawn, the most drifted first
SHOWN = 10  # values of a category that are listed


def page(content: dict[str, Any], found: Sequence[CheckResult]) -> str:
    """The whole page as HTML."""
    order = {"FAIL": 0, "WARN": 1, "PASS": 2, "NOT APPLICABLE": 3}
    red = f"Alert: {', '.join(content['red'])}" if content["alert"] else "Quiet: nothing beyond the declared thresholds"
    limits = content["thresholds"]
    told = [one.record() for one in sorted(found, key=lambda one: order[one.verdict])]
    worst = "" if limits["worst"] is None else f", the score no worse than {limits['worst']:g}"
    declared = (
        f"Declared: a false alarm in at most {limits['rate']:.0%} of the runs, PSI counts from {limits['floor']:g} above chance,"
        f" {limits['hours']:g} hours of the log; where labels are compared, as many hours, {limits['mature']:g} days ago{worst}."
    )
    shapes = [one for one in content["tests"] if one["test"] == "distribution"]
    shapes = sorted(shapes, key=lambda one: (not one["alert"], -one["excess"]))
    head = ["quantity", "what", "alert", "p, corrected", "PSI", "PSI by chance", "KL", "training", "now"]
    rows = [_row(one) for one in sorted(content["tests"], key=lambda one: (not one["alert"], one["corrected"]))]
    sections = [
        section("What was found", declared, findings=told),
        section("Every test", tables=[table("Quantities against training", head, rows)]),
        section("Training and now", "The most drifted first.", plots=[_drawn(one) for one in shapes[:DRAWN]]),
        section("Categories", tables=[_values(one) for one in shapes[:DRAWN] if "names" in one["shares"]]),
    ]
    about = f"{content['source']}, answered by version {content['version']}"
    kept: list[Section] = [s for s in sections if s["findings"] or s["plots"] or s["tables"]]
    return render(kept, name="Monitor", about=about, verdict=[red], notices=[], back="")


def _row(one: dict[str, Any]) -> list[Any]:
    told = [one["name"], one["test"], "FAIL" if one["alert"] else "PASS", f"{one['corrected']:.2g}"]
    if one["test"] != "distribution":
        return [*told, "", "", "", f"{one['then']:.2%}", f"{one['now']:.2%}"]
    sizes = [f"{one[key]:.4f}" for key in ("psi", "chance", "kl")]
    middles = [f"{one[key]:.4g}" if key in one else "" for key in ("middle_then", "middle_now")]
    return [*told, *sizes, *middles]


def _drawn(one: dict[str, Any]) -> str:
    """Shares of training's tenths (numbers): flat at a tenth where nothing has changed."""
    shares = one["shares"]
    if "edges" not in shares or len(shares["edges"]) < 2:
        return ""
    edges = shares["edges"]
    middle = [edges[0], *((a + b) / 2 for a, b in pairwise(edges)), edges[-1]]
    series = {"training": (middle, shares["then"]), "now": (middle, shares["now"])}
    return lines(
        one["name"],
        series,
        Axes(one["name"], "share of rows"),
        note=f"PSI {one['psi']:.3f}, {one['chance']:.3f} by chance",
    )


def _values(one: dict[str, Any]) -> Any:
    shares = one["shares"]
    rows = sorted(zip(shares["names"], shares["then"], shares["now"], strict=True), key=lambda r: -abs(r[2] - r[1]))
    return table(one["name"], ["value", "training", "now"], [[n, f"{a:.1%}", f"{b:.1%}"] for n, a, b in rows[:SHOWN]])
