"""What a package was made with: its software bill of materials in CycloneDX 1.6, which scanners of vulnerabilities read."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from ..engine.project import LIBRARIES

FILE = "sbom.cdx.json"
LICENSED = "License :: "  # how a classifier of licenses begins


def bill(root: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The model, and every installed library that the project's dependencies need, with its version and license."""
    wanted = declared(root)
    found = closure(wanted)
    refs = {name: f"pkg:pypi/{name}@{library.version}" for name, library in found.items()}
    components = [
        {
            "type": "library",
            "bom-ref": refs[name],
            "name": name,
            "version": library.version,
            "purl": refs[name],
            "licenses": licenses(library),
        }
        for name, library in found.items()
    ]
    model = {"type": "machine-learning-model", "bom-ref": "model", "name": root.name, "version": manifest["run"]}
    needs = {"model": wanted, **{refs[name]: needed(library) for name, library in found.items()}}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": manifest["exported"], "component": model},
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted({refs[name] for name in names if name in refs})}
            for ref, names in needs.items()
        ],
    }


def declared(root: Path) -> list[str]:
    """Names of the dependencies in pyproject.toml; the libraries of every record where there is none."""
    path = root / "pyproject.toml"
    if not path.is_file():
        return list(LIBRARIES)
    return [plain(text) for text in tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]]


def closure(names: list[str]) -> dict[str, Distribution]:
    """These libraries and all that they need, as far as they are installed, by name in order."""
    found: dict[str, Distribution] = {}
    todo = [*names]
    while todo:
        name = todo.pop()
        if name not in found:
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:  # for another platform or version of Python
                continue
            todo += needed(found[name])
    return dict(sorted(found.items()))


def needed(library: Distribution) -> list[str]:
    """Names of what a library needs without its extras."""
    return [plain(text) for text in library.requires or [] if not re.search(r";.*\bextra\s*==", text)]


def plain(requirement: str) -> str:
    """The name in a requirement, as the index writes it: "Foo_Bar[x]>=1; ..." -> "foo-bar"."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""


def licenses(library: Distribution) -> list[dict[str, Any]]:
    """Its SPDX expression where it declares one, else the names of its classifiers."""
    told: Any = library.metadata
    if expression := told.get("License-Expression"):
        return [{"expression": expression}]
    said = [text.rpartition(" :: ")[2] for text in told.get_all("Classifier") or [] if text.startswith(LICENSED)]
    return [{"license": {"name": name}} for name in said]
