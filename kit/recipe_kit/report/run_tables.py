"""Sections that keep the books: what the checks found, every step so far, the environment and the settings."""

from __future__ import annotations

from typing import Any

from .. import ledger
from ..owner.formatting import interval
from ..project import Project
from .page import Section, fixed, section, table
from .records import Record

TITLES = {"audit": "What the audit found", "split": "The split", "check": "Checks before training"}
ORDER = {"FAIL": 0, "WARN": 1, "PASS": 2, "NOT APPLICABLE": 3}
ROWS = 200  # of the ledger, the newest: the file itself holds them all


def findings_sections(records: dict[str, Record | None]) -> list[Section]:
    """Audit, split and check findings, failures first."""
    found = []
    for step, title in TITLES.items():
        if record := records.get(step):
            findings = sorted(record["findings"], key=lambda f: (ORDER[f["verdict"]], not f["causes"]))
            sizes = ", ".join(f"{name} {count:,}" for name, count in (record["result"].get("sizes") or {}).items())
            text = f"{record['id']}, {record['started'][:16].replace('T', ' ')}{': ' if sizes else ''}{sizes}"
            found.append(section(title, text, findings=findings))
    return found


def ledger_section(project: Project) -> Section:
    """Every step so far, newest first."""
    rows = [_row(row) for row in reversed(ledger.read(project.ledger)[-ROWS:])]
    head = ["run", "when", "status", "result", "changed", "force"]
    return section("Ledger", tables=[table("Every step so far", head, rows)])


def _row(row: dict[str, Any]) -> list[Any]:
    result = fixed(f"{row['metric']} {interval(row)}") if "metric" in row else ""
    changed = " ".join(f"{setting}={value}" for setting, value in row["overrides"].items())
    step = f"{row['id']} (test opened)" if row["step"] == "open_test" else row["id"]
    return [step, fixed(row["started"][:16].replace("T", " ")), row["status"].upper(), result, changed, row["force"]]


def environment_section(records: dict[str, Record | None]) -> Section | None:
    """Versions, hardware, commit and all settings of the newest record there is, the training run first."""
    steps = ("train", "evaluate", "check", "baseline", "split", "audit")
    newest = next((found for step in steps if (found := records.get(step))), None)
    if newest is None:
        return None
    environment = newest["environment"]
    libraries = [[name, version] for name, version in environment["libraries"].items() if version]
    rest = [[name.replace("_", " "), "none" if v in (None, "") else str(v)] for name, v in environment.items()]
    rest = [row for row in rest if row[0] != "libraries"]
    settings = "\n".join(f"{name} = {value!r}" for name, value in newest["config"].items())
    tables = [table("Environment", ["what", "value"], [["run", newest["id"]], *rest, *libraries])]
    return section("Environment and settings", tables=tables, details=[("All settings", settings)])
