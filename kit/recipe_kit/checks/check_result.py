"""What every check returns: what it observed, what it expected, a verdict, ranked causes and the next command."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["PASS", "WARN", "FAIL", "NOT APPLICABLE"]


@dataclass(frozen=True)
class Cause:
    """One possible reason: the part of the project it lies in, a group of settings or what is around them, and a sentence."""

    group: str
    sentence: str


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    check: its name, stable, lower case. observed, expected: one sentence each, with numbers; expected says as a function of
    what (n, k, initialization). causes: most likely first. next: a command or an edit to make; both empty when it passed.
    share: share of rows touched (0..1), for the 1-2 % rule; 0 where rows are not what it is about.
    evidence: JSON-able numbers behind it, enough to draw it. seconds: what it cost.
    """

    check: str
    verdict: Verdict
    observed: str
    expected: str = ""
    causes: tuple[Cause, ...] = ()
    next: str = ""
    share: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The finding as JSON-able values."""
        return asdict(self)


@cache
def sentences() -> dict[str, dict[str, Any]]:
    """What each check expects, its likely causes and the next command: the tables of every findings.toml, by check."""
    package = Path(__file__).parents[1]
    return {
        check: words
        for path in sorted(package.glob("*/findings.toml"))
        for check, words in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }


def check_result(
    check: str,
    observed: str,
    *,
    fail: bool = False,
    warn: bool = False,
    advise: bool = False,
    why: str = "causes",
    share: float = 0.0,
    evidence: dict[str, Any] | None = None,
    **values: Any,
) -> CheckResult:
    """FAIL if `fail`, else WARN if `warn`, else PASS; with the sentences of findings.toml.

    why: which of the check's lists of causes. advise: name causes and the next command though it passes. The sentences
    are filled in from `evidence` and `values`.
    """
    words, known = sentences()[check], {**(evidence or {}), **values}
    told = fail or warn or advise
    causes = [line.format(**known).split(": ", 1) for line in words[why]] if told else []
    return CheckResult(
        check,
        "FAIL" if fail else "WARN" if warn else "PASS",
        observed,
        words["expected"].format(**known),
        tuple(Cause(group, sentence) for group, sentence in causes),
        words["next"].format(**known) if told else "",
        share,
        evidence or {},
    )


def not_applicable(check: str, reason: str) -> CheckResult:
    """The check does not fit this project, and why."""
    return CheckResult(check, "NOT APPLICABLE", reason)
