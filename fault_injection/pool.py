"""Many trials, two at a time, each in a forked process that has the heavy libraries already; interrupted runs go on."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from bases import BASES, ROOT, Base  # noqa: E402
from fault import Strength  # noqa: E402

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package}}"
KIT = ROOT / "kit" / "recipe_kit"
LIMIT = 240.0  # seconds after which a trial is given up
WORKERS = 2


@dataclass(frozen=True)
class Trial:
    """What to run: name, strength and seed make the file's name. light: split and train only, for the honest score. steps: those
    to run, in the order of the recipe; () = all."""

    name: str
    strength: str
    base: Base
    fault: Strength
    seed: int
    light: bool = False
    steps: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return re.sub(r"[^A-Za-z0-9.-]+", "_", f"{self.name} {self.strength} {self.seed}") + ".json"


def source_hash() -> str:
    """Hash over the template's package, the kit and this folder: results of other code do not count."""
    digest = hashlib.sha256()
    for path in sorted([*TEMPLATE.rglob("*.py"), *KIT.rglob("*.py"), *KIT.rglob("*.toml"), *Path(__file__).parent.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def bake_all(folder: Path) -> dict[str, Path]:
    """One generated project for each modality that a base has."""
    sys.path.insert(0, str(ROOT / "tests"))
    from conftest import bake

    baked = {}
    for modality in sorted({base.modality for base in BASES.values()}):
        place = folder / modality
        place.mkdir()
        baked[modality] = bake(place, modality=modality, project_slug="faults-project", package="project")
    return baked


# Imported once, before the fork: a trial by itself would spend half of its time on imports.
HEAVY = (
    "accelerate", "cleanlab.filter", "datasketch", "imagehash", "lightgbm", "matplotlib", "peft", "pydantic", "safetensors.torch",
    "scipy.optimize", "scipy.stats", "sklearn.datasets", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics",
    "sklearn.model_selection", "sklearn.neighbors", "sklearn.svm", "sklearn.tree", "tokenizers", "torch._dynamo", "torchvision",
    "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
)  # fmt: skip


def warm() -> None:
    """Import what every trial needs. Nothing is computed: a started thread pool would not survive the fork."""
    for name in HEAVY:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def _child(trial: Trial, baked: Path, scratch: Path, out: Path) -> None:
    from trial import late
    from trial import trial as run_trial

    start = out.parent / "start" / f"{trial.base.name} {trial.seed} {source_hash()}".replace(" ", "_")
    control = trial.name.startswith("control ")
    usable = start if (control and not trial.light) or (late(trial.fault) and not control and start.exists()) else None
    began = time.perf_counter()
    folder = scratch / out.stem
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    try:
        result = run_trial(baked, folder, trial.base, trial.fault, trial.seed, trial.light, usable, trial.steps)
    except Exception as error:
        result = {"broken": f"{type(error).__name__}: {error}"}
    result |= {"seconds": round(time.perf_counter() - began, 2)}
    _write(out, trial, result)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _write(out: Path, trial: Trial, result: dict[str, Any]) -> None:
    content = {"name": trial.name, "strength": trial.strength, "base": trial.base.name, "code": source_hash(), **result}
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, out)


def run_all(trials: Iterable[Trial], out: Path, keep: bool = False, workers: int = WORKERS) -> None:
    """Run what is not in `out` yet, or was run on other code (unless `keep`); one JSON each."""
    out.mkdir(parents=True, exist_ok=True)
    now = source_hash()
    todo = [t for t in trials if not _done(t, out / t.file, now, keep)]
    print(f"{len(todo)} trials to run", flush=True)
    if not todo:
        return
    warm()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        with contextlib.redirect_stdout(None):
            baked = bake_all(Path(name))
        running: list[tuple[Any, float, Trial]] = []
        while todo or running:
            while todo and len(running) < workers:
                trial = todo.pop(0)
                process = multiprocessing.get_context("fork").Process(
                    target=_child, args=(trial, baked[trial.base.modality], Path(name), out / trial.file)
                )
                process.start()
                running.append((process, time.monotonic(), trial))
            running = _reap(running, out)
            time.sleep(0.05)


def _done(trial: Trial, path: Path, now: str, keep: bool) -> bool:
    if not path.exists():
        return False
    result = json.loads(path.read_text())
    whole = "broken" not in result and (trial.light or not result.get("light", False))
    return whole and (keep or result.get("code") == now)


def _reap(running: list[tuple[Any, float, Trial]], out: Path) -> list[tuple[Any, float, Trial]]:
    left = []
    for process, began, trial in running:
        if process.is_alive() and time.monotonic() - began < LIMIT:
            left.append((process, began, trial))
            continue
        if process.is_alive():
            process.kill()
        process.join()
        path = out / trial.file
        if process.exitcode != 0:
            _write(path, trial, {"broken": f"exit code {process.exitcode}"})
        result = json.loads(path.read_text())
        print(f"  {trial.file[:-5]:<44} {result.get('seconds', 0):6.1f} s  {result.get('broken', '')}", flush=True)
    return left
