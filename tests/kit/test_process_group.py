"""Several processes on one run: the shares of a batch, what is refused, and that three train as one does (gloo, on a CPU).

The tolerance is that of float32 sums taken in another order. The template's tests start the command itself with torchrun.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.multiprocessing
from my_model.engine import loop
from my_model.engine.distributed import LAUNCHED, SINGLE, launched
from my_model.engine.loop import NonFinite
from my_model.engine.process_group import ProcessGroup
from my_model.errors import UserError
from my_model.task import Batch
from recipe_kit.project import Project
from recipe_kit.step_monitor import StepMonitor
from safetensors.torch import load_file
from torch import Tensor, nn

from .toy import Toy, ToyExamples, toy_project

TOLERANCE = 1e-5  # largest difference of a weight; the largest seen is 2e-6
SIZE = 3


@dataclass
class Case:
    """A run: settings, the number of classes (1: a regression), and whether its first layer is frozen in the first epoch."""

    settings: dict[str, Any]
    k: int = 2
    fsdp: bool = False
    thaws: bool = False
    ranking: bool = False


# Of 212 rows in batches of 16 the last has four, or two where two are taken off: fewer than there are processes.
CASES = {
    "plain": Case({}),
    "accumulated": Case({"accumulate": 3, "n": 302}, k=3),
    "sharded": Case({"accumulate": 2, "n": 302}, fsdp=True),
    "thawed": Case({}, thaws=True),
    "thawed, sharded": Case({}, fsdp=True, thaws=True),
    "sgd": Case({"optimizer": "sgd", "lr": 0.05, "clip": 0.0}, k=1),
    # The gradient of a ranking's last bias is zero but for rounding, which AdamW would scale up to whole steps.
    "queries": Case({"task": "ranking", "query": "query", "optimizer": "sgd", "lr": 0.05}, k=1, ranking=True),
}


class Thawing(Toy):
    """Its first layer is trained from the second epoch on."""

    def set_trainable(self, config: Any, model: nn.Module, epoch: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(epoch > 0 or not name.startswith("0."))


def train(case: Case, folder: Path, distributed: Any = SINGLE) -> None:
    """Train one case in `folder`; leaves checkpoints and curves.json there."""
    n = case.settings.get("n", 300)
    root = folder / f"process{distributed.rank}"
    root.mkdir(parents=True)
    settings = {"batch_size": 16, "patience": 0, **{k: v for k, v in case.settings.items() if k != "n"}}
    project = toy_project(root, n=n, k=case.k, **{} if case.ranking else settings)
    if case.ranking:
        frame = pl.read_csv(root / "data" / "train.csv")
        random = np.random.default_rng(0)
        frame = frame.with_columns(query=random.integers(0, n // 5, n), target=random.integers(0, 3, n))
        frame.write_csv(root / "data" / "train.csv")
        project = project.variant(**settings)
    project.task = Thawing() if case.thaws else Toy()
    data = project.data
    prep = project.task.prepare(project.config, data)
    parts = np.arange(n)
    examples = [project.task.examples(project.config, prep, data.take(rows)) for rows in (parts[90:], parts[:90])]
    parts, watching = (project.config, project.task, prep, *examples), [StepMonitor(root, distributed)]
    _, progress = loop.fit(*parts, root, callbacks=watching, distributed=distributed)
    (root / "curves.json").write_text(json.dumps(progress.curves))


def process(rank: int, port: int, folder: str) -> None:
    """One of SIZE processes; runs every case."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed = ProcessGroup(rank, rank, SIZE, SIZE)
    distributed.wait()
    with distributed.together({"said by": rank}) as told:
        assert told == {"said by": 0}
        for name, case in CASES.items():
            distributed.strategy = "fsdp" if case.fsdp else "ddp"
            train(case, Path(folder) / name, distributed)
        distributed.strategy = "ddp"
        broken(distributed, Path(folder))
        apart(distributed, Path(folder))


def broken(distributed: ProcessGroup, folder: Path) -> None:
    """The loss of one process is not a number: all of them stop before the step, and know all rows of the batch."""
    project = toy_project(folder / "plain" / f"process{distributed.rank}")
    prep = project.task.prepare(project.config, project.data)
    torch.manual_seed(0)
    model = project.task.model(project.config, prep)
    before = [p.detach().clone() for p in model.parameters()]
    x = torch.full((2, 4), float("nan") if distributed.rank == 1 else 1.0)
    batch = Batch(x, torch.ones(2), torch.arange(2) + 2 * distributed.rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = loop.make_loss(project.config, prep)
    with pytest.raises(NonFinite) as caught:
        loop.step(
            distributed.wrap(model), [batch], loss, optimizer, project.config, distributed=distributed, examples=6
        )
    assert torch.cat([b.index for b in caught.value.batches]).tolist() == list(range(6))
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


class Drifting(Toy):
    """One of its processes moves a weight beside the optimizer."""

    def set_trainable(self, config: Any, model: nn.Module, epoch: int) -> None:
        if os.environ["RANK"] == "1" and epoch == 1:
            with torch.no_grad():
                next(model.parameters())[0] += 0.01


def apart(distributed: ProcessGroup, folder: Path) -> None:
    """Weights of one process that are no longer those of the others end the run, in every process."""
    root = folder / "apart" / f"process{distributed.rank}"
    root.mkdir(parents=True)
    project, task = toy_project(root, batch_size=16), Drifting()
    prep = task.prepare(project.config, project.data)
    examples = task.examples(project.config, prep, project.data)
    watching = [StepMonitor(root, distributed)]
    with pytest.raises(UserError, match=r"after epoch 1 process 1 holds other weights than process 0: 0\.weight"):
        loop.fit(project.config, task, prep, examples, examples, root, callbacks=watching, distributed=distributed)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, trained by SIZE processes."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (port, str(folder)), nprocs=SIZE)  # type: ignore[no-untyped-call]
    return folder


@pytest.mark.parametrize("name", CASES)
def test_three_processes_train_as_one(together: Path, tmp_path: Path, name: str) -> None:
    """Weights of both kinds of checkpoint and the curves; and only the first process has written."""
    train(CASES[name], tmp_path)
    one, first = tmp_path / "process0", together / name / "process0"
    for kind in ("best", "last"):
        a, b = (load_file(newest(folder, kind) / "weights.safetensors") for folder in (one, first))
        assert a.keys() == b.keys()
        for tensor in a:
            assert torch.allclose(a[tensor], b[tensor], rtol=0, atol=TOLERANCE), (name, tensor)
    rows, others = (json.loads((folder / "curves.json").read_text()) for folder in (one, first))
    for row, other in zip(rows, others, strict=True):
        assert row["seen"] == other["seen"] == (212 if "n" in CASES[name].settings else 210)
        for key in ("train_loss", "val_loss", "val_metric", "lr", "grad_norm"):
            assert row[key] == pytest.approx(other[key], abs=TOLERANCE), (name, key)
    for rank in range(1, SIZE):
        written = {path.name for path in (together / name / f"process{rank}").iterdir()}
        assert written == {"data", "recipe.toml", "curves.json"}  # what this test itself writes


def newest(folder: Path, kind: str) -> Path:
    return max((folder / "checkpoints").glob(f"{kind}-*"))


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("queries", [False, True])
def test_shares_are_the_batch(size: int, queries: bool) -> None:
    """Every row in one share; no query in two."""
    query = torch.arange(50) // 4 if queries else None
    examples = ToyExamples(torch.zeros(50, 4), torch.zeros(50), query)
    for batch in loop.plan(examples, 8, seed=0):
        parts = [ProcessGroup(rank, rank, size, size).share(batch, query) for rank in range(size)]
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
        if query is None:
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        else:
            held = [set(query[part].tolist()) for part in parts]
            assert sum(map(len, held)) == len(set().union(*held))


def test_an_empty_share_counts_for_nothing() -> None:
    examples = ToyExamples(torch.zeros(2, 4), torch.zeros(2))
    ((batch, whole),) = ProcessGroup(2, 2, 3, 3).shares(examples, [torch.arange(2)])
    assert (len(batch.y), batch.x.shape, whole) == (0, (0, 4), 2)


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a launcher, with torchrun --nproc-per-node=1, and where a scheduler sets WORLD_SIZE for its own use."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    assert launched("audit") is SINGLE
    with pytest.raises(UserError, match="there is one; start several with torchrun"):
        launched("train", fsdp=True)
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert launched("train") is SINGLE
    for name in LAUNCHED:
        monkeypatch.setenv(name, "1")
    assert launched("train") is SINGLE


def test_only_train_takes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="audit runs in one process, and 2 were started"):
        launched("audit")
    assert (launched("train").size, launched("train").rank, launched("train", fsdp=True).strategy) == (2, 0, "fsdp")


@pytest.mark.parametrize(
    "size, settings, sentence",
    [
        (17, {"batch_size": 16}, "17 processes were started, more than batch_size = 16"),
        (2, {"device": "cuda:0"}, "'cuda:0' is one device"),
        (2, {"device": "mps"}, "'mps' is one device"),
    ],
)
def test_settings_that_several_cannot_train_with(
    tmp_path: Path, size: int, settings: dict[str, Any], sentence: str
) -> None:
    project: Project = toy_project(tmp_path, **settings)
    with pytest.raises(UserError, match=sentence):
        ProcessGroup(0, 0, size, size).refuse(project.config, project.task)


def test_batch_norm_is_refused_on_a_cpu_unless_it_is_frozen(tmp_path: Path) -> None:
    class Normed(Toy):
        fixed = False

        def frozen(self, config: Any, name: str) -> bool:
            return self.fixed

    project, task = toy_project(tmp_path), Normed()
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(UserError, match="looks across the whole batch"):
        ProcessGroup(0, 0, 2, 2).shard(project.config, task, model)
    task.fixed = True
    assert ProcessGroup(0, 0, 2, 2).shard(project.config, task, model) is model


def test_dropout_differs_between_processes() -> None:
    """A function of (seed, step, rank), whatever was drawn before."""

    def drawn(rank: int, step: int) -> Tensor:
        ProcessGroup(rank, rank, 2, 2).seed(0, step)
        return torch.rand(4)

    assert torch.equal(drawn(0, 5), drawn(0, 5))
    assert not torch.equal(drawn(0, 5), drawn(1, 5)) and not torch.equal(drawn(0, 5), drawn(0, 6))
