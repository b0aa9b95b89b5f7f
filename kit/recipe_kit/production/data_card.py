"""The data card: what the model was trained on, from the audit, the split and the recipe (after Gebru et al. 2021)."""

from __future__ import annotations

from typing import Any

from ..owner.engine.splits import read_manifest
from ..project import Project
from .model_card import code, plain

Record = dict[str, Any]
COLUMNS = 60  # listed by name; the rest are counted


def data_card(project: Project) -> str:
    """DATA_CARD.md. What records cannot know is left as a question to the owner of the data."""
    audits = [r for r in project.records("audit") if r["fingerprint"]["data"] == project.fingerprint["data"]]
    sections = [
        f"# The data of {project.root.name}",
        _what(project),
        "## Where it comes from\n\nNot declared. Who collected it, when, for what, and were the people in it asked? Under which"
        " licence or agreement may it be used, and until when?",
        f"## Columns\n\n{_columns(project)}",
        f"## How it was parted\n\n{_parts(project)}",
        f"## What the audit found\n\n{_audit(audits)}",
    ]
    return "\n\n".join(sections) + "\n"


def _what(project: Project) -> str:
    data = project.data
    unlabeled = 0 if data.unlabeled is None else len(data.unlabeled)
    left_out = f"; {unlabeled:,} more have no target and were rejected" if unlabeled else ""
    return (
        f"{code(project.config.data)}, sha256 {data.sha256}: {len(data):,} rows with the target {code(data.target)}"
        f" (task: {project.config.task}){left_out}."
    )


def _columns(project: Project) -> str:
    roles: dict[str, list[str]] = {}
    for name, role in project.data.roles.items():
        roles.setdefault(role, []).append(name)
    lines = [
        f"- {role}: {', '.join(map(code, names[:COLUMNS]))}"
        + (f" and {len(names) - COLUMNS:,} more" if len(names) > COLUMNS else "")
        for role, names in roles.items()
    ]
    if project.config.drop:
        lines.append(f"- left out on purpose: {', '.join(map(code, project.config.drop))}")
    return "\n".join(lines)


def _parts(project: Project) -> str:
    split = read_manifest(project)
    lines = [f"Kind: {split['kind']}, seed {split['seed']}, pinned by hashes in split.json.", ""]
    for name, part in split["parts"].items():
        classes = ", ".join(f"{plain(label)} {n:,}" for label, n in list((part.get("classes") or {}).items())[:20])
        lines.append(f"- {name}: {part['rows']:,} rows" + (f" ({classes})" if classes else ""))
    apart = {"group": project.config.group, "time": project.config.time}
    said = [f"{name} = {code(value)}" for name, value in apart.items() if value]
    if split.get("iid"):
        said.append(f'declared independent: "{plain(split["iid"])}"')
    if project.config.imbalance:
        lines.append(f'- classes far apart in size, left so: "{plain(project.config.imbalance)}"')
    return "\n".join([*lines, "", f"Rows belong together by: {'; '.join(said) or 'nothing that was declared'}."])


def _audit(audits: list[Record]) -> str:
    whole = [r for r in audits if "rows" in r["result"]]  # without those that only read a reviewed sheet back
    if not whole:
        return "Nothing: these data were not audited."
    newest = whole[-1]
    loud = [f for f in newest["findings"] if f["verdict"] in ("WARN", "FAIL")]
    green = [f["check"] for f in newest["findings"] if f["verdict"] == "PASS"]
    lines = [f"- {f['verdict']} {f['check']}: {plain(f['observed'])}" for f in loud]
    reviewed = [f["observed"] for r in audits for f in r["findings"] if f["check"] == "label review"]
    lines.append(f"- labels reviewed by hand: {reviewed[-1] if reviewed else 'not yet'}")
    lines += [f"- gone on past a FAIL: {plain(line)}" for line in newest["forced"]]
    if green:
        lines.append(f"- passed: {', '.join(green)}")
    return "\n".join([*lines, "", f"From {newest['id']} of {newest['started'][:10]}."])
