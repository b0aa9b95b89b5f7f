"""`recipe init --write` in generated projects: what it writes loads and can be audited as it stands; what the owner wrote
stays; what it cannot do it refuses, with recipe.toml as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import bake, environment, run
from PIL import Image

N = 300
STEPS = """
import contextlib, io, json, sys
from recipe_kit.cli import main
said = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    said.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


def steps(project: Path, *commands: list[str]) -> list[list]:
    """[status, output, errors] of each command, all in one process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps(commands)], cwd=project, env=environment(project), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def numbers(seed: int = 0) -> dict[str, object]:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, N))
    return {"a": a, "b": b, "label": np.where(a + random.normal(size=N) > 0, "yes", "no")}


def written(project: Path, *words: str) -> dict:
    """What recipe.toml says after `init --write`, which is then loaded and audited as it stands."""
    made, audited = steps(project, ["init", *words, "--write"], ["audit", "--quiet"])
    assert made[0] == 0, made[2]
    assert audited[0] in (0, 1), audited[2]
    return tomllib.loads((project / "recipe.toml").read_text(encoding="utf-8-sig"))


def parquet(project: Path, columns: dict[str, object]) -> str:
    pl.DataFrame(columns, strict=False).write_parquet(project / "data" / "mine.parquet")
    return "data/mine.parquet"


def days(first: date, n: int = N) -> list[date]:
    return [first + timedelta(days=i) for i in range(n)]


# What is added to two numbers and a label, and what recipe.toml then says.
KINDS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {"target": "label", "task": "binary"}),
    "decimal": ({"cost": [Decimal(i % 97).scaleb(-1) for i in range(N)]}, {"task": "binary"}),
    "bytes": ({"raw": [b"\xff\x00" if i % 3 else b"\x80" for i in range(N)]}, {"drop": ["raw"]}),
    "nested": ({"parts": [[i, i + 1] for i in range(N)]}, {"drop": ["parts"]}),
    "duration": ({"took": [timedelta(minutes=i % 50) for i in range(N)]}, {"task": "binary"}),
    "empty": ({"notes": pl.Series([None] * N, dtype=pl.String)}, {"drop": ["notes"]}),
    "constant": ({"country": ["NL"] * N}, {"drop": ["country"]}),
    "boolean": ({"flag": [i % 3 == 0 for i in range(N)]}, {"task": "binary"}),
    "years": ({"year": [1980 + i % 40 for i in range(N)]}, {"time": "year"}),
    "two years": ({"year": [2020 + i % 2 for i in range(N)]}, {"task": "binary"}),
    "dates": ({"day": days(date(2020, 1, 1))}, {"time": "day"}),
    "births": ({"birth_date": days(date(1960, 1, 1))}, {"task": "binary"}),
    "patients": ({"patient_id": [1000 + i // 6 for i in range(N)]}, {"group": "patient_id"}),
    "rows": ({"orderNo": [100_000 + 7 * (77 * i % N) + i % 3 for i in range(N)]}, {"id": ["orderNo"]}),
    "money": ({"paid": [f"${1000 + 13 * (77 * i % N):,}" for i in range(N)]}, {"numeric": ["paid"]}),
    "long texts": ({"remark": [f"what was said of number {i % 60} on that day" for i in range(N)]}, {"drop": ["remark"]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Of each kind of column: what recipe.toml said before, what it says then, and what `init` and `audit` did. One
    process for all of them: to import everything takes longer than what is tested."""
    base = bake(tmp_path_factory.mktemp("tables"))
    folders, commands = {}, []
    for number, (kind, (more, _)) in enumerate(KINDS.items()):
        folders[kind] = folder = base / f"k{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "recipe.toml").write_text((base / "recipe.toml").read_text())
        where = ["--project", str(folder)]
        mine = str(folder / parquet(folder, {**numbers(), **more}))
        commands += [["init", mine, "--write", *where], ["audit", "--quiet", *where]]
    said = steps(base, *commands)
    before = tomllib.loads((base / "recipe.toml").read_text())
    after = {kind: tomllib.loads((folder / "recipe.toml").read_text()) for kind, folder in folders.items()}
    return {kind: [before, after[kind], *said[2 * i : 2 * i + 2]] for i, kind in enumerate(KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_kind(tables: dict[str, list], kind: str) -> None:
    before, found, made, audited = tables[kind]
    assert made[0] == 0, made[2]
    assert audited[0] in (0, 1), audited[2]
    expected = KINDS[kind][1]
    assert {**found, **expected} == found
    silent = {"time", "group", "iid", "drop", "id", "numeric", "categorical"} - set(expected)
    assert {name: found.get(name) for name in silent} == {name: before.get(name) for name in silent}


def of_ranking(project: Path) -> str:
    random = np.random.default_rng(0)
    query = np.repeat(np.arange(60), 6)
    columns = {"query_id": query, "u": random.normal(size=360), "relevance": random.integers(0, 4, 360)}
    return parquet(project, columns)


def of_choices(project: Path) -> str:
    """Which of four ways to travel each person chose."""
    random = np.random.default_rng(0)
    chosen = np.zeros((80, 4), dtype=int)
    chosen[np.arange(80), random.integers(0, 4, 80)] = 1
    columns = {"individual": np.repeat(np.arange(80), 4), "cost": random.normal(size=320), "choice": chosen.ravel()}
    return parquet(project, columns)


def of_texts(project: Path) -> str:
    words = ["good", "bad", "fine", "poor", "film", "book", "slow", "fast", "long"]
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(words, 9)) + f" {i}" for i in range(N)]
    pl.DataFrame({"review": texts, "sentiment": np.arange(N) % 2}).write_ndjson(project / "data" / "mine.jsonl")
    return "data/mine.jsonl"


def of_words(project: Path) -> str:
    words = pl.DataFrame({"word": [f"{'au' if i % 2 else 'th'}{i}en" for i in range(N)], "language": ["de", "en"] * 150})
    words.write_csv(project / "data" / "mine.csv")
    return "data/mine.csv"


def of_pictures(project: Path) -> str:
    random = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog", "owl")):
        (project / "data" / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(60 * k, 60 * k + 60, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(project / "data" / "pictures" / name / f"{i}.png")
    return "data/pictures"


def of_paths(project: Path) -> str:
    of_pictures(project)
    paths = [f"pictures/{name}/{i}.png" for name in ("cat", "dog", "owl") for i in range(12)]
    pl.DataFrame({"file": paths, "animal": [path.split("/")[1] for path in paths]}).write_csv(project / "data" / "mine.csv")
    return "data/mine.csv"


PROJECTS: dict[str, tuple[dict[str, str], Callable[[Path], str], dict[str, object]]] = {
    "ranking": ({"task": "ranking"}, of_ranking, {"query": "query_id", "target": "relevance"}),
    "ranking by its query": ({}, of_ranking, {"query": "query_id", "task": "ranking"}),
    "choices": ({}, of_choices, {"query": "individual", "target": "choice", "task": "ranking"}),
    "texts": ({"modality": "text"}, of_texts, {"text": "review", "target": "sentiment", "task": "binary"}),
    "words": ({"modality": "text"}, of_words, {"text": "word", "target": "language", "task": "binary"}),
    "pictures": ({"modality": "image"}, of_pictures, {"task": "multiclass"}),
    "paths": ({"modality": "image"}, of_paths, {"image": "file", "target": "animal", "task": "multiclass"}),
}


@pytest.mark.parametrize("kind", PROJECTS)
def test_projects_of_every_kind(tmp_path: Path, kind: str) -> None:
    answers, make, expected = PROJECTS[kind]
    project = bake(tmp_path, **answers)
    if answers.get("modality") == "text":
        path = project / "recipe.toml"
        path.write_text(path.read_text().replace('weights = "pretrained"', 'weights = "none"'))
    found = written(project, make(project))
    assert {**found, **expected} == found


def test_what_the_owner_wrote_stays(tmp_path: Path) -> None:
    project = bake(tmp_path)
    path = project / "recipe.toml"
    own = path.read_text().replace("lr = 0.001", "lr = 0.003   # ours").replace('target = "target"  ', "target = 'amount'  # what we sell\n#")
    path.write_text("\ufeff" + own.replace("\n", "\r\n") + "# last words\r\n", encoding="utf-8", newline="")
    before = path.read_bytes().decode().split("\r\n")
    mine = parquet(project, {**numbers(), "patient": [f"p{i // 6}" for i in range(N)], "empty": [None] * N})
    found = written(project, mine)
    after = path.read_bytes().decode().split("\r\n")
    assert (found["lr"], found["target"], found["group"], found["drop"]) == (0.003, "label", "patient", ["empty"])
    changed = [line for line in before if line not in after]
    assert [line.split(" ")[0] for line in changed] == ["data", "target", "drop"]
    assert next(line for line in after if line.startswith("target = ")).endswith("# what we sell")
    assert [line for line in after if line not in before and not line.startswith(("data", "target", "drop", "group"))] == []
    again = run(project, "init", mine, "--write")
    assert "says all of it already" in again.stdout and path.read_bytes().decode().split("\r\n") == after


def test_answers_for_other_data_do_not_stay(tmp_path: Path) -> None:
    project = bake(tmp_path)
    path = project / "recipe.toml"
    extra = 'iid = "one row a bottle"\ngroup = "barrel"\npositive = "red"\nslices_of = 0\n'.replace("slices_of = 0\n", "")
    path.write_text(path.read_text().replace('metric = "auto"', 'metric = "f1"').replace("drop = []", 'drop = ["ph", "b"]') + extra)
    mine = parquet(project, {**{k: v for k, v in numbers().items() if k != "label"}, "price": numbers()["a"]})
    found = written(project, mine)
    assert (found["iid"], found["group"], found["positive"]) == ("", "", "")
    assert (found["metric"], found["task"], found["drop"]) == ("auto", "regression", ["b"])
    asked = run(project, "split", "--force", "dominant feature")
    assert "FAIL           independence" in asked.stdout and "iid" in asked.stdout


def test_the_target_can_be_named(tmp_path: Path) -> None:
    project = bake(tmp_path)
    mine = parquet(project, numbers())
    for words in (["--target", "b"], ["target=b"]):
        assert written(project, mine, *words)["target"] == "b"
    refused = run(project, "init", mine, "--target", "c", "--write")
    assert refused.returncode == 2 and "no column 'c'" in refused.stderr
    assert "--target is not a flag of audit" in run(project, "audit", "--target", "b").stderr


def test_columns_that_are_called_as_polars_calls_its_own(tmp_path: Path) -> None:
    project = bake(tmp_path)
    more = {"count": [i % 3 for i in range(N)], "len": [f"p{i // 6}" for i in range(N)], "value": [i * 0.5 for i in range(N)]}
    found = written(project, parquet(project, {**numbers(), **more}), "--target", "count")
    assert (found["target"], found["task"]) == ("count", "multiclass")


REFUSED: dict[str, tuple[dict[str, str], Callable[[Path], str], str]] = {
    "texts in a table project": ({}, of_texts, "looks like text data, and the project is for tabular"),
    "pictures in a table project": ({}, of_pictures, "looks like image data, and the project is for tabular"),
    "a table in a text project": (
        {"modality": "text"},
        lambda p: parquet(p, {"a": numbers()["a"], "label": numbers()["label"]}),
        "looks like tabular data, and the project is for text",
    ),
    "a table in an image project": (
        {"modality": "image"}, lambda p: parquet(p, numbers()), "looks like tabular data, and the project is for image",
    ),
    "nine rows": ({}, lambda p: parquet(p, {k: v[:9] for k, v in numbers().items()}), "at least 10 are needed"),
    "only moments": (
        {}, lambda p: parquet(p, {"time": np.arange(N) + 0.5, "value": numbers()["a"]}), "nothing to predict value from",
    ),
    "no file": ({}, lambda p: "data/none.csv", "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_written_leaves_the_file_alone(tmp_path: Path, kind: str) -> None:
    answers, make, words = REFUSED[kind]
    project = bake(tmp_path, **answers)
    before = (project / "recipe.toml").read_bytes()
    done = run(project, "init", make(project), "--write")
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert (project / "recipe.toml").read_bytes() == before
    assert not list(project.glob(".recipe.toml*"))


def test_comments_inside_a_list_are_not_lost(tmp_path: Path) -> None:
    project = bake(tmp_path)
    path = project / "recipe.toml"
    path.write_text(path.read_text().replace("drop = []", 'drop = [\n  "b",  # known too late\n]'))
    before = path.read_bytes()
    done = run(project, "init", parquet(project, {**numbers(), "empty": [None] * N}), "--write")
    assert done.returncode == 2 and "comments between them, which would be lost" in done.stderr and "nothing was written" in done.stderr
    assert path.read_bytes() == before
