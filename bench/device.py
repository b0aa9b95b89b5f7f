"""Examples a second on one device, meant for a GPU: from the loader, from memory, and in a loop written by hand.

python bench/device.py [DEVICE]     writes its part of docs/benchmarks.md (DEVICE: cuda, or cpu with small networks, to see that it runs)

ResNet-50 on JPEG files at 224 pixels and a BERT of the base size at 128 tokens, each in float32 and bfloat16, compiled or
not. Photographs and texts come with installed packages, the weights are random.
"""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]
SHARED = {"task": "multiclass", "iid": "a measurement", "tracker": "none", "lr": 1e-4}
# device -> (settings of the pictures, settings of the texts, steps that are timed, side of the square matrices of the best product)
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "cuda": (
        {"backbone": "resnet50", "size": 224, "batch_size": 128, "workers": min(12, os.cpu_count() or 1)},
        {"max_length": 128, "batch_size": 64},
        30,
        8192,
    ),
    "cpu": (
        {"backbone": "resnet18", "size": 64, "batch_size": 16, "workers": 1},
        {"max_length": 64, "batch_size": 8},
        4,
        1024,
    ),
}
WARM, REPEATS = 4, 3
HEADS = (
    "precision", "compiled", "by hand", "ours, from memory", "ours, from the loader", "of the best product", "peak memory"
)  # fmt: skip


def write_photographs(folder: Path, n: int, side: int = 256) -> None:
    """Crops of scikit-learn's two photographs as JPEG files, a class each: what a decoder has to do is real."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    for name, picture in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(n // 2):
            top, left = (int(random.integers(0, room - side)) for room in picture.shape[:2])
            Image.fromarray(picture[top : top + side, left : left + side]).save(
                folder / name / f"{i:05}.jpg", quality=90
            )


def write_encoder(folder: Path, device: str) -> None:
    """A BERT with MiniLM's tokenizer and random weights: of the base size for a GPU, of MiniLM's for a processor."""
    import data
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(data.minilm())
    small = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_hidden_layers": 6}
    config = BertConfig(vocab_size=len(tokenizer), **({} if device == "cuda" else small))
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_project(kind: str, folder: Path, device: str, **settings: Any) -> tuple[Any, Any]:
    """The project of a kind of data in `folder`, and as many of its examples as are needed. The data is made once."""
    import data
    from recipe_kit.project import Project

    recipe = importlib.import_module(f"my_model.{kind}.recipe")
    pictures, texts, steps, _ = SIZES[device]
    own = pictures if kind == "image" else texts
    n = (steps + WARM + 1) * own["batch_size"]
    if kind == "image":
        importlib.import_module("my_model.image.data").MEMORY = 0  # every picture is read from disk, every time
        own = {**own, "weights": "none", "data": "data/photographs", "target": "label", "augment": ["crop", "flip"]}
        own["label_preserving"] = "China upside down is no flower"
        if not (folder / "data" / "photographs").exists():
            write_photographs(folder / "data" / "photographs", n)
    else:
        own = {**own, "weights": "pretrained", "data": "data/docstrings.csv", "target": "library"}
        own["encoder"] = str(folder / "encoder")
        if not (folder / "encoder").exists():
            data.docstrings(folder / "data" / "docstrings.csv", letters=2000)
            write_encoder(folder / "encoder", device)
    config = recipe.Config(modality=kind, device=device, **SHARED, **own, **settings)
    project = Project(folder, config, recipe.TASK, quiet=True)
    return project, project.data.take(np.random.default_rng(0).permutation(len(project.data))[:n])


def synchronized(device: str) -> float:
    """The clock, when the device has done all it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def rate(step: Callable[[Any], Any], batches: Iterator[Any], size: int, device: str) -> float:
    """Examples a second over all but the first WARM batches, which pay for compiling and starting workers."""
    count, began = 0, 0.0
    for number, batch in enumerate(batches):
        if number == WARM:
            began = synchronized(device)
        step(batch)
        count += number >= WARM
    return count * size / (synchronized(device) - began)


def best_product(device: str, precision: str) -> float:
    """Floating-point operations a second of a product of two large square matrices: what this device reaches, not what
    its maker says."""
    import torch

    n = SIZES[device][3]
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else None) for _ in range(2))
    spent = []
    for _ in range(10):
        began = synchronized(device)
        a @ b
        spent.append(synchronized(device) - began)
    return 2 * n**3 / min(spent)


def measured(kind: str, folder: Path, device: str, precision: str, compiled: bool) -> dict[str, Any]:
    """Examples a second in the three ways, REPEATS times each; operations of an example; peak memory in MB."""
    import torch
    from my_model.engine.distributed import SINGLE
    from my_model.engine.loop import autocast, plan, step, take
    from my_model.engine.losses import make_loss
    from my_model.engine.optim import make_optimizer
    from my_model.engine.seed import seed_everything
    from torch.utils.flop_counter import FlopCounterMode

    project, data = make_project(kind, folder, device, precision=precision)
    config, task = project.config, project.task
    prep = task.prepare(config, data)
    examples = task.examples(config, prep, data)
    seed_everything(0, False)
    model = task.model(config, prep).to(device).train()
    loss, optimizer = make_loss(config, prep), make_optimizer(config, task, model)
    forward = torch.compile(model) if compiled else model
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    todo = [rows for rows in plan(examples, config.batch_size, 0) if len(rows) == config.batch_size]

    def loaded(epoch: int) -> Iterator[Any]:
        batches = SINGLE.shares(examples, todo, epoch, augment=True)
        while group := take(batches, 1):
            yield group.batches

    memory = [[batch.to(torch.device(device))] for (batch,) in loaded(0)]

    def by_hand(batches: Any) -> None:
        batch = batches[0]
        optimizer.zero_grad()
        with autocast(config, torch.device(device)):
            output = forward(batch.x)
        loss(output.float(), batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()

    def ours(batches: Any) -> None:
        step(forward, batches, loss, optimizer, config)

    found: dict[str, Any] = {name: [] for name in HEADS[2:5]}
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for repeat in range(REPEATS):
        for name, way, batches in zip(
            HEADS[2:5], (by_hand, ours, ours), (memory, memory, loaded(repeat + 1)), strict=True
        ):
            found[name].append(rate(way, iter(batches), config.batch_size, device))
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0.0
    forward = model
    with FlopCounterMode(display=False) as counter:
        for batches in memory:
            by_hand(batches)
    operations = counter.get_total_flops() / (len(memory) * config.batch_size)
    return {**found, "operations": operations, "peak": peak}


def table(folder: Path, kind: str, device: str) -> list[str]:
    """One row a setting: medians of the repeats, and their range."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    for precision in ("fp32", "bf16"):
        best = best_product(device, precision)
        for compiled in (False, True):
            found = measured(kind, folder, device, precision, compiled)
            rates = [
                f"{statistics.median(v):,.0f} ({min(v):,.0f} to {max(v):,.0f})" for v in (found[h] for h in HEADS[2:5])
            ]
            share = statistics.median(found[HEADS[3]]) * found["operations"] / best
            peak = f"{found['peak']:,.0f} MB" if found["peak"] else ""
            lines.append(
                f"| {precision} | {'yes' if compiled else 'no'} | {' | '.join(rates)} | {share:.0%} | {peak} |"
            )
            print(lines[-1], flush=True)
    return lines


def main(device: str) -> None:
    """Both kinds of data, then the page."""
    import torch
    from page import replace_part

    name = torch.cuda.get_device_name() if device == "cuda" else "a processor: small networks, to see that it runs"
    lines = [f"On {name}, torch {torch.__version__}: examples a second, median of {REPEATS} and their range."]
    with tempfile.TemporaryDirectory() as made:
        from conftest import link

        link(Path(made))
        (Path(made) / "data").mkdir()
        sys.path.insert(0, made)
        for kind, own in zip(("image", "text"), SIZES[device], strict=False):
            lines += ["", f"{kind}: {', '.join(f'{k} {v}' for k, v in own.items())}", ""]
            lines += table(Path(made), kind, device)
    replace_part("One device", "python bench/device.py", lines)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "cuda")
