"""Tests of the image modality on small drawn pictures: bars that lie or stand, and every way a file can be broken."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import struct
import tomllib
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import polars as pl
import pytest
import torch
from my_model.config import make_config
from my_model.engine.loop import plan, step
from my_model.engine.losses import make_loss
from my_model.engine.optim import make_optimizer
from my_model.errors import UserError
from my_model.image import augment, data, picture
from my_model.image.augment import make_transform, plain
from my_model.image.model import Classifier, make_model
from my_model.image.recipe import TASK, Config
from my_model.image.weights import backbone_of, find_weights, load_backbone, own_view, read_tensors, swap_norm
from my_model.task import Data
from PIL import Image as Picture
from recipe_kit.checks import context
from recipe_kit.checks import loss as loss_checks
from recipe_kit.checks.context import Context
from recipe_kit.cli import main
from recipe_kit.image import audit, checks
from torch import nn

torch.set_num_threads(1)
SIDE = 16


def draw(label: str, random: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A bright bar on noise, uint8 [side, side, 3]: it lies, or it stands."""
    image = random.integers(0, 90, (side, side, 3))
    at = int(random.integers(1, side - 3))
    image[at : at + 2] += 140
    return np.asarray(image if label == "lies" else image.transpose(1, 0, 2), dtype=np.uint8)


def write_images(root: Path, n: int = 60, labels: tuple[str, ...] = ("lies", "stands"), side: int = SIDE) -> Path:
    """Class folders below root/data/images; returns that folder."""
    random, folder = np.random.default_rng(0), root / "data" / "images"
    for i in range(n):
        label = labels[i % len(labels)]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Picture.fromarray(draw(label, random, side)).save(folder / label / f"{i:03d}.png")
    return folder


def encoded(image: Any, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **settings)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that unpacks to side x side black pixels."""
    row, squeeze = bytes(side // 8 + 1), zlib.compressobj(9)
    body = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks
    )


PHOTO = Picture.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
JPEG, PNG = encoded(PHOTO, "JPEG"), encoded(PHOTO, "PNG")
BROKEN = {
    "0 bytes": b"",
    "truncated": JPEG[: len(JPEG) // 2],
    "no image, or of an unknown kind": b"GIF89 this is a letter",
    "cannot be decoded": PNG[: len(PNG) // 2] + bytes(60) + PNG[len(PNG) // 2 + 60 :],
    "decompression bomb": bomb(20_000),
    "too large": bomb(8_000),
    "no agreed white": encoded(Picture.fromarray(np.full((8, 8), 70_000, dtype=np.int32)), "TIFF"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with sixty images in two class folders and a recipe for them."""
    write_images(tmp_path)
    settings = {"modality": "image", "task": "binary", "target": "label", "iid": "drawn one by one", "tracker": "none"}
    sizes = {"device": "cpu", "size": SIDE, "batch_size": 8, "lr": 1e-3, "weights": "none"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**settings, **sizes}.items()]
    (tmp_path / "recipe.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of resnet18 weights as torchvision would save them, with statistics that are not the fresh ones."""
    from torchvision import models

    torch.manual_seed(0)
    network = models.resnet18(weights=None).train()
    with torch.no_grad():
        network(torch.randn(16, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def config_of(root: Path, **settings: Any) -> Config:
    return make_config(Config, {**tomllib.loads((root / "recipe.toml").read_text()), **settings}, "test")  # type: ignore[return-value]


def prepared(root: Path, **settings: Any) -> tuple[Config, dict[str, Any], Data]:
    config = config_of(root, **settings)
    loaded = TASK.load(config, root)
    return config, TASK.prepare(config, loaded), loaded


def found(root: Path, **settings: Any) -> dict[str, Any]:
    """The audit's findings by name."""
    config = config_of(root, **settings)
    return {f.check: f for f in audit.audit(config, TASK.load(config, root))}


# ---- files ------------------------------------------------------------------------------------------------------


def test_class_folders_and_a_table_say_the_same(project: Path) -> None:
    config, prep, folders = prepared(project)
    assert len(folders) == 60 and folders.columns("image") == ["path"] and prep["classes"] == ["lies", "stands"]
    rows = folders.frame.select(pl.col("path").str.replace(str(project / "data") + "/", "", literal=True), "label")
    rows.with_columns(camera=pl.int_range(60) // 5).write_csv(project / "data" / "list.csv")
    table = TASK.load(config_of(project, data="data/list.csv", group="camera"), project)
    assert table.frame["path"].to_list() == folders.frame["path"].to_list() and table.roles["camera"] == "group"
    examples = [TASK.examples(config, prep, part) for part in (folders, table)]
    batches = [next(iter(e.batches([torch.arange(60)]))) for e in examples]
    assert torch.equal(batches[0].x, batches[1].x) and torch.equal(batches[0].y, batches[1].y)
    assert batches[0].x.mean().abs() < 1e-3 and batches[0].x.std() == pytest.approx(1, abs=0.01)  # measured on train
    shown = TASK.show(prep, batches[0], 3)["image"]
    assert np.array_equal(shown, np.asarray(Picture.open(folders.frame["path"][3])))  # to the last pixel


def test_the_hash_is_of_names_bytes_and_labels(project: Path, tmp_path: Path) -> None:
    config = config_of(project)
    before = TASK.load(config, project).sha256
    moved = tmp_path / "elsewhere"
    (moved / "data").mkdir(parents=True)
    (project / "data" / "images").rename(moved / "data" / "images")
    assert TASK.load(config, moved).sha256 == before
    file = moved / "data" / "images" / "lies" / "000.png"
    file.rename(file.parents[1] / "stands" / "000.png")
    assert TASK.load(config, moved).sha256 != before


def test_bad_folders_and_tables_get_one_sentence(project: Path) -> None:
    folder = project / "data" / "images"
    (project / "data" / "empty").mkdir()
    cases = [("data/none", "neither a folder nor a file"), ("data/empty", "holds no class folders")]
    (project / "data" / "list.csv").write_text(
        "path,label\n" + "".join(f"images/x{i}.png,a\nimages/y{i}.png,b\n" for i in range(9))
    )
    (project / "data" / "gaps.csv").write_text("path,label\n" + ",a\nimages/y.png,b\n" * 9)
    cases += [
        ("data/list.csv", "none of the 18 images .* can be used; the first, .*x0.png, is missing"),
        ("data/gaps.csv", "is empty in 9 rows"),
    ]
    for path, words in cases:
        with pytest.raises(UserError, match=words) as error:
            TASK.load(config_of(project, data=path), project)
        assert "\n" not in str(error.value)
    (project / "data" / "list.csv").write_text("image,label\na.png,b\n")
    with pytest.raises(UserError, match="image names column 'path'"):
        TASK.load(config_of(project, data="data/list.csv"), project)
    (folder / "Thumbs.db").write_bytes(b"")  # litter is passed over
    (folder / "lies" / ".hidden").write_bytes(b"")
    assert len(TASK.load(config_of(project), project)) == 60
    (folder / "loose.png").write_bytes(PNG)
    with pytest.raises(UserError, match=r"loose.png lies beside the class folders"):
        TASK.load(config_of(project), project)
    (folder / "loose.png").unlink()
    (folder / "crooked").mkdir()
    with pytest.raises(UserError, match=r"class folder .*crooked holds no files"):
        TASK.load(config_of(project), project)


def test_every_kind_of_pixel_becomes_8_bit_rgb(tmp_path: Path) -> None:
    red = Picture.new("RGB", (4, 4), (200, 40, 40))
    ghost = red.convert("RGBA")
    ghost.putalpha(0)
    ramp = Picture.fromarray((np.arange(16, dtype=np.uint16) * 4096).reshape(4, 4))
    clear = Picture.new("P", (4, 4), 0)
    clear.putpalette([9, 9, 9] + [0] * 765)
    cases: dict[str, tuple[Any, dict[str, Any], Any]] = {
        "rgb.png": (red, {}, [200, 40, 40]), "alpha.png": (ghost, {}, [255, 255, 255]), "palette.png": (red.convert("P"), {}, None),
        "cmyk.tif": (red.convert("CMYK"), {}, [200, 40, 40]), "gray.png": (red.convert("L"), {}, None), "clear.png": (clear, {"transparency": 0}, [255] * 3),
        "gray_alpha.png": (ghost.convert("LA"), {}, [255, 255, 255]), "bit.png": (Picture.new("1", (4, 4), 1), {}, [255] * 3),
    }  # fmt: skip
    for name, (image, settings, wanted) in cases.items():
        image.save(tmp_path / name, **settings)
        assert picture.look(str(tmp_path / name)).problem == ""
        pixels = picture.pixels(str(tmp_path / name), 4)
        assert pixels.shape == (3, 4, 4) and pixels.dtype == np.uint8
        assert wanted is None or np.abs(pixels[:, 0, 0].astype(int) - wanted).max() <= 2, name
    for name in ("ramp.png", "ramp.tif"):
        ramp.save(tmp_path / name)
        assert picture.pixels(str(tmp_path / name), 4)[0].ravel().tolist() == list(range(0, 256, 16))  # not white
    for path in sorted(tmp_path.iterdir()):  # of the bytes of a request the same is seen, and no file is written
        sent = path.read_bytes()
        assert picture.look(sent) == picture.look(str(path))._replace(path="")
        assert np.array_equal(picture.pixels(sent, 4), picture.pixels(str(path), 4))
    turned = red.copy()
    turned.paste((0, 0, 0), (0, 0, 4, 2))
    exif = turned.getexif()
    exif[274] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    assert picture.pixels(str(tmp_path / "turned.png"), 4)[0, :, 0].tolist() == [200, 200, 0, 0]


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_file_is_named_before_training_or_left_out(project: Path, problem: str) -> None:
    """One broken file among sixty: the audit fails and names it, training is refused, and corrupt = "drop" leaves it out."""
    (project / "data" / "images" / "lies" / "bad.jpg").write_bytes(BROKEN[problem])
    finding = found(project)["readable images"]
    assert finding.verdict == "FAIL" and f"(1 {problem})" in finding.observed and "lies/bad.jpg" in finding.observed
    with pytest.raises(UserError, match=r'1 of 61 images cannot be used: bad.jpg .*corrupt = "drop"') as error:
        prepared(project)
    assert "\n" not in str(error.value)
    config, prep, loaded = prepared(project, corrupt="drop")
    assert len(loaded) == len(TASK.examples(config, prep, loaded)) == 60
    finding = found(project, corrupt="drop")["readable images"]
    assert finding.verdict == "WARN" and "1 of 61" in finding.observed and "left out" in finding.observed


def test_sound_files_are_green_and_decoded_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "runs").mkdir()
    config = config_of(project)
    assert {f.verdict for f in audit.audit(config, TASK.load(config, project))} == {"PASS"}
    decoded: list[bytes] = []
    whole = picture._decode
    monkeypatch.setattr(picture, "_decode", lambda content: decoded.append(content) or whole(content))
    TASK.load(config, project)
    assert decoded == []
    file = project / "data" / "images" / "lies" / "000.png"
    file.write_bytes(b"no picture")
    for _ in range(2):  # what is broken is looked at again each time: another version of the decoder may read it
        assert TASK.load(config, project).frame.filter(pl.col("file_problem") != "")["path"].to_list() == [str(file)]
        assert decoded == [b"no picture"]
        decoded.clear()
    (project / "runs" / picture.SEEN).write_bytes(b"not a table")
    assert len(TASK.load(config, project)) == 60 and len(decoded) == 60


def test_files_that_are_swapped_are_noticed_whatever_their_size_and_time(project: Path) -> None:
    """Two pictures of one size and one time change places: the hash of the data changes, and goes back with them."""
    (project / "runs").mkdir()
    one, other = (project / "data" / "images" / name for name in ("lies/000.png", "stands/001.png"))
    longest = max(one.stat().st_size, other.stat().st_size)
    for file in (one, other):  # what follows the end of a PNG is not read
        file.write_bytes(file.read_bytes() + bytes(longest - file.stat().st_size))
        os.utime(file, ns=(1, 1))
    config = config_of(project)
    before = TASK.load(config, project)
    contents = one.read_bytes(), other.read_bytes()
    for file, content in ((one, contents[1]), (other, contents[0])):
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
    after = TASK.load(config, project)
    assert after.sha256 != before.sha256
    digests = [dict(data.frame.select("path", "file_sha256").rows()) for data in (before, after)]
    assert digests[0][str(one)] == digests[1][str(other)] and digests[0][str(other)] == digests[1][str(one)]
    one.write_bytes(contents[0])
    other.write_bytes(contents[1])
    assert TASK.load(config, project).sha256 == before.sha256


def test_what_is_remembered_of_files_is_checked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a table names twice is decoded once; facts that are missing or of another kind are looked up again."""
    (project / "runs").mkdir()
    names = sorted(str(p.relative_to(project / "data")) for p in (project / "data" / "images").rglob("*.png"))
    asked = [*names[::-1], *names[:3]]
    table = pl.DataFrame({"path": asked, "label": [Path(name).parent.name for name in asked]})
    table.write_csv(project / "data" / "list.csv")
    decoded: list[bytes] = []
    whole = picture._decode
    monkeypatch.setattr(picture, "_decode", lambda content: decoded.append(content) or whole(content))
    config, cache = config_of(project, data="data/list.csv"), project / "runs" / picture.SEEN
    first = TASK.load(config, project).frame
    assert len(decoded) == 60 and first["path"].to_list() == [str(project / "data" / name) for name in asked]
    assert [picture.look(path).sha256 for path in first["path"]] == first["file_sha256"].to_list()
    for change in (pl.lit(None).alias("problem"), pl.lit("wide").alias("width"), pl.lit("0 bytes").alias("problem")):
        pl.read_parquet(cache).with_columns(change).write_parquet(cache)
        decoded.clear()
        assert TASK.load(config, project).frame.equals(first) and len(decoded) == 60


def test_a_class_folder_with_one_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "data" / "images" / "leans").mkdir()
    (project / "data" / "images" / "leans" / "only.png").write_bytes(PNG)
    monkeypatch.chdir(project)
    assert main(["audit", "task=multiclass"]) == 0
    assert "the rarest is leans with 1 rows" in capsys.readouterr().out
    assert main(["split", "task=multiclass"]) == 0
    asked = capsys.readouterr().out
    assert "WARN           classes in every part: val lacks leans" in asked and 'drop_classes = ["leans"]' in asked


def test_copies_are_told_by_their_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "data" / "images"
    (folder / "stands" / "copy.png").write_bytes((folder / "lies" / "000.png").read_bytes())
    for i in range(4):
        (folder / "lies" / f"again{i}.png").write_bytes((folder / "lies" / "002.png").read_bytes())
    monkeypatch.chdir(project)
    assert main(["audit"]) == 1
    assert (
        "FAIL           duplicate rows: 4 rows (6.2%) repeat an earlier one, 4 more than by chance; 2 rows share features but not the label"
        in capsys.readouterr().out
    )
    assert (
        len(TASK.load(config_of(project, duplicates="drop"), project)) == 61
    )  # the two that disagree are for you to judge


def test_blank_images_formats_and_shapes(project: Path) -> None:
    folder = project / "data" / "images"
    Picture.new("RGB", (SIDE, SIDE), "gray").save(folder / "lies" / "blank.png")
    assert (blank := found(project)["blank images"]).verdict == "WARN" and "blank.png" in blank.observed
    (folder / "lies" / "blank.png").unlink()
    for file in sorted((folder / "stands").iterdir()):  # one class was saved by another program
        Picture.open(file).convert("CMYK").save(file.with_suffix(".jpg"))
        file.unlink()
    told = found(project)["informative file format"]
    assert (
        told.verdict == "WARN"
        and "30 JPEG CMYK" in told.observed
        and "CMYK and the like are converted" in told.observed
    )
    for file in sorted(folder.rglob("*.*")):
        wide = Picture.open(file).convert("RGB").resize((80, 20))
        file.unlink()
        wide.save(file.with_suffix(".png"))
    sizes = found(project)["image sizes"]
    assert sizes.verdict == "WARN" and "keeps 25%" in sizes.observed and "loses its ends" in sizes.causes[0].sentence
    write_images(project)
    assert found(project)["informative file format"].verdict == "PASS"
    for file in sorted((folder / "stands").iterdir())[:24]:  # most of one class came from elsewhere
        Picture.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    assert found(project)["informative file format"].verdict == "WARN"
    sizes = found(project, size=224)["image sizes"]
    assert sizes.verdict == "WARN" and "enlarges pictures of 16 pixels" in sizes.causes[0].sentence


def test_pictures_that_do_not_fit_into_memory_are_decoded_batch_by_batch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, prep, loaded = prepared(project)
    kept = TASK.examples(config, prep, loaded)
    monkeypatch.setattr(data, "MEMORY", 1000)
    lazy = TASK.examples(config, prep, loaded)
    rows = [torch.tensor([5, 3, 40])]
    assert lazy.stored is None and torch.equal(next(iter(kept.batches(rows))).x, next(iter(lazy.batches(rows))).x)  # type: ignore[attr-defined]
    workers = TASK.examples(config_of(project, workers=2), prep, loaded).batches(rows * 2)
    assert all(torch.equal(next(iter(kept.batches(rows))).x, batch.x) for batch in workers)
    Path(loaded.frame["path"][3]).write_bytes(b"")
    with pytest.raises(UserError, match="has changed since it was last looked at"):
        next(iter(lazy.batches(rows)))


# ---- augmentation -----------------------------------------------------------------------------------------------

ALL = {"augment": ["crop", "flip", "jitter", "randaugment", "mixup"], "label_preserving": "bars stay bars"}


def test_augmentation_follows_from_seed_epoch_and_index_alone(project: Path) -> None:
    config, prep, loaded = prepared(project, **ALL)
    examples = TASK.examples(config, prep, loaded)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = next(iter(examples.batches([torch.arange(60)], 3, augment=True)))
    assert torch.equal(torch.get_rng_state(), before)  # dropout does not notice
    order = torch.randperm(60)
    parts = list(
        TASK.examples(config_of(project, workers=2, **ALL), prep, loaded).batches(list(order.split(7)), 3, augment=True)
    )
    assert torch.equal(torch.cat([b.index for b in parts]), order)
    assert torch.equal(torch.cat([b.x for b in parts]), whole.x[order])
    assert torch.equal(torch.cat([b.y for b in parts]), whole.y[order])
    assert whole.y.shape == (60, 2) and torch.allclose(whole.y.sum(dim=1), torch.ones(60))
    other, plain = (
        next(iter(examples.batches([torch.arange(60)], epoch, augment))) for epoch, augment in ((4, True), (3, False))
    )
    assert not torch.equal(other.x, whole.x) and plain.y.shape == (60,)
    later = TASK.examples(config_of(project, seed=1, **ALL), prep, loaded)
    assert not torch.equal(next(iter(later.batches([torch.arange(60)], 3, augment=True))).x, whole.x)


def test_workers_live_on_from_epoch_to_epoch_also_when_one_is_left_early(project: Path) -> None:
    _, prep, loaded = prepared(project, **ALL)
    alone, together = (TASK.examples(config_of(project, workers=n, **ALL), prep, loaded) for n in (0, 2))
    plan = list(torch.arange(60).split(7))
    before = set(multiprocessing.active_children())
    first = together.batches(plan, 0, augment=True)
    assert torch.equal(next(first).x, next(alone.batches(plan, 0, augment=True)).x)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    first.close()  # type: ignore[attr-defined]  # as on a signal
    for epoch, order in ((1, plan[::-1]), (2, plan)):
        pairs = zip(together.batches(order, epoch, True), alone.batches(order, epoch, True), strict=True)
        assert all(torch.equal(a.x, b.x) and torch.equal(a.index, b.index) for a, b in pairs)
    assert set(multiprocessing.active_children()) - before == workers


@pytest.mark.parametrize("name", ["crop", "flip", "jitter", "randaugment", "mixup", "cutmix"])
def test_each_augmentation_changes_some_pictures_and_grows_with_strength(project: Path, name: str) -> None:
    settings: dict[str, Any] = {"augment": [name], "label_preserving": "bars stay bars", "task": "multiclass"}
    far = []
    for strength in (0.2, 1.0):
        config, prep, loaded = prepared(project, strength=strength, **settings)
        examples = TASK.examples(config, prep, loaded)
        plain, changed = (next(iter(examples.batches([torch.arange(60)], 0, augment))) for augment in (False, True))
        far.append(float((plain.x - changed.x).abs().mean()))
        loss = make_loss(config, prep)(torch.zeros(60, 2), changed)
        assert loss.isfinite().all() and changed.x.isfinite().all() and "image" in TASK.show(prep, changed, 0)
    assert far[1] > 0 and (far[1] > far[0] or name == "flip")
    assert make_transform((name,), 0.0, SIDE)(torch.zeros(3, 20, 20, dtype=torch.uint8)).shape == (3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": ["flip"]}, "changes the pictures; say in label_preserving"),
        ({"augment": ["rotate"]}, "augment holds 'rotate'; it may hold crop, flip"),
        ({"augment": ["mixup", "cutmix"]}, "mixes or names the same thing twice"),
        ({"augment": ["mixup"], "task": "regression"}, "has none"),
        ({"size": 8}, "size = 8 leaves a network nothing to see"),
        ({"adapt": "frozen"}, "would freeze random weights"),
        ({"image": "label"}, "target and image both name column 'label'"),
        ({"drop": ["path"]}, "drop holds the image column"),
        ({"backbone": "resnet19"}, "must be one of resnet18"),
        ({"weights": "./nowhere.pth"}, "is no file, no folder and no name of the hub"),
        ({"weights": "IMAGENET1K_V9"}, "is not there for resnet18; the hub has IMAGENET1K_V1"),
    ],
)
def test_wrong_settings_get_one_sentence(project: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        prepared(project, **settings)
    assert "\n" not in str(error.value)


def test_a_flip_that_swaps_the_classes_is_seen(tmp_path: Path, project: Path) -> None:
    """Bars at the left or at the right: a mirror turns one into the other, a jitter does not."""
    random = np.random.default_rng(0)
    for i in range(200):
        image = random.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        at = int(random.integers(0, 4)) + (11 if i % 2 else 0)
        image[:, at : at + 2] = 200
        folder = project / "data" / "sides" / ("left", "right")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(image).save(folder / f"{i}.png")
    for kind, verdict in (("flip", "WARN"), ("jitter", "PASS")):
        config, prep, loaded = prepared(project, data="data/sides", augment=[kind], label_preserving="so I say")
        finding = checks.checks(config, prep, loaded, loaded)[-1]
        assert (finding.check, finding.verdict) == ("labels survive augmentation", verdict), finding.observed
        assert "so I say" in finding.observed


# ---- weights and networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapt", ["full", "head_first", "early", "frozen"])
def test_what_is_frozen_stays_to_the_last_bit(project: Path, trained: Path, adapt: str) -> None:
    config, prep, loaded = prepared(project, weights=str(trained), adapt=adapt, lr=1e-2)
    examples, network = TASK.examples(config, prep, loaded), TASK.model(config, prep)
    TASK.set_trainable(config, network, 0)
    network.train()
    optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batches = list(examples.batches(plan(examples, 16, 0), 0, augment=True))
    first = float(step(network, [batches[0]], loss, optimizer, config)) / len(batches[0].y)
    assert first == pytest.approx(np.log(2), rel=0.5)  # the head starts at the prior
    for batch in batches[1:]:
        step(network, [batch], loss, optimizer, config)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "head.weight" in moved
    backbone = {name for name in moved if name.startswith("backbone.")}
    if adapt in ("frozen", "head_first"):  # statistics included
        assert backbone == set()
    elif adapt == "early":
        assert backbone and all("layer3" in name or "layer4" in name for name in backbone)
        assert any("layer3" in name and "running_mean" in name for name in backbone)
    else:
        assert {"backbone.conv1.weight", "backbone.bn1.running_mean"} <= backbone
    declared = {name for name, p in network.named_parameters() if TASK.frozen(config, name)}
    assert declared.isdisjoint(moved) and bool(declared) == (adapt in ("early", "frozen"))
    TASK.set_trainable(config, network, config.epochs)
    assert {n for n, p in network.named_parameters() if not p.requires_grad} == declared


@pytest.mark.parametrize("backbone", ["resnet50", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_other_families_train_and_freeze(project: Path, backbone: str) -> None:
    config, prep, loaded = prepared(project, backbone=backbone)
    network = TASK.model(config, prep).train()
    batch = next(iter(TASK.examples(config, prep, loaded).batches([torch.arange(8)])))
    optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
    losses = [float(step(network, [batch], loss, optimizer, config)) / 8 for _ in range(4)]
    assert losses[0] == pytest.approx(np.log(2), rel=0.3) and min(losses[1:]) < losses[0]
    if backbone == "efficientnet_b0":  # whole branches are dropped at random in training: no sum, no stale gradient
        context = Context(config, TASK, prep, {}, *[TASK.examples(config, prep, loaded)] * 2)
        assert [check(context).verdict for check in (loss_checks.mean_not_sum, loss_checks.fresh_gradients)] == [
            "PASS"
        ] * 2
    partly = config.model_copy(update={"adapt": "early"})
    TASK.set_trainable(partly, network, 0)
    network.train()
    share = np.mean([p.requires_grad for p in network.parameters()])
    assert 0.2 < share < 0.8
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.training for m in norms} == {True, False} and all(m.training == m.weight.requires_grad for m in norms)


def test_rates_fall_with_depth_and_rise_for_the_new_head(project: Path, trained: Path) -> None:
    config = config_of(project, layer_decay=0.5, weights=str(trained))
    names = ("backbone.conv1.weight", "backbone.layer1.0.conv1.weight", "backbone.layer4.1.bn2.bias", "head.weight")
    assert [TASK.lr_scale(config, name) for name in names] == [1 / 16, 1 / 8, 1.0, 10.0]
    deep = config_of(project, layer_decay=0.5, weights=str(trained), backbone="efficientnet_b0")
    assert TASK.lr_scale(deep, "backbone.features.8.0.weight") == 1.0
    assert TASK.lr_scale(config_of(project), "head.weight") == 1.0  # from random weights all learn alike


def test_weights_of_every_plain_form_are_read_alike(project: Path, trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = read_tensors(trained)
    torch.save(
        {"state_dict": {f"module.{n}": t for n, t in tensors.items()}, "epoch": torch.tensor(3)},
        tmp_path / "wrapped.pt",
    )
    save_file(tensors, tmp_path / "model.safetensors")
    config, prep, _ = prepared(project, weights=str(trained))
    mine = make_model(config, prep)
    run = tmp_path / "runs" / "0007-train"
    (run / "checkpoints" / "best-000000009").mkdir(parents=True)
    save_file(mine.state_dict(), run / "checkpoints" / "best-000000009" / "weights.safetensors")
    seen = {"size": 48, "side": 60, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (run / "prep.json").write_text(json.dumps(seen))
    for weights in (
        tmp_path / "wrapped.pt",
        tmp_path / "model.safetensors",
        tmp_path,
        run,
        run / "checkpoints" / "best-000000009",
    ):
        network, width = load_backbone(config_of(project, weights=str(weights)))
        assert width == 512
        assert all(torch.equal(t, mine.backbone.state_dict()[n]) for n, t in network.state_dict().items())
    _, prep, _ = prepared(project, weights=str(run), size=0)  # sees as that run saw
    assert {name: prep[name] for name in seen} == seen
    assert own_view("resnet18", str(trained))["mean"] == [0.485, 0.456, 0.406]  # other files: as the hub's


def test_weights_that_do_not_fit_are_refused(project: Path, trained: Path, tmp_path: Path) -> None:
    tensors = read_tensors(trained)
    path = tmp_path / "weights.pth"
    cases: list[tuple[Any, str]] = [
        ({n: t for n, t in tensors.items() if "layer4" not in n}, "lack 25 tensors of this backbone"),
        ({**tensors, "conv1.weight": torch.zeros(64, 1, 7, 7)}, "hold 1 tensors of another shape"),
        ({**tensors, "layer9.weight": torch.zeros(3)}, "hold 1 tensors too many"),
        ({**tensors, "bn1.bias": torch.full((64,), torch.nan)}, "are not finite"),
        ({"conv1.weight": Path("x")}, "cannot be read as plain tensors"),
        ([1, 2], "holds no state dict"),
    ]
    for content, words in cases:
        torch.save(content, path)
        with pytest.raises(UserError, match=words) as error:
            load_backbone(config_of(project, weights=str(path)))
        assert "\n" not in str(error.value)
    path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        load_backbone(config_of(project, weights=str(path)))
    config, prep, _ = prepared(project, weights=str(trained))
    with pytest.raises(UserError, match="other weights than when this was prepared"):
        TASK.model(config, {**prep, "weights": "0123456789abcdef"})


def test_an_unreachable_hub_is_one_sentence_with_three_ways_on(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    find_weights.cache_clear()
    with pytest.raises(UserError) as error:
        prepared(project, weights="pretrained")
    text = str(error.value)
    assert all(way in text for way in ("(1)", "(2)", "(3)", "resnet18-f37072fd.pth", "https://", 'weights = "none"'))
    assert "\n" not in text and not list((tmp_path / "hub").rglob("*.p*"))
    assert found(project, weights="pretrained")["image sizes"].verdict == "PASS"  # an audit needs no hub


def test_a_random_resnet_starts_with_all_its_branches(project: Path) -> None:
    """Zero gammas would keep them out: under Adam they grow by no more than the learning rate a step."""
    network, _ = load_backbone(config_of(project, backbone="resnet50", weights="none"))
    gammas = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(gammas) == 53 and all(bool((gamma == 1).all()) for gamma in gammas)


def test_group_norm_takes_the_place_of_every_batch_norm(project: Path, trained: Path) -> None:
    config, prep, loaded = prepared(project, norm="group", weights=str(trained))
    network = TASK.model(config, prep)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert torch.equal(network.backbone.layer1[0].bn1.weight, read_tensors(trained)["layer1.0.bn1.weight"])
    batch = next(iter(TASK.examples(config, prep, loaded).batches([torch.arange(4)])))
    with torch.no_grad():  # alone or together, training or not: no example sees another
        together, alone = network.train()(batch.x), network.eval()(batch.x[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)
    with pytest.raises(UserError, match="trained with BatchNorm; frozen, they need it"):
        load_backbone(config_of(project, norm="group", weights=str(trained), adapt="frozen"))
    small, _ = load_backbone(config_of(project, backbone="efficientnet_b0"))
    swap_norm(small)
    assert small(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_saliency_finds_the_bar_and_leaves_the_model_as_it_was(project: Path) -> None:
    config, prep, loaded = prepared(project)
    network, examples = TASK.model(config, prep).train(), TASK.examples(config, prep, loaded)
    batch = next(iter(examples.batches([torch.arange(4)])))
    shown = np.array(TASK.explain(config, prep, network, batch, 1)["saliency"])
    assert shown.shape == (SIDE, SIDE) and shown.min() >= 0 and shown.max() == 1
    assert network.training and all(p.grad is None for p in network.parameters())
    assert np.array_equal(shown, TASK.explain(config, prep, network, batch, 1)["saliency"])

    class Corner(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, :4, :4].sum(dim=(1, 2, 3))[:, None] * self.weight

    shown = np.array(TASK.explain(config, prep, Corner(1, 1), batch, 0)["saliency"])
    assert shown[:4, :4].min() == 1 and shown[4:].max() == 0


# ---- baselines, audit, checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [("lies", "stands"), ("a", "lies", "stands")])
def test_baselines_learn_and_survive_the_disk(
    tmp_path: Path, project: Path, trained: Path, labels: tuple[str, ...]
) -> None:
    write_images(tmp_path / "more", 90, labels)
    (tmp_path / "more" / "recipe.toml").write_text((project / "recipe.toml").read_text())
    task = "binary" if len(labels) == 2 else "multiclass"
    config, prep, loaded = prepared(tmp_path / "more", task=task, weights=str(trained))
    y = TASK.examples(config, prep, loaded).y.numpy()
    fitted = TASK.baselines(config, prep, loaded)
    assert list(fitted) == ["pixels", "rbf_svc", "frozen_features"]
    for name, model in fitted.items():
        outputs = model.predict(loaded)
        called = outputs[:, 0] > 0 if task == "binary" else outputs.argmax(axis=1)
        assert outputs.shape == (90, prep["outputs"]) and (called == y).mean() > 0.6, name
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
        assert np.allclose(TASK.load_baseline(config, prep, tmp_path / name).predict(loaded), outputs, atol=1e-5)
        assert list(TASK.baselines(config, prep, loaded, only=name)) == [name]
    with pytest.raises(UserError, match="holds no saved model"):
        TASK.load_baseline(config, prep, tmp_path)
    assert list(TASK.baselines(config_of(tmp_path / "more", task=task), prep, loaded)) == ["pixels", "rbf_svc"]


def dimmed(prep: dict[str, Any], stored: torch.Tensor) -> torch.Tensor:
    return 0.8 * plain(prep, stored)


def test_checks_before_training_green_and_red(project: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, prep, loaded = prepared(project, weights=str(trained), adapt="frozen")
    train, val = loaded.take(np.arange(0, 60, 2)), loaded.take(np.arange(1, 60, 2))
    green = {f.check: f.verdict for f in checks.checks(config, prep, train, val)}
    assert green == {
        "pixels": "PASS",
        "what is trained": "PASS",
        "frozen statistics": "PASS",
        "labels survive augmentation": "NOT APPLICABLE",
    }
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "train", nn.Module.train)  # the usual bug: model.train() wakes frozen BatchNorm
        frozen = {f.check: f for f in checks.checks(config, prep, train, val)}["frozen statistics"]
    assert frozen.verdict == "FAIL" and "backbone.bn1.running_mean" in frozen.observed
    part = data.first(TASK.examples(config, prep, val), 20)
    bright = replace(part, stored=part.stored // 4 + 190)  # type: ignore[operator]
    assert checks.pixels_fit(prep, {"train": part, "val": bright}).verdict == "FAIL"
    assert checks.pixels_fit(prep, {"train": part, "val": part}).verdict == "PASS"
    with monkeypatch.context() as patch:  # outside training the loader gives other colors
        patch.setattr(augment, "plain", dimmed)
        other = checks.pixels_fit(prep, {"train": part, "val": part})
    assert (
        other.verdict == "FAIL" and other.causes[0].group == "preprocessing" and "100% read otherwise" in other.observed
    )
    same = replace(part, stored=part.stored[:1].repeat(20, 1, 1, 1))  # type: ignore[index]
    assert checks.pixels_fit(prep, {"train": part, "val": same}).verdict == "FAIL"
    full = config_of(project)
    _, plain, _ = prepared(project)
    assert (
        checks.trained_share(full, plain, 60).verdict == "PASS"
        and checks.trained_share(full, plain, 4).verdict == "WARN"
    )


def test_advice_follows_the_number_and_the_likeness_of_the_images(project: Path, trained: Path) -> None:
    cases = ((80, 2, 1.0), (80, 2, 0.0), (5_000, 2, 1.0), (5_000, 2, 0.0), (50_000, 2, 1.0))
    assert [audit.recommend(*case)[0] for case in cases] == ["frozen", "head_first", "head_first", "full", "full"]
    assert "no pretrained weights" in found(project)["how to adapt"].observed
    assert "head_first (configured is full)" in found(project, weights=str(trained))["how to adapt"].observed
    assert TASK.larger(config_of(project)) == {"backbone": "resnet34"}


# ---- the whole recipe -------------------------------------------------------------------------------------------


def test_the_steps_run_end_to_end(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """resnet18 from random weights; then a second project that starts from what it learned."""
    monkeypatch.chdir(project)
    write_images(project, 160)
    (project / "data" / "images" / "lies" / "bad.jpg").write_bytes(JPEG[:300])
    settings = ["corrupt=drop", "epochs=3"]
    for name in ("audit", "split", "baseline", "train"):
        assert main([name, *settings, "--force", "the checks have their own test"]) == 0, capsys.readouterr().out
    run = next((project / "runs").glob("*-train"))
    record = json.loads((run / "record.json").read_text())
    assert record["result"]["metrics"]["auc"]["value"] > 0.8 and record["result"]["parameters"] > 11e6
    worst = json.loads((run / "worst.json").read_text())
    assert np.array(worst[0]["shown"]["image"]).shape == (SIDE, SIDE, 3)
    assert np.array(worst[0]["explained"]["saliency"]).shape == (SIDE, SIDE)
    assert (
        main(["evaluate", *settings, "--force", "the checks have their own test"]) == 0
        and main(["report", *settings]) == 0
    )
    assert "data:image/png" in (project / "report.html").read_text()
    config, prep, _ = prepared(project, corrupt="drop", weights=str(run), size=0, adapt="frozen")
    learned = backbone_of(read_tensors(max(run.glob("checkpoints/best-*")) / "weights.safetensors"))
    assert all(torch.equal(t, learned[n]) for n, t in TASK.model(config, prep).backbone.state_dict().items())
    assert prep["size"] == SIDE


def test_trials_that_would_take_too_long_see_smaller_pictures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 96 pixels the first step says that the checks take minutes: that is said, and the trials see fewer pixels."""
    config, prep, loaded = prepared(project, size=96)
    examples = TASK.examples(config, prep, loaded)
    whole, said = Context(config, TASK, prep, {}, examples, examples), list[str]()
    monkeypatch.setattr(context, "PATIENCE", whole.seconds / 2)
    other = context.affordable(whole, said.append)
    assert other.inputs == "pictures of 64 pixels" and "trials see pictures of 64 pixels instead: about" in said[-1]
    batch, plan = next(iter(other.train.batches([torch.arange(4)]))), [torch.arange(4)]
    assert batch.x.shape == (4, 3, 64, 64) and torch.equal(batch.y, next(iter(examples.batches(plan))).y)
    assert whole.train is examples and len(other.val) == 60
    monkeypatch.setattr(context, "PATIENCE", 0.0)
    small = Context(*prepared(project)[:1], TASK, {**prep, "size": SIDE, "side": SIDE}, {}, examples, examples)  # type: ignore[arg-type]
    assert context.affordable(small, said.append) is small and "instead" not in said[-1]


def test_a_network_that_takes_one_size_alone_is_tried_on_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, prep, loaded = prepared(project, size=96)
    examples = TASK.examples(config, prep, loaded)
    whole, said = Context(config, TASK, prep, {}, examples, examples), list[str]()
    monkeypatch.setattr(TASK, "model", lambda config, prep: nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 1)))
    monkeypatch.setattr(context, "PATIENCE", 0.0)
    assert context.affordable(whole, said.append) is whole and "minutes on this cpu" in said[0]
    monkeypatch.setattr(TASK, "model", lambda config, prep: nn.Linear(5, 1))
    assert (
        context.affordable(replace(whole), said.append).train is examples
    )  # it takes no step at all: the checks say so
