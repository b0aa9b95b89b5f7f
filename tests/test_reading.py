"""One reader: every dialect and type comes back as training read it, from the file and as a request; oddities are told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import bake, environment, module
from round_trip import NAMES


def trips(folder: Path, names: list[str]) -> dict[str, Any]:
    """What round_trip.py finds, in one process of a generated project."""
    project = bake(folder, modality="tabular", task="binary")
    script = Path(__file__).with_name("round_trip.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "trips"), *names],
        cwd=project, env=environment(project), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().split("\n")[-1])


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trips(tmp_path_factory.mktemp("half"), NAMES[::2])


def test_there_are_forty_of_them() -> None:
    assert len(NAMES[::2]) >= 40


@pytest.mark.parametrize("name", NAMES[::2])
def test_predict_and_serve_give_what_training_stored(found: dict[str, Any], name: str) -> None:
    """Row by row, none rejected."""
    told = found[name]
    assert "failed" not in told, told
    assert told["rows"] == [90, 90]
    assert max(told[way] for way in ("serve", "file", "predict")) < 1e-6


# ---- the reader alone ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def engine() -> Callable[[str], Any]:
    """A module of the package, by its name."""
    return module


@pytest.fixture
def read(engine: Callable[[str], Any], tmp_path: Path) -> Callable[..., Any]:
    def reading(content: str | bytes, name: str = "train.csv", **declared: Any) -> Any:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = engine("engine.table")
        return table.read_table(path, declared=table.Declared(**declared))

    return reading


def notes(table: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(note.about, note.column): note.facts for note in table.notes}


SENTENCES = [
    (b"a,b\n1,2\n3\n", "line 3 has 1 cells instead of 2"),
    (b"a,b\n1,\"x\ny\"\n3,4,5\n", "line 4 has 3 cells instead of 2"),
    (b"a,b\n1,2\n3,caf\xe9\n", "line 3 is not UTF-8"),
    ("a,b\n1,2\n".encode("utf-16"), "is UTF-16"),
    (b"a,b\n1,\"2\n3,4\n", "line 2 cannot be read as CSV"),
    (b"a,a\n1,2\n", "two columns called 'a'"),
    (b"a,,b\n1,2,3\n1,2,3\n", "without a name"),
    (b"^a$,b\n1,2\n", "takes a name between"),
    (b"a,b\n1,inf\n2,3\n", "infinite values in column 'b'"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), SENTENCES)
def test_what_cannot_be_read_is_one_sentence(
    read: Callable[..., Any], engine: Callable[[str], Any], content: bytes, words: str
) -> None:
    with pytest.raises(engine("errors").UserError, match=words.replace("(", r"\(")) as error:
        read(content)
    assert "\n" not in str(error.value)


FIGURES = [
    (["$1,234", "$5", "$10,000.50"], [1234.0, 5.0, 10000.5]),
    (["12 %", "3.5%", "-1 %"], [12.0, 3.5, -1.0]),
    (["1.234,5", "7,25", "12"], [1234.5, 7.25, 12.0]),
    (["5 kg", "7.5 kg", "8kg"], [5.0, 7.5, 8.0]),
    (["1.2M", "900K", "12"], [1.2e6, 9e5, 12.0]),
    (["(300)", "€ 20", "1'000"], [-300.0, 20.0, 1000.0]),
    (["08:30", "9:00", "23:59:30"], [30600.0, 32400.0, 86370.0]),
]


@pytest.mark.parametrize(("texts", "values"), FIGURES)
def test_numbers_as_people_write_them(read: Callable[..., Any], texts: list[str], values: list[float]) -> None:
    """Told, left as texts, and read once the settings say so; then by a request too."""
    content = "x,y\n" + "".join(f'"{text}",{i}\n' for i, text in enumerate(texts))
    plain = read(content)
    assert plain.frame["x"].dtype == pl.String and ("numbers", "x") in notes(plain)
    table = read(content, numeric=["x"])
    assert table.frame["x"].to_list() == pytest.approx(values) and not notes(table)


@pytest.mark.parametrize("texts", [["red", "green", "4 you"], ["A12", "B13", "C14"], ["1-2", "3-4", "5-6"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]])  # fmt: skip
def test_names_are_no_numbers(read: Callable[..., Any], texts: list[str]) -> None:
    assert not notes(read("x,y\n" + "".join(f"{text},{i}\n" for i, text in enumerate(texts * 20))))


def test_a_word_among_numbers_is_told_and_can_be_a_gap(read: Callable[..., Any]) -> None:
    content = "x,y\n" + "".join(f"{'?' if i % 9 == 0 else i},1\n" for i in range(90))
    assert notes(read(content))["numbers", "x"]["words"] == ["?"]
    assert read(content, also_missing=["?"]).frame["x"].null_count() == 10


@pytest.mark.parametrize(
    ("days", "order", "told"),
    [
        (["03/01/2021", "04/02/2021"], "2021-01-03", True), (["13/01/2021", "04/02/2021"], "2021-01-13", False),
        (["01/13/2021", "04/02/2021"], "2021-01-13", False), (["2021-01-03", "2021-02-04"], "2021-01-03", False),
        (["5.6.2021 10:00", "7.8.2021 11:30"], "2021-06-05", True),
    ],
)  # fmt: skip
def test_dates_that_could_be_read_otherwise(read: Callable[..., Any], days: list[str], order: str, told: bool) -> None:
    table = read("d,x\n" + "".join(f"{day},1\n" for day in days))
    assert str(table.frame["d"][0])[:10] == order and (("order", "d") in notes(table)) is told
    if told:
        other = read("d,x\n" + "".join(f"{day},1\n" for day in days), month_first=["d"])
        assert str(other.frame["d"][0])[:10] != order


def test_what_is_left_out_is_told(read: Callable[..., Any]) -> None:
    table = read(",zip,none\n0,00501,\n1,02134,\n,zip,none\n2,10001,\n\n")
    assert table.frame.columns == ["zip", "none"] and table.frame.height == 3
    assert set(notes(table)) == {("index", ""), ("header", ""), ("zeros", "zip"), ("empty", "none")}
    assert notes(table)["header", ""]["lines"] == [4]


KINDS = [
    (pl.Series([b"a", b"b"]), None), (pl.Series([[1], [2]]), None), (pl.Series([{"a": 1}, {"a": 2}]), None),
    (pl.Series([1, 2], dtype=pl.UInt64), pl.Int64), (pl.Series([2**64 - 1, 2], dtype=pl.UInt64), pl.Float64),
    (pl.Series([1.5, 2], dtype=pl.Float32), pl.Float64), (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), pl.String),
    (pl.Series([1, 2]).cast(pl.Duration("ms")), pl.Float64), (pl.Series([None, None]), pl.String),
    (pl.Series([True, None]), pl.Boolean), (pl.Series([0, 1]).cast(pl.Datetime("ns", "Europe/Rome")), pl.Datetime("us")),
]  # fmt: skip


@pytest.mark.parametrize(("column", "kind"), KINDS, ids=lambda value: str(getattr(value, "dtype", value)))
def test_each_type_is_one_of_ours_or_refused(
    read: Callable[..., Any], engine: Callable[[str], Any], tmp_path: Path, column: pl.Series, kind: Any
) -> None:
    pl.DataFrame({"y": [1, 2], "x": column}).write_parquet(tmp_path / "given.parquet")
    content = (tmp_path / "given.parquet").read_bytes()
    if kind is not None:
        assert read(content, "train.parquet").frame["x"].dtype == kind
        return
    with pytest.raises(engine("errors").UserError, match=r"column 'x' of .* holds .* such as .*drop = \[\"x\"\]"):
        read(content, "train.parquet")
    assert read(content, "train.parquet", drop=["x"]).frame["y"].to_list() == [1, 2]


def test_large_files_are_read_as_small_ones(
    read: Callable[..., Any], engine: Callable[[str], Any], monkeypatch: Any
) -> None:
    """polars and the csv module agree: on odd quotes, blank lines, a late word, a late header, spaces around numbers."""
    source = engine("engine.source")
    rows = [f'{i}, {i / 7},"a ""b"" {i % 5}",{i % 3}' for i in range(source.LOOK + 500)]
    for late in ("", "\n", '1.5,x,"c",2\n', 'a,b,"x ""y""",d\n', '7,8,5" pipe,1\n'):
        content = 'a,b,"x ""y""",d\n' + "\n".join(rows) + "\n" + late + "9,9,z,1\n"
        fast = read(content)
        with monkeypatch.context() as patch:
            patch.setattr(source, "LOOK", 10**6)
            slow = read(content)
        assert fast.frame.equals(slow.frame) and fast.kinds == slow.kinds and notes(fast) == notes(slow), late


@pytest.mark.parametrize("value", [True, 4, 4.0, "4", "4.0", " 4 ", "x", None, float("nan"), float("inf"), 10**400, 2**64, [], {}, "\ud800", "true", "2021-01-03"])  # fmt: skip
@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "text", "date", "datetime"])
def test_any_value_of_a_request_becomes_its_kind_or_is_refused(
    engine: Callable[[str], Any], value: Any, kind: str
) -> None:
    """Alone and among others: a bad neighbor spoils no row."""
    kinds = engine("engine.kinds")
    good = {"number": 1.5, "integer": 3, "boolean": True, "text": "a", "date": "2020-05-06", "datetime": "2020-05-06T07:08:09"}[kind]  # fmt: skip
    alone, bad = kinds.of_values("*", [value], {"kind": kind})
    both, worse = kinds.of_values("*", [good, value], {"kind": kind})
    assert both[1] == alone[0] and worse == [1 + i for i in bad] and both[0] is not None
    assert alone.dtype == kinds.KINDS[kind] and (not bad or kinds.why(value, {"kind": kind}))
