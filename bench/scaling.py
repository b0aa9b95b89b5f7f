"""How loading, audit, split and encoding grow with the examples: seconds over 1e4, 1e5, 1e6, and the exponent; start-up.

python bench/scaling.py [EXAMPLES ...]  writes its parts of docs/benchmarks.md (about 30 minutes on one core, 5 GB of disk)
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
from memory import megabytes

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "demo"), str(ROOT / "tests")]
STEPS = ("load", "audit", "split", "encode")
BATCHES = 1500  # that are drawn in training order, to see whether they come as fast from many examples
TIMES = 7  # of a start-up


def write_rows(path: Path, n: int) -> None:
    """Eight numbers, two columns of words, a tenth of one column missing, and a label that some of them explain."""
    import polars as pl

    random = np.random.default_rng(0)
    x = random.normal(size=(n, 8)).round(5)
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(8)})
    words = {f"word{i}": [f"w{v}" for v in random.integers(0, k, n)] for i, k in enumerate((12, 400))}
    label = np.where(x[:, 0] + x[:, 1] + random.normal(size=n) > 0, "yes", "no")
    gaps = pl.Series(random.random(n) < 0.1)
    frame = frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col("x7")).alias("x7"))
    frame.with_columns(**{k: pl.Series(v) for k, v in words.items()}, target=pl.Series(label)).write_csv(path)


def write_texts(path: Path, n: int) -> None:
    """Pairs of real docstrings, each pair once; the library of the first is the label."""
    import data
    import polars as pl

    data.docstrings(path)
    real = pl.read_csv(path)
    pairs = np.random.default_rng(0).permutation(len(real) ** 2)[:n]
    first, second = real[pairs // len(real)], real[pairs % len(real)]
    first.select(pl.col("text") + " " + second["text"], target="library").write_csv(path)


def write_images(path: Path, n: int) -> None:
    """Hand-written digits of 8 x 8 gray pixels with noise of a tenth, a PNG file each, and the list of them."""
    import polars as pl
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch, random = load_digits(), np.random.default_rng(0)
    chosen = random.integers(0, len(bunch.target), n)
    names = [f"{i // 1000:04d}/{i % 1000:03d}.png" for i in range(n)]
    for i, (name, row) in enumerate(zip(names, chosen, strict=True)):
        if i % 1000 == 0:
            (path.parent / name).parent.mkdir()
        noisy = bunch.images[row] * 16 + random.normal(0, 25, (8, 8))
        Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(path.parent / name)
    pl.DataFrame({"path": names, "target": bunch.target[chosen]}).write_csv(path)


KINDS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "tabular": (write_rows, {"task": "binary"}, "Tables of ten features, two of words, from CSV"),
    "text": (
        write_texts,
        {"task": "multiclass", "max_length": 64},
        "Texts: pairs of docstrings from CSV, at most 64 tokens",
    ),
    "image": (
        write_images,
        {"task": "multiclass", "weights": "none", "size": 32, "image": "path"},
        "Images: 8 x 8 PNG files, enlarged to 32 x 32",
    ),
}


def one(kind: str, n: int, folder: Path) -> dict[str, float]:
    """Processor seconds of each step on n examples, in this process; and its peak memory."""
    import torch
    from my_model.engine.loop import plan
    from my_model.engine.splits import parts
    from recipe_kit.project import Project
    from recipe_kit.steps import audit, split

    recipe = importlib.import_module(f"my_model.{kind}.recipe")
    _, settings, _ = KINDS[kind]
    if kind == "text":
        import data

        settings = {**settings, "encoder": str(data.minilm())}
    torch.set_num_threads(1)
    shared = {"data": "train.csv", "iid": "drawn independently", "tracker": "none", "device": "cpu", "batch_size": 64}
    config = recipe.Config(modality=kind, **shared, **settings)
    (folder / "recipe.toml").write_text("")
    project = Project(folder, config, recipe.TASK, quiet=True)
    spent, words = {}, argparse.Namespace(review="")

    def timed(name: str, work: Callable[[], Any]) -> Any:
        before = time.process_time()
        made = work()
        spent[name] = time.process_time() - before
        return made

    timed("load", lambda: project.data)
    timed("audit", lambda: audit.run(project, project.begin("audit"), words))
    timed("split", lambda: split.run(project, project.begin("split"), words))
    train = parts(project)["train"]
    examples = timed("encode", lambda: recipe.TASK.examples(config, recipe.TASK.prepare(config, train), train))
    todo = plan(examples, config.batch_size, 0)[:BATCHES]
    first, others = todo[: len(todo) // 10], todo[len(todo) // 10 :]

    def draw(batches: list[Any]) -> int:
        return sum(len(batch.y) for batch in examples.batches(batches, 0, augment=True))

    draw(first)  # pays for imports, and for what is kept from batch to batch
    before = megabytes("VmRSS")
    drawn = timed("batches", lambda: draw(others))
    grown = megabytes("VmRSS") - before
    return {**spent, "rate": drawn / spent.pop("batches"), "grown": grown, "memory": megabytes("VmHWM")}


def growth(kind: str, sizes: list[int]) -> list[str]:
    """One process a size; the exponent is that of the last tenfold."""
    found = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            from conftest import link

            link(Path(name))
            environment = {**os.environ, "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
            for what in ("--write", "--one"):  # apart: the memory is to be that of the project alone
                words = [sys.executable, __file__, what, kind, str(n), name]
                done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
            found[n] = json.loads(done.stdout.removesuffix("\n").split("\n")[-1])
            print(kind, n, found[n], flush=True)
    lines = [
        f"| {KINDS[kind][2]} | {' | '.join(f'{n:,}' for n in sizes)} | exponent of the last tenfold |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for step in STEPS:
        seconds = [found[n][step] for n in sizes]
        exponent = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
        lines.append(f"| {step} | {' | '.join(f'{s:.2f} s' for s in seconds)} | {exponent:.2f} |")
    rates = " | ".join(f"{found[n]['rate']:,.0f}" for n in sizes)
    memory = " | ".join(f"{found[n]['memory']:,.0f} MB" for n in sizes)
    grown = " | ".join(f"{found[n]['grown']:+,.0f} MB" for n in sizes)
    return [
        *lines,
        f"| examples a second in training order | {rates} | |",
        f"| memory, from the first tenth of these batches to the last | {grown} | |",
        f"| peak memory | {memory} | |",
        "",
    ]


def start_up() -> list[str]:
    """Clock and processor time of `recipe --help` and of a bake, the first one apart."""
    from conftest import bake

    with tempfile.TemporaryDirectory() as name:
        project = bake(Path(name) / "first")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])}
        words = [sys.executable, "-m", "recipe_kit", "--help"]
        found: dict[str, list[tuple[float, float]]] = {
            "`recipe --help` (wanted: 0.1 s)": [],
            "a bake (wanted: 1 s)": [],
        }
        for i in range(TIMES + 1):
            works = (
                lambda: subprocess.run(words, env=environment, cwd=project, capture_output=True, check=True),
                lambda i=i: bake(Path(name) / f"bake{i}"),
            )
            for work, times in zip(works, found.values(), strict=True):
                before, spent = time.perf_counter(), sum(os.times()[:4])
                work()
                times.append((time.perf_counter() - before, sum(os.times()[:4]) - spent))
    lines = ["| what | processor time, median | lowest to highest | the clock, median |", "|---|---|---|---|"]
    for what, times in found.items():
        clock, spent = zip(*times[1:], strict=True)
        lines.append(
            f"| {what} | {statistics.median(spent):.2f} s | {min(spent):.2f} to {max(spent):.2f} s | {statistics.median(clock):.2f} s |"
        )
    return lines


def main(sizes: list[int]) -> None:
    """Both parts."""
    from page import replace_part

    replace_part(
        "Start-up",
        "python bench/scaling.py",
        [f"n = {TIMES}, after a first one that fills the caches.", "", *start_up()],
    )
    said = [
        "One thread, processor time, one process a size, n = 1. `encode` fits the preprocessing on the training part and makes its",
        f"tensors; then {BATCHES} batches of 64 are drawn in random order (all, where there are fewer). An exponent of 1 is linear; under 1, fixed costs or samples.",
        "Pictures of which a part is over 2 GB are decoded batch by batch: encoding them is then nothing, and drawing a batch is all of it.",
        "",
    ]
    replace_part("Growth", "python bench/scaling.py", [*said, *(line for kind in KINDS for line in growth(kind, sizes))])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        KINDS[sys.argv[2]][0](Path(sys.argv[4]) / "train.csv", int(sys.argv[3]))
    elif sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main([int(float(n)) for n in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
