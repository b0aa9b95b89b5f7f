"""What `recipe init` proposes: settings with their reasons, and the questions that only the owner can answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A setting, and why it is proposed."""

    name: str
    value: Any
    why: str


@dataclass
class Proposal:
    """kind: the modality that reads such data. lines: to put into recipe.toml. questions: what only the owner can decide,
    offered as comments. out: columns that are to be dropped, each with the reason."""

    kind: str
    lines: list[Line] = field(default_factory=list)
    questions: list[Line] = field(default_factory=list)
    out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: Any, why: str) -> None:
        """Propose a setting."""
        self.lines.append(Line(name, value, why))

    def ask(self, name: str, value: Any, why: str) -> None:
        """Offer a setting."""
        self.questions.append(Line(name, value, why))

    def value(self, name: str) -> Any:
        """What is proposed for a setting, None where nothing is."""
        return next((line.value for line in self.lines if line.name == name), None)


def iid(question: str) -> Line:
    """The question that no data answer."""
    return Line("iid", "", f"why the rows are independent: {question} If they are not, name the column: group or time")
