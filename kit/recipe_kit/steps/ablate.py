"""Take the parts of a run away, one by one: what does not make it worse is not needed."""

from __future__ import annotations

import argparse
from typing import Any

from .. import experiments
from ..owner.config import Config
from ..owner.engine.files import read_json
from ..owner.errors import UserError
from ..owner.formatting import interval
from ..project import Project, Run
from . import train


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Repeat the base run under every seed, then once more under every seed without each part; a table of differences."""
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
        change = f"{row['setting']} {row['from']!r} -> {row['to']!r}"
        lines.append(f"  {change:<32} {interval(row, '+')}  {meaning[row['verdict']]}")
    return "\n".join(lines)
