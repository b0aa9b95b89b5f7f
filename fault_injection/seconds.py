"""What the steps that only check cost on the demos, by the clock and in processor time; run it on a machine that does nothing else.

python fault_injection/seconds.py [folder of demos, as `make demo` leaves it]      writes faults-out/seconds.json for the table
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
FILE = ROOT / "faults-out" / "seconds.json"
STEPS = {  # as the demos run them
    "tabular": (["audit"], ["split"], ["check"]),
    "text": (["audit"], ["split"], ["check", "batch_size=8"]),
}
ROUNDS = 3


def measure(project: Path, words: list[str]) -> dict[str, float]:
    """Seconds of one command: what it says it took, by the clock with start-up and imports, and of the processors."""
    command = [project.parents[1] / ".venv" / "bin" / "python", "-m", "recipe_kit", *words, "--quiet", "--force", "timed"]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "tools/recipe_kit"])}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=project, env=settings, check=False, stdout=subprocess.DEVNULL)
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    newest = max((project / "runs").glob(f"*-{words[0]}/record.json"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"own": json.loads(newest.read_text())["seconds"], "clock": clock, "cpu": cpu}


def main() -> None:
    """Every step of every demo that is there, in rounds; the medians."""
    demos = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "demo-out"
    found = {}
    for kind, steps in STEPS.items():
        if not (demos / kind / "src").is_dir():
            continue
        rounds = [{words[0]: measure(demos / kind, words) for words in steps} for _ in range(ROUNDS)]
        sums = [sum(step["own"] for step in taken.values()) for taken in rounds]
        found[kind] = {
            "steps": {
                name: {what: round(median(taken[name][what] for taken in rounds), 1) for what in rounds[0][name]}
                for name in rounds[0]
            },
            "together": [round(value, 1) for value in sums],
        }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=1))
    print(FILE.read_text())


if __name__ == "__main__":
    main()
