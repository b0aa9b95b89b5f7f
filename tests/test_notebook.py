"""The example notebook, cell by cell: what a notebook shows is the HTML of the last value of each cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT, data
from inside import Inside


def executed(cells: list[str]) -> list[Any]:
    """The last value of each cell of code, as Jupyter would show it."""
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        *lines, last = ast.parse(cell).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(lines, []), "cell", "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    return shown


def example() -> list[str]:
    """The code of the example."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_example_without_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Inside(tmp_path / "project", task="multiclass")
    data.wine(project.root / "data" / "train.csv")
    monkeypatch.chdir(project.root)
    audit, opened, steps, page, _ = example()
    assert all(f'"{step}"' in steps for step in ("split", "baseline", "check", "train", "report"))
    audited, read, shown = executed([audit, opened, page])
    assert audited == 0 and "178 rows." in read._repr_html_() and "no report yet" in shown._repr_html_()


@pytest.mark.slow
def test_the_example_runs_from_the_first_cell_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Inside(tmp_path / "project", task="multiclass")
    data.wine(project.root / "data" / "train.csv")
    monkeypatch.chdir(project.root)
    audited, read, steps, opened, scores = executed(example())
    assert audited == 0 and steps == [0] * 5 and set(scores["accuracy"]) == {"value", "low", "high"}
    assert "178 rows." in read._repr_html_() and "alcohol: numeric" in read._repr_html_() and "<table" in read._repr_html_()
    page = (project.root / "report.html").read_text(encoding="utf-8")
    assert opened._repr_html_().startswith("<iframe srcdoc=") and len(opened._repr_html_()) > len(page)


def test_names_of_columns_are_no_html(tmp_path: Path) -> None:
    project = Inside(tmp_path / "project", task="binary", target="y")
    frame = pl.DataFrame({"<img src=x onerror=alert(1)>": range(40), "y": [0, 1] * 20})
    frame.write_csv(project.root / "data" / "train.csv")
    assert "<img" not in project.project().data._repr_html_() and "no report yet" in project.project()._repr_html_()
