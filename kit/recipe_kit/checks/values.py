"""Single columns: values that mean missing, absurd values, heavy tails, two humps."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.task import Data
from .check_result import CheckResult, check_result


def sentinels(config: Config, data: Data) -> CheckResult:
    """A number that stands for missing: far too frequent in a continuous column, or repeated and far from the rest."""
    found: dict[str, tuple[float, float]] = {}
    for name in data.columns("numeric"):
        x = data.frame[name].drop_nulls().cast(pl.Float64).to_numpy()
        values, counts = np.unique(x, return_counts=True)
        if len(values) < 10:
            continue
        at = _spike(values, counts)
        at = _lonely(values, counts) if at is None else at
        if at is not None:
            found[name] = (float(values[at]), float(counts[at] / len(x)))
    return check_result(
        "values that mean missing",
        "; ".join(f"{c} is {v:g} in {s:.1%} of rows" for c, (v, s) in found.items()) or "no suspicious spike",
        warn=bool(found),
        share=max((s for _, s in found.values()), default=0.0),
        evidence={"columns": {c: list(v) for c, v in found.items()}},
    )


def _spike(values: np.ndarray, counts: np.ndarray) -> int | None:
    """Position of a value in over 1 % of the rows of a continuous column, far above what a Poisson count around the
    next most frequent one would give. Not where amounts pile up at 0 as their natural edge."""
    n = counts.sum()
    if len(values) < max(30, 0.05 * n):
        return None
    at = int(counts.argmax())
    second = int(np.delete(counts, at).max())
    if counts[at] <= 0.01 * n or counts[at] <= 5 * second + 5 * np.sqrt(second + 1):
        return None
    rest = np.repeat(np.delete(values, at), np.delete(counts, at))
    quarter = np.quantile(rest, [0.25, 0.75])
    step = float(np.median(np.diff(values)))  # amounts on a grid, as pixels and prices are, go down to one step above 0
    edge = values[at] == 0 and values[0] == 0 and rest.min() <= max(0.05 * (quarter[1] - quarter[0]), 1.5 * step)
    return None if edge else at


def _lonely(values: np.ndarray, counts: np.ndarray) -> int | None:
    """Position of a smallest or largest value that comes back, and lies further out than the range of all the others."""
    for at, inner in ((0, values[1:]), (len(values) - 1, values[:-1])):
        gap = np.abs(values[at] - inner).min()
        if gap > inner[-1] - inner[0] and counts[at] >= max(3, 0.002 * counts.sum()):
            return at
    return None


def distributions(config: Config, data: Data) -> CheckResult:
    """Heavy tails (kurtosis) and two humps (Sarle's coefficient) are described; a warning only for values that no heavy tail
    explains: a gap parts them from all others."""
    absurd: dict[str, float] = {}
    heavy, humps, share = list[str](), list[str](), 0.0
    for name in data.columns("numeric"):
        x = data.frame[name].drop_nulls().cast(pl.Float64).to_numpy()
        if len(np.unique(x)) < 20:
            continue
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
        spread = float(x.std()) or 1.0
        far = np.abs(x - middle) / ((high - low) or spread)
        skew, kurtosis = (float((((x - x.mean()) / spread) ** power).mean()) for power in (3, 4))
        heavy += [name] if kurtosis > 10 else []
        humps += [name] if 0 < kurtosis < 3 and (skew**2 + 1) / kurtosis > 5 / 9 else []
        if (value := _absurd(x, far)) is not None:
            absurd[name], share = value, max(share, float((far > 10).mean()))
    return check_result(
        "distributions",
        f"heavy tails: {', '.join(heavy[:6]) or 'none'}; two humps: {', '.join(humps[:6]) or 'none'}"
        + "".join(f"; {c} holds {v:g}" for c, v in absurd.items()),
        warn=bool(absurd),
        share=share,
        evidence={"absurd": absurd, "heavy_tails": heavy, "two_humps": humps},
        first=next(iter(absurd), ""),
    )


def _absurd(x: np.ndarray, far: np.ndarray) -> float | None:
    """The farthest value, when a gap parts it from the rest. A heavy tail has far values too, but thins out gradually."""
    ordered = np.sort(far)[-max(len(far) // 100, 2) :]
    gaps = ordered[1:] / np.maximum(ordered[:-1], 1e-9)
    return float(x[far.argmax()]) if ordered[-1] > 1000 and gaps.max() > 30 else None


CHECKS = (sentinels, distributions)
