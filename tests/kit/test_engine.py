"""The engine: config, ledger, test lock, checkpoints, losses, rate, loop. Each on the real thing, with a toy Task."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import inherited
from my_model.config import Config, make_config, parse_override, read_toml
from my_model.engine import checkpoint, losses
from my_model.engine.kernel import Kernel, fit_kernel
from my_model.engine.loop import NonFinite, fit, plan, predict, step
from my_model.engine.optim import lr_factor, make_optimizer
from my_model.engine.target import prior_logits
from my_model.errors import UserError
from my_model.task import Batch
from recipe_kit import ledger

from .test_checks import make_bench
from .toy import toy_project


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lr": "fast"}, "lr = 'fast' is refused: it must be a number above 0 and at most 10"),
        ({"epochs": 0}, "at least 1"),
        ({"schedul": "cosine"}, "did you mean 'schedule'"),
        ({"learning_rate": 1}, "did you mean 'lr'"),
        ({"loss": "mse"}, "does not fit task = 'binary'"),
        ({"task": "ranking"}, "needs query"),
        ({"split": "time"}, "needs time"),
        ({"time": "t", "split": "random"}, "never split at random"),
        ({"time": "t", "folds": 5}, "train on the future"),
        ({"folds": 5, "fold": 5}, "outside 0..4"),
        ({"label_smoothing": 0.1, "loss": "focal"}, "no meaning"),
        ({"drop": "a"}, "a list of texts"),
        ({"lr": float("nan")}, "lr"),
    ],
    ids=str,
)
def test_bad_settings_are_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        make_config(Config, values, "recipe.toml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[a]\nb = 1", "a = ", "\x00", "a = 1\na = 2"])
def test_bad_toml_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(UserError):
        read_toml(tmp_path / "recipe.toml")


def test_overrides_are_toml_or_text() -> None:
    assert parse_override("lr=1e-3") == ("lr", 1e-3)
    assert parse_override('drop=["a", "b"]') == ("drop", ["a", "b"])
    assert parse_override("loss=bce") == ("loss", "bce")
    with pytest.raises(UserError):
        parse_override("lr")


def test_fingerprint_follows_its_group_only() -> None:
    one, other = Config(lr=0.1), Config(lr=0.2)
    assert one.fingerprint("optimizer") != other.fingerprint("optimizer")
    assert one.fingerprint("model", "loss", "data") == other.fingerprint("model", "loss", "data")


def write_rows(path: Path, n: int = 3) -> list[str]:
    for i in range(n):
        ledger.append(path, {"id": str(i), "value": 0.1 * i})
    return path.read_text().removesuffix("\n").split("\n")


@pytest.mark.parametrize("damage", ["edit", "delete", "swap", "garbage"])
def test_a_changed_ledger_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "EXPERIMENTS.jsonl"
    lines = write_rows(path)
    assert len(ledger.read(path)) == 3
    changed = {
        "edit": [lines[0], lines[1].replace("0.1", "0.9"), lines[2]],
        "delete": [lines[0], lines[2]],
        "swap": [lines[1], lines[0], lines[2]],
        "garbage": [lines[0], "{", lines[2]],
    }[damage]
    path.write_text("\n".join(changed) + "\n")
    with pytest.raises(UserError, match=r"line \d does not follow"):
        ledger.read(path)


def save_two(folder: Path) -> list[Path]:
    return [
        checkpoint.save(folder, "last", n, {"w": torch.full((3,), float(n))}, {"step": n}, {"rng": torch.arange(3)})
        for n in (1, 2)
    ]


@pytest.mark.parametrize("name", ["weights.safetensors", "progress.json", "state.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
def test_a_broken_checkpoint_falls_back_loudly(tmp_path: Path, name: str, damage: str) -> None:
    path = save_two(tmp_path)[1] / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(
            {"flip": bytes(content), "truncate": bytes(content[: len(content) // 2]), "empty": b""}[damage]
        )
    said: list[str] = []
    assert checkpoint.load(tmp_path, "last", said.append).progress == {"step": 1}
    assert len(said) == 1 and "last-000000002 is broken" in said[0]


def test_no_valid_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    for path in save_two(tmp_path):
        (path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="no valid last checkpoint"):
        checkpoint.load(tmp_path, "last", lambda _: None)


def test_a_pickle_in_place_of_the_state_does_not_run(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "ran"), "w"))

    path = save_two(tmp_path)[1]
    (path / "state.pt").write_bytes(pickle.dumps(Bomb()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["state.pt"] = checkpoint.sha256(path / "state.pt")  # an attacker can fix the hash
    (path / "manifest.json").write_text(json.dumps(manifest))
    said: list[str] = []
    assert checkpoint.load(tmp_path, "last", said.append).progress == {"step": 1}
    assert "which could run code" in said[0] and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("outputs", "classes", "fit"), [(1, 2, True), (2, 2, True), (3, 3, True), (1, 3, False), (4, 3, False)]
)
def test_outputs_that_do_not_fit_the_classes_are_one_sentence(outputs: int, classes: int, fit: bool) -> None:
    prep = {"outputs": outputs, "prior": [1 / classes] * classes}
    if fit:
        assert prior_logits(prep).shape == (outputs,)
    else:
        with pytest.raises(UserError, match=f"{outputs} outputs do not fit {classes} classes"):
            prior_logits(prep)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"label_smoothing": 0.1}, {"loss": "focal", "focal_gamma": 2.0}, {"class_weights": "balanced"}]
)
def test_losses_of_classes_agree_with_their_formulas(k: int, mixed: bool, settings: dict[str, Any]) -> None:
    """Against the sum over classes written out, for class numbers and for mixed shares."""
    torch.manual_seed(0)
    classes, n = max(k, 2), 50
    prior = torch.arange(1, classes + 1) / sum(range(classes + 1))
    prep = {"outputs": k, "prior": prior.tolist(), "classes": list("abc")[:classes]}
    output, numbers = 3 * torch.randn(n, k), torch.randint(0, classes, (n,))
    shares = torch.rand(n, classes).softmax(1) if mixed else torch.eye(classes)[numbers]
    y = shares if mixed else numbers.float() if k == 1 else numbers
    config = Config(task="binary" if k == 1 else "multiclass", **settings)
    got = losses.make_loss(config, prep)(output, Batch(None, y, numbers))

    exact = output.double()  # the formula itself rounds too much in single precision
    p = torch.cat([(-exact).sigmoid(), exact.sigmoid()], dim=1) if k == 1 else exact.softmax(1)
    smoothed = shares * (1 - config.label_smoothing) + config.label_smoothing / classes
    hard = (1 - p) ** 2 if settings.get("loss") == "focal" else torch.ones_like(p)
    expected = -(smoothed * hard * p.log()).sum(1)
    if "class_weights" in settings:
        expected *= shares @ (1 / (prior * classes))
    torch.testing.assert_close(got, expected.float())


def test_pairwise_loss_counts_pairs_of_one_query_only() -> None:
    score, relevance = torch.tensor([1.0, 0.0, 5.0]), torch.tensor([1.0, 0.0, 0.0])
    alone = losses.pairwise(score, relevance, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(alone, torch.tensor([1.0, 1.0, 0.0]) * F.softplus(torch.tensor(-1.0)))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one_cycle", "constant", "plateau"])
def test_the_rate_reaches_its_peak_and_its_end(schedule: str) -> None:
    config = Config(schedule=schedule, warmup=0.1)
    rates = [lr_factor(config, s, 100) for s in range(100)]
    assert max(rates) == pytest.approx(1.0) and all(0 <= r <= 1 for r in rates)
    assert rates[0] < 0.2
    assert rates[-1] == pytest.approx(1.0 if schedule in ("constant", "plateau") else 0.0, abs=1e-6)


def test_decay_spares_biases_and_norms(tmp_path: Path) -> None:
    context = make_bench(toy_project(tmp_path))
    groups = make_optimizer(context.config, context.task, context.fresh()).param_groups
    assert {g["weight_decay"]: len(g["params"]) for g in groups} == {0.01: 2, 0.0: 2}


def test_accumulation_equals_the_large_batch(tmp_path: Path) -> None:
    context = make_bench(toy_project(tmp_path, k=3))
    rows = context.rows(30)
    weights = []
    for parts in ([rows], [rows[:7], rows[7:19], rows[19:]]):
        model = context.fresh()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, [context.batch(part) for part in parts], context.loss, optimizer, context.config)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights)


def test_a_non_finite_step_changes_nothing(tmp_path: Path) -> None:
    context = make_bench(toy_project(tmp_path))
    model = context.fresh()
    optimizer = make_optimizer(context.config, context.task, model)
    batch = context.batch(context.rows(8))
    step(model, [batch], context.loss, optimizer, context.config)
    before = [p.detach().clone() for p in model.parameters()]
    moments = [v.clone() for s in optimizer.state.values() for v in s.values()]
    broken = batch._replace(x=batch.x.clone().index_fill_(0, torch.tensor([0]), float("nan")))
    with pytest.raises(NonFinite):
        step(model, [broken], context.loss, optimizer, context.config)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(moments, [v for s in optimizer.state.values() for v in s.values()], strict=True)
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_is_kept_while_training_and_no_longer(tmp_path: Path) -> None:
    """Pages that the system has to hand out when 64 MB are wanted again: none inside of `fit`, all of them outside."""
    script = f"""
import pathlib, resource, torch
from kit.toy import toy_project
from kit.test_checks import make_bench
from my_model.engine import callback, loop
project = toy_project(pathlib.Path({str(tmp_path)!r}), k=2, epochs=1)
context = make_bench(project)
def look():
    for number in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16 << 20).sum()
    print("pages", resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
class Look(callback.Callback):
    def on_epoch(self, progress):
        look()
look()
loop.fit(*context.parts, pathlib.Path({str(tmp_path)!r}), callbacks=[Look()])
look()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=inherited(), capture_output=True, text=True, timeout=120, check=True
    )
    before, inside, after = (
        int(line.split()[1]) for line in done.stdout.removesuffix("\n").split("\n") if line.startswith("pages")
    )
    assert inside < 100
    assert min(before, after) > 1000


@pytest.mark.parametrize("k", [1, 2, 3])
def test_fit_gives_the_weights_of_a_loop_written_by_hand(tmp_path: Path, k: int) -> None:
    """Same order, AdamW, clipping and rates, in the plainest PyTorch: nothing else may touch the weights."""
    project = toy_project(tmp_path, k=k, epochs=1, batch_size=16, clip=0.5, lr=0.01)
    config, context = project.config, make_bench(project)
    model, _ = fit(*context.parts, tmp_path)
    hand = context.fresh()
    biases = {n: p for n, p in hand.named_parameters() if p.ndim == 1}
    weights = {n: p for n, p in hand.named_parameters() if n not in biases}
    optimizer = torch.optim.AdamW(
        [
            {"params": weights.values(), "weight_decay": config.weight_decay},
            {"params": biases.values(), "weight_decay": 0},
        ],
        lr=config.lr,
    )
    loss = {1: F.mse_loss, 2: F.binary_cross_entropy_with_logits, 3: F.cross_entropy}[k]
    todo = plan(context.train, 16, config.seed, 0)
    for number, rows in enumerate(todo):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * lr_factor(config, number, len(todo))
        optimizer.zero_grad()
        output = hand(context.train.x[rows])  # type: ignore[attr-defined]
        loss(output if k == 3 else output.squeeze(1), context.train.y[rows]).backward()
        torch.nn.utils.clip_grad_norm_(hand.parameters(), config.clip)
        optimizer.step()
    for ours, expected in zip(model.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_predictions_keep_the_order_of_the_examples(tmp_path: Path) -> None:
    context = make_bench(toy_project(tmp_path))
    model = context.fresh()
    expected = model.eval()(context.val.x).detach().numpy()  # type: ignore[attr-defined]
    context.val.lengths = torch.randint(1, 50, (len(context.val),))
    np.testing.assert_allclose(predict(model, context.val, context.config), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("n", [5, 64, 65, 200])
def test_a_plan_holds_every_example_once(tmp_path: Path, n: int, lengths: bool) -> None:
    context = make_bench(toy_project(tmp_path, n=300))
    examples = context.train
    examples.y = examples.y[:n]
    examples.lengths = torch.randint(1, 9, (n,)) if lengths else None
    for epoch in (0, 1):
        batches = plan(examples, 64, 0, epoch)
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(n))
        assert n == 1 or min(map(len, batches)) > 1


def test_a_signal_saves_and_resume_gives_the_same_weights(tmp_path: Path) -> None:
    """SIGTERM in mid-epoch: exit 143 after saving; resumed, the weights equal those of an uninterrupted run bit for bit."""
    script = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from kit.toy import toy_project
from kit.test_checks import make_bench
from my_model.engine import loop
from my_model.errors import Stopped
folder, resume, kill = Path(sys.argv[1]), sys.argv[2] == "resume", int(sys.argv[3])
folder.mkdir(exist_ok=True)
project = toy_project(folder, batch_size=16, epochs=3, accumulate=2)
context = make_bench(project)
real, steps = loop.step, []
def counted(*args):
    steps.append(1)
    if len(steps) == kill:
        os.kill(os.getpid(), signal.SIGTERM)
    return real(*args)
loop.step = counted
try:
    model, _ = loop.fit(*context.parts, folder, resume)
except Stopped as stopped:
    sys.exit(stopped.status)
import torch
torch.save([p.detach() for p in model.parameters()], folder / "weights.pt")
"""

    def go(folder: str, resume: str = "", kill: int = 0) -> int:
        command = [sys.executable, "-c", script, str(tmp_path / folder), resume, str(kill)]
        return subprocess.run(command, env=inherited(), capture_output=True, timeout=120, check=False).returncode

    assert go("whole") == 0
    assert go("cut", kill=10) == 128 + signal.SIGTERM
    assert go("cut", resume="resume") == 0
    whole, cut = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "cut"))
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


@pytest.mark.parametrize("k", [2, 4])
def test_the_kernel_machine_is_scikit_learns(k: int) -> None:
    from sklearn.svm import SVC

    random = np.random.default_rng(0)
    y = np.arange(120) % k
    x = (random.normal(size=(120, 6)) + 3 * np.eye(k, 6)[y]).astype(np.float32)
    ours = Kernel(lambda data: data, 1 if k == 2 else k, **fit_kernel(Config(), x, y, c=3.0)).predict(x)  # type: ignore[arg-type, return-value]
    theirs = SVC(C=3.0).fit(x, y).decision_function(x)
    assert np.allclose(ours, 2 * theirs.reshape(120, -1), atol=1e-4)
