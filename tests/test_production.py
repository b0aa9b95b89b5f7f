"""From a trained model to answers over HTTP, for each kind of data: export, predict, serve, log, monitor, go back.

The server is a process of its own, the client is the standard library's.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from conftest import ROOT, bake, environment, run
from test_browser import CHROMIUM, Browser

sys.path.insert(0, str(ROOT / "demo"))
import data

FLIGHTS = ["day", "flight", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance", "late"]
SETTINGS: dict[str, dict[str, Any]] = {
    "tabular": {"task": "binary", "target": "late", "epochs": 3},
    "text": {"task": "multiclass", "target": "library", "adapt": "lora", "max_length": 24, "epochs": 1},
    "image": {"task": "multiclass", "target": "digit", "weights": "none", "size": 32, "lr": 1e-3, "epochs": 1},
}  # fmt: skip


def make(folder: Path, modality: str) -> Path:
    """A generated project on a little real data, trained; the rows that production gets lie in new/."""
    settings = {**SETTINGS[modality], "iid": "each row is one of its kind", "tracker": "none"}
    project = bake(folder, modality=modality, task=settings["task"])
    new = project / "new"
    new.mkdir()
    if modality == "tabular":
        _flights(project, new)
    elif modality == "text":
        data.docstrings(project / "data" / "train.csv", each=60)
        settings["encoder"] = str(data.minilm())
        frame = pl.read_csv(project / "data" / "train.csv")
        frame[:80].select("text").write_csv(new / "rows.csv")
    else:
        data.digit_images(project / "data" / "images", classes=(1, 4, 7))
        for path in sorted((project / "data" / "images").rglob("*.png"))[::8]:
            (new / path.name).write_bytes(path.read_bytes())
    lines = (project / "recipe.toml").read_text().removesuffix("\n").split("\n")
    kept = [line for line in lines if line.split(" = ")[0] not in settings]
    (project / "recipe.toml").write_text("\n".join([*kept, *(f"{k} = {json.dumps(v)}" for k, v in settings.items()), ""]))
    short = ["--force", "a short test without baseline and checks"]
    recipes(project, *([step, *short] for step in ("split", "train", "export", "promote")))
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


MANY = "import json, sys; from recipe_kit.cli import main; sys.exit(next(filter(None, (main(w) for w in json.loads(sys.argv[1]))), 0))"


def recipes(project: Path, *commands: list[str], status: int = 0) -> str:
    """Commands one after the other in one process, which imports torch once; what they printed."""
    done = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(commands)],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, f"{commands}: {done.returncode}\n{done.stdout[-2500:]}{done.stderr[-2500:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@contextmanager
def served(project: Path, *words: str) -> Iterator[Server]:
    """A server in a process of its own, stopped by SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "recipe_kit", "serve", "--port", str(port), *words]
    process = subprocess.Popen(
        command, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
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
        raise AssertionError(
            f"no server: {self.process.stdout.read() if self.process.poll() is not None else 'too slow'}"
        )

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)) as connection:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content, headers or {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        return response.status, json.loads(text) if response.getheader("content-type", "").endswith(
            "json"
        ) else text.decode()

    def predict(self, rows: list[dict[str, Any]]) -> tuple[int, Any]:
        """POST /predict."""
        return self.ask("POST", "/predict", {"rows": rows})


@pytest.fixture(scope="module", params=["tabular", "text", "image"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained project of each modality, exported and promoted."""
    return make(tmp_path_factory.mktemp(request.param), request.param)


def kind(project: Path) -> str:
    return next(m for m in SETTINGS if (project / "src" / "my_model" / m).is_dir())


def rows_of(project: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The new data as a file or folder, and as a client sends them."""
    new = project / "new"
    if kind(project) == "image":
        return new, [{"path": base64.b64encode(p.read_bytes()).decode()} for p in sorted(new.glob("*.png"))]
    frame = pl.read_csv(new / "rows.csv", infer_schema_length=None)
    return new / "rows.csv", frame.drop("late", strict=False).to_dicts()


def drifted(project: Path) -> Path:
    """The new data, but drifted: flights that are scheduled later by 0.3 deviations, shouted texts, dark images."""
    later = project / "drifted"
    later.mkdir()
    if kind(project) == "image":
        from PIL import Image

        for path in (project / "new").glob("*.png"):
            Image.open(path).point(lambda v: v // 3).save(later / path.name)
        return later
    frame = pl.read_csv(project / "new" / "rows.csv", infer_schema_length=None)
    if kind(project) == "text":
        frame = frame.with_columns(pl.col("text").str.replace_all(r"\s+", "!! "))
    else:
        shift = 0.3 * frame["sched_dep_time"].std()
        frame = frame.with_columns(pl.col("sched_dep_time") + shift)
    frame.write_csv(later / "rows.csv")
    return later / "rows.csv"


# One line of each modality's preprocessing, changed after the export: (file, what it says, what it says then).
SKEWED = {
    "tabular": ("tabular/data.py", "- center) / scale", "- center)"),
    "text": ("text/data.py", "max_length=most)", "max_length=most - 4)"),
    "image": ("image/picture.py", "Image.Resampling[interpolation.upper()]", "Image.Resampling.NEAREST"),
}


def test_answers_never_lie_among_the_class_folders(project: Path) -> None:
    """Where the next step would take the file for an example, and refuse it: beside the data instead."""
    if kind(project) != "image":
        pytest.skip("only images come in class folders")
    recipes(project, ["predict", "data/images/4"], ["split", "--force", "still readable"])
    assert pl.read_csv(project / "data" / "4.predicted.csv")["prediction"].len() > 100


def test_files_and_requests_get_the_same_answers(project: Path) -> None:
    """predict, serve, log and monitor agree on real rows; the server stops cleanly and its log is whole."""
    source, rows = rows_of(project)
    with served(project) as server:
        status, found = server.predict(rows)
        assert status == 200, found
        told = server.ask("GET", "/schema")[1]
        assert {c["name"] for c in told["columns"]} == set(rows[0])
        assert "<script>" in server.ask("GET", "/")[1] and server.ask("GET", "/openapi.json")[0] == 200
        spoilt = [
            {},
            {"nonsense": 1},
            {name: [1] for name in rows[0]},
            {**rows[0], next(iter(rows[0])): "\ud800"},
            dict.fromkeys(rows[0]),
        ]
        for bad in spoilt:
            status, answer = server.predict([rows[0], bad])
            assert status == 422 and answer["error"].startswith("row 1 "), (bad, answer)
    recipes(project, ["predict", str(source), "--out", "answers.csv"], ["monitor"])
    filed = pl.read_csv(project / "answers.csv").to_dicts()
    assert [str(p["prediction"]) for p in found["predictions"]] == [str(row["prediction"]) for row in filed]
    for answer, row in zip(found["predictions"], filed, strict=True):
        for name, probability in answer["probabilities"].items():
            assert abs(probability - row[f"probability of {name}"]) < 1e-5
    assert found["version"] == filed[0]["model_version"]
    with closing(sqlite3.connect(project / "predictions.db")) as log:
        logged = log.execute("SELECT id, version, prediction FROM predictions").fetchall()
    assert sorted(r[0] for r in logged) == sorted(p["id"] for p in found["predictions"])
    content = json.loads((project / "monitor" / "monitor.json").read_text())
    assert not content["alert"] and content["version"] == found["version"]
    assert [f["verdict"] for f in content["findings"]][:3] == ["PASS", "PASS", "PASS"]


def test_drift_is_seen_and_skewed_preprocessing_is_refused(project: Path) -> None:
    """Faults V2 and V1, on real data and real code."""
    later = drifted(project)
    assert "ALERT: feature drift" in recipes(project, ["monitor", str(later)], status=1)
    name, then, now = SKEWED[kind(project)]
    path = project / "src" / "my_model" / name
    text = path.read_text()
    assert then in text
    path.write_text(text.replace(then, now))
    try:
        assert "where training gave" in recipes(
            project, ["predict", str(rows_of(project)[0]), "--out", "skewed.csv"], status=2
        )
        assert not (project / "skewed.csv").exists()
    finally:
        path.write_text(text)


def test_what_the_server_said_was_logged_survives_a_kill(project: Path) -> None:
    if kind(project) != "tabular":
        pytest.skip("the log is the same for each kind of data")
    rows = rows_of(project)[1]
    with served(project, "--log", "killed.db") as server:
        for start in range(0, 200, 2):
            assert server.predict(rows[start : start + 2])[0] == 200
        logged = server.ask("GET", "/health")[1]["logged"]
        server.process.kill()
        server.process.wait()
    with closing(sqlite3.connect(project / "killed.db")) as log:
        assert log.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert log.execute("SELECT count(*) FROM predictions").fetchone()[0] >= logged > 0
    with served(project, "--log", "killed.db") as server:
        assert server.predict(rows[:1])[0] == 200


SECOND = ("--force", "a second version")


def test_a_server_takes_up_a_rollback_within_a_second(project: Path) -> None:
    """From the end of the command until it answers as before, to the last bit; the best of three. That the command itself is
    quick is what test_read.py holds it to: it imports no torch."""
    if kind(project) != "tabular":
        pytest.skip("the registry is the same for each kind of data")
    rows = rows_of(project)[1][:20]
    recipes(project, ["train", "seed=1", *SECOND], ["export", "--run", "0004-train", *SECOND])

    def answers(server: Server) -> list[Any]:
        return [{**one, "id": ""} for one in server.predict(rows)[1]["predictions"]]

    took = []
    with served(project, "--log", "none") as server:
        first, before = server.ask("GET", "/ready")[1]["version"], answers(server)
        for _ in range(3):
            recipes(project, ["promote", "2", *SECOND])
            until(lambda: server.ask("GET", "/ready")[1]["version"] != first, "the promoted version serves")
            assert answers(server) != before
            done = run(project, "rollback")
            began = time.monotonic()
            until(lambda: server.ask("GET", "/ready")[1]["version"] == first, done.stdout + done.stderr)
            took.append(time.monotonic() - began)
            assert answers(server) == before
    assert min(took) < 1, took


def test_what_the_readme_says_to_type_is_right(project: Path) -> None:
    """Queries of the log, the crontab, the workflow: each is read by what will read it."""
    readme = (project / "README.md").read_text()
    described = (project / "tools" / "recipe_kit" / "recipe_kit" / "production" / "log.py").read_text().split('"""')[1]
    queries = re.findall(r"sqlite3 predictions.db \"(.*)\"", readme) + re.findall(
        r"(?s)    (SELECT.*?|DELETE.*?);", described
    )
    assert len(queries) == 4
    with served(project, "--log", "queried.db") as server:
        assert server.predict(rows_of(project)[1][:5])[0] == 200
    with closing(sqlite3.connect(project / "queried.db")) as log:
        found = [log.execute(query).fetchall() for query in queries]
    assert sum(row[2] for row in found[0]) == 5 == len(found[2]) and found[1][0][2] == 5 and not found[3]
    workflow = yaml.safe_load(re.findall(r"(?s)```yaml\n(.*?)```", readme)[0])
    crontab = re.findall(r"(?m)^    ((?:\S+ +){5})cd /path/to/project && .venv/bin/(recipe .*)", readme)
    (job,) = workflow["jobs"].values()
    said = [step["run"].removeprefix(".venv/bin/") for step in job["steps"]]
    assert [entry["cron"] for entry in workflow[True]["schedule"]] == [crontab[0][0].strip()] == ["17 * * * *"]
    assert {"name", True, "permissions", "jobs"} == set(workflow) and {"runs-on", "timeout-minutes", "steps"} <= set(
        job
    )
    assert job["steps"][0]["env"] == {"HOOK": "${{ secrets.MONITOR_HOOK }}"}
    assert [words.split()[:2] for words in (said[0], crontab[0][1])] == [["recipe", "monitor"]] * 2
    for words in (
        said[0],
        crontab[0][1],
        *re.findall(r"(?m)^    (recipe (?:predict|monitor|export|promote)[^#\n]*)", readme),
    ):
        asked = shlex.split(words)[1:]
        told = run(project, *asked[:1], "--help")
        assert told.returncode == 0 and all(flag in told.stdout for flag in asked if flag.startswith("--")), words


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")
def test_the_page_in_a_browser(project: Path, tmp_path: Path) -> None:
    """The form is filled with an example; an answer comes as bars; a bad value comes back as the server's sentence."""
    browser = Browser(tmp_path / "browser")
    image = next((project / "new").glob("*.png"), None)
    try:
        with served(project, "--log", "none") as server:
            browser.send("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
            browser.send("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
            shown(browser, "document.querySelectorAll('#fields input, #fields textarea').length > 0")
            if image:
                node = browser.send("Runtime.evaluate", expression="document.querySelector('input[type=file]')")[
                    "result"
                ]["objectId"]
                browser.send("DOM.setFileInputFiles", files=[str(image)], objectId=node)
            browser.evaluate("document.querySelector('button').click()")
            shown(browser, "document.querySelectorAll('#answer .bar').length > 1")
            assert browser.evaluate("document.querySelector('.said').textContent").strip()
            assert browser.evaluate("document.documentElement.scrollWidth <= 390"), "nothing is wider than a phone"
            away = [e for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
            assert all(
                e["params"]["request"]["url"].startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:"))
                for e in away
            )
            if not image:
                browser.evaluate("document.querySelector('#fields input, #fields textarea').value = ' '")
                browser.evaluate("document.querySelector('button').click()")
                shown(browser, "document.querySelector('#answer .error') !== null")
            assert not [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
    finally:
        browser.close()


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    moment = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < moment, what
        time.sleep(0.02)


def shown(browser: Browser, expression: str) -> None:
    """Wait for the page."""
    until(lambda: browser.evaluate(expression), expression)
