"""The data card says what the records know, and asks what they cannot."""

from __future__ import annotations

from pathlib import Path

from my_model.engine.splits import read_manifest
from recipe_kit.checks.check_result import CheckResult
from recipe_kit.production.data_card import data_card

from .test_evaluate import do
from .toy import toy_project


def test_the_card_is_filled_from_split_and_audit(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    do(project, "split")
    rows = read_manifest(project)["parts"]["train"]["rows"]
    assert "these data were not audited" in data_card(project)
    record = project.begin("audit")
    record.result |= {"rows": 300}
    record.finish()
    reviewed = project.begin("audit")  # a sheet that was read back: no audit of its own
    reviewed.add(CheckResult("label review", "WARN", "3 of 200 reviewed labels are wrong"))
    reviewed.finish()
    card = data_card(project)
    assert f"sha256 {project.data.sha256}: 300 rows with the target `target` (task: binary)" in card
    assert "Not declared. Who collected it" in card and f"- train: {rows} rows (" in card
    assert "labels reviewed by hand: 3 of 200 reviewed labels are wrong" in card
    assert f"From {record.id} of " in card and "not audited" not in card
