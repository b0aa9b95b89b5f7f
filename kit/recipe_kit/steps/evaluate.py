"""Open the test part once, and say what the model is worth there: with intervals, against the best baseline, calibrated.

Four stages: prepare, verify, open, score. All that can be refused is refused before the opening is written down: models are
loaded, and the rows of the test part encoded and predicted with their labels hidden. After it only labels are read and scores
computed; what a crash cuts short there is finished by the same command.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from .. import access
from ..checks.check_result import CheckResult, check_result
from ..checks.pipeline import test_apart
from ..owner.config import Config
from ..owner.engine import calibration, metrics
from ..owner.engine.baseline import trivial
from ..owner.engine.evaluate import Judged, evaluate, judged
from ..owner.engine.fitted import Fitted, load_competitor, load_fitted, weights_hash
from ..owner.engine.splits import PARTS, hidden, open_test, read_manifest, splits
from ..owner.engine.stop import alone
from ..owner.engine.truth import truth_of
from ..owner.errors import UserError
from ..owner.formatting import interval, number
from ..owner.task import Data
from ..project import Project, Run
from .train import beats


@dataclass
class Prepared:
    """All that is needed to score. test: rows of the test part with their labels hidden. apart: whether, by hashes of whole rows,
    they are others than those of training and validation."""

    record: dict[str, Any]
    compared: int
    model: Fitted
    data: dict[str, Data]
    test: Data
    val: metrics.Truth
    ours: Judged
    theirs: Judged | None
    apart: CheckResult


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Prepare and verify, write the opening down, then look."""
    run.held.enter_context(alone(project.root))  # no second evaluation meanwhile
    pending = access.interrupted(project)  # refuses, before any work
    ready = prepare(project, args.run or (pending["model"] if pending else ""))
    verify(project, run, ready)
    weights = weights_hash(project.root / "runs" / ready.record["id"])
    opened = access.open_once(project, run.id, ready.record["id"], weights)
    score(project, run, ready, opened)


def chosen(project: Project, args: argparse.Namespace) -> dict[str, Any]:
    """The training run that `run` is going to evaluate."""
    pending = access.interrupted(project)
    return choose(project, args.run or (pending["model"] if pending else ""))[0]


def prepare(project: Project, wanted: str) -> Prepared:
    """Choose the run, load its model and the best baseline, and predict validation and the test part, whose labels are hidden."""
    record, compared = choose(project, wanted)
    project.say(f"  {record['id']}{'' if wanted else f' is the best of {compared} on validation'}")
    data, model = splits(project), load_fitted(project, record)
    rows = open_test(project)
    apart, test = test_apart(project.config, data, rows), hidden(rows, data["train"])
    outputs, examples = model.outputs(data["val"])
    val = truth_of(project.config, data["val"], examples)
    ours = judged(project.config, model, (outputs, model.outputs(test)[0]), val)
    baseline = project.current("baseline")
    theirs = competitor(project, baseline, model, data, (val, test)) if baseline else None
    return Prepared(record, compared, model, data, test, val, ours, theirs, apart)


def competitor(
    project: Project, baseline: dict[str, Any], model: Fitted, data: dict[str, Data], known: tuple[metrics.Truth, Data]
) -> Judged:
    """The best baseline, judged as the model is. known: truth of validation, and the test part without labels."""
    val, test = known
    simple = load_competitor(project, baseline, data["train"])
    if simple:
        outputs = simple.outputs(data["val"])[0], simple.outputs(test)[0]
        return judged(project.config, simple, outputs, val)
    y, name = project.task.examples(model.config, model.prep, data["train"]).y.cpu().numpy(), baseline["result"]["best"]
    constant = tuple(trivial(project.config, model.prep, y, n)[name] for n in (len(val.y), len(test)))
    return judged(project.config, Fitted(name, project.task, model.config, model.prep), constant, val)  # type: ignore[arg-type]


def verify(project: Project, run: Run, ready: Prepared) -> None:
    """Everything that could still go wrong. Raises UserError for what no score could be computed of, and, unless --force, for
    whatever would make the score worthless."""
    if missing := not_scorable(project, ready):
        raise UserError(f"the test part stays shut: {missing}")
    before = len(run.findings)
    run.add(replayed(project, ready.record, ready.ours.val))
    run.add(ready.apart)
    if failed := [one.check for one in run.findings[before:] if one.verdict == "FAIL"]:
        project.overrule(f"the test part stays shut: {', '.join(failed)} ended in FAIL", "; fix that first")


def not_scorable(project: Project, ready: Prepared) -> str:
    """Why the test part could not be scored, from what split.json says of its labels and from the outputs; '' if it could."""
    config, result = project.config, ready.record["result"]
    held = {name: part.get("classes") or {} for name, part in read_manifest(project)["parts"].items()}
    known = ready.model.prep["classes"]
    if unseen := [f"{name} of {part}" for part in PARTS for name in held[part] if known and name not in known]:
        return f"training has no row of class {', '.join(unseen)}; leave it out (drop_classes) or split again: recipe split"
    metric = config.resolved_metric
    if known and len(held["test"]) < 2 and not metrics.of_one_kind(config):
        return f"all its rows are {next(iter(held['test']), 'of one class')}, where {metric} has no value; split again: recipe split"
    if metric not in result["metrics"]:
        return f"{ready.record['id']} has no {metric} on validation to compare with; train again: recipe train"
    if odd := [name for name in config.slices if name not in ready.test.frame.columns]:
        return f"slices names column {odd[0]!r}, which the data does not have"
    for one in (ready.ours, *([ready.theirs] if ready.theirs else [])):
        if one.test.shape != (len(ready.test), ready.ours.val.shape[1]):
            return f"{one.name} gives outputs of shape {one.test.shape} for {len(ready.test):,} rows"
        if bad := int((~np.isfinite(one.test)).any(axis=1).sum()):
            return f"{one.name} gives no finite output for {bad:,} of {len(ready.test):,} rows; look at the data: recipe audit"
    return ""


def score(project: Project, run: Run, ready: Prepared, opened: list[dict[str, Any]]) -> None:
    """Read the labels and compute what the record keeps; nothing here refuses."""
    config, prep, ours = project.config, ready.model.prep, ready.ours
    test = open_test(project)
    truth = truth_of(config, test, project.task.examples(ready.model.config, prep, test))
    run.result |= {"run": ready.record["id"], "openings": opened, "compared": ready.compared}
    run.result |= evaluate(config, prep, ours, test, truth, run.folder)
    metric = config.resolved_metric
    scores = run.result["metrics"][metric]
    run.result["ledger"] = {"metric": metric, "model": ours.name, **scores, "opening": opened[-1]["id"]}
    project.say(f"  {ready.record['id']} ({ours.name}) on {len(test):,} test rows: {metric} {interval(scores)}")
    run.add(opened_once(access.of_this_data(project, opened)))
    if ready.theirs:
        against(project, run, prep, (ours, ready.theirs), truth)
    run.add(val_to_test(config, ready.record["result"]["metrics"][metric], scores, ready.compared))
    if prep["classes"]:
        run.add(temperature_of_validation(project, ready.record, prep, run.result["temperature"]))


def replayed(project: Project, record: dict[str, Any], outputs: np.ndarray) -> CheckResult:
    """The stored model must say of the validation rows what it said when it was trained: one batch, from end to end."""
    before = np.load(project.root / "runs" / record["id"] / "outputs.npy", allow_pickle=False)
    same = before.shape == outputs.shape
    apart = float(np.abs(before - outputs).max() / max(np.abs(before).max(), 1e-3)) if same else math.inf
    return check_result(
        "same outputs as in training",
        f"outputs on validation differ by {apart:.1e} of their size from those that training wrote down",
        fail=apart > (1e-2 if project.config.precision == "bf16" else 1e-3),
        evidence={"difference": apart},
    )


def temperature_of_validation(
    project: Project, record: dict[str, Any], prep: dict[str, Any], temperature: float
) -> CheckResult:
    """The temperature in use against one fitted on the validation outputs that training wrote down: never on the test part."""
    outputs, y = (
        np.load(project.root / "runs" / record["id"] / f"{n}.npy", allow_pickle=False) for n in ("outputs", "y")
    )
    own = calibration.temperature(outputs, y.astype(int))
    return check_result(
        "temperature of validation",
        f"temperature {temperature:.4f}, on the validation outputs of the training run {own:.4f}",
        fail=not math.isclose(temperature, own, rel_tol=0.01),
        evidence={"used": temperature, "validation": own},
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
            " put its settings back, or run: recipe train"
        )
    return found[0]


def against(
    project: Project, run: Run, prep: dict[str, Any], both: tuple[Judged, Judged], truth: metrics.Truth
) -> None:
    """The best baseline on the same test rows and the paired difference, into the result. both: ours and theirs."""
    config, (ours, theirs) = project.config, both
    decided = (ours.decided, theirs.decided)
    difference = metrics.difference(config, prep, ours.test, theirs.test, truth, decided=decided)
    scores = metrics.summary(config, prep, theirs.test, truth, decided=theirs.decided)
    run.result["baseline"] = {"name": theirs.name, "metrics": scores, "difference": difference}
    metric = config.resolved_metric
    told = f"{metric} {interval(scores[metric])}; difference {interval(difference)}"
    project.say(f"  {theirs.name} on the same rows: {told}")
    if ours.name != theirs.name:  # where the final model is that baseline there is nothing to beat
        run.add(beats(metric, theirs.name, difference, "test"), show=True)


def opened_once(opened: list[dict[str, Any]]) -> CheckResult:
    """Whether this is the first look at the test part of this data. opened: its openings."""
    again = len(opened) > 1
    earlier = f"; earlier: {', '.join(o['id'] for o in opened[:-1])}" if again else ""
    return check_result(
        "test access",
        f"opening number {len(opened)} of this data{earlier}",
        warn=again,
        evidence={"openings": len(opened)},
    )


def val_to_test(config: Config, val: dict[str, float], test: dict[str, float], compared: int = 1) -> CheckResult:
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
    of_choice = (
        f"; the best of {m} runs is expected to look up to {number(chosen)} too good on validation" if m > 1 else ""
    )
    return check_result(
        "validation to test",
        f"{metric} {number(val['value'])} on validation, {number(test['value'])} on test: a drop of {number(drop)}{of_choice}",
        warn=not drop <= allowed + 1e-9,  # a score that is not a number agrees with nothing
        why="chosen" if chosen > error(val) else "causes",
        evidence={"drop": drop, "allowed": allowed, "compared": compared, "chosen": chosen},
    )
