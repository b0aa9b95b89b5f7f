"""Kill a training run at every step, at every file operation and inside its writes; resume; compare with one left alone.

    python tests/crash.py                 every point, all kinds of data; writes docs/resume.md (also: make crash-test)
    python tests/crash.py NAME            every point of one kind, as JSON on stdout
    python tests/crash.py --quick NAME    a few of them (used by test_crash.py)

The process imports torch once and forks: a child is killed by SIGKILL (or by the kernel, at an exact byte of a file), a
second child runs the same command again with --resume auto. Everything the run leaves behind must then be equal, with
tolerance 0.0, to what an uninterrupted run left: weights, optimizer, schedule, generators, curves, outputs, metrics.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
sys.dont_write_bytecode = True

import numpy as np
import torch
from conftest import QUESTIONS, ROOT, module

torch.set_num_threads(1)
SETTINGS = {
    "task": "binary", "iid": "drawn one by one", "tracker": "none", "device": "cpu", "bootstrap": 100, "patience": 0,
    "epochs": 2, "batch_size": 16, "accumulate": 2, "dropout": 0.1,
}  # fmt: skip
SYSTEM = ("mkdir", "fsync", "replace", "rename", "unlink", "rmdir")  # the file operations that are counted
TIMES = ("seconds", "loader_seconds")  # the only values that may differ


@dataclass(frozen=True)
class Point:
    """Where to kill. where: a key of WHERE. number: which call of it. byte: at which byte of a file. often: whether the
    state is saved after every step, or after every epoch only."""

    where: str
    number: int
    byte: int = 0
    often: bool = False


WHERE = {
    "before a step": "SIGKILL before the forward pass",
    "inside a step": "SIGKILL between backward pass and update",
    "after a step": "SIGKILL when the weights have moved and nobody has noted it",
    "epochs only": "SIGKILL before a step; the state is saved after every epoch only",
    "SIGTERM": "SIGTERM during a step: exit 143 after saving",
    "SIGINT": "SIGINT during a step: exit 130 after saving",
    "file operation": "SIGKILL before every mkdir, fsync, rename and unlink of the whole command",
    "inside a write": "killed by the kernel at a byte of a checkpoint's file",
    "over and over": "SIGKILL after every single step of one run, which is resumed every time",
}


@dataclass
class Subject:
    """One kind of data: a project folder that is copied for every point, and its train command."""

    name: str
    root: Path
    workers: int = 0

    def module(self, name: str) -> Any:
        return module(name)

    def recipe(self, folder: Path, step: str = "train", *words: str) -> int:
        """Run one step in `folder`, as `recipe` would."""
        forced = ["--force", "kill sweep"] if step in ("split", "train") else []
        resume = ["--resume", "auto"] if step == "train" else []
        return self.module("cli").main([step, *words, "--project", str(folder), "--quiet", *forced, *resume])


def in_child(action: Callable[[], int]) -> int:
    """Exit status of `action` run in a forked child; minus the signal's number when one killed it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_subject(name: str, folder: Path, workers: int = 0) -> Subject:
    """A project of one kind of data with toy data, split."""
    subject = Subject(name, folder / f"base-{name}-{workers}", workers)
    subject.root.mkdir(parents=True)
    for used in ("cli", "engine.loop", "steps.train", f"{name}.recipe", f"{name}.data", f"{name}.model"):
        subject.module(used)  # imported once, before any fork
    if name == "image":
        importlib.import_module("torchvision").models.get_model = narrow_resnet

    def fill() -> int:
        settings = {"modality": name, **SETTINGS, **DATA[name](subject)}
        lines = [f"{setting} = {json.dumps(value)}" for setting, value in settings.items()]
        (subject.root / "recipe.toml").write_text("\n".join(lines) + "\n")
        return subject.recipe(subject.root, "split")

    assert in_child(fill) == 0
    return subject


def write_table(subject: Subject) -> dict[str, Any]:
    """300 rows with numbers, a category and holes."""
    import polars as pl

    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4)).round(3)
    y = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * random.normal(size=300) > 0
    columns = {f"x{i}": x[:, i] for i in range(4)} | {
        "color": random.choice(list("abc"), 300),
        "target": y.astype(int),
    }
    (subject.root / "data").mkdir()
    pl.DataFrame(columns).write_csv(subject.root / "data" / "train.csv")
    return {"norm": "batch"}


def write_texts(subject: Subject) -> dict[str, Any]:
    """Short texts and a tiny random BERT with its own tokenizer."""
    helpers = importlib.import_module("kit.test_text")
    helpers.write_texts(subject.root, n=180)
    encoder = helpers.tiny_encoder(subject.root / "encoder")
    return {"target": "label", "encoder": str(encoder), "max_length": 32, "token_masking": 0.1, "lr": 2e-3}


def write_images(subject: Subject) -> dict[str, Any]:
    """Small pictures of bars, cropped and mixed at random, for a narrow ResNet; its head is trained first."""
    from safetensors.torch import save_file

    importlib.import_module("kit.test_image").write_images(subject.root, n=60)
    save_file(narrow_resnet().state_dict(), subject.root / "weights.safetensors")
    weights = {"weights": str(subject.root / "weights.safetensors"), "adapt": "head_first", "size": 16, "batch_size": 8}
    changes = {"augment": ["crop", "mixup"], "label_preserving": "a bar stays a bar", "workers": subject.workers}
    return {"data": "data/images", **weights, **changes}


def narrow_resnet(*_: Any, **__: Any) -> Any:
    """torchvision's ResNet with one block a stage and an eighth of the channels: a run takes a second."""
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> Any:
            return super()._make_layer(block, planes // 8, *args, **kwargs)

    network = Narrow(BasicBlock, [1, 1, 1, 1])
    network.fc = torch.nn.Linear(64, 1000)
    return network


def write_series(subject: Subject) -> dict[str, Any]:
    """Slow and fast waves of different lengths with gaps, a row a step, for a small LSTM with dropout."""
    helpers = importlib.import_module("test_sequence")
    (subject.root / "data").mkdir()
    helpers.waves(n=120).write_csv(subject.root / "data" / "train.csv")
    return {**helpers.LONG, "model": "lstm", "hidden": 8, "layers": 2, "dropout": 0.2, "lr": 0.01}


DATA: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "tabular": write_table,
    "image": write_images,
    "text": write_texts,
    "sequence": write_series,
}
WORKERS = {"image": (0, 2)}  # only decoding images is worth processes of its own


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(
    owner: Any, name: str, number: int, before: Callable[[], Any] | None, after: Callable[[], Any] | None
) -> None:
    """Run `before` and `after` around call `number` (from 1) of a function; number 0 stands for every call."""
    real, calls = getattr(owner, name), itertools.count(1)

    def counted(*args: Any, **kwargs: Any) -> Any:
        hit = next(calls) == number or not number
        if hit and before:
            before()
        result = real(*args, **kwargs)
        if hit and after:
            after()
        return result

    setattr(owner, name, counted)


def limit_files(byte: int) -> None:
    """From here on the kernel kills this process when it writes a file's byte number `byte`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte, byte))


def arm(subject: Subject, point: Point) -> None:
    """Set the trap of one point in this (forked) process."""
    loop, checkpoint = subject.module("engine.loop"), subject.module("engine.checkpoint")
    if point.often:
        loop.SAVE_SECONDS = -1.0
    if point.where in ("before a step", "epochs only", "over and over"):
        at_call(loop, "step", point.number, die, None)
    elif point.where == "inside a step":
        at_call(torch.nn.utils, "get_total_norm", point.number, None, die)
    elif point.where == "after a step":
        at_call(loop, "step", point.number, None, die)
    elif point.where in ("SIGTERM", "SIGINT"):
        at_call(loop, "step", point.number, lambda: os.kill(os.getpid(), getattr(signal, point.where)), None)
    elif point.where == "inside a write":
        at_call(checkpoint, "save", point.number, lambda: limit_files(point.byte), None)
    elif point.where == "file operation":
        calls = itertools.count(1)
        for name in SYSTEM:
            at_call(os, name, 0, lambda: die() if next(calls) == point.number else None, None)


def count(subject: Subject, folder: Path) -> dict[str, Any]:
    """Train undisturbed in `folder`; returns how often the places where one can be killed come by, and file sizes."""
    told = folder / ".counted"

    def action() -> int:
        found: dict[str, int] = dict.fromkeys(("step", "save", "system"), 0)

        def note(key: str) -> Callable[[], None]:
            return lambda: found.update({key: found[key] + 1})

        at_call(subject.module("engine.loop"), "step", 0, note("step"), None)
        at_call(subject.module("engine.checkpoint"), "save", 0, note("save"), None)
        for name in SYSTEM:
            at_call(os, name, 0, note("system"), None)
        status = subject.recipe(folder)
        told.write_text(json.dumps({**found, "modules": [name for name in sys.modules if name != "__main__"]}))
        return status

    assert in_child(action) == 0
    found = json.loads(told.read_text())
    for name in found["modules"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)  # once, here, and not in every child again
    newest = max((folder / "runs").glob("*-train/checkpoints/last-*"))
    sizes = {path.name: path.stat().st_size for path in newest.iterdir()}
    return {**found, "sizes": sizes}


def points(counted: dict[str, Any], quick: bool, workers: int) -> list[Point]:
    """All points of a run, or one of each kind. The files are the same whoever made the batches."""
    steps, weights, state = counted["step"], counted["sizes"]["weights.safetensors"], counted["sizes"]["state.pt"]
    every = range(1, steps + 1)
    found = [Point(where, k, often=True) for where in list(WHERE)[:3] for k in every]
    found += [Point(where, k) for where in ("epochs only", "SIGTERM", "SIGINT") for k in every]
    offsets = (0, 1, 8, 100, weights // 2, weights - 1, weights + 1, (weights + state) // 2, state - 1)
    if not workers:
        found += [Point("file operation", k) for k in range(1, counted["system"] + 1)]
        found += [Point("inside a write", k, byte) for k in range(1, counted["save"] + 1) for byte in offsets]
    found += [Point("over and over", 2, often=True)]
    if quick:
        of = [[point for point in found if point.where == where] for where in WHERE]
        found = [some[2 * len(some) // 3] for some in of if some]
    return found


def kill_and_resume(subject: Subject, point: Point, folder: Path) -> dict[str, Any]:
    """Be killed at `point`, resume until the run is done, and say how it went."""
    shutil.copytree(subject.root, folder)

    def first() -> int:
        arm(subject, point)
        return subject.recipe(folder)

    statuses = [in_child(first)]
    while point.where == "over and over" and statuses[-1] < 0 and len(statuses) < 100:
        statuses.append(in_child(first))
    runs = list((folder / "runs").glob("*-train"))
    finished = any((run / "record.json").exists() for run in runs)
    # Killed when all was written but the ledger's line: there is nothing to train, the next command adds the line.
    again = in_child(lambda: subject.recipe(folder, "runs" if finished else "train"))
    done = [path.parent for path in (folder / "runs").glob("*-train/record.json")]
    return {
        "killed": len(statuses) - (statuses[-1] == 0),
        "status": statuses[0],
        "again": again,
        "resumed": bool(runs) and len(list((folder / "runs").glob("*-train"))) == len(runs),
        "done": str(max(done)) if done else "",
    }


def differences(subject: Subject, one: Path, other: Path) -> tuple[float, list[str]]:
    """Largest absolute difference between two finished runs, and the names of everything that differs."""
    largest, names = 0.0, []
    for name, a, b in itertools.zip_longest(*zip(*everything(subject, one, other), strict=True), fillvalue=None):
        apart = distance(a, b)
        if apart != 0.0:
            names.append(name)
            largest = max(largest, apart)
    return largest, names


def everything(subject: Subject, one: Path, other: Path) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of all that a run leaves behind."""
    checkpoint = subject.module("engine.checkpoint")
    for kind in ("last", "best"):
        a, b = (checkpoint.load(run / "checkpoints", kind, print) for run in (one, other))
        yield f"{kind} weights", a.weights, b.weights
        yield f"{kind} progress", timeless(a.progress), timeless(b.progress)
        yield f"{kind} state", a.state, b.state  # optimizer, generators, gradient norms
    for file in ("outputs.npy", "y.npy", "losses.npy"):
        yield file, *(np.load(run / file, allow_pickle=False) for run in (one, other))
    for file in ("curves.json", "gradients.json", "prep.json", "worst.json"):
        yield file, *(timeless(json.loads((run / file).read_text())) for run in (one, other))
    records = [json.loads((run / "record.json").read_text()) for run in (one, other)]
    for key in ("status", "config", "fingerprint", "result", "findings"):
        yield f"record {key}", *(timeless(record[key]) for record in records)
    rows = [[json.loads(line) for line in (run.parents[1] / "EXPERIMENTS.jsonl").open()] for run in (one, other)]
    kept = ("step", "status", "metric", "value", "low", "high", "fingerprint", "seed")
    yield "ledger", *([{key: row.get(key) for key in kept} for row in of] for of in rows)


def timeless(value: Any) -> Any:
    """JSON without the values that measure time, and without the number of the run's folder."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value


def distance(a: Any, b: Any) -> float:
    """0.0 when equal in type, shape and every bit; the largest absolute difference of tensors; inf for all else."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((distance(a[key], b[key]) for key in a), default=0.0)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return max((distance(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return distance(torch.from_numpy(a), torch.from_numpy(b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype:
        return 0.0 if torch.equal(a, b) else float((a.double() - b.double()).abs().max()) or float("inf")
    return 0.0 if type(a) is type(b) and (a == b or a != a) else float("inf")


def sweep(subject: Subject, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Kill at every point; one row of the table per place, with everything that went wrong."""
    reference = folder / "reference"
    shutil.copytree(subject.root, reference)
    counted = count(subject, reference)
    whole = max((reference / "runs").glob("*-train"))
    rows: dict[str, dict[str, Any]] = {}
    for number, point in enumerate(points(counted, quick, subject.workers)):
        before = time.perf_counter()
        place = folder / f"point-{number}"
        went = kill_and_resume(subject, point, place)
        apart, names = differences(subject, whole, Path(went["done"])) if went["done"] else (float("inf"), ["no run"])
        row = rows.setdefault(
            point.where, {"data": subject.name, "workers": subject.workers, "where": point.where, "points": 0, "resumed": 0,
                          "over": 0, "difference": 0.0, "wrong": [], "seconds": 0.0},
        )  # fmt: skip
        expected = {"SIGTERM": 143, "SIGINT": 130}.get(point.where)
        if went["again"] != 0 or apart or expected not in (None, went["status"]):
            row["wrong"].append(f"{point}: {went} {names}")
        row["points"] += went["killed"]
        row["resumed" if went["resumed"] else "over"] += went["killed"]
        row["difference"] = max(row["difference"], apart)
        row["seconds"] += time.perf_counter() - before
        shutil.rmtree(place)
    return list(rows.values())


def main() -> int:
    """Sweep; print JSON with --quick, write the page otherwise. Exit status 1 when anything differed."""
    quick = "--quick" in sys.argv
    rows: list[dict[str, Any]] = []
    chosen = [word for word in sys.argv[1:] if word != "--quick"]
    names = chosen or QUESTIONS["modality"]
    for name, workers in [(kind, number) for kind in names for number in WORKERS.get(kind, (0,))]:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            subject = make_subject(name, Path(folder), workers)
            rows += sweep(subject, Path(folder), quick)
        print(json.dumps(rows), flush=True)
    if not quick and not chosen:
        (ROOT / "docs" / "resume.md").write_text(page(rows))
    return int(any(row["wrong"] for row in rows))


def page(rows: list[dict[str, Any]]) -> str:
    """docs/resume.md."""
    text = (ROOT / "tests" / "resume.md").read_text()
    lines = ["| data | killed | points | went on | began anew | largest difference | not equal | seconds |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        data = f"{row['data']}, {row['workers']} workers" if row["workers"] else row["data"]
        numbers = [row[key] for key in ("points", "resumed", "over", "difference")]
        cells = [data, WHERE[row["where"]], *numbers, len(row["wrong"]), round(row["seconds"])]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    total = f"{sum(row['points'] for row in rows)} points, {sum(len(row['wrong']) for row in rows)} not equal."
    return text.replace("<!-- table -->", "\n".join(lines)).replace("<!-- total -->", total)


if __name__ == "__main__":
    sys.exit(main())
