"""The project by itself: python -m <package> split | baseline | train | evaluate | predict, each with setting=value after it.

These are the functions that `recipe` runs too; `recipe` looks before it leaps: audit and checks come first, and every run is kept
in the books. Nothing here looks, so these commands need nothing but this package.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from .config import make_config, parse_override, read_toml
from .errors import Stopped, UserError
from .formatting import interval

NAMED = re.compile(r"\brecipe (split|baseline|train|evaluate|predict)\b")
RUN, OPENED = "plain_train", "plain_evaluate"  # names of run folders that `recipe` leaves alone


def main(words: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 2 a mistake that the message explains, 130 or 143 interrupted or terminated."""
    cli = argparse.ArgumentParser(prog=f"python -m {__package__}", description=(__doc__ or "").split("\n")[0])
    commands = cli.add_subparsers(dest="command", required=True)
    for name, said in {
        "split": "part the rows into train, validation and test, and pin the parts in split.json",
        "baseline": "scores of trivial and simple models on validation",
        "train": "train the model of recipe.toml, and score it on validation",
        "evaluate": "score the newest model on the test part",
        "predict": "answers of the newest model for the rows of a file or a folder",
    }.items():
        parser = commands.add_parser(name, help=said, description=said)
        if name == "predict":
            parser.add_argument("path", type=Path, help="CSV, JSONL or Parquet, or a folder of images")
        parser.add_argument("settings", nargs="*", metavar="setting=value", help="instead of what recipe.toml says")
        if name == "train":
            parser.add_argument("--resume", action="store_true", help="go on with the newest run that was stopped")
    args = cli.parse_args(words)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    try:
        COMMANDS[args.command](args)
    except (UserError, OSError) as error:
        said = NAMED.sub(
            rf"{cli.prog} \1", str(error)
        )  # the next command is one of these, which are there without the kit
        print(f"{cli.prog} {args.command}: {said}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"{cli.prog} train: stopped by {stopped}; everything is saved; go on with --resume", file=sys.stderr)
        return stopped.status
    return 0


def recipe_of(args: argparse.Namespace) -> Any:
    """recipe.toml of the current folder with the settings of the command line."""
    from .engine.data import Recipe
    from .task import find_task

    root = Path.cwd()
    values = {**read_toml(root / "recipe.toml"), **dict(map(parse_override, args.settings))}
    task = find_task(values.get("modality", "tabular"))
    return Recipe(root, make_config(task.settings, values, "recipe.toml"), task)


def split(args: argparse.Namespace) -> None:
    """Pin the parts in split.json."""
    from .engine.splits import MANIFEST, assign, write_manifest

    recipe = recipe_of(args)
    content = write_manifest(recipe, assign(recipe.config, recipe.data))
    print(", ".join(f"{name} {part['rows']:,}" for name, part in content["parts"].items()), f"-> {MANIFEST}")


def baseline(args: argparse.Namespace) -> None:
    """Scores of the models to beat."""
    from .engine import baseline as engine
    from .engine.runs import new_run
    from .engine.splits import splits

    recipe = recipe_of(args)
    folder = new_run(recipe.root, "plain_baseline")
    result = engine.baseline(recipe.config, recipe.task, splits(recipe), folder).result
    for name, scored in result["baselines"].items():
        print(f"{name:<12} {result['metric']} {interval(scored['metrics'][result['metric']])}")


def train(args: argparse.Namespace) -> None:
    """A new run, or the newest stopped one."""
    from .engine import train as engine
    from .engine.callback import EpochLines
    from .engine.files import to_json, write_atomic
    from .engine.loop import NonFinite
    from .engine.runs import new_run
    from .engine.splits import splits
    from .engine.stop import alone
    from .engine.track import make_tracker

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("several processes train together through the kit: torchrun ... -m recipe_kit train")
    recipe = recipe_of(args)
    if args.resume:
        stopped = [folder for folder in _runs(recipe.root) if not (folder / "result.json").exists()]
        if not stopped:
            raise UserError("there is no stopped run to go on with; leave out --resume")
    folder = stopped[-1] if args.resume else new_run(recipe.root, RUN)
    with alone(folder):
        watching = [make_tracker(recipe.config, folder, {}), EpochLines(recipe.config)]
        try:
            result = engine.train(recipe.config, recipe.task, splits(recipe), folder, args.resume, watching).result
        except NonFinite as broken:
            raise UserError(
                f"{broken}; look at the data for extreme values, or try lr={recipe.config.lr / 10:g}"
            ) from None
        kept = {"id": folder.name, "step": "train", "config": recipe.config.model_dump(), "result": result}
        write_atomic(folder / "result.json", to_json(kept))
    print(f"validation {result['metric']} {interval(result['metrics'][result['metric']])} -> runs/{folder.name}")


def evaluate(args: argparse.Namespace) -> None:
    """The newest model on the test part. This command opens it as often as you like; `recipe evaluate` then refuses to."""
    import numpy as np

    from .engine import evaluate as engine
    from .engine.files import to_json, write_atomic
    from .engine.runs import new_run
    from .engine.splits import open_test
    from .engine.truth import saved_truth, truth_of

    recipe = recipe_of(args)
    record, model = _newest(recipe)
    folder = new_run(recipe.root, OPENED)
    opened = {"run": record["id"], "source": recipe.data.sha256}
    write_atomic(folder / "result.json", to_json(opened))
    test = open_test(recipe)
    outputs, examples = model.outputs(test)
    run = recipe.root / "runs" / record["id"]
    validation = np.load(run / "outputs.npy", allow_pickle=False)
    ours = engine.judged(model.config, model, (validation, outputs), saved_truth(run))
    found = engine.evaluate(model.config, model.prep, ours, test, truth_of(model.config, test, examples), folder)
    write_atomic(folder / "result.json", to_json({**opened, "result": found}))
    for name, value in found["metrics"].items():
        print(f"{name:<12} {interval(value)}")
    print(f"{found['rows']:,} rows of the test part, by {record['id']}")


def predict(args: argparse.Namespace) -> None:
    """Answers beside the file: rows.csv -> rows.predicted.csv."""
    from .engine.files import write_sheet
    from .engine.folders import beside
    from .predict import predict as answers

    recipe = recipe_of(args)
    record, model = _newest(recipe)
    place = beside(args.path, recipe.root / recipe.config.data)
    target = place.with_name(f"{args.path.stem}.predicted.csv")
    found = answers(recipe, model, recipe.root / "runs" / record["id"], args.path)
    write_sheet(found, target)
    print(f"{found.height:,} rows answered by {record['id']} -> {target}")


def _runs(root: Path) -> list[Path]:
    return sorted((root / "runs").glob(f"[0-9]*-{RUN}"))


def _newest(recipe: Any) -> tuple[dict[str, Any], Any]:
    """Record and model of the newest finished run."""
    from .engine.fitted import load_fitted

    done = [path for folder in _runs(recipe.root) if (path := folder / "result.json").exists()]
    if not done:
        raise UserError(f"no model is trained yet; run: python -m {__package__} train")
    record = json.loads(done[-1].read_text(encoding="utf-8"))
    return record, load_fitted(recipe, record)


COMMANDS = {"split": split, "baseline": baseline, "train": train, "evaluate": evaluate, "predict": predict}

if __name__ == "__main__":
    sys.exit(main())
