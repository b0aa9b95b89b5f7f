"""`recipe` in this process, on projects that share the template's package: torch is imported once, a command costs what it computes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import module
from faults import Answer, ask

COMMON = {"tracker": "none", "device": "cpu", "epochs": 3, "bootstrap": 200, "iid": "drawn one by one"}


class Inside:
    """A project in `root`. settings: lines of its recipe.toml. package: the code that its owner has."""

    def __init__(self, root: Path, package: str = "my_model", **settings: Any) -> None:
        self.package, self.root = package, root
        (root / "data").mkdir(parents=True, exist_ok=True)
        self.settings: dict[str, Any] = {}
        self.set(**{**COMMON, **settings})

    def set(self, **settings: Any) -> None:
        """Lines of recipe.toml, as its owner would write them."""
        self.settings |= settings
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in self.settings.items()]
        (self.root / "recipe.toml").write_text("".join(lines), encoding="utf-8")

    def recipe(self, *argv: str) -> Answer:
        """One command."""
        return ask(self.root, list(argv))

    def done(self, *argv: str) -> dict[str, Any]:
        """One command that ends well; its record."""
        answer = self.recipe(*argv)
        assert answer.status == 0, answer.output
        return self.record(argv[0])

    def record(self, step: str) -> dict[str, Any]:
        """The newest record of a step."""
        paths = sorted((self.root / "runs").glob(f"*-{step.replace('-', '_')}/record.json"))
        return json.loads(paths[-1].read_text(encoding="utf-8"))

    def check_result(self, step: str, check: str) -> dict[str, Any]:
        """What the newest record of a step says of a check."""
        return next(f for f in self.record(step)["findings"] if f["check"] == check)

    def opened(self) -> bool:
        """Whether the test part was opened."""
        return (self.root / "TEST_ACCESS.json").exists()

    def module(self, name: str) -> Any:
        """A module of the kit, or of the owner's package."""
        return module(name, self.package)

    def project(self) -> Any:
        """The project as the next command sees it."""
        cli = self.module("cli")
        return cli.open_project(cli.parse(["audit", "--project", str(self.root), "--quiet"]))


@pytest.fixture
def adopt() -> Iterator[Callable[[Path, str], None]]:
    """A function that makes the kit look at the package in this folder, until the test ends: the kit is imported anew for it."""
    kept, finders, path = _of_kit(), [*sys.meta_path], [*sys.path]

    def change(folder: Path, package: str) -> None:
        sys.path.insert(0, str(folder))
        for name in _of_kit():
            del sys.modules[name]
        vars(importlib.import_module("recipe_kit"))["find_owner"] = lambda: package

    yield change
    for name in _of_kit():
        del sys.modules[name]
    sys.modules |= kept
    sys.meta_path[:], sys.path[:] = finders, path


def _of_kit() -> dict[str, ModuleType]:
    return {name: found for name, found in sys.modules.items() if name.partition(".")[0] == "recipe_kit"}
