"""How the file was read: what could be meant otherwise than it was taken, each with the line that changes it."""

from __future__ import annotations

from typing import Any

from ..owner.config import Config
from ..owner.engine.notes import Note
from ..owner.task import Data
from .check_result import CheckResult, check_result, not_applicable
from .data import listed

FEW = 20  # different values up to which a column of numbers is as well read as categories
NAMED = 4  # columns that a sentence names


def numbers_as_text(config: Config, data: Data) -> CheckResult:
    """Columns most of whose values are numbers but for a sign, a separator, a unit or a few words: read as texts."""
    decided = {*getattr(config, "categorical", []), *config.drop, config.group, config.query, config.time}
    read = [note for note in _notes(data, "numbers") if data.roles.get(note.column) != "drop"]
    found = [note for note in read if note.column not in decided]
    many = [note for note in found if note.facts["distinct"] > FEW]
    words = [word for note in many for word in note.facts["words"] if note.facts["spellings"] <= NAMED]
    numeric = listed([*getattr(config, "numeric", []), *(note.column for note in many or found)])
    more = f", also_missing = {listed([*config.also_missing, *words])}" if words else ""
    return check_result(
        "numbers written as text",
        "; ".join(map(_numbers, found[:NAMED])) or "every column of numbers is read as numbers",
        warn=bool(many),
        advise=bool(found),
        evidence={"columns": {note.column: note.facts for note in found}},
        names=", ".join(note.column for note in (many or found)[:NAMED]),
        edit=f"numeric = {numeric}{more}",
        categorical=listed([*getattr(config, "categorical", []), *(note.column for note in many or found)]),
    )


def _numbers(note: Note) -> str:
    facts = note.facts
    marks = " ".join(mark if mark.strip() else "spaces" for mark in facts["marks"])
    written = f" but for {marks}" if marks else ""
    example = f" ({facts['example'][0]!r} is {facts['example'][1]:g})" if facts["example"] else ""
    others = f", the others are {', '.join(map(repr, facts['words']))}" if facts["others"] else ""
    some = facts["plain"] + facts["written"]
    return f"{note.column}: {some:,} of {facts['values']:,} values are numbers{written}{example}{others}"


def dates_two_ways(config: Config, data: Data) -> CheckResult:
    """Dates that are read day first, or month first, where no value decides; and texts most of which are dates."""
    order, texts = _notes(data, "order"), _notes(data, "dates")
    said = [
        f"{n.column}: {n.facts['example']!r} is read as {n.facts['read']} and could be {n.facts['other']}"
        for n in order
    ]
    said += [
        f"{n.column}: {n.facts['dates']:,} of {n.facts['values']:,} values are dates, the others are"
        f" {', '.join(map(repr, n.facts['words']))}"
        for n in texts
    ]
    used = [n for n in order if n.column == config.time or data.roles.get(n.column) in ("categorical", "ordinal")]
    words = [word for n in texts for word in n.facts["words"] if n.facts["spellings"] <= NAMED]
    other = [name for name in config.month_first if name not in {n.column for n in order}]
    other += [n.column for n in order if n.facts["order"] == "dmy"]
    edits = [f"month_first = {listed(other)}"] if order else []
    edits += [f"also_missing = {listed([*config.also_missing, *words])}"] if words else []
    return check_result(
        "dates read one way of two",
        "; ".join(said[:NAMED]) or "every date says what is its day",
        warn=bool(used or texts),
        advise=bool(said),
        evidence={"columns": {n.column: n.facts for n in (*order, *texts)}},
        edit=", ".join(edits) or "look at these columns in the file",
    )


def target_gaps(config: Config, data: Data) -> CheckResult:
    """Rows without a target, and how the gap is written: a word may be a class."""
    notes = _notes(data, "target")
    if not notes:
        return check_result("rows without a target", "every row has one")
    facts, rows = notes[0].facts, len(data) + notes[0].facts["rows"]
    words = [word for word in facts["spelled"] if word]
    shown = ", ".join(f"{w!r} {n:,}" if w else f"an empty cell {n:,}" for w, n in facts["spelled"].items())
    classes = config.task in ("binary", "multiclass")
    kept = [*config.not_missing, *(f"{data.target}: {word}" for word in words)]
    return check_result(
        "rows without a target",
        f"{facts['rows']:,} of {rows:,} rows have no {data.target} and are left out"
        + (f"; written {shown}" if shown else ""),
        warn=bool(words) and classes,
        advise=True,
        why="word" if words and classes else "causes",
        evidence=facts,
        word=words[0] if words else "",
        edit=f"in recipe.toml: not_missing = {listed(kept)}"
        if words and classes
        else "fill the cells in, or leave the rows out",
    )


def empty_keys(config: Config, data: Data) -> CheckResult:
    """Rows whose group, query or moment is not known: all of one column count as one."""
    named = {"group": config.group, "query": config.query, "time": config.time}
    declared = {setting: name for setting, name in named.items() if name}
    if not declared:
        return not_applicable("empty group cells", "no group, query or time is declared")
    empty = {name: data.frame[name].null_count() for name in declared.values()}
    found = {name: n for name, n in empty.items() if n}
    return check_result(
        "empty group cells",
        "; ".join(f"{n:,} of {len(data):,} rows have no {name}" for name, n in found.items()) or "none",
        warn=bool(found),
        share=max(found.values(), default=0) / len(data),
        evidence={"empty": empty},
        first=next(iter(found), ""),
    )


def otherwise(config: Config, data: Data) -> CheckResult:
    """What was left out or converted: an index without a name, the header inside the file, empty columns, durations."""
    said, told = [], {note.about: note for note in data.notes}
    if "index" in told:
        said.append(f"the first column has no name ({', '.join(told['index'].facts['first'])}...): an index, left out")
    if "header" in told:
        lines = told["header"].facts["lines"]
        said.append(
            f"the header occurs again in line {', '.join(map(str, lines[:NAMED]))}{' ...' if len(lines) > NAMED else ''}: passed over"
        )
    if empty := [note.column for note in _notes(data, "empty")]:
        said.append(f"empty in every row, left out: {', '.join(empty[:NAMED])}{' ...' if len(empty) > NAMED else ''}")
    said += [f"{note.column} holds {note.facts['type']}, read as seconds" for note in _notes(data, "seconds")]
    said += [
        f"{n.column} is written with leading zeros ({n.facts['example']}), read as a number"
        for n in _notes(data, "zeros")
    ]
    names: dict[str, Any] = {"zeros": [note.column for note in _notes(data, "zeros")]}
    edit = f"in recipe.toml: categorical = {listed([*getattr(config, 'categorical', []), *names['zeros']])} if they name something"
    return check_result(
        "read otherwise than written",
        "; ".join(said) or "nothing was left out or converted",
        warn="header" in told,
        advise=bool(said),
        evidence={
            "notes": [
                note.record() for note in data.notes if note.about in ("index", "header", "empty", "seconds", "zeros")
            ]
        },
        edit=edit if names["zeros"] else "look whether the file was put together as it was meant",
    )


def _notes(data: Data, about: str) -> list[Note]:
    """Notes of one kind, of columns that are not left out on purpose."""
    return [note for note in data.notes if note.about == about]


CHECKS = (numbers_as_text, dates_two_ways, target_gaps, empty_keys, otherwise)
