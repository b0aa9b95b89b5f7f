"""Which data a run was made with: the hash of their bytes, and the version that DVC keeps where a .dvc file lies beside them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from .owner.engine.data import Recipe

CHANGED = "changed"  # in place of a version of DVC: the file is not the one it keeps


def version(recipe: Recipe) -> dict[str, str]:
    """source: what the settings name. sha256: of the bytes. dvc: the md5 by which DVC knows them; of a folder as DVC says it."""
    path = recipe.root / recipe.local_config.data
    told, pointer = {"source": recipe.config.data, "sha256": recipe.data.sha256}, Path(f"{path}.dvc")
    text = pointer.read_text(encoding="utf-8", errors="replace") if pointer.is_file() else ""
    if (said := re.search(r"\bmd5: ([0-9a-f]{32}(\.dir)?)", text)) and path.is_file():
        with path.open("rb") as file:
            told["dvc"] = said[1] if hashlib.file_digest(file, "md5").hexdigest() == said[1] else CHANGED
    elif said:
        told["dvc"] = said[1]
    return told


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The versions of the data in the ledger, the newest last, with the runs on each; nothing where there is but one."""
    runs: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        if isinstance(told := row.get("data_version"), dict):
            known = str(told.get("sha256"))[:12], told.get("source"), f"  dvc {told['dvc']}" if "dvc" in told else ""
            runs.setdefault(known, []).append(row["id"])
    lines = [
        f"data {sha256}  {source}{dvc}: {len(ids)} run{'s' * (len(ids) != 1)}, {ids[0]} to {ids[-1]}"
        for (sha256, source, dvc), ids in runs.items()
    ]
    return ["", *lines] if len(lines) > 1 else []
