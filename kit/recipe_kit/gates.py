"""What every step rests on: a step that was not done for this data, or that ended in FAIL, stops all that is built on it.

`recipe STEP --force "reason"` goes on all the same. The reason and what it went past stay in the record of that run and in those of
all runs that rest on it, so that every later result shows them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from . import ledger
from .imbalance import handled, unhandled
from .owner.engine.splits import outside_test
from .project import DEPENDS, Project

Record = dict[str, Any]

# Step -> the steps it rests on, in the order in which one does them. "train" and "evaluate" are those of the model at hand.
GATES: dict[str, tuple[str, ...]] = {
    "split": ("audit",),
    **dict.fromkeys(("baseline", "check", "cost", "rerun"), ("audit", "split")),
    **dict.fromkeys(("lr-find", "learning-curve", "cv"), ("audit", "split", "check")),
    **dict.fromkeys(("train", "ablate", "tune"), ("audit", "split", "baseline", "check")),
    "behavior": ("audit", "split", "check", "train"),
    "evaluate": ("audit", "split", "baseline", "check", "train"),
    **dict.fromkeys(("export", "promote"), ("audit", "split", "check", "train", "evaluate")),
}
WHY = {
    "audit": "a fault in the data is in every result built on it",
    "split": "every later step needs parts that are pinned and clean",
    "baseline": "a model means nothing without a number to beat",
    "check": "a silent bug would waste the run",
    "train": "a model whose training failed is worth no test",
    "evaluate": "a model that failed its test is not to be used",
}
# Decided before the first training: a choice made afterwards can be made to please.
PROTOCOL = ("metric", "cost_false_positive", "cost_false_negative", "slices")
HELD = ("baseline", "train", "ablate", "tune")  # steps that hold models against a baseline: rare classes come before
JUDGES = (*HELD, "learning-curve", "cv", "evaluate", "export")  # steps that use the protocol


def enter(project: Project, step: str, model: Record | None = None) -> dict[str, str]:
    """Refuse a step whose way is not clear, unless --force; returns which records it rests on: step -> id.

    model: the record whose model is evaluated, exported or promoted; what was found of its data, split and code counts, whatever
    recipe.toml says by now.
    """
    rests_on: dict[str, str] = {}
    for before in _steps(project, step, model):
        records = standing(project, before, model)
        rests_on |= {before: records[0]["id"]} if records else {}
        for record in records:
            project.inherit(record)
        if found := _problem(project, before, records, model):
            project.overrule(*found)
    if step in HELD and not handled(project.config):
        problem, way_on = unhandled(project.config, outside_test(project))
        if problem and not any(line.startswith(problem) for line in project.forced):  # nor in what it rests on
            project.overrule(problem, way_on)
    if step in JUDGES and (changed := changed_protocol(project)):
        project.overrule(changed, "; put that back, since what is chosen after the results can be chosen to please")
    return rests_on


def _steps(project: Project, step: str, model: Record | None) -> list[str]:
    """The steps that `step` rests on: a plain model needs no checks of a network."""
    plain = model["result"].get("model") != "network" if model else project.task.final_baseline(project.config) != ""
    return [before for before in GATES.get(step, ()) if not (plain and before == "check")]


def standing(project: Project, step: str, model: Record | None = None) -> list[Record]:
    """The records of a step that count now, none where it was not done for this data and these settings.

    An audit is its newest record and the newest reviewed sheet; training and evaluation are those of the model.
    """
    if step == "train":
        return [model] if model else []
    if step == "evaluate":
        return [r for r in project.records(step) if model and r["result"].get("run") == model["id"]][-1:]
    fingerprint = _fingerprint(project, step, model)
    same = project.made_under(step, fingerprint) or from_ledger(project, step, fingerprint)
    if step == "audit":
        whole, reviews = ([r for r in same if ("rows" in r["result"]) is whole] for whole in (True, False))
        return [*whole[-1:], *reviews[-1:]] if whole else []
    return same[-1:]


def from_ledger(project: Project, step: str, fingerprint: dict[str, str]) -> list[Record]:
    """What the ledger says of a step, oldest first, for a clone that came without runs/: enough to pass a gate. Not of a
    baseline, whose scores are needed too."""
    rows = ledger.read(project.ledger) if step in ("audit", "split", "check") else []
    rows = [row for row in rows if row["step"] == step and "fingerprint" in row]
    return [
        {
            **row,
            "findings": [{"check": check, "verdict": "FAIL"} for check in row.get("failed", [])],
            "result": {} if row.get("review") else {"rows": None},
        }
        for row in rows
        if all(row["fingerprint"].get(key) == fingerprint[key] for key in DEPENDS[step])
    ]


def _fingerprint(project: Project, step: str, model: Record | None) -> dict[str, str]:
    """Of the model where there is one; a baseline is judged as recipe.toml says now."""
    return model["fingerprint"] if model and step != "baseline" else project.fingerprint


def _problem(project: Project, step: str, records: list[Record], model: Record | None) -> tuple[str, str] | None:
    """What is wrong with a step, and why that matters with the way on; None where nothing is."""
    command = _command(project, step)
    if not records:
        if step == "evaluate" or (step == "train" and not model):
            return None
        older, now = project.records(step), _fingerprint(project, step, model)
        changed = [k for k in DEPENDS[step] if older and older[-1]["fingerprint"].get(k) != now[k]]
        seen = f"{step} was done before {' and '.join(changed)} changed" if changed else f"{step} has not been done"
        return seen, f", and {WHY[step]}; run: {command}"
    for record in records:
        if record["status"] == "fail":
            failed = ", ".join(f["check"] for f in record["findings"] if f["verdict"] == "FAIL")
            return f"{record['id']} ended in FAIL ({failed})", f", and {WHY[step]}; fix that, then: {command}"
    return None


def _command(project: Project, step: str) -> str:
    """What to type to do a step, with the settings of the command line that it depends on."""
    fields = type(project.config).model_fields
    touching = [
        name
        for name in project.overrides
        if fields[name].json_schema_extra["group"] in DEPENDS.get(step, ())  # type: ignore[index,call-overload,operator]
    ]
    return shlex.join(["recipe", step, *(f"{name}={project.overrides[name]}" for name in touching)])


def changed_protocol(project: Project) -> str:
    """How metric, costs and slices differ from those of the newest training run, in words; '' where they do not."""
    trained = [r for r in project.records("train") if "metrics" in r["result"]]
    if not trained:
        return ""
    then = _protocol(trained[-1]["config"], trained[-1]["result"]["metric"])
    now = _protocol(project.config.model_dump(), project.config.resolved_metric)
    changed = [f"{name} is {now[name]!r} and was {then[name]!r}" for name in PROTOCOL if now[name] != then[name]]
    return f"{', '.join(changed)} when {trained[-1]['id']} was trained" if changed else ""


def _protocol(config: Mapping[str, Any], metric: str) -> dict[str, Any]:
    return {**{name: config.get(name) for name in PROTOCOL}, "metric": metric}
