"""docs/benchmarks.md: one section a script, each replaced by the script that measures it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ORDER = (
    "The loop", "The loop: tiny MLP", "The loop: ResNet-18", "The loop: MiniLM", "One device",
    "Text bucketing", "Accuracy for compute", "Growth", "Start-up",
)  # fmt: skip
HEAD = """# Benchmarks: speed, memory, accuracy for compute

Every section is written by the command that it names, with n and spread; run it again to have it for your machine. All
of this is one machine with two shared cores and no GPU: take the ratios, not the seconds.
"""


def replace_part(title: str, command: str, lines: list[str]) -> None:
    """Put a section in its place on the page; the other sections stay."""
    assert title in ORDER, title
    whole = PAGE.read_text() if PAGE.exists() else HEAD
    parts = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", whole, flags=re.S | re.M))
    parts[title] = f"\nMade by `{command}`.\n\n" + "\n".join(lines) + "\n\n"
    body = "".join(f"\n## {name}\n{parts[name].rstrip()}\n" for name in ORDER if name in parts)
    PAGE.write_text(HEAD + body)
