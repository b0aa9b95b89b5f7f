"""What a server does with rows that break the model, slow or too many connections, foreign pages, and a log that is taken away."""

from __future__ import annotations

import base64
import csv
import http.client
import io
import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html import unescape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from my_model.engine import files
from my_model.errors import UserError
from PIL import Image
from recipe_kit.commands import parse
from recipe_kit.production import batch, guard, log, model, model_card, registry, sbom, serve, sign
from recipe_kit.project import Project
from recipe_kit.runs import environment

from . import test_production as production
from .test_production import GOOD, Client, load

shared, project = production.shared, production.project  # fixtures
JSON = {"Content-Type": "application/json"}


class Asker(Client):
    """Asks as a program does: with a content type."""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        return super().ask(method, path, body, **{**JSON, **headers})


@contextmanager
def guarded(project: Project, *words: str, token: str = "") -> Iterator[tuple[Asker, batch.Service]]:
    """The application as `recipe serve` runs it, on a port of its own, in a thread."""
    import uvicorn

    service = serve.start(project, parse(["serve", "--model", "1", *words]))
    listening = socket.create_server(("127.0.0.1", 0))
    app = guard.Guard(serve.make_app(service), "127.0.0.1", token, service.metrics.observe)
    server = uvicorn.Server(uvicorn.Config(app, **{**serve.SETTINGS, "timeout_graceful_shutdown": 1}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Asker(listening.getsockname()[1]), service
    finally:
        server.should_exit = True
        thread.join(20)


def until(true: Any, seconds: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


# ---- one client's rows do not spoil another's --------------------------------------------------------------------------


def test_a_row_that_breaks_the_model_fails_its_own_request_only(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = model.Package.answer

    def fragile(self: model.Package, rows: Any) -> Any:
        if any(row.get("x0") == 13 for row in rows):
            raise ValueError("thirteen")
        return plain(self, rows)

    monkeypatch.setattr(model.Package, "answer", fragile)
    with guarded(project) as (client, _):
        found: dict[str, list[int]] = {"good": [], "bad": []}

        def ask(kind: str, row: dict[str, Any]) -> None:
            for _ in range(25):
                found[kind].append(client.predict(row)[0])

        threads = [threading.Thread(target=ask, args=("good", GOOD)) for _ in range(4)]
        threads += [threading.Thread(target=ask, args=("bad", {**GOOD, "x0": 13})) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        health = client.ask("GET", "/health")[1]
        assert client.ask("GET", "/ready")[0] == 200  # it still answers its own examples
    assert set(found["good"]) == {200} and set(found["bad"]) == {500}
    assert health["errors"] == 50
    assert capfd.readouterr().err.count("thirteen") == 1


def test_a_model_that_answers_nothing_any_more_is_not_ready(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded(project) as (client, _):
        assert client.ask("GET", "/ready")[0] == 200
        monkeypatch.setattr(model.Package, "outputs", lambda self, frame: 1 / 0)
        assert client.predict(GOOD)[0] == 500
        status, told = client.ask("GET", "/ready")
    assert status == 503 and "its own examples" in told["problem"]


def test_what_a_client_no_longer_waits_for_is_not_computed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, computed = model.Package.answer, []

    def slow(self: model.Package, rows: Any) -> Any:
        computed.append(rows[0]["x0"])
        time.sleep(1.0)
        return plain(self, rows)

    monkeypatch.setattr(model.Package, "answer", slow)
    monkeypatch.setattr(batch, "GONE", 0.05)
    with guarded(project) as (client, _):
        computed.clear()  # the golden examples, before the server was ready
        first = threading.Thread(target=client.predict, args=({**GOOD, "x0": 1.0},))
        first.start()
        assert until(lambda: computed)
        gone = http.client.HTTPConnection("127.0.0.1", client.port)
        gone.request("POST", "/predict", json.dumps({"rows": [{**GOOD, "x0": 2.0}]}), JSON)
        time.sleep(0.3)
        gone.close()
        first.join()
        assert client.predict({**GOOD, "x0": 3.0})[0] == 200
    assert computed == [1.0, 3.0]


def raw(port: int, content: bytes) -> bytes:
    """Send bytes, hang up the sending half, and read what comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(content)
        one.shutdown(socket.SHUT_WR)
        found = b""
        while part := one.recv(65536):
            found += part
        return found


def test_clients_that_leave_in_the_middle_are_no_errors(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """Each printed a traceback."""
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with guarded(project) as (client, service):
        for _ in range(3):
            raw(client.port, head + b'{"rows": [')
        assert client.predict(GOOD)[0] == 200 and service.errors == 0
    assert "Traceback" not in capfd.readouterr().err


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just("\ud800")
    | st.just(10**400)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
FUZZED = (
    st.dictionaries(st.sampled_from([*GOOD, "extra", ""]), VALUES)
    | st.just(GOOD)
    | st.builds(lambda v: {**GOOD, "x1": v}, VALUES)
)
BODIES = st.builds(
    lambda rows, named: json.dumps({"rows": rows} if named else rows).encode(),
    st.lists(st.just(GOOD), min_size=1, max_size=3) | st.lists(FUZZED | VALUES, max_size=4) | VALUES,
    st.booleans(),
)


def changed(body: bytes, at: int, new: bytes, lost: int) -> bytes:
    """A body with some bytes replaced."""
    place = at % (len(body) + 1)
    return body[:place] + new + body[place + lost :]


def test_fuzzed_requests_get_an_answer_or_one_sentence(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """FUZZ_EXAMPLES=100000 goes on for ten minutes."""
    seen: dict[int, int] = {}
    with guarded(project, "--log", "none") as (client, service):

        @settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")), deadline=None, database=None)
        @given(
            body=BODIES
            | st.builds(changed, BODIES, st.integers(0, 999), st.binary(max_size=4), st.integers(0, 4))
            | st.binary(max_size=99)
        )
        def fuzz(body: bytes) -> None:
            status, told = client.ask("POST", "/predict", body)
            seen[status] = seen.get(status, 0) + 1
            assert status in (200, 400, 413, 422), (body, told)
            assert list(told) == (["version", "predictions"] if status == 200 else ["error"]) and json.dumps(
                told, allow_nan=False
            )

        fuzz()
        assert service.errors == 0 and client.predict(GOOD)[0] == 200
    assert seen.keys() >= {200, 400, 422} and "Traceback" not in capfd.readouterr().err
    print(seen)


# ---- who may ask, and how long --------------------------------------------------------------------------------------------


def test_pages_of_others_and_other_names_are_refused(project: Project) -> None:
    with guarded(project) as (client, _):
        body = json.dumps({"rows": [GOOD]}).encode()
        here = f"127.0.0.1:{client.port}"
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Host": "127.0.0.1.evil.example"}, 421),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ({"Origin": f"http://{here}"}, 200),
            ({"Host": "localhost"}, 200),
            ({"Host": "[::1]:80"}, 200),
        ):
            told = client.ask("POST", "/predict", body, **headers)
            assert told[0] == status and (status == 200 or list(told[1]) == ["error"]), (headers, told)


def test_a_token_is_asked_for_where_one_is_set(project: Project) -> None:
    body = json.dumps({"rows": [GOOD]}).encode()
    with guarded(project, token="sesame") as (client, _):
        assert client.ask("GET", "/ready")[0] == 200
        for given, status in (("", 401), ("Bearer open", 401), ("sesam\xe9", 401), ("Bearer sesame", 200)):
            assert client.ask("POST", "/predict", body, Authorization=given)[0] == status, given
        assert client.ask("GET", "/schema")[0] == 401


def test_slow_and_too_many_connections_are_closed_and_the_others_answered(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "HEADERS", 0.5)
    monkeypatch.setattr(guard, "CONNECTIONS", 8)
    with guarded(project) as (client, _):
        slow = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(6)]
        for one in slow[:3]:  # three say nothing, three begin a request
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert client.predict(GOOD)[0] == 200
        for one in slow:
            one.settimeout(5)
            assert one.recv(1) == b"" or one.close() is None
        many = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(30)]
        assert until(lambda: client_answers(client))
        [one.close() for one in many]
    assert capfd.readouterr().err.count("connections are open; one more was closed") == 1


def test_metrics_say_what_happened(project: Project) -> None:
    """In the text format of Prometheus: refusals by the guard, bad rows and answers are all counted."""
    with guarded(project) as (client, _):
        assert [client.predict(GOOD)[0] for _ in range(3)] == [200] * 3
        assert client.predict({**GOOD, "x0": "a"})[0] == 422
        assert client.ask("GET", "/health", Host="evil.example")[0] == 421
        assert until(lambda: client.ask("GET", "/health")[1]["logged"] == 3)
        with closing(http.client.HTTPConnection("127.0.0.1", client.port)) as connection:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            kind, text = response.getheader("content-type", ""), response.read().decode()
    assert response.status == 200 and kind.startswith("text/plain; version=0.0.4")
    lines = [line for line in text.removesuffix("\n").split("\n") if not line.startswith("#")]
    found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert found['recipe_requests_total{status="422"}'] == found['recipe_requests_total{status="421"}'] == 1
    assert (
        found["recipe_logged_rows_total"] == 3 and found["recipe_lost_rows_total"] == found["recipe_errors_total"] == 0
    )
    assert found["recipe_ready"] == 1 == found[f'recipe_model_info{{version="{registry.versions(project.root)[0]}"}}']
    buckets = [value for name, value in found.items() if name.startswith("recipe_predict_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == found["recipe_predict_seconds_count"] == 3
    assert 0 < found["recipe_predict_seconds_sum"] < 30
    assert all(
        f"# TYPE {name.split('{')[0].split('_bucket')[0].removesuffix('_sum').removesuffix('_count')} " in text
        for name in found
    )


def client_answers(client: Asker) -> bool:
    """Whether a good request is answered now."""
    try:
        return client.predict(GOOD)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def picture(width: int, height: int, kind: str) -> str:
    content = io.BytesIO()
    Image.new("1", (width, height)).convert("RGB").save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def test_images_that_unpack_to_too_much_are_refused_unopened(project: Project) -> None:
    package = load(project)
    package.columns = [{"name": "photo", "role": "image", "kind": "image"}]
    bomb = picture(5000, 4000, "PNG")
    assert len(bomb) < 200_000
    with guarded(project) as (client, service):
        service.package = package
        status, told = client.predict({"photo": bomb})
        assert status == 413 and "20,000,000 pixels" in told["error"]
        status, told = client.predict(*[{"photo": picture(1500, 1200, "WEBP")}] * 10)
        assert status == 413 and "18,000,000 pixels" in told["error"]


# ---- the log says the truth -------------------------------------------------------------------------------------------------


def rows_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as table:
        return int(table.execute("SELECT count(*) FROM predictions").fetchone()[0])


def test_a_log_that_was_deleted_is_begun_anew(project: Project) -> None:
    path = project.root / log.FILE
    with guarded(project) as (client, _):
        for expected in (1, 2):
            assert client.predict(GOOD)[0] == 200
            assert until(lambda n=expected: client.ask("GET", "/health")[1]["logged"] == n)
        for left in project.root.glob(f"{log.FILE}*"):
            left.unlink()
        assert client.predict(GOOD)[0] == 200
        assert until(lambda: client.ask("GET", "/health")[1]["logged"] == 3)
        assert rows_in(path) == 1
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_rows_wait_for_a_log_that_is_locked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOCKED", 0.1)
    path = project.root / log.FILE
    with guarded(project) as (client, _):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(5):
                assert client.predict(GOOD)[0] == 200
            time.sleep(1.0)
            assert client.ask("GET", "/health")[1] | {"version": "", "status": ""} == {
                "version": "", "status": "", "errors": 0, "logged": 0, "not_logged": 0,
            }  # fmt: skip
            other.execute("ROLLBACK")
        assert until(lambda: client.ask("GET", "/health")[1]["logged"] == 5)
    assert rows_in(path) == 5


def test_rows_that_find_no_room_are_counted_as_lost(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file is locked, requests of so many bytes wait; the answers go on."""
    monkeypatch.setattr(log, "LOCKED", 0.1)
    monkeypatch.setattr(log, "WAITING", 100_000)
    with guarded(project) as (client, service):
        assert service.log
        with closing(sqlite3.connect(project.root / log.FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(20):
                assert client.predict(*[GOOD] * 500)[0] == 200
            assert service.log.given - service.log.taken < 150_000
            lost = client.ask("GET", "/health")[1]["not_logged"]
            other.execute("ROLLBACK")
        assert 5_000 < lost < 10_000 and until(lambda: client.ask("GET", "/health")[1]["logged"] == 10_000 - lost)
    assert rows_in(project.root / log.FILE) == 10_000 - lost


def test_a_log_forgets_its_oldest_rows(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_BYTES", 300_000)
    with guarded(project) as (client, _):
        for _ in range(12):
            assert client.predict(*[GOOD] * 250)[0] == 200
        assert until(lambda: client.ask("GET", "/health")[1]["logged"] == 3000)
    with closing(sqlite3.connect(project.root / log.FILE)) as table:
        newest = table.execute("SELECT max(at) - min(at) FROM predictions").fetchone()[0]
        pages, free, size = (
            table.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "freelist_count", "page_size")
        )
    assert newest > 0 and 200_000 < (pages - free) * size <= 300_000
    assert rows_in(project.root / log.FILE) < 3000


# ---- packages ---------------------------------------------------------------------------------------------------------------


def test_what_a_package_does_not_name_is_refused(project: Project, tmp_path: Path) -> None:
    folder = registry.find(project.root, "1")
    added = folder / "linear.json"
    added.write_text("{}")
    with pytest.raises(UserError, match=r"linear.json is not a file of the export"):
        load(project)
    added.unlink()
    added.symlink_to(folder / "prep.json")
    with pytest.raises(UserError, match="symbolic link"):
        load(project)
    added.unlink()
    load(project)


def test_a_manifest_of_other_bytes_and_the_same_meaning_is_refused(project: Project) -> None:
    path = registry.find(project.root, "1") / "package.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match=r"is not what .* was exported with"):
        load(project)


def test_a_manifest_with_half_a_letter_is_refused(project: Project) -> None:
    """A lone surrogate, which JSON can write and UTF-8 cannot: found by fuzzing, as a traceback."""
    path = registry.find(project.root, "1") / "package.json"
    path.write_text(path.read_text().replace('"task"', '"\\ud800"', 1))
    with pytest.raises(UserError, match=r"is not what .* was exported with"):
        load(project)


def test_the_list_of_versions_survives_what_no_export_wrote(project: Project) -> None:
    (project.root / "models" / "1x-evil").mkdir()
    (project.root / "models" / "1x-evil" / "package.json").write_text("{}")
    for content in (
        "{}",
        "[]",
        '{"metrics": 1}',
        '{"metric": "auc", "metrics": {"auc": {"value": "high"}}, "tested": 1}',
    ):
        (registry.find(project.root, "1") / "package.json").write_text(content)
        told = registry.table(project.root)
        assert "package.json was written by no export" in told and len(registry.versions(project.root)) == 2, content


@pytest.mark.parametrize("name", ["../prep.json", "/etc/hostname", "a/../../b", "..\\prep.json", "C:prep.json"])
def test_names_that_leave_a_package_are_refused(project: Project, name: str) -> None:
    folder = registry.find(project.root, "1")
    manifest = json.loads((folder / "package.json").read_text())
    manifest["files"][name] = "0" * 64
    (folder / "package.json").write_text(files.to_json(manifest))
    renamed = folder.with_name(f"0001-{registry.digest(manifest)}")
    folder.rename(renamed)
    with pytest.raises(UserError, match="no place inside the package"):
        registry.verify(renamed)


def reforged(folder: Path, **changed: Any) -> Path:
    """The package with another manifest, under the name that fits it: what its hashes cannot tell from an export."""
    manifest = json.loads((folder / "package.json").read_text()) | changed
    manifest["files"] = {name: files.sha256(folder / name) for name in manifest["files"]}
    (folder / "package.json").write_text(files.to_json(manifest))
    return folder.rename(folder.with_name(f"{folder.name[:4]}-{registry.digest(manifest)}"))


def test_settings_and_golden_images_that_leave_a_package_are_refused(project: Project) -> None:
    folder = reforged(registry.find(project.root, "1"), paths={"tracker": "../../elsewhere"})
    with pytest.raises(UserError, match=r"names '\.\./\.\./elsewhere', which is no place inside"):
        model.load(project.task, folder)
    package = load(project, "2")
    package.columns = [{"name": "photo", "role": "image", "kind": "image"}]
    golden = {"rows": [{"photo": "/etc/hostname"}], "outputs": [0.0]}
    (package.folder / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(UserError, match="names '/etc/hostname', which is no place inside"):
        model.replay(package)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Two SSH keys without a passphrase, made now, and a file that lists the first one's owner."""
    found = {}
    for name in ("mine", "other"):
        found[name] = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(found[name])], check=True)
    found["signers"] = tmp_path / "signers"
    found["signers"].write_text(f"ann {found['mine'].with_suffix('.pub').read_text()}")
    return found


def test_where_signers_are_named_only_their_packages_load(
    project: Project, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes that fit are not enough: unsigned, of another key, of other bytes, for another purpose, all at once."""
    folder = registry.find(project.root, "1")
    path = folder / "package.json"
    monkeypatch.setenv(sign.SIGNERS, str(keys["signers"]))
    refused = {"promote": lambda: registry.promote(project, "1"), "load": lambda: load(project)}
    for ask in refused.values():
        with pytest.raises(UserError, match=f"{folder.name} is not signed"):
            ask()
    for key, namespace, why in (
        ("other", sign.NAMESPACE, "signed by none of"),
        ("mine", "file", "does not fit it"),
        ("mine", sign.NAMESPACE, ""),
    ):
        (folder / "package.json.sig").unlink(missing_ok=True)
        words = ["ssh-keygen", "-Y", "sign", "-f", str(keys[key]), "-n", namespace, str(path)]
        subprocess.run(words, check=True, capture_output=True)
        if why:
            with pytest.raises(UserError, match=why) as said:
                load(project)
            assert "\n" not in str(said.value)
    registry.promote(project, "1")
    (folder / "DATA_CARD.md").write_text("changed, with a hash that fits")
    with pytest.raises(UserError, match=r"signature of .* does not fit it"):
        model.load(project.task, reforged(folder))


def test_an_export_signs_where_a_key_is_named(
    project: Project, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sign.KEY, str(keys["mine"]))
    monkeypatch.setenv(sign.SIGNERS, str(keys["signers"]))
    version = production.exported(project)
    assert (
        load(project, version).manifest["files"] and (project.root / "models" / version / "package.json.sig").exists()
    )
    (keys["mine"]).unlink()
    (keys["mine"].with_suffix(".pub")).unlink()
    with pytest.raises(UserError, match="cannot sign"):
        production.exported(project)
    monkeypatch.setenv(sign.SIGNERS, "nowhere")
    with pytest.raises(UserError, match="RECIPE_SIGNERS = nowhere is no file"):
        load(project, version)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="ssh-keygen, which is not installed"):
        production.exported(project)


def test_a_package_says_what_it_was_made_with(project: Project) -> None:
    bill = json.loads((registry.find(project.root, "1") / sbom.FILE).read_text())
    versions = {part["name"]: part["version"] for part in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX" and versions["numpy"] == version("numpy")
    assert "typing-extensions" in versions, "a library that only torch and pydantic ask for"
    licensed = {part["name"]: part["licenses"] for part in bill["components"]}
    assert all(licensed[name] for name in ("numpy", "torch", "polars"))
    assert list(sbom.closure(["Typing_Extensions[x]>=1 ; python_version < '4'", "nothing-such"])) == [
        "typing-extensions"
    ]


def test_what_a_killed_tune_left_is_swept_and_a_running_one_is_not(project: Project) -> None:
    running = project.begin("tune")
    left, stopped = (project.root / "runs" / name for name in ("0098-tune", "0097-train"))
    for folder in (left, stopped, running.folder):
        folder.mkdir(exist_ok=True)
        os.utime(folder, (1, 1))
    project.begin("tune").discard()
    assert not left.exists() and stopped.exists() and running.folder.exists()
    running.discard()
    assert not running.folder.exists()


# ---- files that people open in other programs ---------------------------------------------------------------------------------


def test_formulas_in_texts_do_not_run_in_a_spreadsheet(tmp_path: Path) -> None:
    texts = ["=1+1", "+cmd", "-2 + 3", "@SUM(A1)", "\t=1", "plain", "-1.5", "+3e4", "", None, "\n=1", "\uff1d1"]
    files.write_sheet(pl.DataFrame({"=name": texts, "n": range(12)}), tmp_path / "sheet.csv")
    rows = list(csv.reader((tmp_path / "sheet.csv").open(newline="")))
    assert [row[0] for row in rows] == [
        "'=name",
        "'=1+1",
        "'+cmd",
        "'-2 + 3",
        "'@SUM(A1)",
        "'\t=1",
        "plain",
        "-1.5",
        "+3e4",
        "",
        "",
        "'\n=1",
        "'\uff1d1",
    ]


HOSTILE = (
    '<script>alert("x")</script>', "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "![x](http://evil.example/x)",
    "a\n\n# Intended use\n\nEverything", "`<b>`", "``` <b>", "&lt;script&gt;", "http://evil.example", "<http://evil.example>", "**bold**",
    "a | b", "[x]: http://evil.example", "www.evil.example", "me@evil.example", "\\<b>",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_cards_show_names_from_data_as_they_are(text: str) -> None:
    """Rendered by a CommonMark library that lets HTML and links through: what is shown is the text, and nothing else."""
    render = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"html": True, "linkify": False}).render
    one_line = " ".join(text.split())
    plain = render(f"classes: {model_card.plain(text)}, b")
    assert re.fullmatch(r"<p>classes: [^<>]*, b</p>\n", plain) and unescape(plain[12:-8]) == one_line, plain
    named = render(f"from {model_card.code(text)} on")
    assert re.fullmatch(r"<p>from <code>[^<>]*</code> on</p>\n", named) and unescape(named[14:-15]) == one_line, named


def test_no_program_of_a_foreign_git_config_runs(tmp_path: Path) -> None:
    """A hook, a file system monitor, filters of the folder and of a submodule, and a fetch of what a partial clone lacks:
    each runs where git is left to itself."""
    ran, root, sub = tmp_path / "ran", tmp_path / "foreign", tmp_path / "foreign" / "sub"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)

    def git(*words: str, at: Path = root) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "advice.addEmbeddedRepo=false"]
        return subprocess.run(["git", "-C", str(at), *who, *words], capture_output=True, text=True, timeout=20).stdout

    sub.mkdir(parents=True)
    for folder in (sub, root):
        git("init", "-q", at=folder)
        (folder / "file").write_text("x")
        (folder / ".gitattributes").write_text("* filter=foreign\n")
        git("add", ".", at=folder)
        git("commit", "-qm", "all", at=folder)
    (root / "file").write_text("y")  # a filter is asked whether the content differs
    (sub / "file").write_text("y")
    tree = git("rev-parse", "HEAD^{tree}").strip()
    hook = root / ".git" / "hooks" / "post-index-change"
    hook.write_bytes(program.read_bytes())
    hook.chmod(0o755)
    lacks = {"extensions.partialClone": "origin", "remote.origin.promisor": "true", "remote.origin.url": str(tmp_path)}
    lacks |= {"core.repositoryFormatVersion": "1", "remote.origin.uploadPack": str(program)}
    for foreign, at in (
        ({}, root),
        ({"core.fsmonitor": str(program)}, root),
        ({"filter.foreign.clean": str(program), "filter.foreign.required": "true"}, root),
        ({"filter.foreign.process": str(program)}, root),
        ({"filter.foreign.clean": str(program)}, sub),
        (lacks, root),
    ):
        for name, value in foreign.items():
            git("config", name, value, at=at)
        if foreign is lacks:
            (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
        (root / "file").touch()
        found = environment(root)
        assert not ran.exists(), foreign
        assert found["commit"] and (found["dirty"] or foreign is lacks)
        git("status")
        assert ran.exists(), foreign
        ran.unlink()
        for name in foreign:
            git("config", "--unset", name, at=at)
        hook.unlink(missing_ok=True)
