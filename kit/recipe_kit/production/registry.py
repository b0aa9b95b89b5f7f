"""Versions of the model, which of them serves, and the way back: models/<version>/ and models/history.jsonl.

A version is a folder that is written once and named after its content. The promoted one is what the last line of the
history says: the file is replaced as a whole, so a reader sees the old pointer or the new one, and each line holds the
hash of the line before it. A rollback is a new line that names an earlier version.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from .. import ledger
from ..access import who
from ..gates import enter
from ..owner.engine.files import read_json, sha256, to_json
from ..owner.errors import UserError
from ..project import Project
from ..publish import mirror
from ..runs import read_record
from .sign import SUFFIX, require_signature

FOLDER = "models"
HISTORY = "history.jsonl"
MANIFEST = "package.json"
LEAST = 4  # digits of a version's number


def command(project: Project, args: argparse.Namespace) -> int:
    """recipe promote [VERSION], recipe rollback [VERSION], recipe versions."""
    if args.step == "versions":
        project.say(table(project.root))
        return 0
    line = promote(project, args.of) if args.step == "promote" else rollback(project, args.of)
    project.say(f"{args.step}: {line['before'] or 'nothing'} -> {line['version']}; running servers take it up")
    mirror(project, project.root / FOLDER / line["version"], args.step)
    return 0


def versions(root: Path) -> list[str]:
    """Names of all versions, oldest first."""
    names = [path.parent.name for path in (root / FOLDER).glob(f"*/{MANIFEST}")]
    return sorted(name for name in names if re.fullmatch(r"\d{4,}-[0-9a-f]{12}", name, re.ASCII))


def history(root: Path) -> list[dict[str, Any]]:
    """Every promote and rollback, oldest first. Raises UserError when the file was edited."""
    return ledger.read(root / FOLDER / HISTORY)


def promoted(root: Path) -> str:
    """The version that serves; '' when none was promoted."""
    lines = history(root)
    return str(lines[-1]["version"]) if lines else ""


def find(root: Path, wanted: str) -> Path:
    """Folder of a version, named in full or by its number. Raises UserError that lists what there is."""
    known = versions(root)
    found = [name for name in known if name == wanted or (wanted.isdigit() and int(name.split("-")[0]) == int(wanted))]
    if not found:
        there = f"there are: {', '.join(known)}" if known else "there is none yet; run: recipe export"
        raise UserError(f"{wanted!r} is no version of the model; {there}")
    return root / FOLDER / found[0]


def chosen(project: Project, wanted: str) -> Path:
    """Folder of the wanted version, else of the promoted one, else of the only one there is."""
    known = versions(project.root)
    version = wanted or promoted(project.root) or (known[0] if len(known) == 1 else "")
    if not version and known:
        raise UserError(f"no version is promoted; run: recipe promote {known[-1]}  (or name one with --model)")
    return find(project.root, version or "1")


def promote(project: Project, wanted: str) -> dict[str, Any]:
    """Load the version, replay its golden examples, then point at it; the newest one when none is named."""
    from .model import load

    known = versions(project.root)
    folder = find(project.root, wanted or (known[-1] if known else "1"))
    manifest = load(project.task, folder).manifest
    project.inherit(manifest)
    origin = project.root / "runs" / manifest["run"] / "record.json"
    if origin.exists():  # the records of its training are here: what they say now counts
        enter(project, "promote", read_record(origin))
    return _point(project, "promote", folder.name)


def rollback(project: Project, wanted: str) -> dict[str, Any]:
    """Point at a version that served before: the one before the present one, or the named one. Files are verified; no
    model and no torch is loaded, so that it takes no time when time matters."""
    stack = served(project.root)
    if len(stack) < 2 and not wanted:
        raise UserError("there is no earlier promoted version to go back to; recipe versions lists them")
    folder = find(project.root, wanted or stack[-2])
    if folder.name not in stack[:-1]:
        raise UserError(f"{folder.name} did not serve before; to make it serve: recipe promote {folder.name}")
    verify(folder)
    return _point(project, "rollback", folder.name)


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, when it and every file are as they were exported: the folder's name ends in their hash."""
    again = "a version is never edited: restore it, or export again (recipe export)"
    manifest = read_json(folder / MANIFEST, "the manifest of a model package", again)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise UserError(f"{folder / MANIFEST} is not the manifest of a model package; {again}")
    written = to_json(manifest).encode(errors="backslashreplace")  # other bytes may mean the same: they are an edit too
    if digest(manifest) != folder.name.rpartition("-")[2] or (folder / MANIFEST).read_bytes() != written:
        raise UserError(f"{folder / MANIFEST} is not what {folder.name} was exported with; {again}")
    require_signature(folder / MANIFEST)
    refuse_unlisted(folder, manifest["files"], again)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            raise UserError(f"{path} {'differs from' if path.exists() else 'is missing from'} the export; {again}")
    return manifest


def refuse_unlisted(folder: Path, files: dict[str, Any], again: str) -> None:
    """Refuse a name that leads out of the folder, a link, and a file that the manifest does not name: whoever loads the
    model may read any file of the folder, so each must be one that was exported."""
    for name in files:
        inside(folder, name)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or name in (MANIFEST, MANIFEST + SUFFIX) or name in files):
            kind = "a symbolic link" if path.is_symlink() else "not a file of the export"
            raise UserError(f"{path} is {kind}; remove it: {again}")


def inside(folder: Path, name: Any) -> Path:
    """A place in the package by its name there. Raises UserError for one that leads out of it."""
    parts = PurePosixPath(str(name))
    if parts.is_absolute() or ".." in parts.parts or any(sign in str(name) for sign in ("\\", ":", "\0")):
        raise UserError(f"{folder.name} names {str(name)!r}, which is no place inside the package; export it again")
    return folder / parts


def digest(manifest: dict[str, Any]) -> str:
    """First 12 hex digits over the manifest, which holds the hash of every file."""
    return hashlib.sha256(to_json(manifest, indent=None).encode(errors="backslashreplace")).hexdigest()[:12]


def served(root: Path) -> list[str]:
    """The versions that served, as a stack: a promote lays one on top, a rollback takes off down to its version."""
    stack: list[str] = []
    for line in history(root):
        if line["action"] == "rollback" and line["version"] in stack:
            while stack[-1] != line["version"]:
                stack.pop()
        elif not stack or stack[-1] != line["version"]:
            stack.append(line["version"])
    return stack


def _point(project: Project, action: str, version: str) -> dict[str, Any]:
    line = {
        "action": action, "version": version, "before": promoted(project.root), "by": who(project),
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "force": project.force, "forced": project.forced,
    }  # fmt: skip
    return ledger.append(project.root / FOLDER / HISTORY, line)


def table(root: Path) -> str:
    """One line a version: what it is, how good it was, and since when it serves; then the history."""
    now, lines = promoted(root), []
    for name in versions(root):
        m = read_json(root / FOLDER / name / MANIFEST, "the manifest of a model package", "export it again")
        line = f"{'->' if name == now else '  '} {name}"
        try:
            score, part = m["metrics"][m["metric"]]["value"], "test" if m["tested"] else "validation"
            line += f"  {m['exported'][:16]}  {m['run']:<16} {m['name']:<12} {m['metric']} {score:.4f} on {part}  split {m['split']}"
            lines += [line, *(f"      FORCED  {why}" for why in m["forced"])]
        except (KeyError, TypeError, ValueError):
            lines.append(f"{line}  its {MANIFEST} was written by no export")
    told = [f"   {one['at'][:19]} {one['action']:<8} {one['version']} {one['force']}".rstrip() for one in history(root)]
    return "\n".join([*(lines or ["no version yet; run: recipe export"]), *(["", *told] if told else [])])
