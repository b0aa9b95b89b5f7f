"""Look at the data before modeling: labels, balance, leaks, duplicates, odd values. Nothing is changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

from .. import versions
from ..checks import data as columns
from ..checks import duplicates, identifiers, labels, leakage, reading, review, target_leaks, units, values
from ..checks.check_result import CheckResult, check_result
from ..checks.independence import undeclared_parts, who_and_when
from ..checks.of_kind import of_kind
from ..owner.engine.splits import MANIFEST, outside_test
from ..owner.errors import UserError
from ..owner.task import Data
from ..project import Project, Run

CHECKS = (
    *reading.CHECKS, *columns.CHECKS, *values.CHECKS, *units.CHECKS, *duplicates.CHECKS, who_and_when,
    undeclared_parts, identifiers.identifiers, *leakage.CHECKS, target_leaks.made_from_target, labels.rows_of_one_thing,
)  # fmt: skip
# Those that see every row also where the rows are larger than memory, and the others see a sample.
OF_EVERY_ROW = (columns.balance, columns.cardinality, duplicates.exact)


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Read a reviewed sheet back, or run every check and write a new sheet and a queue of label suspects."""
    config, whole = project.config, rows_to_look_at(project)
    if args.review:
        run.add(reviewed := review.read_sheet(config, whole, args.review), show=True)
        run.add(columns.one_percent([*found_before(project, whole=True), reviewed]))
        run.result["ledger"] = {"review": True}
        return
    data = whole.sample()
    project.say(
        f"  {len(whole):,} rows, target {data.target!r}; roles: "
        + ", ".join(f"{name} {role}" for name, role in data.roles.items())
    )
    if versions.version(project).get("dvc") == versions.CHANGED:
        project.say(f"  {config.data} is not the file that DVC keeps: dvc add {config.data}, or dvc checkout")
    if len(data) < len(whole):
        run.add(sampled(data, whole))
    for check in CHECKS:
        run.timed(accepting(config.acknowledge, check), config, whole if check in OF_EVERY_ROW else data)
    judged = labels.judge(config, data, project.task.simple_features)
    run.timed(accepting(config.acknowledge, labels.learnable), config, data, judged)
    run.timed(accepting(config.acknowledge, labels.neighbors), config, data, judged)
    run.timed(accepting(config.acknowledge, labels.suspects), config, data, judged, run.folder / "suspects.csv")
    for found in of_kind(config, "audit")(config, data, project.adopted is not None):
        run.add(acknowledge(config.acknowledge, found))
    with_review = [*run.findings, *found_before(project, whole=False)]
    run.add(acknowledge(config.acknowledge, columns.one_percent(with_review)))
    sheet = run.folder / "review.csv"
    n = review.write_sheet(config, data, sheet)
    name = sheet.relative_to(project.root)
    project.say(f"  {n} rows to review by hand: fill in {name}, then: recipe audit --review {name}")
    unlabeled = whole.unlabeled.height if whole.unlabeled is not None else 0
    run.result |= {"rows": len(whole), "unlabeled": unlabeled, "roles": data.roles, "review": n}


def found_before(project: Project, whole: bool) -> list[CheckResult]:
    """What the newest audit of these data found (`whole`), or the newest sheet that was reviewed; without their sum."""
    records = [r for r in project.made_under("audit", project.fingerprint) if ("rows" in r["result"]) is whole]
    found = [CheckResult(**{**finding, "causes": ()}) for record in records[-1:] for finding in record["findings"]]
    return [finding for finding in found if finding.check != columns.TOTAL]


def sampled(data: Data, whole: Data) -> CheckResult:
    """That most rows were not looked at, and how rare a thing may be to stay unseen: at 3 / n, one chance in twenty."""
    rare = 3 / len(data)
    return check_result(
        "rows looked at",
        f"{len(data):,} random ones of {len(whole):,}; every row for class balance, high cardinality and duplicate rows",
        advise=True,
        evidence={"looked": len(data), "rows": len(whole)},
        rare=f"{rare * len(whole):,.0f}",
        more=10 * len(data),
    )


def rows_to_look_at(project: Project) -> Data:
    """Everything before there is a split; afterwards train and validation only, so that the test part stays unseen."""
    if not (project.root / MANIFEST).exists():
        return project.data
    try:
        return outside_test(project)
    except UserError:  # a split made for other data or settings is void, and a new one will be drawn from all rows
        return project.data


def accepting(accepted: list[str], check: Callable[..., CheckResult]) -> Callable[..., CheckResult]:
    """The check, with its finding accepted when the config acknowledges it by name."""
    return lambda *args: acknowledge(accepted, check(*args))


def acknowledge(accepted: list[str], finding: CheckResult) -> CheckResult:
    """A failed check that the config acknowledges by name passes, and says so."""
    if finding.verdict in ("WARN", "FAIL") and finding.check in accepted:
        return replace(finding, verdict="PASS", observed=f"acknowledged in recipe.toml: {finding.observed}", share=0.0)
    return finding
