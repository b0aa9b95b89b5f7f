"""The injected-fault benchmark: every fault at every strength, the control projects, and docs/checks.md from what they show.

python fault_injection/run.py                 what is not there yet, then the table (about an hour on two cores; Ctrl-C, go on later)
python fault_injection/run.py D1 "S5 part"    these faults and their controls only, no table
python fault_injection/run.py --table         the table from what is there
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from catalog import FAULTS
from controls import CONTROLS
from fault import Fault, Strength
from pool import BASES, ROOT, WORKERS, Trial, run_all
from scoring import Verdict, score

OUT = ROOT / "faults-out"
FULL = 2  # seeds on which every step is run
SEEDS = 5  # seeds on which the effect on the honest score is measured; the later ones train only
SOUND_SEEDS = 3


def trials(faults: list[Fault], controls: bool, seeds: int = SEEDS, full: int = FULL) -> list[Trial]:
    """Controls, sound projects and faults: once through everything, then what only trains, then the other full seeds, so
    that an early stop still says something of each."""
    found = []
    bases = sorted({fault.base for fault in faults})
    for seed in dict.fromkeys([0, *range(full, seeds), *range(1, full)]):
        light = seed >= full
        if seed >= seeds:
            continue
        found += [Trial(f"control {name}", "none", BASES[name], Strength(), seed, light) for name in bases]
        if controls and seed < min(seeds, SOUND_SEEDS) and (seed == 0 or not light):
            found += [Trial(f"sound {base.name}", "none", base, fault, seed) for base, fault in CONTROLS]
        for fault in faults:
            if not (light and fault.wrong):
                found += [Trial(fault.id, s, BASES[fault.base], f, seed, light) for s, f in fault.strengths.items()]
    if controls:
        rest = range(full, min(seeds, SOUND_SEEDS))
        found += [Trial(f"sound {base.name}", "none", base, fault, s) for s in rest for base, fault in CONTROLS]
    return found


def read(name: str, strength: str, out: Path) -> list[dict[str, Any]]:
    """The results of one fault, control or sound project, by seed."""
    paths = [out / Trial(name, strength, BASES["digits"], Strength(), seed).file for seed in range(SEEDS)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def verdicts(faults: list[Fault], out: Path) -> list[Verdict]:
    """Every fault at every strength that was run."""
    found = []
    for fault in faults:
        controls = read(f"control {fault.base}", "none", out)
        for strength in fault.strengths:
            if results := read(fault.id, strength, out):
                found.append(score(fault, strength, results, controls))
    return found


def main() -> None:
    """Run, score, write."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("ids", nargs="*", help="faults to run; all when none is named")
    cli.add_argument("--table", action="store_true", help="run nothing; write the table")
    cli.add_argument("--seeds", type=int, default=SEEDS, help="fewer seeds, for a look")
    cli.add_argument("--full", type=int, default=FULL, help="seeds on which every step is run; the others train only")
    cli.add_argument("--keep", action="store_true", help="keep results of an earlier state of the code")
    cli.add_argument("--workers", type=int, default=WORKERS, help="trials at a time")
    cli.add_argument("--out", type=Path, default=OUT)
    args = cli.parse_args()
    if unknown := set(args.ids) - {fault.id for fault in FAULTS}:
        cli.error(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(p.id for p in FAULTS)}")
    faults = [fault for fault in FAULTS if not args.ids or fault.id in args.ids]
    if not args.table:
        run_all(trials(faults, not args.ids, args.seeds, args.full), args.out, args.keep, args.workers)
    for verdict in verdicts(faults, args.out):
        print(line(verdict))
    if not args.ids:
        from table import write

        controls = {base.name: read(f"sound {base.name}", "none", args.out) for base, _ in CONTROLS}
        write(verdicts(FAULTS, args.out), controls, ROOT / "docs" / "checks.md")


def line(v: Verdict) -> str:
    """One fault at one strength, for the terminal."""
    how = ", ".join(f"{name} {share:.0%}" for name, share in sorted(v.caught_by.items(), key=lambda item: -item[1])[:4])
    state = "caught" if v.caught else "MISSED" if v.effective else "benign"
    extra = f" refused {v.refused:.0%}" if v.refused else ""
    extra += f" crashed {v.crashed:.0%}" if v.crashed else ""
    extra += f" broken: {v.broken[0]}" if v.broken else ""
    named = "named" if v.attributed else "not named" if v.caught else ""
    strict = f"strict: {'named' if v.strict_named else 'caught' if v.strict else 'no'}"
    return (
        f"{v.fault.id:<16}{v.strength:<8} {state} {named:<9} {strict:<14} d {v.effect:+.1f} p {v.p:.3f} n {v.trials}{extra}  {how}"
    )


if __name__ == "__main__":
    main()
