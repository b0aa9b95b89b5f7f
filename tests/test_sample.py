"""`recipe sample`: rows of the owner's training part for the smoke test, and nothing else of the data."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import bake, data, run
from test_smoke_edits import smoke


def declared(project: Path, *lines: str) -> None:
    """Put these settings into recipe.toml, in place of its own."""
    path = project / "recipe.toml"
    names = [line.split(" = ")[0] for line in lines]
    kept = [line for line in path.read_text().splitlines() if line.split(" = ")[0] not in names]
    path.write_text("\n".join([*kept, *lines, ""]))


def split(project: Path) -> None:
    """Part the rows, whatever an audit would say of them."""
    done = run(project, "split", "--force", "the sample is the matter here")
    assert done.returncode == 0, done.stderr


def clients(n: int = 400) -> pl.DataFrame:
    """People with a name, a note that is dropped, a code that is a category, and one class in fifty."""
    random = np.random.default_rng(0)
    age = random.normal(40, 10, n).round(1)
    answer = np.where(np.arange(n) % 50 == 0, "perhaps", np.where(age + random.normal(0, 5, n) > 40, "yes", "no"))
    columns = {
        "name": [f"Ann {i}" for i in range(n)], "note": "private", "since": [f"2024-{1 + i % 12:02d}-01" for i in range(n)], "age": age,
        "zip": random.integers(1000, 1020, n), "shop": random.choice(["a", "b, c"], n), "client": np.arange(n) // 4, "answer": answer,
    }  # fmt: skip
    return pl.DataFrame(columns)


def test_a_sample_of_a_table(tmp_path: Path) -> None:
    """The test part, the names and the dropped columns stay out; every class is in; the smoke test passes on it."""
    project = bake(tmp_path, task="multiclass", package="project")
    frame = clients()
    frame.write_csv(project / "data" / "train.csv")
    declared(
        project, 'target = "answer"', 'group = "client"', 'drop = ["note", "since"]', 'categorical = ["zip"]', 'slices = ["shop"]'
    )  # fmt: skip
    before = run(project, "sample")
    assert before.returncode == 2 and "recipe split" in before.stderr
    split(project)
    done = run(project, "sample")
    assert done.returncode == 0 and "part of the repository" in done.stdout, done.stdout + done.stderr
    sample = pl.read_csv(project / "tests" / "sample" / "rows.csv")
    assert sample.columns == ["age", "zip", "shop", "answer"] and len(sample) == 64
    assert set(sample["answer"][:16]) == {"yes", "no", "perhaps"}
    assert len(sample.join(frame, on=sample.columns, how="semi")) == 64
    settings = tomllib.loads((project / "tests" / "sample" / "sample.toml").read_text())
    assert settings == {"data": "tests/sample/rows.csv", "target": "answer", "categorical": ["zip"]}
    found = smoke(tmp_path, "tabular", [project])
    assert found["my-model"][0] == 0, found
    again = run(project, "sample")
    assert again.returncode == 0 and pl.read_csv(project / "tests" / "sample" / "rows.csv").equals(sample)


def test_no_row_outside_the_training_part(tmp_path: Path) -> None:
    """Rows are split by time here: what is sampled is old."""
    project = bake(tmp_path, task="regression", package="project")
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"day": np.arange(300), "x": random.normal(size=300), "target": random.normal(size=300)})
    frame.write_csv(project / "data" / "train.csv")
    declared(project, 'time = "day"')
    split(project)
    assert run(project, "sample").returncode == 0
    sample = pl.read_csv(project / "tests" / "sample" / "rows.csv")
    assert sample.columns == ["x", "target"] and frame.join(sample, on="x", how="semi")["day"].max() < 215  # type: ignore[operator]


def test_a_sample_for_ranking_is_of_whole_queries(tmp_path: Path) -> None:
    project = bake(tmp_path, task="ranking", package="project")
    data.flight_ranking(project / "data" / "train.csv", most=3000)
    declared(project, 'query = "day_and_hour"', 'target = "relevance"', 'iid = "hours are compared as a whole"')
    split(project)
    assert run(project, "sample").returncode == 0
    sample = pl.read_csv(project / "tests" / "sample" / "rows.csv")
    assert len(sample) == 64
    assert sample.group_by("day_and_hour").agg(pl.col("relevance").n_unique())["relevance"][:-1].min() > 1  # type: ignore[operator]
    assert smoke(tmp_path, "tabular", [project])["my-model"][0] == 0


@pytest.mark.parametrize("table", [False, True])
def test_a_sample_of_images(tmp_path: Path, table: bool) -> None:
    """From class folders or a table of paths; large images become small ones, of any mode that Pillow knows."""
    from PIL import Image

    project = bake(tmp_path, modality="image", task="binary", package="project")
    random = np.random.default_rng(0)
    rows = []
    for i in range(60):
        label = ("day", "night")[i % 2]
        path = project / "data" / "images" / label / f"{i}.{'png' if i % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (300, 40, 3), dtype=np.uint8)).convert(
            "L" if i % 3 == 1 else "RGB"
        ).save(path)
        rows.append((f"images/{label}/{path.name}", label))
    if table:
        pl.DataFrame(rows, schema=["file", "kind"], orient="row").write_csv(project / "data" / "list.csv")
        declared(project, 'data = "data/list.csv"', 'image = "file"', 'target = "kind"')
    declared(project, 'iid = "one image a place"', 'weights = "none"', "size = 32")
    split(project)
    done = run(project, "sample")
    assert done.returncode == 0, done.stderr
    sample = pl.read_csv(project / "tests" / "sample" / "rows.csv")
    assert sample.columns == (["file", "kind"] if table else ["path", "target"])
    images = sorted((project / "tests" / "sample" / "images").iterdir())
    assert len(images) == len(sample) == 44  # of 60, four of each class validate and four test
    assert max(max(Image.open(path).size) for path in images) == 256


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    project = bake(tmp_path, modality="image", task="multiclass", package="project")
    data.digit_images(project / "data" / "images", classes=(0, 1, 2))
    for path in sorted((project / "data" / "images").glob("*/*.png"))[::2]:
        path.write_bytes(path.read_bytes()[:40])
    declared(project, 'iid = "one image a writer"', 'weights = "none"')
    split(project)
    done = run(project, "sample")
    assert done.returncode == 2 and ".png is no image that can be read" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
