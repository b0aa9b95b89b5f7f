"""What looks at a project and keeps its books: audit, checks, gates, experiments, report, serving. The project imports none of it.

`recipe_kit.owner` is the owner's package under one name, whatever it is called: `recipe_kit.owner.engine.loop` is the module
`<package>.engine.loop` itself, not a copy. The package is the one that pyproject.toml names: `[tool.recipe] task = "<package>.task"`.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

OWNER = f"{__name__}.owner"


def named_in(folder: Path) -> str:
    """The package whose task the pyproject.toml in `folder` names; '' where there is none."""
    try:
        found = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    task = found.get("tool", {}).get("recipe", {}).get("task", "")
    return task.rpartition(".")[0] if isinstance(task, str) else ""


def find_owner() -> str:
    """The owner's package: of the project that this kit lies in, else of the current folder or the nearest above it.

    Raises ImportError where none is named.
    """
    here = Path.cwd()
    for folder in (*Path(__file__).resolve().parents, here, *here.parents):
        if package := named_in(folder):
            return package
    raise ImportError(
        f'no pyproject.toml in {here} or above it has [tool.recipe] task = "<package>.task"; run recipe inside a project',
        name=OWNER,
    )


class _Owner(MetaPathFinder, Loader):
    """Finds `recipe_kit.owner` and all below it. The module keeps its own spec: it is the owner's under a second name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == OWNER or name.startswith(f"{OWNER}.") else None

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
