"""The planted-fault benchmark: every plant at every strength, the healthy projects, and docs/checks.md from what they show.

python plants/run.py                 what is not there yet, then the table (about an hour on two cores; Ctrl-C, go on later)
python plants/run.py D1 "S5 part"    these plants and their twins only, no table
python plants/run.py --table         the table from what is there
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from healthy import HEALTHY
from judge import Verdict, judge
from plant import Fault, Plant
from pool import BASES, ROOT, WORKERS, Trial, run_all

from plants import PLANTS

OUT = ROOT / "plants-out"
FULL = 2  # seeds on which every step is run
SEEDS = 5  # seeds on which the effect on the honest score is measured; the later ones train only
HEALTHY_SEEDS = 3


def trials(plants: list[Plant], healthy: bool, seeds: int = SEEDS, full: int = FULL) -> list[Trial]:
    """Twins, healthy projects and plants: once through everything, then what only trains, then the other full seeds, so
    that an early stop still says something of each."""
    found = []
    bases = sorted({plant.base for plant in plants})
    for seed in dict.fromkeys([0, *range(full, seeds), *range(1, full)]):
        light = seed >= full
        if seed >= seeds:
            continue
        found += [Trial(f"twin {name}", "none", BASES[name], Fault(), seed, light) for name in bases]
        if healthy and seed < min(seeds, HEALTHY_SEEDS) and (seed == 0 or not light):
            found += [Trial(f"healthy {base.name}", "none", base, fault, seed) for base, fault in HEALTHY]
        for plant in plants:
            if not (light and plant.wrong):
                found += [Trial(plant.id, s, BASES[plant.base], f, seed, light) for s, f in plant.strengths.items()]
    if healthy:
        rest = range(full, min(seeds, HEALTHY_SEEDS))
        found += [Trial(f"healthy {base.name}", "none", base, fault, s) for s in rest for base, fault in HEALTHY]
    return found


def read(name: str, strength: str, out: Path) -> list[dict[str, Any]]:
    """The results of one plant, twin or healthy project, by seed."""
    paths = [out / Trial(name, strength, BASES["digits"], Fault(), seed).file for seed in range(SEEDS)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def verdicts(plants: list[Plant], out: Path) -> list[Verdict]:
    """Every plant at every strength that was run."""
    found = []
    for plant in plants:
        twins = read(f"twin {plant.base}", "none", out)
        for strength in plant.strengths:
            if results := read(plant.id, strength, out):
                found.append(judge(plant, strength, results, twins))
    return found


def main() -> None:
    """Run, judge, write."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("ids", nargs="*", help="plants to run; all when none is named")
    cli.add_argument("--table", action="store_true", help="run nothing; write the table")
    cli.add_argument("--seeds", type=int, default=SEEDS, help="fewer seeds, for a look")
    cli.add_argument("--full", type=int, default=FULL, help="seeds on which every step is run; the others train only")
    cli.add_argument("--keep", action="store_true", help="keep results of an earlier state of the code")
    cli.add_argument("--workers", type=int, default=WORKERS, help="trials at a time")
    cli.add_argument("--out", type=Path, default=OUT)
    args = cli.parse_args()
    if unknown := set(args.ids) - {plant.id for plant in PLANTS}:
        cli.error(f"no plant is called {', '.join(sorted(unknown))}; there are {', '.join(p.id for p in PLANTS)}")
    plants = [plant for plant in PLANTS if not args.ids or plant.id in args.ids]
    if not args.table:
        run_all(trials(plants, not args.ids, args.seeds, args.full), args.out, args.keep, args.workers)
    for verdict in verdicts(plants, args.out):
        print(line(verdict))
    if not args.ids:
        from table import write

        healthy = {base.name: read(f"healthy {base.name}", "none", args.out) for base, _ in HEALTHY}
        write(verdicts(PLANTS, args.out), healthy, ROOT / "docs" / "checks.md")


def line(v: Verdict) -> str:
    """One plant at one strength, for the terminal."""
    how = ", ".join(f"{name} {share:.0%}" for name, share in sorted(v.caught_by.items(), key=lambda item: -item[1])[:4])
    state = "caught" if v.caught else "MISSED" if v.effective else "benign"
    extra = f" refused {v.refused:.0%}" if v.refused else ""
    extra += f" crashed {v.crashed:.0%}" if v.crashed else ""
    extra += f" broken: {v.broken[0]}" if v.broken else ""
    named = "named" if v.attributed else "not named" if v.caught else ""
    return (
        f"{v.plant.id:<16}{v.strength:<8} {state} {named:<9} d {v.effect:+.1f} p {v.p:.3f} n {v.trials}{extra}  {how}"
    )


if __name__ == "__main__":
    main()
