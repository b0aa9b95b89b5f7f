"""The inputs of cases.py that the reader failed on, through the commands of a generated project, as their docstrings say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cases
import polars as pl
import pytest
from conftest import bake, environment

TINY = {"epochs": 2, "patience": 0, "hidden": 8, "layers": 2, "bootstrap": 100, "tracker": "none", "device": "cpu", "iid": "rows of a test"}  # fmt: skip
SCRIPT = """
import contextlib, io, json, sys, torch
from recipe_kit.cli import main
torch.set_num_threads(1)
found = []
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        found.append(main(words))
    found.append(said.getvalue())
print(json.dumps(found))
"""
FORCED = ["--force", "a test"]
TRAIN = [["split", *FORCED], ["check", *FORCED], ["train", *FORCED], ["export", *FORCED]]


def case(folder: Path, name: str, task: str = "binary", file: str = "train.csv", **settings: Any) -> Path:
    """A project whose data is this case."""
    project = bake(folder, modality="tabular", task=task)
    getattr(cases, name)(project / "data")
    given = {**TINY, "data": f"data/{file}", **settings}
    recipe = (project / "recipe.toml").read_text().splitlines()
    kept = [line for line in recipe if line.partition("=")[0].strip() not in given]
    own = [f"{k} = {json.dumps(v)}" for k, v in given.items()]
    (project / "recipe.toml").write_text("\n".join([*kept, *own]) + "\n")
    return project


def commands(project: Path, *lines: list[str]) -> list[tuple[int, str]]:
    """Exit status and output of each command, all in one process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(lines)],
        cwd=project, env={**environment(project), "WANDB_MODE": "disabled"}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().split("\n")[-1])
    return list(zip(found[::2], found[1::2], strict=True))


def findings(project: Path, step: str) -> dict[str, dict[str, Any]]:
    record = json.loads(sorted(project.glob(f"runs/*-{step}/record.json"))[-1].read_text())
    return {one["check"]: one for one in record["findings"]}


def answered(project: Path, file: str = "train.csv") -> None:
    """The commands up to export pass, and predicting the training file answers each of its rows."""
    out = project / "answers.jsonl"
    lines = [*TRAIN, ["predict", f"data/{file}", "--model", "1", "--out", str(out)]]
    for (status, said), words in zip(commands(project, *lines), lines, strict=True):
        assert status == 0, (words, said[-1500:])
    assert findings(project, "check")["decoded back"]["verdict"] == "PASS"
    assert not out.with_name("answers.rejected.jsonl").exists()


THROUGH: list[tuple[str, dict[str, Any]]] = [
    ("boolean", {"file": "train.parquet"}), ("decimal_price", {"file": "train.parquet"}),
    ("named_count", {"target": "count"}), ("spaced_commas", {}), ("doubled_quotes", {}),
    ("day_month_category", {"categorical": ["opened"]}), ("binary_blob", {"file": "train.parquet", "drop": ["raw"]}),
    ("formatted_numbers", {"numeric": ["money", "share"]}),
    ("class_NA", {"task": "multiclass", "target": "region", "not_missing": ["region: NA"]}),
    ("json_lines", {"file": "nan.jsonl"}), ("json_lines", {"file": "bom.jsonl"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"), [case if i % 2 == 0 else pytest.param(*case, marks=pytest.mark.slow) for i, case in enumerate(THROUGH)]
)
def test_the_case_trains_and_predicts_its_own_file(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    answered(case(tmp_path, name, **settings), settings.get("file", "train.csv"))


@pytest.mark.parametrize("spelling", [("True", "False"), *(pytest.param(two, marks=pytest.mark.slow) for two in (("true", "false"), ("TRUE", "FALSE")))])
def test_truth_values_of_a_csv_file(tmp_path: Path, spelling: tuple[str, str]) -> None:
    project = case(tmp_path, "boolean")
    frame = pl.read_parquet(project / "data" / "train.parquet")
    texts = [spelling[0] if flag else spelling[1] for flag in frame["flag"]]
    frame.with_columns(pl.Series("flag", texts)).write_csv(project / "data" / "train.csv")
    answered(project)


@pytest.mark.parametrize(
    "name", ["*", 'a "b" c', *(pytest.param(n, marks=pytest.mark.slow) for n in ("len", "_part", "key", "y", "index", "value"))]
)
def test_a_target_of_any_name(tmp_path: Path, name: str) -> None:
    project = case(tmp_path, "named_count", target=name)
    path = project / "data" / "train.csv"
    pl.read_csv(path).rename({"count": name, "a": "^b$x", "b": "count" if name != "count" else "b"}).write_csv(path)
    answered(project)


def test_bytes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    project = case(tmp_path, "binary_blob", file="train.parquet")
    for status, said in commands(project, ["audit"], ["split", *FORCED]):
        assert status == 2 and 'drop = ["raw"]' in said and "column 'raw'" in said and "Traceback" not in said


def test_formatted_numbers_are_told(tmp_path: Path) -> None:
    project = case(tmp_path, "formatted_numbers")
    commands(project, ["audit"])
    found = findings(project, "audit")["numbers written as text"]
    assert (
        found["verdict"] == "WARN" and "600 of 600" in found["observed"] and 'numeric = ["money", "share"]' in found["next"]
    )


def test_a_class_that_is_spelled_like_a_gap_is_told(tmp_path: Path) -> None:
    project = case(tmp_path, "class_NA", task="multiclass", target="region")
    commands(project, ["audit"])
    found = findings(project, "audit")["rows without a target"]
    assert found["verdict"] == "WARN" and "'NA'" in found["observed"] and 'not_missing = ["region: NA"]' in found["next"]


def test_days_that_could_be_months_are_told(tmp_path: Path) -> None:
    project = case(tmp_path, "day_month_category", categorical=["opened"])
    commands(project, ["audit"])
    found = findings(project, "audit")["dates read one way of two"]
    assert found["verdict"] == "WARN" and 'month_first = ["opened"]' in found["next"]


def test_sound_data_has_nothing_to_tell(tmp_path: Path) -> None:
    """The same checks pass, or do not apply, on a plain table."""
    project = case(tmp_path, "named_count", target="count")
    commands(project, ["audit"])
    told = findings(project, "audit")
    names = [
        "numbers written as text",
        "dates read one way of two",
        "rows without a target",
        "read otherwise than written",
    ]
    assert [told[name]["verdict"] for name in names] == ["PASS"] * 4 and not any(told[name]["causes"] for name in names)
    assert told["empty group cells"]["verdict"] == "NOT APPLICABLE"


def test_empty_groups_are_told(tmp_path: Path) -> None:
    project = case(tmp_path, "named_count", target="count", group="who")
    path = project / "data" / "train.csv"
    frame = pl.read_csv(path)
    frame.with_columns(pl.Series("who", [None if i % 20 == 0 else i % 60 for i in range(600)])).write_csv(path)
    commands(project, ["audit"])
    found = findings(project, "audit")["empty group cells"]
    assert found["verdict"] == "WARN" and "30 of 600 rows have no who" in found["observed"]
