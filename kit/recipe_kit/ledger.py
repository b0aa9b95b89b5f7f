"""The ledger: one line per step in EXPERIMENTS.jsonl, each holding the hash of the line before it.

Editing, deleting or reordering a line breaks the chain, and `read` says where. Cutting lines off the end cannot be
seen from the file alone; git history and the run folders show it.
"""

from __future__ import annotations

import hashlib
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

from filelock import FileLock

from .owner.config import LOWER_IS_BETTER
from .owner.engine.files import to_json, write_atomic
from .owner.errors import UserError
from .owner.formatting import number

START = "0" * 64


def read(path: Path) -> list[dict[str, Any]]:
    """All rows in order. Raises UserError naming the first line whose hash does not follow from the one before."""
    rows: list[dict[str, Any]] = []
    previous = START
    for at, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
            honest = row["previous"] == previous and row["hash"] == _hash(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            honest = False
        if not honest:
            raise UserError(
                f"{path.name} line {at} does not follow from the line before: it was edited, removed or reordered;"
                f" restore the file from git (git checkout -- {path.name})"
            )
        rows.append(row)
        previous = row["hash"]
    return rows


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # Not at the separators that a reason or a name may hold.
        return text.removesuffix("\n").split("\n") if text else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; restore it from git (git checkout -- {path.name})") from None


def append(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Chain `row` to the end of the ledger, atomically and one process at a time. Returns the row as written.

    A run that is there already, started at the same time, is not written twice.
    """
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows = read(path)
        same = [r for r in rows if "started" in row and all(r.get(k) == row.get(k) for k in ("id", "step", "started"))]
        if same:
            return same[0]
        row = json.loads(to_json({**row, "previous": rows[-1]["hash"] if rows else START}))
        row["hash"] = _hash(row)
        lines = [*_lines(path), json.dumps(row, ensure_ascii=False)]
        write_atomic(path, "\n".join(lines) + "\n")
    return row


def _hash(row: dict[str, Any]) -> str:
    content = {key: value for key, value in row.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def require_fields(rows: list[dict[str, Any]]) -> None:
    """Refuse rows that no step wrote, though their hashes hold."""
    kinds = {"id": str, "step": str, "status": str, "overrides": dict, "force": str}
    numbers = ("value", "low", "high")
    for line, row in enumerate(rows, start=1):
        odd = [name for name, kind in kinds.items() if not isinstance(row.get(name), kind)]
        odd += [n for n in numbers if "metric" in row and not isinstance(row.get(n), int | float | None)]
        if odd:
            raise UserError(f"EXPERIMENTS.jsonl line {line} was written by no step: {odd[0]} is {row.get(odd[0])!r}")


def table(rows: list[dict[str, Any]]) -> str:
    """The ledger for a terminal: one line a row, and the best validation score so far as a curve."""
    lines = [f"{'run':<20} {'status':<6} {'result':<36} {'against its parent':<44} changed; hypothesis; why"]
    for row in rows:
        result = f"{row['metric']} {row['value']:.4g} [{row['low']:.4g}, {row['high']:.4g}]" if "metric" in row else ""
        changed = " ".join(f"{setting}={value}" for setting, value in row["overrides"].items())
        notes = [changed, row.get("hypothesis", ""), row.get("allow_multiple", ""), row["force"]]
        words = "; ".join(" ".join(note.split()) for note in notes if note)
        lines.append(f"{row['id']:<20} {row['status']:<6} {result:<36} {_against(row):<44} {words}".rstrip())
    return "\n".join([*lines, *_progress(rows)])


def _against(row: dict[str, Any]) -> str:
    found = row.get("difference")
    if not found:
        return ""
    n = len(found["seeds"])
    return f"{row['parent'][:4]} {number(found['value'], '+')} +/- {number(found['error'])} {found['verdict']} ({n} seed{'s' * (n != 1)})"


def _progress(rows: list[dict[str, Any]]) -> list[str]:
    """The best score of the training runs so far, one block a run: tall is good."""
    scores = [row for row in rows if row["step"] == "train" and "metric" in row]
    scores = [row for row in scores if row["metric"] == scores[-1]["metric"]]
    if len(scores) < 2:
        return []
    sign = -1 if scores[0]["metric"] in LOWER_IS_BETTER else 1
    best = list(accumulate((sign * row["value"] for row in scores), max))
    span = (best[-1] - best[0]) or 1.0
    blocks = "".join("▁▂▃▄▅▆▇█"[round(7 * (value - best[0]) / span)] for value in best)
    return [
        "",
        f"best {scores[0]['metric']} on validation over {len(scores)} runs: {blocks} {sign * best[0]:.4g} -> {sign * best[-1]:.4g}",
    ]
