"""The guide: built without a warning, its reference equal to what the code says, every command and link in it real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TEMPLATE

sys.path.insert(0, str(ROOT / "docs"))

import build  # noqa: E402

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", TEMPLATE / "README.md"]


def test_the_reference_says_what_the_code_says() -> None:
    stale = [name for name, text in build.pages().items() if (ROOT / "docs" / "reference" / name).read_text() != text]
    assert stale == [], "run: python docs/build.py"


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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_named_is_one(page: Path) -> None:
    known = set(re.findall(r"`recipe ([a-z-]+)`", (ROOT / "docs" / "reference" / "commands.md").read_text()))
    named = set(re.findall(r"(?:`|^    |srun )recipe ([a-z][a-z-]*)", page.read_text(), re.M))
    assert named <= known, named - known
