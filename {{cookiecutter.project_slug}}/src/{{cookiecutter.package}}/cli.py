"""The command line: one command a step, in the order of the recipe. Imports nothing heavy, so help is instant."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine.terminal import say
from .engine.world import ALONE, launched, leave
from .errors import Stopped, UserError

if TYPE_CHECKING:
    from .engine.project import Project, Run
    from .engine.world import World

# Step -> what it does. steps/<name>.py holds `run(project, run)`; the order is the order of the recipe.
STEPS = {
    "audit": "look at the data: labels, balance, leaks, duplicates, odd values",
    "split": "part train, validation and test once, and pin the parts by hash",
    "baseline": "what the dumb and the simple models reach: the numbers to beat",
    "check": "find silent bugs before a long run: init loss, overfit a batch, gradients, ...",
    "lr-range": "learning-rate range test: an interval to choose lr from",
    "train": "train, stop early, keep the best, say what the curves mean",
    "diagnose": "what the curves and the runs since say, and the one experiment to do next",
    "evaluate": "open the test part, once, and report with intervals",
    "report": "one HTML page with plots and numbers of everything so far",
}
# What comes when a first run stands: steps too, but none that `all` would do by itself.
EXPERIMENTS = {
    "learning-curve": "train on 25, 50 and 100 % of the rows: is data the limit?",
    "ablate": "take the parts away one by one: does it get worse?",
    "tune": "search learning rate, batch size, regularisation; last, and against the noise between seeds",
    "rerun": "repeat a run from its record and say whether the numbers agree: recipe rerun ID",
}
# From a checkpoint to answers, and the way back: production/<name>.py.
PRODUCTION = {
    "export": "a model package: weights, preprocessing, schema, golden examples that are replayed at every load",
    "predict": "answers for a file or folder; rows that cannot be read are set aside with reasons: recipe predict FILE",
    "serve": "answers over HTTP, with a page to try it by hand and a log one can query",
    "monitor": "drift, new and missing values, live performance, silence; of the log, or: recipe monitor FILE",
    "promote": "let a version serve, the newest if none is named: recipe promote VERSION",
    "rollback": "let the version before serve again",
    "versions": "every version, which one serves, and who changed that",
}
OTHERS = {
    "new-data": "propose recipe.toml for a file or folder, and say what to confirm: recipe new-data PATH [--write]",
    "sample": "write 64 rows of the training part to tests/sample, for the smoke test in a CI without the data",
    "all": "every step of the first list in order, evaluate too; stops at the first red gate",
    "log": "every run: parent, change, prediction, result, verdict",
    "knobs": "every knob with its value, meaning and range",
    "completion": "what makes Tab complete commands, flags and knobs: recipe completion bash (or zsh, fish)",
}

AGAIN = ("force", "predict", "parent", "bundle", "skip")  # flags that a stopped run is given again to go on


def parser() -> argparse.ArgumentParser:
    """The argument parser; flags are the same for every step."""
    width = max(map(len, (*STEPS, *EXPERIMENTS, *PRODUCTION, *OTHERS)))
    commands = "\n\n".join(
        "\n".join(f"  {name:<{width}}  {text}" for name, text in group.items())
        for group in (STEPS, EXPERIMENTS, PRODUCTION, OTHERS)
    )
    cli = argparse.ArgumentParser(
        prog="recipe",
        usage="recipe <step> [knob=value ...] [flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"The training recipe, one command a step:\n\n{commands}",
        epilog="A knob=value overrides recipe.toml for this command; `recipe knobs` lists all of them.",
    )
    every = [*STEPS, *EXPERIMENTS, *PRODUCTION, *OTHERS]
    cli.add_argument("step", choices=every, metavar="step", help="one of the steps above")
    cli.add_argument("overrides", nargs="*", metavar="knob=value", help="set a knob for this command only")
    cli.add_argument(
        "--force",
        default="",
        metavar="REASON",
        help="go on past a FAIL for this reason, which every later result shows",
    )
    cli.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="project folder (default: here or above)"
    )
    cli.add_argument(
        "--run", default="", metavar="ID", help="this run, not the best or newest (diagnose, evaluate, report, ...)"
    )
    cli.add_argument("--review", type=Path, metavar="CSV", help="audit: read a reviewed label sheet back")
    cli.add_argument(
        "--resume",
        nargs="?",
        const="stopped",
        default="",
        metavar="auto",
        help="train: go on with the run that was stopped (or with --run ID); auto: or start one when there is none",
    )
    cli.add_argument("--write", action="store_true", help="new-data: put what is proposed into recipe.toml")
    cli.add_argument("--target", default="", metavar="COLUMN", help="new-data: what is to be predicted")
    cli.add_argument("--skip", type=int, default=0, metavar="N", help="train: pass over at most N non-finite steps")
    cli.add_argument("--predict", default="", metavar="TEXT", help="train: what you expect of this run, in one line")
    cli.add_argument("--parent", default="", metavar="ID", help="train: compare with this run, not the nearest")
    cli.add_argument("--bundle", default="", metavar="WHY", help="train: why several knobs change at once")
    cli.add_argument("--seeds", type=int, default=0, metavar="N", help="train, ablate, tune: this many seeds, paired")
    cli.add_argument("--trials", type=int, default=0, metavar="N", help="tune: trials in each of its three stages")
    cli.add_argument(
        "--storage", default="", metavar="URL", help="tune: a database that workers on other machines share"
    )
    cli.add_argument(
        "--fsdp",
        action="store_true",
        help="train: torchrun's processes share the model out too, one that is too large to train on one GPU",
    )
    cli.add_argument("--quiet", action="store_true", help="print only errors and the last line")
    cli.add_argument("--json", action="store_true", help="print each record as one line of JSON, and nothing else")
    _production_flags(cli)
    return cli


def _production_flags(cli: argparse.ArgumentParser) -> None:
    """Flags of the commands in PRODUCTION; their defaults are falsy, so that `_check_flags` sees which were given."""
    cli.set_defaults(of="")  # the file or the version that a command is given
    flag = cli.add_argument_group("production").add_argument
    flag("--onnx", action="store_true", help="export: an ONNX file too, checked against PyTorch")
    flag("--model", default="", metavar="VERSION", help="predict, serve, monitor: not the promoted one")
    flag("--out", default="", metavar="FILE", help="predict: where answers go (default: beside the input)")
    flag("--host", default="", help="serve: address to listen on (default 127.0.0.1)")
    flag("--port", type=int, default=0, help="serve: port (default 8000)")
    flag(
        "--log",
        default="",
        metavar="FILE",
        help="serve, monitor: prediction log (default predictions.db; none = no log)",
    )
    flag(
        "--sample", type=float, default=0.0, metavar="SHARE", help="serve: share of answers that are logged (default 1)"
    )
    flag("--exclude", default="", metavar="A,B", help="serve: columns that are never logged")
    flag("--hours", type=float, default=0.0, help="monitor: how far back the log is read (default 24)")
    flag("--labels", default="", metavar="FILE", help="monitor: table with id and the true target of logged answers")
    flag(
        "--mature",
        type=float,
        default=0.0,
        metavar="DAYS",
        help="monitor: age of an answer when its label has come (default 0)",
    )
    flag("--rate", type=float, default=0.0, help="monitor: chance of a false alarm a run (default 0.05)")
    flag("--floor", type=float, default=0.0, metavar="PSI", help="monitor: smallest drift that counts (default 0.01)")
    flag("--webhook", default="", metavar="URL", help="monitor: where an alarm is posted as JSON")


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a check is red, 2 a mistake that the message explains, 130 or 143
    interrupted or terminated (training saves first)."""
    return leave(_status(parser().parse_intermixed_args(argv)))


def _status(args: argparse.Namespace) -> int:
    name = f"recipe {args.step}"
    try:
        _check_flags(args)
        return _dispatch(args)
    except UserError as error:
        say(f"{name}: {error}", error=True)
        return 2
    except OSError as error:  # a disk, a permission, a device: whoever owns the machine can mend it
        where = f"{error.filename}: " if error.filename else ""
        say(f"{name}: {where}{error.strerror or error}; mend its permissions or free some space", error=True)
        return 2
    except Stopped as stopped:
        flags = [(f"--{flag}", str(getattr(args, flag))) for flag in AGAIN if getattr(args, flag)]
        words = shlex.join([*args.overrides, *(word for pair in flags for word in pair)])
        told = f"{stopped} came; everything is saved; go on with: recipe train --resume {words}".rstrip()
        say(f"{name}: {told}", error=True)
        return stopped.status
    except KeyboardInterrupt:
        say(f"{name}: interrupted", error=True)
        return 130


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse a flag that the step would ignore. `--resume lr=1` is `--resume` and an override."""
    if args.resume not in ("", "stopped", "auto"):
        args.overrides.append(args.resume)
        args.resume = "stopped"
    if args.step == "rerun" and len(args.overrides) == 1 and "=" not in args.overrides[0]:
        args.run = args.overrides.pop()
    paths = [word for word in args.overrides if "=" not in word]
    if args.step in ("new-data", "predict", "monitor", "promote", "rollback", "completion") and paths:
        args.of = paths[0]
        args.overrides.remove(paths[0])
    takers: dict[str, tuple[str, ...]] = {
        "json": (*STEPS, *EXPERIMENTS, "export", "all", "log", "knobs"),
        "resume": ("train",),
        "fsdp": ("train",),
        "skip": ("train",),
        "review": ("audit",),
        "write": ("new-data",),
        "target": ("new-data",),
        "run": ("diagnose", "evaluate", "report", "ablate", "rerun", "export", *(["train"] if args.resume else [])),
        "predict": ("train",),
        "parent": ("train",),
        "bundle": ("train",),
        "seeds": ("train", "ablate", "tune"),
        "trials": ("tune",),
        "storage": ("tune",),
        "onnx": ("export",),
        "model": ("predict", "serve", "monitor"),
        "out": ("predict",),
        **dict.fromkeys(("host", "port", "sample", "exclude"), ("serve",)),
        "log": ("serve", "monitor"),
        **dict.fromkeys(("hours", "labels", "mature", "rate", "floor", "webhook"), ("monitor",)),
    }
    for flag, steps in takers.items():
        if getattr(args, flag) and args.step not in steps:
            raise UserError(f"--{flag} is of no use to {args.step}; it belongs to {' and '.join(takers[flag])}")
    if args.target:
        args.overrides.append(f"target={json.dumps(args.target)}")
    for flag in ("skip", "seeds", "trials", "port", "sample", "hours", "mature", "rate", "floor"):
        if getattr(args, flag) < 0:
            raise UserError(f"--{flag} {getattr(args, flag)} must be 0 or more")


def _dispatch(args: argparse.Namespace) -> int:
    if args.step == "completion":
        from .steps.completion import script

        say(script(args.of, parser()))
        return 0
    world = launched(args.step, args.fsdp)
    world.wait()
    project = open_project(args, world)
    if not world.first:
        return int(importlib.import_module(f"{__package__}.steps.train").follow(project, args))
    if args.step in OTHERS and args.step != "all":
        return _other(project, args)
    if args.step == "train" and args.seeds > 1:
        if world.size > 1:
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
    if args.step == "knobs":
        from .config import describe_knobs

        say_json(project.config.model_dump()) if args.json else say(describe_knobs(project.config))
    elif args.step == "new-data":
        from .steps.new_data import command

        command(project, args)
    elif args.step == "sample":
        from .steps.sample import write

        say(write(project))
    else:
        from .engine.book import complete, contradictions
        from .engine.ledger import read, table

        complete(project)
        rows = read(project.ledger)
        say_json(rows) if args.json else say(table(rows))
        if odd := contradictions(project):
            raise UserError(
                f"{odd[0]} ({len(odd)} such); restore EXPERIMENTS.jsonl and runs/ from where they are whole"
            )
    return 0


def _command(project: Project, args: argparse.Namespace) -> int:
    """What serves the model is no run: it leaves no record and no line in the ledger of experiments."""
    if odd := [name for name in project.overrides if name != "device"]:
        raise UserError(
            f"{odd[0]} has no effect on {args.step}: a version keeps the knobs it was trained with; only device=..."
        )
    name = "registry" if args.step in ("promote", "rollback", "versions") else args.step
    return int(importlib.import_module(f"{__package__}.production.{name}").command(project, args))


def open_project(args: argparse.Namespace, world: World = ALONE) -> Project:
    """Read recipe.toml, apply the overrides, and find the modality's Task."""
    from .config import make_config, parse_override, read_toml
    from .engine.project import Project, find_root
    from .engine.secret import refuse

    if not args.project.is_dir():
        raise UserError(f"--project {args.project} is not a folder")
    root = find_root(args.project.resolve())
    pairs = [parse_override(text) for text in args.overrides]
    overrides = dict(pairs)
    if repeated := sorted({name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1}):
        raise UserError(f"{repeated[0]} is given twice; give it once")
    values: dict[str, Any] = {**read_toml(root / "recipe.toml"), **overrides}
    task = find_task(str(values.get("modality", "tabular")))
    refuse({**values, **{f"--{flag}": getattr(args, flag) for flag in AGAIN}})
    config = make_config(task.knobs, values, "recipe.toml" if not overrides else "recipe.toml with your overrides")
    quiet = args.quiet or args.json or not world.first
    return Project(root, config, task, overrides, args.force.strip(), quiet, world)


def find_task(modality: str) -> Any:
    """The Task of a modality folder: `TASK` in <modality>/recipe.py."""
    package = Path(__file__).parent
    there = sorted(path.parent.name for path in package.glob("*/recipe.py"))
    if modality not in there:
        raise UserError(f"modality = {modality!r} is not in this project; it has {', '.join(there)}")
    return importlib.import_module(f"{__package__}.{modality}.recipe").TASK


def run_step(project: Project, step: str, args: argparse.Namespace) -> int:
    """Run one step in a fresh run folder. Returns 1 when a check in it is FAIL and --force was not given."""
    folder = "production" if step in PRODUCTION else "steps"
    module = importlib.import_module(f"{__package__}.{folder}.{step.replace('-', '_')}")
    project.say(f"\n{step}: {({**STEPS, **EXPERIMENTS, **PRODUCTION})[step]}")
    _complete_ledger(project)
    run = _reopened(project, args) if step == "train" and args.resume else None
    run = run or project.begin(step.replace("-", "_"))
    try:
        _pass_gates(run, step, module, args)
        module.run(project, run, args)
        record = run.finish()
    except BaseException:
        run.discard()
        raise
    if args.json:
        say_json(record)
    else:
        say(f"{step}: {record['status'].upper()} in {record['seconds']:.1f} s -> runs/{run.id}")
    return int(record["status"] == "fail" and not project.force)


def _pass_gates(run: Run, step: str, module: Any, args: argparse.Namespace) -> None:
    """Look at what the step rests on. Raises UserError where something stops it, unless --force gives a reason."""
    from .engine.gates import enter

    run.project.forced.clear()
    model = module.chosen(run.project, args) if hasattr(module, "chosen") else None
    run.rests_on = enter(run.project, step, model)


def say_json(value: Any) -> None:
    """Print `value` as one line of JSON, for the program that called: no letter in it ends a line or is changed by `say`."""
    from .engine.files import to_json

    say(to_json(value, indent=None, escape=True))


def _complete_ledger(project: Project) -> None:
    from .engine.book import complete

    complete(project)


def _reopened(project: Project, args: argparse.Namespace) -> Run | None:
    from .engine.resume import reopen

    return reopen(project, "train", args.run, args.resume == "auto")
