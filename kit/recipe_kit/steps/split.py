"""Part the rows into train, validation and test, once, before anything learns; pin the parts in split.json."""

from __future__ import annotations

import argparse
from typing import Any

from ..checks import split as checks
from ..checks.independence import independence
from ..owner.engine.splits import MANIFEST, PARTS, assign, manifest, read_manifest, split_hash, write_manifest
from ..project import Project, Run

OPENED = "TEST_ACCESS.json"


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Check independence; assign; check that the parts are clean; refuse to void an opened test by accident; pin them."""
    config, data = project.config, project.data
    answer = independence(config, data.sample())
    run.add(answer)
    if answer.verdict == "FAIL" and not project.force:
        return
    part = assign(config, data)
    for check in checks.CHECKS:
        run.timed(check, config, data, part)
    content = manifest(project, part)
    if voids(project, content):
        _warn(project, run)
    write_manifest(project, part)
    sizes = {name: content["parts"][name]["rows"] for name in PARTS}
    cut = f", {' and '.join(content['cut'])} cut from train ({config.drawn_kind})" if content["cut"] else ""
    project.say(
        f"  {content['kind']}: "
        + ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
        + f"{cut} -> {MANIFEST} (commit it)"
    )
    run.result |= {"kind": content["kind"], "sizes": sizes, "split": split_hash(content), "parts": content["parts"]}


def voids(project: Project, content: dict[str, Any]) -> bool:
    """Whether `content` pins other parts, or other data, than the split that is there now."""
    if not (project.root / MANIFEST).exists():
        return False
    before = read_manifest(project)
    return (before.get("data"), split_hash(before)) != (content["data"], split_hash(content))


def _warn(project: Project, run: Run) -> None:
    """Say how many earlier runs no longer count. Raises UserError when the test part was opened, unless --force."""
    if (project.root / OPENED).exists():
        project.overrule(f"the test part was opened already ({OPENED}), and this is another split")
    ran = {step: len(project.records(step)) for step in ("baseline", "check", "lr_find", "train")}
    words = ", ".join(f"{n} {step.replace('_', '-')}" for step, n in ran.items() if n) or "none yet"
    project.say(f"  the split changed: {sum(ran.values())} earlier runs no longer count ({words})")
    run.result["voided"] = ran
