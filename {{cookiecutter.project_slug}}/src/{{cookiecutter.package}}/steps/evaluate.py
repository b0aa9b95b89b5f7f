"""Open the test part once, and say what the model is worth there: with intervals, against the best baseline, calibrated."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import polars as pl

from ..checks.finding import Cause, Finding, verdict
from ..config import Config
from ..engine import calibration, metrics
from ..engine.fitted import load_fitted
from ..engine.lock import open_once, openings
from ..engine.loop import query_of
from ..engine.parts import open_test, parts
from ..engine.project import Project, Run
from ..errors import UserError
from ..task import Data


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Choose the run, prepare all that needs no test data, write the opening down, then look."""
    config = project.config
    record = choose(project, args.run)
    if openings(project) and not project.because:
        open_once(project, run.id, record["id"])  # refuses, before any work
    data = parts(project)
    model = load_fitted(project, record)
    baseline = project.require("baseline", "a test score means little without one")
    name = baseline["result"].get("best", "") if baseline else ""
    rivals = project.task.baselines(config, model.prep, data["train"])
    val_outputs, val = model.outputs(data["val"])
    val_y = val.y.cpu().numpy()

    opened = open_once(project, run.id, record["id"])
    test_data = open_test(project)
    outputs, test = model.outputs(test_data)
    y, query = test.y.cpu().numpy(), query_of(test)

    np.save(run.folder / "outputs.npy", outputs)
    np.save(run.folder / "y.npy", y)
    scores = metrics.summary(config, model.prep, outputs, y, query)
    metric = config.resolved_metric
    run.result |= {
        "run": record["id"],
        "model": model.name,
        "metric": metric,
        "openings": opened,
        "rows": len(y),
        "metrics": scores,
    }
    run.result["ledger"] = {"metric": metric, "model": model.name, **scores[metric]}
    project.say(f"  {record['id']} ({model.name}) on {len(y):,} test rows: {metric} {_interval(scores[metric])}")
    run.add(opened_once(opened))
    if name in rivals:
        theirs = rivals[name].predict(test_data)
        difference = metrics.difference(config, model.prep, outputs, theirs, y, query)
        run.result["baseline"] = {
            "name": name,
            "metrics": metrics.summary(config, model.prep, theirs, y, query),
            "difference": difference,
        }
        project.say(
            f"  {name} on the same rows: {metric} {_interval(run.result['baseline']['metrics'][metric])}; difference {_interval(difference)}"
        )
    run.add(val_to_test(config, record["result"]["metrics"][metric], scores[metric]))
    if model.prep["classes"]:
        run.result |= classification(config, model.prep, (val_outputs, val_y.astype(int)), (outputs, y.astype(int)))
    run.result["slices"] = slices(config, model.prep, test_data, outputs, y)


def choose(project: Project, wanted: str) -> dict[str, Any]:
    """The finished training run to evaluate: the named one, else the best on validation for this data and split."""
    records = [r for r in project.records("train") if "metrics" in r["result"]]
    if wanted:
        found = [r for r in records if r["id"] == wanted]
        if not found:
            raise UserError(
                f"--run {wanted!r} is not a finished training run; there are: {', '.join(r['id'] for r in records) or 'none'}"
            )
        other = [k for k in ("data", "split") if found[0]["fingerprint"][k] != project.fingerprint[k]]
        if other:
            raise UserError(
                f"--run {wanted!r} was trained on other {' and '.join(other)}, so it may have seen rows of this test part;"
                " put its knobs back, or run: recipe train"
            )
        return found[0]
    current = [r for r in records if all(r["fingerprint"][k] == project.fingerprint[k] for k in ("data", "split"))]
    if not current:
        raise UserError("no finished training run for this data and split; run: recipe train")
    metric = project.config.resolved_metric
    usable = [r for r in current if metric in r["result"]["metrics"]]
    best = usable[0]
    for record in usable[1:]:
        if metrics.better(
            metric, record["result"]["metrics"][metric]["value"], best["result"]["metrics"][metric]["value"]
        ):
            best = record
    project.say(f"  {best['id']} is the best of {len(usable)} runs on validation ({metric})")
    return best


def classification(
    config: Config, prep: dict[str, Any], val: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Per-class table, confusion, calibration before and after a temperature from validation, and the threshold."""
    outputs, truth = test
    heat = calibration.temperature(config, prep, *val)
    chance = metrics.probabilities(config, prep, outputs / heat)
    result: dict[str, Any] = {
        "classes": prep["classes"],
        "confusion": confusion(
            metrics.probabilities(config, prep, outputs).argmax(axis=1), truth, len(prep["classes"])
        ).tolist(),
        "temperature": heat,
        "calibration": {
            "before": calibration.describe(config, prep, outputs, truth),
            "after": calibration.describe(config, prep, outputs / heat, truth),
        },
    }
    if config.task == "binary":
        cut = calibration.cheapest_threshold(config, metrics.probabilities(config, prep, val[0] / heat)[:, 1], val[1])
        guess = (chance[:, 1] >= cut).astype(int)
        half = (chance[:, 1] >= 0.5).astype(int)
        result["threshold"] = {
            "value": cut,
            "costs": [config.cost_false_positive, config.cost_false_negative],
            "cost": float(metrics.costs(config, guess, truth).mean()),
            "cost_at_half": float(metrics.costs(config, half, truth).mean()),
            "confusion": confusion(guess, truth, 2).tolist(),
        }
    result["per_class"] = per_class(np.array(result["confusion"]), prep["classes"])
    return result


def confusion(guess: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Counts [k, k]: rows are the truth, columns what was called."""
    return np.bincount(truth * k + guess, minlength=k * k).reshape(k, k)


def per_class(table: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class; NaN (null in JSON) where a class was never called or never true."""
    rows = []
    for i, name in enumerate(classes):
        hit, called, support = table[i, i], table[:, i].sum(), table[i].sum()
        precision, recall = (hit / called if called else math.nan), (hit / support if support else math.nan)
        rows.append(
            {
                "class": name,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(2 * hit / (called + support)) if called + support else math.nan,
                "support": int(support),
            }
        )
    return rows


def slices(
    config: Config,
    prep: dict[str, Any],
    data: Data,
    outputs: np.ndarray,
    y: np.ndarray,
    least: int = 20,
    most: int = 20,
) -> list[dict[str, Any]]:
    """The main metric for each frequent value of the declared slice columns, with intervals. Not for ranking."""
    found = []
    for column in config.slices if config.task != "ranking" else []:
        values = data.frame[column].cast(pl.String).fill_null("missing").to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for name in names[np.argsort(-counts)][:most]:
            rows = values == name
            if rows.sum() >= least and len(np.unique(y[rows])) > 1:
                scores = metrics.summary(config, prep, outputs[rows], y[rows])
                found.append(
                    {"column": column, "value": str(name), "n": int(rows.sum()), **scores[config.resolved_metric]}
                )
    return found


def opened_once(opened: list[dict[str, Any]]) -> Finding:
    """Whether this is the first look at the test part."""
    again = len(opened) > 1
    return Finding(
        "test opened once",
        verdict(False, again),
        f"opening number {len(opened)}" + (f"; earlier: {', '.join(o['id'] for o in opened[:-1])}"),
        "1: a second look chooses on the test part, and its score is no longer an estimate of anything new",
        (
            Cause("evaluation", "the test part was used to choose"),
            Cause("split", "the data is too small to afford a new test part"),
        ),
        "collect new data for a clean test",
        evidence={"openings": len(opened)},
    )


def val_to_test(config: Config, val: dict[str, float], test: dict[str, float]) -> Finding:
    """The drop from validation to test against what their intervals allow: more than 2.6 standard errors is no chance."""

    def error(score: dict[str, float]) -> float:
        return (score["high"] - score["low"]) / (2 * 1.96)

    sign = -1 if config.resolved_metric in metrics.LOWER_IS_BETTER else 1
    drop = sign * (val["value"] - test["value"])
    allowed = 2.6 * math.hypot(error(val), error(test))
    bad = drop > allowed + 1e-9
    return Finding(
        "validation to test",
        verdict(False, bad),
        f"{config.resolved_metric} {val['value']:.4f} on validation, {test['value']:.4f} on test: a drop of {drop:.4f}",
        f"a drop of at most {allowed:.4f}, 2.6 standard errors of the difference (1 in 100 by chance)",
        (
            Cause(
                "split",
                "the test part is from another time, group or source than validation: expected in a time split, and what deployment will see",
            ),
            Cause("evaluation", "many runs were compared on validation, so the best of them is too good there"),
            Cause("data", "validation holds copies of training rows"),
        ),
        "recipe audit; look at the slices in the report",
        evidence={"drop": drop, "allowed": allowed},
    )


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
