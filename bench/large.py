"""A Parquet file larger than memory through the whole recipe: peak memory and seconds of every command.

python bench/large.py [FOLDER]    a 5 GB file in FOLDER (default: a temporary one; 12 GB free), about half an hour on two
                                  cores; writes the last section of docs/large.md. The file is left in a FOLDER that is
                                  named, and used again.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

ROWS = 16_500_000
ROW_GROUP = 250_000
NUMBERS = 40
WORDS = {"shop": 6, "kind": 15, "town": 400, "item": 3_000}
GAPS = (5, 12, 24, 33)  # numbers of which 6 % are missing
SETTINGS = {
    "modality": "tabular",
    "task": "binary",
    "data": "data/train.parquet",
    "target": "target",
    "iid": "drawn independently",
    "tracker": "none",
    "device": "cpu",
    "sample_rows": 200_000,
    "batch_size": 4096,
    "lr": 0.003,
    "epochs": 1,
}
COMMANDS = ("audit", "split", "baseline", "train", "train again", "check", "lr-find", "evaluate")
LIMIT = 4 * 1024**3  # bytes that each command may hold of its own (RLIMIT_DATA): beyond, it dies


def rows(number: int, n: int) -> pl.DataFrame:
    """Piece `number` of the file: signal in eight numbers and two of the categories, one of them only as a product."""
    random = np.random.default_rng([7, number])
    x = random.normal(size=(n, NUMBERS))
    x[:, 20:30] = np.exp(x[:, 20:30])
    words = {name: random.integers(0, k, n) for name, k in WORDS.items()}
    signal = x[:, 0] - 0.8 * x[:, 1] + x[:, 2] * x[:, 3] + 0.5 * np.sin(3 * x[:, 4]) + 0.4 * np.log(x[:, 20])
    signal += 0.6 * (words["shop"] % 3 - 1) + 0.8 * np.sin(words["town"])
    for i in GAPS:
        x[random.random(n) < 0.06, i] = np.nan
    frame = pl.DataFrame({f"x{i:02}": x[:, i] for i in range(NUMBERS)}).fill_nan(None)
    texts = [pl.Series(name, codes).cast(pl.String).str.zfill(4) for name, codes in words.items()]
    target = (signal + random.logistic(size=n) > 1.5).astype(np.int64)
    return frame.with_columns(*texts, pl.Series("target", target))


def write_rows(path: Path, n: int) -> None:
    """n rows as Parquet, a row group at a time; the same ones for the same n."""

    def source(columns: list[str] | None, predicate: Any, most: int | None, size: int | None) -> Any:
        for number, start in enumerate(range(0, n, ROW_GROUP)):
            piece = rows(number, min(ROW_GROUP, n - start))
            yield piece if columns is None else piece.select(columns)

    register_io_source(source, schema=rows(0, 2).schema).sink_parquet(path, row_group_size=ROW_GROUP)


def measured(project: Path, *words: str) -> dict[str, Any]:
    """Run one command as its own process under LIMIT. Peaks in MB: as the system counts (with pages of files), and of
    memory of its own, looked at five times a second."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")]), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
    before = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "recipe_kit", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
    )
    own: list[int] = [0]
    watch = threading.Thread(target=_watch, args=(child.pid, own))
    watch.start()
    said = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    watch.join()
    print(said[-3000:], flush=True)
    spent = {"seconds": time.monotonic() - before, "processor": usage.ru_utime + usage.ru_stime}
    return {"status": child.returncode, "peak": usage.ru_maxrss / 1024, "own": max(own) / 1024, **spent}


def _watch(pid: int, own: list[int]) -> None:
    path = Path(f"/proc/{pid}/status")
    while True:
        try:
            fields = dict(line.split(":", 1) for line in path.read_text().removesuffix("\n").split("\n") if ":" in line)
            own.append(int(fields["RssAnon"].split()[0]))
        except (OSError, KeyError, ValueError):  # it has ended
            return
        time.sleep(0.2)


def through(folder: Path, data: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every command on this file, in a fresh project in `folder`."""
    from conftest import bake

    project = bake(folder)
    (project / "data" / "train.parquet").symlink_to(data.resolve())
    lines = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
    (project / "recipe.toml").write_text("\n".join(lines) + "\n")
    found = []
    for command in COMMANDS:
        why = [] if command == "audit" else ["--force", "measured whatever the steps before it say"]
        found.append((command, measured(project, command.split()[0], *why)))
        print(command, found[-1][1], flush=True)
    return found


def table(found: list[tuple[str, dict[str, Any]]], n: int, size: int) -> list[str]:
    """The last section of docs/large.md."""
    lines = [
        f"Made by `python bench/large.py`: {n:,} rows, {NUMBERS} numbers and {len(WORDS)} columns of texts,"
        f" {size / 1e9:.1f} GB of Parquet; `sample_rows = {SETTINGS['sample_rows']:_}`,",
        f"`batch_size = {SETTINGS['batch_size']}`, one epoch; every command a process of its own that may hold 4 GiB (RLIMIT_DATA) and"
        " would die beyond.",
        "Two shared cores, one thread for torch; n = 1. *Peak* is what the system counts (ru_maxrss), pages of mapped files"
        " included;",
        "*own* is without these. The first `train` encodes the rows, the second finds them encoded.",
        "",
        "| command | peak, MB | own, MB | seconds | processor seconds | rows of the file a second |",
        "|---|---|---|---|---|---|",
    ]
    for command, spent in found:
        ended = f", exit {spent['status']}" if spent["status"] else ""
        lines.append(
            f"| {command}{ended} | {spent['peak']:,.0f} | {spent['own']:,.0f} | {spent['seconds']:,.0f} | {spent['processor']:,.0f}"
            f" | {n / spent['seconds']:,.0f} |"
        )
    return lines


def main(folder: Path, n: int = ROWS) -> None:
    """Make the file where it is not there, go through the recipe, write the section."""
    data = folder / "train.parquet"
    if not data.exists():
        write_rows(data, n)
    n = pl.scan_parquet(data).select(pl.len()).collect().item()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        lines = table(through(Path(name), data), n, data.stat().st_size)
    page = ROOT / "docs" / "large.md"
    head = page.read_text().partition("\n## Measured\n")[0]
    page.write_text("\n".join([head, "## Measured", "", *lines]) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
