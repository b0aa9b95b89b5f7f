"""The model card: what a person needs to know before relying on the model, from the records (Mitchell et al. 2019)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..owner.engine.splits import read_manifest
from ..project import Project

Record = dict[str, Any]
SPECIAL = re.compile(r"[\\`*_\[\]()#|<>~!]|(?<=:)//|(?<=www)\.|@")  # what Markdown, or a page that finds links, acts on


def card(project: Project, record: Record, tested: Record | None, manifest: dict[str, Any]) -> str:
    """MODEL_CARD.md. What records cannot know is left as a question to its owner."""
    sections = [
        f"# {project.root.name}: {manifest['name']} from {record['id']}",
        _what(project, manifest),
        "## Intended use\n\nNot declared. Who relies on it, for which decision, and what is it not made for?",
        _data(project),
        _worth(manifest, tested),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(project, manifest, record, tested)),
        _how(manifest),
        f"## Licence\n\n{licence(project.root)}",
    ]
    return "\n\n".join(sections) + "\n"


def plain(text: Any) -> str:
    """A text from data, such as a class or a reason, in a card: shown as it is, on one line, as neither Markdown nor HTML.

    Whoever made the data chose it, and a page that shows the card would run HTML and follow links.
    """
    return SPECIAL.sub(r"\\\g<0>", " ".join(str(text).split())).replace("&", "&amp;").replace("\\<", "&lt;")


def code(name: Any) -> str:
    """A name as code: between more backticks than it holds."""
    text = " ".join(str(name).split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{text}{ticks}" if len(ticks) == 1 else f"{ticks} {text} {ticks}"


def _what(project: Project, manifest: dict[str, Any]) -> str:
    classes = f" ({', '.join(map(plain, manifest['classes'][:20]))})" if manifest["classes"] else ""
    names = ", ".join(code(column["name"]) for column in manifest["columns"][:40])
    return (
        f"Predicts {code(project.config.target)}{classes} from {names}.\nTask: {manifest['task']}. Exported"
        f" {manifest['exported']}, commit {manifest['commit'][:12] or 'unknown'}."
    )


def _data(project: Project) -> str:
    split = read_manifest(project)
    sizes = ", ".join(f"{name} {part['rows']:,}" for name, part in split["parts"].items())
    reason = f"; independent because: {plain(split['iid'])}" if split.get("iid") else ""
    return f"## Data\n\n{code(project.config.data)} (sha256 {project.data.sha256[:16]}), split by {split['kind']}: {sizes}{reason}."


def _worth(manifest: dict[str, Any], tested: Record | None) -> str:
    part = "the test part, opened once" if tested else "validation, on which it was chosen: expect a little less"
    lines = [
        "## What it is worth", "", f"On {part}, with 95 % intervals:", "",
        "| metric | value | low | high |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {name} | {_number(m['value'])} | {_number(m['low'])} | {_number(m['high'])} |"
        for name, m in manifest["metrics"].items()
    ]
    if tested and "baseline" in tested["result"]:
        other, difference = tested["result"]["baseline"], tested["result"]["baseline"]["difference"]
        lines += [
            "",
            f"Against {other['name']}: {manifest['metric']} {difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}].",
        ]
    if manifest["threshold"] is not None:
        lines += [
            "",
            f"Called positive from a probability of {manifest['threshold']:.4f}, chosen on validation for {manifest['chosen_for']}"
            f"{'; accuracy, precision, recall and F1 above are those of this threshold' if tested else ''}.",
        ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _limits(project: Project, manifest: dict[str, Any], record: Record, tested: Record | None) -> list[str]:
    """What failed or warned on the way, and what was not looked at."""
    found = [
        f"{f['verdict']} {f['check']}: {plain(f['observed'])}"
        for r in (record, tested)
        if r
        for f in r["findings"]
        if f["verdict"] in ("WARN", "FAIL")
    ]
    found += [f"gone on past a FAIL: {plain(line)}" for line in manifest["forced"]]
    if tested is None:
        found.append("not evaluated on the test part")
    if not project.config.slices:
        found.append("no slices were declared, so nothing is known of parts of the population")
    return found


def _how(manifest: dict[str, Any]) -> str:
    tempered = f"probabilities are tempered with T = {manifest['temperature']:.3f}"
    asked = tempered if manifest["classes"] else "in units of the target"
    return f"## Use\n\n`recipe predict FILE --model VERSION` or `recipe serve`; {asked}. package.json has the columns."


def licence(root: Path) -> str:
    """First line of the project's licence file."""
    for name in ("LICENSE", "LICENCE"):
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
            return next((plain(line) for line in lines if line.strip()), "none declared")
    return "None declared: all rights reserved by its author."
