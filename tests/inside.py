"""`recipe` in this process, on projects that share one generated package: torch is imported once, a command costs what it computes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from conftest import bake
from faults import Answer, ask

COMMON = {"tracker": "none", "device": "cpu", "epochs": 3, "bootstrap": 200, "iid": "drawn one by one"}


class Inside:
    """A project in `root` on the package of a kind of data. settings: lines of its recipe.toml."""

    def __init__(self, package: str, root: Path, **settings: Any) -> None:
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
        return ask(self.package, self.root, list(argv))

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
        """A module of the package."""
        return importlib.import_module(f"{self.package}.{name}")

    def project(self) -> Any:
        """The project as the next command sees it."""
        cli = self.module("cli")
        return cli.open_project(cli.parse(["audit", "--project", str(self.root), "--quiet"]))


def generate(folder: Path, package: str, modality: str = "tabular") -> str:
    """Generate a project and make its package importable; returns the package."""
    project = bake(folder, project_slug=package.replace("_", "-"), package=package, modality=modality)
    sys.path.insert(0, str(project / "src"))
    return package
