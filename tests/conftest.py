"""Baking for the tests: a bake takes 0.05 s, so tests bake freely."""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "demo"))
import data  # noqa: E402

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
QUESTIONS = {k: v for k, v in json.loads((ROOT / "cookiecutter.json").read_text()).items() if not k.startswith("_")}

KIT = ROOT / "kit"

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.dont_write_bytecode = True  # nothing may be left in the folders of template and kit


def link(folder: Path) -> None:
    """The template's package with every kind of data, as `my_model`, and the kit that looks at it, where `folder` is on the path."""
    (folder / "my_model").symlink_to(TEMPLATE / "src" / "{{cookiecutter.package}}")
    (folder / "recipe_kit").symlink_to(KIT / "recipe_kit")


def module(name: str, package: str = "my_model") -> Any:
    """A module of the kit by its name, or of the package that it looks at."""
    path = KIT / "recipe_kit" / name.replace(".", "/")
    return importlib.import_module(f"{'recipe_kit' if path.with_suffix('.py').exists() else package}.{name}")


if importlib.util.find_spec("recipe_kit") is None:  # a process that has imported this file may load it again for pytest
    linked = tempfile.mkdtemp(prefix="linked-")
    atexit.register(shutil.rmtree, linked, ignore_errors=True)
    link(Path(linked))
    sys.path.insert(0, linked)


def inherited() -> dict[str, str]:
    """Variables with which another process imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}


def bake(folder: Path, **answers: str) -> Path:
    """Generate a project. Unknown answers are refused here, since cookiecutter ignores them silently."""
    assert set(answers) <= set(QUESTIONS), set(answers) - set(QUESTIONS)
    return Path(
        cookiecutter(str(ROOT), no_input=True, default_config=True, extra_context=answers, output_dir=str(folder))
    )


def matrix() -> list[dict[str, str]]:
    """Every combination of the choices in cookiecutter.json that the hooks accept; the licence varies along."""
    licences = itertools.cycle(QUESTIONS["license"])
    pairs = itertools.product(QUESTIONS["modality"], QUESTIONS["task"])
    return [{"modality": m, "task": t, "license": next(licences)} for m, t in pairs if t != "ranking" or m == "tabular"]


def wines(folder: Path, **answers: str) -> Path:
    """A project on the wines, ready to be split."""
    project = bake(folder, task="multiclass", **answers)
    data.wine(project / "data" / "train.csv")
    path = project / "recipe.toml"
    path.write_text(path.read_text() + 'iid = "one row a bottle"\n')
    return project


def environment(project: Path) -> dict[str, str]:
    """Variables with which a process of its own finds the project's package, and takes one thread."""
    paths = os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def run(project: Path, *words: str, package: str = "recipe_kit", timeout: int = 600) -> subprocess.CompletedProcess[str]:
    """`recipe ...` in a generated project, as its own process with one thread."""
    return subprocess.run(
        [sys.executable, "-m", package, *words],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minutes-long tests of generated projects begin first, so that no process works at the end while the other waits."""
    items.sort(key=lambda item: item.path.name != "test_run.py")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated project with the default answers; read it, do not write to it."""
    return bake(tmp_path_factory.mktemp("default"))
