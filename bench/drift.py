"""False alarms and power of the monitor: python bench/drift.py. 200 draws for each number of rows, 20 quantities, two minutes.

Without drift a run should alarm in at most 5 % of the draws; with one normal quantity shifted it should name that one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import bake

DRAWS, RATE, FLOOR = 200, 0.05, 0.01
KINDS = [0.4, 0.2, 0.15, 0.1, 0.07, 0.05, 0.02, 0.01]


def draw(random: np.random.Generator, n: int, shift: float = 0.0) -> pl.DataFrame:
    """12 normal quantities, the first shifted and the second with gaps, 3 skewed ones, 2 counts, 3 categories."""
    columns = {f"normal {i}": random.normal(size=n) for i in range(12)}
    columns |= {f"skewed {i}": np.exp(random.normal(size=n)) for i in range(3)}
    columns |= {f"count {i}": random.poisson(2, size=n).astype(float) for i in range(2)}
    columns |= {f"kind {i}": random.choice(list("abcdefgh"), size=n, p=KINDS) for i in range(3)}
    frame = pl.DataFrame(columns).with_columns(pl.col("normal 0") + shift)
    gaps = pl.Series(random.random(n) < 0.05)
    return frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col("normal 1")).alias("normal 1"))


def main() -> None:
    """The table of rates."""
    with tempfile.TemporaryDirectory() as folder:
        source = bake(Path(folder)) / "src"  # first: baking puts another list in the place of sys.path
        sys.path.insert(0, str(source))
        from my_model.production import drift, reference

        random = np.random.default_rng(0)
        train = draw(random, 10_000)
        known = {name: reference.describe(train[name]) for name in train.columns}
        for name in (n for n in known if n.startswith("kind")):
            known[name] |= {"known": list("abcdefgh"), "unseen": [0, 2000]}

        def alarms(n: int, shift: float) -> set[str]:
            now = draw(random, n, shift)
            found = [one for name in now.columns for one in drift.compare(name, known[name], now[name])]
            return {one["name"] for one in drift.judge(found, RATE, FLOOR) if one["alarm"]}

        print(f"{'rows':>6}  false alarms  shift 0.2 sd  shift 0.3 sd   (shares of {DRAWS} draws)")
        for n in (100, 300, 500, 1000, 5000):
            false = sum(bool(alarms(n, 0.0)) for _ in range(DRAWS)) / DRAWS
            seen = [sum("normal 0" in alarms(n, shift) for _ in range(DRAWS)) / DRAWS for shift in (0.2, 0.3)]
            print(f"{n:>6}  {false:>12.3f}  {seen[0]:>12.3f}  {seen[1]:>12.3f}", flush=True)


if __name__ == "__main__":
    main()
