"""Look at the data before modelling: labels, balance, leaks, duplicates, odd values. Nothing is changed."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..checks import data as data_checks
from ..checks import labels, leakage
from ..checks.finding import Finding
from ..engine.parts import MANIFEST, parts
from ..engine.project import Project, Run
from ..errors import UserError
from ..task import Data


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Read a reviewed sheet back, or run every check and write a new sheet and a queue of label suspects."""
    if args.review:
        run.add(labels.read_sheet(project.config, args.review))
        return
    config, data = project.config, rows_to_look_at(project)
    project.say(
        f"  {len(data):,} rows, target {data.target!r}; roles: "
        + ", ".join(f"{name} {role}" for name, role in data.roles.items())
    )
    features = project.task.simple_features(config, data)
    for check in (*data_checks.CHECKS, *leakage.CHECKS):
        run.timed(accepting(config.acknowledge, check), config, data)
    run.timed(accepting(config.acknowledge, labels.learnable), config, data, features)
    run.timed(accepting(config.acknowledge, labels.suspects), config, data, features, run.folder / "suspects.csv")
    for finding in project.task.audit(config, data):
        run.add(accept(config.acknowledge, finding))
    run.add(accept(config.acknowledge, data_checks.one_percent(run.findings)))
    sheet = run.folder / "review.csv"
    n = labels.write_sheet(config, data, sheet)
    project.say(
        f"  {n} rows to review by hand: fill in {sheet.relative_to(project.root)}, then: recipe audit --review {sheet.relative_to(project.root)}"
    )
    run.result |= {
        "rows": len(data),
        "unlabelled": data.unlabelled.height if data.unlabelled is not None else 0,
        "roles": data.roles,
        "review": n,
    }


def rows_to_look_at(project: Project) -> Data:
    """Everything before there is a split; afterwards train and validation only, so that the test part stays unseen."""
    if not (project.root / MANIFEST).exists():
        return project.data
    try:
        seen = parts(project)
    except UserError:  # a split made for other data: it is void, and a new one will be drawn from all rows
        return project.data
    import polars as pl

    return replace(project.data, frame=pl.concat([seen["train"].frame, seen["val"].frame]))


def accepting(accepted: list[str], check):  # type: ignore[no-untyped-def]
    """The check, with its finding accepted when the config acknowledges it by name."""
    return lambda *args: accept(accepted, check(*args))


def accept(accepted: list[str], finding: Finding) -> Finding:
    """A red finding that the config acknowledges by name passes, and says so."""
    if finding.verdict in ("WARN", "FAIL") and finding.check in accepted:
        return replace(finding, verdict="PASS", saw=f"acknowledged in recipe.toml: {finding.saw}", share=0.0)
    return finding
