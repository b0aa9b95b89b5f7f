"""What a page is made of: sections with plots, tables, findings, examples; and how it becomes one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Section = dict[str, Any]
Table = dict[str, Any]


def section(title: str, text: str = "", **parts: Any) -> Section:
    """A section of the page; empty plots and tables are left out."""
    for kind in ("plots", "tables"):
        parts[kind] = [part for part in parts.get(kind, []) if part]
    name = "".join(c if c.isalnum() else "-" for c in title.lower())
    return {"title": title, "name": name, "text": text, "findings": [], "examples": [], "details": [], **parts}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table | None:
    """A table with its title; nothing when it has no rows. A cell is text, a number, or {"text", "link"}."""
    return {"title": title, "head": head, "rows": rows} if rows else None


def fixed(text: str) -> str:
    """The text on one line: in a table a broken interval is hard to read."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def render(sections: list[Section], **head: Any) -> str:
    """The page as one HTML text. head: name, about, verdict, notices, back (a link to the page above, or "")."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, trim_blocks=True)
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return environment.get_template("page.html").render(sections=sections, made=made, **head)
