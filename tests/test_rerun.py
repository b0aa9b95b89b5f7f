"""A run again by the code of its commit, after the code was edited."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from conftest import run, wines

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


def test_the_recorded_commit_is_checked_out(tmp_path: Path) -> None:
    project = wines(tmp_path)
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('tracker = "wandb"', 'tracker = "none"') + 'device = "cpu"\n')

    def git(*words: str) -> str:
        return subprocess.run([*GIT, *words], cwd=project, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    assert run(project, "split", "--force", "a test").returncode == 0
    git("add", "-A")
    git("commit", "-qm", "as it was")
    assert run(project, "train", "epochs=3", "--force", "a test").returncode == 0
    first = sorted((project / "runs").glob("*-train"))[0].name
    loop = project / "src" / "my_model" / "engine" / "optim.py"
    loop.write_text(loop.read_text() + "\nFACTOR = 2\n")
    model = project / "src" / "my_model" / "tabular" / "model.py"
    text = model.read_text()
    assert "nn.ReLU()" in text
    model.write_text(text.replace("nn.ReLU()", "nn.Tanh()"))
    git("commit", "-qam", "another network")
    done = run(project, "rerun", first, "--force", "a test")
    assert done.returncode == 0 and "the same to the last bit" in done.stdout, done.stdout + done.stderr
    record = json.loads(next((project / "runs").glob("*-rerun/record.json")).read_text())
    assert record["result"]["commit"] == git("rev-parse", "HEAD~1").strip() and record["result"]["different"] == []
    assert len(list((project / "runs").glob("*-train"))) == 1 and "nn.Tanh()" in model.read_text()
    assert len(git("worktree", "list").strip().split("\n")) == 1 and git("status", "--porcelain", "-uno").split() == ["M", "EXPERIMENTS.jsonl"]
