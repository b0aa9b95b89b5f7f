"""The training runs that a branch brings, as a table in Markdown: python3 .github/results.py BASE, the commit to compare with.

Reads EXPERIMENTS.jsonl alone: each row holds the paired difference from the run's parent and from the best baseline.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LEDGER = "EXPERIMENTS.jsonl"
HEAD = ["run", "what changed", "validation", "minus its parent (paired)", "verdict", "minus the best baseline (paired)"]


def rows(text: str) -> list[dict[str, Any]]:
    """The rows of a ledger."""
    return [json.loads(line) for line in text.split("\n") if line]


def interval(found: dict[str, Any] | None, sign: str = "") -> str:
    """A value with its 95 % interval."""
    return f"{found['value']:{sign}.4f} [{found['low']:{sign}.4f}, {found['high']:{sign}.4f}]" if found else "-"


def line(row: dict[str, Any]) -> list[str]:
    """The cells of a run."""
    changed = (
        ", ".join(f"{name} {old!r} to {new!r}" for name, (old, new) in row.get("changed", {}).items()) or "nothing"
    )
    parent, baseline = row.get("difference"), row.get("against_baseline")
    against = f"{baseline['name']}: {interval(baseline, '+')}" if baseline else "-"
    minus = f"{row['parent']}: {interval(parent, '+')}" if parent else "-"
    return [
        row["id"],
        changed,
        f"{row['metric']} {interval(row)}",
        minus,
        parent["verdict"] if parent else "-",
        against,
    ]


def table(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """Markdown. A cell is code, so that no value is taken for Markdown or HTML."""
    known = {row["hash"] for row in before}
    new = [line(row) for row in now if row["step"] == "train" and row["hash"] not in known]
    cells = [["`" + re.sub(r"[`|\s]+", " ", cell) + "`" for cell in row] for row in new]
    lines = [" | ".join(row) for row in [HEAD, ["---"] * len(HEAD), *cells]]
    return "\n".join(f"| {words} |" for words in lines) if new else "No new training run."


if __name__ == "__main__":
    shown = subprocess.run(
        ["git", "show", f"{sys.argv[1]}:{LEDGER}"], capture_output=True, encoding="utf-8", check=False
    )
    ledger = Path(LEDGER)
    try:
        print(table(rows(shown.stdout), rows(ledger.read_text(encoding="utf-8")) if ledger.exists() else []))
    except ValueError as error:  # a merge may leave its marks
        sys.exit(f"{LEDGER} has a line that is no JSON ({error}); restore it")
