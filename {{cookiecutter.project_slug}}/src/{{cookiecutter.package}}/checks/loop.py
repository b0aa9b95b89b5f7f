"""Checks on the loop itself, by running it for two short epochs: order, rate, modes, repeatability, resuming."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.loop import Progress, fit, losses_of, plan, predict
from ..engine.optim import rate_factor
from ..engine.project import Project, Run
from ..engine.seed import generator
from ..task import Examples
from .bench import Bench, Rows
from .finding import Cause, Finding, verdict

BATCHES = 4  # per epoch of the short runs


def order(bench: Bench) -> Finding:
    """Batches of an epoch: every example once, another order each epoch, and not sorted by label.

    Sortedness is judged by the entropy of labels inside a batch against its expectation under shuffling.
    """
    first, second = (plan(bench.train, bench.config.batch_size, bench.config.seed, epoch) for epoch in (0, 1))
    once = torch.equal(torch.cat(first).sort().values, torch.arange(len(bench.train)))
    same = torch.equal(torch.cat(first), torch.cat(second)) and len(bench.train) > 8
    entropy, expected, spread = _label_entropy(bench, first)
    sorted_labels = entropy < expected - 6 * spread and entropy < 0.8 * expected
    bad = not once or same or sorted_labels
    saw = f"{sum(map(len, first))} of {len(bench.train)} examples in {len(first)} batches; label entropy in a batch {entropy:.3f}, shuffled {expected:.3f}"
    return Finding(
        "order of examples",
        verdict(bad),
        saw + ("; the order is the same in every epoch" if same else ""),
        "each example once an epoch, a new order each epoch, labels as mixed as by chance",
        (
            Cause(
                "loop",
                "the data is not shuffled, or with the same seed each epoch"
                if once
                else "some examples are skipped or repeated in an epoch",
            ),
            Cause("data", "rows are sorted by label"),
        ),
        "read plan in engine/loop.py",
        evidence={"entropy": entropy, "expected": expected},
    )


def _label_entropy(bench: Bench, batches: list[Tensor]) -> tuple[float, float, float]:
    """Mean label entropy over the batches, and its mean and standard deviation over ten shuffles of the same sizes."""
    y = bench.train.y.cpu()
    labels = y if bench.prep["classes"] and y.ndim == 1 else (y.float() > y.float().median()).long()
    labels = labels.long()
    k = int(labels.max()) + 1

    def mean_entropy(order: Tensor) -> float:
        total = 0.0
        parts = order.split([len(b) for b in batches])[:50]
        for part in parts:
            share = torch.bincount(labels[part], minlength=k).double() / len(part)
            total -= float((share * share.clamp(min=1e-12).log()).sum()) / len(parts)
        return total

    seen = torch.cat(batches)
    shuffles = [mean_entropy(seen[torch.randperm(len(seen), generator=generator(s))]) for s in range(10)]
    return mean_entropy(seen), float(np.mean(shuffles)), float(np.std(shuffles)) + 1e-9


def schedule(bench: Bench) -> Finding:
    """The planned learning rate over all steps: it reaches its peak, and ends low when it is meant to decay."""
    steps = bench.config.epochs * math.ceil(len(plan(bench.train, bench.config.batch_size)) / bench.config.accumulate)
    rates = [rate_factor(bench.config, s, steps) for s in range(steps)]
    peak, end = max(rates), rates[-1]
    decays = bench.config.schedule in ("cosine", "linear", "one_cycle")
    low_peak, high_end = not 0.9 <= peak <= 1.0 + 1e-9, decays and end > 0.2 and steps > 10
    bad = low_peak or high_end
    return Finding(
        "schedule",
        verdict(bad),
        f"over {steps} steps the rate peaks at {peak:.2f} of lr after {int(np.argmax(rates))} steps and ends at {end:.2f}",
        "a peak of 1" + (", an end near 0" if decays else ""),
        (
            Cause("schedule", "the number of steps or epochs it was planned for is not the number that will be run"),
            Cause("schedule", "warm-up is longer than training"),
        ),
        "read rate_factor in engine/optim.py",
        evidence={"peak": peak, "end": end, "steps": steps},
    )


def decay(bench: Bench) -> Finding:
    """Weight decay inside the range that has been seen to work: 1e-4..1e-2 usual, 0.3 the largest published (ViT)."""
    value = bench.config.weight_decay
    bad = value > 0.3
    return Finding(
        "weight decay",
        verdict(False, bad),
        f"weight_decay = {value:g}",
        "at most 0.3; 1e-4 to 1e-2 is usual (Dosovitskiy et al. 2021 go to 0.3)",
        (
            Cause("optimiser", "decay this strong pulls every weight to zero faster than the loss can hold it"),
            Cause("schedule", "long runs make it worse"),
        ),
        "recipe check weight_decay=0.01",
    )


def patience(bench: Bench) -> Finding:
    """Early stopping that waits long enough to see a curve: patience 3 and more (5-10 is usual), or off."""
    value, epochs = bench.config.patience, bench.config.epochs
    bad = 0 < value < 3 and epochs > value
    return Finding(
        "patience",
        verdict(False, bad),
        f"patience = {value} of at most {epochs} epochs",
        "0 (off) or at least 3; 5-10 is usual",
        (
            Cause("schedule", "a validation loss is noisy: training would stop at the first bump"),
            Cause("loop", "early stopping watches too closely"),
        ),
        "recipe check patience=8",
    )


def short_runs(bench: Bench, project: Project) -> list[Finding]:
    """Run the real `fit` for two epochs on a few batches: twice, and once resumed from the middle; compare everything."""
    config = bench.config.model_copy(update={"epochs": 2, "patience": 0, "tracker": "none", "compile": False})
    small = Bench(config, bench.task, bench.prep, bench.data, _few(bench, bench.train), _few(bench, bench.val))
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run(project, small, Path(folder) / name) for name in ("first", "second")]
        resumed = _resume(project, small, Path(folder) / "first", Path(folder) / "resumed")
        watched = _watch_modes(small, runs[0][0])
    (model, progress), (again, repeated) = runs
    return [
        _same(
            "repeatable",
            (model, progress),
            (again, repeated),
            "two runs with one seed",
            (
                Cause("reproducibility", "something is seeded by time, process or hash order"),
                Cause("preprocessing", "augmentation draws from a generator that is not seeded"),
            ),
        ),
        _same(
            "resume",
            (model, progress),
            resumed,
            "a run resumed at half time and one that was not stopped",
            (
                Cause("reproducibility", "optimiser, generator or position is not saved, or not put back"),
                Cause("loop", "the loop keeps state outside the checkpoint"),
            ),
        ),
        _rates(small, progress),
        _seen(small, progress),
        _replay(small, model, progress),
        watched,
        loader(progress, bench),
    ]


def _few(bench: Bench, examples: Examples) -> Rows:
    """The first rows of a part, enough for BATCHES batches; whole queries for ranking."""
    n = min(len(examples), BATCHES * min(bench.config.batch_size, 64))
    if examples.query is None:
        return Rows(examples, torch.arange(n))
    query = examples.query.cpu()
    return Rows(examples, torch.isin(query, query[:n].unique()).nonzero().squeeze(1))


def _run(project: Project, small: Bench, folder: Path, resume: bool = False) -> tuple[nn.Module, Progress]:
    folder.mkdir(exist_ok=True)
    config = small.config.model_copy(
        update={"batch_size": min(small.config.batch_size, max(len(small.train) // BATCHES, 2))}
    )
    quiet = replace(project, config=config, quiet=True)
    return fit(quiet, Run(quiet, "check", folder), small.prep, small.train, small.val, resume)


def _resume(project: Project, small: Bench, done: Path, folder: Path) -> tuple[nn.Module, Progress]:
    """Resume from the checkpoint at the end of the first of two epochs."""
    shutil.copytree(done, folder)
    saved = sorted((folder / "checkpoints").glob("last-*"))
    shutil.rmtree(saved[-1])
    for best in (folder / "checkpoints").glob("best-*"):
        if best.name.removeprefix("best") > saved[0].name.removeprefix("last"):
            shutil.rmtree(best)
    return _run(project, small, folder, resume=True)


def _same(
    check: str, one: tuple[nn.Module, Progress], other: tuple[nn.Module, Progress], what: str, causes: tuple[Cause, ...]
) -> Finding:
    weights = [(a, b) for a, b in zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True)]
    apart = max((float((a.double() - b.double()).abs().max()) for a, b in weights if a.numel()), default=0.0)
    curves = [[row[key] for p in (one[1], other[1]) for row in p.curves] for key in ("train_loss", "val_loss")]
    lost = max(abs(values[i] - values[i + len(values) // 2]) for values in curves for i in range(len(values) // 2))
    exact = apart == 0.0 and lost == 0.0
    gpu = next(one[0].parameters()).device.type != "cpu"
    return Finding(
        check,
        verdict(not exact and not gpu, not exact),
        f"{what} differ by {apart:.1e} in a weight and {lost:.1e} in a loss",
        "0, to the last bit" + (" (some CUDA kernels cannot; then the last digits differ)" if gpu else ""),
        () if exact else causes,
        "" if exact else "recipe check deterministic=true device=cpu",
        evidence={"weights": apart, "loss": lost},
    )


def _rates(small: Bench, progress: Progress) -> Finding:
    """The rate at the end of each epoch of the short run against the plan."""
    config = small.config
    per_epoch = progress.step // max(progress.epoch, 1)
    planned = [config.lr * rate_factor(config, (e + 1) * per_epoch - 1, progress.step) for e in range(progress.epoch)]
    actual = [row["lr"] for row in progress.curves]
    bad = not np.allclose(planned, actual, rtol=1e-3, atol=1e-3 * config.lr) and config.schedule != "plateau"
    return Finding(
        "rate as planned",
        verdict(bad),
        "rates at the ends of two epochs: " + ", ".join(f"{r:.2e}" for r in actual),
        "as planned: " + ", ".join(f"{r:.2e}" for r in planned),
        (
            Cause("schedule", "the schedule is stepped per epoch though planned per step, or the other way round"),
            Cause("optimiser", "the rate is set in one group only"),
        ),
        "read set_rate and rate_factor in engine/optim.py, and where fit calls them",
        evidence={"planned": planned, "actual": actual},
    )


def _seen(small: Bench, progress: Progress) -> Finding:
    seen = [row["seen"] for row in progress.curves]
    bad = any(count != len(small.train) for count in seen)
    return Finding(
        "examples seen",
        verdict(bad),
        f"{', '.join(map(str, seen))} examples trained on per epoch",
        f"{len(small.train)}, every one once",
        (
            Cause("loop", "the epoch ends early, drops batches, or repeats some"),
            Cause("data", "the loader loses examples"),
        ),
        "read fit in engine/loop.py",
        evidence={"seen": seen},
    )


def _replay(small: Bench, model: nn.Module, progress: Progress) -> Finding:
    """The validation loss of the restored model, recomputed example by example over the whole split."""
    each = losses_of(small.loss, predict(model, small.val, small.config), small.val)
    now, low = float(each.mean(dtype=np.float64)), min(row["val_loss"] for row in progress.curves)
    bad = not math.isclose(now, low, rel_tol=1e-3, abs_tol=1e-5)
    return Finding(
        "evaluation replay",
        verdict(bad),
        f"the kept model has validation loss {now:.5f}, the curve's lowest is {low:.5f}",
        "the same number",
        (
            Cause("evaluation", "a mean of batch means over a ragged last batch, or the wrong mode in evaluation"),
            Cause("loop", "the last weights are kept instead of the best"),
            Cause("preprocessing", "augmentation is on in evaluation"),
        ),
        "read predict and fit in engine/loop.py",
        evidence={"now": now, "curve": low},
    )


def _watch_modes(small: Bench, model: nn.Module) -> Finding:
    """Evaluation runs every module in evaluation mode, leaves the model as it was, and reads the same inputs each time."""
    modes: list[bool] = []
    model.train()
    hook = model.register_forward_pre_hook(lambda module, _: modes.append(any(m.training for m in module.modules())))
    predict(model, small.val, small.config)
    hook.remove()
    batches = [next(iter(small.val.batches(plan(small.val, 8)[:1], epoch))) for epoch in (0, 1)]
    tensors: list[list[Any]] = [list(b.x.values()) if isinstance(b.x, dict) else [b.x] for b in batches]
    stable = all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))
    bad = any(modes) or not model.training or not stable
    saw = (
        "evaluation inputs differ between two readings"
        if not stable
        else "modules in training mode during evaluation"
        if any(modes)
        else (
            "evaluation leaves the model in evaluation mode"
            if not model.training
            else "evaluation mode on, then off again; inputs the same each time"
        )
    )
    return Finding(
        "evaluation mode",
        verdict(bad),
        saw,
        "dropout and augmentation off, BatchNorm fixed, in evaluation and only there",
        (
            Cause("preprocessing", "augmentation is on in evaluation"),
            Cause("data", "reading is random"),
            Cause("evaluation", "evaluation examples are built like training ones"),
        )
        if not stable
        else (
            Cause("loop", "eval() or train() is missing or in the wrong place"),
            Cause("evaluation", "a submodule overrides train()"),
        ),
        "read predict in engine/loop.py",
    )


def loader(progress: Progress, bench: Bench) -> Finding:
    """Share of the second epoch spent waiting for batches: over 20 % means the device is idle that long."""
    row = progress.curves[-1]
    share = row["loader_seconds"] / max(row["seconds"], 1e-9)
    bad = share > 0.2 and row["seconds"] > 0.2
    return Finding(
        "loader",
        verdict(False, bad),
        f"{share:.0%} of an epoch of the short run is waiting for data",
        "under 20 %",
        (
            Cause("loop", f"loading is slower than computing: workers = {bench.config.workers}"),
            Cause("preprocessing", "decoding or augmentation is heavy"),
        ),
        f"recipe check workers={max(2, 2 * bench.config.workers)}",
        evidence={"share": share},
    )


def augmentation(bench: Bench) -> Finding:
    """Training inputs vary with epoch and example when augmentation is on, and are a function of (seed, epoch, index)."""
    rows = bench.rows(8)
    plain, first, again, later = (
        next(iter(bench.train.batches([rows], epoch, augment))).x
        for epoch, augment in ((0, False), (0, True), (0, True), (1, True))
    )
    if _equal(plain, first) and _equal(first, later):
        return Finding(
            "augmentation", "NOT APPLICABLE", "no augmentation is configured", "inputs that vary with epoch and example"
        )
    drifts, frozen = not _equal(first, again), _equal(first, later)
    alike = _alike(bench, rows)
    bad = drifts or frozen or alike
    saw = (
        "the same (epoch, example) gives two different inputs"
        if drifts
        else "every epoch shows the same augmented inputs"
        if frozen
        else "every example gets the same augmentation"
        if alike
        else "inputs vary with epoch and example, and repeat for the same two"
    )
    return Finding(
        "augmentation",
        verdict(bad),
        saw,
        "a function of (seed, epoch, index): different for each, the same when repeated",
        (
            Cause("preprocessing", "augmentation draws from a shared generator, the same in every worker"),
            Cause("reproducibility", "worker seeds are missing"),
        ),
        "read batches in data.py",
    )


def _equal(one: Any, other: Any) -> bool:
    pairs = [(one[k], other[k]) for k in one] if isinstance(one, dict) else [(one, other)]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _alike(bench: Bench, rows: Tensor) -> bool:
    """One example, entered eight times under its own index, cannot tell; eight neighbours that all stay the same could."""
    changed = [
        not _equal(*(next(iter(bench.train.batches([row[None]], 0, augment))).x for augment in (False, True)))
        for row in rows
    ]
    return not any(changed)
