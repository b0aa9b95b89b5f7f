"""The test part opens once for each data file. TEST_ACCESS.json says who opened it, when and for which run; so does the ledger.

An opening is on disk before anything is computed. An evaluation that was cut short after it is finished under the same
opening, for the same model on the same rows: that is one look, not two. Only new data may be opened again: a new split
of the same file is no new data, since the model was chosen on what was seen of it; nor is the file with some rows more,
when its test part holds rows that were opened before.

What is detected: a second opening, an edited file (its hash), a deleted file (the ledger still has the line), an edited
or shortened ledger with the file intact. What is not: someone who reads the data file by hand, rewrites every row, copies
the whole folder before opening, or deletes file, ledger line and git history together.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from . import ledger, owner
from .overlap import share_known, share_of_copies, sketch
from .owner.engine.files import read_json, to_json, write_atomic
from .owner.engine.splits import hashed, read_manifest, split_hash
from .owner.errors import UserError
from .project import Project
from .runs import environment, git

LOCK = "TEST_ACCESS.json"
STRAY = 0.02  # share of test rows that may have been seen: the most that the 1-2 % rule lets pass
SAME = ("model", "weights", "source", "split", "evaluation")  # what must be unchanged to finish an opening cut short

Opening = dict[str, Any]


def openings(project: Project) -> list[Opening]:
    """All openings so far, oldest first. Raises UserError when the file and the ledger contradict each other.

    The file is written first, so it may be one ahead of the ledger: a crash came between, and `open_once` adds the line.
    """
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
    written = list(content["openings"])
    told = [{key: row.get(key) for key in opening} for row, opening in zip(rows, written, strict=False)]
    if len(written) - len(rows) not in (0, 1) or told != written[: len(rows)]:
        raise UserError(f"{LOCK} and the ledger disagree on when the test part was opened; restore both from git")
    return written


def of_this_data(project: Project, opened: list[Opening]) -> list[Opening]:
    """The openings of the present data file, whatever its split and settings were, and those of rows that are in the
    present test part: more of them than there are copies in this data anyway."""
    same = [o.get("source", project.data.sha256) == project.data.sha256 for o in opened]
    if all(same):
        return opened
    test, others = hashed(project)
    allowed = share_of_copies(test, others) + STRAY
    return [o for o, is_same in zip(opened, same, strict=True) if is_same or share_known(o["rows"], test) > allowed]


def interrupted(project: Project) -> Opening | None:
    """The opening of this data that has no result yet, to be finished; None when the test part may be opened.

    Raises UserError when this data was opened and evaluated, unless --force gives a reason.
    """
    if by_hand := opened_by_hand(project):
        project.overrule(
            f"the test part of this data was opened by python -m {owner.__name__} evaluate ({by_hand})",
            "; a second look is no test. Bring new rows, which may be opened once",
        )
    opened = of_this_data(project, openings(project))
    if not opened:
        return None
    done = {row.get("opening", row["id"]) for row in ledger.read(project.ledger) if row["step"] == "evaluate"}
    last = opened[-1]
    if last["id"] not in done:
        return last
    project.overrule(
        f"the test part of this data was opened on {last['started']} for {last['model']} ({last['id']})",
        "; a second look is no test, nor is a new split of the same rows, nor a test part that holds some of them. Bring new"
        " rows, which may be opened once",
    )
    return None


def opened_by_hand(project: Project) -> str:
    """The evaluation of this data by the project's own command, which opens the test part without a record in the ledger."""
    for path in sorted((project.root / "runs").glob("[0-9]*-plain_evaluate/result.json")):
        said = read_json(path, "an evaluation", "restore it, or delete its folder")
        if isinstance(said, dict) and said.get("source") == project.data.sha256:
            return path.parent.name
    return ""


def open_once(project: Project, run_id: str, model: str, weights: str = "") -> list[Opening]:
    """Write down that the test part is opened now, on disk before anything is computed. Returns all openings.

    An interrupted opening for the same model on the same rows is gone on with; its line is added to the ledger if a
    crash lost it. Raises UserError when this data was opened before, unless --force gives a reason, which stays in
    the record. Call it inside `engine.stop.alone`.
    """
    before, cut_short = openings(project), interrupted(project)
    _complete_ledger(project, before)
    opening = describe(project, run_id, model, weights)
    if cut_short:
        changed = [key for key in SAME if cut_short.get(key) != opening[key]]
        if not changed:
            project.say(f"  going on with the evaluation that was opened on {cut_short['started']} ({cut_short['id']})")
            return before
        project.overrule(
            f"the evaluation opened on {cut_short['started']} for {cut_short['model']} has no result yet, and its"
            f" {', '.join(changed)} changed since",
            f"; put that back and run: recipe evaluate --run {cut_short['model']}",
        )
    everything = [*before, opening]
    write_atomic(project.root / LOCK, to_json({"openings": everything, "hash": _hash(everything)}) + "\n")
    _complete_ledger(project, everything)
    return everything


def describe(project: Project, run_id: str, model: str, weights: str) -> Opening:
    """An opening: which evaluation, which model (id of its run, hash of its files), who, when, which data and split."""
    return {
        "id": run_id, "model": model, "weights": weights, "who": who(project),
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "source": project.data.sha256,
        "data": project.fingerprint["data"], "split": split_hash(read_manifest(project)),
        "rows": sketch(hashed(project)[0]), "evaluation": project.fingerprint["evaluation"], "force": project.force,
        "commit": environment(project.root)["commit"],
    }  # fmt: skip


def who(project: Project) -> str:
    """The name that git would sign with, without its address, since the report shows it; else the name of the account."""
    if name := git(project.root, "config", "user.name"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return "unknown"


def _complete_ledger(project: Project, opened: list[Opening]) -> None:
    """Add the lines that the ledger lacks: the newest opening, now or after a crash before it was added."""
    there = sum(row["step"] == "open_test" for row in ledger.read(project.ledger))
    for opening in opened[there:]:
        row = {"step": "open_test", "status": "pass", "overrides": {}, "seconds": 0.0, **opening}
        ledger.append(project.ledger, row)


def _hash(entries: Any) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
