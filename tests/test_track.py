"""Weights & Biases: an offline run holds every number and can be sent later; with the network cut, training goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import environment, run, wines

BUCKET = {
    "id": "1", "name": "r", "displayName": "r", "description": "", "config": "{}", "sweepName": None, "historyLineCount": 0,
    "project": {"id": "2", "name": "p", "entity": {"id": "3", "name": "e"}},
}  # fmt: skip
VIEWER = {"id": "1", "entity": "e", "username": "u", "flags": "{}", "teams": {"edges": []}}


class Service(BaseHTTPRequestHandler):
    """As much of W&B's protocol as its client needs to begin a run and send rows; keeps what it is sent."""

    def do_POST(self) -> None:
        """A question gets what the client cannot do without; rows are kept."""
        told = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if not self.path.endswith("/graphql"):
            self.server.sent.append(told)  # type: ignore[attr-defined]
            return self.answer({})
        there = f"http://127.0.0.1:{self.server.server_address[1]}/file"
        files = [{"name": name, "uploadUrl": there} for name in told["variables"].get("files", [])]
        answers = {
            "UpsertBucket": {"upsertBucket": {"bucket": {**BUCKET, "name": told["variables"].get("name")}, "inserted": True}},
            "CreateRunFiles": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}},
        }
        self.answer({"data": next((answers[name] for name in answers if name in told["query"]), {"viewer": VIEWER})})

    def do_PUT(self) -> None:
        """A file: taken, and not kept."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer({})

    def answer(self, value: dict) -> None:
        """Send JSON."""
        out = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


class Server:
    """The service on a free port of this machine, until it is cut off."""

    def __init__(self, port: int = 0) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Service)
        self.http.sent = []  # type: ignore[attr-defined]
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def rows(self) -> list[dict]:
        """History rows that arrived."""
        posts = [told["files"]["wandb-history.jsonl"] for told in self.http.sent if "wandb-history.jsonl" in told.get("files", {})]  # type: ignore[attr-defined]
        return [json.loads(line) for post in posts for line in post["content"]]

    def cut(self) -> None:
        """No more answers, nobody listens."""
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.cut()


@pytest.fixture(scope="module")
def split_wines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project on the wines, split and with a baseline."""
    made = wines(tmp_path_factory.mktemp("wines"))
    for step in ("split", "baseline"):
        assert run(made, step, "tracker=none", "--force", "the test of tracking").returncode == 0
    return made


@pytest.fixture
def project(split_wines: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(split_wines, tmp_path / split_wines.name))


TRAIN = ("train", "--force", "the test of tracking", "patience=0")


def online(project: Path, port: int) -> dict[str, str]:
    """What a user with an account has set; the client gives up after seconds instead of half a minute."""
    return {
        **environment(project),
        "WANDB_API_KEY": "0123456789" * 4,
        "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
        "WANDB_FINISH_TIMEOUT": "10",
        "NO_PROXY": "127.0.0.1",
    }


def sync(project: Path, server: Server) -> list[dict]:
    """`wandb sync` of the run's folder, as the README says; the rows that arrived."""
    folders = list((project / "runs").glob("*-train/wandb/*run-*"))
    assert len(folders) == 1
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--no-skip-online", str(folders[0])],
        env=online(project, server.port), cwd=project, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return server.rows()


@pytest.mark.parametrize("model", ["mlp", pytest.param("lightgbm", marks=pytest.mark.slow)])
def test_an_offline_run_is_whole_and_can_be_sent(project: Path, server: Server, model: str) -> None:
    assert run(project, *TRAIN, "tracker=wandb", "epochs=4", f"model={model}").returncode == 0
    rows = sync(project, server)
    curves = json.loads(next((project / "runs").glob("*-train/curves.json")).read_text())
    for name in ("val_loss", "val_metric"):
        assert [row[name] for row in rows] == pytest.approx([row[name] for row in curves])


def test_the_report_with_its_plots_goes_to_the_tracker(project: Path) -> None:
    assert run(project, *TRAIN, "epochs=2", "tracker=none").returncode == 0
    assert run(project, "report", "tracker=wandb").returncode == 0
    kept = list((project / "runs").glob("*-report/wandb/offline-run-*/files/media/html/*.html"))
    assert len(kept) == 1 and (project / "report.html").read_text()[-2000:] in kept[0].read_text()


@pytest.mark.parametrize("model", ["mlp", pytest.param("lightgbm", marks=pytest.mark.slow)])
def test_the_fitted_preprocessing_goes_to_the_tracker(project: Path, model: str) -> None:
    """What was learned of the training part, as a file of the very run that its curves are in."""
    assert run(project, *TRAIN, "epochs=2", "tracker=wandb", f"model={model}").returncode == 0
    sent = list((project / "runs").glob("*-train/wandb/offline-run-*/files/prep.json"))
    assert len(sent) == 1 and sent[0].read_bytes() == next((project / "runs").glob("*-train/prep.json")).read_bytes()


@pytest.mark.parametrize("model", ["mlp", pytest.param("lightgbm", marks=pytest.mark.slow)])
def test_every_trial_of_a_search_goes_to_the_tracker(project: Path, model: str) -> None:
    """As one table, with the setting that was tried and the value of the metric."""
    words = ("tune", "--trials", "2", "--seeds", "1", "--force", "the test of tracking", "epochs=2", f"model={model}")
    done = run(project, *words, "tracker=wandb")
    assert done.returncode == 0 and "did not take" not in done.stdout, done.stdout + done.stderr
    record = json.loads(next((project / "runs").glob("*-tune/record.json")).read_text())
    told = [(stage, t["value"], t["params"]) for stage, trials in record["result"]["stages"].items() for t in trials]
    kept = list((project / "runs").glob("*-tune/wandb/offline-run-*/files/media/table/trials_*.json"))
    assert len(kept) == 1
    table = json.loads(kept[0].read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == len(told) == 6
    for row, (stage, value, params) in zip(rows, told, strict=True):
        assert row["stage"] == stage and row["accuracy"] == pytest.approx(value)
        assert {name: row[name] for name in params} == pytest.approx(params)


@pytest.mark.parametrize("tracker", ["mlflow", "tensorboard"])
def test_the_other_trackers_take_them_too(project: Path, tracker: str) -> None:
    pytest.importorskip(tracker)
    assert run(project, *TRAIN, "epochs=2", f"tracker={tracker}").returncode == 0
    words = ("tune", "--trials", "2", "--seeds", "1", "--force", "the test of tracking", "epochs=2", f"tracker={tracker}")
    done = run(project, *words)
    assert done.returncode == 0 and "did not take" not in done.stdout, done.stdout + done.stderr
    runs = project / "runs"
    if tracker == "mlflow":
        assert len(list(runs.glob("mlflow/*/artifacts/prep.json"))) >= 1
        table = json.loads(next(runs.glob("mlflow/*/artifacts/trials.json")).read_text())
        assert {"stage", "state", "accuracy", "lr", "batch_size"} <= set(table["columns"]) and len(table["data"]) == 6
    else:
        events = [path.read_bytes() for path in runs.glob("*-train/tensorboard/events*")]
        assert any(b"prep.json" in content for content in events)
        assert len(list(runs.glob("*-tune/tensorboard/*/events*"))) == 6


def test_training_goes_on_when_the_network_is_cut(project: Path) -> None:
    server = Server()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "recipe_kit", *TRAIN, "tracker=wandb", "epochs=60"],
        env={**online(project, server.port), "WANDB_MODE": "online"}, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if "epoch   1" in line:
            break
    server.cut()
    began = time.monotonic()
    said += [f"{line}\n" for line in process.communicate(timeout=120)[0].split("\n")]
    words = "".join(said)
    assert process.returncode == 0 and "Traceback" not in words, words
    assert sum(line.startswith("  epoch") for line in said) == 60 and time.monotonic() - began < 60
    assert words.count("W&B did not take everything; send the rest: wandb sync --no-skip-online") == 1
    again = Server(server.port)
    rows = sync(project, again)
    again.cut()
    assert len(rows) == 60  # nothing that training logged while the network was gone is lost
