"""What a package was made with: its software bill of materials in CycloneDX 1.6, which scanners of vulnerabilities read."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from ..runs import LIBRARIES

FILE = "sbom.cdx.json"


def bill(root: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The model, and every installed library that the dependencies in pyproject.toml need, with its version and license."""
    path, wanted = root / "pyproject.toml", list(LIBRARIES)
    if path.is_file():
        wanted = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    model = {"type": "machine-learning-model", "name": root.name, "version": manifest["run"]}
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"timestamp": manifest["exported"], "component": model},
        "components": [component(name, library) for name, library in sorted(closure(wanted).items())],
    }  # fmt: skip


def component(name: str, library: Distribution) -> dict[str, Any]:
    """One library; its license as an SPDX expression where it declares one, else as its classifiers name it."""
    told: Any = library.metadata
    said = [text.rpartition(" :: ")[2] for text in told.get_all("Classifier") or [] if text.startswith("License ::")]
    spdx = told.get("License-Expression")
    licenses = [{"expression": spdx}] if spdx else [{"license": {"name": license}} for license in said]
    about = {"type": "library", "name": name, "version": library.version, "licenses": licenses}
    return {**about, "purl": f"pkg:pypi/{name}@{library.version}"}


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """These libraries and all that they need without their extras, as far as they are installed, by the index's name."""
    found: dict[str, Distribution] = {}
    todo = [*requirements]
    while todo:
        name = re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", todo.pop())[0]).lower()
        if name not in found:
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:  # for another platform or version of Python
                continue
            todo += [text for text in found[name].requires or [] if not re.search(r";.*\bextra\s*==", text)]
    return found
