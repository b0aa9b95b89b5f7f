"""Load on one server: python bench/serving.py [SECONDS] [FOLDER]. Writes docs/serving.md; a quarter of an hour on two cores.

Beside a server written by hand (serving_rate.py), among hostile clients for SECONDS (60; serving_hostile.py), and under load:
clients that never pause for SECONDS on a table and a quarter of that on images and texts, a promote and a rollback in the
middle, kill -9 while they ask again, and a restart. FOLDER keeps the trained projects, and is used again if it is there.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import serving_hostile
import serving_rate
import test_production as production

CLIENTS = 4
SAME = 20  # rows that are asked again after the rollback
MODELS = {
    "tabular": "MLP, 2,100 flights",
    "image": "ResNet-18, digits at 32 x 32",
    "text": "MiniLM with LoRA, 24 tokens",
}


@dataclass
class Load:
    """found: (moment, seconds, status, version, ids) of each answer. broken: connections lost before `killed` was set."""

    found: list[tuple[float, float, int, str, list[str]]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    killed: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, port: int, rows: list[dict[str, Any]]) -> None:
        """All clients begin to ask."""
        self.stop.clear()
        self.threads = [threading.Thread(target=client, args=(port, rows, self)) for _ in range(CLIENTS)]
        [thread.start() for thread in self.threads]

    def end(self) -> None:
        """Each client gets its last answer."""
        self.stop.set()
        [thread.join() for thread in self.threads]


def client(port: int, rows: list[dict[str, Any]], load: Load) -> None:
    """Ask for one row after the other on a connection that is kept open, until told to stop or the server is killed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    number = 0
    while not load.stop.is_set():
        number += 1
        body = json.dumps({"rows": [rows[number % len(rows)]]})
        began = time.perf_counter()
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            told = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not load.killed.is_set():
                load.broken.append(repr(error))
            return
        ids = [one["id"] for one in told.get("predictions", [])]
        seconds = time.perf_counter() - began
        load.found.append((time.monotonic(), seconds, response.status, told.get("version", ""), ids))


def resident(pid: int) -> float:
    """Memory of a process in MB (Linux)."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return int(words[words.index("VmRSS:") + 1]) / 1024


def change(project: Path, words: str, load: Load) -> float:
    """Seconds from the start of the command until a client has an answer by another version."""
    before, began = load.found[-1][3], time.monotonic()
    forced = ["--force", "a bench without checks"] if words == "promote" else []
    command = [sys.executable, "-m", "recipe_kit", words, *forced]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")]), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    while load.found[-1][3] == before:
        time.sleep(0.005)
    return next(moment for moment, _, _, version, _ in load.found if moment > began and version != before) - began


def under_load(project: Path, seconds: float) -> dict[str, Any]:
    """Load, change versions, kill, restart, count."""
    rows = production.rows_of(project)[1]
    load, memory = Load(), []
    with production.served(project) as server:
        asked = [server.predict(rows[i : i + 1])[1]["predictions"][0]["probabilities"] for i in range(SAME)]
        began = time.monotonic()
        load.start(server.port, rows)
        took = {}
        for part in range(6):
            time.sleep(max(0.0, began + (part + 1) * seconds / 6 - time.monotonic()))
            memory.append(resident(server.process.pid))
            if part in (1, 3):
                words = "promote" if part == 1 else "rollback"
                took[words] = change(project, words, load)
        load.end()
        lasted, found = time.monotonic() - began, list(load.found)
        again = [server.predict(rows[i : i + 1])[1]["predictions"][0]["probabilities"] for i in range(SAME)]
        load.start(server.port, rows)
        time.sleep(1)
        health = server.ask("GET", "/health")[1]
        load.killed.set()
        os.kill(server.process.pid, signal.SIGKILL)
        end = time.monotonic()
        load.end()
        server.process.wait()
    with closing(sqlite3.connect(project / "predictions.db")) as log:
        whole = log.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = {name for (name,) in log.execute("SELECT id FROM predictions")}
    with production.served(project) as server:
        restarted = server.predict(rows[:1])[0] == 200
    late = [end - moment for moment, *_, ids in load.found if not kept.issuperset(ids)]
    times = sorted(seconds for _, seconds, *_ in found)
    return {
        "requests": len(found),
        "failed": sum(status != 200 for _, _, status, *_ in found) + len(load.broken),
        "rate": len(found) / lasted,
        "quantiles": [1000 * times[int(q * (len(times) - 1))] for q in (0.5, 0.95, 0.99, 1.0)],
        "memory": memory,
        "same": asked == again,
        "took": took,
        "logged": health["logged"],
        "not_logged": health["not_logged"],
        "kept": len(kept),
        "late": late,
        "restarted": whole and restarted,
    }


def locked(project: Path, seconds: float) -> str:
    """A line of the table of a locked log: clients ask while another process is writing to its file, and go on a second longer."""
    for left in project.glob("locked.db*"):
        left.unlink()
    load = Load()
    with production.served(project, "--log", "locked.db") as server:
        with closing(sqlite3.connect(project / "locked.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            load.start(server.port, production.rows_of(project)[1])
            time.sleep(seconds)
            during = server.ask("GET", "/health")[1]
            other.execute("ROLLBACK")
        released = time.monotonic()
        time.sleep(1)
        load.end()
        while (health := server.ask("GET", "/health")[1])["logged"] + health["not_logged"] < len(load.found):
            time.sleep(0.05)
        lasted = time.monotonic() - released
    with closing(sqlite3.connect(project / "locked.db")) as log:
        kept = {name for (name,) in log.execute("SELECT id FROM predictions")}
    told = {name for *_, ids in load.found for name in ids}
    times = sorted(took for moment, took, *_ in load.found if moment < released)
    failed = sum(status != 200 for _, _, status, *_ in load.found) + len(load.broken)
    p50, p99 = (1000 * times[int(q * (len(times) - 1))] for q in (0.5, 0.99))
    return (
        f"| {seconds:g} | {len(times):,} | {failed} | {p50:.1f} | {p99:.1f} | {during['logged']:,} | {lasted:.1f} |"
        f" {len(told & kept):,} of {len(told):,} | {health['not_logged']:,} |"
    )


def row(name: str, seconds: float, one: dict[str, Any]) -> str:
    """A line of the table of load."""
    latencies = " | ".join(f"{q:.1f}" for q in one["quantiles"])
    memory = ", ".join(f"{m:.0f}" for m in one["memory"])
    return (
        f"| {name} | {seconds:g} | {one['requests']:,} | {one['failed']} | {one['rate']:.0f} | {latencies} | {memory} |"
    )


def change_row(name: str, one: dict[str, Any]) -> str:
    """A line of the table of changes."""
    same = "yes" if one["same"] else "NO"
    return f"| {name} | {one['took']['promote']:.2f} | {one['took']['rollback']:.2f} | {same} |"


def log_row(name: str, one: dict[str, Any]) -> str:
    """A line of the table of the log."""
    late = f"{len(one['late'])}, none older than {max(one['late']):.2f} s" if one["late"] else "0"
    there = "all" if one["kept"] >= one["logged"] else f"NO: {one['logged'] - one['kept']} are missing"
    restarted = "yes" if one["restarted"] else "NO"
    return f"| {name} | {one['logged']:,} | {there} | {one['not_logged']} | {late} | {restarted} |"


PAGE = """# One server under load

## Beside a server written by hand

[A plain FastAPI server](../bench/serving_bare.py) with the same exported network: pydantic checks the types of a row,
nothing is logged, no version can change. Both servers run in a process of their own with one thread for torch, on the cores of the {clients} clients,
each of which asks on one connection without a pause. {rounds} rounds of {turns:g} s a server, in turns of half a second; medians
over the rounds, and ratios of ours to the other (geometric mean, 95 % interval by Student's t). The last column is requests a
second times the seconds that the network and its preprocessing take for such a request in the other server's process without
HTTP: 1 means that nothing else takes time; it is above 1 where requests that wait are computed together. Load of the machine
before: {busy:.1f}; above 1, other work ran on these cores, so that single numbers are low and intervals wide.

| model | rows a request | by hand: a second | p50 ms | p99 ms | ours: a second | p50 ms | p99 ms | ratio a second | ratio p99 | of the network's own speed |
|---|---|---|---|---|---|---|---|---|---|---|
{rate}

## Among hostile clients

{good} good clients ask for one row after the other, each on a new connection. Beside them: {slow} connections that send a letter
every half second and never end their headers; clients that hang up in the middle of a request for a hundred rows or after it;
bodies and rows that cannot be read; for images, files of some kilobytes that unpack to 20 and 200 million pixels. In each sixth of the time
something happens: the disk is full for the log (a file may grow to {full} bytes and no further), and is not any more; a promote; a
rollback; kill -9 and a restart. "Without a server" are the seconds from the kill until the new process answers; no other
request of a good client may fail.

| model | seconds | good answers | failed | without a server, s | p50 ms | p99 ms | longest ms | rows not logged | errors of the model | tracebacks | memory in MB, at each sixth |
|---|---|---|---|---|---|---|---|---|---|---|---|
{hostile}

The last number is of the process after the restart. What each kind of client got (statuses, or how its connection ended while
the server was dead):

| model | client | got |
|---|---|---|
{clients_got}

## Under load

Made by `python bench/serving.py` ({cores} cores, {machine}, Python {python}; load of the machine before it: {busy:.1f}).
The clients run on the same cores: {clients} of them, each on one connection, asking for one row after the other without a
pause. A version is promoted after a third of the time and rolled back after two thirds; the same clients begin again, and
after a second of that the server is killed with SIGKILL, and started again.

| model | seconds | requests | failed | a second | p50 ms | p95 ms | p99 ms | longest ms | memory in MB, at each sixth |
|---|---|---|---|---|---|---|---|---|---|
{load}

Memory rises once, at the promote: the version before stays loaded, so that a rollback has nothing to load.

## Promote and rollback

Seconds from the start of the command, under this load, until a client has an answer by the other version. After the load
{same} rows are asked, one by one, that were asked before it: the same to the last bit? (Rows of several requests are computed
together when they come at once; that may change the last digit of a 32-bit number, whichever version serves.)

| model | promote | rollback | the same bits |
|---|---|---|---|
{change}

## The log after kill -9

Acknowledged is what `/health` counted as logged just before the kill. A row is committed at most about 0.1 s after its
answer, without holding the answer up: the last column but one counts answers that clients had and the log has not.

| model | acknowledged | there after the kill | lost before it | answered, not in the log | whole, and serves again |
|---|---|---|---|---|---|
{log}

## The log while its file is locked

The clients ask for single rows of a table without a pause, while another process keeps a write transaction open on the log, and
for a second after it. Answers do not wait for the log: it catches up when the lock is gone, and counts what found no room.

| seconds locked | answers meanwhile | failed | p50 ms | p99 ms | rows in the log at the end of it | seconds until all were there | rows in the log | counted as lost |
|---|---|---|---|---|---|---|---|---|
{locked}
"""


def make(folder: Path, modality: str) -> Path:
    """A trained project with two versions, of two seeds; the first is promoted."""
    (folder / modality).mkdir()
    project = production.make(folder / modality, modality)
    production.recipes(
        project, ["train", "seed=1", *production.SECOND], ["export", "--run", "0004-train", *production.SECOND]
    )
    return project


def main(seconds: float, folder: Path) -> None:
    """Each kind of data, then the page."""
    lines: dict[str, list[str]] = {name: [] for name in ("rate", "hostile", "clients_got", "load", "change", "log")}
    made = {m: folder / m / "my-model" if (folder / m).is_dir() else make(folder, m) for m in MODELS}
    busy, turns = os.getloadavg()[0], seconds / 40
    print(f"measuring from {time.strftime('%H:%M:%S')} on, load {busy:.1f}", flush=True)
    for modality, what in MODELS.items():
        lines["rate"] += serving_rate.compare(made[modality], what, (1, 100) if modality == "tabular" else (1, 16), turns)
    for modality in ("tabular", "image"):
        first, *more = serving_hostile.lines(MODELS[modality], seconds, serving_hostile.run(made[modality], seconds))
        lines["hostile"].append(first)
        lines["clients_got"] += more
        print(first, *more, sep="\n", flush=True)
    for modality, what in MODELS.items():
        (made[modality] / "predictions.db").unlink(missing_ok=True)
        lasting = seconds if modality == "tabular" else seconds / 4
        one = under_load(made[modality], lasting)
        lines["load"].append(row(what, lasting, one))
        lines["change"].append(change_row(what, one))
        lines["log"].append(log_row(what, one))
        print(lines["load"][-1], lines["change"][-1], lines["log"][-1], sep="\n", flush=True)
    print(found := locked(made["tabular"], seconds), flush=True)
    facts = {"locked": found, "cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version(), "busy": busy}
    facts |= {"rounds": serving_rate.ROUNDS, "turns": turns, "good": serving_hostile.GOOD, "slow": serving_hostile.SLOW}
    facts |= {"full": serving_hostile.FULL}
    tables = {name: "\n".join(rows) for name, rows in lines.items()}
    (ROOT / "docs" / "serving.md").write_text(PAGE.format(clients=CLIENTS, same=SAME, **facts, **tables))


if __name__ == "__main__":
    lasting = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    if len(sys.argv) > 2:
        Path(sys.argv[2]).mkdir(exist_ok=True)
        main(lasting, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(lasting, Path(temporary))
