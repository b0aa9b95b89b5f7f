"""The guide: built without a warning, its reference equal to what the code says, every command and link in it real."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import QUESTIONS, ROOT, TEMPLATE, bake, environment

sys.path.insert(0, str(ROOT / "docs"))

import build
import tour

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", TEMPLATE / "README.md"]


def test_the_reference_says_what_the_code_says() -> None:
    stale = [name for name, text in build.pages().items() if (ROOT / "docs" / "reference" / name).read_text() != text]
    assert stale == [], "run: python docs/build.py"


def test_the_tour_shows_the_code_as_it_is() -> None:
    assert (ROOT / "docs" / "tour.md").read_text() == tour.page(), "run: python docs/tour.py"


def test_the_rows_of_the_recipe_name_tests_commands_and_settings_that_exist() -> None:
    listed = tomllib.loads((ROOT / "docs" / "rows.toml").read_text())["row"]
    of_kind = {modality: build.ask(modality) for modality in QUESTIONS["modality"]}
    commands = {name for group in of_kind["tabular"]["commands"] for name in group}
    known = {name for facts in of_kind.values() for name in facts["settings"]}
    for row in listed:
        assert [t for t in row.get("tests", []) if not build.tests_of(t)] == [], row["id"]
        assert {c.split()[0] for c in row.get("command", "").split(",") if c} <= commands, row["id"]
        assert set(row.get("settings", [])) <= known, row["id"]
    assert len({row["id"] for row in listed}) == len(listed) and not build.tests_of("test_docs.py:test_that_is_not_there")


def test_the_guide_builds_without_a_warning(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("mkdocs")
    done = subprocess.run(
        [str(tool), "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "findings" / "index.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_page_is_in_the_guide() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))


GENERATED = ("checks.md", "bad-input.md", "diagnoses.md")  # they quote what the commands say, cut where it is long
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
PARSE = """
import json, shlex, sys
from recipe_kit import cli
from my_model.config import parse_override
from my_model.errors import UserError
settings, wrong = set(json.loads(sys.argv[1])), []
for command in json.load(sys.stdin):
    if command == "recipe --help":
        continue
    try:
        args = cli.parse(shlex.split(command)[1:])
        names = [parse_override(text)[0] for text in args.overrides]
        wrong += [command] if set(names) - settings - {"setting"} else []
    except (SystemExit, UserError) as problem:
        wrong.append(f"{command}: {problem}")
print(json.dumps(wrong))
"""


def commands(text: str) -> list[str]:
    """Every `recipe ...` in code: between backticks, or a line of an indented or fenced block; its remark cut off."""
    text = text.replace("\\\n", " ").replace("\\|", "|")  # a line that goes on; a bar in a cell of a table
    code = re.findall(r"`(recipe [^`\n]+)`", text)
    code += re.findall(r"(?m)^ {4,}(?:\$ |srun |eval \"\$\()?(recipe [a-z][^\n]*)", text)
    parts = [part.strip() for line in code for part in re.split(r" +#|&&|\|\||[|)]| {3,}", line)]
    return [part for part in parts if part.startswith("recipe ") and "..." not in part]


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """Every setting that the reference documents."""
    return set(re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "docs" / "reference" / "settings.md").read_text()))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_is_one(page: Path, project: Path, settings: set[str]) -> None:
    """Parsed by the program itself: command, flags for that command, and settings that exist."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, json.dumps(sorted(settings))],
        input=json.dumps(commands(page.read_text())),
        env=environment(project),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_commands_are_found_where_they_stand() -> None:
    text = '`recipe train lr=1`, `recipe settings`\n    recipe audit      look\n\n    recipe serve --port 1   # a page\n    eval "$(recipe completion bash)"\n'
    found = ["train lr=1", "settings", "audit", "serve --port 1", "completion bash"]
    assert commands(text) == [f"recipe {words}" for words in found]
    assert len(commands((TEMPLATE / "README.md").read_text())) > 30


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_targets_and_scripts_are_there(page: Path) -> None:
    text = page.read_text()
    makefiles = (ROOT / "Makefile").read_text() + (TEMPLATE / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([\w-]+):", makefiles))
    lines = re.findall(r"(?m)`make ([a-z -]+)`|^    make ([a-z -]+?)(?:   |$| #| &&| [A-Z])", text)
    assert {word for line in lines for part in line for word in part.split()} <= targets
    scripts = re.findall(r"\b((?:bench|tests|docs|demo|fault_injection)/\w+\.py)\b", text)
    assert [name for name in scripts if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("modality", QUESTIONS["modality"])
def test_every_setting_is_in_the_reference(tmp_path: Path, modality: str, settings: set[str]) -> None:
    """Those of recipe.toml, with and without a # before them."""
    text = (bake(tmp_path, modality=modality) / "recipe.toml").read_text()
    assert set(re.findall(r"(?m)^(?:# )?(\w+) = ", text)) <= settings


def test_the_picture_is_small_and_shown() -> None:
    assert 10_000 < (ROOT / "docs" / "report.png").stat().st_size < 300_000
    assert "(docs/report.png)" in (ROOT / "README.md").read_text()
