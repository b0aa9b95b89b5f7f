"""The published faults, their controls and the accepted fixes through audit, split, check and train; docs/published.md from that.

python bench/published/run.py                    what is not there yet, then the page (about half an hour; Ctrl-C, go on later)
python bench/published/run.py so-48385830 ...    these rows and their controls only
python bench/published/run.py --keep             keep results of an earlier state of the code
python bench/published/run.py --page             the page from what is there
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "fault_injection"))

from fault import Strength
from pool import ROOT, Trial, run_all
from published_page import write
from rows import ALL_BASES, ROWS, Published
from run import line
from scoring import score

OUT = ROOT / "published-out"
SEEDS = 2
STEPS = ("audit", "split", "check", "train")


def trials(rows: list[Published]) -> list[Trial]:
    """Controls first: a fault that the early steps cannot see takes what they found from its control."""
    todo = [row for row in rows if not row.not_run]
    names = sorted({row.fault.base for row in todo})
    found = []
    for seed in range(SEEDS):
        found += [Trial(f"control {name}", "none", ALL_BASES[name], Strength(), seed, steps=STEPS) for name in names]
        for row in todo:
            kinds = {"posted": row.fault.strengths["posted"], **({"fix": row.fix} if row.fix else {})}
            found += [Trial(row.fault.id, kind, ALL_BASES[row.fault.base], s, seed, steps=STEPS) for kind, s in kinds.items()]
    return found


def results(name: str, kind: str, out: Path) -> list[dict[str, Any]]:
    """What is there of a row, its fix or a control, by seed."""
    paths = [out / Trial(name, kind, ALL_BASES["digits"], Strength(), seed).file for seed in range(SEEDS)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def main() -> None:
    """Run, score, write."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("ids", nargs="*", help="rows to run; all when none is named")
    cli.add_argument("--page", action="store_true", help="run nothing; write the page")
    cli.add_argument("--keep", action="store_true", help="keep results of an earlier state of the code")
    cli.add_argument("--workers", type=int, default=1, help="trials at a time")
    args = cli.parse_args()
    if unknown := set(args.ids) - {row.fault.id for row in ROWS}:
        cli.error(f"no row is called {', '.join(sorted(unknown))}")
    rows = [row for row in ROWS if not args.ids or row.fault.id in args.ids]
    if not args.page:
        run_all(trials(rows), OUT, args.keep, args.workers)
    found = {}
    for row in rows:
        if got := results(row.fault.id, "posted", OUT):
            found[row.fault.id] = score(row.fault, "posted", got, results(f"control {row.fault.base}", "none", OUT))
            print(line(found[row.fault.id]))
    if not args.ids:
        controls = {name: results(f"control {name}", "none", OUT) for name in sorted({row.fault.base for row in ROWS})}
        fixes = {row.fault.id: results(row.fault.id, "fix", OUT) for row in ROWS if row.fix}
        write(found, controls, fixes, ROOT / "docs" / "published.md")


if __name__ == "__main__":
    main()
