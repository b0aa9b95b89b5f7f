"""Smoke test of YOUR model, loss, optimizer, step and settings, in seconds: `make smoke`, and .github/workflows/gpu.yml.

All is as in recipe.toml, but for the rows, which are those of tests/sample, and for what conftest.py turns off. A pass says
that the parts fit together and can learn. It says nothing about your data, nor about how good the model is.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace as Parts
from typing import Any

import pytest
import torch
from my_model.engine.loop import find_device, fit, step
from my_model.engine.optim import make_optimiser
from my_model.engine.project import Project, Run
from my_model.engine.seed import seed_everything
from my_model.engine.target import prior_logits
from torch import Tensor, nn

pytestmark = pytest.mark.smoke


def fresh(parts: Parts, **changes: float) -> tuple[Any, nn.Module, torch.optim.Optimizer]:
    """The settings with these changes, a new model in training mode without dropout, and its optimizer."""
    config = parts.config.model_copy(update=changes)
    seed_everything(config.seed, config.deterministic)
    model = parts.task.model(config, parts.prep).to(find_device(config))
    parts.task.set_trainable(config, model, config.epochs)
    for module in model.train().modules():
        if "Dropout" in type(module).__name__ or type(module).__name__ == "StochasticDepth":
            vars(module)["p"] = 0.0
    return config, model, make_optimiser(config, parts.task, model)


def length(tensors: list[Tensor]) -> float:
    """Of all of them as one vector."""
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


def loss_of_the_prior(parts: Parts) -> float:
    """The loss of outputs that know the class shares and nothing else (regression: the mean; ranking: nothing)."""
    outputs = prior_logits(parts.prep).to(parts.batch.y.device).expand(len(parts.batch.y), -1)
    return float(parts.loss(outputs, parts.batch).mean())


def test_right_outputs_cost_nothing_and_wrong_ones_most(parts: Parts) -> None:
    y, k, task, name = parts.batch.y, parts.prep["outputs"], parts.config.task, parts.config.resolved_loss
    right = 24 * y - 12 if task == "binary" else 24 * y if name == "pairwise" else y
    right = 24 * nn.functional.one_hot(y, k).float() if task == "multiclass" else right[:, None]
    values = [parts.loss(outputs, parts.batch) for outputs in (right, 0 * right, -right)]
    assert {value.shape for value in values} == {y.shape}, "the loss must return one value per example"
    good, undecided, bad = (float(value.mean()) for value in values)
    assert good < undecided < bad
    assert abs(good) < 0.01, "if a loss of your own does not end at 0, change this line"
    if name in ("bce", "cross_entropy") and parts.config.class_weights == "none":
        assert math.isclose(undecided, math.log(max(k, 2)), rel_tol=1e-3), "undecided outputs cost ln(number of classes)"


def test_the_first_loss_is_that_of_the_prior(parts: Parts) -> None:
    """A new model knows no more. Twice or half of it means wrong outputs or a wrong initialization."""
    with torch.no_grad():
        outputs = fresh(parts)[1](parts.batch.x).float()
    assert outputs.shape == (len(parts.batch.y), parts.prep["outputs"])
    assert 0.5 < float(parts.loss(outputs, parts.batch).mean()) / loss_of_the_prior(parts) < 2


def test_an_example_is_the_same_alone_as_in_a_batch(parts: Parts) -> None:
    """Its target and, in evaluation mode, its outputs: else examples mix, or inputs and targets have come apart."""
    model = fresh(parts)[1].eval()
    with torch.no_grad():
        together = model(parts.batch.x).float()
        for i in range(4):
            one = parts.task.examples(parts.config, parts.prep, parts.data.take([i])).batches([torch.tensor([0])])
            alone = next(iter(one)).to(together.device)
            assert alone.y[0] == parts.batch.y[i]
            assert (model(alone.x)[0] - together[i]).abs().max() < 1e-3 * together.abs().max()


def test_a_step_follows_the_gradient_of_the_mean_loss(parts: Parts) -> None:
    """Two steps at lr = 0 on one batch: the second would show gradients that were not cleared."""
    config, model, optimizer = fresh(parts, lr=0.0, clip=0.0)
    parts.loss(model(parts.batch.x).float(), parts.batch).mean().backward()
    named = {name: p for name, p in model.named_parameters() if p.grad is not None}
    wanted = {name: p.grad.clone() for name, p in named.items()}
    for _ in range(2):
        step(model, [parts.batch], parts.loss, optimizer, config)
        assert length([p.grad - wanted[name] for name, p in named.items()]) < 0.1 * length(list(wanted.values()))


def test_small_steps_lower_the_loss_and_steps_at_lr_move_all_that_should(parts: Parts) -> None:
    config, model, optimizer = fresh(parts, lr=parts.config.lr / 10)
    losses = [step(model, [parts.batch], parts.loss, optimizer, config) for _ in range(10)]
    assert losses[-1] < losses[0], "ten steps at lr / 10 do not lower the loss of their own batch"
    config, model, optimizer = fresh(parts)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(10):
        last = [p.detach().clone() for p in model.parameters()]
        step(model, [parts.batch], parts.loss, optimizer, config)
        moved = length([p.detach() - q for p, q in zip(model.parameters(), last, strict=True)])
        assert moved < 0.3 * length(list(before.values())), f"a step moves the weights by their own length: lr = {config.lr:g}"
    named = {name: p for name, p in model.named_parameters() if not parts.task.frozen(config, name)}
    still = [name for name, p in named.items() if torch.equal(p, before[name])]
    floor = 1e-6 * length([p.grad for p in named.values() if p.grad is not None])  # a bias before a BatchNorm has less
    assert [name for name in still if named[name].grad is None or not 0 < named[name].grad.norm() < floor] == []


def test_sixteen_rows_are_learned_by_heart(parts: Parts) -> None:
    """Down to a twentieth of the loss of the prior, in 200 steps at lr or at ten times lr, which may be for long runs."""
    lowest, goal = math.inf, 0.05 * loss_of_the_prior(parts)
    for lr in (parts.config.lr, 10 * parts.config.lr):
        config, model, optimizer = fresh(parts, lr=lr)
        for _ in range(200):
            lowest = min(lowest, step(model, [parts.batch], parts.loss, optimizer, config) / len(parts.batch.y))
            if lowest < goal:
                return
    pytest.fail(f"the lowest loss is {lowest:.4f}, the goal {goal:.4f}")


def test_one_epoch_of_training_on_the_device_asked_for(parts: Parts, tmp_path: Path) -> None:
    """SMOKE_DEVICE=cuda fails, and does not skip, where there is no GPU or the loop did not use it."""
    config = parts.config.model_copy(update={"epochs": 1})
    project = Project(parts.root, config, parts.task, quiet=True)
    examples = parts.task.examples(config, parts.prep, parts.data)
    model, progress = fit(project, Run(project, "train", tmp_path), parts.prep, examples, examples)
    assert math.isfinite(progress.best) and progress.curves[-1]["lr"] <= config.lr
    asked = os.environ.get("SMOKE_DEVICE") or find_device(config).type
    assert {p.device.type for p in model.parameters()} == {asked}
    assert asked != "cuda" or torch.cuda.max_memory_allocated() > 0
