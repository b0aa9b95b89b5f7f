"""Write docs/reference/ from the code of generated projects: commands, settings, findings, and the rows of the recipe with what
shows each. The tests hold it against the code.

python docs/build.py
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package}}"
sys.path[:0] = [str(ROOT / "tests")]

from conftest import QUESTIONS, bake  # noqa: E402

ASK = """
import json, sys
from recipe_kit import cli, commands
from recipe_kit.checks.check_result import sentences
from my_model.config import GROUPS, Config, allowed
from my_model.task import find_task
task = find_task(sys.argv[1])
settings = {
    name: {"default": field.get_default(), "group": field.json_schema_extra["group"], "off": field.json_schema_extra["off"],
           "text": field.description, "allowed": allowed(task.settings, name), "shared": name in Config.model_fields
           and Config.model_fields[name].get_default() == field.get_default()}
    for name, field in task.settings.model_fields.items()
}
flags = [(", ".join(commands.names_of(flag)), how.get("metavar", ""), how["help"], [name for name in commands.COMMANDS if flag in commands.flags_of(name)]) for flag, how in commands.FLAGS.items()]
groups = [{name: (command.help, command.of) for name, command in group.items()} for group in (commands.STEPS, commands.EXPERIMENTS, commands.PRODUCTION, commands.OTHERS)]
print(json.dumps({"settings": settings, "flags": flags, "commands": groups, "groups": GROUPS, "sentences": sentences()}))
"""
STAGES = {  # the checks of findings.toml in the order of the file; each stage starts with the check named here
    "class balance": "recipe audit",
    "every row in one part": "recipe split",
    "signal": "recipe baseline",
    "rows and labels": "recipe check",
    "learning rate": "recipe lr-find, train, evaluate",
    "sound curves": "recipe diagnose, and the end of every run",
    "learning curve": "recipe learning-curve, cv, rerun, tune",
}


@cache
def ask(modality: str) -> dict[str, Any]:
    """What a generated project of this modality says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        project = bake(Path(folder), modality=modality)
        paths = os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])
        environment = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, modality], env=environment, capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout)


def cell(text: Any) -> str:
    """Text for a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""]


def takers(names: list[str], facts: dict[str, Any]) -> str:
    """The commands that take a flag."""
    return "every command" if len(names) == sum(map(len, facts["commands"])) else ", ".join(names)


def commands(facts: dict[str, Any]) -> str:
    """Every command and every flag."""
    lines = ["# Commands", "", "`recipe <command> [setting=value ...] [flags]`, in the order of the recipe.", ""]
    for group in facts["commands"]:
        lines += table(["command", "what it does"], [[f"`recipe {name}{f' {of}' if of else ''}`", text] for name, (text, of) in group.items()])
    lines += [
        "## Flags",
        "",
        *table(["flag", "meaning", "of"], [[f"`{n} {m}`".replace(" `", "`"), t, takers(of, facts)] for n, m, t, of in facts["flags"]]),
    ]
    lines += [
        "Exit status: 0 done, 1 a check is FAIL, 2 a mistake that the message explains, 130 or 143 interrupted or terminated."
    ]
    return "\n".join(lines) + "\n"


def settings(facts: dict[str, dict[str, Any]]) -> str:
    """Every setting: the shared ones, then what each modality adds or sets otherwise."""
    lines = [
        "# Settings",
        "",
        "One flat table, `recipe.toml`; any of them can be set for one command with `setting=value`.",
        "",
    ]
    first = next(iter(facts.values()))["settings"]
    everywhere = [name for name in first if all(f["settings"].get(name, {}).get("shared") for f in facts.values())]
    parts = {"Shared": {n: first[n] for n in everywhere}}
    parts |= {m.capitalize(): {n: k for n, k in f["settings"].items() if n not in everywhere} for m, f in facts.items()}
    for title, found in parts.items():
        lines += [f"## {title}", ""]
        rows = [
            [f"`{n}`", f"`{json.dumps(k['default'])}`", k["text"], k["allowed"], k["group"]] for n, k in found.items()
        ]
        lines += table(["setting", "default", "meaning", "it must be", "group"], rows)
    return "\n".join(lines)


def findings(facts: dict[str, dict[str, Any]]) -> str:
    """Every check: what it expects, likely causes, the next command."""
    lines = [
        "# What the checks say",
        "",
        "What each check expects, the likely causes when it fails, most likely first, and what to do next. `{names}` are",
        "filled in with the numbers of the case. How often each of them is right is in [the scoreboard](../checks.md).",
        "",
    ]
    shown: dict[str, dict[str, Any]] = {}
    files = [ROOT / "kit" / "recipe_kit" / modality / "findings.toml" for modality in facts]
    only = {check: path.parent.name for path in files if path.exists() for check in tomllib.loads(path.read_text())}
    for modality, fact in facts.items():
        own = {c: words for c, words in fact["sentences"].items() if c not in shown and only.get(c, modality) == modality}
        for check, words in own.items():
            if check in STAGES:
                lines += [f"## {STAGES[check]}", ""]
            elif check == next(iter(own)) and shown:
                lines += [f"## only {modality}", ""]
            lines += [f"### {check}", "", f"Expected: {words['expected']}.", ""]
            for name, causes in words.items():
                if isinstance(causes, list):
                    lines += [*([] if name == "causes" else [f"When {name.replace('_', ' ')}:", ""])]
                    lines += [f"{i}. *{c.split(': ', 1)[0]}*: {c.split(': ', 1)[1]}" for i, c in enumerate(causes, 1)]
                    lines += [""]
            lines += [f"Next: `{words['next']}`", ""] if words.get("next") else []
        shown |= own
    return "\n".join(lines)


def crossings() -> set[tuple[str, str]]:
    """(module, name) of what the kit takes from the owner's package: the seam as it is. "" is a whole module."""
    found = set()
    for path in (ROOT / "kit" / "recipe_kit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "owner":
                base = PACKAGE.joinpath(*str(node.module).split(".")[1:])
                for name in node.names:
                    whole = (base / f"{name.name}.py").exists()
                    inner = str(node.module).removeprefix("owner").strip(".")
                    found.add((f"{inner}.{name.name}".strip("."), "") if whole else (inner, name.name))
    return found


def seam() -> str:
    """What the kit takes from the owner's package, with what each thing says of itself."""
    lines = [
        "# What the kit takes from your package",
        "",
        "`tools/recipe_kit` looks at your package through these names, and through the files that a run leaves in `runs/`. Edit what is",
        "behind a name as you like; whoever renames one, or changes what it takes and returns, has to change the kit too. Everything else in",
        "the package is yours alone. A test fails when a name is missing.",
        "",
    ]
    taken = sorted(crossings())
    for module in dict.fromkeys(module for module, _ in taken):
        tree = ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text())
        lines += [f"## {module.replace('.', '/')}.py", "", _said(tree), ""]
        known = {getattr(node, "name", ""): node for node in tree.body}
        rows = [[f"`{name}`", _said(known[name]) if name in known else "a value"] for of, name in taken if of == module and name]
        lines += table(["name", "what it is"], rows) if rows else []
    return "\n".join(lines).rstrip("\n") + "\n"


def _said(node: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def tests_of(named: str) -> list[str]:
    """The tests that "file:function" names, "*" for all of a file; of this repository or of generated projects."""
    file, function = named.split(":")
    found = [path for path in ROOT.rglob(file) if "tests" in path.parts]
    names = [name for path in found for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)]
    return [name for name in names if function in ("*", name)]


def rows(facts: dict[str, dict[str, Any]]) -> str:
    """Every row of the recipe with what runs it, its defaults and what shows it; a row without a test, or with a part
    missing, says so."""
    listed = tomllib.loads((ROOT / "docs" / "rows.toml").read_text())["row"]
    lines = []
    for row in listed:
        kinds = row.get("kinds", list(facts))
        own = {k: v["settings"] for k, v in facts.items() if k in kinds}
        defaults = [f"`{n} = {json.dumps(d['default'])}`" for n in row.get("settings", []) if (d := next((s[n] for s in own.values() if n in s), None))]
        tests = ", ".join(f"`{named.replace(':*', '').replace(':', ' ')}`" for named in row.get("tests", []))
        command = ", ".join(f"`recipe {name.strip()}`" for name in row.get("command", "").split(",") if name)
        still = row.get("open", "" if tests else "no test")
        kind = "all" if kinds == list(facts) else ", ".join(kinds)
        lines.append([row["id"], row["title"], command, ", ".join(defaults), kind, tests, f"**open**: {still}" if still else ""])
    shut = sum(not line[-1] for line in lines)
    head = [
        "# The rows of the recipe",
        "",
        f"What a practitioner must be able to run, row by row: {shut} of {len(lines)} are shown whole by the tests named beside them,",
        f"{len(lines) - shut} have a part that is open. The page is made from `docs/rows.toml`; the tests hold that commands, settings and",
        "tests exist. Where two kinds of data have different defaults, that of the first is shown.",
        "",
    ]
    return "\n".join([*head, *table(["", "row", "command", "defaults", "data", "shown by", "open"], lines)])


def pages() -> dict[str, str]:
    """Every page of docs/reference/ by name."""
    facts = {modality: ask(modality) for modality in QUESTIONS["modality"]}
    of_tables = facts["tabular"]
    return {"commands.md": commands(of_tables), "settings.md": settings(facts), "findings.md": findings(facts), "rows.md": rows(facts), "seam.md": seam()}


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / "docs" / "reference" / name).write_text(text)
        print(f"docs/reference/{name}")
