"""Existing projects get the kit by a file of functions: both examples walk through the recipe, and their mistakes are found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KIT, ROOT

EXAMPLES = ROOT / "examples"
STEPS = ("audit", "split", "baseline", "check", "train", "diagnose", "report")


def recipe(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`recipe ...` there, by a kit that lies elsewhere."""
    variables = {**os.environ, "PYTHONPATH": str(KIT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "recipe_kit", *words]
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False, timeout=600)


def adopted(name: str, folder: Path) -> Path:
    """An example with its data."""
    project = Path(shutil.copytree(EXAMPLES / name, folder / name))
    subprocess.run([sys.executable, "-B", str(project / "make_data.py")], check=True)
    return project


def verdicts(project: Path, step: str) -> dict[str, str]:
    """check -> verdict of the newest record of a step."""
    record = json.loads(sorted(project.glob(f"runs/*-{step}/record.json"))[-1].read_text())
    return {finding["check"]: finding["verdict"] for finding in record["findings"]}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, audited and split; copy it, do not write to it."""
    project = adopted("script", tmp_path_factory.mktemp("adopted"))
    for step in STEPS[:3]:
        assert recipe(project, step).returncode == 0
    return project


@pytest.mark.parametrize("name", ["script", pytest.param("trainer", marks=pytest.mark.slow)])
def test_an_existing_project_walks_through_the_recipe(name: str, tmp_path: Path) -> None:
    project = adopted(name, tmp_path)
    code = [line for line in (project / "recipe_task.py").read_text().split("\n") if line.strip()]
    assert len(code) <= 40
    for step in STEPS:
        done = recipe(project, step)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (step, done.stdout, done.stderr)
    said = verdicts(project, "check")
    assert said["overfit a batch"] == said["rows and labels"] == said["loss of known outputs"] == said["no mixing"] == "PASS"
    assert "FAIL" not in said.values() and list(said.values()).count("PASS") >= 19
    curves = json.loads(next(project.glob("runs/*-train/curves.json")).read_text())
    assert curves[0]["val_loss"] > curves[-1]["val_loss"] and (project / "report.html").stat().st_size > 30_000


# What its owner may get wrong, and a check that says so.
MISTAKES = {
    "probabilities into a loss of logits": ("return self.head(self.body(x))", "return torch.sigmoid(self.head(self.body(x)))", "output kind"),
    "gradients kept": ("    optimizer.zero_grad()\n", "", "fresh gradients"),
    "labels of other rows": (".unsqueeze(1)\n", ".roll(1).unsqueeze(1)\n", "rows and labels"),
    "a body that gets no gradient": ("self.head(self.body(x))", "self.head(self.body(x).detach())", "every layer learns"),
    "uphill": ("    loss.backward()", "    (-loss).backward()", "downhill"),
    "rows that mix": ("self.head(self.body(x))", "self.head(self.body(x) - self.body(x).mean(0))", "no mixing"),
    "a sum": ("(net(x), y)\n    loss.b", "(net(x), y, reduction='sum')\n    loss.b", "mean, not sum"),
    "an input that is dropped": ("self.head(self.body(x))", "self.head(self.body(x) * 0)", "input matters"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.slow
def test_a_mistake_in_its_own_code_is_found(mistake: str, script: Path, tmp_path: Path) -> None:
    old, new, check = MISTAKES[mistake]
    project = Path(shutil.copytree(script, tmp_path / "project"))
    text = (project / "train.py").read_text()
    assert text.count(old) == 1
    (project / "train.py").write_text(text.replace(old, new))
    assert recipe(project, "check").returncode == 1
    assert verdicts(project, "check")[check] == "FAIL", verdicts(project, "check")


def test_clipping_and_weights_of_its_own_are_sound(script: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(script, tmp_path / "project"))
    text = (project / "train.py").read_text()
    text = text.replace("    loss.backward()\n", "    loss.backward()\n    nn.utils.clip_grad_norm_(net.parameters(), 0.1)\n")
    (project / "train.py").write_text(text.replace("(net(x), y)", "(net(x), y, pos_weight=torch.tensor(3.0))"))
    edit("(outputs, y, ", "(outputs, y, pos_weight=torch.tensor(3.0), ")(project)
    done = recipe(project, "check")
    assert done.returncode == 0, done.stdout


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        text = (project / "recipe_task.py").read_text()
        assert old in text
        (project / "recipe_task.py").write_text(text.replace(old, new))

    return change


REFUSED = {
    "no loss": (edit("def loss(", "def cost("), "baseline", "recipe_task.py has no function loss; it needs examples"),
    "a missing import": (edit("import train as script", "import trian as script"), "audit", "cannot be imported: No module named 'trian'"),
    "too few rows": (edit("return tumors.x, tumors.y", "return tumors.x[:-1], tumors.y"), "baseline", "it must be a tensor of"),
    "x alone": (edit("return tumors.x, tumors.y", "return tumors.x"), "baseline", "examples() returned Tensor; it must return x and y"),
    "one-hot": (edit("return tumors.x, tumors.y", "return tumors.x, tumors.y.repeat(1, 2)"), "baseline", "that is no tensor [n] or [n, 1]"),
    "an error in it": (edit("Tumors(rows,", "Tumors(rows[['none']],"), "baseline", "examples() failed at recipe_task.py:14: KeyError"),
    "another command": (lambda _: None, "export", "needs a project that the template generated; an adopted one has: audit"),
    "one value for all": (edit('y, reduction="none")', "y)"), "train", "it must give one value for each (reduction="),
    "no outputs": (edit('"outputs": outputs', '"output": outputs'), "train", "it must be a dict with train_loss and outputs"),
}  # fmt: skip


@pytest.mark.parametrize("case", [c if i < 5 else pytest.param(c, marks=pytest.mark.slow) for i, c in enumerate(REFUSED)])
def test_what_does_not_fit_is_one_sentence(case: str, script: Path, tmp_path: Path) -> None:
    change, step, said = REFUSED[case]
    project = Path(shutil.copytree(script, tmp_path / "project"))
    change(project)
    done = recipe(project, step, *(["--force", "to see what it says"] if step == "train" else []))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_a_change_of_its_code_asks_for_another_check(script: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(script, tmp_path / "project"))
    assert recipe(project, "check").returncode == 0
    (project / "train.py").write_text((project / "train.py").read_text().replace("width=64", "width=32"))
    done = recipe(project, "train")
    assert done.returncode == 2 and "check" in done.stderr
