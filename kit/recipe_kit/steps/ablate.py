"""Take the parts of a run away, one by one: what does not make it worse is not needed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from .. import experiments
from ..checks.context import Context
from ..owner.config import Config
from ..owner.engine.files import read_json
from ..owner.engine.splits import splits
from ..owner.engine.truth import truth_of
from ..owner.errors import UserError
from ..owner.formatting import interval
from ..owner.task import FEATURES
from ..project import Project, Run
from . import train


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Repeat the base run under every seed, then once more under every seed without each part; a table of differences."""
    if args.columns:
        without_columns(project, run, args)
        return
    parts = removable(project.config)
    if not parts:
        raise UserError("nothing can be taken away: no setting with an `off` value is switched on")
    seeds = range(project.config.seed, project.config.seed + (args.seeds or experiments.SEEDS))
    project.say(f"  {len(parts)} parts ({', '.join(parts)}), {len(seeds)} seeds each, the base run included")
    base = train.repeat(project, args, run, seeds)
    prep = read_json(project.root / "runs" / base["id"] / "prep.json", "the preprocessing of a run", "recipe ablate")
    rows = []
    for name, off in parts.items():
        record = train.repeat(project, args, run, seeds, **{name: off})
        difference = experiments.compare(project, record, base, prep)
        rows.append(
            {"setting": name, "from": getattr(project.config, name), "to": off, "run": record["id"], **difference}
        )
    metric = project.config.resolved_metric
    run.result |= {"metric": metric, "base": base["id"], "seeds": list(seeds), "removed": rows}
    project.say(table(metric, rows))


def without_columns(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Train under every seed with all columns, and then without each of the named groups, refitting the preprocessing."""
    config, task = project.config, project.task
    data = splits(project)
    there = data["train"].columns(*FEATURES)
    groups = [[name] for name in there] if args.columns == "all" else [g.split("+") for g in args.columns.split(",")]
    if odd := [name for group in groups for name in group if name not in there]:
        raise UserError(f"--columns {odd[0]!r} is no feature column; there are: {', '.join(there)}")
    seeds = range(config.seed, config.seed + max(args.seeds or experiments.SEEDS, 2))

    def trained(group: list[str]) -> tuple[Context, list[np.ndarray]]:
        roles = {**data["train"].roles, **dict.fromkeys(group, "drop")}
        parts = [replace(data[name], roles=roles) for name in ("train", "val")]
        prep = task.prepare(config, parts[0])
        one, other = (task.examples(config, prep, part) for part in parts)
        of = Context(config, task, prep, data, one, other)
        with train.unbroken(config):
            return of, [train.outputs_of(run, of, seed=seed) for seed in seeds]

    (of, whole), metric, rows = trained([]), config.resolved_metric, []
    truth = truth_of(config, data["val"], of.val)
    for group in groups:
        found = experiments.difference(config, of.prep, trained(group)[1], whole, truth)
        rows.append({"setting": " + ".join(group), **found, "verdict": experiments.verdict(metric, found)})
    run.result |= {"metric": metric, "base": "", "seeds": list(seeds), "removed": rows}
    project.say(table(metric, rows))


def removable(config: Config) -> dict[str, Any]:
    """Settings that are switched on and have an `off` value: setting -> that value."""
    fields = type(config).model_fields.items()
    off = {name: field.json_schema_extra.get("off") for name, field in fields}  # type: ignore[union-attr]
    return {name: value for name, value in off.items() if value is not None and getattr(config, name) != value}


def table(metric: str, rows: list[dict[str, Any]]) -> str:
    """One line a part: what its removal did, and what that means."""
    meaning = {"adopt": "better without it", "reject": "needed", "undecided": "no difference beyond the noise"}
    lines = [f"  {'without':<32} {metric} against the base run [95 %]"]
    for row in rows:
        change = row["setting"] + (f" {row['from']!r} -> {row['to']!r}" if "to" in row else "")
        lines.append(f"  {change:<32} {interval(row, '+')}  {meaning[row['verdict']]}")
    return "\n".join(lines)
