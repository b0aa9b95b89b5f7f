"""The command line: one command a step, in the order of the recipe. Imports nothing heavy, so help is instant."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from typing import TYPE_CHECKING, Any

from . import adopted_in
from .commands import COMMANDS, OTHERS, PRODUCTION, STEPS, names_of, parse
from .owner.engine.distributed import SINGLE, exit_process, launched
from .owner.errors import Stopped, UserError
from .terminal import say

if TYPE_CHECKING:
    from .owner.engine.distributed import Distributed
    from .project import Project, Run

AGAIN = ("force", "hypothesis", "parent", "allow_multiple", "skip")  # flags that a stopped run is given again to go on


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a check is FAIL, 2 a mistake that the message explains, 130 or 143
    interrupted or terminated (training saves first)."""
    words = sys.argv[1:] if argv is None else argv
    try:
        args = parse(words)
    except UserError as error:
        say(f"recipe{f' {words[0]}' if words and words[0] in COMMANDS else ''}: {error}", error=True)
        return 2
    return exit_process(_status(args))


def _status(args: argparse.Namespace) -> int:
    name = f"recipe {args.step}"
    try:
        return _dispatch(args)
    except UserError as error:
        say(f"{name}: {error}", error=True)
        return 2
    except OSError as error:  # a disk, a permission, a device: whoever owns the machine can fix it
        where = f"{error.filename}: " if error.filename else ""
        say(f"{name}: {where}{error.strerror or error}; fix its permissions or free some space", error=True)
        return 2
    except Stopped as stopped:
        flags = [(names_of(flag)[-1], str(getattr(args, flag))) for flag in AGAIN if getattr(args, flag)]
        words = shlex.join([*args.overrides, *(word for pair in flags for word in pair)])
        told = f"stopped by {stopped}; everything is saved; go on with: recipe train --resume {words}".rstrip()
        say(f"{name}: {told}", error=True)
        return stopped.status
    except KeyboardInterrupt:
        say(f"{name}: interrupted", error=True)
        return 130


def _dispatch(args: argparse.Namespace) -> int:
    if args.step == "completion":
        from .steps.completion import script

        say(script(args.of))
        return 0
    distributed = launched(args.step, args.fsdp)
    distributed.wait()
    project = open_project(args, distributed)
    if not distributed.first:
        return int(importlib.import_module(f"{__package__}.steps.train").follow(project, args))
    if args.step in OTHERS and args.step != "all":
        return _other(project, args)
    if args.step == "train" and args.seeds > 1:
        if distributed.size > 1:
            raise UserError("--seeds trains one after the other; under torchrun give each a command of its own: seed=1")
        seeds = range(project.config.seed, project.config.seed + args.seeds)
        return max(run_step(project.variant(seed=seed), "train", args) for seed in seeds)
    if args.step in PRODUCTION and args.step != "export":
        return _command(project, args)
    for step in STEPS if args.step == "all" else [args.step]:
        if status := run_step(project, step, args):
            return status
    return 0


def _other(project: Project, args: argparse.Namespace) -> int:
    """What says or writes something about the project, and is no run either."""
    if args.step == "settings":
        from .commands import describe_settings

        say_json(project.config.model_dump()) if args.json else say(describe_settings(project.config))
    elif args.step == "init":
        from .steps.init import command

        command(project, args)
    elif args.step == "sample":
        from .steps.sample import write

        say(write(project))
    else:
        from . import versions
        from .ledger import read, table
        from .reconcile import complete, contradictions

        complete(project)
        rows = read(project.ledger)
        say_json(rows) if args.json else say("\n".join([table(rows), *versions.table(rows)]))
        if odd := contradictions(project):
            raise UserError(f"{odd[0]} ({len(odd)} such); restore EXPERIMENTS.jsonl and runs/ from a whole copy")
    return 0


def _command(project: Project, args: argparse.Namespace) -> int:
    """What serves the model is no run: it leaves no record and no line in the ledger of experiments."""
    if odd := [name for name in project.overrides if name != "device"]:
        raise UserError(
            f"{odd[0]} has no effect on {args.step}: a version keeps the settings it was trained with; only device=..."
        )
    name = "registry" if args.step in ("promote", "rollback", "versions") else args.step
    return int(importlib.import_module(f"{__package__}.production.{name}").command(project, args))


def open_project(args: argparse.Namespace, distributed: Distributed = SINGLE) -> Project:
    """Read recipe.toml, apply the overrides, and find the modality's Task."""
    from .console import show_logs
    from .owner.config import make_config, parse_override, read_toml
    from .owner.task import find_task
    from .project import Project, find_root
    from .secret import refuse

    if not args.project.is_dir():
        raise UserError(f"--project {args.project} is not a folder")
    root = find_root(args.project.resolve())
    pairs = [parse_override(text) for text in args.overrides]
    overrides = dict(pairs)
    if repeated := sorted({name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1}):
        raise UserError(f"{repeated[0]} is given twice; give it once")
    values: dict[str, Any] = {**read_toml(root / "recipe.toml"), **overrides}
    task = find_task(str(values.get("modality", "tabular")))
    adopted = None
    if module := adopted_in(root):
        from .adopted import OFFERED, Adopted

        if args.step not in OFFERED:
            raise UserError(f"needs a project that the template generated; an adopted one has: {', '.join(OFFERED)}")
        task = adopted = Adopted(module, str(values.get("modality", "tabular")), root)
    refuse({**values, **{names_of(flag)[-1]: getattr(args, flag) for flag in AGAIN}})
    config = make_config(task.settings, values, "recipe.toml" if not overrides else "recipe.toml with your overrides")
    quiet = args.quiet or args.json or not distributed.first
    show_logs(quiet)
    return Project(root, config, task, overrides, args.force.strip(), quiet, distributed, args.verbose, adopted)


def run_step(project: Project, step: str, args: argparse.Namespace) -> int:
    """Run one step in a fresh run folder. Returns 1 when a check in it is FAIL and --force was not given."""
    from .reconcile import complete

    folder = "production" if step in PRODUCTION else "steps"
    module = importlib.import_module(f"{__package__}.{folder}.{step.replace('-', '_')}")
    project.say(f"\n{step}: {COMMANDS[step].help}")
    complete(project)
    run: Run | None = None
    if step == "train" and args.resume:
        from .reopen import reopen

        run = reopen(project, "train", args.run, args.resume == "auto")
    run = run or project.begin(step.replace("-", "_"))
    try:
        _pass_gates(run, step, module, args)
        module.run(project, run, args)
        record = run.finish()
    except BaseException:
        run.discard()
        raise
    if getattr(args, "sarif", "") or getattr(args, "junit", ""):
        from .report.ci import report

        report(step, record["findings"], args.sarif, args.junit)
    if args.json:
        say_json(record)
    else:
        counted = f" ({run.count()})" if run.findings else ""
        say(f"{step}: {record['status'].upper()}{counted} in {record['seconds']:.1f} s -> runs/{run.id}")
    return int(record["status"] == "fail" and not project.force)


def _pass_gates(run: Run, step: str, module: Any, args: argparse.Namespace) -> None:
    """Look at what the step rests on. Raises UserError where something stops it, unless --force gives a reason."""
    from .gates import enter

    run.project.forced.clear()
    model = module.chosen(run.project, args) if hasattr(module, "chosen") else None
    run.rests_on = enter(run.project, step, model)


def say_json(value: Any) -> None:
    """Print `value` as one line of JSON, for the program that called: no letter in it ends a line or is changed by `say`."""
    from .owner.engine.files import to_json

    say(to_json(value, indent=None, escape=True))
