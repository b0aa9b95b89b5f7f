"""Load on one server: python bench/serving.py [SECONDS]. Concurrent clients, a promote and a rollback in the middle, a kill.

Prints the requests a second, latencies, failures, memory before and after, and what of the log survived kill -9. The model is
an MLP on 2,100 flights; each request is one row on a connection that is kept open.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import test_production as production

CLIENTS = 4


def client(port: int, rows: list[dict], stop: threading.Event, found: list[tuple[float, int, str]]) -> None:
    """Ask without a pause; keep seconds, status and version of each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    number = 0
    while not stop.is_set():
        number += 1
        body = json.dumps({"rows": [rows[number % len(rows)]]})
        began = time.perf_counter()
        connection.request("POST", "/predict", body)
        response = connection.getresponse()
        told = json.loads(response.read())
        found.append((time.perf_counter() - began, response.status, told.get("version", "")))


def resident(pid: int) -> float:
    """Memory of a process in MB (Linux)."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return int(words[words.index("VmRSS:") + 1]) / 1024


def main(seconds: float) -> None:
    """Load, change versions, kill, count."""
    with tempfile.TemporaryDirectory() as folder:
        project = production.make(Path(folder), "tabular")
        production.recipes(
            project, ["train", "seed=1", "--because", "a second version"], ["export", "--run", "0004-train"]
        )
        rows = production.rows_of(project)[1]
        found: list[tuple[float, int, str]] = []
        stop = threading.Event()
        with production.served(project) as server:
            before = [server.predict(rows[i : i + 1])[1]["predictions"][0]["probabilities"] for i in range(20)]
            threads = [threading.Thread(target=client, args=(server.port, rows, stop, found)) for _ in range(CLIENTS)]
            [thread.start() for thread in threads]
            memory = []
            for words in (["promote", "2"], ["rollback"], []):
                time.sleep(seconds / 3)
                memory.append(resident(server.process.pid))
                if words:
                    production.recipes(project, words)
            stop.set()
            [thread.join() for thread in threads]
            after = [server.predict(rows[i : i + 1])[1]["predictions"][0]["probabilities"] for i in range(20)]
            health = server.ask("GET", "/health")[1]
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
        with sqlite3.connect(project / "predictions.db") as log:
            kept = log.execute("SELECT count(*) FROM predictions").fetchone()[0]
        times = sorted(t for t, _, _ in found)
        failed = sum(status != 200 for _, status, _ in found)
        print(
            f"requests {len(found):,}, failed {failed}, a second {len(found) / seconds:.0f}, versions {len({v for *_, v in found})}"
        )
        print(
            "latency ms: "
            + ", ".join(f"p{q} {1000 * times[int(q / 100 * (len(times) - 1))]:.1f}" for q in (50, 95, 99))
        )
        print(f"memory MB at each third: {', '.join(f'{m:.0f}' for m in memory)}")
        print(f"rolled back to the same bits: {before == after}")
        print(f"log: {health['logged']:,} acknowledged, {health['not_logged']} lost, {kept:,} there after kill -9")
        print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
