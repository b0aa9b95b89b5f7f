"""The command line: one command a step, in the order of the recipe. Imports nothing heavy, so help is instant."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Stopped, UserError

if TYPE_CHECKING:
    from .engine.project import Project

# Step -> what it does. steps/<name>.py holds `run(project, run)`; the order is the order of the recipe.
STEPS = {
    "audit": "look at the data: labels, balance, leaks, duplicates, odd values",
    "split": "part train, validation and test once, and pin the parts by hash",
    "baseline": "what the dumb and the simple models reach: the numbers to beat",
    "check": "find silent bugs before a long run: init loss, overfit a batch, gradients, ...",
    "lr-range": "learning-rate range test: an interval to choose lr from",
    "train": "train, stop early, keep the best",
    "evaluate": "open the test part, once, and report with intervals",
    "report": "one HTML page with plots and numbers of everything so far",
}
OTHERS = {
    "all": "every step above in order; stops at the first red gate",
    "log": "the ledger as a table",
    "knobs": "every knob with its value, meaning and range",
}


def parser() -> argparse.ArgumentParser:
    """The argument parser; flags are the same for every step."""
    width = max(map(len, (*STEPS, *OTHERS)))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in {**STEPS, **OTHERS}.items())
    cli = argparse.ArgumentParser(
        prog="recipe",
        usage="recipe <step> [knob=value ...] [flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"The training recipe, one command a step:\n\n{commands}",
        epilog="A knob=value overrides recipe.toml for this command; `recipe knobs` lists all of them.",
    )
    cli.add_argument("step", choices=[*STEPS, *OTHERS], metavar="step", help="one of the steps above")
    cli.add_argument("overrides", nargs="*", metavar="knob=value", help="set a knob for this command only")
    cli.add_argument(
        "--because", default="", metavar="WHY", help="pass a red gate for this reason; the ledger keeps it"
    )
    cli.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="project folder (default: here or above)"
    )
    cli.add_argument(
        "--run", default="", metavar="ID", help="evaluate or report: this run instead of the best or newest"
    )
    cli.add_argument("--review", type=Path, metavar="CSV", help="audit: read a reviewed label sheet back")
    cli.add_argument("--resume", action="store_true", help="train: go on from the newest valid checkpoint")
    cli.add_argument("--quiet", action="store_true", help="print only errors and the last line")
    return cli


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a check is red, 2 a mistake that the message explains, 130 or 143
    interrupted or terminated (training saves first)."""
    args = parser().parse_intermixed_args(argv)
    try:
        return _dispatch(args)
    except UserError as error:
        print(f"recipe {args.step}: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(
            f"recipe {args.step}: {stopped} came; everything is saved; go on with: recipe train --resume",
            file=sys.stderr,
        )
        return stopped.status
    except KeyboardInterrupt:
        print(f"recipe {args.step}: interrupted", file=sys.stderr)
        return 130


def _dispatch(args: argparse.Namespace) -> int:
    project = open_project(args)
    if args.step == "knobs":
        from .config import describe_knobs

        print(describe_knobs(project.config))
        return 0
    if args.step == "log":
        from .engine.ledger import read, table

        print(table(read(project.ledger)))
        return 0
    for step in STEPS if args.step == "all" else [args.step]:
        if status := run_step(project, step, args):
            return status
    return 0


def open_project(args: argparse.Namespace) -> Project:
    """Read recipe.toml, apply the overrides, and find the modality's Task."""
    from .config import make_config, parse_override, read_toml
    from .engine.project import Project, find_root

    root = find_root(args.project.resolve())
    overrides = dict(parse_override(text) for text in args.overrides)
    values: dict[str, Any] = {**read_toml(root / "recipe.toml"), **overrides}
    task = find_task(str(values.get("modality", "tabular")))
    config = make_config(task.knobs, values, "recipe.toml" if not overrides else "recipe.toml with your overrides")
    return Project(root, config, task, overrides, args.because, args.quiet)


def find_task(modality: str) -> Any:
    """The Task of a modality folder: `TASK` in <modality>/recipe.py."""
    package = Path(__file__).parent
    there = sorted(path.parent.name for path in package.glob("*/recipe.py"))
    if modality not in there:
        raise UserError(f"modality = {modality!r} is not in this project; it has {', '.join(there)}")
    return importlib.import_module(f"{__package__}.{modality}.recipe").TASK


def run_step(project: Project, step: str, args: argparse.Namespace) -> int:
    """Run one step in a fresh run folder. Returns 1 when a check in it is red and --because was not given."""
    module = importlib.import_module(f"{__package__}.steps.{step.replace('-', '_')}")
    project.say(f"\n{step}: {STEPS[step]}")
    run = project.reopen("train") if args.resume and step == "train" else project.begin(step.replace("-", "_"))
    try:
        module.run(project, run, args)
        record = run.finish()
    except BaseException:
        run.discard()
        raise
    print(f"{step}: {record['status'].upper()} in {record['seconds']:.1f} s -> runs/{run.id}", flush=True)
    return int(record["status"] == "fail" and not project.because)
