"""Every command of `recipe`: what it does, the flags it takes, examples of it. `parse` makes arguments of words."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .owner.errors import UserError


class Command(NamedTuple):
    """help: one line, as `recipe --help` shows it. of: what the command is given ("" = nothing but settings)."""

    help: str
    flags: tuple[str, ...] = ()
    of: str = ""
    examples: tuple[str, ...] = ()


TRAIN = ("resume", "hypothesis", "parent", "allow_multiple", "seeds", "skip", "fsdp", "run")
LOGGED = ("model", "log")
# Step -> what it does. steps/<name>.py holds `run(project, run, args)`; the order is the order of the recipe.
STEPS = {
    "audit": Command("inspect the data: labels, balance, leaks, duplicates, outliers", ("review",), "", ("audit",)),
    "split": Command("split into train, validation and test once, and pin the splits by hash", (), "", ("split",)),
    "baseline": Command("scores of trivial and simple baselines", (), "", ("baseline",)),
    "check": Command(
        "find silent bugs before a long run: init loss, overfit a batch, gradients, ...", ("static",), "FOLDER",
        ("check", "check --static", "check --static ../other --sarif found.sarif"),
    ),
    "lr-find": Command("learning-rate range test: an interval to choose lr from", (), "", ("lr-find",)),
    "train": Command(
        "train, stop early, keep the best epoch, diagnose the curves",
        TRAIN, "", ("train lr=3e-4", 'train hidden=256 --hypothesis "more capacity helps"', "train --resume", "train --seeds 3"),
    ),
    "diagnose": Command("what the curves and the runs since say, and the one experiment to do next", ("run",)),
    "evaluate": Command("open the test part, once, and report with intervals", ("run",), "", ("evaluate",)),
    "report": Command("one HTML page with plots and numbers of everything so far", ("run",), "", ("report",)),
}  # fmt: skip
# Around your runs: steps too, but none that `all` would do by itself.
EXPERIMENTS = {
    "cost": Command("memory and seconds of a step by batch size and length, and hours of the run, before it begins"),
    "learning-curve": Command("train on 25, 50 and 100 % of the rows, a larger model, more epochs: what is the limit?"),
    "cv": Command("k-fold cross-validation of the whole pipeline, paired against the baselines", ("folds",), "", ("cv", "cv --folds 10")),
    "ablate": Command(
        "remove the components one by one: does it get worse?", ("run", "seeds", "columns"), "", ("ablate", "ablate --columns age,height+weight"),
    ),
    "tune": Command(
        "search learning rate, batch size, regularization; last, and against the noise of seeds and rows",
        ("seeds", "trials", "storage"), "", ("tune --trials 20",),
    ),
    "behavior": Command("try the model on what you expect of it: the tests in behavior.toml, on validation", ("run",)),
    "rerun": Command("repeat a run from its record and say whether the numbers agree", ("run",), "ID", ("rerun 0004-train",)),
}  # fmt: skip
# From a checkpoint to predictions, and back: production/<name>.py.
PRODUCTION = {
    "export": Command(
        "a model package: weights, preprocessing, schema, golden examples that are replayed at every load", ("run", "onnx", "hub")
    ),
    "predict": Command(
        "predictions for a file or folder; rows that cannot be read are rejected with reasons",
        ("model", "out"), "FILE", ("predict new.csv", "predict new.csv --out answers.csv"),
    ),
    "serve": Command(
        "predictions over HTTP, with a page to try it by hand and a log one can query",
        ("host", "port", *LOGGED, "sample", "exclude"), "", ("serve --port 8080",),
    ),
    "monitor": Command(
        "drift, new and missing values, live performance, silence; of the log or of a file",
        (*LOGGED, "hours", "labels", "mature", "worst", "rate", "floor", "webhook"), "FILE", ("monitor", "monitor new.csv"),
    ),
    "promote": Command("let a version serve, the newest if none is named", (), "VERSION"),
    "rollback": Command("let the version before serve again", (), "VERSION"),
    "versions": Command("every version, which one serves, and who changed that"),
}  # fmt: skip
OTHERS = {
    "init": Command(
        "propose recipe.toml for a file or folder, and say what to confirm",
        ("write", "target"), "PATH", ("init data/train.csv", "init data/train.csv --target price --write"),
    ),
    "sample": Command("write 64 rows of the training part to tests/sample, for the smoke test in a CI without the data"),
    "all": Command("every step of the first list in order, evaluate too; stops at the first FAIL"),
    "runs": Command("every run: parent, change, hypothesis, result, verdict"),
    "settings": Command("every setting with its value, meaning and range"),
    "completion": Command("tab completion for bash, zsh or fish", (), "SHELL", ('completion bash',)),
}  # fmt: skip
COMMANDS = {**STEPS, **EXPERIMENTS, **PRODUCTION, **OTHERS}
REPORTED = (*STEPS, *EXPERIMENTS)  # their findings can be written as a CI reads them
WITH_JSON = (*STEPS, *EXPERIMENTS, "export", "all", "runs", "settings")
NUMBERS = ("folds", "skip", "seeds", "trials", "port", "sample", "hours", "mature", "rate", "floor")  # none below 0

# Flag -> how argparse is to read it. Defaults are falsy, so that a step sees which flags were given.
FLAGS: dict[str, dict[str, Any]] = {
    "force": {"metavar": "REASON", "help": "go on past a FAIL for this reason, which every later result shows"},
    "project": {"type": Path, "default": Path(), "metavar": "DIR", "help": "project folder (default: here or above)"},
    "verbose": {"action": "store_true", "help": "show every check, also those that passed or do not apply"},
    "quiet": {"action": "store_true", "help": "print only errors and the last line"},
    "json": {"action": "store_true", "help": "print each record as one line of JSON, and nothing else"},
    "static": {"action": "store_true", "help": "read the code of src or FOLDER only: rules with file and line, at once"},
    "sarif": {"metavar": "FILE", "help": "write what is WARN or FAIL as SARIF 2.1.0"},
    "junit": {"metavar": "FILE", "help": "write every check as JUnit"},
    "run": {"metavar": "ID", "help": "this run, not the best or newest"},
    "review": {"type": Path, "default": None, "metavar": "CSV", "help": "read a reviewed label sheet back"},
    "resume": {
        "nargs": "?", "const": "stopped", "metavar": "auto",
        "help": "go on with the run that was stopped (or with --run ID); auto: or start one when there is none",
    },
    "write": {"action": "store_true", "help": "put what is proposed into recipe.toml"},
    "target": {"metavar": "COLUMN", "help": "the column to predict"},
    "skip": {"type": int, "metavar": "N", "help": "skip at most N non-finite steps"},
    "hypothesis": {"metavar": "TEXT", "help": "what you expect of this run, in one line"},
    "parent": {"metavar": "ID", "help": "compare with this run, not the nearest"},
    "allow_multiple": {"metavar": "REASON", "help": "why several settings change at once"},
    "seeds": {"type": int, "metavar": "N", "help": "this many seeds, paired"},
    "columns": {"metavar": "A,B+C", "help": "leave these columns out, or groups of them, instead of settings; all: each by itself"},
    "folds": {"type": int, "metavar": "K", "help": "number of folds (default 5)"},
    "trials": {"type": int, "metavar": "N", "help": "trials in each of its three stages"},
    "storage": {"metavar": "URL", "help": "a database that workers on other machines share"},
    "fsdp": {"action": "store_true", "help": "torchrun's processes shard the model, one that is too large to train on one GPU"},
    "onnx": {"action": "store_true", "help": "an ONNX file too, checked against PyTorch"},
    "hub": {"metavar": "NAME", "help": "to this repository of the Hugging Face Hub too, as ORG/NAME, or to a folder, as ./FOLDER"},
    "model": {"metavar": "VERSION", "help": "this version, not the promoted one"},
    "out": {"metavar": "FILE", "help": "where predictions go (default: beside the input)"},
    "host": {"metavar": "ADDRESS", "help": "address to listen on (default 127.0.0.1)"},
    "port": {"type": int, "metavar": "N", "help": "port (default 8000)"},
    "log": {"metavar": "FILE", "help": "prediction log (default predictions.db; none = no log)"},
    "sample": {"type": float, "metavar": "SHARE", "help": "share of predictions that are logged (default 1)"},
    "exclude": {"metavar": "A,B", "help": "columns that are never logged"},
    "hours": {"type": float, "metavar": "N", "help": "how far back the log is read (default 24)"},
    "labels": {"metavar": "FILE", "help": "table with id and the true target of logged predictions"},
    "mature": {"type": float, "metavar": "DAYS", "help": "age of a prediction when its label has come (default 0)"},
    "rate": {"type": float, "metavar": "P", "help": "probability of a false alarm a run (default 0.05)"},
    "floor": {"type": float, "metavar": "PSI", "help": "smallest drift that counts (default 0.01)"},
    "worst": {"type": float, "default": None, "metavar": "SCORE", "help": "alert where the metric on labeled rows is worse than this"},
    "webhook": {"metavar": "URL", "help": "where an alert is posted as JSON"},
}  # fmt: skip
EVERY = ("force", "project", "verbose", "quiet")
SHORT = {"verbose": "-v", "quiet": "-q"}


def names_of(flag: str) -> list[str]:
    """How a flag is written: its short form, if it has one, and its long one."""
    return [*([SHORT[flag]] if flag in SHORT else []), f"--{flag.replace('_', '-')}"]


def default_of(flag: str) -> Any:
    """What a flag is when it is not given."""
    how = FLAGS[flag]
    plain: Any = {"int": 0, "float": 0.0}.get(getattr(how.get("type"), "__name__", ""), "")
    return how.get("default", False if "action" in how else plain)


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one sentence like any other."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def flags_of(command: str) -> tuple[str, ...]:
    """The flags that a command takes, its own first."""
    reports = ["sarif", "junit"] if command in REPORTED else []
    return (*COMMANDS[command].flags, *reports, *(["json"] if command in WITH_JSON else []), *EVERY)


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    spec = COMMANDS[command]
    examples = "".join(f"\n  recipe {line}" for line in spec.examples)
    cli = Parser(
        prog=f"recipe {command}",
        usage=f"recipe {command} {f'{spec.of} ' if spec.of else ''}[setting=value ...] [flags]",
        description=f"{spec.help[0].upper()}{spec.help[1:]}.",
        epilog=f"examples:{examples}\n\n{SETTINGS}" if examples else SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    cli.add_argument("overrides", nargs="*", metavar="setting=value", help="a setting for this command only")
    for flag in flags_of(command):
        cli.add_argument(*names_of(flag), dest=flag, **{"default": default_of(flag), **FLAGS[flag]})
    return cli


SETTINGS = "A setting=value overrides recipe.toml for this command; `recipe settings` lists all of them."


def overview() -> str:
    """What `recipe --help` prints."""
    width = max(map(len, COMMANDS))
    titles = ("The recipe, one command a step", "Experiments", "Production", "Other commands")
    groups = zip(titles, (STEPS, EXPERIMENTS, PRODUCTION, OTHERS), strict=True)
    listed = [
        f"{title}:\n" + "\n".join(f"  {name:<{width}}  {c.help}" for name, c in group.items())
        for title, group in groups
    ]
    return "\n\n".join(
        [
            "usage: recipe <command> [setting=value ...] [flags]",
            *listed,
            f"recipe <command> --help: its flags, with examples.\n{SETTINGS}",
        ]
    )


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command. Raises UserError for a command or a flag that is not there, SystemExit for --help."""
    if not words:
        raise UserError("no command is given; recipe --help lists them")
    if words[0] in ("-h", "--help", "help"):
        print(overview())
        raise SystemExit(0)
    command, *rest = words
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean: recipe {close[0]}" if close else "see recipe --help"
        raise UserError(f"there is no command {command!r}; {hint}")
    args = argparse.Namespace(step=command, of="", **{flag: default_of(flag) for flag in FLAGS})
    _, unknown = parser(command).parse_known_intermixed_args(rest, args)
    if unknown:
        raise UserError(_foreign(command, unknown[0]))
    return _settled(args)


def _foreign(command: str, word: str) -> str:
    """Why a command does not take a flag, and what it may have been."""
    flag = word.split("=")[0].removeprefix("--").replace("-", "_")
    if word.startswith("--") and flag in FLAGS:
        takers = [name for name in COMMANDS if flag in flags_of(name)]
        return f"{word.split('=')[0]} is not a flag of {command}; it belongs to {' and '.join(takers)}"
    close = difflib.get_close_matches(word, [name for own in flags_of(command) for name in names_of(own)], n=1)
    return f"unrecognized argument {word}; {f'did you mean {close[0]}?' if close else f'see recipe {command} --help'}"


def _settled(args: argparse.Namespace) -> argparse.Namespace:
    """What argparse cannot tell apart: `--resume lr=1` is `--resume` and a setting; a word without = is what is asked for."""
    if args.resume not in ("", "stopped", "auto"):
        args.overrides.append(args.resume)
        args.resume = "stopped"
    paths = [word for word in args.overrides if "=" not in word]
    if COMMANDS[args.step].of and paths:
        args.of = paths[0]
        args.overrides.remove(paths[0])
    if args.step == "check" and args.of:
        raise UserError(f"{args.of} is a folder to read; it needs --static")
    if args.step == "rerun":
        args.run = args.run or args.of
    if args.run and args.step == "train" and not args.resume:
        raise UserError("--run names the stopped run to go on with; it needs --resume")
    if args.target:
        args.overrides.append(f"target={json.dumps(args.target)}")
    for flag in NUMBERS:
        if getattr(args, flag) < 0:
            raise UserError(f"--{flag} {getattr(args, flag)} must be 0 or more")
    return args


def describe_settings(config: Any) -> str:
    """All settings as text: name = value, what it is for, what it may be."""
    from .owner.config import allowed

    lines = []
    for name, field in type(config).model_fields.items():
        lines.append(f"{name} = {getattr(config, name)!r}\n    {field.description} [{allowed(type(config), name)}]")
    return "\n".join(lines)
