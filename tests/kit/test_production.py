"""Packages that prove themselves, files and requests answered alike, versions and the way back, the log, on a toy project."""

from __future__ import annotations

import gc
import http.client
import json
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from my_model.engine.splits import splits
from my_model.errors import UserError
from recipe_kit.cli import main
from recipe_kit.commands import parse
from recipe_kit.production import batch, export, log, model, onnx, predict, registry, rows, schema, serve
from recipe_kit.project import Project

from .test_evaluate import again, do, trained
from .toy import Toy

GOOD = {"x0": 0.5, "x1": -1, "x2": 2.0, "x3": 0}


def exported(project: Project, run: str = "") -> str:
    """Export as the command does; the name of the version."""
    begun = project.begin("export")
    export.run(project, begun, parse(["export", *(["--run", run] if run else [])]))
    return str(begun.finish()["result"]["version"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A toy project with two exported versions, of two trainings."""
    project = trained(tmp_path_factory.mktemp("production"))
    exported(project)
    other = again(project, seed=3)
    other.force = "no checks on a toy"
    exported(project, do(other, "train")["id"])
    return project


@pytest.fixture
def project(shared: Project, tmp_path: Path) -> Project:
    """A copy of its own of the shared project."""
    shutil.copytree(shared.root, tmp_path / "project")
    copy = again(shared)
    copy.root, copy.force = tmp_path / "project", "no checks on a toy"
    return copy


def load(project: Project, number: str = "1") -> model.Package:
    return model.load(project.task, registry.find(project.root, number))


def command(project: Project, *words: str) -> int:
    """A production command as cli.main runs it."""
    args = parse(list(words))
    module = {"predict": predict, "promote": registry, "rollback": registry, "versions": registry}[args.step]
    return module.command(project, args)


# ---- the package ----------------------------------------------------------------------------------------------------


def test_a_package_answers_like_the_run(project: Project) -> None:
    """Rows as JSON, with numbers as texts, get what the training code says of the same rows of the file."""
    from my_model.engine.fitted import load_fitted
    from my_model.engine.metrics import class_probabilities

    package, val = load(project), splits(project)["val"]
    found = package.answer([{k: str(v) for k, v in row.items()} for row in val.frame.drop("target").to_dicts()])
    fitted = load_fitted(project, project.records("train")[0])
    expected = class_probabilities(fitted.outputs(val)[0] / package.manifest["temperature"])[:, 1]
    assert [a["probabilities"]["1"] for a in found.answers if a] == pytest.approx(expected, abs=1e-6)
    called = [a["prediction"] for a in found.answers if a]
    assert called == [str(int(p >= package.manifest["threshold"])) for p in expected]
    assert (
        package.manifest["threshold"] is not None and package.manifest["split"] and package.manifest["metrics"]["auc"]
    )
    assert {"weights.safetensors", "prep.json", "split.json", "golden.json", "reference.json", "MODEL_CARD.md"} <= set(
        package.manifest["files"]
    )


def test_serving_that_preprocesses_otherwise_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault V1: a scale that is applied otherwise than in training, however little."""
    plain = Toy.examples

    def skewed(self: Toy, config: Any, prep: dict[str, Any], data: Any) -> Any:
        return plain(self, config, {**prep, "mean": [m + 0.001 for m in prep["mean"]]}, data)

    load(project)
    monkeypatch.setattr(Toy, "examples", skewed)
    with pytest.raises(UserError, match=r"golden example .* where training gave"):
        load(project)


def test_answers_that_are_computed_otherwise_are_refused_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault V1 again: what answers a client does something of its own to the rows before they are read."""
    plain = model.Package.answer

    def rounded(self: model.Package, rows: Any) -> Any:
        return plain(self, [{k: round(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows])

    load(project)
    monkeypatch.setattr(model.Package, "answer", rounded)
    with pytest.raises(UserError, match=r"golden example .* where training gave"):
        load(project)


@pytest.mark.parametrize("name", ["weights.safetensors", "prep.json", "golden.json", "package.json", "MODEL_CARD.md"])
def test_a_version_that_was_edited_is_refused(project: Project, name: str) -> None:
    path = registry.find(project.root, "1") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"never edited|cannot be read|not what"):
        load(project)
    path.unlink()
    with pytest.raises(UserError, match=r"is missing|is no version"):
        load(project)


def test_what_the_evaluation_found_is_exported(project: Project) -> None:
    """Temperature, threshold and the scores of the test part, of the run that was evaluated."""
    record = do(project, "evaluate", run="0003-train")
    manifest = load(project, exported(project).split("-")[0]).manifest
    assert manifest["tested"] and manifest["run"] == "0003-train"
    assert manifest["temperature"] == record["result"]["temperature"]
    assert manifest["threshold"] == record["result"]["threshold"]["value"]
    assert manifest["metrics"] == record["result"]["metrics"]
    assert "the test part, opened once" in (registry.find(project.root, "3") / "MODEL_CARD.md").read_text()


def test_other_tasks_and_a_baseline(tmp_path: Path) -> None:
    """Classes, values, and the best plain model of a baseline step."""
    for k, kind in ((3, "probabilities"), (1, "prediction")):
        folder = tmp_path / str(k)
        folder.mkdir()
        project = trained(folder, k=k)
        package = load(project, exported(project))
        answer = package.answer([GOOD]).answers[0]
        assert answer is not None and kind in answer
        if k == 1:
            plain = load(project, exported(project, "0002-baseline"))
            assert plain.manifest["name"] == "first_feature"
            assert isinstance(plain.answer([GOOD]).answers[0]["prediction"], float)  # type: ignore[index]


# ---- versions -------------------------------------------------------------------------------------------------------


def test_promote_and_roll_back(project: Project) -> None:
    first, second = registry.versions(project.root)
    with pytest.raises(UserError, match="no version is promoted"):
        registry.chosen(project, "")
    command(project, "promote", "1")
    before = load(project, registry.promoted(project.root)).answer([GOOD]).answers
    command(project, "promote", second)
    assert load(project, registry.promoted(project.root)).answer([GOOD]).answers != before
    began = time.perf_counter()
    command(project, "rollback")
    assert time.perf_counter() - began < 1
    assert registry.promoted(project.root) == first
    assert load(project, first).answer([GOOD]).answers == before, "bit for bit"
    with pytest.raises(UserError, match="no earlier"):
        command(project, "rollback")
    with pytest.raises(UserError, match="did not serve"):
        command(project, "rollback", second)
    with pytest.raises(UserError, match="there are: 0001"):
        command(project, "promote", "7")
    assert [line["action"] for line in registry.history(project.root)] == ["promote", "promote", "rollback"]
    assert registry.table(project.root).startswith(f"-> {first}")


def test_a_broken_version_is_not_promoted_and_history_cannot_be_edited(project: Project) -> None:
    command(project, "promote", "1")
    (registry.find(project.root, "2") / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="differs from the export"):
        command(project, "promote", "2")
    assert registry.promoted(project.root).startswith("0001")
    path = project.root / "models" / "history.jsonl"
    path.write_text(path.read_text().replace("promote", "rollback"))
    with pytest.raises(UserError, match="does not follow"):
        registry.promoted(project.root)


def test_versions_are_mirrored_to_wandb_without_a_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real W&B, offline: each promote and rollback is recorded as an artifact of the version's own files."""
    project.config = project.config.model_copy(update={"tracker": "wandb"})
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0123secret" * 4)
    names = registry.versions(project.root)
    for words, version in ((["promote", "1"], names[0]), (["promote", "2"], names[1]), (["rollback"], names[0])):
        before = set((project.root / "models" / "wandb").glob("offline-run-*/*.wandb"))
        command(project, *words)
        (new,) = set((project.root / "models" / "wandb").glob("offline-run-*/*.wandb")) - before
        expected = ("promoted", version, "weights.safetensors", "split.json", words[0])
        until = time.monotonic() + 10  # W&B's own process writes the file a moment after the run is finished
        while not all(word.encode() in (told := new.read_bytes()) for word in expected) and time.monotonic() < until:
            time.sleep(0.05)
        assert all(word.encode() in told for word in expected)
    kept = [path.read_bytes() for path in (project.root / "models" / "wandb").rglob("*") if path.is_file()]
    assert not any(b"0123secret" in content for content in kept)
    model.load(project.task, registry.find(project.root, "1"))


def test_wandb_that_fails_does_not_undo_a_promote(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no network\nand more of it")

    monkeypatch.setattr(wandb, "init", fail)
    project.config = project.config.model_copy(update={"tracker": "wandb"})
    assert command(project, "promote", "1") == 0
    assert registry.promoted(project.root).startswith("0001")
    assert "W&B was not told: CommError: no network\n" in capsys.readouterr().out


# ---- files ----------------------------------------------------------------------------------------------------------

LINES = [
    "x0,x1,x2,x3,note",
    "1,2,3,4,fine",
    "1,2,x,4,word",
    "1,2,3",
    "1,2,inf,4,infinite",
    "1,2,,4,empty",
    '0.1,-2,3,1e3,"two',
    'lines"',
]
WHY = {2: "not a number", 3: "3 cells instead of 5", 4: "infinite", 5: "finite answer"}


def test_bad_rows_of_a_file_are_set_aside_never_lost(project: Project) -> None:
    source = project.root / "in.csv"
    source.write_bytes("\n".join(LINES).encode() + b"\n1,2,3,4,caf\xe9\n")
    assert command(project, "predict", str(source), "--model", "1") == 1
    good = pl.read_csv(project.root / "in.predicted.csv")
    bad = [
        json.loads(line)
        for line in (project.root / "in.predicted.rejected.jsonl").read_text().removesuffix("\n").split("\n")
    ]
    assert good["note"].to_list() == ["fine", "two\nlines"] and good["prediction"].is_in([0, 1]).all()
    assert {b["row"]: True for b in bad} == {**dict.fromkeys(WHY, True), 7: True}
    assert all(WHY[b["row"]] in b["reason"] for b in bad if b["row"] in WHY) and "UTF-8" in bad[-1]["reason"]
    source.write_text("\n".join(LINES[:2]))
    assert command(project, "predict", str(source), "--model", "1") == 0
    assert not (project.root / "in.predicted.rejected.jsonl").exists()


def test_names_of_lines_and_formulas_in_a_file(project: Project) -> None:
    """A line ends at a newline and nowhere else; what a spreadsheet would compute is a text in the answers."""
    notes = ["one\u2028two", "a\x85b\x0bc\x1cd", "=1+1", "@SUM(A1)"]
    rows = [{**GOOD, "note": note} for note in notes]
    pl.DataFrame(rows).write_csv(project.root / "in.csv")
    assert command(project, "predict", str(project.root / "in.csv"), "--model", "1") == 0
    assert pl.read_csv(project.root / "in.predicted.csv")["note"].to_list() == [*notes[:2], "'=1+1", "'@SUM(A1)"]
    source = project.root / "in.jsonl"
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert command(project, "predict", str(source), "--model", "1", "--out", str(project.root / "out.jsonl")) == 0
    lines = (project.root / "out.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert [json.loads(line)["note"] for line in lines] == notes


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_kind_of_file_in_chunks(project: Project, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(f"{rows.__name__}.CHUNK", 64)
    frame = pl.read_csv(project.root / "data" / "train.csv").with_columns(pl.Series("day", ["2013-01-31"] * 300))
    source, target = project.root / f"new{suffix}", project.root / f"out{suffix}"
    writers = {
        ".csv": frame.write_csv,
        ".jsonl": frame.write_ndjson,
        ".parquet": frame.with_columns(pl.col("day").str.to_date()).write_parquet,
    }
    writers[suffix](source)
    assert command(project, "predict", str(source), "--out", str(target), "--model", "1") == 0
    readers = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}
    found = readers[suffix](target)
    assert len(found) == 300 and found["x0"].to_list() == pytest.approx(frame["x0"].to_list())
    expected = load(project).answer(frame.to_dicts()).answers
    assert found["probability of 1"].to_list() == pytest.approx(
        [a["probabilities"]["1"] for a in expected if a], abs=1e-6
    )


BAD_FILES = [
    ("x0,x1,x2\n1,2,3\n", "no column 'x3'"), ("x0,x1,X2,x3\n1,2,3,4\n", "did you mean 'X2'"), ("x0,x1,x2,x3\n", "holds no rows"), ("", "header"),
    ("x0,x1,x2,x3,prediction\n1,2,3,4,5\n", "rename"), ("x0,x0,x2,x3\n1,2,3,4\n", "two columns"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), BAD_FILES)
def test_a_file_that_cannot_be_read_is_one_sentence(project: Project, content: str, words: str) -> None:
    source = project.root / "in.csv"
    source.write_text(content)
    with pytest.raises(UserError, match=words):
        command(project, "predict", str(source), "--model", "1")
    assert not list(project.root.glob("*predicted*")) and not list(project.root.glob(".predict-*"))


def test_a_file_of_no_known_kind_is_one_sentence(project: Project) -> None:
    source = project.root / "in.json"
    source.write_text(json.dumps(GOOD))
    with pytest.raises(UserError, match=r"in.json ends in none of .csv"):
        command(project, "predict", str(source), "--model", "1")


# ---- requests -------------------------------------------------------------------------------------------------------


class Client:
    """Asks one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def predict(self, *rows: dict[str, Any]) -> tuple[int, Any]:
        return self.ask("POST", "/predict", json.dumps({"rows": rows}).encode())


@contextmanager
def serving(project: Project, *words: str) -> Iterator[Client]:
    """The application on a port of its own, in a thread."""
    import socket

    import uvicorn

    service = serve.start(project, parse(["serve", *words]))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(serve.make_app(service), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Client(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)


DEEP = b'{"rows": ' + b"[" * 100_000
MALFORMED = [
    b"", b"{", b"null", b"[]", b"3", b'"rows"', b"\xff\xfe", b"x0=1&x1=2", b"{}", b'{"rows": null}', b'{"rows": {}}', b'{"rows": []}', b'{"row": [{}]}', b'{"rows": [1]}',
    b'{"rows": [[]]}', b'{"rows": [null]}', b'{"rows": [{}]}', DEEP, b'{"rows": [{"x0": 1}]}', json.dumps({"rows": [GOOD] * 1001}).encode(), b"<html></html>",
    *(json.dumps({"rows": [{**GOOD, "x1": value}]}).encode() for value in (
        "a", "", True, [], {}, [1], {"a": 1}, "1_000", "0x10", "inf", 1e400, "-Infinity", "1,5", "٣٤x", "\ud800", "2013-01-31", " ", "nul\0l", None, "NaN")),
    json.dumps({"rows": [GOOD, {**GOOD, "x2": "b"}]}).encode(),
]  # fmt: skip


def test_malformed_requests_get_one_sentence_and_no_log(project: Project) -> None:
    """Each is refused with a reason; none is logged; the server is alive after them."""
    assert len(MALFORMED) >= 40
    with serving(project, "--model", "1") as client:
        for body in MALFORMED:
            status, told = client.ask("POST", "/predict", body)
            assert 400 <= status < 500 and list(told) == ["error"] and len(told["error"]) > 20, (
                body[:80],
                status,
                told,
            )
        assert client.ask("POST", "/predict", b"x", **{"Content-Length": str(1 << 30)})[0] == 413
        assert client.ask("GET", "/predict")[0] == 405 and client.ask("GET", "/../etc/passwd")[0] == 404
        assert client.predict(GOOD)[0] == 200
    with closing(sqlite3.connect(project.root / log.FILE)) as table:
        assert table.execute("SELECT count(*) FROM predictions").fetchone() == (1,)


def test_a_promote_and_a_rollback_under_load_lose_no_request(project: Project) -> None:
    """Four clients ask without a pause while versions change; every answer is of one version, and right for it."""
    first, second = registry.versions(project.root)
    expected = {v: load(project, v).answer([GOOD]).answers[0]["prediction"] for v in (first, second)}  # type: ignore[index]
    command(project, "promote", "1")
    found: list[tuple[int, str, str]] = []
    stop = threading.Event()

    def client_loop(client: Client) -> None:
        while not stop.is_set():
            status, told = client.predict(GOOD)
            found.append(
                (status, told.get("version", ""), told["predictions"][0]["prediction"] if status == 200 else "")
            )

    with serving(project) as client:
        threads = [threading.Thread(target=client_loop, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for words, version in ((("promote", "2"), second), (("rollback",), first)):
            command(project, *words)
            until = time.monotonic() + 10
            while client.ask("GET", "/ready")[1]["version"] != version and time.monotonic() < until:
                time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        written = client.ask("GET", "/health")[1]
    assert {status for status, _, _ in found} == {200} and {v for _, v, _ in found} == {first, second}
    assert all(prediction == expected[version] for _, version, prediction in found)
    with closing(sqlite3.connect(project.root / log.FILE)) as table:
        assert (
            table.execute("SELECT count(*) FROM predictions").fetchone() == (len(found),) and written["not_logged"] == 0
        )


def test_full_collections_skip_what_was_loaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them stopped every answer for as long as all objects of torch and the model take: 0.2 s and more."""
    before, frozen = sys.getswitchinterval(), []
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: frozen.append(gc.get_freeze_count()))
    try:
        assert serve.command(project, parse(["serve", "--model", "1", "--port", "0", "--log", "none"])) == 0
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
    assert frozen[0] > 10_000


def test_a_version_that_does_not_load_changes_nothing(project: Project) -> None:
    command(project, "promote", "1")
    with serving(project) as client:
        (registry.find(project.root, "2") / "weights.safetensors").write_bytes(b"x")
        registry._point(project, "promote", registry.versions(project.root)[1])
        until = time.monotonic() + 10
        while client.ask("GET", "/ready")[0] == 200 and time.monotonic() < until:
            time.sleep(0.05)
        status, told = client.ask("GET", "/ready")
        assert status == 503 and "differs" in told["problem"]
        assert client.predict(GOOD)[1]["version"].startswith("0001")


# ---- the log --------------------------------------------------------------------------------------------------------


def test_the_log_keeps_a_sample_without_what_is_excluded(project: Project) -> None:
    with serving(project, "--model", "1", "--sample", "0.3", "--exclude", "x1") as client:
        for _ in range(4):
            assert client.predict(*[GOOD] * 250)[0] == 200
    logged = log.read(project.root / log.FILE, 0, time.time(), registry.versions(project.root)[0])
    assert 220 < len(logged) < 390
    assert set(json.loads(logged["inputs"][0])) == {"x0", "x2", "x3"} == set(log.watched(logged, []).columns)
    with pytest.raises(UserError, match="no column"):
        serve.start(project, parse(["serve", "--model", "1", "--exclude", "y"]))


@pytest.mark.parametrize(("answer", "score"), [
    ({"prediction": "b", "probabilities": {"b": 0.9, "a": 0.1}}, 0.1), ({"prediction": "b", "probabilities": {"b": 0.2, "a": 0.5, "c": 0.3}}, 0.5),
    ({"prediction": -1.5}, -1.5),
])  # fmt: skip
def test_a_request_is_one_record_and_a_view_shows_its_rows(
    tmp_path: Path, answer: dict[str, Any], score: float
) -> None:
    """A statement for each row kept Python's lock from the answers: p99 of 100 rows a request was five times a bare server's."""
    path, inputs = tmp_path / "log.db", [{"x": i} for i in range(1000)]
    answers = [{"id": f"a-{i}", **answer} for i in range(1000)]
    kept = log.Log(path)
    kept.add(lambda: log.Record("a", 7.0, "1", 2.5, json.dumps(inputs), None, json.dumps(answers), 1000), 1000, 0)
    kept.close()
    with closing(sqlite3.connect(path)) as table:
        assert table.execute("SELECT id, rows FROM requests").fetchall() == [("a", 1000)] and kept.written == 1000
        found = table.execute("SELECT id, at, version, prediction, score, latency_ms FROM predictions").fetchall()
        assert found == [(f"a-{i}", 7.0, "1", answer["prediction"], score, 2.5) for i in range(1000)]
        for name, expected in (("inputs", inputs), ("watched", inputs), ("answer", answers)):
            assert [json.loads(text) for (text,) in table.execute(f"SELECT {name} FROM predictions")] == expected
    assert log.moments(path, 0).tolist() == [7.0] * 1000


def test_a_log_of_an_earlier_version_is_refused(project: Project) -> None:
    with closing(sqlite3.connect(project.root / log.FILE)) as table:
        table.execute("CREATE TABLE predictions(id TEXT PRIMARY KEY, at REAL)")
    with pytest.raises(UserError, match=r"predictions.db cannot be opened: it was written by an earlier version"):
        serve.start(project, parse(["serve", "--model", "1"]))


def test_a_log_that_cannot_be_written_breaks_no_answer(project: Project) -> None:
    path = project.root / log.FILE
    with serving(project, "--model", "1") as client:
        with closing(sqlite3.connect(path)) as table:
            table.execute("DROP TABLE requests")
            table.execute("CREATE TABLE requests(something)")
        assert client.predict(GOOD)[0] == 200
        until = time.monotonic() + 10
        while not client.ask("GET", "/health")[1]["not_logged"] and time.monotonic() < until:
            time.sleep(0.05)
        assert client.ask("GET", "/health")[1]["not_logged"] == 1 and client.predict(GOOD)[0] == 200


@pytest.mark.parametrize(("sent", "said"), [(3, "not a text"), (None, "empty"), ("AAAA", "")])
def test_an_image_comes_as_bytes_never_as_a_path(sent: Any, said: str) -> None:
    rows: list[dict[str, Any]] = [{"photo": sent}]
    assert batch.unpack(rows, ["photo"]) == 0
    frame, reasons = schema.read([{"name": "photo", "role": "image", "kind": "image"}], rows)
    assert said in reasons[0] and bool(reasons[0]) == bool(said)
    assert frame["photo"].to_list() == [None if said else b"\0\0\0"]
    with pytest.raises(batch.Refused, match="row 1 has no base64 of a file in column 'photo'"):
        batch.unpack([{"photo": "AAAA"}, {"photo": "/etc/passwd"}], ["photo"])


def test_onnx_is_kept_only_when_it_agrees(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The libraries are not the project's; the real export runs where they are installed."""
    package, val, path = load(project), splits(project)["val"], tmp_path / "model.onnx"
    if all(find_spec(name) for name in onnx.NEEDED):
        found = onnx.export(package, val, path)
        assert found.verdict == "PASS" and found.evidence["difference"] < 1e-5 and path.is_file(), found
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnx onnxscript onnxruntime"):
        onnx.export(package, val, path)
    monkeypatch.setattr(onnx, "find_spec", lambda name: name)
    monkeypatch.setattr(onnx, "_write", lambda model, names, batch, to: to.write_bytes(b"x"))
    for apart, verdict in ((5e-5, "PASS"), (2e-4, "FAIL"), (float("nan"), "FAIL")):
        monkeypatch.setattr(onnx, "_difference", lambda *_, apart=apart: apart)
        assert onnx.export(package, val, path).verdict == verdict and path.exists() == (verdict == "PASS")


def test_flags_belong_to_their_commands(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["train", "--port", "1"], "it belongs to serve"),
        (["predict", "--sample", "1"], "it belongs to serve"),
        (["monitor", "--rate", "-1"], "0 or more"),
    ):
        assert main([*words, "--project", str(project.root)]) == 2
        assert expected in capsys.readouterr().err
