"""Sections on scores: the opened test part, each class, each slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..owner.config import Config
from ..owner.engine import calibration, decisions, metrics
from ..owner.engine.slices import confusion, per_class
from ..owner.engine.truth import saved_truth
from ..owner.formatting import interval, number
from . import grids, plots
from .page import Section, Table, fixed, section, table
from .records import Record

MOST_CLASSES = 15  # drawn: those with the lowest recall


def test_section(record: Record) -> Section:
    """What the opened test part said."""
    result = record["result"]
    last = result["openings"][-1]
    opener = f"{last.get('who', 'someone')} on {last['started'][:16].replace('T', ' ')}"
    text = f"Run {result['run']} ({result['model']}); opened by {opener}."
    if "baseline" in result:
        theirs = result["baseline"]
        text += f" Against {theirs['name']} on the same rows: {interval(theirs['difference'], '+')}."
    if "threshold" in result:
        cut = result["threshold"]
        text += (
            f" Threshold {number(cut['value'])}, chosen on validation for {cut['chosen_for']}: accuracy, precision, recall, F1"
            f" and the confusion are those of it. Cost per row {interval(cut['cost'])}, at 0.5 {interval(cut['cost_at_half'])}."
        )
    if "units" in result:
        text += f" Rows of one group count together: the intervals are over {result['units']:,} groups."
    rows = [[n, number(s["value"]), number(s["low"]), number(s["high"])] for n, s in result["metrics"].items()]
    scores = table("Test scores", ["metric", "value", "low", "high"], rows)
    overall = result["metrics"][result["metric"]]["value"]
    drawn = [*class_plots(result, "test"), *slice_plots(result.get("slices", []), result["metric"], overall)]
    findings = record["findings"]
    return section("Test", text, plots=drawn, tables=[scores, *class_tables(result)], findings=findings)


def validation_section(config: Config, folder: Path, classes: list[str]) -> Section | None:
    """Class by class on validation, for a run that was not tested. For two classes see decisions.on_own_rows."""
    if not classes or not (folder / "outputs.npy").exists():
        return None
    outputs, truth = np.load(folder / "outputs.npy", allow_pickle=False), saved_truth(folder)
    kept = np.isfinite(outputs).all(axis=1)
    if not kept.any():
        return None
    probability, y = metrics.class_probabilities(outputs[kept]), truth.y[kept].astype(int)
    together = None if truth.together is None else truth.together[kept]
    prediction = decisions.on_own_rows(config, probability, y, together)
    result = {
        "classes": classes,
        "confusion": confusion(prediction, y, len(classes)).tolist(),
        "per_class": per_class(prediction, y, classes, together),
        "calibration": {"before": calibration.describe(config, probability, y, together)},
    }
    text = ""
    if config.task == "binary":
        text = f"Each fifth of the rows by the threshold that the other four choose for {decisions.in_words(config)}."
    drawn, tables = class_plots(result, "validation"), class_tables(result)
    return section("Validation, class by class", text, plots=drawn, tables=tables)


def class_plots(result: dict[str, Any], part: str) -> list[str]:
    """Confusion, reliability, and the recall of each class; nothing where there are no classes."""
    if "confusion" not in result:
        return []
    before, after = (result["calibration"].get(key) for key in ("before", "after"))
    curves = {"as trained": before["bins"]} | ({"after temperature": after["bins"]} if after else {})
    note = f"Calibration error {number(before['ece'])}; chance alone shows up to {number(before['ece_null'])}."
    note += f" Brier score {number(before['brier'])} [{number(before['brier_low'])}, {number(before['brier_high'])}]."
    if after:
        note += f" After temperature {number(result['temperature'])} from validation: {number(after['ece'])}."
    lowest = sorted((c for c in result["per_class"] if c["support"]), key=lambda c: c["recall"])[:MOST_CLASSES]
    recalls = {
        f"{c['class']} ({c['support']} rows)": {
            "value": c["recall"], "low": c.get("recall_low"), "high": c.get("recall_high")
        }
        for c in lowest
    }  # fmt: skip
    return [
        grids.matrix(f"Confusion on {part}", result["confusion"], result["classes"]),
        plots.reliability(f"Reliability on {part}", curves, note),
        grids.intervals(f"Recall by class on {part}", recalls, "share of the class that was found"),
    ]


def class_tables(result: dict[str, Any]) -> list[Table | None]:
    """Precision, recall and F1 of each class; the most frequent confusions where the matrix is too large to draw."""
    if "per_class" not in result:
        return []
    rows = []
    for c in result["per_class"]:  # a dash where a class was never called or never true
        scores = (
            {"value": c.get(k), "low": c.get(f"{k}_low"), "high": c.get(f"{k}_high")}
            for k in ("precision", "recall", "f1")
        )
        rows.append([c["class"], *(fixed(interval(score)) for score in scores), c["support"]])
    found = [table("Classes", ["class", "precision", "recall", "F1", "rows"], rows)]
    if len(rows) > grids.MOST_CLASSES:
        counts = np.array(result["confusion"]) * (1 - np.eye(len(rows), dtype=int))
        names, pairs = result["classes"], np.argsort(-counts, axis=None, kind="stable")[:20]
        worst = [(int(i), int(j)) for i, j in zip(*np.unravel_index(pairs, counts.shape), strict=True)]
        mixed = [[names[i], names[j], int(counts[i, j])] for i, j in worst if counts[i, j]]
        found.append(table("Most frequent confusions", ["truth", "called", "rows"], mixed))
    return found


def slice_plots(slices: list[dict[str, Any]], metric: str, overall: float | None) -> list[str]:
    """One forest plot for each column, against the score of all rows."""
    columns = list(dict.fromkeys(s["column"] for s in slices))
    return [
        grids.intervals(
            f"{metric} by {column}",
            {f"{s['name']} ({s['n']} rows)": s for s in slices if s["column"] == column},
            metric,
            line=overall,
            note="The dashed line is the score of all test rows.",
        )
        for column in columns
    ]
