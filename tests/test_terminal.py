"""What a generated project prints: for a person, for a program, for nobody; and what the Tab key completes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import bake, run

ROWS = "\n".join(f"{i % 7},{i % 11},{'yes' if i % 7 > 3 else 'no'}" for i in range(300))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated project with a small table."""
    project = bake(tmp_path_factory.mktemp("small"))
    (project / "data" / "train.csv").write_text(f"a,b,target\n{ROWS}\n")
    text = (project / "recipe.toml").read_text()
    (project / "recipe.toml").write_text(f'{text}\niid = "made up"\nduplicates = "drop"\n')
    return project


def test_json_is_one_line_and_nothing_else(small: Path) -> None:
    done = run(small, "split", "--json", "--force", "a test")
    record = json.loads(done.stdout)
    assert (record["step"], done.stdout.count("\n"), done.stderr) == ("split", 1, "")
    assert record == json.loads((small / "runs" / record["id"] / "record.json").read_text())
    assert [row["id"] for row in json.loads(run(small, "runs", "--json").stdout)] == [record["id"]]
    assert json.loads(run(small, "settings", "--json", "lr=0.5").stdout)["lr"] == 0.5


def test_json_of_what_writes_no_record_is_refused(small: Path) -> None:
    done = run(small, "serve", "--json")
    assert done.returncode == 2 and "--json is not a flag of serve" in done.stderr and not done.stdout


def test_quiet_is_the_last_line(small: Path) -> None:
    done = run(small, "split", "--quiet", "--force", "a test")
    assert done.stdout.startswith("split: ") and done.stdout.count("\n") == 1, done.stdout


def completed(project: Path, shell: str, script: str) -> str:
    """What `script` prints in a shell that has `recipe` as a function and its completion loaded."""
    recipe = project / "recipe"  # on the PATH, as in an activated environment
    recipe.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m recipe_kit "$@"\n')
    recipe.chmod(0o755)
    paths = os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])
    environment = {**os.environ, "PATH": f"{project}:{os.environ['PATH']}", "PYTHONPATH": paths}
    command = [shell, *(["-f"] if shell == "zsh" else []), "-c", script]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BASH = """eval "$(recipe completion bash)"; compopt() { :; }
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=(); _recipe; echo "${COMPREPLY[*]}"; }
try recipe tra; try recipe train --see; try recipe train learn hid; complete -p recipe"""
FISH = "recipe completion fish | source; for words in tra 'train --see' 'train hid'; complete -C \"recipe $words\"; end"
ZSH = 'autoload -Uz compinit; compinit -u -D; eval "$(recipe completion zsh)"; print $_comps[recipe]'


@pytest.mark.parametrize(
    ("shell", "script", "expected"),
    [
        ("bash", BASH, ["train", "--seeds", "hidden=", "complete -o default -F _recipe recipe"]),
        ("fish", FISH, ["train", "--seeds", "hidden="]),
        ("zsh", ZSH, ["_recipe"]),
    ],
)
def test_tab_completes(small: Path, shell: str, script: str, expected: list[str]) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    assert completed(small, shell, script).removesuffix("\n").split("\n") == expected


def test_another_shell_is_refused(small: Path) -> None:
    done = run(small, "completion", "tcsh")
    assert done.returncode == 2 and "'tcsh'" in done.stderr and "Traceback" not in done.stderr
