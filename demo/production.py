"""The end of each demo: the model becomes a version, answers a file and real requests over HTTP, and is watched."""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

WAIT = 60.0  # seconds for the server to load its libraries and the model


def production(project: Path, new: Path, recipe: Callable[..., None], red: bool) -> None:
    """`new`: rows that have come since, a table or a folder of images. `red`: they have drifted, and the monitor says so."""
    recipe(project, "export")
    recipe(project, "promote")
    recipe(project, "predict", str(new.relative_to(project)))
    serve(project, requests(new))
    recipe(project, "monitor", str(new.relative_to(project)), red=red)
    recipe(project, "versions")


def requests(new: Path) -> list[dict[str, Any]]:
    """The first hundred rows, as a client sends them: an image as its bytes in base64."""
    if new.is_dir():
        return [{"path": base64.b64encode(path.read_bytes()).decode()} for path in sorted(new.glob("*.png"))[:100]]
    if new.suffix == ".jsonl":
        return [json.loads(line) for line in new.read_text(encoding="utf-8").split("\n")[:100] if line]
    return pl.read_csv(new, infer_schema_length=None).head(100).to_dicts()


def serve(project: Path, rows: list[dict[str, Any]]) -> None:
    """Start the server, ask it row by row, stop it, and look at its log."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    print(f"\n$ recipe serve --port {address.rpartition(':')[2]} &", flush=True)
    paths = os.pathsep.join([str(project / "src"), str(project / "tools" / "recipe_kit")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "recipe_kit", "serve", "--port", address.rpartition(":")[2]]
    process = subprocess.Popen(command, cwd=project, env=environment)
    try:
        wait(address, process)
        body = json.dumps({"rows": rows[:1]})
        print(
            f"\n$ curl {address}/predict --json '{body[:100]}{' ...' * (len(body) > 100)}'\n{json.dumps(ask(address, rows[:1]))}"
        )
        began = time.monotonic()
        versions = {ask(address, [row])["version"] for row in rows}
        print(f"{len(rows)} requests answered in {time.monotonic() - began:.1f} s, by {', '.join(versions)}")
    finally:
        process.terminate()
        process.wait()
    query = "SELECT prediction, count(*), round(avg(score), 3), round(avg(latency_ms), 1) FROM predictions GROUP BY 1"
    with closing(sqlite3.connect(project / "predictions.db")) as log:
        print(f'\n$ sqlite3 predictions.db "{query}"')
        print("\n".join("|".join(map(str, row)) for row in log.execute(query)), flush=True)


def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server is ready."""
    until = time.monotonic() + WAIT
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ready"):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                sys.exit("demo: the server does not answer")
            time.sleep(0.2)


def ask(address: str, rows: list[dict[str, Any]]) -> Any:
    """POST /predict."""
    body = json.dumps({"rows": rows}).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)
