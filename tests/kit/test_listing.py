"""Which files are examples, in whatever folders people keep them: links, parts above classes, odd names, other files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from my_model.engine.files import IMAGES
from my_model.engine.folders import class_folders, files_below
from my_model.engine.splits import assign
from my_model.errors import UserError
from my_model.image import picture
from my_model.image.listing import OTHER
from my_model.image.recipe import TASK
from PIL import Image as Picture
from recipe_kit.checks.duplicates import exact
from recipe_kit.checks.split import duplicates
from recipe_kit.production.rows import read_rows

from .test_image import PNG, config_of, found, project, write_images  # noqa: F401  project is a fixture

COLUMN = {"name": "path", "kind": "image"}


def paths(root: Path, **settings: object) -> list[str]:
    return TASK.load(config_of(root, **settings), root).frame["path"].to_list()


def to_predict(folder: Path) -> list[str]:
    rows = [row for chunk in read_rows(folder, [COLUMN]) for row in chunk]
    return [str(folder / row.values["path"]) for row in rows if row.values is not None]


def refused(root: Path, words: str, **settings: object) -> None:
    with pytest.raises(UserError, match=words) as error:
        TASK.load(config_of(root, **settings), root)
    assert "\n" not in str(error.value)


# ---- links ------------------------------------------------------------------------------------------------------


def test_links_are_followed_in_training_and_in_predict_alike(project: Path) -> None:  # noqa: F811
    folder, elsewhere = project / "data" / "images", project / "elsewhere"
    elsewhere.mkdir()
    for i, name in enumerate(("more", "single.png")):
        at = elsewhere / name
        at.mkdir() if i == 0 else None
        Picture.fromarray(np.full((16, 16, 3), 40 * i + np.arange(16)[:, None, None], dtype=np.uint8)).save(
            at / "1.png" if i == 0 else at
        )
    (folder / "lies" / "more").symlink_to(elsewhere / "more")
    (folder / "stands" / "single.png").symlink_to(elsewhere / "single.png")
    (folder / "leans").symlink_to(folder / "lies")
    listed = paths(project, task="multiclass")
    assert listed == to_predict(folder) == [str(path) for path in files_below(folder)]
    ends = [path.removeprefix(f"{folder}/") for path in listed]
    assert {"lies/more/1.png", "leans/more/1.png", "stands/single.png"} <= set(ends) and len(ends) == 60 + 30 + 3
    data = TASK.load(config_of(project, task="multiclass"), project)
    twice = exact(config_of(project, task="multiclass"), data)
    assert twice.verdict == "WARN" and twice.evidence["conflicts"] == 62  # one picture under two classes is no copy


@pytest.mark.parametrize("target", [".", "..", "../..", "../stands/back"])
def test_a_link_that_leads_back_is_refused_and_followed_by_nobody(project: Path, target: str) -> None:  # noqa: F811
    folder = project / "data" / "images"
    (folder / "stands" / "back").symlink_to("../lies")
    (folder / "lies" / "loop").symlink_to(target, target_is_directory=True)
    refused(project, r"(loop|back|images) is a link to .*, which it lies in: it never ends; remove the link")
    with pytest.raises(UserError, match="which it lies in"):
        to_predict(folder)


def test_a_link_to_nothing_a_pipe_and_a_device_are_named(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images" / "lies"
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "itself.png").symlink_to("itself.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zeros.png").symlink_to("/dev/zero")
    said = found(project)["readable images"]
    assert said.verdict == "FAIL" and "4 of 64 images cannot be used" in said.observed
    for words in (
        "lies/gone.png: missing: a link to nothing",
        "lies/pipe.png: no plain file",
        "lies/zeros.png: no plain file",
    ):
        assert words in said.observed
    assert len(to_predict(folder)) == 34  # rejected when they are looked at, each with its reason
    frame = pl.DataFrame({"path": [str(folder / "gone.png"), str(folder / "pipe.png")]})
    assert TASK.validate_rows(config_of(project), {"image": "path"}, frame)[1] == [
        "is missing: a link to nothing",
        "is no plain file",
    ]


def test_a_folder_that_cannot_be_listed_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    whole = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "stands":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(project, "folder .*stands cannot be listed: Permission denied")


# ---- names and other files --------------------------------------------------------------------------------------

ODD = [
    "-rf.png",
    'it\'s "one".PNG',
    "two\nlines.png",
    "naïve 猫.JPEG",
    "#1?&.gif",
    "a,b;c\t.png",
    " .png",
    "x" * 200 + ".png",
    "no ending",
]


def test_odd_names_are_names(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images"
    for name in ODD:
        (folder / "lies" / name).write_bytes(PNG)
    (folder / "stands").rename(folder / "stands, or\n'leans' ü")
    data = TASK.load(config_of(project), project)
    assert {Path(path).name for path in data.frame["path"]} >= set(ODD) and len(data) == 60 + len(ODD)
    assert data.frame["path"].to_list() == to_predict(folder)
    assert found(project)["readable images"].verdict == "PASS"
    (folder / "lies" / "two\nlines.png").write_bytes(b"")
    assert "\n" not in found(project)["readable images"].observed


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_text_is_refused_and_set_aside(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images" / "lies"
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(PNG)
    refused(project, r"a file whose name is not UTF-8: .*caf.*rename it")
    rows = [row for chunk in read_rows(folder, [COLUMN]) for row in chunk]
    assert [row.why for row in rows if row.values is None] == ["is not UTF-8"] and len(rows) == 31


def test_litter_is_passed_over_and_other_files_are_counted_and_named(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images"
    (folder / "__MACOSX" / "lies").mkdir(parents=True)
    for name in ("lies/.DS_Store", "lies/Thumbs.db", "desktop.ini", "__MACOSX/lies/1.png", ".hidden/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert len(paths(project)) == len(to_predict(folder)) == 60
    for i in range(30):
        (folder / "lies" / f"{i:03d}.xml").write_text("<annotation/>")
    (folder / "stands" / "README.TXT").write_text("about them")
    data = TASK.load(config_of(project), project)
    assert len(data) == 60 and data.unlabeled is not None
    assert data.unlabeled["file_problem"].to_list() == [OTHER] * 31
    said = found(project)["readable images"]
    assert (
        said.verdict == "PASS"
        and "31 files are of another kind and passed over, lies/000.xml among them" in said.observed
    )
    (folder / "stands" / "README.TXT").write_bytes(PNG)  # whatever it is called, it is a picture
    assert len(paths(project)) == 61
    (folder / "stands" / "bad.png").write_text("<html>not found</html>")
    assert "1 of 62 images cannot be used" in found(project)["readable images"].observed


def test_a_class_without_a_picture_is_refused(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images" / "leans"
    folder.mkdir()
    refused(project, "class folder .*leans holds no files", task="multiclass")
    (folder / "notes.txt").write_text("none yet")
    refused(
        project,
        "class folder leans holds no image that can be used: .*notes.txt is a file of another kind",
        task="multiclass",
    )
    (folder / "cut.png").write_bytes(PNG[:60])
    assert len(paths(project, task="multiclass")) == 61  # an image, though a broken one: training will refuse it
    refused(project, "class folder leans holds no image", task="multiclass", corrupt="drop")


def test_an_animated_gif_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Picture.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:], duration=100)
    assert picture.look(str(tmp_path / "moves.gif")).problem == ""
    assert picture.pixels(str(tmp_path / "moves.gif"), 4)[:, 0, 0].tolist() == [255, 0, 0]


# ---- parts above and below the classes --------------------------------------------------------------------------


def parted(root: Path, names: tuple[str, ...] = ("train", "train", "val", "test")) -> Path:
    """The sixty images again, in folders called like this above the class folders."""
    old = root / "data" / "old"
    folder = write_images(root)
    folder.rename(old)
    for i, file in enumerate(sorted(old.rglob("*.png"), key=lambda file: file.name)):
        at = folder / names[i // 2 % len(names)] / file.parent.name / file.name
        at.parent.mkdir(parents=True, exist_ok=True)
        file.rename(at)
    shutil.rmtree(old)
    return folder


def test_parts_above_the_classes_are_offered_and_taken(project: Path) -> None:  # noqa: F811
    folder = parted(project)
    refused(project, 'holds test, train, val, with class folders of the same names in each: .*put split = "given" into')
    assert class_folders(folder) == ({"lies": 30, "stands": 30}, {"test": 14, "train": 32, "val": 14})
    config = config_of(project, split="given")
    data = TASK.load(config, project)
    assert data.roles["given_part"] == "part" and sorted(data.frame["label"].unique()) == ["lies", "stands"]
    part = assign(config, data)
    assert [["train", "val", "test"][number] for number in part] == [
        Path(path).parts[-3] for path in data.frame["path"]
    ]
    assert sorted(TASK.load(config_of(project, split="stratified", task="multiclass"), project).frame["label"].unique()) == [
        "test", "train", "val",
    ]  # fmt: skip
    shutil.copy(next(folder.glob("train/lies/*")), folder / "test" / "lies" / "copy.png")
    data = TASK.load(config, project)
    assert duplicates(config, data, assign(config, data)).evidence["test"] > 0


def test_parts_below_the_classes_are_offered_and_taken(project: Path) -> None:  # noqa: F811
    folder = parted(project, ("Training", "Training", "Validation"))
    for outer in ("lies", "stands"):
        for inner in ("Training", "Validation"):
            (folder / outer).mkdir(exist_ok=True)
            (folder / inner / outer).rename(folder / outer / inner)
    for inner in ("Training", "Validation"):
        (folder / inner).rmdir()
    refused(project, 'the class folders of .* hold Training, Validation: .*put split = "given"')
    config = config_of(project, split="given")
    data = TASK.load(config, project)
    part = assign(config, data)
    assert sorted(data.frame["label"].unique()) == ["lies", "stands"] and {0, 1, 2} == set(part)
    assert all((part[i] == 1) == ("Validation" in path) for i, path in enumerate(data.frame["path"]))


def test_folders_of_parts_that_are_not_sound_get_one_sentence(project: Path) -> None:  # noqa: F811
    folder = parted(project)
    (folder / "extra" / "lies").mkdir(parents=True)
    (folder / "extra" / "lies" / "1.png").write_bytes(PNG)
    refused(project, "a folder of .* names the part 'extra' in 1 rows; parts are called train", split="given")
    shutil.rmtree(folder / "extra")
    (folder / "test" / "unknown.png").write_bytes(PNG)
    refused(project, "unknown.png lies beside the class folders and has no class", split="given")
    (folder / "test" / "unknown.png").unlink()
    (folder / "val" / "leans").mkdir()
    refused(project, "class folder .*val/leans holds no files", split="given")


def test_names_of_parts_alone_make_no_classes(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images"
    (folder / "lies").rename(folder / "train")
    (folder / "stands").rename(folder / "test")
    refused(
        project,
        "holds test, train, which are names of parts, and no class folders in them; make a folder for each class",
    )
    refused(project, "nothing says the part of a row", split="given")
    with pytest.raises(UserError, match="names of parts and not of classes"):
        class_folders(folder)
    assert len(paths(project, split="stratified")) == 60
    (folder / "bus").mkdir()
    (folder / "bus" / "1.png").write_bytes(PNG)
    assert len(paths(project, task="multiclass")) == 61  # a train is a vehicle too


def test_one_folder_around_the_classes_is_named(project: Path) -> None:  # noqa: F811
    folder = project / "data" / "images"
    (folder / "dataset").mkdir()
    for name in ("lies", "stands"):
        (folder / name).rename(folder / "dataset" / name)
    refused(
        project,
        "holds one class folder, dataset, and that holds lies, stands; if these are the classes, set data to .*dataset",
    )
    with pytest.raises(UserError, match=r"no two folders with images in them; .*dataset has: look there"):
        class_folders(folder)


def test_init_counts_files_of_every_format_that_is_read(tmp_path: Path) -> None:
    endings = [ending for ending, kind in Picture.registered_extensions().items() if kind in IMAGES]
    for number, name in enumerate([*endings, ".PPM"]):
        for folder in ("cat/train", "dog/train", "cat/val", "dog/val"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{number}{name}").write_bytes(PNG)
    n = len(endings) + 1
    assert class_folders(tmp_path) == ({"cat": 2 * n, "dog": 2 * n}, {"train": 2 * n, "val": 2 * n})


def test_a_test_folder_and_a_column_of_a_table_give_the_split(project: Path) -> None:  # noqa: F811
    (project / "data" / "images").rename(project / "data" / "held")
    for i, name in enumerate(("lies", "stands")):
        (project / "data" / "images" / name).mkdir(parents=True)
        for number in range(15, 30):
            file = project / "data" / "held" / name / f"{2 * number + i:03d}.png"
            file.rename(project / "data" / "images" / name / file.name)
    config = config_of(project, test_data="data/held")
    data = TASK.load(config, project)
    part = assign(config, data)
    assert (part == 2).sum() == 30 and all((part[i] == 2) == ("/held/" in p) for i, p in enumerate(data.frame["path"]))
    before = data.sha256
    next((project / "data" / "held").rglob("*.png")).write_bytes(PNG)
    assert TASK.load(config, project).sha256 != before
    rows = data.frame.select("path", "label", where=pl.Series(["train", "dev", "holdout"])[part.astype(int)])
    rows.write_csv(project / "data" / "list.csv")
    listed = config_of(project, data="data/list.csv", split_column="where")
    assert assign(listed, TASK.load(listed, project)).tolist() == part.tolist()


@pytest.mark.parametrize("name", ["../../outside.png", "images/../../outside.png", "{absolute}"])
def test_a_table_names_no_image_outside_of_its_data(project: Path, name: str) -> None:  # noqa: F811
    """In training and in files to predict or to monitor; inside, also by an absolute path, they are taken."""
    outside, inside = project / "outside.png", next((project / "data" / "images").rglob("*.png"))
    shutil.copyfile(inside, outside)
    name = name.format(absolute=outside)
    table = project / "data" / "lists" / "images.csv"
    table.parent.mkdir()
    good = [str(inside), os.path.relpath(inside, table.parent)]
    odd = name if name.startswith("/") else f"../{name}"
    pl.DataFrame({"path": [*good, odd], "label": ["a", "b", "a"]}).write_csv(table)
    refused(project, r"outside\.png.*, which is not in .*data; put the images there", data="data/lists/images.csv")
    rows = [row for chunk in read_rows(table, [COLUMN]) for row in chunk]
    assert [row.values is None for row in rows] == [False, False, True] and "is not in" in rows[2].why


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(picture.MOST_BYTES + 1)  # sparse: it takes no room
    assert picture.look(str(tmp_path / "large.png")).problem == f"too large: {picture.MOST_BYTES + 1:,} bytes"
