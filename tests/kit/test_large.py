"""Parquet larger than memory: the same split, the same bits as in memory, samples that say so, pieces that stay small."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import inherited
from my_model.engine import loop
from my_model.engine.files import read_json
from my_model.engine.hashes import row_hashes
from my_model.engine.loop import fit, plan, predict
from my_model.engine.splits import assign, splits, write_manifest
from my_model.engine.table import larger_than_memory
from my_model.errors import Stopped, UserError
from my_model.tabular import large
from my_model.tabular.recipe import TASK, Config
from my_model.task import Batch
from recipe_kit.checks.repeats import keys
from recipe_kit.project import Project
from recipe_kit.steps import audit, baseline, init

ALL = 1_000_000  # more rows than there are: a sample of all of them
WORDS = argparse.Namespace(review="", skip=0)


def table(n: int = 5_000) -> pl.DataFrame:
    """Six numbers, one of them with gaps, two columns of words, a flag; some rows have no target, some come twice."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 6))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * random.normal(size=n) > 0).astype(float)
    y[random.random(n) < 0.02] = np.nan
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(6)} | {"target": y}).with_columns(
        pl.Series("town", random.integers(0, 40, n)).cast(pl.String),
        pl.Series("kind", random.integers(0, 4, n)).cast(pl.String),
        pl.Series("flag", random.random(n) < 0.3),
        pl.when(pl.Series(random.random(n) < 0.1)).then(None).otherwise(pl.col("x5")).alias("x5"),
    )
    return frame.with_columns(pl.col("target").fill_nan(None).cast(pl.Int64))[[*range(n), 7, 7, 11]]


def project(root: Path, frame: pl.DataFrame | None = None, **settings: Any) -> Project:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (table() if frame is None else frame).write_parquet(root / "data" / "train.parquet", row_group_size=900)
    (root / "recipe.toml").write_text("")
    values = {"data": "data/train.parquet", "iid": "drawn independently", "tracker": "none", "device": "cpu"}
    return Project(root, Config(**{**values, "epochs": 2, "bootstrap": 100, **settings}), TASK, quiet=True)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PIECE", 700)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Project, Project]:
    """The same file in memory, and in pieces with a sample of every row."""
    pair = (project(tmp_path / "memory"), project(tmp_path / "pieces", sample_rows=ALL))
    for one in pair:
        write_manifest(one, assign(one.config, one.data))
    return pair


def test_the_same_rows_parts_and_preprocessing(both: tuple[Project, Project]) -> None:
    memory, pieces = both
    assert memory.data.roles == pieces.data.roles and len(memory.data) == len(pieces.data)
    assert (memory.root / "split.json").read_text() == (pieces.root / "split.json").read_text()
    assert (keys(memory.config, memory.data) == keys(pieces.config, pieces.data)).all()
    assert (row_hashes(memory.data) == row_hashes(pieces.data)).all()
    assert len(pieces.data.frame.columns) == 1
    for name, part in splits(memory).items():
        other = splits(pieces)[name]
        assert other.read().frame.equals(part.frame) and other.sample().frame.equals(part.frame)
        odd = np.array([9, 2, 400, 2])
        assert other.take(odd).read().frame.equals(part.take(odd).frame)
        assert TASK.prepare(pieces.config, other) == TASK.prepare(memory.config, part)
    left_out = pieces.data.sample().unlabeled
    assert left_out is not None and memory.data.unlabeled is not None and left_out.equals(memory.data.unlabeled)


def trained(one: Project, resume: str = "") -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Weights and validation outputs after two epochs; `resume`: stopped by a signal in the second, and gone on with."""
    data = splits(one)
    prep = TASK.prepare(one.config, data["train"])
    train, val = (TASK.examples(one.config, prep, data[name]) for name in ("train", "val"))
    parts, folder = (one.config, TASK, prep), one.begin("train").folder
    if resume:
        with pytest.raises(Stopped):
            fit(*parts, Interrupted(train), val, folder)  # type: ignore[arg-type]
    model, _ = fit(*parts, train, val, folder, resume=bool(resume))
    return model.state_dict(), predict(model, val, one.config)


class Interrupted:
    """Examples in whose second epoch a signal comes, in the middle."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.y, self.query, self.lengths, self.stretch = whole.y, None, None, getattr(whole, "stretch", 1)

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[torch.Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        for number, batch in enumerate(self.whole.batches(plan, epoch, augment)):
            if epoch == 1 and number == 11:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_the_same_weights_to_the_last_bit(both: tuple[Project, Project]) -> None:
    (weights, outputs), (others, theirs) = (trained(one) for one in both)
    assert all(torch.equal(weights[name], others[name]) for name in weights) and (outputs == theirs).all()


def test_stopped_in_an_epoch_it_goes_on_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stretches short enough that an epoch has many pools of them."""
    monkeypatch.setattr(large, "STRETCH", 16)
    monkeypatch.setattr(loop, "STRETCHES", 20)
    one = project(tmp_path, sample_rows=1_000, dropout=0.1)
    write_manifest(one, assign(one.config, one.data))
    (weights, outputs), (others, theirs) = trained(one), trained(one, resume="stopped")
    assert all(torch.equal(weights[name], others[name]) for name in weights) and (outputs == theirs).all()


def test_stretches_are_read_together_and_mixed_in_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STRETCHES", 8)
    y = torch.zeros(1_003)
    examples = large.Stored({}, {}, y, stretch=16)
    first, again, second = (torch.cat(plan(examples, 32, 5, epoch)) for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert torch.equal(first.sort().values, torch.arange(1_003))
    pool = first[: 8 * 16]
    assert len(pool.div(16, rounding_mode="floor").unique()) <= 9  # the last stretch of the file may be short
    batch = first[:32]
    assert len(batch.div(16, rounding_mode="floor").unique()) >= 6 and not torch.equal(batch, batch.sort().values)


def test_a_sample_says_that_it_is_one_and_what_it_can_miss(tmp_path: Path) -> None:
    one = project(tmp_path, sample_rows=600)
    run = one.begin("audit")
    audit.run(one, run, WORDS)
    found = {finding.check: finding for finding in run.findings}
    n = len(one.data)
    assert found["rows looked at"].observed.startswith(f"600 random ones of {n:,}")
    assert f"fewer than {3 / 600 * n:.0f} rows" in found["rows looked at"].causes[0].sentence
    assert found["duplicate rows"].evidence["copies"] == 3  # two copies of one row, one of another: of every row
    assert sum(found["class balance"].evidence["counts"].values()) == n == run.result["rows"]
    assert run.result["unlabeled"] == table()["target"].null_count()


def test_what_sees_every_row_sees_it_in_pieces_too(both: tuple[Project, Project]) -> None:
    memory, pieces = both
    for check in audit.OF_EVERY_ROW:
        assert check(memory.config, memory.data) == check(pieces.config, replace(pieces.data, most=600))  # type: ignore[call-arg]


def test_baselines_learn_from_the_sample_and_answer_every_row(tmp_path: Path) -> None:
    one = replace(project(tmp_path, sample_rows=1_000), force="the parts are pinned")
    write_manifest(one, assign(one.config, one.data))
    run = one.begin("baseline")
    baseline.run(one, run, WORDS)
    assert run.result["ledger"]["value"] > 0.8
    rows = read_json(tmp_path / "split.json", "the split", "")["parts"]["val"]["rows"]
    assert all(len(np.load(path)) == rows for path in run.folder.glob("outputs-*.npy"))


def test_encoded_once_whole_and_anew_for_another_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = project(tmp_path, sample_rows=1_000)
    encoded = tmp_path / "data" / "encoded"
    prep = TASK.prepare(one.config, one.data)
    written = large._write

    def killed(prep: Any, data: Any, folder: Path) -> None:
        (folder / "numeric").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(large, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        TASK.examples(one.config, prep, one.data)
    assert [path.suffix for path in encoded.iterdir() if path.is_dir()] == [".tmp"]
    monkeypatch.setattr(large, "_write", written)
    first = TASK.examples(one.config, prep, one.data)
    assert len(first) == len(one.data)
    monkeypatch.setattr(large, "_write", killed)
    again = TASK.examples(one.config, prep, one.data)  # nothing is written
    rows = [torch.tensor([4_000, 3, 3])]
    for a, b in zip(first.batches(rows), again.batches(rows), strict=True):
        assert torch.equal(a.x["numeric"], b.x["numeric"]) and torch.equal(a.x["categorical"], b.x["categorical"])
    with pytest.raises(KeyboardInterrupt):
        TASK.examples(one.config, {**prep, "outputs": 2}, one.data)


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, words in (
        ({"data": "data/train.csv"}, "sink_parquet"),
        ({"duplicates": "drop"}, "drop them from the file"),
        ({"target": "tarket"}, "did you mean 'target'"),
        ({"data": "data/none.parquet"}, "is not a file"),
    ):
        with pytest.raises(UserError, match=words):
            _ = project(tmp_path, sample_rows=500, **settings).data
    one = project(tmp_path, table().with_columns(pl.lit(float("inf")).alias("x3")), sample_rows=500)
    with pytest.raises(UserError, match=r"infinite values in column 'x3'"):
        one.data.sample()
    one = project(tmp_path, sample_rows=500)
    prep = TASK.prepare(one.config, one.data)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(UserError, match=r"encoded rows take 0\.\d GB"):
        TASK.examples(one.config, prep, one.data)


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = project(tmp_path)
    path = tmp_path / "data" / "train.parquet"
    assert larger_than_memory(path) == ""
    monkeypatch.setattr(os, "sysconf", lambda name: 1_000)  # a page of 1,000 bytes, 1,000 of them
    assert "5,003 rows of 10 columns" in larger_than_memory(path)
    with pytest.raises(UserError, match="sample_rows = 200_000"):
        _ = one.data
    assert "sample_rows = 200_000  # 5,003 rows" in init.describe(one, init.propose(one, path))


SCRIPT = """
import sys
from pathlib import Path
from recipe_kit.checks.duplicates import keys
from my_model.engine import loop
from my_model.engine.loop import plan
from my_model.engine.splits import assign
from my_model.tabular import large
from my_model.tabular.recipe import TASK, Config
large.PIECE, loop.STRETCHES = 10_000, 64
config = Config(data=sys.argv[1], sample_rows=int(sys.argv[2]), iid="drawn", device="cpu")
data = TASK.load(config, Path())
assert len(assign(config, data)) == len(keys(config, data)) == len(data)
train = TASK.examples(config, TASK.prepare(config, data), data)
for batch in train.batches(plan(train, 2048, 0)):
    pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(path: Path, sample_rows: int) -> int:
    """Peak memory, MB, of a process that loads, splits, encodes, and goes through an epoch.

    Not ru_maxrss, which starts at what the parent has.
    """
    words = [sys.executable, "-c", SCRIPT, str(path), str(sample_rows)]
    home = {**inherited(), "POLARS_MAX_THREADS": "1"}
    return int(subprocess.run(words, env=home, capture_output=True, text=True, check=True).stdout) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_memory_stays_flat(tmp_path: Path) -> None:
    """80 MB of numbers, against a twentieth of them: what grows is a few numbers a row, not the row."""
    sizes = {}
    for n in (10_000, 200_000):
        path = tmp_path / f"{n}.parquet"
        x = np.random.default_rng(0).normal(size=(n, 50))
        frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(50)} | {"target": (x[:, 0] > 0).astype(int)})
        frame.write_parquet(path, compression="uncompressed", row_group_size=20_000)
        sizes[n] = peak(path, 5_000)
    assert sizes[200_000] - sizes[10_000] < 80, sizes  # in memory it is 300
