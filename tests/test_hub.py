"""`recipe export --hub`: a repository's folder with its card, and the same answers when it is brought back."""

from __future__ import annotations

import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import polars as pl
import pytest
import yaml
from conftest import TEMPLATE, data
from inside import Inside
from PIL import Image

FORCED = ("--force", "only the way to the Hub matters here")


def made(folder: Path, kind: str) -> tuple[Inside, list[dict[str, Any]]]:
    """A trained project of this kind, and rows that a client may send."""
    random = np.random.default_rng(0)
    settings: dict[str, Any] = {"modality": kind, "task": "binary", "target": "target", "epochs": 1, "batch_size": 16}
    if kind == "tabular":
        project = Inside(folder, **{**settings, "task": "multiclass"})
        data.wine(project.root / "data" / "train.csv")
        return project, pl.read_csv(project.root / "data" / "train.csv").drop("target").head(5).to_dicts()
    if kind == "text":
        project = Inside(folder, **settings, encoder=str(TEMPLATE / "tests" / "sample" / "text" / "encoder"), weights="none", max_length=16)
        texts = [f"{('good', 'bad')[i % 2]} {random.integers(100)} words" for i in range(60)]
        pl.DataFrame({"text": texts, "target": [i % 2 for i in range(60)]}).write_csv(project.root / "data" / "train.csv")
        return project, [{"text": text} for text in texts[:5]]
    project = Inside(folder, **settings, data="data/images", weights="none", size=16)
    for i in range(40):
        path = project.root / "data" / "images" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    return project, [{"path": str(path)} for path in sorted((project.root / "data" / "images").rglob("*.png"))[:5]]


@pytest.mark.parametrize("kind", ["text", pytest.param("image", marks=pytest.mark.slow)])
def test_a_repository_answers_like_the_package(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a folder that is uploaded later, and through the Hub's own client, which here writes to disk."""
    project, rows = made(tmp_path / "project", kind)
    for step in ("split", "train"):
        project.done(step, *FORCED)
    sent = uploads(monkeypatch, tmp_path / "hub")
    version = project.done("export", *FORCED, "--hub", "me/wines")["result"]["version"]
    project.done("export", *FORCED, "--hub", "./repository")
    hub, model = project.module("production.hub"), project.module("production.model")
    package = model.load(project.project().task, project.root / "models" / version)
    expected = package.answer(rows).answers
    assert all(expected), package.answer(rows).reasons
    monkeypatch.chdir(project.root)
    for source, which in (("me/wines", ""), ("./repository", ""), ("./repository", "0002")):
        found = hub.from_pretrained(source, which)
        assert np.allclose([flat(a) for a in found.answer(rows).answers], [flat(a) for a in expected], rtol=0, atol=1e-6)
    shutil.copytree(project.root / "models" / version, project.root / "repository" / version)
    assert [hub.from_pretrained("./repository", which).version[:4] for which in ("", "0001")] == ["0002", "0001"]
    assert sent == ["me/wines"] and "no version '9'" in refused(hub, "./repository", "9")
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    told = yaml.safe_load(card.split("---")[1])
    assert told["pipeline_tag"] == f"{kind}-classification" and told["library_name"] == "pytorch" and told["license"] == "other"
    names = {metric["type"] for result in told["model-index"][0]["results"] for metric in result["metrics"]}
    assert names == set(package.manifest["metrics"]) and "## Limits" in card and 'from_pretrained("me/wines")' in card


def flat(answer: dict[str, Any]) -> list[float]:
    """The probabilities of an answer."""
    return list(answer["probabilities"].values())


def uploads(monkeypatch: pytest.MonkeyPatch, there: Path) -> list[str]:
    """The Hub as a folder: calls are held against the signatures of the client that is installed. Returns the repositories."""
    api, sent, down = huggingface_hub.HfApi, list[str](), huggingface_hub.snapshot_download
    create, upload = inspect.signature(api.create_repo), inspect.signature(api.upload_folder)

    def create_repo(self: Any, *args: Any, **given: Any) -> None:
        called = create.bind(self, *args, **given).arguments
        assert called["private"] and called["exist_ok"]
        sent.append(called["repo_id"])

    def upload_folder(self: Any, **given: Any) -> Any:
        shutil.copytree(upload.bind(self, **given).arguments["folder_path"], there, dirs_exist_ok=True)
        return type("Commit", (), {"commit_url": "https://hub/commit/1"})

    def snapshot_download(*args: Any, **given: Any) -> str:
        called = inspect.signature(down).bind(*args, **given).arguments
        assert called["repo_id"] == "me/wines" and called["local_dir"]
        return str(there)

    monkeypatch.setattr(api, "create_repo", create_repo)
    monkeypatch.setattr(api, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return sent


def refused(hub: Any, *words: str) -> str:
    with pytest.raises(hub.UserError) as caught:
        hub.from_pretrained(*words)
    return str(caught.value)


def test_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and no version that was exported by half; a folder instead, in which what was changed is refused."""
    project, rows = made(tmp_path / "project", "tabular")
    for step in ("split", "train"):
        project.done(step, *FORCED)

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", away)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", away)
    for name, why in (("me/wines", "Name or service not known"), ("a/b/c", "--hub a/b/c")):
        answer = project.recipe("export", *FORCED, "--hub", name)
        assert answer.status == 2 and why in answer.sentence and "--hub ./folder" in answer.sentence, answer.output
    assert not list((project.root / "models").glob("[0-9]*")) and not list((project.root / "runs").glob("*-export"))
    hub = project.module("production.hub")
    assert "me/wines is no folder, and on the Hub it cannot be read: Name or service" in refused(hub, "me/wines")
    version = project.done("export", *FORCED, "--hub", str(tmp_path / "there"))["result"]["version"]
    monkeypatch.chdir(project.root)
    package = project.module("production.model").load(project.project().task, project.root / "models" / version)
    assert hub.from_pretrained(str(tmp_path / "there")).answer(rows).answers == package.answer(rows).answers
    (tmp_path / "there" / version / "prep.json").write_text("{}")
    assert "differs from the export" in refused(hub, str(tmp_path / "there"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    answer = project.recipe("export", *FORCED, "--hub", "me/wines")
    assert answer.status == 2 and "pip install huggingface_hub" in answer.sentence
