"""A server between good clients and hostile ones: slow headers, image bombs, bad rows, clients that leave, a full disk for the
log, a promote, a rollback, kill -9 and a restart."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import test_production as production
from conftest import environment
from PIL import Image

GOOD = 2  # good clients
SLOW = 40  # connections that are kept waiting
FULL = 4096  # bytes that a file of the server may grow to while its disk is full
JSON = {"Content-Type": "application/json"}


@dataclass
class Scene:
    """server: the one that runs now. got: kind of client -> what it got -> times. failed: moments at which a good client got
    no answer, and why. times: seconds of each good answer."""

    rows: list[dict[str, Any]]
    server: production.Server
    got: dict[str, Counter[str]] = field(default_factory=dict)
    failed: list[tuple[float, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def send(self, kind: str, body: bytes) -> str:
        """Status of a request on a connection of its own, or what broke."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=40)) as connection:
                connection.request("POST", "/predict", body, JSON)
                response = connection.getresponse()
                told = str(response.status)
                if not isinstance(json.loads(response.read()), dict):
                    told = "no JSON object"
        except (OSError, http.client.HTTPException, ValueError) as error:
            told = type(error).__name__
        self.got.setdefault(kind, Counter())[told] += 1
        return told


def good(scene: Scene) -> None:
    """Ask for one row after the other."""
    number = 0
    while not scene.stop.is_set():
        began, number = time.monotonic(), number + 1
        told = scene.send("good", json.dumps({"rows": [scene.rows[number % len(scene.rows)]]}).encode())
        if told == "200":
            scene.times.append(time.monotonic() - began)
        else:
            scene.failed.append((time.monotonic(), told))
            time.sleep(0.05)


def picture(kind: str, width: int, height: int) -> str:
    """An image of one color, in base64."""
    content = io.BytesIO()
    Image.new("1", (width, height)).convert("RGB").save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def bombs(scene: Scene) -> None:
    """Small files that unpack to 20 and to 200 million pixels, and many that do so together."""
    name = next(iter(scene.rows[0]))
    some = [[picture("PNG", 5000, 4000)], [picture("WEBP", 5000, 4000)], [picture("PNG", 20000, 10000)], [picture("PNG", 1500, 1200)] * 20]
    bodies = [json.dumps({"rows": [{name: one} for one in few]}).encode() for few in some]
    while not scene.stop.is_set():
        scene.send("bombs", random.choice(bodies))
        time.sleep(0.05)


def bad_rows(scene: Scene) -> None:
    """Rows and bodies that cannot be read."""
    name = next(iter(scene.rows[0]))
    values = [None, 3, "", "/etc/passwd", "\ud800", [], {}, True, "AAAA", "x" * 100_000, base64.b64encode(b"GIF89a").decode()]
    bodies = [json.dumps({"rows": [scene.rows[0], {name: value}]}).encode() for value in values]
    bodies += [b"", b"{", b"[" * 100_000, b'{"rows": []}', b'{"rows": [1]}', b"\xff\xfe", b'{"rows": [{"' + name.encode() + b'": 1' + b"0" * 5000 + b"}]}"]
    while not scene.stop.is_set():
        scene.send("bad rows", random.choice(bodies))
        time.sleep(0.02)


def slow_headers(scene: Scene) -> None:
    """Connections that say nothing, or send a letter now and then."""
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
    held: list[socket.socket] = []
    while not scene.stop.is_set():
        with suppress(OSError):
            while len(held) < SLOW:
                held.append(socket.create_connection(("127.0.0.1", scene.server.port), timeout=1))
                scene.got.setdefault("slow headers", Counter())["opened"] += 1
        for one in list(held):
            try:
                one.sendall(head if random.random() < 0.1 else b"x")
            except OSError:
                scene.got["slow headers"]["closed by the server"] += 1
                held.remove(one)
        time.sleep(0.5)
    [one.close() for one in held]


def leaves(scene: Scene) -> None:
    """Send a request for a hundred rows, or a half of it, and hang up."""
    body = json.dumps({"rows": (scene.rows * 100)[:100]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    while not scene.stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", scene.server.port), timeout=5) as one:
            one.sendall(head.encode() + body[: random.choice([len(body), len(body) // 2])])
            scene.got.setdefault("clients that leave", Counter())["sent"] += 1
        time.sleep(0.2)


def start(project: Path, port: int, said: Path) -> production.Server:
    """A server whose words go to a file; None of them may be a traceback."""
    command = [sys.executable, "-m", "recipe_kit", "serve", "--port", str(port)]
    with said.open("ab") as file:
        process = subprocess.Popen(command, cwd=project, env=environment(project), stdout=file, stderr=file)
    server = production.Server(port, process)
    server.wait()
    return server


def resident(pid: int) -> float:
    """Memory of a process in MB (Linux)."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return int(words[words.index("VmRSS:") + 1]) / 1024


def run(project: Path, seconds: float) -> dict[str, Any]:
    """Everything at once for so long; in each sixth of it something happens to the server."""
    rows, said = production.rows_of(project)[1], project / "hostile.txt"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scene = Scene(rows, start(project, port, said))
    clients: list[Callable[[Scene], None]] = [good] * GOOD + [bad_rows, slow_headers, leaves]
    clients += [bombs] if production.kind(project) == "image" else []
    threads = [threading.Thread(target=client, args=(scene,)) for client in clients]
    [thread.start() for thread in threads]
    began, memory, found = time.monotonic(), [], {}
    whole = resource.prlimit(scene.server.process.pid, resource.RLIMIT_FSIZE)
    for part in range(6):
        time.sleep(max(0.0, began + (part + 1) * seconds / 6 - time.monotonic()))
        memory.append(resident(scene.server.process.pid))
        if part == 0:
            resource.prlimit(scene.server.process.pid, resource.RLIMIT_FSIZE, (FULL, whole[1]))
        elif part == 1:
            found["lost"] = scene.server.ask("GET", "/health")[1]["not_logged"]
            resource.prlimit(scene.server.process.pid, resource.RLIMIT_FSIZE, whole)
        elif part in (2, 3):
            words = "promote" if part == 2 else "rollback"
            forced = ["--force", "a bench without checks"] if words == "promote" else []
            recipe = [sys.executable, "-m", "recipe_kit", words, *forced]
            subprocess.run(recipe, cwd=project, env=environment(project), check=True, capture_output=True)
        elif part == 4:
            found["before"] = scene.server.ask("GET", "/health")[1]
            killed = time.monotonic()
            os.kill(scene.server.process.pid, signal.SIGKILL)
            scene.server.process.wait()
            scene.server = start(project, port, said)
            found["dead"] = (killed, time.monotonic())
    scene.stop.set()
    [thread.join() for thread in threads]
    health, ready = scene.server.ask("GET", "/health")[1], scene.server.ask("GET", "/ready")[0]
    scene.server.process.send_signal(signal.SIGTERM)
    scene.server.process.wait(40)
    outside = [(at, why) for at, why in scene.failed if not found["dead"][0] <= at <= found["dead"][1]]
    times = sorted(scene.times)
    return {
        "got": scene.got, "answered": len(times), "failed": outside, "dead": found["dead"][1] - found["dead"][0], "memory": memory,
        "quantiles": [1000 * times[int(q * (len(times) - 1))] for q in (0.5, 0.99, 1.0)], "lost": found["lost"],
        "errors": found["before"]["errors"] + health["errors"], "ready": ready, "said": said.read_text(),
    }  # fmt: skip


def lines(name: str, seconds: float, one: dict[str, Any]) -> list[str]:
    """A line of the table for the good clients, and one for each kind of hostile one."""
    p50, p99, longest = one["quantiles"]
    memory = ", ".join(f"{m:.0f}" for m in one["memory"])
    tracebacks = one["said"].count("Traceback")
    first = (
        f"| {name} | {seconds:g} | {one['answered']:,} | {len(one['failed'])} | {one['dead']:.1f} | {p50:.1f} | {p99:.1f} | {longest:.0f} |"
        f" {one['lost']:,} | {one['errors']} | {tracebacks} | {memory} |"
    )
    told = [
        f"| {name} | {kind} | {', '.join(f'{what}: {n:,}' for what, n in sorted(got.items()))} |"
        for kind, got in one["got"].items()
    ]
    return [first, *told]
