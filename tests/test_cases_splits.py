"""Splits that cannot be what was asked for: said at `recipe split` with the way on, and nothing is built on them by accident."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cases
import data
import numpy as np
import polars as pl
import pytest
from inside import Inside

AFTER = ("baseline", "check", "lr-find", "train", "learning-curve", "ablate", "tune", "evaluate", "export")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Inside]:
    """(table, settings) -> a project on it."""

    def made(frame: pl.DataFrame, **settings: object) -> Inside:
        project = Inside(tmp_path / "project", **{"task": "multiclass", **settings})
        frame.write_csv(project.root / "data" / "train.csv")
        return project

    return made


def table(classes: list[str], seed: int = 0, **columns: object) -> pl.DataFrame:
    """Two noisy numbers, of which one tells a little of the class."""
    random, n = np.random.default_rng(seed), len(classes)
    shift = {name: 2.0 * i for i, name in enumerate(sorted(set(classes)))}
    u = random.normal(size=n) + [shift[c] for c in classes]
    return pl.DataFrame({"u": u.round(3), "v": random.normal(size=n).round(3), **columns, "target": classes})


def split(project: Inside) -> dict:
    """What `recipe split` says of the classes, on data that was not audited."""
    project.recipe("split", "--force", "the audit is not the matter here")
    return project.check_result("split", "classes in every part")


def held(project: Inside) -> dict[str, dict[str, int]]:
    """Classes of each part."""
    return {name: part["classes"] for name, part in json.loads((project.root / "split.json").read_text())["parts"].items()}


# --- a class on one side ----------------------------------------------------------------------------------------------------


def test_class_only_in_test(tmp_path: Path) -> None:
    """The case: a class that comes up in the last days alone. Split says so, nothing follows, and its line leads on."""
    project = Inside(tmp_path / "p", task="multiclass", time="day", iid="")
    cases.class_only_in_test(project.root / "data")
    project.done("audit")
    answer = project.recipe("split")
    assert answer.status == 1 and 'in recipe.toml: drop_classes = ["c"]' in answer.output
    assert "train lacks c; val lacks c (c has 1 row)" in answer.output
    for step in AFTER:
        refused = project.recipe(step)
        assert refused.status == 2 and len(refused.lines) == 1 and "Traceback" not in refused.output, step
        assert "ended in FAIL (classes in every part)" in refused.sentence or step in ("evaluate", "export"), refused.sentence
    forced = ("--force", "to see where it stops")
    for step in ("baseline", "train"):
        assert project.recipe(step, *forced, "epochs=1").status == 0
    assert project.recipe("evaluate").status == 2
    refused = project.recipe("evaluate", *forced)
    assert refused.status == 2 and "no row of class c of test" in refused.sentence
    assert not project.opened(), "what cannot be scored is not opened"
    project.set(drop_classes=["c"])
    for step in ("audit", "split", "baseline"):
        project.done(step)
    project.done("train", *forced)  # whose check was not done
    assert held(project) == {p: {k: c[k] for k in "ab"} for p, c in held(project).items()}
    assert project.recipe("evaluate", *forced).status == 0 and project.opened()


def test_a_class_that_is_no_more(make: Callable[..., Inside]) -> None:
    """In training alone, since it was given up: nothing can be said of it, which its owner accepts by a line."""
    n = 400
    day = [(dt.date(2021, 1, 1) + dt.timedelta(days=i)).isoformat() for i in range(n)]
    project = make(table(["old" if i < 60 and i % 3 == 0 else "ab"[i % 2] for i in range(n)], day=day), time="day", iid="")
    found = split(project)
    assert found["verdict"] == "FAIL" and "val lacks old; test lacks old" in found["observed"]
    assert 'drop_classes = ["old"] or acknowledge = ["classes in every part"]' in found["next"]
    project.set(acknowledge=["classes in every part"])
    assert split(project)["verdict"] == "PASS"
    project.set(acknowledge=[], drop_classes=["old"])
    assert split(project)["verdict"] == "PASS" and "old" not in held(project)["train"]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_class_of_one_or_two_rows(make: Callable[..., Inside], rows: int) -> None:
    """They train, and split says that nothing will be known of them."""
    project = make(table([*(["a", "b", "c"] * 60), *(["rare"] * rows)]))
    found = split(project)
    assert found["verdict"] == "WARN" and f"rare has {rows} row{'s' * (rows > 1)}" in found["observed"]
    assert 'drop_classes = ["rare"]' in found["next"] and held(project)["train"]["rare"] == rows
    for step in ("baseline", "train", "evaluate"):
        assert project.recipe(step, "--force", "a test", "epochs=1").status == 0, step


def test_what_training_never_saw_cannot_be_accepted(make: Callable[..., Inside]) -> None:
    n = 300
    day = [f"2021-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(n)]
    frame = table(["ab"[i % 2] if i < n - 20 else "new" for i in range(n)], day=day)
    found = split(make(frame, time="day", iid="", acknowledge=["classes in every part"]))
    assert found["verdict"] == "FAIL" and "acknowledge" not in found["next"]


@pytest.mark.parametrize(("names", "words"), [(["d"], "is no class"), (["a", "b"], "leaves 1 class"), (["C"], "it has a, b, c")])
def test_classes_that_cannot_be_left_out(make: Callable[..., Inside], names: list[str], words: str) -> None:
    answer = make(table(["a", "b", "c"] * 40), drop_classes=names).recipe("audit")
    assert answer.status == 2 and words in answer.sentence


# --- groups -----------------------------------------------------------------------------------------------------------------


def test_groups_that_hold_whole_classes(make: Callable[..., Inside]) -> None:
    """Each group is of one class. A class of three groups and more is everywhere, one of two is not tested, one of one
    only trains; and all that is said with the line that leads on."""
    groups = {"a": 40, "b": 30, "c": 3, "d": 3, "e": 2, "f": 1}
    rows = [(name, f"{name}{g}") for name, count in groups.items() for g in range(count) for _ in range(6)]
    frame = table([name for name, _ in rows], who=[who for _, who in rows])
    for seed in range(5):
        project = make(frame, group="who", split_seed=seed)
        found, parts = split(project), held(project)
        assert found["verdict"] == "WARN" and "e has 2 groups, f has 1 group" in found["observed"]
        assert 'drop_classes = ["e", "f"]' in found["next"]
        assert all(set("abcd") <= set(part) for part in parts.values()) and set("ef") <= set(parts["train"])
        assert "e" in parts["val"], "one that has no third group goes untested rather than unvalidated"
        assert project.check_result("split", "groups apart")["verdict"] == "PASS"
        assert project.check_result("split", "every row in one part")["verdict"] == "PASS"


def test_one_huge_group(make: Callable[..., Inside]) -> None:
    """It trains, whatever the seed; the other parts are as large as what is left, and split says why."""
    who = ["huge"] * 900 + [f"p{i // 5}" for i in range(100)]
    frame = table(["ab"[i % 2] for i in range(1000)], who=who)
    for seed in range(5):
        project = make(frame, group="who", split_seed=seed, task="binary")
        project.recipe("split", "--force", "x")
        sizes = project.record("split")["result"]["sizes"]
        assert sizes["train"] >= 900 and min(sizes["val"], sizes["test"]) >= 30, (seed, sizes)
        found = project.check_result("split", "every row in one part")
        assert found["verdict"] == "WARN" and "who = 'huge' alone holds 90%" in found["observed"]
        edit = found["next"].split(" and ")
        project.set(val_share=float(edit[0].split("= ")[1]), test_share=float(edit[1].split("= ")[1].split(" ")[0]))
        project.recipe("split", "--force", "x")
        assert project.check_result("split", "every row in one part")["verdict"] == "PASS", "its own line makes it quiet"


@pytest.mark.parametrize("folds", [0, 5])
def test_too_few_groups_is_one_sentence(make: Callable[..., Inside], folds: int) -> None:
    who = [f"p{i % (2 if not folds else 5)}" for i in range(200)]
    project = make(table(["ab"[i // 100] for i in range(200)], who=who), group="who", folds=folds, task="binary")
    answer = project.recipe("split", "--force", "x")
    assert answer.status == 2 and f"need at least {folds + 1 if folds else 3}" in answer.sentence, answer.sentence


def test_folds_of_groups_keep_classes(make: Callable[..., Inside]) -> None:
    """Every fold validates other groups, the test part stays the same, and a class of six groups is in each."""
    rows = [(name, f"{name}{g}") for name, count in {"a": 30, "b": 30, "c": 6}.items() for g in range(count) for _ in range(5)]
    frame = table([name for name, _ in rows], who=[who for _, who in rows])
    project, seen = make(frame, group="who", folds=5), []
    assign = project.module("engine.splits").assign
    for fold in range(5):
        project.set(fold=fold)
        opened = project.project()
        seen.append(assign(opened.config, opened.data))
        assert all({frame["target"][int(i)] for i in np.flatnonzero(seen[-1] == p)} == {"a", "b", "c"} for p in range(3))
    assert all(((part == 2) == (seen[0] == 2)).all() for part in seen)
    assert (sum((part == 1).astype(int) for part in seen) == (seen[0] != 2)).all()


def planes(folder: Path) -> pl.DataFrame:
    """Flights of January: which airline? Rows of one plane belong together, and a plane has one airline."""
    data.flights(folder / "all.csv", months=1)
    frame = pl.read_csv(folder / "all.csv", infer_schema_length=None, null_values=["NA", ""])
    frame = frame.filter(pl.col("tailnum").is_not_null()).sample(6000, seed=1)
    return frame.select("distance", "air_time", "tailnum", pl.col("carrier").alias("target"))


def test_real_groups_keep_every_class_that_they_can(tmp_path: Path) -> None:
    """16 airlines, some of a handful of planes: under ten seeds each that has three planes is in every part."""
    frame = planes(tmp_path)
    owners = frame.group_by("target").agg(pl.col("tailnum").n_unique())
    could = set(owners.filter(pl.col("tailnum") >= 3)["target"])
    few = owners.filter(pl.col("tailnum").is_between(3, 60)).height
    assert few >= 2, "some must be hard to keep"
    for seed in range(10):
        project = Inside(tmp_path / str(seed), task="multiclass", group="tailnum", split_seed=seed)
        frame.write_csv(project.root / "data" / "train.csv")
        assert split(project)["verdict"] != "FAIL"
        assert all(could <= set(part) for part in held(project).values()), (seed, held(project))
        sizes = project.record("split")["result"]["sizes"]
        assert sizes["val"] == pytest.approx(900, rel=0.15) and sizes["test"] == pytest.approx(900, rel=0.15), sizes


# --- times that tie ---------------------------------------------------------------------------------------------------------


def test_times_that_tie(make: Callable[..., Inside]) -> None:
    """Rows of one moment stay together; the parts are as near to their shares as moments allow, and split says which one is big."""
    day = ["2021-01-01"] * 200 + ["2021-01-02"] * 60 + ["2021-01-03"] * 240
    project = make(table(["ab"[i % 2] for i in range(500)], day=day), time="day", iid="", task="binary")
    assert split(project)["verdict"] == "PASS"
    assert project.record("split")["result"]["sizes"] == {"train": 200, "val": 60, "test": 240}
    found = project.check_result("split", "every row in one part")
    assert found["verdict"] == "WARN" and "day = '2021-01-03' alone holds 48% of the rows" in found["observed"]


def test_too_few_moments_is_one_sentence(make: Callable[..., Inside]) -> None:
    day = ["2021-01-01"] * 100 + ["2021-01-02"] * 100
    answer = make(table(["ab"[i % 2] for i in range(200)], day=day), time="day", iid="", task="binary").recipe("split", "--force", "x")
    assert answer.status == 2 and "too few different values (2)" in answer.sentence and "at least 3" in answer.sentence


def test_the_nearest_moment_is_the_border(make: Callable[..., Inside]) -> None:
    """Ten equal days of a year's end: 70/15/15 falls inside a day, and the nearer end of it is taken."""
    day = [f"2021-01-{1 + i // 100:02d}" for i in range(1000)]
    project = make(table(["ab"[i % 2] for i in range(1000)], day=day), time="day", iid="", task="binary")
    split(project)
    assert set(project.record("split")["result"]["sizes"].values()) == {700, 100, 200} or set(
        project.record("split")["result"]["sizes"].values()
    ) == {700, 200, 100}


# --- separators of lines in a reason or a name --------------------------------------------------------------------------------

ODD = ["ok\u2028go\u0085on", "a\x0bb\x0cc\x1cd\x1de\x1ef", "for\u2029ever", "two\nlines\r\nand more"]


@pytest.mark.parametrize("reason", ODD)
def test_line_separator(make: Callable[..., Inside], reason: str) -> None:
    """The case: a reason with letters at which `str.splitlines` breaks. Every later command reads the ledger."""
    project = make(table(["a", "b"] * 60), task="binary")
    for step in ("split", "baseline", "train", "evaluate"):
        assert project.recipe(step, "--force", reason, "epochs=1").status == 0, step
    told = project.recipe("runs", "--json")
    rows = json.loads(told.output)
    assert told.output.count("\n") == 1 and told.output.isascii()
    assert {row["force"] for row in rows} == {reason}
    assert project.recipe("runs").status == project.recipe("report").status == 0
    assert project.record("train")["force"] == reason


@pytest.mark.parametrize("reason", ["", "  ", "\u2029"])
def test_a_blank_reason_is_none(make: Callable[..., Inside], reason: str) -> None:
    answer = make(table(["a", "b"] * 60), task="binary").recipe("split", "--force", reason)
    assert answer.status == 2 and "audit has not been done" in answer.sentence


def test_line_separator_in_the_author_of_a_commit(make: Callable[..., Inside]) -> None:
    project = make(table(["a", "b"] * 60), task="binary")
    for words in (["init", "-q"], ["config", "user.name", "Ada\u2028Byron\u0085"], ["config", "user.email", "ada@example.org"]):
        subprocess.run(["git", "-C", project.root, *words], check=True)
    for step in ("split", "baseline", "train", "evaluate"):
        assert project.recipe(step, "--force", "x", "epochs=1").status == 0, step
    rows = json.loads(project.recipe("runs", "--json").output)
    assert next(row["who"] for row in rows if row["step"] == "open_test") == "Ada\u2028Byron\u0085"
    assert project.recipe("evaluate").status == 2 and "was opened on" in project.recipe("evaluate").sentence


def test_line_separators_in_the_data(tmp_path: Path) -> None:
    """In a column's name and in cells without quotes: the file has the rows and columns that it has."""
    project = Inside(tmp_path / "p", task="binary")
    odd, cells = "note\u2028of\u0085it", ("z\u0085", "x\u2028y", "x\u2028y")
    lines = [f"{i % 7},{cells[i % 3]},{'ab'[i % 2]}" for i in range(120)]
    (project.root / "data" / "train.csv").write_text("\n".join([f"u,{odd},target", *lines]) + "\n", encoding="utf-8")
    frame = project.project().data.frame
    assert frame.columns == ["u", odd, "target"] and frame.height == 120
    assert set(frame[odd].unique()) == {"x\u2028y", "z\u0085"}
