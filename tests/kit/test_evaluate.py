"""The test part opens once: what a crash, a competitor process, new data and changed settings do to it; what the record says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import inherited
from my_model.config import Config
from my_model.engine import metrics, slices, splits
from my_model.engine.hashes import row_hashes
from my_model.engine.stop import alone
from my_model.errors import UserError
from my_model.task import Data
from recipe_kit import access, ledger, overlap
from recipe_kit.commands import parse
from recipe_kit.project import Project
from recipe_kit.steps import baseline, evaluate, split, train

from .toy import Toy, toy_project

Record = dict[str, Any]


def do(project: Project, name: str, run: str = "") -> Record:
    """One step as `cli.run_step` does it."""
    step = {"split": split, "baseline": baseline, "train": train, "evaluate": evaluate}[name]
    begun = project.begin(name)
    try:
        step.run(project, begun, parse([name, *(["--run", run] if run else [])]))
        return begun.finish()
    except BaseException:
        begun.discard()
        raise


def again(project: Project, **settings: Any) -> Project:
    """The project as the next command sees it, with changed settings."""
    return Project(
        project.root, Config(**{**project.config.model_dump(), **settings}), project.task, force="", quiet=True
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project with a trained network, its test part shut."""
    return trained(tmp_path)


def trained(folder: Path, **settings: Any) -> Project:
    project = toy_project(folder, epochs=2, **settings)
    project.force = "no checks on a toy"
    for step in ("split", "baseline", "train"):
        do(project, step)
    return again(project)


def opening_lines(project: Project) -> list[str]:
    return [row["id"] for row in ledger.read(project.ledger) if row["step"] == "open_test"]


def clean(record: Record) -> bool:
    """Whether it is the first look at the test part; that the network of two epochs beats the baseline is not asked."""
    return [f["verdict"] for f in record["findings"] if f["check"] == "test access"] == ["PASS"]


def die(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_the_test_part_opens_once(project: Project) -> None:
    record = do(project, "evaluate")
    assert clean(record) and opening_lines(project) == [record["id"]]
    with pytest.raises(UserError, match="was opened on"):
        do(project, "evaluate")
    project.force = "a bug in the metric"
    second = do(project, "evaluate")
    assert len(second["result"]["openings"]) == 2 and second["status"] == "warn"
    path = project.root / access.LOCK
    path.write_text(path.read_text().replace(record["id"], "0999-evaluate"))
    with pytest.raises(UserError, match="edited"):
        access.openings(project)
    path.unlink()
    with pytest.raises(UserError, match="ledger says"):
        access.openings(project)


@pytest.mark.parametrize("when", ["score", "evaluate", "opened_once"])
def test_an_interrupted_evaluation_is_finished(project: Project, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, when, die)
        with pytest.raises(KeyboardInterrupt):
            do(project, "evaluate")
    assert len(opening_lines(project)) == 1
    record = do(again(project), "evaluate")
    assert len(opening_lines(project)) == 1 and len(record["result"]["openings"]) == 1
    assert clean(record) and record["result"]["ledger"]["opening"] == opening_lines(project)[0]
    with pytest.raises(UserError, match="was opened on"):
        do(again(project), "evaluate")


def test_an_interrupted_evaluation_is_finished_for_its_model_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "score", die)
        with pytest.raises(KeyboardInterrupt):
            do(project, "evaluate")
    other = again(project, seed=5)
    other.force = "no checks on a toy"
    newer = do(other, "train")["id"]
    with pytest.raises(UserError, match=r"its model, weights changed since; .* recipe evaluate --run 0003-train"):
        do(project, "evaluate", run=newer)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="its weights changed"):
        patch.setattr(evaluate, "weights_hash", lambda _: "trained again in the same folder")
        do(project, "evaluate")
    assert do(project, "evaluate")["result"]["run"] == "0003-train"


def test_a_crash_between_file_and_ledger_is_fixed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", die)
        with pytest.raises(KeyboardInterrupt):
            do(project, "evaluate")
    assert (project.root / access.LOCK).exists() and opening_lines(project) == []
    record = do(again(project), "evaluate")
    assert len(opening_lines(project)) == 1 and clean(record)
    access.openings(project)


TWO = """
import sys, time
from pathlib import Path
from kit.test_evaluate import again, do
from kit.toy import Toy
from my_model.config import Config
from recipe_kit.project import Project
import json
project = Project(Path(sys.argv[1]), Config(**json.loads(sys.argv[2])), Toy(), quiet=True)
project.fingerprint, (project.root / f"ready-{sys.argv[3]}").touch()
while not (project.root / "go").exists():
    time.sleep(0.001)
do(project, "evaluate")
"""


def test_a_test_part_that_the_plain_command_opened_counts_as_opened(project: Project) -> None:
    folder = project.root / "runs" / "0009-plain_evaluate"
    folder.mkdir()
    for source, refused in (("other data", False), (project.data.sha256, True)):
        (folder / "result.json").write_text(json.dumps({"run": "0008-plain_train", "source": source}))
        if refused:
            with pytest.raises(UserError, match=r"opened by python -m my_model evaluate \(0009-plain_evaluate\)"):
                do(again(project), "evaluate")
        else:
            assert access.interrupted(again(project)) is None
    assert not (project.root / access.LOCK).exists()


def test_two_at_once_score_once(project: Project) -> None:
    settings = json.dumps(project.config.model_dump())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, project.root, settings, str(i)],
            env=inherited(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    while not all((project.root / f"ready-{i}").exists() for i in range(2)):
        assert all(process.poll() is None for process in started)
        time.sleep(0.05)
    (project.root / "go").touch()
    said = [process.communicate()[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, 1], said
    assert any("UserError" in text for text in said)
    assert len(opening_lines(project)) == 1 and len(project.records("evaluate")) == 1


def test_a_second_evaluation_waits_for_the_first(project: Project) -> None:
    with alone(project.root), pytest.raises(UserError, match="being written by another process"):
        do(project, "evaluate")
    assert clean(do(project, "evaluate"))


def test_new_data_may_be_opened_once(project: Project) -> None:
    first = do(project, "evaluate")
    path = project.root / project.config.data
    pl.read_csv(path).with_columns(pl.col("x0") + 0.01).write_csv(path)
    newer = again(project)
    newer.force = "no checks on a toy"
    for step in ("split", "baseline", "train"):
        do(newer, step)
    newer.force = ""
    record = do(newer, "evaluate")
    assert [o["id"] for o in record["result"]["openings"]] == [first["id"], record["id"]]
    assert clean(record), "the first look at the new data is clean"
    with pytest.raises(UserError, match="of this data was opened"):
        do(again(newer), "evaluate")


@pytest.mark.parametrize("settings", [{"split_seed": 7}, {"drop": ["x3"]}, {"metric": "accuracy"}], ids=str)
def test_other_settings_are_no_new_data(project: Project, settings: dict[str, Any]) -> None:
    do(project, "evaluate")
    changed = again(project, **settings)
    changed.force = "no checks on a toy"
    for step in ("split", "baseline", "train"):
        do(changed, step)
    changed.force = ""
    with pytest.raises(UserError, match="no test, nor is a new split of the same rows"):
        do(changed, "evaluate")


@pytest.mark.parametrize(("old", "refused"), [(1.0, True), (0.5, True), (0.0, False)])
def test_rows_that_were_opened_are_no_new_data(project: Project, old: float, refused: bool) -> None:
    """The file grows: a random split puts rows into the test part that were in the opened one."""
    do(project, "evaluate")
    path = project.root / project.config.data
    frame = pl.read_csv(path)
    newer = toy_project(project.root, n=300, seed=1).task.load(project.config, project.root).frame
    pl.concat([frame.sample(fraction=old, seed=0), newer]).write_csv(path)
    grown = again(project)
    grown.force = "no checks on a toy"
    for step in ("split", "baseline", "train"):
        do(grown, step)
    grown.force = ""
    if refused:
        with pytest.raises(UserError, match="nor a test part that holds some of them"):
            do(grown, "evaluate")
    else:
        assert do(grown, "evaluate")["status"] != "fail"


def test_a_sketch_knows_how_many_rows_were_there() -> None:
    random = np.random.default_rng(0)
    part, new = (random.integers(0, 2**48, 5000, dtype=np.uint64) for _ in range(2))
    kept = overlap.sketch(part)
    assert (
        len(kept) == overlap.SKETCH and overlap.share_known(kept, new) == 0.0 and overlap.share_known(kept, part) == 1.0
    )
    mixed = np.concatenate([part[:2500], new[:2500]])
    assert overlap.share_known(kept, mixed) == pytest.approx(0.5, abs=0.2)
    few = part[:10]
    assert overlap.share_known(overlap.sketch(few), np.concatenate([few, new[:30]])) == 0.25
    assert overlap.share_of_copies(mixed, part) == 0.5


def test_a_row_keeps_its_hash(project: Project) -> None:
    """Pinned: a hash that changed with a version would let the same rows pass as new."""
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, 1e-7], "path": ["p", "q"]})
    data = Data(frame, "a", {"path": "image"}, "")
    assert overlap.sketch(row_hashes(data)) == ["52ccd347ad05", "aae6f2c391e5"]


def test_the_opening_says_who_when_and_what(project: Project) -> None:
    for words in (["init", "-q"], ["config", "user.name", "Ada"], ["config", "user.email", "ada@example.org"],
                  ["add", "recipe.toml"], ["commit", "-q", "-m", "start"]):  # fmt: skip
        subprocess.run(["git", "-C", project.root, *words], check=True)
    opening = do(project, "evaluate")["result"]["openings"][0]
    assert opening["who"] == "Ada" and len(opening["commit"]) == 40
    assert opening["split"] == splits.split_hash(splits.read_manifest(project))
    assert opening["source"] == project.data.sha256 and opening["started"].endswith("+00:00")


def test_without_git_the_account_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "git", lambda *_: "")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert access.who(toy_project(tmp_path)) == "ada"


def test_baselines_are_not_fitted_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "baselines", die)
    assert do(project, "evaluate")["result"]["baseline"]["name"] == "first_feature"


def test_only_the_best_is_fitted_again_with_its_own_settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = next((project.root / "runs").glob("*-baseline/model"))
    for path in saved.iterdir():
        path.unlink()
    saved.rmdir()
    asked, original = [], Toy.baselines

    def watched(self: Toy, config: Any, prep: Any, data: Any, only: str = "") -> Any:
        asked.append((config.seed, only))
        return original(self, config, prep, data, only)

    monkeypatch.setattr(Toy, "baselines", watched)
    do(again(project, seed=5), "evaluate")
    assert asked == [(0, "first_feature")]


def score(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def test_a_drop_is_judged_by_how_many_runs_were_compared() -> None:
    config = Config(iid="x")
    val, test = score(0.90, 0.04), score(0.81, 0.04)
    alone = evaluate.val_to_test(config, val, test, 1)
    among = evaluate.val_to_test(config, val, test, 60)
    assert (alone.verdict, among.verdict) == ("WARN", "PASS")
    assert "best of 60 runs" in among.observed and "best of" not in alone.observed
    worse = evaluate.val_to_test(config, val, score(0.6, 0.04), 60)
    assert worse.verdict == "WARN" and worse.causes[0].sentence.startswith("60 runs were compared")
    rise = evaluate.val_to_test(Config(iid="x", task="regression"), score(1.0, 0.1), score(0.5, 0.1))
    assert rise.verdict == "PASS", "a lower error on test is no drop"


def test_trials_of_tuning_count_as_compared(project: Project) -> None:
    """A study that went on in a second run is counted once; a pruned trial and one on another split are not."""
    ended = [{"number": i, "state": "COMPLETE", "value": 0.5, "params": {"lr": 0.1 * i}} for i in range(5)]
    pruned = {"number": 5, "state": "PRUNED", "value": None, "params": {"lr": 0.9}}
    for made, trials in ((project, ended[:3]), (project, [*ended, pruned]), (again(project, split_seed=3), ended)):
        tuned = made.begin("tune")
        tuned.result["stages"] = {"learning rate": trials}
        tuned.finish()
    assert evaluate.trials(project) == 5
    assert do(project, "evaluate")["result"]["compared"] == 6


@pytest.mark.parametrize(("k", "task"), [(1, "regression"), (2, "binary"), (3, "multiclass")])
def test_the_record_holds_what_the_report_draws(tmp_path: Path, k: int, task: str) -> None:
    project = trained(tmp_path, k=k, task=task)
    result = do(project, "evaluate")["result"]
    y = np.load(next((project.root / "runs").glob("*-evaluate/y.npy")))
    metric = project.config.resolved_metric
    assert {"run", "model", "metric", "openings", "rows", "metrics", "baseline", "slices", "compared"} <= set(result)
    assert result["rows"] == len(y) and result["metrics"][metric]["low"] <= result["metrics"][metric]["high"]
    if k > 1:
        assert np.sum(result["confusion"]) == len(y)
        assert sum(row["support"] for row in result["per_class"]) == len(y)
        assert result["calibration"]["after"]["bins"] and result["temperature"] > 0
    assert ("threshold" in result) == (k == 2)
    assert metrics.better(metric, *([0, 1] if k == 1 else [1, 0]))


def test_slices_keep_their_names(tmp_path: Path) -> None:
    """A slice has a name and a score; the one must not take the place of the other."""
    project = toy_project(tmp_path, k=2)
    y = project.data.frame["target"].to_numpy().astype(int)
    place = ["Oslo" if i % 3 else "Lima" for i in range(len(y))]
    data = Data(project.data.frame.with_columns(pl.Series("place", place)), "target", project.data.roles, "")
    config = project.config.model_copy(update={"slices": ["place"]})
    found = slices.slices(config, {}, data, np.zeros((len(y), 1), np.float32), metrics.Truth(y))
    assert [(s["column"], s["name"], s["n"]) for s in found] == [("place", "Oslo", 200), ("place", "Lima", 100)]
    assert all(s["value"] == 0.5 for s in found)
