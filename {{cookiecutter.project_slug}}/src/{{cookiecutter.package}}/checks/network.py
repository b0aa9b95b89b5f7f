"""Checks on a fresh network: does it start right, can it learn at all, do its gradients flow, does it use its input?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..engine.loop import step
from ..engine.losses import expected_initial_loss
from ..engine.optim import make_optimiser
from ..task import Batch
from .bench import Bench, quiet
from .finding import Finding, finding


def init_loss(bench: Bench) -> Finding:
    """The loss before training against what a model knowing only the class shares would have (ln k when balanced).

    FAIL beyond a factor of 2 either way: a He-initialised head alone reaches 1.34 ln k, so a tighter band would alarm
    on healthy networks.
    """
    model = bench.fresh().eval()
    with torch.no_grad():
        batch = bench.batch(torch.arange(len(bench.train))[: 4 * bench.config.batch_size])
        output = model(batch.x).float()
        loss = float(bench.loss(output, batch).mean())
        spread = float(output.std(dim=0).mean()) if len(output) > 1 else 0.0
    expected = expected_initial_loss(bench.config, bench.prep, batch.y)
    if expected is None:  # MAE and Huber: the loss of the constant that the head starts at, the mean of the target
        expected = float(bench.loss(torch.zeros_like(output), batch).mean())
    ratio = loss / max(expected, 1e-12)
    vacuous = (
        " (the outputs are all alike, a zero head: this says nothing about the loss, see the loss tests)"
        if spread < 1e-7
        else ""
    )
    return finding(
        "init loss",
        f"{loss:.4f}, {ratio:.2f} times the expected; outputs spread {spread:.2g}{vacuous}",
        fail=not 0.5 <= ratio <= 2.0,
        why="high" if ratio > 1 else "low",
        evidence={"loss": loss, "expected": expected, "spread": spread},
        known=_expected_words(bench),
    )


def _expected_words(bench: Bench) -> str:
    k = len(bench.prep["classes"])
    return {
        "pairwise": "ln 2, a coin flip per pair",
        "mse": "variance of the standardised target",
        "mae": "loss of predicting the mean",
        "huber": "loss of predicting the mean",
    }.get(
        bench.config.resolved_loss,
        f"loss of the class shares on these rows (ln {k} = {math.log(max(k, 1)):.4f} when balanced)",
    )


def overfit(bench: Bench, examples: int = 16, steps: int = 300) -> Finding:
    """A healthy network memorises 16 examples: loss under 0.05 and every one right, within 300 steps.

    Dropout, label smoothing, decay and augmentation are off; the rate is tried as configured, then ten times higher
    (a rate made for a long run is often too small for a short one). Healthy and broken networks lie two decades apart.
    A pass says that model, loss and step fit together; it says nothing about data, split, or a sum instead of a mean.
    """
    rows = _distinct(bench, bench.rows(4 * examples))[:examples]
    best = math.inf
    for factor in (1, 10):
        config = bench.config.model_copy(
            update={"weight_decay": 0.0, "label_smoothing": 0.0, "lr": bench.config.lr * factor}
        )
        calm = Bench(config, bench.task, bench.prep, bench.data, bench.train, bench.val)
        model = quiet(calm.fresh())
        optimiser = make_optimiser(config, calm.task, model)
        batch, loss = calm.batch(rows), calm.loss
        floor = 0.05 if config.resolved_loss != "pairwise" else 0.05 * math.log(2)
        for taken in range(1, steps + 1):
            value = float(step(model, [batch], loss, optimiser, config)) / len(batch.y)
            best = min(best, value) if math.isfinite(value) else best
            if value < floor and _all_right(calm, model, batch):
                return finding(
                    "overfit a batch",
                    f"{len(batch.y)} examples memorised in {taken} steps at lr {config.lr:g} (loss {value:.4f})",
                    evidence={"steps": taken, "loss": value},
                    floor=floor,
                    limit=steps,
                )
    return finding(
        "overfit a batch",
        f"lowest loss {best:.4f} on {len(rows)} examples, at lr {bench.config.lr:g} and ten times that",
        fail=True,
        evidence={"loss": best},
        floor=floor,
        limit=steps,
    )


def _all_right(bench: Bench, model: nn.Module, batch: Batch) -> bool:
    if not bench.prep["classes"]:
        return True
    with torch.no_grad():
        output = model(batch.x).float()
    guess = (output[:, 0] > 0).long() if output.shape[1] == 1 else output.argmax(dim=1)
    return bool((guess == batch.y.long()).all())


def _distinct(bench: Bench, rows: Tensor) -> Tensor:
    """Drop rows whose inputs repeat an earlier row's: no network can tell them apart."""
    x = bench.batch(rows).x
    flat = torch.cat(
        [part.reshape(len(rows), -1).double() for part in (x.values() if isinstance(x, dict) else [x])], dim=1
    ).cpu()
    kept: list[int] = []
    seen: set[bytes] = set()
    for i, row in enumerate(flat.numpy()):
        if row.tobytes() not in seen:
            seen.add(row.tobytes())
            kept.append(i)
    return rows[kept]


def no_mixing(bench: Bench) -> Finding:
    """In evaluation mode, what a network says of one example must not depend on the others in the batch.

    Each example alone, and with other neighbours, against the whole batch. Also covers padding: a text alone is
    padded less than in a batch.
    """
    model = bench.fresh()
    for batch in bench.stream(2):  # BatchNorm gets real running statistics
        model(batch.x)
    model.eval()
    rows = bench.rows(16, seed=1)
    with torch.no_grad():
        together = model(bench.batch(rows).x).float()
        turned = model(bench.batch(rows.flip(0)).x).float().flip(0)
        alone = torch.cat([model(bench.batch(rows[i : i + 1]).x).float() for i in range(min(4, len(rows)))])
    scale = float(together.abs().max().clamp(min=1e-3))
    apart = max(float((together - turned).abs().max()), float((together[: len(alone)] - alone).abs().max())) / scale
    limit = 1e-2 if bench.config.precision == "bf16" else 1e-3
    return finding(
        "no mixing",
        f"outputs differ by up to {apart:.1e} of their size when the neighbours change",
        fail=apart > limit,
        evidence={"difference": apart},
        limit=limit,
    )
