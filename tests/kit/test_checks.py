"""Every check before training, seen to pass on a sound toy project and to fail on the fault it exists for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from my_model.engine import loop as engine_loop
from my_model.engine import losses, optim
from recipe_kit.checks import context as of_context
from recipe_kit.checks import gradients, inputs, lint, loader, loop, loss, network, trial_runs
from recipe_kit.checks.check_result import CheckResult
from recipe_kit.checks.context import Context
from recipe_kit.project import Project
from recipe_kit.steps.check import CHECKS, guarded
from torch import Tensor, nn

from .toy import Toy, toy_project


def make_bench(project: Project) -> Context:
    data = project.task.load(project.config, project.root)
    rows, cut = np.arange(len(data)), int(0.7 * len(data))
    parts = {"train": data.take(rows[:cut]), "val": data.take(rows[cut:])}
    prep = project.task.prepare(project.config, parts["train"])
    train, val = (project.task.examples(project.config, prep, parts[name]) for name in ("train", "val"))
    return Context(project.config, project.task, prep, parts, train, val)


def verdicts(found: CheckResult | list[CheckResult]) -> dict[str, str]:
    return {f.check: f.verdict for f in (found if isinstance(found, list) else [found])}


def with_model(build: Callable[[], nn.Module]) -> Toy:
    """The toy task with another network."""
    task = Toy()
    task.model = lambda config, prep: build()  # type: ignore[method-assign]
    return task


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 2},
        {"k": 3},
        {"k": 1},
        {"k": 1, "loss": "mae"},
        {"k": 1, "loss": "huber"},
        {"k": 3, "loss": "focal"},
        {"k": 2, "loss": "focal"},
        {"k": 3, "class_weights": "balanced", "label_smoothing": 0.1},
        {"k": 2, "optimizer": "sgd", "lr": 0.1},
        {"k": 2, "schedule": "plateau"},
        {"k": 2, "schedule": "one_cycle"},
        {"k": 3, "accumulate": 3, "batch_size": 16},
        {"k": 2, "batch_size": 7},
    ],
    ids=str,
)
def test_sound_projects_pass_all(tmp_path: Path, settings: dict[str, Any]) -> None:
    project = toy_project(tmp_path, **settings)
    context = make_bench(project)
    found = [f for check in CHECKS for f in _list(check(context))]
    assert [f"{f.check}: {f.observed}" for f in found if f.verdict in ("WARN", "FAIL")] == []


@pytest.mark.parametrize("rare", [0, 1, 4])
def test_the_first_loss_is_expected_of_the_rows_at_hand(tmp_path: Path, rare: int) -> None:
    """With balanced weights one rare row among 32 is worth half of the loss: how many there are is chance, no fault."""
    context = make_bench(toy_project(tmp_path, batch_size=8, class_weights="balanced"))
    context.prep["prior"] = [0.98, 0.02]
    context.train.y[:32] = 0
    context.train.y[:rare] = 1
    assert verdicts(network.init_loss(context)) == {"init loss": "PASS"}


def _list(found: CheckResult | list[CheckResult]) -> list[CheckResult]:
    return found if isinstance(found, list) else [found]


class Mixing(nn.Module):
    """Subtracts the mean over the batch: examples see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x - x.mean(dim=0))


class OneColumn(nn.Module):
    """Learns from the first column and multiplies the others by zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp()()
        self.register_buffer("kept", torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x * self.kept)


class Deaf(nn.Module):
    """Ignores its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.ones_like(x))


class Hidden(nn.Module):
    """Keeps a layer in a plain list, where no optimizer finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 32)]
        self.head = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.layers[0](x)))


class Unbent(nn.Module):
    """Hidden layers joined by functions of which none is curved."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(0.5 * self.one(x).flip(1))


class Bent(Unbent):
    """The same with one that is."""

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.gelu(self.one(x)).flip(1))


class Differs(nn.Module):
    """Sees its inputs with the wrong sign in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 1)
        self.body.weight.data = torch.tensor([[5.0, 0.0, 0.0, 0.0]])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x if self.training else -x)


class Stubborn(nn.Sequential):
    """Stays in training mode whatever it is told."""

    def eval(self) -> Stubborn:
        return self


def mlp(change: Callable[[Any], Any] = lambda m: None) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
        with torch.no_grad():
            change(model)
        return model

    return build


def frozen(model: nn.Sequential) -> None:
    model[0].weight.requires_grad_(False)


NETWORK_FAULTS = [
    ("init loss", network.init_loss, mlp(lambda m: m[2].weight.mul_(100)), "FAIL"),
    ("overfit a batch", network.overfit, Deaf, "FAIL"),
    ("every layer learns", gradients.gradient_flow, mlp(frozen), "FAIL"),
    ("every layer learns", gradients.gradient_flow, mlp(lambda m: [p.zero_() for p in m.parameters()]), "FAIL"),
    ("dead units", gradients.gradient_flow, mlp(lambda m: m[0].bias.fill_(-100)), "FAIL"),
    ("output kind", lint.output_kind, lambda: nn.Sequential(mlp()(), nn.Sigmoid()), "FAIL"),
    ("output kind", lint.output_kind, lambda: nn.Linear(4, 3), "FAIL"),
    (
        "activations",
        lint.activations,
        lambda: nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.0), nn.Linear(32, 1)),
        "FAIL",
    ),
    (
        "activations",
        lint.activations,
        lambda: nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.95), nn.Linear(32, 1)),
        "FAIL",
    ),
    ("activations", lint.activations, lambda: Unbent(), "FAIL"),
    ("parameters stepped", lint.parameters_stepped, Hidden, "FAIL"),
    (
        "normalization",
        lint.normalization,
        lambda: nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1)),
        "WARN",
    ),
    ("no mixing", network.no_mixing, Mixing, "FAIL"),
    ("input matters", inputs.input_matters, Deaf, "FAIL"),
    ("input matters", inputs.input_matters, lambda: OneColumn(), "FAIL"),
    ("train against eval", inputs.train_against_eval, lambda: Differs(), "WARN"),
]


@pytest.mark.parametrize(
    ("name", "check", "build", "expected"), NETWORK_FAULTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_network_faults_fail(tmp_path: Path, name: str, check: Any, build: Any, expected: str) -> None:
    project = toy_project(tmp_path)
    project.task = with_model(build)
    found = verdicts(guarded(check)(make_bench(project)))
    assert found[name] == expected


def changed_tanh() -> nn.Module:
    """Starts so close to zero that it looks straight there."""
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    with torch.no_grad():
        model[0].weight.mul_(1e-2)
        model[0].bias.zero_()
    return model


@pytest.mark.parametrize(
    "build",
    [
        Bent,
        lambda: nn.Linear(4, 1),
        lambda: nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.3), nn.Linear(32, 1)),
        lambda: nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)),  # a low-rank factor
        changed_tanh,
    ],
)
def test_curved_networks_and_single_layers_are_green(tmp_path: Path, build: Any) -> None:
    project = toy_project(tmp_path)
    project.task = with_model(build)
    assert lint.activations(make_bench(project)).verdict == "PASS"


@pytest.mark.parametrize(
    "module",
    [nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Hardsigmoid, nn.PReLU, nn.Mish, nn.Softsign],
)
def test_activations_in_use_are_curved(module: type[nn.Module]) -> None:
    assert not lint.is_straight(module())


@pytest.mark.parametrize("module", [nn.Identity(), nn.LeakyReLU(0.98), nn.Hardtanh(-30, 30)], ids=str)
def test_straight_activations_are_seen(module: nn.Module) -> None:
    assert lint.is_straight(module)


@pytest.mark.parametrize(
    ("name", "check", "settings", "expected"),
    [
        ("update size", gradients.gradient_flow, {"lr": 1e-9}, "FAIL"),
        ("update size", gradients.gradient_flow, {"lr": 10.0, "clip": 0.0}, "FAIL"),
        ("weight decay", loop.decay, {"weight_decay": 1.0}, "WARN"),
        ("gradient size", gradients.gradient_flow, {"clip": 1e-5}, "WARN"),
        ("patience", loop.patience, {"patience": 1, "epochs": 30}, "WARN"),
        ("schedule", loop.schedule, {"warmup": 0.999, "epochs": 30}, "FAIL"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_setting_faults_fail(tmp_path: Path, name: str, check: Any, settings: dict[str, Any], expected: str) -> None:
    found = verdicts(check(make_bench(toy_project(tmp_path, **settings))))
    assert found[name] == expected


KEPT: list[Tensor] = []


def faulty_step(fault: str) -> Callable[..., Tensor]:
    """engine.loop.step with one line wrong."""

    def step(model, batches, loss, optimizer, config, observe=lambda: None):  # type: ignore[no-untyped-def]
        examples = sum(len(b.y) for b in batches)
        if fault != "no zero_grad":
            optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            part = loss(model(batch.x).float(), batch)
            faults = {"sum": part.sum(), "mean per batch": part.mean(), "uphill": -part.sum() / examples}
            faults["another loss"] = (part.sum() / examples) ** 2
            scale = faults.get(fault, part.sum() / examples)
            KEPT.extend([scale] if fault == "kept" else [])
            scale.backward()
            total += part.sum().detach()
        observe()
        optimizer.step()
        return total

    return step


@pytest.mark.parametrize(
    ("name", "check", "fault"),
    [
        ("mean, not sum", loss.mean_not_sum, "sum"),
        ("accumulation", loss.accumulation, "mean per batch"),
        ("fresh gradients", loss.fresh_gradients, "no zero_grad"),
        ("downhill", loss.downhill, "uphill"),
        ("declared gradient", loss.declared_gradient, "another loss"),
        ("declared gradient", loss.declared_gradient, "uphill"),
        ("memory per step", loss.memory_per_step, "kept"),
    ],
)
def test_step_faults_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, check: Any, fault: str) -> None:
    context = make_bench(toy_project(tmp_path))
    monkeypatch.setattr(of_context, "step", faulty_step("none"))
    assert verdicts(check(context))[name] == "PASS"
    monkeypatch.setattr(of_context, "step", faulty_step(fault))
    assert verdicts(check(context))[name] == "FAIL"


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_gradients_left_over_now_and_then_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    context, lazy = make_bench(toy_project(tmp_path)), np.random.default_rng(0)
    real = torch.optim.AdamW.zero_grad
    forget = lambda self, set_to_none=True: None if lazy.random() < share else real(self, set_to_none)  # noqa: E731
    monkeypatch.setattr(torch.optim.AdamW, "zero_grad", forget)
    found = loss.fresh_gradients(context)
    assert found.verdict == ("FAIL" if share else "PASS"), found.observed
    assert bool(found.evidence["stale"]) is bool(share)


@pytest.mark.parametrize(
    ("settings", "name", "wrong"),
    [
        (
            {"k": 3},
            "classification",
            lambda output, y, smoothing, gamma: F.cross_entropy(output.softmax(1), y, reduction="none"),
        ),
        ({"k": 2}, "classification", lambda output, y, smoothing, gamma: (output[:, 0] - y) ** 2),
        ({"k": 3}, "classification", lambda output, y, smoothing, gamma: F.cross_entropy(output, y)),
        # a loss that is flat, or no number, where a network is sure and wrong
        (
            {"k": 3},
            "classification",
            lambda output, y, smoothing, gamma: F.nll_loss((output.softmax(1) + 1e-12).log(), y, reduction="none"),
        ),
        (
            {"k": 2},
            "classification",
            lambda output, y, smoothing, gamma: F.softplus(output[:, 0]) - y * output[:, 0] + 0 * output[:, 0].exp(),
        ),
        ({"k": 3, "class_weights": "balanced"}, "class_weights", lambda prior: torch.tensor(prior) * len(prior)),
    ],
)
def test_wrong_losses_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], name: str, wrong: Any
) -> None:
    context = make_bench(toy_project(tmp_path, **settings))
    if name == "class_weights":  # of classes that are not alike; the loss is made with what the owner's function gives
        context.prep["prior"] = [0.6, 0.3, 0.1]
    assert verdicts(guarded(loss.known_outputs)(context)) == {"loss of known outputs": "PASS"}
    monkeypatch.setattr(losses, name, wrong)
    monkeypatch.setattr(loss, name, wrong, raising=False)  # an owner's edit changes what the check may import too
    context.__dict__.pop("loss", None)
    assert verdicts(guarded(loss.known_outputs)(context)) == {"loss of known outputs": "FAIL"}


def test_weights_that_the_settings_freeze_and_that_train_fail(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    for fails in (False, True):
        task = with_model(mlp(lambda m, fails=fails: m[0].requires_grad_(fails)))
        task.frozen = lambda config, name: name.startswith("0.")  # type: ignore[method-assign]
        project.task = task
        found = next(f for f in gradients.gradient_flow(make_bench(project)) if f.check == "every layer learns")
        assert found.verdict == ("FAIL" if fails else "PASS"), found.observed


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("last", ["sigmoid", "relu", "tanh", "softplus", "none"])
def test_outputs_behind_a_function_that_limits_them_fail(tmp_path: Path, last: str, k: int) -> None:
    project = toy_project(tmp_path, k=k)
    plain = project.task

    class Limited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of = Toy().model(project.config, context.prep)

        def forward(self, x: Tensor) -> Tensor:
            return self.of(x) if last == "none" else getattr(F, last)(self.of(x))

    context = make_bench(project)
    plain.model = lambda config, prep: Limited()  # type: ignore[method-assign]
    sound = last == "none" or (last == "softplus" and k > 1)  # of a regression it cannot go below zero, as targets do
    assert lint.output_kind(context).verdict == ("PASS" if sound else "FAIL")


@pytest.mark.parametrize(("within", "verdict"), [(True, "PASS"), (False, "FAIL")])
def test_a_limit_that_no_target_lies_beyond_is_sound(tmp_path: Path, within: bool, verdict: str) -> None:
    """A tanh where all targets are from -1 to 1: the remedy of many a regression whose last layer was a ReLU."""
    project = toy_project(tmp_path, k=1)
    project.task = with_model(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Tanh()))
    context = make_bench(project)
    context.train.y = context.train.y / context.train.y.abs().max() * (0.9 if within else 3.0)
    assert lint.output_kind(context).verdict == verdict


@pytest.mark.parametrize("fault", ["grows", "spares all", "none"])
def test_decay_that_does_not_shrink_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    context = make_bench(toy_project(tmp_path, weight_decay=0.01))

    def made(config: Any, task: Any, model: nn.Module) -> torch.optim.Optimizer:
        optimizer = optim.make_optimizer(config, task, model)
        for group in optimizer.param_groups:
            group["weight_decay"] *= {"grows": -1, "spares all": 0, "none": 1}[fault]
        return optimizer

    monkeypatch.setattr(loop, "make_optimizer", made)
    assert loop.decay(context).verdict == ("PASS" if fault == "none" else "FAIL")


def test_broadcast_regression_loss_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_bench(toy_project(tmp_path, k=1))
    monkeypatch.setitem(losses.REGRESSION, "mse", lambda output, y: (output[:, None] - y[None, :]) ** 2)
    assert verdicts(loss.known_outputs(context)) == {"loss of known outputs": "FAIL"}


@pytest.mark.parametrize("fault", ["same order", "half", "sorted"])
def test_order_faults_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    context = make_bench(toy_project(tmp_path, batch_size=16))
    real = engine_loop.plan

    def wrong(config: Any, examples: Any, epoch: int) -> list[Tensor]:
        size, seed = config.batch_size, config.seed
        if fault == "same order":
            return real(examples, size, seed, 0)
        if fault == "half":
            whole = real(examples, size, seed, epoch)
            return whole[: len(whole) // 2]
        return list(examples.y.argsort().roll(epoch).split(size))

    monkeypatch.setattr(loop, "epoch_plan", wrong)
    assert verdicts(loop.order(context)) == {"order of examples": "FAIL"}


def test_labels_that_the_length_tells_are_not_taken_for_sorted_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of like length hold like labels then, which is said; rows that lie sorted by label are a fault still."""
    context = make_bench(toy_project(tmp_path, batch_size=16))
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 4, len(context.train)))
    context.train.lengths = 10 + noise
    assert verdicts(loop.order(context)) == {"order of examples": "PASS"}
    monkeypatch.setattr(
        loop, "epoch_plan", lambda config, examples, epoch: list(examples.y.argsort().roll(epoch).split(16))
    )
    assert verdicts(loop.order(context)) == {"order of examples": "FAIL"}
    monkeypatch.undo()
    context.train.lengths = 10 + noise + 3 * context.train.y.long()
    assert verdicts(loop.order(context)) == {"order of examples": "WARN"}


def run_short(project: Project) -> dict[str, str]:
    return verdicts(trial_runs.trial_runs(make_bench(project)))


def test_unseeded_model_is_not_repeatable(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    draws = iter(range(1, 1000))
    project.task = with_model(mlp(lambda m: m[0].weight.add_(1e-3 * next(draws))))
    assert run_short(project)["repeatable"] == "FAIL"


def test_lost_optimizer_state_breaks_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = toy_project(tmp_path)
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda self, state: None)
    assert run_short(project)["resume"] == "FAIL"


def test_rate_stepped_per_epoch_is_not_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_loop, "lr_factor", lambda config, step, steps: optim.lr_factor(config, step // 4, steps))
    assert run_short(toy_project(tmp_path))["lr as planned"] == "FAIL"


def test_skipped_batches_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine_loop.plan
    monkeypatch.setattr(
        engine_loop,
        "plan",
        lambda e, size, seed=None, epoch=0, *more: real(e, size, seed, epoch)[: 2 if seed is not None else None],
    )
    assert run_short(toy_project(tmp_path))["examples seen"] == "FAIL"


def test_last_instead_of_best_shows_in_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "load_state", lambda self, model, tensors: model[2].bias.data.add_(1.0))
    assert run_short(toy_project(tmp_path))["evaluation replay"] == "FAIL"


def test_evaluation_in_training_mode_fails(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    project.task = with_model(lambda: Stubborn(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 1)))
    assert run_short(project)["evaluation mode"] == "FAIL"


@pytest.mark.parametrize(("sleep", "limit", "verdict"), [(0.0, "computing", "PASS"), (0.01, "loading", "WARN")])
def test_slow_loader_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleep: float, limit: str, verdict: str
) -> None:
    context = make_bench(toy_project(tmp_path, epochs=300, batch_size=16))
    real = context.train.batches

    def slow(plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Any:
        for batch in real(plan, epoch, augment):
            if sleep:
                time.sleep(sleep)
            yield batch

    monkeypatch.setattr(context.train, "batches", slow)
    found = loader.loader(context)
    assert found.verdict == verdict, found.observed
    assert f"The limit is {limit}" in found.observed
    assert found.evidence["wait"] >= sleep
    assert not sleep or found.evidence["ideal"] < found.evidence["wait"] + found.evidence["compute"]


@pytest.mark.parametrize(
    ("seeding", "expected"), [("(epoch, index)", "PASS"), ("nothing", "FAIL"), ("index only", "FAIL")]
)
def test_augmentation_is_a_function_of_epoch_and_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeding: str, expected: str
) -> None:
    context = make_bench(toy_project(tmp_path))
    real = context.train.batches

    def noisy(plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Any:
        for batch in real(plan, epoch):
            seeds = {
                "(epoch, index)": [[epoch, int(i)] for i in batch.index],
                "index only": [[int(i)] for i in batch.index],
            }
            noise = np.stack(
                [
                    np.random.default_rng(seeds[seeding][i] if seeding in seeds else None).normal(size=4)
                    for i in range(len(batch.y))
                ]
            )
            yield batch._replace(x=batch.x + torch.tensor(noise, dtype=torch.float32)) if augment else batch

    monkeypatch.setattr(context.train, "batches", noisy)
    assert verdicts(loop.augmentation(context)) == {"augmentation": expected}
