"""What looks at a project and keeps its books: audit, checks, gates, experiments, report, serving. The project imports none of it.

`recipe_kit.owner` is the owner's package under one name, whatever it is called: `recipe_kit.owner.engine.loop` is the module
`<package>.engine.loop` itself, not a copy. The package is the one that pyproject.toml names: `[tool.recipe] task = "<package>.task"`.
For a project that the template did not generate it is the reference package (see adopted.py).
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

OWNER = f"{__name__}.owner"


def named_in(folder: Path) -> str:
    """The module that the pyproject.toml in `folder` names as the seam; '' where there is none."""
    try:
        found = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    task = found.get("tool", {}).get("recipe", {}).get("task", "")
    return task if isinstance(task, str) else ""


def adopted_in(folder: Path) -> str:
    """The same where it is a file of a project that the template did not generate (see adopted.py), else ''."""
    package = (task := named_in(folder)).removesuffix(".task")
    if (folder / "src" / package / "engine" / "loop.py").is_file():
        return ""
    try:
        return "" if package != task and find_spec(f"{package}.engine.loop") else task
    except ImportError:  # a package that is found only once the folder of the project is on the path
        return task


def find_owner() -> str:
    """The owner's package: of the project that this kit lies in, else of the current folder or the nearest above it; of an
    adopted project the reference package.

    Raises ImportError where none is named.
    """
    here = Path.cwd()
    for folder in (*Path(__file__).resolve().parents, here, *here.parents):
        if task := named_in(folder):
            return f"{__name__}.reference" if adopted_in(folder) else task.removesuffix(".task")
    raise ImportError(
        f'no pyproject.toml in {here} or above it has [tool.recipe] task = "<package>.task"; run recipe inside a project',
        name=OWNER,
    )


class _Owner:
    """Finds `recipe_kit.owner` and all below it. The module keeps its own spec: it is the owner's under a second name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        own = name == OWNER or name.startswith(f"{OWNER}.")
        return ModuleSpec(name, self) if own else None  # type: ignore[arg-type]  # importlib.abc takes longer than the help

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        parent = sys.modules.get(OWNER)
        package = parent.__name__ if parent else find_owner()
        try:
            module = importlib.import_module(package + spec.name.removeprefix(OWNER))
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise ImportError(
                f"{package}, which [tool.recipe] names, is not installed; make setup", name=OWNER
            ) from None
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__, "importlib gave it ours"
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Owner())
