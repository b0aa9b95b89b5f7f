"""Smoke test of YOUR model, loss, optimizer, step and settings, in seconds: `make smoke`, and .github/workflows/gpu.yml.

All is as in recipe.toml, but for the rows, which are those of tests/sample, and for what conftest.py turns off. A pass says
that the parts fit together and can learn. It says nothing about your data, nor about how good the model is.
"""

from __future__ import annotations

import math
import os

import pytest
import torch

from my_model.engine.loop import find_device, fit, step

pytestmark = pytest.mark.smoke
LONGEST = (
    0.3  # step, as a share of the length of the weights; measured: up to 0.13 where lr works, over 0.6 at lr * 1000
)


def length(tensors):
    """Of all of them as one vector."""
    return float(torch.stack([tensor.detach().norm() for tensor in tensors]).norm())


def test_right_outputs_cost_nothing_and_wrong_ones_most(parts):
    values = [parts.loss(factor * parts.right, parts.batch) for factor in (1, 0, -1)]
    assert {value.shape for value in values} == {parts.batch.y.shape}, "the loss must return one value per example"
    good, undecided, bad = (float(value.mean()) for value in values)
    assert good < undecided < bad
    assert abs(good) < 0.01, "if a loss of your own does not end at 0, change this line"
    if parts.config.resolved_loss in ("bce", "cross_entropy") and parts.config.class_weights == "none":
        assert math.isclose(undecided, math.log(len(parts.prep["classes"])), rel_tol=1e-3)
    if parts.batch.query is None:
        alone = float(parts.loss(parts.right[:1], parts.batch.head(1)))
        assert math.isclose(alone, values[0][0], abs_tol=1e-3), "the loss of an example depends on the others"


def test_the_first_loss_is_that_of_the_class_shares(parts):
    """A new model knows no more than they say. Twice or half: wrong outputs, or a wrong initialization."""
    with torch.no_grad():
        outputs = parts.fresh()[1](parts.batch.x).float()
    assert outputs.shape == (len(parts.batch.y), parts.prep["outputs"])
    assert 0.5 < float(parts.loss(outputs, parts.batch).mean()) / parts.prior < 2


def test_an_example_is_the_same_alone_as_in_a_batch(parts):
    """Its target and, in evaluation mode, its outputs: else examples mix, or inputs and targets have come apart."""
    model = parts.fresh()[1].eval()
    with torch.no_grad():
        together = model(parts.batch.x).float()
        for i in range(4):
            one = parts.task.examples(parts.config, parts.prep, parts.data.take([i])).batches([torch.tensor([0])])
            alone = next(iter(one)).to(together.device)
            assert alone.y[0] == parts.batch.y[i]
            assert (model(alone.x)[0] - together[i]).abs().max() < 1e-3 * together.abs().max()


def test_a_step_follows_the_gradient_of_the_mean_loss(parts):
    """Two steps at lr = 0 on one batch: the second would show gradients that were not cleared."""
    config, model, optimizer = parts.fresh(lr=0.0, clip=0.0)
    parts.loss(model(parts.batch.x).float(), parts.batch).mean().backward()
    named = {name: p for name, p in model.named_parameters() if p.grad is not None}
    wanted = {name: p.grad.clone() for name, p in named.items()}
    for _ in range(2):
        step(model, [parts.batch], parts.loss, optimizer, config)
        assert length([p.grad - wanted[name] for name, p in named.items()]) < 0.1 * length(wanted.values())


def test_small_steps_lower_the_loss(parts):
    config, model, optimizer = parts.fresh(lr=parts.config.lr / 10)
    losses = [step(model, [parts.batch], parts.loss, optimizer, config) for _ in range(10)]
    assert losses[-1] < losses[0]


def test_steps_at_lr_move_every_parameter_and_none_too_far(parts):
    config, model, optimizer = parts.fresh()
    named = {name: p for name, p in model.named_parameters() if not parts.task.frozen(config, name)}
    start = last = {name: p.detach().clone() for name, p in named.items()}
    for _ in range(10):
        step(model, [parts.batch], parts.loss, optimizer, config)
        moved = length([p - last[name] for name, p in named.items()]) / length(start.values())
        assert moved < LONGEST, f"lr = {config.lr:g} is far too high: one step is {moved:.2g} times the weights"
        last = {name: p.detach().clone() for name, p in named.items()}
    assert [name for name, p in named.items() if p.grad is None or not p.grad.any()] == [], "no gradient reaches these"
    least = 1e-6 * length([p.grad for p in named.values()])  # a bias before a BatchNorm has less: it need not move
    still = [name for name, p in named.items() if p.grad.norm() > least and torch.equal(p, start[name])]
    assert still == [], "these have a gradient and do not move"


def test_an_epoch_of_training_uses_the_device_asked_for(parts, tmp_path):
    """SMOKE_DEVICE=cuda fails, and does not skip, where there is no GPU or the loop does not use it."""
    config = parts.config.model_copy(update={"epochs": 1})
    examples = parts.task.examples(config, parts.prep, parts.data)
    model, progress = fit(config, parts.task, parts.prep, examples, examples, tmp_path)
    before = list(parts.fresh()[1].parameters())
    moved = length([p - q for p, q in zip(model.parameters(), before, strict=True)]) / length(before)
    assert 0 < moved < LONGEST * progress.step
    asked = (os.environ.get("SMOKE_DEVICE") or find_device(config).type).partition(":")[0]
    assert {p.device.type for p in model.parameters()} == {asked}
    assert asked != "cuda" or torch.cuda.max_memory_allocated() > 0


def test_sixteen_rows_are_learned_by_heart(parts):
    """To a twentieth of the loss of the class shares, in 120 steps at lr, or at ten times lr: it may be for long runs."""
    lowest = math.inf
    for lr in (parts.config.lr, 10 * parts.config.lr):
        config, model, optimizer = parts.fresh(lr=lr)
        for _ in range(120):
            lowest = min(lowest, step(model, [parts.batch], parts.loss, optimizer, config) / len(parts.batch.y))
            if lowest < 0.05 * parts.prior:
                return
    pytest.fail(f"the lowest loss is {lowest:.4f}; knowing the class shares alone gives {parts.prior:.4f}")
