"""Checks on a fresh network: does it start right, can it learn at all, do its gradients flow, does it use its input?"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.loop import plan, step
from ..engine.losses import expected_initial_loss
from ..engine.optim import make_optimiser
from ..engine.seed import generator
from ..task import Batch
from .bench import Bench, Rows, has_batch_norm, map_inputs, quiet
from .finding import Cause, Finding, verdict


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
    expected = expected_initial_loss(bench.config, bench.prep)
    if expected is None:  # MAE and Huber: the loss of the constant that the head starts at, the mean of the target
        expected = float(bench.loss(torch.zeros_like(output), batch).mean())
    ratio = loss / max(expected, 1e-12)
    bad = not 0.5 <= ratio <= 2.0
    vacuous = (
        " (the outputs are all alike, a zero head: this says nothing about the loss, see the loss tests)"
        if spread < 1e-7
        else ""
    )
    causes = (
        Cause("model", "the output layer is initialised too large, or its bias does not start at the class shares"),
        Cause(
            "loss", "the loss does not fit the output: softmax applied twice, a sum instead of a mean, the wrong task"
        ),
        Cause("preprocessing", "inputs are not scaled, so the first outputs are huge"),
    )
    low = (
        Cause("loss", "the loss is not the one for this task, or it is divided twice"),
        Cause("data", "the target is inside the input, or one class is all there is"),
        Cause("model", "pretrained head weights were loaded for another task"),
    )
    return Finding(
        "init loss",
        verdict(bad),
        f"{loss:.4f}, {ratio:.2f} times the expected; outputs spread {spread:.2g}{vacuous}",
        f"{expected:.4f} = {_expected_words(bench)}, within a factor of 2",
        (causes if ratio > 1 else low),
        "look at the last layer in model.py and at the loss",
        evidence={"loss": loss, "expected": expected, "spread": spread},
    )


def _expected_words(bench: Bench) -> str:
    k = len(bench.prep["classes"])
    return {
        "pairwise": "ln 2, a coin flip per pair",
        "mse": "variance of the standardised target",
        "mae": "loss of predicting the mean",
        "huber": "loss of predicting the mean",
    }.get(bench.config.resolved_loss, f"entropy of the class shares (ln {k} = {math.log(max(k, 1)):.4f} when balanced)")


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
                return Finding(
                    "overfit a batch",
                    "PASS",
                    f"{len(batch.y)} examples memorised in {taken} steps at lr {config.lr:g} (loss {value:.4f})",
                    f"loss under {floor:.3g} and every example right within {steps} steps",
                    evidence={"steps": taken, "loss": value},
                )
    return Finding(
        "overfit a batch",
        "FAIL",
        f"lowest loss {best:.4f} on {len(rows)} examples, at lr {bench.config.lr:g} and ten times that",
        f"loss under 0.05 and every example right within {steps} steps",
        (
            Cause("model", "a layer is detached, frozen, dead, or the input does not reach the output"),
            Cause("loss", "the loss does not fit the output or the target (softmax twice, wrong shape, wrong task)"),
            Cause("optimiser", "the optimiser does not hold the parameters that matter, or steps the wrong way"),
            Cause("data", "identical inputs carry different labels, or labels are lost on the way"),
        ),
        "read forward in model.py next to the decoded batch in batch.json of this run",
        evidence={"loss": best},
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


def gradient_flow(bench: Bench, steps: int = 60) -> list[Finding]:
    """Per-layer gradients and movements over the first 60 real steps: frozen, detached, vanishing, exploding, dead.

    The first 10 steps are not judged: a zero head, LoRA's B or a zero gamma have zero gradients behind them at step 0.
    """
    model = bench.fresh()
    optimiser = make_optimiser(bench.config, bench.task, model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    norms: dict[str, list[float]] = {name: [] for name in start}
    totals: list[float] = []
    losses: list[float] = []

    def observe() -> None:
        grads = {n: float(p.grad.norm()) if p.grad is not None else 0.0 for n, p in model.named_parameters()}
        totals.append(math.sqrt(sum(g * g for g in grads.values())))
        for name, value in grads.items():
            norms[name].append(value)

    moved: list[float] = []
    scale = _vector(model).norm().clamp(min=1e-12)  # of the start: weights that explode would hide their own steps
    for batch in _stream(bench, steps):
        before = _vector(model)
        losses.append(float(step(model, [batch], bench.loss, optimiser, bench.config, observe)) / len(batch.y))
        moved.append(float((_vector(model) - before).norm() / scale))
    late = {name: values[min(10, len(values) // 2) :] for name, values in norms.items()}
    still = [name for name, p in model.named_parameters() if bool((p.detach() == start[name]).all())]
    return [
        _never_updated(bench, model, late, still),
        _sizes(bench, totals, losses, {n: v for n, v in late.items() if start[n].ndim > 1}),
        _movement(bench, moved, losses),
        _dead_units(bench, model),
    ]


def _stream(bench: Bench, steps: int) -> list[Batch]:
    batches: list[Batch] = []
    epoch = 0
    while len(batches) < steps:
        todo = plan(bench.train, bench.config.batch_size, bench.config.seed, epoch)[: steps - len(batches)]
        batches += [batch.to(bench.device) for batch in bench.train.batches(todo, epoch, augment=True)]
        epoch += 1
    return batches


def _vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def _never_updated(bench: Bench, model: nn.Module, late: dict[str, list[float]], still: list[str]) -> Finding:
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    undeclared = sorted(name for name in frozen if not bench.task.frozen(bench.config, name))
    no_gradient = sorted(n for n, values in late.items() if n not in frozen and max(values, default=0.0) == 0.0)
    no_step = sorted(n for n in still if n not in frozen and n not in no_gradient)
    bad = undeclared + no_gradient + no_step
    saw = f"{len(late) - len(frozen)} tensors train, {len(frozen)} are frozen on purpose"
    if bad:
        saw = "; ".join(
            f"{words}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
            for words, names in (
                ("frozen, though no knob says so", undeclared),
                ("no gradient ever", no_gradient),
                ("gradients, but never moved", no_step),
            )
            if names
        )
    return Finding(
        "every layer learns",
        verdict(bool(bad)),
        saw,
        "every parameter that is not frozen on purpose gets a gradient and moves",
        (
            (Cause("optimiser", "the optimiser was built before a layer was replaced, or skips parameters"),)
            if no_step and not no_gradient
            else ()
        )
        + (
            Cause("model", "a layer is detached, frozen by mistake, initialised to zero, dead, or not used in forward"),
            Cause("optimiser", "the optimiser does not hold these parameters"),
            Cause("loss", "the loss does not depend on what these layers compute"),
        ),
        f"look at {bad[0].rsplit('.', 1)[0]} in model.py" if bad else "",
        evidence={"bad": bad},
    )


def _sizes(bench: Bench, totals: list[float], losses: list[float], late: dict[str, list[float]]) -> Finding:
    """Vanishing is only told while the loss is still high; exploding is a norm over 10 with the loss not falling.

    `late` holds weights, not biases: a pair loss ignores a shift, and BatchNorm the bias before it, so those get none.
    """
    middle = float(torch.tensor(totals).median())
    expected = expected_initial_loss(bench.config, bench.prep) or losses[0]
    high = sum(losses[-5:]) / 5 > 0.5 * expected
    weights = {n: float(torch.tensor(v).median()) for n, v in late.items() if v and max(v) > 0}
    low = [n for n, v in weights.items() if v < 1e-7 * max(weights.values())] if high else []
    risen = sum(losses[-5:]) / 5 > sum(losses[:5]) / 5
    explodes = middle > 10 and risen
    clipped = sum(t > bench.config.clip for t in totals) / len(totals) if bench.config.clip else 0.0
    crushed = bool(bench.config.clip) and middle > 100 * bench.config.clip
    bad = bool(low) or explodes
    causes = (
        (Cause("optimiser", f"clip = {bench.config.clip:g} cuts a typical gradient of {middle:.2g} by over 100 times"),)
        if crushed
        else ()
    ) + (
        (
            Cause("model", "the initialisation is too large or too small, or normalisation is missing in a deep stack"),
            Cause("optimiser", f"the learning rate is too high for this network: try lr={bench.config.lr / 10:g}"),
            Cause("preprocessing", "inputs are not scaled"),
        )
        if bad
        else (Cause("loss", "the loss is summed instead of averaged, so that gradients grow with the batch"),)
        if crushed
        else ()
    )
    saw = f"median gradient norm {middle:.3g}, clipped on {clipped:.0%} of steps"
    return Finding(
        "gradient size",
        verdict(bad, crushed),
        saw + (f"; next to nothing reaches {', '.join(low[:3])}" if low else ""),
        "norms not over 10 with a rising loss, no layer below 1e-7 of the largest while the loss is high, clipping under 100 times",
        causes,
        "recipe lr-range" if causes else "",
        evidence={"norms": totals, "losses": losses},
    )


def _movement(bench: Bench, moved: list[float], losses: list[float]) -> Finding:
    """The weights together should move by about 1e-3 of their norm a step; far off means a rate that cannot work."""
    typical = float(torch.tensor(moved[len(moved) // 2 :]).median())
    start, end = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    diverged = end > 2 * start + 1 or not math.isfinite(end)
    small, large = typical < 1e-6, typical > 0.3 or diverged
    rate = bench.config.lr
    causes: tuple[Cause, ...] = ()
    if small:
        causes = (
            Cause("optimiser", f"lr = {rate:g} is too small, or clipping leaves nothing"),
            Cause("schedule", "warm-up never ends"),
            Cause("model", "almost all weights are frozen"),
        )
    elif large:
        causes = (
            Cause("optimiser", f"lr = {rate:g} is too high, decay is too strong, or steps go uphill"),
            Cause("model", "the initialisation is far too small or large"),
            Cause("loss", "the loss has the wrong sign or scale"),
        )
    return Finding(
        "update size",
        verdict(small or large),
        f"weights move {typical:.1e} of their first norm a step; loss {start:.4f} -> {end:.4f} in {len(losses)} steps",
        "between 1e-6 and 0.3 a step (1e-3 is typical), and a loss that does not double",
        causes,
        "recipe lr-range" if causes else "",
        evidence={"moved": moved, "losses": losses},
    )


def _dead_units(bench: Bench, model: nn.Module) -> Finding:
    """Share of units behind each ReLU that are zero for every one of several hundred examples after 60 steps."""
    dead: dict[str, float] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):

            def hook(_m: nn.Module, _i: Any, out: Tensor, name: str = name) -> None:
                alive = (out.detach() > 0).flatten(2).any(2).any(0) if out.ndim > 2 else (out.detach() > 0).any(0)
                dead[name] = min(dead.get(name, 1.0), 1.0 - float(alive.float().mean()))

            hooks.append(module.register_forward_hook(hook))
    if not hooks:
        return Finding(
            "dead units", "NOT APPLICABLE", "the network has no ReLU module", "fewer than half of a layer's units dead"
        )
    with torch.no_grad():
        model.eval()(bench.batch(bench.rows(4 * bench.config.batch_size)).x)
    for handle in hooks:
        handle.remove()
    worst = max(dead, key=lambda name: dead[name])
    bad = dead[worst] > 0.5
    return Finding(
        "dead units",
        verdict(dead[worst] > 0.9, bad),
        f"{dead[worst]:.0%} of the units of {worst} are zero for every example",
        "fewer than half of a layer's units dead after 60 steps",
        (
            Cause("model", "a bias far below zero or a poor initialisation; try another activation"),
            Cause("optimiser", "one huge step killed them: lower lr, or warm up"),
            Cause("preprocessing", "inputs are not scaled or not centred"),
        ),
        f"recipe check lr={bench.config.lr / 10:g}",
        evidence={"dead": dead},
    )


def input_matters(bench: Bench, steps: int = 150) -> Finding:
    """After a short training, inputs taken from other examples must be worse than the right ones.

    Judged on a training subset that was seen, so that the answer is about wiring and not about generalisation. The
    rate is tried as configured, then ten times higher.
    """
    part = Rows(bench.train, bench.rows(max(8 * bench.config.batch_size, 256)))
    for factor in (1, 10):
        config = bench.config.model_copy(update={"lr": bench.config.lr * factor})
        model = _train_briefly(bench, config, part, steps)
        ignored, mean, error, blank = _swap_inputs(bench, model, part)
        if not ignored and mean > 2 * error:
            break
    unsure = not mean > 2 * error
    return Finding(
        "input matters",
        verdict(ignored, unsure),
        f"another example's input raises the loss by {mean:.4f} +/- {error:.4f}; a blank one moves the output by {blank:.2g}",
        f"a rise of more than two standard errors after {steps} steps on examples the network has seen",
        (
            Cause(
                "model", "the input does not reach the output: a broken forward, a dead layer, an overwritten tensor"
            ),
            Cause("preprocessing", "all inputs are encoded alike: unknown tokens, zero scale, blank images"),
            Cause("data", "the features say nothing about the target"),
            Cause("optimiser", "the network has not learned yet: lr is too low"),
        ),
        "look at batch.json of this run: what the network sees",
        evidence={"difference": mean, "error": error},
    )


def _train_briefly(bench: Bench, config: Any, part: Rows, steps: int) -> nn.Module:
    model = quiet(bench.fresh())
    optimiser = make_optimiser(config, bench.task, model)
    done = 0
    while done < steps:
        for batch in part.batches(plan(part, config.batch_size, 0, done)[: steps - done]):
            step(model, [batch.to(bench.device)], bench.loss, optimiser, config)
            done += 1
    return model.eval()


@torch.no_grad()
def _swap_inputs(bench: Bench, model: nn.Module, part: Rows) -> tuple[bool, float, float, float]:
    """(outputs ignore the input, mean rise of the loss with swapped inputs, its standard error, shift with blank ones)."""
    batch = bench.batch(part.rows[: max(4 * bench.config.batch_size, 128)])
    shift = torch.randperm(len(batch.y), generator=generator(bench.config.seed))
    right = model(batch.x).float()
    wrong = model(map_inputs(batch.x, lambda t: t[shift.to(t.device)])).float()
    blank = wrong if _has_mask(batch) else model(map_inputs(batch.x, torch.zeros_like)).float()
    difference = bench.loss(wrong, batch) - bench.loss(right, batch)
    ignored = torch.equal(right, wrong) or bool((right - right[:1]).abs().max() < 1e-6)
    error = float(difference.std() / max(len(difference), 2) ** 0.5)
    return ignored, float(difference.mean()), error, float((blank - right).abs().mean())


def _has_mask(batch: Batch) -> bool:
    return isinstance(batch.x, dict) and any("mask" in name for name in batch.x)


def no_mixing(bench: Bench) -> Finding:
    """In evaluation mode, what a network says of one example must not depend on the others in the batch.

    Each example alone, and with other neighbours, against the whole batch. Also covers padding: a text alone is
    padded less than in a batch.
    """
    model = bench.fresh()
    for batch in _stream(bench, 2):  # BatchNorm gets real running statistics
        model(batch.x)
    model.eval()
    rows = bench.rows(16, seed=1)
    with torch.no_grad():
        together = model(bench.batch(rows).x).float()
        turned = model(bench.batch(rows.flip(0)).x).float().flip(0)
        alone = torch.cat([model(bench.batch(rows[i : i + 1]).x).float() for i in range(min(4, len(rows)))])
    scale = float(together.abs().max().clamp(min=1e-3))
    apart = max(float((together - turned).abs().max()), float((together[: len(alone)] - alone).abs().max())) / scale
    bad = apart > (1e-2 if bench.config.precision == "bf16" else 1e-3)
    return Finding(
        "no mixing",
        verdict(bad),
        f"outputs differ by up to {apart:.1e} of their size when the neighbours change",
        "under 1e-3 in evaluation mode (rounding and padding only)",
        (
            Cause("model", "an operation runs over the batch axis (softmax, mean, attention or reshape over dim 0)"),
            Cause("loop", "evaluation runs in training mode, so BatchNorm uses the batch"),
            Cause("preprocessing", "padding is not masked"),
        ),
        "look for dim=0 and reshape in model.py",
        evidence={"difference": apart},
    )


def train_against_eval(bench: Bench, steps: int = 60) -> Finding:
    """The same batch in training and in evaluation mode (dropout off) after a short training: nearly the same loss."""
    model = quiet(bench.fresh())
    optimiser = make_optimiser(bench.config, bench.task, model)
    stream = _stream(bench, steps)
    for batch in stream:
        step(model, [batch], bench.loss, optimiser, bench.config)
    batch = bench.batch(bench.rows(max(bench.config.batch_size, 32), seed=2))
    with torch.no_grad():
        train = float(bench.loss(model(batch.x).float(), batch).mean())
        evaluated = float(bench.loss(model.eval()(batch.x).float(), batch).mean())
    expected = expected_initial_loss(bench.config, bench.prep) or 1.0
    bad = evaluated > 2 * train + 0.5 * expected
    return Finding(
        "train against eval",
        verdict(False, bad),
        f"loss {train:.4f} in training mode, {evaluated:.4f} in evaluation mode, same batch",
        "evaluation no more than twice the training loss plus half the initial loss",
        (
            Cause("model", "BatchNorm statistics are poor: batches too small, or momentum too low"),
            Cause("loop", "evaluation uses other inputs or weights than training"),
            Cause("preprocessing", "inputs are scaled differently in evaluation"),
        ),
        "recipe check norm=layer (tabular) or norm=group (image)",
        evidence={"train": train, "eval": evaluated, "batch_norm": has_batch_norm(model.train())},
    )
