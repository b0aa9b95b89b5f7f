"""How scores are written: as many digits as say something, also where a target is counted in billionths or in billions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(value: float | None, sign: str = "") -> str:
    """A number with four decimals, or four significant digits where these would be zeros or noise; a dash for null, which is
    what JSON makes of NaN and infinity. sign: "+" to show it always."""
    return "–" if value is None else f"{value:{sign}{_form(value)}}"  # noqa: RUF001


def interval(score: Mapping[str, Any], sign: str = "") -> str:
    """value [low, high], all three with the same decimals; without the brackets when the bounds are not known."""
    three = [score.get(key) for key in ("value", "low", "high")]
    form = _form(*three)
    value, low, high = ("–" if v is None else f"{v:{sign}{form}}" for v in three)  # noqa: RUF001
    return value if None in three[1:] else f"{value} [{low}, {high}]"


def _form(*values: float | None) -> str:
    """The format of numbers of this size, the largest of them."""
    size = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    if size == 0 or 1e-3 <= size < 1e4:
        return ".4f"
    return ",.0f" if 1e4 <= size < 1e9 else ".4g"
