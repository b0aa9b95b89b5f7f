"""copier makes the same project as cookiecutter and cruft, and brings what is new without losing what is the owner's."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import QUESTIONS, ROOT, TEMPLATE, bake
from test_bake import git, template_under_git, update_keeps_what_is_yours

ANSWERS = ".copier-answers.yml"


def copier(*words: str, folder: Path, succeeds: bool = True) -> str:
    """A copier command; what it printed."""
    command = [sys.executable, "-m", "copier", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
    return done.stdout + done.stderr


def copied(source: Path, project: Path, **answers: str) -> Path:
    """A project made by `copier copy` from a template under version control."""
    given = [word for name, value in answers.items() for word in ("--data", f"{name}={value}")]
    copier("copy", "--trust", "--defaults", "--quiet", *given, str(source), str(project), folder=source)
    return project


def test_the_questions_are_those_of_cookiecutter() -> None:
    asked = yaml.safe_load((ROOT / "copier.yml").read_text())
    plain = json.loads((ROOT / "cookiecutter.json").read_text())["_copy_without_render"]
    assert asked["_exclude"] == [{"*/findings.toml": "**/findings.toml", "tests/sample/*/*": "tests/sample/*/**"}.get(n, n) for n in plain]
    owned = tomllib.loads((TEMPLATE / "pyproject.toml").read_text().split("[tool.cruft]")[1].split("\n\n")[0])["skip"]
    assert asked["_skip_if_exists"] == [name.replace("cookiecutter.", "") for name in owned]
    prompts = json.loads((ROOT / "cookiecutter.json").read_text())["__prompts__"]
    names = [name for name in QUESTIONS if not name.startswith("_")]
    assert [name for name in asked if not name.startswith("_")] == [*names, "cookiecutter"]
    for name in names:
        assert asked[name]["help"] == prompts[name]
        choices = QUESTIONS[name]
        if isinstance(choices, list):
            assert asked[name]["choices"] == choices and asked[name]["default"] == choices[0]


@pytest.mark.parametrize(
    "answers",
    [
        {"modality": "tabular", "task": "regression", "license": "BSD-3-Clause", "project_name": "Größe & (Preis)", "project_slug": "price"},
        {"modality": "image", "license": "Apache-2.0", "author": 'A "B" \\ C'},
        {"modality": "text", "task": "multiclass", "license": "None", "package": "other"},
    ],
    ids=lambda answers: answers["modality"],
)
def test_the_same_files_come_out(tmp_path: Path, answers: dict[str, str]) -> None:
    project = copied(template_under_git(tmp_path / "template"), tmp_path / "copied", **answers)
    plain = bake(tmp_path / "plain", **answers)
    theirs = {str(p.relative_to(project)): p.read_bytes() for p in project.rglob("*") if p.is_file()}
    written = json.loads(theirs.pop(ANSWERS))
    assert {name: written[name] for name in answers} == answers and written["_commit"]
    assert theirs == {str(p.relative_to(plain)): p.read_bytes() for p in plain.rglob("*") if p.is_file()}


def test_a_bad_answer_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source, project = template_under_git(tmp_path / "template"), tmp_path / "copied"
    words = ("copy", "--trust", "--defaults", "--quiet", "--data", "package=torch", str(source), str(project))
    assert "ERROR: package = 'torch' would hide the library" in copier(*words, folder=tmp_path, succeeds=False)
    assert not project.exists()


def test_copier_update_brings_what_is_new_and_keeps_what_is_yours(tmp_path: Path) -> None:
    source = template_under_git(tmp_path / "template")
    git(source, "tag", "1.0.0")
    project = copied(source, tmp_path / "my-model")

    def update() -> None:
        git(source, "tag", "1.1.0")
        copier("update", "--trust", "--defaults", "--quiet", folder=project)

    update_keeps_what_is_yours(source, project, update)
    assert json.loads((project / ANSWERS).read_text())["_commit"] == "1.1.0"
    assert TEMPLATE.name not in {path.name for path in project.iterdir()}
