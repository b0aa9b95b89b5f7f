"""Settings changed in recipe.toml itself: the lines of these settings, and nothing else of what its owner wrote."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from .owner.errors import UserError


@dataclass(frozen=True)
class Statement:
    """A setting in the file: `lines[first : last + 1]` hold it."""

    name: str
    value: Any
    first: int
    last: int


def with_settings(text: str, settings: dict[str, Any], reasons: dict[str, str], notes: list[str]) -> str:
    """The text of recipe.toml with these settings, and with each of these lines of comment where its setting belongs.

    A setting that is there keeps its place and its comment; another comes with its reason below the line that shows it as
    a comment, or last. Raises UserError where a comment would be lost or the result would say anything else.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    before = tomllib.loads(text.removeprefix("\ufeff"))
    lines = text.split(end)
    for name, value in settings.items():
        if name not in before:
            _insert(lines, name, setting(name, value, reasons.get(name, "")))
        elif before[name] != value:
            _replace(lines, name, value)
    for note in notes:
        if note not in lines:
            _insert(lines, note.lstrip("# ").split(" ")[0], note)
    result = end.join(lines)
    try:
        after = tomllib.loads(result.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe.toml would not be TOML with these lines ({error}); put them in by hand") from None
    if after != {**before, **settings}:
        raise UserError("recipe.toml would say more than these lines if they were put in; put them in by hand")
    return result


def setting(name: str, value: Any, why: str = "") -> str:
    """The line of a setting, with its reason as a comment."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in why).split())
    return f"{name} = {to_toml(value)}" + (f"  # {words}" if words else "")


def to_toml(value: Any) -> str:
    """A text, number, truth value or list of texts as TOML writes it."""
    if type(value) is int:
        return f"{value:_}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _statements(lines: list[str]) -> list[Statement]:
    """The settings of a file that is TOML, each with its lines: as many as it takes until they can be read."""
    found, at = [], 0
    while at < len(lines):
        last = at
        while (read := _read("\n".join(lines[at : last + 1]))) is None and last + 1 < len(lines):
            last += 1
        found += [Statement(name, value, at, last) for name, value in (read or {}).items()]
        at = last + 1
    return found


def _read(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        return None


def _replace(lines: list[str], name: str, value: Any) -> None:
    """Write another value of a setting; what stands behind it as a comment stays where it is."""
    statement = next(s for s in _statements(lines) if s.name == name)
    whole = "\n".join(lines[statement.first : statement.last + 1])
    ends = [i for i, letter in enumerate(whole) if letter == "#" and _read(whole[:i]) == {name: statement.value}]
    bare, comment = (whole[: ends[0]], whole[ends[0] :]) if ends else (whole, "")
    if ("\n" in bare and "#" in bare) or "\n" in comment:
        raise UserError(
            f"{name} in recipe.toml stands on lines {statement.first + 1} to {statement.last + 1} with comments between"
            f" them, which would be lost; write there by hand: {name} = {to_toml(value)}"
        )
    mark = "\ufeff" if whole.startswith("\ufeff") else ""
    line = f"{mark}{name} = {to_toml(value)}"
    place = len(bare.rsplit("\n", 1)[-1])
    lines[statement.first : statement.last + 1] = [
        f"{line:<{place}}{'' if len(line) < place else '  '}{comment}".rstrip()
    ]


def _insert(lines: list[str], name: str, line: str) -> None:
    """Below the comment that shows the setting, else last. A file whose last line is empty ends so again."""
    shown = [i for i, other in enumerate(lines) if re.match(rf"#\s*{re.escape(name)}\s*=", other)]
    held = [range(s.first + 1, s.last + 1) for s in _statements(lines)]  # no comment: the inside of a long text
    shown = [i for i in shown if not any(i in inside for inside in held)]
    at = shown[-1] + 1 if shown else len(lines) - (lines[-1] == "")
    lines.insert(at, line)
