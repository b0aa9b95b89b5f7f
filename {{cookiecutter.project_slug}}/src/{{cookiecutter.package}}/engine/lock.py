"""The test part opens once. TEST_OPENED.json says when and for which run, and the ledger says it too.

What is detected: a second opening, an edited file (its hash), a deleted file (the ledger still has the line), an edited
or shortened ledger with the file intact. What is not: someone who reads the data file by hand, copies the whole folder
before opening, or deletes file, ledger line and git history together.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from ..errors import UserError
from . import ledger
from .files import read_json, to_json, write_atomic
from .project import Project, environment

LOCK = "TEST_OPENED.json"


def openings(project: Project) -> list[dict[str, Any]]:
    """All openings so far, oldest first. Raises UserError when the file and the ledger contradict each other."""
    path = project.root / LOCK
    rows = [row for row in ledger.read(project.ledger) if row["step"] == "open_test"]
    if not path.exists():
        if rows:
            raise UserError(
                f"{LOCK} is gone, but the ledger says that the test part was opened on {rows[-1]['started']} for {rows[-1]['id']}; restore it from git"
            )
        return []
    content = read_json(path, "the record that the test part was opened", "restore it from git")
    if not isinstance(content, dict) or content.get("hash") != _hash(content.get("openings")):
        raise UserError(f"{LOCK} was edited: its hash does not fit; restore it from git")
    told = [{key: row.get(key) for key in opening} for row, opening in zip(rows, content["openings"], strict=False)]
    if len(rows) != len(content["openings"]) or told != content["openings"]:
        raise UserError(f"{LOCK} and the ledger disagree on when the test part was opened; restore both from git")
    return list(content["openings"])


def open_once(project: Project, run_id: str, model: str) -> list[dict[str, Any]]:
    """Write down that the test part is opened now, on disk before anything is computed. Returns all openings.

    Raises UserError when it was opened before, unless --because gives a reason; the reason stays in the record.
    """
    before = openings(project)
    if before and not project.because:
        last = before[-1]
        raise UserError(
            f"the test part was opened on {last['started']} for {last['model']} ({last['id']}); a second look is no test."
            ' Bring new data, or override with --because "your reason", which marks every later result'
        )
    opening = {
        "id": run_id,
        "model": model,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": project.fingerprint["data"],
        "split": project.fingerprint["split"],
        "because": project.because,
        "commit": environment(project.root)["commit"],
    }
    ledger.append(project.ledger, {"step": "open_test", "status": "pass", "overrides": {}, "seconds": 0.0, **opening})
    everything = [*before, opening]
    write_atomic(project.root / LOCK, to_json({"openings": everything, "hash": _hash(everything)}) + "\n")
    return everything


def _hash(entries: Any) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
