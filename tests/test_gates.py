"""Every step tried after everything that may be wrong before it. `python tests/test_gates.py` writes docs/gates.md from it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, module
from inside import Inside

PAGE = ROOT / "docs" / "gates.md"
BEFORE = ("audit", "split", "baseline", "check", "train", "evaluate")
STEPS: dict[str, tuple[str, ...]] = {  # step -> what is typed after it
    "audit": (), "split": (), "baseline": (), "check": (), "lr-find": (), "train": (), "diagnose": (), "learning-curve": (), "cv": (),
    "ablate": (), "tune": (), "rerun": ("0005-train",), "evaluate": (), "report": (), "export": (), "promote": (),
}  # fmt: skip
# What stops what: the contract, written down apart from the code. A first evaluation has none before it.
STOPS = {
    "audit": {"split", "baseline", "check", "lr-find", "train", "learning-curve", "cv", "ablate", "tune", "rerun", "evaluate", "export", "promote"},
    "split": {"baseline", "check", "lr-find", "train", "learning-curve", "cv", "ablate", "tune", "rerun", "evaluate", "export", "promote"},
    "baseline": {"train", "ablate", "tune", "evaluate"},
    "check": {"lr-find", "train", "learning-curve", "cv", "ablate", "tune", "evaluate", "export", "promote"},
    "train": {"evaluate", "export", "promote"},
    "evaluate": {"export", "promote"},
}  # fmt: skip


class Entered(Exception):
    """A step that was not stopped."""


def rows(n: int = 500) -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(3, n)).round(3)
    return pl.DataFrame({"a": a, "b": b, "c": c, "target": np.where(a + c + random.normal(size=n) * 0.5 > 0, "yes", "no")})


def make_bases(folder: Path) -> dict[str, Path]:
    """A project in which everything passed: before its test part was opened, and with a package that was exported."""
    trained = Inside(folder / "trained", task="binary", epochs=8)
    rows().write_csv(trained.root / "data" / "train.csv")
    for step in ("audit", "split", "baseline", "check", "train"):
        trained.done(step)
    shutil.copytree(trained.root, folder / "exported")
    exported = Inside(folder / "exported", **trained.settings)
    for step in ("evaluate", "export"):
        exported.done(step)
    return {"trained": trained.root, "exported": exported.root}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_bases(tmp_path_factory.mktemp("bases"))


def copied(bases: dict[str, Path], step: str, where: Path) -> Inside:
    """A copy of the base in which `step` would come next."""
    base = bases["trained" if step == "evaluate" else "exported"]
    root = Path(tempfile.mkdtemp(dir=where)) / "project"
    shutil.copytree(base, root)
    return Inside(root, **{"task": "binary", "epochs": 8})


def remove(project: Inside, before: str) -> None:
    """As if a step had not been done, nor written down in the ledger."""
    for path in (project.root / "runs").glob(f"*-{before}"):
        shutil.rmtree(path)
    path, ledger = project.root / "EXPERIMENTS.jsonl", project.module("ledger")
    rows = [row for row in ledger.read(path) if row["step"] != before]
    path.unlink()
    for row in rows:
        ledger.append(path, {name: value for name, value in row.items() if name not in ("previous", "hash")})


def fail(project: Inside, before: str) -> None:
    """As if a step had ended in FAIL."""
    path = sorted((project.root / "runs").glob(f"*-{before}/record.json"))[-1]
    record = json.loads(path.read_text())
    found = {"check": "a check of it", "verdict": "FAIL", "observed": "", "expected": "", "causes": [], "next": "", "share": 0.0, "evidence": {}, "seconds": 0.0}
    path.write_text(json.dumps({**record, "status": "fail", "findings": [*record["findings"], found]}))


def entering(project: Inside, step: str) -> Callable[[], None]:
    """Replace what a step does by a note that it was reached; returns what puts it back."""
    production = step in ("export", "promote")
    name = "registry" if step == "promote" else step.replace("-", "_")
    module, what = project.module(f"{'production' if production else 'steps'}.{name}"), "_point" if step == "promote" else "run"
    kept = getattr(module, what)

    def reached(given: Any, *_: Any) -> None:
        raise Entered(json.dumps(given.forced))

    setattr(module, what, reached)
    return lambda: setattr(module, what, kept)


def tried(project: Inside, step: str, *more: str) -> tuple[str, list[str]]:
    """(what stopped it, what it went past): "" and the forced lines where nothing did."""
    restore = entering(project, step)
    try:
        answer = project.recipe(step, *STEPS[step], *more)
    except Entered as reached:
        return "", json.loads(str(reached))
    finally:
        restore()
    assert answer.status == 2 and len(answer.lines) == 1 and "Traceback" not in answer.output, answer.output
    return answer.sentence, []


@pytest.mark.parametrize("step", STEPS)
def test_every_step_after_everything_before_it(bases: dict[str, Path], tmp_path: Path, step: str) -> None:
    """Reached where all passed; stopped, with the step to do, by what it rests on and by nothing else; --force is kept."""
    assert tried(copied(bases, step, tmp_path), step) == ("", [])
    for before in BEFORE:
        if before in ("train", "evaluate") and step in (before, "rerun"):
            continue  # a step does not rest on its own past
        for spoil in (remove, fail):
            if spoil is remove and before in ("train", "evaluate"):
                continue  # there is no model then, or no evaluation, which is no fault
            project = copied(bases, step, tmp_path)
            spoil(project, before)
            said, _ = tried(project, step)
            assert bool(said) == (step in STOPS[before]), (spoil.__name__, before, said)
            if said:
                problem = f"{before} has not been done" if spoil is remove else f"-{before} ended in FAIL (a check of it)"
                assert problem in said and f"recipe {before}" in said and "--force" in said, said
                said, forced = tried(project, step, "--force", "in spite of it")
                assert not said and any(problem in line and line.endswith("; forced: in spite of it") for line in forced)


@pytest.mark.parametrize("step", sorted(STOPS["audit"]))
def test_a_review_that_finds_wrong_labels_stops_too(bases: dict[str, Path], tmp_path: Path, step: str) -> None:
    project = copied(bases, step, tmp_path)
    (project.root / "sheet.csv").write_text("label_ok_yes_no,target\n" + "no,yes\n" * 60)
    assert project.recipe("audit", "--review", "sheet.csv").status == 1
    assert "ended in FAIL (label review)" in tried(project, step)[0]
    (project.root / "sheet.csv").write_text("label_ok_yes_no,target\n" + "yes,yes\n" * 400)
    project.done("audit", "--review", "sheet.csv")
    assert tried(project, step)[0] == "", "the newest sheet counts"


@pytest.mark.parametrize("step", sorted(STOPS["audit"] - {"promote"}))
def test_an_audit_of_other_data_is_none(bases: dict[str, Path], tmp_path: Path, step: str) -> None:
    project = copied(bases, step, tmp_path)
    path = project.root / "data" / "train.csv"
    path.write_text(path.read_text().replace("yes", "Yes", 1))
    project.set(task="multiclass")
    said = tried(project, step)[0]
    assert "audit was done before data changed" in said or (step in ("evaluate", "export") and "for this data and split" in said), said


def test_a_change_of_the_model_needs_new_checks_but_no_new_audit(bases: dict[str, Path], tmp_path: Path) -> None:
    project = copied(bases, "train", tmp_path)
    project.set(hidden=64)
    said = tried(project, "train")[0]
    assert "check was done before model changed" in said and "recipe check" in said
    assert "recipe check hidden=32" in tried(project, "train", "hidden=32")[0]
    project.set(hidden=128, model="lightgbm")
    assert tried(project, "train")[0] == "", "a plain model has no network to check"


def test_the_checks_of_a_model_are_those_of_its_own_settings(bases: dict[str, Path], tmp_path: Path) -> None:
    """recipe.toml has gone on since, as it does between training and evaluation."""
    project = copied(bases, "evaluate", tmp_path)
    project.set(hidden=64)
    assert tried(project, "evaluate")[0] == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metric": "f1"}, "metric is 'f1' and was 'auc' when 0005-train was trained"),
        ({"cost_false_negative": 25.0}, "cost_false_negative is 25.0 and was 1.0"),
        ({"slices": ["a"]}, "slices is ['a'] and was []"),
    ],
    ids=str,
)
def test_metric_costs_and_slices_are_frozen_at_the_first_training(
    bases: dict[str, Path], tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    for step in ("baseline", "train", "learning-curve", "cv", "ablate", "tune", "evaluate", "export"):
        project = copied(bases, step, tmp_path)
        project.set(**settings)
        if step not in ("baseline", "export", "learning-curve", "cv"):
            assert project.recipe("baseline").status == 2
            assert project.recipe("baseline", "--force", "agreed with the clinic").status == 0
        said = tried(project, step)[0]
        assert words in said and "--force" in said, (step, said)
        said, forced = tried(project, step, "--force", "agreed with the clinic")
        assert not said and any(words in line for line in forced)


def test_what_is_no_protocol_may_change(bases: dict[str, Path], tmp_path: Path) -> None:
    project = copied(bases, "train", tmp_path)
    project.set(bootstrap=300, human_score=0.9, metric="auc")
    assert project.recipe("baseline").status == 0
    assert tried(project, "train")[0] == ""


def test_a_forced_protocol_is_the_next_one(bases: dict[str, Path], tmp_path: Path) -> None:
    project = copied(bases, "train", tmp_path)
    project.set(metric="f1")
    for step in ("baseline", "train"):
        assert project.recipe(step, "--force", "agreed with the clinic", "epochs=1").status == 0
    assert tried(project, "train", "epochs=2")[0] == ""
    project.set(metric="auc")
    assert "metric is 'auc' and was 'f1'" in tried(project, "baseline")[0]


def test_a_clone_without_runs_goes_on_where_the_ledger_says(bases: dict[str, Path], tmp_path: Path) -> None:
    project = copied(bases, "evaluate", tmp_path)
    shutil.rmtree(project.root / "runs")
    assert project.recipe("train").sentence.count("baseline has not been done") == 1
    project.done("baseline")
    record = project.done("train")  # audit, split and check stand in the ledger
    assert record["id"] == "0007-train" and set(record["rests_on"]) == {"audit", "split", "baseline", "check"}
    ids = [json.loads(line)["id"] for line in (project.root / "EXPERIMENTS.jsonl").read_text().removesuffix("\n").split("\n")]
    assert len(set(ids)) == len(ids) == 7


def test_a_fail_that_only_the_ledger_knows_stops_too(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", epochs=2)
    rows().with_columns(same=pl.col("target")).write_csv(project.root / "data" / "train.csv")
    assert project.recipe("audit").status == 1
    shutil.rmtree(project.root / "runs")
    assert "0001-audit ended in FAIL (dominant feature)" in project.recipe("split").sentence
    project.set(drop=["same"])
    assert "audit has not been done" in project.recipe("split").sentence


@pytest.fixture
def failing_check() -> Iterator[None]:
    """`recipe check` finds a fault."""
    step, check_result = module("steps.check"), module("checks.check_result").check_result
    kept = step.CHECKS, step.ON_DISK
    step.CHECKS, step.ON_DISK = (lambda context: check_result("mean, not sum", "made to fail", fail=True, why="causes"),), ()
    yield
    step.CHECKS, step.ON_DISK = kept


def test_what_was_forced_is_shown_to_the_end(tmp_path: Path, failing_check: None) -> None:
    """A check that FAILs for real: everything after it refuses, and where it is forced every later result says so."""
    project, reason = Inside(tmp_path / "p", task="binary"), "the deadline <b>is</b> today"
    rows().write_csv(project.root / "data" / "train.csv")
    for step in ("audit", "split", "baseline"):
        project.done(step)
    assert project.recipe("check").status == 1
    for step in ("lr-find", "train", "learning-curve", "cv", "ablate", "tune"):
        assert "0004-check ended in FAIL (mean, not sum)" in project.recipe(step).sentence
    line = f"0004-check ended in FAIL (mean, not sum); forced: {reason}"
    forced = ("--force", reason)
    for step in ("train", "evaluate", "export", "promote"):
        refused = project.recipe(step)
        assert refused.status == 2 and "0004-check ended in FAIL" in refused.sentence, step
        answer = project.recipe(step, *forced)
        assert answer.status == 0 and f"FORCED         {line}" in answer.output, (step, answer.output)
    for step in ("train", "evaluate", "export"):
        record = project.record(step)
        assert record["forced"] == [line] and record["force"] == reason and record["rests_on"]["check"] == "0004-check"
    version = next((project.root / "models").glob("0001-*"))
    card = (version / "MODEL_CARD.md").read_text().replace("\\", "")  # Markdown is escaped
    assert f"- gone on past a FAIL: {line.replace('<', '&lt;')}" in card
    assert json.loads((version / "package.json").read_text())["forced"] == [line]
    assert json.loads((project.root / "models" / "history.jsonl").read_text())["forced"] == [line]
    assert line in project.recipe("versions").output
    for step in ("report",):
        project.done(step)
    head = (project.root / "report.html").read_text().split("</header>")[0]
    assert "Forced: 0004-check ended in FAIL (mean, not sum); forced: the deadline &lt;b&gt;is&lt;/b&gt; today." in head
    page = (project.root / "runs" / "0005-train" / "report.html").read_text().split("</header>")[0]
    assert "forced: the deadline" in page


def test_a_repair_ends_the_mark(bases: dict[str, Path], tmp_path: Path) -> None:
    """A forced split taints what was built on it; a new one that passes does not taint what is built on that."""
    project = copied(bases, "train", tmp_path)
    remove(project, "audit")
    assert project.recipe("split", "--force", "late").status == project.recipe("baseline", "--force", "late").status == 0
    assert project.record("baseline")["forced"] == ["audit has not been done; forced: late"]
    for step in ("audit", "split", "baseline"):
        project.done(step)
    assert project.record("baseline")["forced"] == []


HANDLED: list[dict[str, Any]] = [
    {"class_weights": "balanced"}, {"class_weights": "oversample"}, {"loss": "focal"}, {"metric": "average_precision"},
    {"cost_false_negative": 20.0}, {"imbalance": "a coin that lands on its edge: nobody asks for it"}, {"acknowledge": ["class balance"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 1 yes to 24 no, as far as the split."""
    project = Inside(tmp_path_factory.mktemp("uneven") / "p", task="binary", epochs=1)
    frame = rows(1500)
    score = frame["a"] + frame["c"]
    target = pl.when(score > score.quantile(0.96)).then(pl.lit("yes")).otherwise(pl.lit("no"))
    frame.with_columns(target=target).write_csv(project.root / "data" / "train.csv")
    assert project.done("audit")["status"] == "warn"
    project.done("split")
    return project.root


def once_more(uneven: Path, where: Path) -> Inside:
    shutil.copytree(uneven, where / "p")
    return Inside(where / "p", task="binary", epochs=1)


def test_classes_far_apart_stop_the_baseline(uneven: Path, tmp_path: Path) -> None:
    """The sentence names the class, its share, the ways and the setting that says why none is needed; --force is kept once."""
    project = once_more(uneven, tmp_path)
    assert project.check_result("audit", "class balance")["verdict"] == "WARN"
    said = project.recipe("baseline")
    assert said.status == 2 and len(said.lines) == 1 and not list((project.root / "runs").glob("*-baseline"))
    assert "class 'yes' of 'target' is 4.0" in said.sentence and "% of the rows outside test (51; the largest has 1,224" in said.sentence
    ways = ("class_weights", "oversample", "focal", "average_precision", "cost_false_negative", 'imbalance = "reason"', "--force")
    assert [word for word in ways if word not in said.sentence] == []
    for step in ("check", "lr-find", "learning-curve", "cv"):
        assert "class 'yes'" not in tried(project, step)[0], "these hold no model against a baseline"
    forced = project.recipe("baseline", "--force", "a first look")
    assert forced.status == 0 and "FORCED         class 'yes' of 'target'" in forced.output
    project.done("check")
    record = project.done("train")
    assert len(record["forced"]) == 1 and record["forced"][0].endswith("no setting handles that; forced: a first look")


@pytest.mark.parametrize("settings", HANDLED, ids=lambda settings: "-".join(settings))
def test_what_handles_them_lets_the_baseline_pass(uneven: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    project = once_more(uneven, tmp_path)
    project.set(**settings)
    if "acknowledge" in settings:  # it says how the data are read: both are done again
        for step in ("audit", "split"):
            project.done(step)
    assert tried(project, "baseline") == ("", [])


def test_what_handled_them_must_still_be_there_to_train(uneven: Path, tmp_path: Path) -> None:
    """A baseline depends on no loss: without its weights the network would meet the rare class with nothing."""
    project = once_more(uneven, tmp_path)
    project.set(class_weights="balanced")
    for step in ("baseline", "check"):
        project.done(step)
    assert tried(project, "train") == ("", [])
    project.set(class_weights="none")
    project.done("check")
    for step in ("train", "ablate", "tune"):
        assert "class 'yes' of 'target'" in tried(project, step)[0], step


@pytest.mark.parametrize(("most", "least", "stops"), [(1000, 100, False), (1000, 99, True)])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_ten_to_one_is_the_line(task: str, most: int, least: int, stops: bool) -> None:
    """Of any kind of data: it counts the target alone. A number has no classes."""
    imbalance, owner = module("imbalance"), module("task")
    target = [0] * most + [1] * least + ([2] * most if task == "multiclass" else [])
    frame = pl.DataFrame({"target": target})
    data = owner.Data(frame, "target", {"target": "target"}, "")
    config = module("config").Config(task=task, imbalance="  ")  # blanks are no reason
    if task == "regression":
        assert imbalance.handled(config)
        return
    assert not imbalance.handled(config)
    problem, way_on = imbalance.unhandled(config, data)
    assert bool(problem) == bool(way_on) == stops
    assert not problem or (f"{least:,}; the largest has {most:,}" in problem and ("cost_false" in way_on) == (task == "binary"))


def page() -> str:
    """docs/gates.md, from trying."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        made = make_bases(Path(folder) / "bases")
        lines = []
        for step in STEPS:
            cells = []
            for before in BEFORE:
                for spoil in (remove, fail):
                    if before in ("train", "evaluate") and (spoil is remove or step in (before, "rerun")):
                        cells += [] if spoil is remove else [""]
                        continue
                    project = copied(made, step, Path(folder))
                    spoil(project, before)
                    cells.append("stops" if tried(project, step)[0] else "")
            lines.append(f"| `{step}` | {' | '.join(cells)} |")
    heads = [f"{before}: {word}" for before in BEFORE for word in (("missing", "FAIL") if before not in ("train", "evaluate") else ("FAIL",))]
    return "\n".join(
        [
            "# What stops what",
            "",
            "Each step of `recipe` was tried on a project in which everything had passed but one thing: a step before it had not been",
            "done for this data and these settings, or had ended in FAIL. *stops*: it was refused, in one sentence that names the cause",
            'and the command to run. `--force "reason"` goes on all the same; the reason is kept in the record and shown by the',
            "terminal, the report, the model card, `recipe versions` and the history of promotions, for everything built on it.",
            "",
            "`evaluate`, `export` and `promote` look at the checks of the model at hand, whatever recipe.toml says by now. A model that is",
            "no network needs no `check`. The newest reviewed sheet (`recipe audit --review sheet.csv`) counts as part of the audit. Metric, costs",
            "and slices are those of the newest training run: `baseline`, `train`, `learning-curve`, `ablate`, `tune`, `evaluate` and",
            "`export` refuse others without `--force`. `baseline`, `train`, `ablate` and `tune` refuse classes over 10:1 apart too, unless a setting",
            'handles that or `imbalance = "reason"` says why none has to; what `baseline` was forced past does not stop those that rest on it.',
            "Made by `python tests/test_gates.py`.",
            "",
            f"| step | {' | '.join(heads)} |",
            "|---|" + "---|" * len(heads),
            *lines,
            "",
        ]
    )


def test_the_page_says_what_the_contract_says() -> None:
    """Each row of docs/gates.md against STOPS, which the test above holds the code to."""
    found = {}
    for line in PAGE.read_text().split("\n"):
        if line.startswith("| `"):
            step, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[step.strip("`")] = cells
    assert list(found) == list(STEPS)
    for step, cells in found.items():
        expected = [step in STOPS[b] for b in BEFORE for _ in range(1 if b in ("train", "evaluate") else 2)]
        assert [cell == "stops" for cell in cells] == expected, step


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
    sys.exit(0)
