"""What the monitor compares with: how each watched quantity was distributed in training, and the answers on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..owner.engine.target import as_text, counted
from ..owner.task import Data
from .model import Answer, Package, score

POINTS = 1000  # of a distribution function: its error is below 1/2000, a tenth of what 5,000 rows can show
MOST = 200  # values of a category that are counted one by one; the others count as one
ROWS = 2_000  # texts or images that are looked at

Statistics = dict[str, Any]


def of_training(package: Package, train: Data, val: Data, outputs: np.ndarray) -> dict[str, Any]:
    """Statistics of the training part for each watched column, and of the answers on validation.

    Validation also says how often a value comes that training never observed, which is no alert by itself.
    """
    seen, later = (watched(package, part) for part in (train, val))
    columns = {name: describe(seen[name]) for name in seen.columns}
    for name, statistics in columns.items():
        if statistics["kind"] == "category":
            known = as_text(seen[name]).unique()
            fresh = as_text(later[name]).drop_nulls()
            statistics["unseen"] = [int((~fresh.is_in(known.implode())).sum()), len(fresh)]
            statistics["known"] = sorted(known.drop_nulls().to_list())
    answers = predicted(package.answers(outputs))
    told = {name: describe(answers[name]) for name in answers.columns}
    return {"rows": len(train), "columns": columns, "answers": told}


def watched(package: Package, part: Data) -> pl.DataFrame:
    """The watched quantities of a part; of at most ROWS rows where texts or images have to be read."""
    costly = any(c["kind"] == c["role"] and c["role"] in ("image", "text", "series") for c in package.columns)
    if costly and len(part) > ROWS:
        part = part.take(np.sort(np.random.default_rng(0).permutation(len(part))[:ROWS]))
    names = [column["name"] for column in package.columns]
    features = part.frame if costly else part.frame[names]
    return package.watched(features)


def predicted(answers: list[Answer]) -> pl.DataFrame:
    """What is watched of the answers: the value, or the called class and how sure it is."""
    frame = pl.DataFrame({"prediction": [answer["prediction"] for answer in answers]})
    if answers and "probabilities" in answers[0]:
        frame = frame.with_columns(pl.Series("probability", [score(answer) for answer in answers]))
    return frame


def describe(series: pl.Series) -> Statistics:
    """Numbers: a distribution function at POINTS points. Anything else: counts of the most frequent values."""
    missing = series.null_count()
    if series.dtype.is_numeric():
        numbers = np.sort(series.cast(pl.Float64).drop_nulls().drop_nans().to_numpy())
        kept = (
            numbers
            if len(numbers) <= POINTS
            else numbers[((np.arange(POINTS) + 0.5) / POINTS * len(numbers)).astype(int)]
        )
        return {"kind": "number", "rows": len(series), "missing": missing, "points": kept.tolist()}
    counts = dict(list(counted(series).items())[:MOST])
    return {"kind": "category", "rows": len(series), "missing": missing, "counts": counts}
