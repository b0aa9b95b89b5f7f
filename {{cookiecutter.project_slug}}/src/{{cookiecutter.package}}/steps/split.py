"""Part the rows into train, validation and test, once, before anything learns; pin the parts in split.json."""

from __future__ import annotations

import argparse

from ..checks import split as checks
from ..engine.parts import MANIFEST, PARTS, assign, split_hash, write_manifest
from ..engine.project import Project, Run
from ..errors import UserError


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Refuse to void an opened test by accident; check independence; assign; check that the parts are clean; pin them."""
    config, data = project.config, project.data
    path = project.root / MANIFEST
    before = path.read_bytes() if path.exists() else b""
    independence = checks.independence(config, data)
    run.add(independence)
    if independence.verdict == "FAIL" and not project.because:
        return
    part = assign(config, data)
    for check in checks.CHECKS:
        run.timed(check, config, data, part)
    if (project.root / "TEST_OPENED.json").exists() and not project.because:
        raise UserError(
            'the test part was opened already (TEST_OPENED.json); a new split needs --because "your reason", which the ledger keeps'
        )
    pinned = write_manifest(project, part)
    if before and path.read_bytes() != before:
        project.say("  the split changed: baselines, checks and runs made before no longer count")
    sizes = {name: pinned["parts"][name]["rows"] for name in PARTS}
    project.say(
        f"  {pinned['kind']}: "
        + ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
        + f" -> {MANIFEST} (commit it)"
    )
    run.result |= {"kind": pinned["kind"], "sizes": sizes, "split": split_hash(pinned), "parts": pinned["parts"]}
