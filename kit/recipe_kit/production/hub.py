"""Packages on the Hugging Face Hub: `recipe export --hub ORG/NAME` puts one there, `from_pretrained` brings it back.

A repository holds each version in a folder of its own, byte for byte the package that `export` verified, and in README.md
the card of the newest one. It is private until its owner changes that: golden examples are rows of the data.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..owner.engine.files import read_json
from ..owner.errors import UserError, first_line
from ..owner.task import find_task
from .model import Package, load
from .model_card import licence
from .registry import MANIFEST

LICENSES = {"MIT License": "mit", "Apache License": "apache-2.0", "BSD 3-Clause License": "bsd-3-clause"}
CARD = """---
{metadata}
---
{card}
In the project whose code trained it:

    from recipe_kit.production.hub import from_pretrained

    from_pretrained("{to}").answer([{{{row}}}]).answers
"""


def publish(root: Path, package: Package, to: str) -> str:
    """Put the package and its card into a repository, as one commit, or into a folder like one; returns where it is."""
    with tempfile.TemporaryDirectory() as staged:
        shutil.copytree(package.folder, Path(staged, package.version))
        told = {"metadata": metadata(root, package.manifest), "to": to}
        told["row"] = ", ".join(f'"{column["name"]}": ...' for column in package.columns[:3])
        told["card"] = (package.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        Path(staged, "README.md").write_text(CARD.format(**told), encoding="utf-8")
        if to.startswith(".") or Path(to).is_absolute():
            return str(shutil.copytree(staged, to, dirs_exist_ok=True))
        api = library().HfApi()
        try:
            api.create_repo(to, private=True, exist_ok=True)
            return str(api.upload_folder(repo_id=to, folder_path=staged, commit_message=package.version).commit_url)
        except Exception as error:  # of the network, of the Hub, or of the name
            raise UserError(
                f"--hub {to} cannot be written ({first_line(error)}); check name, network and login (hf auth login), or"
                " write a folder to upload later: --hub ./folder"
            ) from None


def metadata(root: Path, manifest: dict[str, Any]) -> str:
    """What the Hub shows and searches by, as YAML: task, license, and the metrics with what they were measured on."""
    kind = f"{manifest['config']['modality']}-{'classification' if manifest['classes'] else 'regression'}"
    of = {"task_type": kind, "dataset_type": "private", "dataset_name": manifest["config"]["data"]}
    of["dataset_split"] = "test" if manifest["tested"] else "validation"
    scores = {name: score["value"] for name, score in manifest["metrics"].items() if score["value"] is not None}
    told = [library().EvalResult(metric_type=name, metric_value=value, **of) for name, value in scores.items()]
    about = {"library_name": "pytorch", "model_name": root.name, "tags": ["recipe-kit", manifest["task"]]}
    about |= {"pipeline_tag": kind} if manifest["classes"] or kind == "tabular-regression" else {}  # what the Hub knows
    license = LICENSES.get(licence(root).strip(), "other")
    return str(library().ModelCardData(license=license, eval_results=told, **about).to_yaml()).strip()


def from_pretrained(source: str, version: str = "", device: str = "cpu") -> Package:
    """A version, else the newest, of a repository or of a folder like one: verified, its golden examples replayed.

    Rows are answered by the code of the project at hand. Raises UserError where it answers otherwise than it was trained.
    """
    folder = Path(source)
    if not folder.is_dir():
        kept = Path(library().constants.HF_HOME, "recipe", source.replace("/", "--"))
        try:  # into files, not links: those may lead anywhere, and a package has none
            folder = Path(library().snapshot_download(source, local_dir=kept))
        except Exception as error:
            raise UserError(f"{source} is no folder, and on the Hub it cannot be read: {first_line(error)}") from None
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*-*/{MANIFEST}"))}
    if not (wanted := [name for name in found if name.startswith(version)]):
        raise UserError(f"{source} holds no version {version!r} of a model; it has {', '.join(found) or 'none'}")
    manifest = read_json(found[wanted[-1]] / MANIFEST, "the manifest of a model package", "export it again")
    return load(find_task(str(manifest["config"]["modality"])), found[wanted[-1]], device)


def library() -> Any:
    """huggingface_hub, which projects for texts have."""
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("the Hub needs huggingface_hub, which is not installed; pip install huggingface_hub") from None
    return huggingface_hub
