"""How audit, split, loading and encoding grow with the rows: seconds over 1e4, 1e5, 1e6 rows, and the exponent; start-up.

python bench/growth.py [ROWS ...]      writes its parts of docs/benchmarks.md (about 5 minutes on one core)
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package}}"
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests")]
STEPS = ("load", "audit", "split", "encode")
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


def one(n: int, folder: Path) -> dict[str, float]:
    """Processor seconds of each step on n rows, in this process; and its peak memory."""
    import torch
    from code_of_template.engine.parts import parts
    from code_of_template.engine.project import Project
    from code_of_template.steps import audit, split
    from code_of_template.tabular.recipe import TASK, Config

    torch.set_num_threads(1)
    write_rows(folder / "train.csv", n)
    config = Config(data="train.csv", task="binary", iid="drawn independently", tracker="none", device="cpu")
    (folder / "recipe.toml").write_text("")
    project = Project(folder, config, TASK, quiet=True)
    spent, words = {}, argparse.Namespace(review="")

    def timed(name: str, work: object) -> object:
        before = time.process_time()
        made = work()  # type: ignore[operator]
        spent[name] = time.process_time() - before
        return made

    timed("load", lambda: project.data)
    timed("audit", lambda: audit.run(project, project.begin("audit"), words))
    timed("split", lambda: split.run(project, project.begin("split"), words))
    train = parts(project)["train"]
    timed("encode", lambda: TASK.examples(config, TASK.prepare(config, train), train))
    return {**spent, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def growth(sizes: list[int]) -> list[str]:
    """One process a size; the exponent is that of the last tenfold."""
    import json

    found = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "code_of_template").symlink_to(PACKAGE)
            environment = {**os.environ, "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
            words = [sys.executable, __file__, "--one", str(n), name]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            found[n] = json.loads(done.stdout.splitlines()[-1])
            print(n, found[n], flush=True)
    lines = [
        f"| step | {' | '.join(f'{n:,} rows' for n in sizes)} | exponent of the last tenfold |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for step in STEPS:
        seconds = [found[n][step] for n in sizes]
        exponent = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
        lines.append(f"| {step} | {' | '.join(f'{s:.2f} s' for s in seconds)} | {exponent:.2f} |")
    memory = " | ".join(f"{found[n]['memory']:,.0f} MB" for n in sizes)
    return [*lines, f"| peak memory | {memory} | |"]


def start_up() -> list[str]:
    """Clock and processor time of `recipe --help` and of a bake, the first one apart."""
    from conftest import bake

    with tempfile.TemporaryDirectory() as name:
        project = bake(Path(name) / "first")
        environment = {**os.environ, "PYTHONPATH": str(project / "src")}
        words = [sys.executable, "-m", "my_model", "--help"]
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
        "python bench/growth.py",
        [f"n = {TIMES}, after a first one that fills the caches.", "", *start_up()],
    )
    said = [
        "Tables of ten features (two of words) from CSV; one thread, processor time, one process a size, n = 1. `encode` fits the",
        "preprocessing on the training part and makes its tensors. An exponent of 1 is linear; under 1, fixed costs or samples.",
        "",
    ]
    replace_part("Growth", "python bench/growth.py", [*said, *growth(sizes)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        import json

        print(json.dumps(one(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main([int(float(n)) for n in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
