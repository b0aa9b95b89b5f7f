"""Sound projects that checks once took for faulty, found by people who read the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from my_model.task import Batch
from recipe_kit.checks import gradients, lint, loss
from recipe_kit.checks.context import Context, _same
from recipe_kit.checks.static import look
from torch import Tensor, nn

from .toy import Toy, toy_project


def context_of(project: Any, make: Any) -> Context:
    """The context of a project with this network: make(inputs, outputs)."""

    class Own(Toy):
        def model(self, config: Any, prep: dict[str, Any]) -> nn.Module:
            made: nn.Module = make(len(prep["mean"]), prep["outputs"])
            return made

    task, data = Own(), project.data
    prep = task.prepare(project.config, data)
    examples = task.examples(project.config, prep, data)
    return Context(project.config, task, prep, {"train": data, "val": data}, examples, examples)


class Shared(nn.Module):
    """One ReLU at two widths."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(inputs, 16), nn.Linear(16, 8), nn.Linear(8, outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.relu(self.second(self.relu(self.first(x)))))
        return out


class Gated(nn.Module):
    """Its head is defined before the gate that the head follows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head, self.gate, self.body = nn.Linear(16, outputs), nn.Linear(inputs, 16), nn.Linear(inputs, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.body(x)) * torch.sigmoid(self.gate(x)))
        return out


class Unbiased(nn.Module):
    """A last layer without a bias, whose fresh outputs lie between 0 and 1."""

    last: type[nn.Module] = nn.Identity

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head, self.end = nn.Linear(inputs, 16), nn.Linear(16, outputs, bias=False), self.last()
        nn.init.uniform_(self.head.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.head(torch.relu(self.body(x))))
        return out


class Bounded(Unbiased):
    last = nn.Sigmoid


class Squashed(Unbiased):
    last = nn.Tanh


class Positive(Unbiased):
    last = nn.ReLU


class Attending(nn.Module):
    """Dropout inside of attention."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lift, self.layer = nn.Linear(1, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(self.lift(x[..., None])).mean(1))
        return out


def test_a_module_used_at_two_widths_has_units_of_both(tmp_path: Path) -> None:
    context = context_of(toy_project(tmp_path), Shared)
    found = gradients.dead_shares(context.fresh(), [context.batch(context.rows(32)) for _ in range(2)])
    assert set(found) == {"relu"} and 0 <= found["relu"] < 1


@pytest.mark.parametrize("k", [2, 3])
def test_the_last_layer_is_the_one_that_is_called_last(tmp_path: Path, k: int) -> None:
    assert lint.output_kind(context_of(toy_project(tmp_path, k=k), Gated)).verdict == "PASS"


@pytest.mark.parametrize(("network", "verdict"), [(Unbiased, "PASS"), (Bounded, "FAIL")])
def test_small_logits_without_a_bias_are_no_probabilities(tmp_path: Path, network: Any, verdict: str) -> None:
    assert lint.output_kind(context_of(toy_project(tmp_path), network)).verdict == verdict


@pytest.mark.parametrize(("network", "k"), [(Squashed, 1), (Positive, 1), (Positive, 3)])
def test_a_limit_behind_a_layer_without_a_bias_is_seen(tmp_path: Path, network: Any, k: int) -> None:
    assert lint.output_kind(context_of(toy_project(tmp_path, k=k), network)).verdict == "FAIL"
    assert lint.output_kind(context_of(toy_project(tmp_path, k=k), Unbiased)).verdict == "PASS"


def test_dropout_inside_of_attention_is_turned_off(tmp_path: Path) -> None:
    context = context_of(toy_project(tmp_path), Attending)
    assert {loss.declared_gradient(context).verdict for _ in range(3)} == {"PASS"}


def test_something_random_that_is_left_is_no_finding(tmp_path: Path) -> None:
    class Noisy(Shared):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.3 * torch.randn_like(x))

    assert loss.declared_gradient(context_of(toy_project(tmp_path), Noisy)).verdict == "NOT APPLICABLE"


def test_clipped_gradients_are_those_that_were_brought() -> None:
    brought = torch.randn(50)
    assert _same(0.2 * brought, brought, clipped=True) and not _same(0.2 * brought, brought)
    for clipped in (False, True):
        assert _same(brought, brought, clipped) and _same(torch.zeros(3), torch.zeros(3), clipped)
        for held in (brought + torch.randn(50), 2 * brought, -brought):
            assert not _same(held, brought, clipped)
    assert not _same(brought, None) and _same(torch.zeros(3), None) and not _same(torch.zeros(50), brought)


SOUND = {
    "losses": "import torch\nclass M(nn.Module):\n    def __init__(self):\n        self.criteria = [nn.L1Loss(), nn.ReLU()]\n        self.kinds = [nn.Linear]\n    def forward(self, x):\n        return x\n",
    "clamp": "import torch.nn.functional as F\ndef f(out, y):\n    F.mse_loss(out.squeeze(1), y.clamp(0, 1)).backward()\n",
    "metric": "import torch.nn.functional as F\ndef fit(m, o):\n    o.zero_grad()\n    m.loss().backward()\n    o.step()\ndef score(p, y):\n    return F.l1_loss(torch.round(p), y)\n",
    "enable_grad": "import torch\ndef attack(x, model):\n    with torch.no_grad():\n        with torch.enable_grad():\n            model(x).sum().backward()\n",
    "two nets": "import torch\nclass Net(nn.Module):\n    def forward(self, x):\n        return torch.sigmoid(x)\nclass Other:\n    class Net(nn.Module):\n        def forward(self, x):\n            return self.head(x)\ndef fit(x, y, o):\n    net = Net()\n    nn.BCEWithLogitsLoss()(net(x), y)\n",
    "deep": "import torch\nx = " + "+".join(["1"] * 3000) + "\n",
}


@pytest.mark.parametrize("case", SOUND)
def test_static_rules_are_certain_of_no_sound_code(case: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("from torch import nn\n" + SOUND[case])
    assert [found for found in look(tmp_path) if found[-1]] == []


def test_batches_are_named(tmp_path: Path) -> None:
    """What the helper above makes is what the checks see."""
    context = context_of(toy_project(tmp_path), Shared)
    assert isinstance(context.batch(context.rows(4)), Batch)
