"""The published faults: each row is complete and fits the source; the rows are counted as the protocol says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TEMPLATE

sys.path.insert(0, str(ROOT / "fault_injection"))
sys.path.insert(0, str(ROOT / "bench" / "published"))
from fault import Strength, apply_code
from rows import ALL_BASES, ROWS, Published

PACKAGE = TEMPLATE / "src" / "{{cookiecutter.package}}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault.id)
def test_every_row_is_complete_and_its_patch_fits_the_source(tmp_path: Path, row: Published) -> None:
    assert row.link.startswith("https://") and row.fault.what and row.fault.base in ALL_BASES
    assert row.not_run or row.fault.checks
    for name, strength in {"posted": row.fault.strengths["posted"], "fix": row.fix or Strength()}.items():
        for edit in strength.code:
            (tmp_path / name / edit.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE / edit.file, tmp_path / name / edit.file)
        apply_code(tmp_path / name, strength.code)
        for edit in strength.code:
            compile((tmp_path / name / edit.file).read_text(), edit.file, "exec")


def test_every_source_has_the_rows_it_is_said_to_have() -> None:
    sources = [row.source for row in ROWS]
    assert {name: sources.count(name) for name in set(sources)} == {"DeepFD": 21, "Defect4ML": 8, "Shah": 12, "TrainCheck": 4}
    assert len({row.fault.id for row in ROWS}) == len(ROWS) == 45
