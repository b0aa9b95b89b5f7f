"""Seconds of audit, split and check: a table of 20,000 rows and 60 columns, the same with fewer rows or columns, and images.

python bench/speed.py        writes docs/speed.md (about four minutes on two cores)

Each step is a command of its own, start and imports included, as a user waits for it.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "demo")]

import data  # noqa: E402
from conftest import bake, run  # noqa: E402

ROWS, COLUMNS = 20_000, 60
SIZES = [(ROWS, COLUMNS), (ROWS // 2, COLUMNS), (ROWS // 4, COLUMNS), (ROWS, COLUMNS // 2), (ROWS, COLUMNS // 4)]
STEPS = ("audit", "split", "check")


def table(rows: int, columns: int) -> pl.DataFrame:
    """Numbers, one in ten of them missing here and there, categories of 3 to 300 values, and a target that some of them tell."""
    random = np.random.default_rng(0)
    made: dict[str, np.ndarray | list[float | None]] = {}
    for i in range(columns - 1):
        if i % 4 == 3:
            made[f"kind{i}"] = np.array([f"v{v}" for v in random.integers(0, 3 * 10 ** (i % 3), rows)])
        else:
            values = random.gamma(2.0, 1.0 + i, rows) if i % 2 else random.normal(0, 1 + i, rows)
            made[f"x{i}"] = [
                None if gone else float(v)
                for v, gone in zip(values, random.random(rows) < 0.1 * (i % 10 == 1), strict=True)
            ]
    signal = np.array(made["x0"]) + np.array(made["x2"]) / 3 + random.normal(size=rows)
    return pl.DataFrame({**made, "target": np.where(signal > 0, "yes", "no")})


def seconds(project: Path) -> list[float]:
    """Of each step, by the clock."""
    found = []
    for step in STEPS:
        before = time.perf_counter()
        done = run(project, step, "--quiet")
        found.append(time.perf_counter() - before)
        assert done.returncode == 0, done.stdout + done.stderr
    return found


def configured(project: Path, **settings: str) -> Path:
    """The project with these lines in its recipe.toml."""
    recipe = project / "recipe.toml"
    kept = [line for line in recipe.read_text().split("\n") if line.split("=")[0].strip() not in settings]
    recipe.write_text("\n".join([*kept, *(f'{key} = "{value}"' for key, value in settings.items())]) + "\n")
    return project


def main() -> None:
    """Measure and write the page."""
    lines, common = [], {"iid": "drawn independently", "tracker": "none", "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        for rows, columns in SIZES:
            made = bake(Path(folder) / f"{rows}x{columns}", modality="tabular", task="binary")
            table(rows, columns).write_csv(made / "data" / "train.csv")
            found = seconds(configured(made, data="data/train.csv", target="target", **common))
            lines.append([f"table, {rows:,} x {columns}", *found, sum(found)])
        made = bake(Path(folder) / "images", modality="image", task="multiclass")
        data.digit_images(made / "data" / "images")
        found = seconds(configured(made, data="data/images", weights="none", **common))
        lines.append(["images, 1,797 at the default size", *found, sum(found)])
    cells = [f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |" for name, *values in lines]
    page = [
        "# Seconds of the first steps",
        "",
        f"Made by `python bench/speed.py` ({os.cpu_count()} cores, {platform.machine()}; load of the machine before it:"
        f" {os.getloadavg()[0]:.1f}; OMP_NUM_THREADS: {os.environ.get('OMP_NUM_THREADS', 'not set')}). Each step is a command of its own,"
        " its start and imports included.",
        "",
        f"| what | {' | '.join(STEPS)} | together |",
        "|---|---|---|---|---|",
        *cells,
        "",
    ]
    (ROOT / "docs" / "speed.md").write_text("\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    main()
