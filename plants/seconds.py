"""What the steps that only check cost on the demos: CPU seconds on one thread, which other work on the machine hardly moves.

python plants/seconds.py [folder of demos, as `make demo` leaves it]      writes plants-out/seconds.json for the table
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "plants-out" / "seconds.json"
STEPS = {  # as the demos run them
    "tabular": (["audit"], ["split"], ["check"]),
    "text": (["audit"], ["split"], ["check", "batch_size=8"]),
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


def measure(project: Path, words: list[str]) -> dict[str, float]:
    """CPU and wall seconds of one command, start-up and imports included."""
    package = next(path.name for path in (project / "src").iterdir() if path.is_dir())
    settings = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": "src"}
    command = [sys.executable, "-m", package, *words, "--quiet", "--because", "timed"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=project, env=settings, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": round(cpu, 1), "wall": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Every step of every demo that is there."""
    demos = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "demo-out"
    there = {kind: steps for kind, steps in STEPS.items() if (demos / kind / "src").is_dir()}
    FILE.parent.mkdir(exist_ok=True)
    found = {kind: {words[0]: measure(demos / kind, words) for words in steps} for kind, steps in there.items()}
    FILE.write_text(json.dumps(found, indent=1))
    print(FILE.read_text())


if __name__ == "__main__":
    main()
