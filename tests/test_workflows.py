"""The workflows: valid by GitHub's schema, clean by zizmor and by a fork of actionlint, pinned by SHA, never a stranger's
code on a GPU runner."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, TEMPLATE

WORKFLOWS = sorted(
    [*(ROOT / ".github" / "workflows").glob("*.yml"), *(TEMPLATE / ".github" / "workflows").glob("*.yml")]
)
NAMES = [str(path.relative_to(ROOT)) for path in WORKFLOWS]


@pytest.mark.parametrize(
    "command",
    [
        ["zizmor", "--offline", "--no-progress"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["jactionlint", "--shellcheck="],  # actionlint itself is on no package index with its program
    ],
)
def test_the_linters_find_nothing(command: list[str]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run([str(tool), *command[1:], *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_actions_are_pinned_and_permissions_small(path: Path) -> None:
    text = path.read_text()
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) and re.match(r" # v\d", note) for name, note in uses), uses
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert all("timeout-minutes" in job for job in content["jobs"].values())


@pytest.mark.parametrize("path", [p for p in WORKFLOWS if "GPU_RUNNER" in p.read_text()], ids=str)
def test_gpu_runners_never_see_a_pull_request(path: Path) -> None:
    triggers = yaml.safe_load(path.read_text())[True]  # YAML 1.1 reads the key `on` as true
    assert set(triggers) == {"push", "schedule", "workflow_dispatch"}
    assert triggers["push"] == {"branches": ["main"]}
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert (
        jobs["smoke"]["if"] == "${{ vars.GPU_RUNNER != '' }}" and jobs["smoke"]["runs-on"] == "${{ vars.GPU_RUNNER }}"
    )
    assert jobs["notice"]["if"] == "${{ vars.GPU_RUNNER == '' }}"


def test_the_baked_workflows_are_these_very_files(project: Path) -> None:
    for path in (TEMPLATE / ".github" / "workflows").glob("*.yml"):
        assert (project / ".github" / "workflows" / path.name).read_bytes() == path.read_bytes()


def test_one_version_of_ruff_is_used() -> None:
    hooks = yaml.safe_load((TEMPLATE / ".pre-commit-config.yaml").read_text())["repos"]
    (rev,) = [hook["rev"] for hook in hooks if "ruff" in hook["repo"]]
    for lock in (ROOT / "requirements.lock", TEMPLATE / "requirements.lock"):
        assert f"\nruff=={rev.removeprefix('v')} " in lock.read_text()
