"""Look at a file or folder that is new to the project, propose the lines of recipe.toml for it, and say what to confirm;
`--write` puts them in."""

from __future__ import annotations

import argparse
import difflib
import os
from dataclasses import replace
from pathlib import Path

from ..checks.reading import FEW
from ..owner.config import METRICS, Config, make_config, read_toml
from ..owner.engine.files import write_atomic
from ..owner.engine.folders import class_folders
from ..owner.engine.remote import local
from ..owner.engine.table import Table, declared, larger_than_memory, read_table
from ..owner.errors import UserError
from ..project import Project
from ..recipe_file import setting, with_settings
from ..terminal import say
from .proposal import Line, Proposal, iid
from .propose_series import of_series
from .propose_table import of_table

FIRST = 200_000  # rows that are looked at where the file is larger than memory
TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")
# Settings that name columns: one of them, several, or some with more behind a colon.
ONE = ("group", "time", "query", "text_pair", "split_column", "series", "step")
SEVERAL = (
    "drop", "known_at_prediction", "slices", "numeric", "categorical", "id", "ordinal", "not_missing", "month_first",
)  # fmt: skip


def command(project: Project, args: argparse.Namespace) -> None:
    """`recipe init PATH`: say what is proposed; with --write, put it into recipe.toml."""
    if not args.of:
        raise UserError("init needs the file or folder to look at: recipe init data/mine.csv")
    there = local(project.root, args.of)  # of an address what was fetched
    proposal = propose(project, Path(there) if there == args.of else project.root / there)
    proposal.lines[0] = proposal.lines[0] if there == args.of else Line("data", args.of, "")
    say(describe(project, proposal))
    if args.write:
        say(write(project, proposal))


def propose(project: Project, path: Path) -> Proposal:
    """Settings for the file or folder, each with the reason or the question to answer. Raises UserError for what cannot be
    read."""
    if not path.exists():
        raise UserError(f"{path} does not exist; name a CSV, JSON lines or Parquet file, or a folder of class folders")
    place, written = Path(os.path.relpath(path.resolve(), project.root)).as_posix(), list[str]()
    if path.is_dir():
        columns, large = [project.config.target], ""
    else:
        large = larger_than_memory(path)
        table, written = _read(project.config, path, FIRST if large else None)
        columns = table.frame.columns
    old = _outdated(project, columns, place)
    known = {line.name: line.value for line in old}
    if written:
        known["numeric"] = [*known.get("numeric", getattr(project.config, "numeric", [])), *written]
    config = project.config.model_copy(update=known)
    asked = project.overrides.get("target", "")
    if path.is_dir():
        proposal = _of_folder(config, path)
    elif hasattr(config, "series"):
        proposal = of_series(project.task, config, table, path, asked)
    else:
        proposal = of_table(config, table, path, asked)
    proposal.lines.insert(0, Line("data", place, ""))
    if written:
        proposal.add("numeric", known["numeric"], "numbers, though not written in digits alone")
    if large and "sample_rows" in type(config).model_fields:
        proposal.add("sample_rows", FIRST, large)
    new = {line.name for line in (*proposal.lines, *proposal.questions)}
    proposal.lines += [line for line in old if line.name not in new]
    proposal.lines += _by_task(config, proposal)
    return _settled(project, proposal)


def _read(config: Config, path: Path, rows: int | None) -> tuple[Table, list[str]]:
    """The table, and the columns in which every value is a number in a writing of its own ("$1,200"): read as numbers."""
    known = list(getattr(config, "numeric", []))
    said = replace(declared(config, numeric=known), lenient=True)
    table = read_table(path, rows, said)
    if lists := [name for name, kind in table.kinds.items() if kind == {"kind": "empty"} and hasattr(config, "series")]:
        table = read_table(path, rows, replace(said, series=lists))
    found = [note for note in table.notes if note.about == "numbers" and not note.facts["others"]]
    written = [note.column for note in found if note.facts["distinct"] > FEW and "numeric" in type(config).model_fields]
    return (read_table(path, rows, replace(said, numeric=[*known, *written])) if written else table), written


def _of_folder(config: Config, path: Path) -> Proposal:
    """Class folders of images, and the parts that folders above or in them give."""
    try:
        counts, parts = class_folders(path)
    except UserError as error:
        tables = sorted(file.name for file in path.iterdir() if file.suffix.lower() in TABLES)
        hint = f"; it holds tables, name one of them: {', '.join(tables[:4])}" if tables else ""
        raise UserError(f"{error}{hint}") from None
    shown = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())[:6]) + (" ..." if len(counts) > 6 else "")
    proposal = Proposal("image")
    proposal.add("task", "binary" if len(counts) == 2 else "multiclass", f"{len(counts)} classes: {shown}")
    if parts:
        proposal.add("split", "given", "by the folders: " + ", ".join(f"{name} {n:,}" for name, n in parts.items()))
    if not (config.group or config.time or config.iid):
        proposal.ask(*iid("images of one person, place or series?"))
    return proposal


def _outdated(project: Project, columns: list[str], place: str) -> list[Line]:
    """Settings of recipe.toml that were an answer for another file: what names columns that this one lacks, and `iid`."""
    config, found = project.config, []
    for name in (n for n in ONE if getattr(config, n, "") and getattr(config, n) not in columns):
        found.append(Line(name, "", f"the data have no column {getattr(config, name)!r}"))
    for name in SEVERAL:
        entries = getattr(config, name, [])
        kept = [entry for entry in entries if entry in columns or entry.rpartition(":")[0].strip() in columns]
        if len(kept) < len(entries):
            lost = next(entry for entry in entries if entry not in kept)
            found.append(Line(name, kept, f"the data have no column {lost!r}"))
    if (project.root / config.data).resolve() != (project.root / place).resolve():
        reasons = (name for name in ("iid", "imbalance") if getattr(config, name))
        found += [Line(name, "", f"the reason was given for {config.data}") for name in reasons]
        found += [Line("test_data", "", f"it was the test file of {config.data}")] if config.test_data else []
        found += [Line("split", "auto", f"it was given for {config.data}")] if config.split == "given" else []
    return found


def _by_task(config: Config, proposal: Proposal) -> list[Line]:
    """Settings that do not fit another task, or the classes of another target, go back to their defaults."""
    task, target = proposal.value("task"), proposal.value("target") or config.target
    lines = []
    if task != config.task or target != config.target:
        for name in (n for n in ("positive", "drop_classes") if getattr(config, n, None)):
            lines.append(Line(name, type(config).model_fields[name].default, f"it was for {config.target}"))
    if task != config.task:
        if config.metric not in ("auto", *METRICS[task]):
            lines.append(Line("metric", "auto", f"{config.metric} is not for {task}"))
        if config.loss != "auto":
            lines.append(Line("loss", "auto", f"{config.loss} was for {config.task}"))
        if config.label_smoothing and task not in ("binary", "multiclass"):
            lines.append(Line("label_smoothing", 0.0, f"it is not for {task}"))
    return lines


def _settled(project: Project, proposal: Proposal) -> Proposal:
    """What the command line says goes before what the data say; settings that this kind of project has."""
    asked = {name: Line(name, value, "as you asked") for name, value in project.overrides.items()}
    lines = [asked.pop(line.name, line) for line in proposal.lines] + list(asked.values())
    known = type(project.config).model_fields
    other = proposal.kind != project.config.modality
    proposal.lines = [line for line in lines if line.name in known or other]
    proposal.questions = [line for line in proposal.questions if line.name not in project.overrides]
    return proposal


def describe(project: Project, proposal: Proposal) -> str:
    """The proposal as lines of recipe.toml."""
    head = "# Proposed from the data; confirm each line. --write puts them into recipe.toml; then: recipe audit"
    lines = [setting(*line) for line in proposal.lines]
    asked = [f"{'' if line.name == 'iid' else '# '}{setting(*line)}" for line in proposal.questions]
    other = [f"# {_other(project, proposal)}"] if proposal.kind != project.config.modality else []
    return "\n".join([head, *lines, *asked, *other])


def _other(project: Project, proposal: Proposal) -> str:
    kind = project.config.modality
    return f"this looks like {proposal.kind} data, and the project is for {kind}: generate one for it"


def write(project: Project, proposal: Proposal) -> str:
    """Put the proposal into recipe.toml, and say what changed there. Raises UserError, with nothing written, where the
    data are of another kind, cannot be loaded with it, or the file cannot keep what its owner wrote."""
    if proposal.kind != project.config.modality:
        raise UserError(f"{_other(project, proposal)}; nothing was written")
    path = (project.root / "recipe.toml").resolve()
    values = read_toml(path)
    stands = make_config(type(project.config), values, "recipe.toml")
    wanted = {line.name: line.value for line in (*_iid_only(proposal), *proposal.lines)}
    settings = {name: value for name, value in wanted.items() if getattr(stands, name) != value}
    try:
        _ = replace(project, config=make_config(type(project.config), {**values, **settings}, "the proposal")).data
        before = path.read_bytes().decode("utf-8")
        notes = [f"# {setting(*line)}" for line in proposal.questions if line not in _iid_only(proposal)]
        after = with_settings(before, settings, {line.name: line.why for line in proposal.lines}, notes)
    except UserError as error:
        raise UserError(f"{error}; nothing was written") from None
    if after == before:
        return "recipe.toml says all of it already"
    write_atomic(path, after)
    changes = difflib.unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm="")
    shown = [f"  {line}" for line in list(changes)[2:] if not line.startswith("@@")]
    more = "; before recipe split, say in iid why the rows are independent" if _iid_only(proposal) else ""
    return "\n".join(["", f"{path} was changed:", *shown, "", f"next: recipe audit{more}"])


def _iid_only(proposal: Proposal) -> list[Line]:
    """The question why rows are independent: asked by an empty answer, which takes the place of one for other data."""
    return [line for line in proposal.questions if line.name == "iid"]
