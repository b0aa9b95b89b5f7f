"""What every check returns: what it saw, what it expected, a verdict, ranked causes and the next command."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["PASS", "WARN", "FAIL", "NOT APPLICABLE"]
CAUSE_GROUPS = (
    "data",
    "split",
    "preprocessing",
    "model",
    "loss",
    "optimiser",
    "schedule",
    "loop",
    "evaluation",
    "reproducibility",
    "production",
)


@dataclass(frozen=True)
class Cause:
    """One possible reason: the part of the project it lies in (one of CAUSE_GROUPS) and a sentence."""

    group: str
    sentence: str

    def __post_init__(self) -> None:
        assert self.group in CAUSE_GROUPS, self.group


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    check: its name, stable, lower case. saw, expected: one sentence each, with numbers; expected says as a function of
    what (n, k, initialisation). causes: most likely first. next: a command or an edit to make.
    Both are emptied when it is green, so a check need not ask. share: share of rows touched (0..1), for the 1-2 % rule; 0 where rows are not what it is about.
    evidence: JSON-able numbers behind it, enough to draw it. seconds: what it cost.
    """

    check: str
    verdict: Verdict
    saw: str
    expected: str
    causes: tuple[Cause, ...] = ()
    next: str = ""
    share: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.verdict not in ("WARN", "FAIL"):  # a green check has no causes and nothing to do
            object.__setattr__(self, "causes", ())
            object.__setattr__(self, "next", "")

    def record(self) -> dict[str, Any]:
        """The finding as JSON-able values."""
        return asdict(self)


def verdict(fail: bool, warn: bool = False) -> Verdict:
    """FAIL if `fail`, else WARN if `warn`, else PASS."""
    return "FAIL" if fail else "WARN" if warn else "PASS"
