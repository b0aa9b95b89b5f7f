"""The monitor: quiet without drift at the declared rate, loud with it; new values, lost columns, labels, silence, webhook."""

from __future__ import annotations

import http.server
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.errors import UserError
from my_model.tabular.recipe import Config
from recipe_kit.commands import parse
from recipe_kit.production import alerts, drift, log, model, monitor, reference, registry
from recipe_kit.project import Project
from scipy import stats

from .test_evaluate import trained
from .test_production import exported

RATE, FLOOR = 0.05, 0.01


def draw(random: np.random.Generator, n: int, shift: float = 0.0) -> pl.DataFrame:
    """Rows of different shapes: normal, skewed, counts, categories, with gaps. The first is shifted, in standard deviations."""
    numbers = {
        "a": random.normal(size=n) + shift,
        "b": np.exp(random.normal(size=n)),
        "c": random.poisson(2, n).astype(float),
    }
    kinds = random.choice(list("uvwxyz"), size=n, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])
    gaps = random.random(n) < 0.05
    frame = pl.DataFrame({**numbers, "d": kinds, "e": random.normal(size=n)})
    return frame.with_columns(pl.when(pl.Series(gaps)).then(None).otherwise(pl.col("e")).alias("e"))


@pytest.fixture(scope="module")
def statistics() -> dict[str, Any]:
    train = draw(np.random.default_rng(0), 5000)
    found = {name: reference.describe(train[name]) for name in train.columns}
    found["d"] |= {"known": list("uvwxyz"), "unseen": [0, 1000]}
    return found


def judged(statistics: dict[str, Any], now: pl.DataFrame) -> list[dict[str, Any]]:
    measured = [one for name in now.columns for one in drift.compare(name, statistics[name], now[name])]
    return [one for one in drift.judge(measured, RATE, FLOOR) if one["alert"]]


def test_quiet_without_drift_at_the_declared_rate(statistics: dict[str, Any]) -> None:
    """200 draws: fewer false alarms than a true rate of 5 % would pass in 99.9 % of such tests."""
    random = np.random.default_rng(1)
    false = sum(bool(judged(statistics, draw(random, 300))) for _ in range(200))
    assert false <= stats.binom.ppf(0.999, 200, RATE), false


def test_a_drift_of_a_third_of_a_deviation_is_seen(statistics: dict[str, Any]) -> None:
    """Fault V2."""
    random = np.random.default_rng(2)
    found = [judged(statistics, draw(random, 500, 0.3)) for _ in range(40)]
    assert sum({one["name"] for one in alert} == {"a"} for alert in found) >= 36


def test_small_drift_of_many_rows_is_no_alarm(statistics: dict[str, Any]) -> None:
    """The floor: 0.05 standard deviations in 20,000 rows is certain, and too small to matter."""
    now = draw(np.random.default_rng(3), 20_000, 0.05)
    tests = drift.judge(drift.compare("a", statistics["a"], now["a"]), RATE, FLOOR)
    assert tests[0]["corrected"] < RATE and not tests[0]["alert"]


def test_values_that_repeat_are_compared_to_the_last_digit() -> None:
    """A number of two long values, as standardized tables have, is no drift against itself."""
    train = pl.Series("sex", np.where(np.arange(3000) % 2, 0.05068011873981862, -0.044641636506989144))
    found = drift.compare("sex", json.loads(json.dumps(reference.describe(train))), train[:400])
    assert not any(one["alert"] for one in drift.judge(found, RATE, FLOOR)) and found[1]["psi"] < 0.01


def test_new_categories_and_new_gaps(statistics: dict[str, Any]) -> None:
    """Fault V4: a category and missing values that training never had."""
    now = draw(np.random.default_rng(4), 500)
    tenth = pl.int_range(pl.len()) % 10 == 0
    fresh = now.with_columns(
        d=pl.when(tenth).then(pl.lit("new")).otherwise("d"), a=pl.when(tenth).then(None).otherwise("a")
    )
    found = {(one["name"], one["test"]) for one in judged(statistics, fresh)}
    assert {("d", "unseen"), ("a", "missing")} <= found
    one = next(one for one in judged(statistics, fresh) if one["test"] == "unseen")
    assert one["values"] == ["new"] and one["now"] == 0.1


@pytest.mark.parametrize(("kind", "check"), [("missing", "missing values in production"), ("unseen", "new categories")])
@pytest.mark.parametrize(
    ("then", "now", "alert", "verdict"),
    [(0.01, 0.2, True, "FAIL"), (0.0, 0.01, False, "WARN"), (0.01, 0.012, False, "PASS"), (0.0, 0.0, False, "PASS")],
)
def test_shares_that_grew_are_an_alarm(
    kind: str, check: str, then: float, now: float, alert: bool, verdict: str
) -> None:
    one = {"test": kind, "name": "a", "alert": alert, "excess": now - then, "then": then, "now": now, "values": ["new"]}
    found = {f.check: f.verdict for f in alerts.of_tests([one], 100, monitor.ENOUGH, RATE, FLOOR)}
    assert found[check] == verdict
    assert {v for name, v in found.items() if name != check} == {"PASS"}


def test_tests_agree_with_scipy() -> None:
    random = np.random.default_rng(5)
    known, now = np.sort(random.normal(size=400)), np.sort(random.normal(0.2, 1.2, size=250))
    assert drift.rank_sum(known, 400, now) == pytest.approx(
        stats.mannwhitneyu(now, known, use_continuity=False).pvalue, rel=0.01
    )
    tied = [np.round(known), np.round(now)]
    expected = stats.mannwhitneyu(tied[1], tied[0], use_continuity=False).pvalue
    assert drift.rank_sum(tied[0], 400, tied[1]) == pytest.approx(expected, rel=0.01)
    assert drift.numbers(known, 400, now)["ks"] == pytest.approx(stats.ks_2samp(known, now).statistic)
    assert drift.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    null = [drift.numbers(known, 400, random.normal(size=300)) for _ in range(100)]
    assert np.mean([one["psi"] for one in null]) == pytest.approx(null[0]["chance"], rel=0.5), "PSI without drift"


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = trained(tmp_path_factory.mktemp("monitor"), n=900, lr=0.02)
    exported(made)
    return made


def watch(project: Project, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status and findings by name."""
    args = parse(["monitor", *words])
    status = monitor.command(project, args)
    content = json.loads((project.root / "monitor" / "monitor.json").read_text())
    page = (project.root / "monitor" / "monitor.html").read_text()
    assert all(f["check"] in page for f in content["findings"]) and content["alert"] == bool(status)
    assert all(len(f["causes"]) >= 2 and f["next"] for f in content["findings"] if f["verdict"] in ("WARN", "FAIL"))
    return status, {f["check"]: f for f in content["findings"]}


def rows(n: int = 400, seed: int = 7) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    signal = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * random.normal(size=n)
    return pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"target": (signal > 0).astype(int)})


def test_a_file_is_watched(project: Project, tmp_path: Path) -> None:
    """No drift, one drifted column, a lost column, rows that cannot be read, labels that came out otherwise."""
    path = tmp_path / "new.csv"
    rows().write_csv(path)
    status, found = watch(project, str(path))
    assert status == 0 and found["live performance"]["verdict"] == "PASS", found
    rows().with_columns(pl.col("x1") + 0.5).write_csv(path)
    status, found = watch(project, str(path))
    assert status == 1 and found["feature drift"]["evidence"]["drifted"] == ["x1"]
    rows().drop("x2").write_csv(path)
    status, found = watch(project, str(path))
    assert (
        status == 1 and found["columns in production"]["verdict"] == "FAIL" and list(found) == ["columns in production"]
    )
    spoilt = rows().with_columns(
        x3=pl.when(pl.int_range(pl.len()) % 20 == 0).then(pl.lit("?")).otherwise(pl.col("x3").cast(pl.String))
    )
    spoilt.write_csv(path)
    status, found = watch(project, str(path))
    assert status == 1 and found["rejected rows"]["verdict"] == "FAIL"
    rows().with_columns(target=1 - pl.col("target")).write_csv(path)
    status, found = watch(project, str(path))
    assert status == 1 and found["live performance"]["verdict"] == "FAIL"


def test_the_worst_score_that_is_declared(project: Project, tmp_path: Path) -> None:
    """FAIL where the whole interval is worse, WARN where the value alone is, PASS where neither, whatever the export promised."""
    path = tmp_path / "new.csv"
    rows().write_csv(path)
    now = watch(project, str(path))[1]["live performance"]["evidence"]["now"]
    assert now["low"] < now["value"] < now["high"] < 1
    between = (now["value"] + now["high"]) / 2
    for worst, status, verdict in (
        (now["low"] - 0.01, 0, "PASS"),
        (between, 0, "WARN"),
        ((now["high"] + 1) / 2, 1, "FAIL"),
    ):
        got, found = watch(project, str(path), "--worst", str(worst))
        assert (got, found["live performance"]["verdict"]) == (status, verdict)
        assert f"{worst:.4f} declared as the worst" in found["live performance"]["observed"]
        assert f"the score no worse than {worst:g}" in (project.root / "monitor" / "monitor.html").read_text()
    rows().drop("target").write_csv(path)
    assert watch(project, str(path), "--worst", "0.99")[1]["live performance"]["verdict"] == "NOT APPLICABLE", (
        "no label came"
    )


@pytest.mark.parametrize(("worst", "verdict"), [(0.5, "FAIL"), (5.0, "PASS"), (0.0, "FAIL")])
def test_the_worst_of_an_error_is_the_largest(worst: float, verdict: str) -> None:
    """Where lower is better; and 0 is a bound like any other."""
    random = np.random.default_rng(0)
    truth = random.normal(size=300)
    answers = [json.dumps({"prediction": value}) for value in truth + random.normal(size=300)]

    prep = {"classes": [], "outputs": 1, "prior": [], "target_mean": 0.0, "target_scale": 1.0}
    fitted = SimpleNamespace(config=Config(task="regression", iid="drawn", bootstrap=200), prep=prep)
    at_export = {"rmse": {"value": 1.0, "low": 0.9, "high": 1.1}}
    manifest = {"metric": "rmse", "task": "regression", "classes": [], "run": "0001-train", "metrics": at_export}
    labeled = pl.DataFrame({"answer": answers, "label": [str(value) for value in truth]})
    found = alerts.performance(SimpleNamespace(fitted=fitted, manifest=manifest), labeled, 0.0, worst)  # type: ignore[arg-type]
    assert found.verdict == verdict and "rmse" in found.observed


def logged(project: Project, frame: pl.DataFrame, at: np.ndarray) -> list[str]:
    """Rows in the log as if the server had answered them at these times; their ids."""
    package = model.load(project.task, registry.find(project.root, "1"))
    path = project.root / log.FILE
    path.unlink(missing_ok=True)
    answers = package.answer(frame.drop("target").to_dicts()).answers
    kept = log.Log(path)
    ids = [f"r{i}" for i in range(len(frame))]
    for name, moment, row, answer in zip(ids, at, frame.drop("target").to_dicts(), answers, strict=True):
        assert answer is not None
        inputs, answered = json.dumps([row]), json.dumps([{"id": name, **answer}])
        record = log.Record(name, float(moment), package.version, 1.0, inputs, None, answered, 1)
        kept.add(lambda record=record: record, 1, 0)  # type: ignore[misc]
    kept.close()
    return ids


def test_the_log_is_watched(project: Project, tmp_path: Path) -> None:
    """Quiet; then silent; then with labels of which only the mature ones count."""
    now = time.time()
    ids = logged(project, rows(), now - np.linspace(20 * 3600, 10, 400))
    status, found = watch(project)
    assert status == 0 and found["silence"]["verdict"] == "PASS" and found["feature drift"]["verdict"] == "PASS"
    labels = tmp_path / "labels.csv"
    pl.DataFrame({"id": ids, "target": rows()["target"]}).write_csv(labels)
    assert watch(project, "--labels", str(labels))[1]["live performance"]["verdict"] == "PASS"
    assert (
        watch(project, "--labels", str(labels), "--mature", "3")[1]["live performance"]["verdict"] == "NOT APPLICABLE"
    )
    numbered = pl.DataFrame({"id": range(400), "target": rows()["target"]})
    numbered.write_csv(labels)
    assert watch(project, "--labels", str(labels))[1]["live performance"]["verdict"] == "NOT APPLICABLE", "other ids"
    pl.DataFrame({"id": ids, "target": 1 - rows()["target"]}).write_csv(labels)
    assert watch(project, "--labels", str(labels))[1]["live performance"]["verdict"] == "FAIL"
    pl.DataFrame({"id": ids[:100], "target": rows()["target"][:100]}).write_csv(labels)
    assert watch(project, "--labels", str(labels))[1]["live performance"]["verdict"] == "WARN", "few have a label"
    turned = rows().with_columns(target=pl.when(pl.int_range(400) < 200).then(1 - pl.col("target")).otherwise("target"))
    ids = logged(project, rows(), now - 3600 * np.r_[np.linspace(190, 170, 200), np.linspace(20, 1, 200)])
    pl.DataFrame({"id": ids, "target": turned["target"]}).write_csv(labels)
    for mature, verdict in (("0", "PASS"), ("7", "FAIL")):
        found = watch(project, "--labels", str(labels), "--mature", mature)[1]
        assert found["live performance"]["verdict"] == verdict, "answers of the window alone, this long ago"
    logged(project, rows(), now - 3600 * np.linspace(150, 30, 400))
    status, found = watch(project)
    assert status == 1 and found["silence"]["verdict"] == "FAIL"
    with pytest.raises(UserError, match=r"--labels nowhere.csv is not a file"):
        watch(project, "--labels", "nowhere.csv")
    for words in (["--worst", "0.9"], ["--worst", "nan", "--labels", str(labels)]):
        with pytest.raises(UserError, match="--worst is a number that labeled rows are held against"):
            watch(project, *words)
    (project.root / log.FILE).unlink()
    with pytest.raises(UserError, match="there is no prediction log"):
        watch(project)


def test_nearly_silent_is_silent() -> None:
    hour, now = 3600.0, 1e9
    steady = now - np.linspace(8 * 24 * hour, 24 * hour, 1400)
    assert alerts.silence(np.r_[steady, now - hour], now, 24).verdict == "FAIL"
    assert alerts.silence(np.r_[steady, now - np.linspace(23 * hour, hour, 120)], now, 24).verdict == "PASS"
    assert alerts.silence(np.array([now - hour]), now, 24).verdict == "PASS", "the first day has no day before"


def test_an_alarm_is_posted(project: Project, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    path = tmp_path / "new.csv"
    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        rows().write_csv(path)
        assert watch(project, str(path), "--webhook", url)[0] == 0 and not told
        rows().with_columns(pl.col("x0") * 3).write_csv(path)
        assert watch(project, str(path), "--webhook", url)[0] == 1
        server.shutdown()
    assert told[0]["red"] and told[0]["alert"] and told[0]["findings"]
    assert watch(project, str(path), "--webhook", url)[0] == 1, "nobody answers there any more"
    with pytest.raises(UserError, match="no http address"):
        watch(project, str(path), "--webhook", "file:///etc/passwd")
