"""Open the test part once, and say what the model is worth there: with intervals, against the best baseline, calibrated."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from scipy.stats import norm

from ..checks.finding import Finding, finding
from ..checks.wiring import test_apart
from ..config import Config
from ..engine import calibration, lock, metrics
from ..engine.breakdown import confusion, per_class, slices
from ..engine.fitted import Fitted, load_fitted, load_rival, weights_hash
from ..engine.loop import query_of
from ..engine.parts import open_test, parts
from ..engine.project import Project, Run
from ..errors import UserError
from ..task import Data, Examples
from .baseline import trivial


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Choose the run, prepare all that needs no test data, write the opening down, then look."""
    run.held.enter_context(lock.alone(project))
    pending = lock.interrupted(project)  # refuses, before any work
    record, compared = choose(project, args.run or (pending["model"] if pending else ""))
    data = parts(project)
    model = load_fitted(project, record)
    baseline = project.require("baseline", "a test score means little without one")
    rival = load_rival(project, baseline, data["train"]) if baseline else None
    val_outputs, val = model.outputs(data["val"])
    run.add(replayed(project, record, val_outputs))

    weights = weights_hash(project.root / "runs" / record["id"])
    opened = lock.open_once(project, run.id, record["id"], weights)
    test_data = open_test(project)
    outputs, test = model.outputs(test_data)

    run.save_array("outputs.npy", outputs)
    run.save_array("y.npy", test.y.cpu().numpy())
    run.result |= {"run": record["id"], "model": model.name, "openings": opened, "compared": compared}
    score(project, run, model, outputs, test)
    run.result["ledger"]["opening"] = opened[-1]["id"]
    run.add(opened_once(lock.of_this_data(project, opened)))
    run.add(test_apart(project.config, data, test_data))
    if baseline:
        theirs = rival.outputs(test_data)[0] if rival else _trivial_outputs(project, baseline, model, data, len(test))
        against(project, run, model.prep, (outputs, theirs), test, baseline["result"]["best"])
    metric = project.config.resolved_metric
    run.add(val_to_test(project.config, record["result"]["metrics"][metric], run.result["metrics"][metric], compared))
    if model.prep["classes"]:
        truths = [examples.y.cpu().numpy().astype(int) for examples in (val, test)]
        run.result |= classification(project.config, model.prep, (val_outputs, truths[0]), (outputs, truths[1]))
        run.add(temperature_of_validation(project, record, model.prep, run.result["temperature"]))
    run.result["slices"] = slices(project.config, model.prep, test_data, outputs, test.y.cpu().numpy())


def chosen(project: Project, args: argparse.Namespace) -> dict[str, Any]:
    """The training run that `run` is going to evaluate."""
    pending = lock.interrupted(project)
    return choose(project, args.run or (pending["model"] if pending else ""))[0]


def replayed(project: Project, record: dict[str, Any], outputs: np.ndarray) -> Finding:
    """The stored model must say of the validation rows what it said when it was trained: one batch, from end to end."""
    before = np.load(project.root / "runs" / record["id"] / "outputs.npy", allow_pickle=False)
    same = before.shape == outputs.shape
    apart = float(np.abs(before - outputs).max() / max(np.abs(before).max(), 1e-3)) if same else math.inf
    return finding(
        "same outputs as in training",
        f"outputs on validation differ by {apart:.1e} of their size from those that training wrote down",
        fail=apart > (1e-2 if project.config.precision == "bf16" else 1e-3),
        evidence={"difference": apart},
    )


def temperature_of_validation(project: Project, record: dict[str, Any], prep: dict[str, Any], heat: float) -> Finding:
    """The temperature in use against one fitted on the validation outputs that training wrote down: never on the test part."""
    outputs, y = (
        np.load(project.root / "runs" / record["id"] / f"{n}.npy", allow_pickle=False) for n in ("outputs", "y")
    )
    own = calibration.temperature(project.config, prep, outputs, y.astype(int))
    return finding(
        "temperature of validation",
        f"temperature {heat:.4f}, on the validation outputs of the training run {own:.4f}",
        fail=not math.isclose(heat, own, rel_tol=0.01),
        evidence={"used": heat, "validation": own},
    )


def choose(project: Project, wanted: str) -> tuple[dict[str, Any], int]:
    """The finished training run to evaluate, and how many runs on this data and split were compared on validation.

    It is the named one, else the best on validation.
    """
    records = [r for r in project.records("train") if "metrics" in r["result"]]
    metric = project.config.resolved_metric
    current = [r for r in records if all(r["fingerprint"][k] == project.fingerprint[k] for k in ("data", "split"))]
    usable = [r for r in current if metric in r["result"]["metrics"]]
    compared = len(usable) + trials(project)
    if wanted:
        return _named(project, records, wanted), compared
    if not usable:
        raise UserError("no finished training run for this data and split; run: recipe train")
    best = usable[0]
    for record in usable[1:]:
        if metrics.better(
            metric, record["result"]["metrics"][metric]["value"], best["result"]["metrics"][metric]["value"]
        ):
            best = record
    project.say(f"  {best['id']} is the best of {len(usable)} runs on validation ({metric})")
    return best, compared


def trials(project: Project) -> int:
    """Tuning trials that came to their end on this data and split: they were compared on validation too."""
    now = project.fingerprint
    tuned = [r for r in project.records("tune") if all(r["fingerprint"][k] == now[k] for k in ("data", "split"))]
    stages = [pair for record in tuned for pair in record["result"].get("stages", {}).items()]
    ended = [(name, trial) for name, found in stages for trial in found if trial["state"] == "COMPLETE"]
    return len(
        {(name, trial["number"], str(trial["params"])) for name, trial in ended}
    )  # a study goes on in later runs


def _named(project: Project, records: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
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


def score(project: Project, run: Run, model: Fitted, outputs: np.ndarray, test: Examples) -> None:
    """Every metric on the test part, into the result."""
    metric = project.config.resolved_metric
    scores = metrics.summary(project.config, model.prep, outputs, test.y.cpu().numpy(), query_of(test))
    run.result |= {"metric": metric, "rows": len(outputs), "metrics": scores}
    run.result["ledger"] = {"metric": metric, "model": model.name, **scores[metric]}
    project.say(
        f"  {run.result['run']} ({model.name}) on {len(outputs):,} test rows: {metric} {_interval(scores[metric])}"
    )


def _trivial_outputs(
    project: Project, baseline: dict[str, Any], model: Fitted, data: dict[str, Data], n: int
) -> np.ndarray:
    """Outputs [n, k] of the best baseline where it is one that ignores the input."""
    y = project.task.examples(model.config, model.prep, data["train"]).y.cpu().numpy()
    return trivial(project.config, model.prep, y, n)[baseline["result"]["best"]]


def against(
    project: Project, run: Run, prep: dict[str, Any], outputs: tuple[np.ndarray, np.ndarray], test: Examples, name: str
) -> None:
    """The best baseline on the same test rows and the paired difference, into the result. outputs: ours and theirs."""
    config, truth = project.config, (test.y.cpu().numpy(), query_of(test))
    difference = metrics.difference(config, prep, *outputs, *truth)
    theirs = metrics.summary(config, prep, outputs[1], *truth)
    run.result["baseline"] = {"name": name, "metrics": theirs, "difference": difference}
    metric = config.resolved_metric
    project.say(f"  {name} on the same rows: {metric} {_interval(theirs[metric])}; difference {_interval(difference)}")


def classification(
    config: Config, prep: dict[str, Any], val: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Per-class table, confusion, calibration before and after a temperature from validation, and the threshold."""
    outputs, truth = test
    heat = calibration.temperature(config, prep, *val)
    guess = metrics.probabilities(config, prep, outputs).argmax(axis=1)
    table = confusion(guess, truth, len(prep["classes"]))
    result: dict[str, Any] = {
        "classes": prep["classes"],
        "confusion": table.tolist(),
        "per_class": per_class(table, prep["classes"]),
        "temperature": heat,
        "calibration": {
            "before": calibration.describe(config, prep, outputs, truth),
            "after": calibration.describe(config, prep, outputs / heat, truth),
        },
    }
    if config.task == "binary":
        said = [metrics.probabilities(config, prep, part[0] / heat)[:, 1] for part in (val, test)]
        result["threshold"] = threshold(config, (said[0], val[1]), (said[1], truth))
    return result


def threshold(
    config: Config, val: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """The cheapest threshold on validation, and what it costs on test. Each part: positive probability [n], truth [n]."""
    cut = calibration.cheapest_threshold(config, *val)
    guess, half = ((test[0] >= at).astype(int) for at in (cut, 0.5))
    return {
        "value": cut,
        "costs": [config.cost_false_positive, config.cost_false_negative],
        "cost": float(metrics.costs(config, guess, test[1]).mean()),
        "cost_at_half": float(metrics.costs(config, half, test[1]).mean()),
        "confusion": confusion(guess, test[1], 2).tolist(),
    }


def opened_once(opened: list[dict[str, Any]]) -> Finding:
    """Whether this is the first look at the test part of this data. opened: its openings."""
    again = len(opened) > 1
    earlier = f"; earlier: {', '.join(o['id'] for o in opened[:-1])}" if again else ""
    return finding(
        "test opened once",
        f"opening number {len(opened)} of this data{earlier}",
        warn=again,
        evidence={"openings": len(opened)},
    )


def val_to_test(config: Config, val: dict[str, float], test: dict[str, float], compared: int = 1) -> Finding:
    """The drop from validation to test against what chance and choosing the best of `compared` runs allow.

    Chance: 2.6 standard errors. Choosing: the best of m equally good runs lies above their mean by the expected maximum
    of m normal draws (Blom 1958) times the standard error; an upper bound, since runs err on the same validation rows.
    """

    def error(score: dict[str, float]) -> float:
        return (score["high"] - score["low"]) / (2 * 1.96)

    metric = config.resolved_metric
    drop = (-1 if metric in metrics.LOWER_IS_BETTER else 1) * (val["value"] - test["value"])
    m = max(compared, 1)
    chosen = float(norm.ppf((m - 0.375) / (m + 0.25))) * error(val)
    allowed = chosen + 2.6 * math.hypot(error(val), error(test))
    of_choice = f"; the best of {m} runs is expected to look up to {chosen:.4f} too good on validation" if m > 1 else ""
    return finding(
        "validation to test",
        f"{metric} {val['value']:.4f} on validation, {test['value']:.4f} on test: a drop of {drop:.4f}{of_choice}",
        warn=drop > allowed + 1e-9,
        why="chosen" if chosen > error(val) else "causes",
        evidence={"drop": drop, "allowed": allowed, "compared": compared, "chosen": chosen},
    )


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
