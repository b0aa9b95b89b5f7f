"""Data behind an address: fetched once a version, pinned by the hash of its bytes, there without a network; and data that DVC keeps."""

from __future__ import annotations

import hashlib
import importlib
import io
import shutil
from pathlib import Path

import fsspec
import pytest
from conftest import bake, data
from faults import Answer
from fsspec.implementations.memory import MemoryFileSystem
from inside import Inside
from PIL import Image

STORE = fsspec.filesystem("memory")
FORCED = ("--force", "only where the data come from matters here")


def wines(folder: Path) -> bytes:
    """The file of the wines."""
    data.wine(folder / "wine.csv")
    return (folder / "wine.csv").read_bytes()


def kept(project: Inside) -> list[str]:
    """Every file that was fetched, below the folder of its version."""
    folder = project.root / "data" / ".remote"
    return sorted(p.relative_to(folder).as_posix().split("/", 1)[1] for p in folder.rglob("*") if p.is_file())


def one_sentence(answer: Answer, *words: str) -> None:
    """Refused in one sentence that holds these words."""
    assert answer.status == 2 and len(answer.lines) == 1 and all(word in answer.sentence for word in words), answer.output


def test_a_table_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version makes the split say so, the old one is still there, and without a network the last one is used."""
    old = wines(tmp_path)
    STORE.pipe("/table/wine.csv", old)
    project = Inside(tmp_path / "project", task="multiclass", data="memory://table/wine.csv")
    project.done("split", *FORCED)
    assert project.project().data.sha256 == hashlib.sha256(old).hexdigest() and kept(project) == ["wine.csv"]
    assert project.module("checks.leak_probes")._raw(project.project()).height == 178  # which reads the file too
    STORE.pipe("/table/wine.csv", old[: old.rindex(b"\n", 0, -1) + 1])
    one_sentence(project.recipe("baseline", *FORCED), "split.json was made for other data")
    assert kept(project) == ["wine.csv"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", lambda self, path: (_ for _ in ()).throw(ConnectionError("no route to host")))
        offline = project.recipe("split", *FORCED)
        assert offline.status == 0 and "no route to host" in offline.output, offline.output
        shutil.rmtree(project.root / "data" / ".remote")
        one_sentence(project.recipe("baseline", *FORCED), "memory://table/wine.csv cannot be read", "no route to host")
    assert project.done("split", *FORCED)["result"]["parts"]["test"]["rows"] and kept(project) == ["wine.csv"]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    STORE.pipe("/broken/wine.csv", wines(tmp_path))
    project = Inside(tmp_path / "project", task="multiclass", data="memory://broken/wine.csv")

    def half(self: MemoryFileSystem, there: str, here: str, **_: object) -> None:
        Path(here).write_bytes(self.cat_file(there)[:1000])
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "get_file", half)
    one_sentence(project.recipe("split", *FORCED), "memory://broken/wine.csv", "reset by peer")
    assert list((project.root / "data").rglob("*")) == [project.root / "data" / ".remote"]


@pytest.mark.parametrize(
    ("place", "words"),
    [("s3://bucket/x.csv", "s3fs"), ("nowhere://x.csv", "nowhere"), ("memory://nothing/x.csv", "/nothing/x.csv"), ("memory://outside", "leads out")],
)
def test_an_address_that_cannot_be_read(tmp_path: Path, place: str, words: str) -> None:
    MemoryFileSystem.store["/outside/../../x.csv"] = MemoryFileSystem.store.get("/outside/../../x.csv") or _file()
    project = Inside(tmp_path / "project", task="multiclass", data=place)
    one_sentence(project.recipe("split", *FORCED), place, words)
    assert kept(project) == []


def _file() -> object:
    STORE.pipe("/made.csv", b"a,target\n1,0\n")
    return MemoryFileSystem.store["/made.csv"]


def test_a_folder_of_images_in_a_bucket(tmp_path: Path) -> None:
    """Class folders, with a name that a pattern would mistake."""
    for i in range(24):
        content = io.BytesIO()
        Image.new("RGB", (16, 16), (i, 200 * (i % 2), 9 * i)).save(content, "PNG")
        STORE.pipe(f"/pictures/{'cat' if i % 2 else 'dog'}/{i} [a]*.png", content.getvalue())
    settings = {"modality": "image", "task": "binary", "target": "label", "weights": "none", "size": 16}
    project = Inside(tmp_path / "project", data="memory://pictures", **settings)
    assert project.done("split", *FORCED)["result"]["parts"]["train"]["rows"] > 8
    assert len(kept(project)) == 24 and kept(project)[0].startswith("pictures/cat/")


def test_init_proposes_for_an_address(tmp_path: Path) -> None:
    STORE.pipe("/proposed/wine.csv", wines(tmp_path))
    project = Inside(tmp_path / "project", task="multiclass")
    answer = project.recipe("init", "memory://proposed/wine.csv", "--write")
    assert answer.status == 0 and 'data = "memory://proposed/wine.csv"' in (project.root / "recipe.toml").read_text(), answer.output


def test_the_plain_project_reads_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the kit; a folder of files stands for a bucket."""
    plain = importlib.import_module("my_model.__main__")
    project = Inside(tmp_path / "project", task="multiclass", data=(tmp_path / "wine.csv").as_uri(), epochs=1)
    wines(tmp_path)
    monkeypatch.chdir(project.root)
    assert [plain.main([step]) for step in ("split", "train")] == [0, 0]
    assert "validation accuracy" in capsys.readouterr().out and kept(project) == ["wine.csv"]


def test_data_that_dvc_keeps(tmp_path: Path) -> None:
    """A pointer without its file names the command that brings it; git takes the pointers of a generated project."""
    project = Inside(tmp_path / "project", task="multiclass", data="data/wine.csv")
    (project.root / "data" / "wine.csv.dvc").write_text("outs:\n- md5: 00\n  path: wine.csv\n")
    one_sentence(project.recipe("split", *FORCED), "data/wine.csv is not there", "dvc pull data/wine.csv.dvc")
    project.set(data="data/deep/wine.csv")
    (project.root / "data" / "deep.dvc").write_text("outs:\n- md5: 00.dir\n  path: deep\n")
    one_sentence(project.recipe("split", *FORCED), "dvc pull data/deep.dvc")
    assert {"!/data/*.dvc", "!/data/.gitignore"} <= set((bake(tmp_path) / ".gitignore").read_text().split("\n"))


def test_the_versions_of_the_data(tmp_path: Path) -> None:
    """Each record holds the hash of the bytes, and DVC's where the pointer is true; `recipe runs` lists the runs on each version."""
    project = Inside(tmp_path / "project", task="multiclass", data="data/wine.csv")
    path, pointer = project.root / "data" / "wine.csv", project.root / "data" / "wine.csv.dvc"
    path.write_bytes(old := wines(tmp_path))
    md5 = hashlib.md5(old).hexdigest()
    pointer.write_text(f"outs:\n- md5: {md5}\n  size: {len(old)}\n  hash: md5\n  path: wine.csv\n")
    first = project.done("split", *FORCED)
    assert first["data_version"] == {"source": "data/wine.csv", "sha256": hashlib.sha256(old).hexdigest(), "dvc": md5}
    assert "\ndata " not in project.recipe("runs").output
    path.write_bytes(old.replace(b"14.23", b"14.24", 1))
    assert "data/wine.csv is not the file that DVC keeps: dvc add data/wine.csv" in project.recipe("audit").output
    second = project.done("split", *FORCED)["data_version"]
    assert second["dvc"] == "changed" and second["sha256"] != first["data_version"]["sha256"]
    said = project.recipe("runs").output
    assert f"data {first['data_version']['sha256'][:12]}  data/wine.csv  dvc {md5}: 1 run, 0001-split to 0001-split" in said
    assert f"data {second['sha256'][:12]}  data/wine.csv  dvc changed: 2 runs, 0002-audit to 0003-split" in said
