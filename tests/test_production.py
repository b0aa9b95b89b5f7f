"""From a trained model to answers over HTTP, for each kind of data: export, predict, serve, log, monitor, go back.

The server is a process of its own, the client is the standard library's.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT, bake, run

sys.path.insert(0, str(ROOT / "demo"))
import data

FLIGHTS = ["day", "flight", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance", "late"]
KNOBS: dict[str, dict[str, Any]] = {
    "tabular": {"task": "binary", "target": "late", "epochs": 3},
    "text": {"task": "multiclass", "target": "library", "adapt": "lora", "max_length": 24, "epochs": 1},
    "image": {"task": "multiclass", "target": "digit", "weights": "none", "size": 32, "lr": 1e-3, "epochs": 1},
}  # fmt: skip


def make(folder: Path, modality: str) -> Path:
    """A stamped project on a little real data, trained; the rows that production gets lie in new/."""
    knobs = {**KNOBS[modality], "iid": "each row is one of its kind", "tracker": "none"}
    project = bake(folder, modality=modality, task=knobs["task"])
    new = project / "new"
    new.mkdir()
    if modality == "tabular":
        _flights(project, new)
    elif modality == "text":
        data.docstrings(project / "data" / "train.csv", each=60)
        knobs["encoder"] = str(data.minilm())
        frame = pl.read_csv(project / "data" / "train.csv")
        frame[:40].select("text").write_csv(new / "rows.csv")
    else:
        data.digit_images(project / "data" / "images", classes=(1, 4, 7))
        for path in sorted((project / "data" / "images").rglob("*.png"))[::20]:
            (new / path.name).write_bytes(path.read_bytes())
    lines = (project / "recipe.toml").read_text().splitlines()
    kept = [line for line in lines if line.split(" = ")[0] not in knobs]
    (project / "recipe.toml").write_text("\n".join([*kept, *(f"{k} = {json.dumps(v)}" for k, v in knobs.items()), ""]))
    for step in ("split", "train"):
        recipe(project, step, "--because", "a short test without baseline and checks")
    return project


def _flights(project: Path, new: Path) -> None:
    """Flights of January, in random order, with some gaps; the next thousand are what production gets."""
    data.flights(new / "all.csv", months=1)
    frame = pl.read_csv(new / "all.csv", infer_schema_length=None, null_values=["NA", ""]).select(FLIGHTS)
    (new / "all.csv").unlink()
    frame = frame.filter(pl.col("late").is_not_null()).sample(fraction=1, shuffle=True, seed=0)
    gaps = pl.int_range(pl.len()) % 17 == 0
    frame = frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col("distance")).alias("distance"))
    frame[:3000].write_csv(project / "data" / "train.csv")
    frame[3000:4000].write_csv(new / "rows.csv")


def recipe(project: Path, *words: str, status: int = 0) -> str:
    """One command that has to end with this status; what it printed."""
    done = run(project, *words)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout[-2500:]}{done.stderr[-2500:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@contextmanager
def served(project: Path, *words: str) -> "Iterator[Server]":
    """A server in a process of its own, stopped by SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "my_model", "serve", "--port", str(port), *words]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server = Server(port, process)
    try:
        server.wait()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)


class Server:
    """One address to ask."""

    def __init__(self, port: int, process: Any) -> None:
        self.port, self.process = port, process

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                assert self.ask("GET", "/ready")[0] == 200
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"no server: {self.process.stdout.read() if self.process.poll() is not None else 'too slow'}")

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)) as connection:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content, headers or {})
            response = connection.getresponse()
            text = response.read()
        return response.status, json.loads(text) if response.getheader("content-type", "").endswith("json") else text.decode()

    def predict(self, rows: list[dict[str, Any]]) -> tuple[int, Any]:
        """POST /predict."""
        return self.ask("POST", "/predict", {"rows": rows})


@pytest.fixture(scope="module", params=["tabular", "text", "image"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project of each modality, exported and promoted."""
    made = make(tmp_path_factory.mktemp(request.param), request.param)
    recipe(made, "export")
    recipe(made, "promote")
    return made


def kind(project: Path) -> str:
    return next(m for m in KNOBS if (project / "src" / "my_model" / m).is_dir())


def rows_of(project: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The new data as a file or folder, and as a client sends them."""
    new = project / "new"
    if kind(project) == "image":
        return new, [{"path": base64.b64encode(p.read_bytes()).decode()} for p in sorted(new.glob("*.png"))]
    frame = pl.read_csv(new / "rows.csv", infer_schema_length=None)
    return new / "rows.csv", frame.drop("late", strict=False).to_dicts()


def test_files_and_requests_get_the_same_answers(project: Path) -> None:
    """predict, serve, log and monitor agree on real rows; the server stops cleanly and its log is whole."""
    source, rows = rows_of(project)
    recipe(project, "predict", str(source), "--out", "answers.csv")
    filed = pl.read_csv(project / "answers.csv").to_dicts()
    assert len(filed) == len(rows)
    with served(project) as server:
        status, found = server.predict(rows)
        assert status == 200, found
        assert [str(p["prediction"]) for p in found["predictions"]] == [str(row["prediction"]) for row in filed]
        for answer, row in zip(found["predictions"], filed, strict=True):
            for name, chance in answer["probabilities"].items():
                assert abs(chance - row[f"probability of {name}"]) < 1e-5
        assert found["version"] == filed[0]["model_version"]
        told = server.ask("GET", "/schema")[1]
        assert {c["name"] for c in told["columns"]} == set(rows[0])
        assert "<script>" in server.ask("GET", "/")[1] and server.ask("GET", "/openapi.json")[0] == 200
        assert server.predict([{"nonsense": 1}])[0] == 422
    with closing(sqlite3.connect(project / "predictions.db")) as log:
        logged = log.execute("SELECT id, version, prediction FROM predictions").fetchall()
    assert sorted(r[0] for r in logged) == sorted(p["id"] for p in found["predictions"])
    recipe(project, "monitor")
    content = json.loads((project / "monitor" / "monitor.json").read_text())
    assert not content["alarm"] and content["version"] == found["version"]
    assert [f["verdict"] for f in content["findings"]][:3] == ["PASS", "PASS", "PASS"]
