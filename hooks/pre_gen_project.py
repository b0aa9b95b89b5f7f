"""Refuse answers that would make a broken project, each with one sentence, before a file is written."""

import json
import keyword
import re
import sys

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")

# Import names that a package of this name would hide; the project could not run.
TAKEN = set(getattr(sys, "stdlib_module_names", ())) | {
    "cleanlab", "cookiecutter", "datasets", "datasketch", "filelock", "hypothesis", "imagehash", "jinja2", "lightgbm", "matplotlib", "mypy",
    "numpy", "optuna", "pandas", "peft", "PIL", "polars", "pydantic", "pytest", "rich", "ruff", "safetensors", "scipy", "sklearn", "src", "test",
    "tests", "tokenizers", "torch", "torchvision", "transformers", "wandb", "xgboost", "catboost", "recipe", "data", "runs",
}  # fmt: skip


def problem(answers: dict) -> str:
    """What is wrong with the answers, in one sentence; empty when nothing is."""
    name, slug, package = answers["project_name"], answers["project_slug"], answers["package"]
    for key in ("project_name", "description", "author"):
        value = answers[key]
        if not value.strip():
            return f"{key} is empty; give it a few words"
        if len(value) > 120:
            return f"{key} has {len(value)} characters; at most 120 are allowed"
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            return f"{key} = {value!r} holds a line break or control character; write it on one line"
        if any(mark in value for mark in ("{" + "{", "{" + "%", "{" + "#")):
            return f"{key} = {value!r} holds template marks; leave them out"
    if any(mark in name for mark in "\"'`\\<>"):
        return f"project_name = {name!r} holds a quote, backslash or angle bracket; use letters, digits, spaces and .,&()+-"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", slug):
        return f"project_slug = {slug[:80]!r} is not a folder name; use 1 to 60 lower-case letters, digits and hyphens"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", package):
        return f"package = {package[:80]!r} is not a package name; use 1 to 60 lower-case letters, digits and underscores, a letter first"
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return f"package = {package!r} is a Python keyword; choose another name"
    if package in TAKEN:
        return f"package = {package!r} would hide the library or folder of that name; choose another, for example {package}_model"
    if answers["task"] == "ranking" and answers["modality"] != "tabular":
        return f"task = 'ranking' needs modality = 'tabular'; {answers['modality']} has no ranking"
    return ""


found = problem(ANSWERS)
if found:
    print(f"ERROR: {found}.", file=sys.stderr)
    sys.exit(1)
