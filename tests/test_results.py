"""What a pull request is told of the training runs that it brings: the workflow's own line, on real runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import yaml
from conftest import run, wines
from test_bake import git

FORCE = ("--force", "the comparison is the matter here")


def told(project: Path, base: str) -> str:
    """The summary that the workflow writes."""
    steps = yaml.safe_load((project / ".github" / "workflows" / "results.yml").read_text())["jobs"]["compare"]["steps"]
    line = steps[1]["run"].replace("origin/$BASE", "$BASE")  # here is no remote
    summary = project / "summary"
    summary.unlink(missing_ok=True)
    variables = {**os.environ, "BASE": base, "GITHUB_STEP_SUMMARY": str(summary)}
    subprocess.run(["bash", "-e", "-c", line], cwd=project, env=variables, check=True)
    assert (project / "results.md").read_text() == summary.read_text()
    return summary.read_text()


def test_a_pull_request_is_told_what_its_runs_changed(tmp_path: Path) -> None:
    project = wines(tmp_path)
    for words in (["audit"], ["split"], ["train", "epochs=3", *FORCE]):
        assert run(project, *words).returncode == 0
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["commit", "-qm", "a first run"],
        ["switch", "-qc", "wider"],
    ):
        git(project, *words)
    assert "No new training run." in told(project, "main")
    assert run(project, "train", "epochs=3", "hidden=8", *FORCE).returncode == 0
    row = json.loads((project / "EXPERIMENTS.jsonl").read_text().removesuffix("\n").split("\n")[-1])
    head, _, line = told(project, "main").removesuffix("\n").split("\n")
    assert head.startswith("| run | what changed | validation | minus its parent (paired) |")
    found = row["difference"]
    assert f"`{row['id']}`" in line and "`hidden " in line and f"`{found['verdict']}`" in line
    assert f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]" in line


def test_a_value_of_the_ledger_is_not_taken_for_markdown(tmp_path: Path) -> None:
    project = wines(tmp_path)
    row = {"id": "0001-train", "step": "train", "hash": "1", "metric": "f1", "value": 0.5, "low": 0.4, "high": 0.6}
    changed = {"loss": ["`|<img src=x>\n# head", "b"]}
    (project / "EXPERIMENTS.jsonl").write_text(json.dumps({**row, "changed": changed}) + "\n")
    git(project, "init", "-q", "-b", "main")
    (line,) = told(project, "main").removesuffix("\n").split("\n")[2:]
    assert line.count("|") == 7 and line.count("`") == 12 and "<img src=x>" in line.split("`")[3]
