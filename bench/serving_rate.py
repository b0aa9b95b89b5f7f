"""Requests a second beside a server written by hand (serving_bare.py), and beside the network's own time, in turns."""

from __future__ import annotations

import json
import math
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import test_production as production
from conftest import environment

CLIENTS = 4
ROUNDS = 5
T95 = 2.776  # of Student's t, four degrees of freedom
DIFFERENT = 40  # requests that are asked in turns


SLICE = 0.5  # seconds of one turn: what else the machine does meets both servers


@dataclass
class Rate:
    """One server in one round. times: seconds of each request. lasted: seconds of all its turns."""

    times: list[float] = field(default_factory=list)
    lasted: float = 0.0

    @property
    def a_second(self) -> float:
        return len(self.times) / self.lasted

    def quantile(self, q: float) -> float:
        """Milliseconds."""
        return 1000 * sorted(self.times)[int(q * len(self.times))]


def requests(rows: list[dict[str, Any]], per: int) -> list[bytes]:
    """Whole HTTP requests, made before the clock starts."""
    made = []
    for start in range(DIFFERENT):
        body = json.dumps({"rows": [rows[(start * per + i) % len(rows)] for i in range(per)]}).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


def measure(port: int, made: list[bytes], rate: Rate) -> None:
    """A turn of four clients that never pause, each on a connection of its own."""
    stop = time.perf_counter() + SLICE

    def client(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
            while (began := time.perf_counter()) < stop:
                connection.sendall(made[number % len(made)])
                number += 1
                status, length = answers.readline(), 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                told = answers.read(length)
                if b" 200 " not in status:
                    raise RuntimeError(f"{status!r} {told[:300]!r}")
                rate.times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client, args=(i * DIFFERENT // CLIENTS,)) for i in range(CLIENTS)]
    began = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    rate.lasted += time.perf_counter() - began


@contextmanager
def bare(project: Path) -> Iterator[int]:
    """The server written by hand, on the version that is promoted; its port."""
    version = json.loads((project / "models" / "history.jsonl").read_text().removesuffix("\n").split("\n")[-1])["version"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "bench" / "serving_bare.py"), f"models/{version}", str(port)]
    process = subprocess.Popen(command, cwd=project, env=environment(project))
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def interval(ratios: list[float]) -> str:
    """Geometric mean of paired ratios, with its 95 % interval by Student's t on their logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, half = statistics.mean(logs), T95 * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f} to {math.exp(mean + half):.2f})"


def compare(project: Path, name: str, pers: tuple[int, ...], seconds: float) -> list[str]:
    """Lines of the table: both servers in turns, and the network alone in the process of the bare one."""
    rows = production.rows_of(project)[1]
    lines = []
    with bare(project) as by_hand, production.served(project, "--log", "rate.db") as server:
        for per in pers:
            made = requests(rows, per)
            both: list[tuple[Rate, Rate, float]] = []
            for number in range(ROUNDS + 1):
                first, second, own = Rate(), Rate(), []
                for _ in range(round(seconds / SLICE)):
                    measure(by_hand, made, first)
                    measure(server.port, made, second)
                    with urllib.request.urlopen(f"http://127.0.0.1:{by_hand}/own?seconds={SLICE}") as told:
                        own.append(json.loads(told.read())["seconds"])
                both += [(first, second, statistics.mean(own))] if number else []  # the round before is to warm up
            lines.append(_line(name, per, both))
            print(lines[-1], f"| load {os.getloadavg()[0]:.1f}", flush=True)
    return lines


def _line(name: str, per: int, both: list[tuple[Rate, Rate, float]]) -> str:
    def middle(values: Iterable[float]) -> float:
        return statistics.median(values)

    cells = []
    for of in (0, 1):
        cells.append(f"{middle(one[of].a_second for one in both):.0f}")
        cells.append(f"{middle(one[of].quantile(0.5) for one in both):.1f}")
        cells.append(f"{middle(one[of].quantile(0.99) for one in both):.1f}")
    ratio = interval([ours.a_second / hand.a_second for hand, ours, _ in both])
    tail = interval([ours.quantile(0.99) / hand.quantile(0.99) for hand, ours, _ in both])
    share = interval([ours.a_second * own for _, ours, own in both])
    return f"| {name} | {per} | {' | '.join(cells)} | {ratio} | {tail} | {share} |"
