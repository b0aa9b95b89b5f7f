"""The ledger held against the run folders: a line that a crash lost is added, a line that says something else is named."""

from __future__ import annotations

import json

from . import ledger
from .owner.engine.files import to_json
from .project import Project, ledger_row
from .runs import read_record


def complete(project: Project) -> None:
    """Add the line of every finished run that the ledger does not know: a crash came between the record and the line,
    or somebody cut lines off the end. Says so."""
    rows = ledger.read(project.ledger)
    ledger.require_fields(rows)
    known = {row["id"] for row in rows}
    for path in sorted((project.root / "runs").glob("[0-9]*-*/record.json")):
        if path.parent.name not in known:
            ledger.append(project.ledger, ledger_row(read_record(path)))
            project.say(f"  the ledger had no line for {path.parent.name}, which is finished; it is added")


def contradictions(project: Project) -> list[str]:
    """One sentence for every line whose run folder says something else; a chain of hashes can be made anew, folders
    are one more place to forge. Runs whose folders are gone cannot be compared."""
    found = []
    for row in ledger.read(project.ledger):
        path = project.root / "runs" / str(row.get("id")) / "record.json"
        if row.get("step") == "open_test" or not path.is_file():
            continue
        told = json.loads(to_json(ledger_row(read_record(path))))
        if told["started"] == row.get("started") and (odd := [k for k, v in told.items() if row.get(k) != v]):
            both = f"the ledger says {odd[0]} = {row.get(odd[0])!r}, the run's record says {told[odd[0]]!r}"
            found.append(f"{row['id']}: {both}")
    return found
