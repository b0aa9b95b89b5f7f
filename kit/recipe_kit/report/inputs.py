"""How the inputs are distributed in the training part, as one counts them before any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..owner.engine.files import read_json
from ..owner.engine.target import counted
from ..owner.task import FEATURES, Data, Task
from . import plots
from .axes import Axes
from .page import Section, section

ROWS, COLUMNS, VALUES = 2_000, 30, 12  # looked at; drawn; drawn of a category
TAIL = 0.01  # of the rows at either end are counted where the others end


def distributions(task: Task, prep: dict[str, Any], train: Data) -> dict[str, Any]:
    """Histogram of each input, or of what the monitor watches of it: name -> edges or values, counts, gaps."""
    part = train.sample()
    part = part.take(np.sort(np.random.default_rng(0).permutation(len(part))[:ROWS]))
    frame, found = task.monitored_features(prep, part.frame), dict[str, Any]()
    names = [name for name in frame.columns if name not in part.frame.columns or name in part.columns(*FEATURES)]
    for column in frame[names[:COLUMNS]].iter_columns():
        if column.dtype.is_numeric() and part.roles.get(column.name) != "categorical":
            known = column.drop_nulls().to_numpy().astype(float)
            known = known[np.isfinite(known)]
            low, high = np.quantile(known, [TAIL, 1 - TAIL]) if len(known) else (0.0, 0.0)
            counts, edges = np.histogram(np.clip(known, low, high), _edges(known, low, high))
            found[column.name] = {"edges": edges, "counts": counts}
        else:
            several = counted(column)
            found[column.name] = {"values": list(several)[:VALUES], "counts": list(several.values())[:VALUES]}
        found[column.name]["missing"] = column.null_count()
    return {"rows": len(part), "inputs": found}


def _edges(known: np.ndarray, low: float, high: float) -> Any:
    """Of some 20 bars; for whole numbers each holds as many of them, or a month of 31 days would look like a comb."""
    if not len(known) or (known != np.round(known)).any():
        return 20
    width = 1 if high - low < 2 * 20 else np.ceil((high - low + 1) / 20)
    return np.arange(np.floor(low) - 0.5, high + width, width)


def inputs_section(folder: Path) -> Section | None:
    """A plot each; nothing for a run that kept none."""
    if not (folder / "inputs.json").exists():
        return None
    kept, drawn = read_json(folder / "inputs.json", "a run's inputs", "train again: recipe train"), []
    for name, of in kept["inputs"].items():
        note = f"{of['missing']:,} missing. " if of["missing"] else ""
        note += ", ".join(f"{value}: {n:,}" for value, n in zip(of.get("values", []), of["counts"], strict=False))
        edges = of.get("edges", list(range(len(of["counts"]) + 1)))
        axes = Axes(name if "edges" in of else f"{name}, most frequent first", "rows")
        drawn.append(plots.bars(name, edges, {"rows": of["counts"]}, axes, note=note))
    text = f"{kept['rows']:,} rows of the training part; what lies beyond its outermost {TAIL:.0%} is counted in the last bar."
    return section("Inputs", text, plots=drawn)
