"""Stopping and going on: which checkpoint stays, which run is gone on with, what is refused, and steps that are no numbers.

That a killed run ends as if it had not been killed is measured by the template's sweep over every step (docs/resume.md).
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_model.engine import checkpoint
from my_model.engine.loop import NonFinite, fit, step
from my_model.engine.optim import make_optimizer
from my_model.engine.stop import alone
from my_model.errors import UserError
from recipe_kit import ledger, reconcile, reopen
from recipe_kit.nonfinite import Autopsy, first_broken
from recipe_kit.project import Run
from recipe_kit.secret import hidden, refuse
from recipe_kit.terminal import say
from safetensors.torch import load_file
from torch import nn

from .test_checks import make_bench
from .toy import Toy, toy_project


def save(folder: Path, *steps: int, kind: str = "last") -> list[str]:
    """Write checkpoints of these steps one after the other; the names that are there afterwards."""
    for n in steps:
        checkpoint.save(folder, kind, n, {"w": torch.full((3,), float(n))}, {"step": n}, {"rng": torch.arange(3)})
    return sorted(path.name for path in folder.iterdir())


def spoil(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"")


def test_two_checkpoints_of_a_kind_stay(tmp_path: Path) -> None:
    assert save(tmp_path, 1, 2, 3) == ["last-000000002", "last-000000003"]
    assert save(tmp_path, 3, kind="best") == ["best-000000003", "last-000000002", "last-000000003"]


def test_the_last_good_one_is_never_removed(tmp_path: Path) -> None:
    """Two newer ones are broken; what is saved after going back to the old one must survive, and be found."""
    save(tmp_path, 5)
    for n in (10, 12):
        shutil.copytree(tmp_path / "last-000000005", tmp_path / f"last-{n:09d}")
        spoil(tmp_path / f"last-{n:09d}")
    said: list[str] = []
    assert checkpoint.load(tmp_path, "last", said.append).progress == {"step": 5} and len(said) == 2
    assert save(tmp_path, 7) == ["last-000000005", "last-000000007"]
    assert checkpoint.load(tmp_path, "last", pytest.fail).progress == {"step": 7}


def test_a_name_is_not_used_again(tmp_path: Path) -> None:
    """Replacing a folder takes two renames: a crash between them would leave neither."""
    save(tmp_path, 3)
    spoil(tmp_path / "last-000000003")
    assert save(tmp_path, 3) == ["last-000000003", "last-000000003-1"]
    assert checkpoint.load(tmp_path, "last", pytest.fail).folder.name == "last-000000003-1"
    assert save(tmp_path, 3) == ["last-000000003-1", "last-000000003-2"]


def test_a_checkpoint_of_the_future_is_not_the_best(tmp_path: Path) -> None:
    save(tmp_path, 3, 9, kind="best")
    assert checkpoint.load(tmp_path, "best", pytest.fail, upto=5).progress == {"step": 3}


def test_what_a_killed_writer_left_is_removed_and_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".last-000000001.tmp").mkdir()
    (tmp_path / ".last-000000001.tmp" / "weights.safetensors").write_bytes(b"half")
    assert "last-000000001" in save(tmp_path, 1)
    (tmp_path / ".last-000000002.tmp").mkdir()
    checkpoint.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last-000000001"]


def test_a_link_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere", 9)
    save(tmp_path / "here", 1)
    (tmp_path / "here" / "last-000000009").symlink_to(tmp_path / "elsewhere" / "last-000000009")
    assert checkpoint.load(tmp_path / "here", "last", pytest.fail).progress == {"step": 1}
    save(tmp_path / "here", 2, 3)
    assert (tmp_path / "elsewhere" / "last-000000009" / "weights.safetensors").exists()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(data=st.data())
def test_any_damage_to_any_file_is_seen(tmp_path: Path, data: st.DataObject) -> None:
    """A bit flipped, a piece cut out or put in, anywhere: the checkpoint before it is taken, never a changed one."""
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    save(folder, 1, 2)
    path = folder / "last-000000002" / data.draw(st.sampled_from(sorted((*checkpoint.FILES, "manifest.json"))))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(("flip", "cut", "insert")))
    bit = bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))])
    path.write_bytes(
        content[:at] + {"flip": bit + content[at + 1 :], "cut": content[at + 1 :], "insert": bit + content[at:]}[change]
    )
    said: list[str] = []
    found = checkpoint.load(folder, "last", said.append)
    if found.progress == {"step": 2}:  # white space in the manifest means nothing
        assert path.name == "manifest.json" and said == []
        assert torch.equal(found.weights["w"], torch.full((3,), 2.0))
    else:
        assert found.progress == {"step": 1} and len(said) == 1


def stopped_run(root: Path, **settings: Any) -> Run:
    """A run of the toy project that has saved and not ended."""
    project = toy_project(root, **{"epochs": 1, **settings})
    context = make_bench(project)
    run = project.begin("train")
    run.save(reopen.STARTED, reopen.started(project))
    fit(*context.parts, run.folder)
    return run


def test_the_run_is_found_and_a_change_is_refused_with_both_values(tmp_path: Path) -> None:
    run = stopped_run(tmp_path)
    project = run.project
    found = reopen.reopen(project, "train")
    assert found is not None and found.id == run.id and found.resumed
    changed = replace(project, config=project.config.model_copy(update={"lr": 0.5}))
    with pytest.raises(UserError, match=r"lr was 0.001 and is 0.5; put that back"):
        reopen.reopen(changed, "train")
    assert reopen.reopen(changed, "train", auto=True) is None
    rows = (tmp_path / "data" / "train.csv").read_text().removesuffix("\n").split("\n")
    (tmp_path / "data" / "train.csv").write_text("\n".join(rows[:-5]) + "\n")
    with pytest.raises(UserError, match=r"the data changed \(300 rows, now 295"):
        reopen.reopen(replace(project), "train")
    run.save("record.json", {})
    with pytest.raises(UserError, match="no stopped train run"):
        reopen.reopen(project, "train")
    assert reopen.reopen(project, "train", auto=True) is None


def test_the_tracker_may_change_and_libraries_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stopped_run(tmp_path)
    begun = json.loads((run.folder / reopen.STARTED).read_text())
    begun["libraries"]["torch"] = "1.0"
    run.save(reopen.STARTED, begun)
    loud = replace(run.project, config=run.project.config.model_copy(update={"tracker": "wandb"}), quiet=False)
    assert reopen.reopen(loud, "train") is not None
    assert "torch 1.0 -> 2" in capsys.readouterr().out


def test_a_run_folder_has_one_writer(tmp_path: Path) -> None:
    """The lock is held by another process, which is then killed: the lock goes with it."""
    script = f"import time; from filelock import FileLock; lock = FileLock({str(tmp_path / '.lock')!r}); lock.acquire(); print(1, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    try:
        with pytest.raises(UserError, match="is being written by another process"), alone(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with alone(tmp_path):
        pass


def test_a_clock_that_runs_backwards_changes_nothing(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    ids = []
    for hour in (3, 2, 1):
        run = project.begin("audit")
        run.started = 1.7e9 + 3600 * hour + 1e9  # the clock on the wall: in the future, and going back
        assert run.finish()["seconds"] >= 0
        ids.append(run.id)
    assert ids == ["0001-audit", "0002-audit", "0003-audit"]
    rows = ledger.read(project.ledger)
    assert [row["id"] for row in rows] == ids and rows[0]["started"] > rows[2]["started"]
    assert [record["id"] for record in project.records("audit")] == ids


def test_a_line_that_a_crash_lost_is_added_and_a_forged_one_is_named(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    for _ in range(3):
        project.begin("audit").finish()
    lines = project.ledger.read_text().removesuffix("\n").split("\n")
    project.ledger.write_text("\n".join(lines[:2]) + "\n")
    reconcile.complete(project)
    assert project.ledger.read_text().removesuffix("\n").split("\n")[:2] == lines[:2]
    assert [row["id"] for row in ledger.read(project.ledger)] == ["0001-audit", "0002-audit", "0003-audit"]
    assert reconcile.contradictions(project) == []
    rows = [{k: v for k, v in row.items() if k not in ("hash", "previous")} for row in ledger.read(project.ledger)]
    project.ledger.unlink()
    for row in rows:
        ledger.append(project.ledger, {**row, "status": "fail"})
    assert "says status = 'fail', the run's record says 'pass'" in reconcile.contradictions(project)[0]


class Breaks(nn.Module):
    """Gives back what it is given, until it is told to break: on the way forward or on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.how = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "forward":
            return x * self.scale / 0.0
        return torch.sqrt((x * self.scale) * 0.0) + x if self.how == "back" else x * self.scale


class Fragile(Toy):
    """The toy with BatchNorm and a layer that can break."""

    def model(self, config: Any, prep: dict[str, Any]) -> nn.Module:
        first, _, head = super().model(config, prep)  # type: ignore[misc]
        return nn.Sequential(first, nn.BatchNorm1d(32), nn.ReLU(), Breaks(), head)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("forward", "layer '3' (Breaks), on the way forward"),
        ("back", "layer '3' (Breaks), on the way back"),
        ("input", "the batch itself, in x"),
        ("weights", "the weights in 4.weight"),
    ],
)
def test_the_first_layer_that_breaks_is_named(tmp_path: Path, how: str, words: str) -> None:
    context = make_bench(replace(toy_project(tmp_path), task=Fragile()))
    model, batch = context.fresh().train(), context.batch(context.rows(16))
    model[3].how = how  # type: ignore[index,union-attr]
    if how == "input":
        batch.x[2, 1] = float("inf")
    if how == "weights":
        torch.nn.init.constant_(model[4].weight, float("nan"))  # type: ignore[index,arg-type,union-attr]
    assert first_broken(model, batch, context.loss) == words


@pytest.mark.parametrize("how", ["forward", "back"])
def test_a_step_that_is_no_number_leaves_every_bit(tmp_path: Path, how: str) -> None:
    context = make_bench(replace(toy_project(tmp_path), task=Fragile()))
    model, batch = context.fresh().train(), context.batch(context.rows(16))
    optimizer = make_optimizer(context.config, context.task, model)
    step(model, [batch], context.loss, optimizer, context.config)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    moments = [v.clone() for s in optimizer.state.values() for v in s.values()]
    model[3].how = how  # type: ignore[index,union-attr]
    with pytest.raises(NonFinite):
        step(model, [batch, batch], context.loss, optimizer, context.config)
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    after = [v for s in optimizer.state.values() for v in s.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))


def test_a_loss_that_is_no_number_stops_though_its_gradient_is(tmp_path: Path) -> None:
    context = make_bench(toy_project(tmp_path))
    model, batch = context.fresh(), context.batch(context.rows(16))
    optimizer = make_optimizer(context.config, context.task, model)
    with pytest.raises(NonFinite):
        step(model, [batch], lambda o, b: context.loss(o, b) + float("inf"), optimizer, context.config)


def broken_at(project: Any, numbers: set[int]) -> tuple[Any, Any]:
    """The project's context, with the training batches of these steps made infinite."""
    context = make_bench(project)
    real = context.train.batches

    def batches(plan: Any, epoch: int = 0, augment: bool = False) -> Any:
        for n, batch in enumerate(real(plan, epoch, augment)):
            yield batch._replace(x=batch.x * (float("inf") if n in numbers and augment and not epoch else 1.0))

    context.train.batches = batches  # type: ignore[method-assign]
    return context, project.begin("train")


def test_the_broken_batch_is_kept(tmp_path: Path) -> None:
    project = replace(toy_project(tmp_path, batch_size=32), task=Fragile())
    context, run = broken_at(project, {2})
    with pytest.raises(
        NonFinite, match=r"first to break: the batch itself, in x \(step 2, see 0001-train/broken_batch"
    ):
        fit(*context.parts, run.folder, callbacks=[Autopsy(run.folder, context.config)])
    kept = load_file(run.folder / "broken_batch.safetensors")
    assert kept["0.x"].shape == (32, 4) and not kept["0.x"].isfinite().all()
    told = json.loads((run.folder / "broken_batch.json").read_text())
    assert told["step"] == 2 and told["rows"] == kept["0.index"].tolist()


def test_skipping_is_bounded_and_leaves_no_trace(tmp_path: Path) -> None:
    """Two broken steps: skipped when two may be, BatchNorm's statistics finite; one too many stops."""
    project = replace(toy_project(tmp_path, batch_size=32), task=Fragile())
    context, run = broken_at(project, {1, 3})
    model, progress = fit(*context.parts, run.folder, skip=2)
    assert progress.skipped == [1, 3] and progress.step == 3 * 7
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert progress.curves[0]["seen"] == len(context.train) - 64
    context, run = broken_at(project, {1, 3, 4})
    with pytest.raises(NonFinite):
        fit(*context.parts, run.folder, skip=2)


def test_a_checkpoint_costs_as_much_in_the_last_epoch_as_in_the_first(tmp_path: Path) -> None:
    """What grows with every epoch and every example is kept as tensors, and comes back with all its bits."""
    project = toy_project(tmp_path, epochs=12)
    context, run = make_bench(project), project.begin("train")
    _, progress = fit(*context.parts, run.folder)
    last = checkpoint.load(run.folder / "checkpoints", "last", pytest.fail)
    assert (last.folder / "progress.json").stat().st_size < 400 * progress.epoch
    assert torch.equal(last.state["losses"], torch.stack(progress.losses))  # type: ignore[index]
    assert last.state["losses"].shape == (progress.epoch, len(context.val))  # type: ignore[index]


def test_a_validation_loss_that_never_is_a_number_is_one_sentence(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    context = make_bench(project)
    context.val.x[0, 0] = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="validation loss is nan, in every epoch: there is no best model"):
        fit(*context.parts, tmp_path)


class Gone(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_printing_neither_fails_nor_steers_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    say("class \x1b[2J\x9b is \u732b\n\tsecond line")
    out.seek(0)
    assert out.read() == "class \\x1b[2J\\x9b is \\u732b\n\tsecond line\n"
    monkeypatch.setattr(sys, "stdout", Gone())
    say("nobody hears this")
    out.close()
    monkeypatch.setattr(sys, "stdout", out)
    say("nor this")


def test_a_secret_of_the_environment_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    refuse({"lr": 0.1, "deterministic": "false", "iid": "a horse, correct", "data": "s3://bucket/a:b@c.csv"})
    for values in ({"iid": "it is correct-horse!"}, {"drop": ["correct-horse"]}, {"data": "ftp://me:battery@host/x"}):
        with pytest.raises(UserError) as said:
            refuse(values)
        assert next(iter(values)) in str(said.value) and not {"horse", "battery"} & set(
            str(said.value).replace("-", " ").split()
        )
    for data in (
        "https://store/x.csv?X-Amz-Date=1&X-Amz-Signature=0a1b2c3d4e5f",
        "https://account/x.csv?sig=abc%2Fdefgh",
    ):
        with pytest.raises(UserError, match="data holds a token in a URL"):
            refuse({"data": data})
    assert hidden("to postgres://me:battery@host/db") == "to postgres://me:***@host/db"
    assert hidden("postgresql+psycopg://me:b@ttery@host") == "postgresql+psycopg://me:***@host"
    assert hidden("http://127.0.0.1:8000/a@b") == "http://127.0.0.1:8000/a@b"


# Values made up for this test, in two parts each, so that no scanner takes this file for a leak.
FORMS = {
    "AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub": "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "GitLab": "glpat-" + "abcdefghij0123456789",
    "Hugging Face": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0.abcdefghijklmnop",
    "OpenAI": "sk-" + "abcdefghijABCDEFGHIJT3BlbkFJabcdefghijABCDEFGHIJ",
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "Slack": "https://hooks.slack.com/services/" + "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "Stripe": "sk_live_" + "abcdefghijklmn0123456789",
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_secret_is_known_by_its_form(kind: str) -> None:
    """As detect-secrets knows it, though no variable of the environment holds it."""
    with pytest.raises(UserError, match=f"iid holds what looks like a secret .*{kind}") as said:
        refuse({"lr": 0.1, "iid": f"see {FORMS[kind]} there"})
    assert FORMS[kind] not in str(said.value)


def test_paths_hashes_and_sentences_are_no_secrets() -> None:
    for text in (
        "/mnt/data/2024-01-01/images_224x224/train.parquet", "IMAGENET1K_V1", "sentence-transformers/all-MiniLM-L6-v2",
        "2f5a9c1de0b47a63c8f19e02d4b7a5c1e3f6908d", "sqlite:///runs/tuning.db", "10.1.2.3 and 8.8.8.8 are two hosts",
        "one row per flight; drawn at random in 2013-01", "https://example.org:8443/hook?x=1",
        "https://example.org/data.csv?tokenizer=bert-base-uncased&key=long-enough",
    ):  # fmt: skip
        refuse({"iid": text})


def test_no_message_shows_the_password_of_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    say("cannot reach postgres://me:battery@host/db", error=True)
    assert capsys.readouterr().err == "cannot reach postgres://me:***@host/db\n"
