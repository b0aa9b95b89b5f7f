"""What evaluation says: decisions of the threshold in use, every number with an interval, groups that count together, and no
refusal once the test part is open."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import data
import numpy as np
import polars as pl
import pytest
from inside import Inside
from sklearn import datasets
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

FORCED = ("--force", "the evaluation is the matter here")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A project for its modules alone."""
    return Inside(tmp_path_factory.mktemp("bare"))


def config_of(bare: Inside, **settings: Any) -> Any:
    return bare.module("config").Config(**{"iid": "x", **settings})


def evaluated(project: Inside, *more: str) -> dict[str, Any]:
    """Through the steps to the test score; what evaluation found."""
    for step in ("split", "baseline", "train", "evaluate"):
        project.done(step, *FORCED, *more)
    return project.record("evaluate")["result"]


def judged(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [n, k] of a linear model on the held-out half of a real set, and the classes [n]."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9) + np.random.default_rng(0).normal(scale=3.0, size=x.shape)
    x, held, y, truth = train_test_split(x, y, test_size=0.5, random_state=0, stratify=y)
    return LogisticRegression(max_iter=300).fit(x, y).predict_log_proba(held), truth


# --- many classes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "wine", "iris"])
def test_auc_and_average_precision_of_many_classes_are_those_of_scikit_learn(bare: Inside, name: str) -> None:
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="multiclass")
    outputs, y = judged(name)
    probability, k = np.exp(outputs), outputs.shape[1]
    found = metrics.summary(config, {}, outputs, metrics.Truth(y))
    ovr = reference.roc_auc_score(y, probability, multi_class="ovr", average="macro")
    assert found["auc"]["value"] == pytest.approx(ovr, abs=1e-9)
    precision = reference.average_precision_score(np.eye(k)[y], probability, average="macro")
    assert found["average_precision"]["value"] == pytest.approx(precision, abs=1e-9)
    lacking = y != 0  # a class that does not occur has no curve
    several = np.mean([reference.roc_auc_score(y[lacking] == c, probability[lacking, c]) for c in range(1, k)])
    assert metrics.score(config, {}, outputs[lacking], metrics.Truth(y[lacking]), metric="auc") == pytest.approx(several, abs=1e-9)


@pytest.mark.parametrize("metric", ["auc", "average_precision"])
def test_their_intervals_are_those_of_plain_resampling(bare: Inside, metric: str) -> None:
    """The tangent against 400 resamples, each scored by scikit-learn."""
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="multiclass")
    outputs, y = judged("digits")
    outputs, y = outputs[:300], y[:300]
    got, random, drawn = metrics.estimate(config, {}, outputs, metrics.Truth(y), metric=metric), np.random.default_rng(1), []
    score = reference.roc_auc_score if metric == "auc" else reference.average_precision_score
    for _ in range(400):
        rows = random.integers(0, 300, 300)
        drawn.append(np.mean([score(y[rows] == c, outputs[rows, c]) for c in range(10)]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert got["high"] - got["low"] == pytest.approx(high - low, rel=0.2), (got, low, high)


@pytest.mark.parametrize(("k", "n"), [(10, 20_000), (100, 10_000), pytest.param(1000, 10_000, marks=pytest.mark.slow)])
def test_all_of_them_take_seconds(bare: Inside, k: int, n: int) -> None:
    metrics, breakdown = bare.module("engine.metrics"), bare.module("engine.slices")
    random = np.random.default_rng(0)
    y = np.r_[np.arange(k), random.integers(0, k, n - k)]
    outputs = random.normal(size=(n, k)) + 2 * np.eye(k)[y]
    before = time.process_time()
    metrics.summary(config_of(bare, task="multiclass"), {}, outputs, metrics.Truth(y))
    breakdown.per_class(outputs.argmax(1), y, [str(c) for c in range(k)])
    assert time.process_time() - before < 60


# --- the threshold that will be used --------------------------------------------------------------------------------------------


def test_rare_positive(tmp_path: Path) -> None:
    """The case: a miss costs 25 false alarms. All decisions that are told of are those of the threshold."""
    project = Inside(tmp_path / "p", task="binary", cost_false_negative=25.0, epochs=10)
    cases.rare_positive(project.root / "data")
    result = evaluated(project)
    folder = project.root / "runs" / project.record("evaluate")["id"]
    outputs, y = (np.load(folder / f"{name}.npy") for name in ("outputs", "y"))
    called = 1 / (1 + np.exp(-outputs[:, 0] / result["temperature"])) >= result["threshold"]["value"]
    assert result["threshold"]["chosen_for"] == "the lowest cost, 1 for a false alarm and 25 for a miss"
    told = {name: score["value"] for name, score in result["metrics"].items()}
    assert told["recall"] == pytest.approx(reference.recall_score(y, called)) and told["recall"] > 0.6
    assert told["precision"] == pytest.approx(reference.precision_score(y, called))
    assert told["f1"] == pytest.approx(reference.f1_score(y, called)) and told["f1"] > 0.1
    assert told["accuracy"] == pytest.approx((called == y).mean())
    assert told["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, called))
    assert told["cost"] == pytest.approx(np.where(called & (y == 0), 1, np.where(~called & (y == 1), 25, 0)).mean())
    assert result["threshold"]["cost"]["value"] == pytest.approx(told["cost"])
    assert result["confusion"] == reference.confusion_matrix(y, called).tolist()
    of_class = result["per_class"][1]
    assert (of_class["recall"], of_class["precision"], of_class["f1"]) == pytest.approx([told[n] for n in ("recall", "precision", "f1")])
    theirs = result["baseline"]["metrics"]["f1"]["value"]
    assert theirs > 0.1, "the baseline has a threshold of its own"


def test_the_threshold_in_use_is_that_of_the_package(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", cost_false_negative=25.0)
    cases.rare_positive(project.root / "data")
    result = evaluated(project)
    project.done("export", *FORCED)
    frame = pl.read_csv(project.root / "data" / "train.csv")
    frame.drop("target").write_csv(project.root / "new.csv")
    assert project.recipe("predict", "new.csv", "--out", "answers.csv").status == 0
    answers = pl.read_csv(project.root / "answers.csv")
    positive = answers["probability of 1"].to_numpy()
    assert ((positive >= result["threshold"]["value"]) == (answers["prediction"].cast(pl.String) == "1").to_numpy()).all()
    assert 100 < (positive >= result["threshold"]["value"]).sum() < 2900


@pytest.mark.parametrize(("metric", "rule"), [("f1", "f1"), ("balanced_accuracy", "balanced_accuracy"), ("auc", "accuracy"), ("accuracy", "accuracy")])
def test_without_costs_the_metric_chooses_the_threshold(bare: Inside, metric: str, rule: str) -> None:
    decisions, config = bare.module("engine.decisions"), config_of(bare, task="binary", metric=metric)
    random = np.random.default_rng(0)
    y = (random.random(600) < 0.1).astype(int)
    probability = 1 / (1 + np.exp(-(random.normal(size=600) + 1.5 * y - 3)))
    cut = decisions.threshold(config, probability, y)
    score = {"f1": reference.f1_score, "balanced_accuracy": reference.balanced_accuracy_score, "accuracy": reference.accuracy_score}[rule]
    assert decisions.rule(config) == rule
    assert score(y, probability >= cut) == pytest.approx(max(score(y, probability >= at) for at in np.r_[0, probability, 1.1]))
    costly = config_of(bare, task="binary", metric=metric, cost_false_positive=3.0)
    assert decisions.rule(costly) == "cost", "declared costs come before the metric"


def test_a_threshold_is_not_judged_on_the_rows_that_chose_it(bare: Inside) -> None:
    """Scores without any signal: the best threshold for F1 on 200 rows looks better on them than it is, and is not told so."""
    metrics, decisions = bare.module("engine.metrics"), bare.module("engine.decisions")
    config, own, told = config_of(bare, task="binary", metric="accuracy"), [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        y, probability = np.arange(60) % 2, random.random(60)
        both, outputs = np.stack([1 - probability, probability], axis=1), np.log(probability / (1 - probability))[:, None]
        own.append((decisions.decide(both, decisions.threshold(config, probability, y)) == y).mean())
        told.append(metrics.score(config, {}, outputs, metrics.Truth(y)))
    assert np.mean(own) > 0.56 and abs(np.mean(told) - 0.5) < 0.03, (np.mean(own), np.mean(told))


@pytest.mark.parametrize("metric", ["f1", "accuracy", "balanced_accuracy", "cost"])
def test_validation_to_test_is_quiet_where_nothing_dropped(bare: Inside, metric: str) -> None:
    metrics, decisions, evaluate = (bare.module(f"{name}") for name in ("engine.metrics", "engine.decisions", "steps.evaluate"))
    config, warned = config_of(bare, task="binary", metric=metric, bootstrap=100), 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        parts = []
        for _ in range(2):
            y = np.r_[1, 1, (random.random(298) < 0.1).astype(int)]
            parts.append((random.normal(size=(300, 1)) + 1.5 * y[:, None] - 2, y))
        (val, truth), (test, real) = parts
        cut = decisions.threshold(config, metrics.class_probabilities(val)[:, 1], truth)
        decided = decisions.decide(metrics.class_probabilities(test), cut)
        found = evaluate.val_to_test(config, metrics.estimate(config, {}, val, metrics.Truth(truth)), metrics.estimate(config, {}, test, metrics.Truth(real), decided=decided))
        warned += found.verdict == "WARN"
    assert warned <= 5, warned  # .01 of 100, by the normal tail of 2.6 and small samples; 6 come once in 2,000


# --- an interval on every number ----------------------------------------------------------------------------------------------


def bounded(score: dict[str, Any], name: str = "") -> bool:
    """Whether low <= value <= high are all there (or none, where there is no value)."""
    value, low, high = (score[f"{name}{side}"] for side in (("", "_low", "_high") if name else ("value", "low", "high")))
    return value is None or (low is not None and high is not None and low - 1e-9 <= value <= high + 1e-9)


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_every_number_has_an_interval(tmp_path: Path, name: str) -> None:
    project = Inside(tmp_path / "p", task="multiclass" if name == "wine" else "binary", epochs=5)
    getattr(data, name)(project.root / "data" / "train.csv")
    frame = pl.read_csv(project.root / "data" / "train.csv")
    frame.with_columns(pl.Series("half", ["left", "right"] * (len(frame) // 2) + ["left"] * (len(frame) % 2))).write_csv(
        project.root / "data" / "train.csv"
    )
    project.set(slices=["half"])
    result = evaluated(project)
    assert all(bounded(score) for score in [*result["metrics"].values(), *result["baseline"]["metrics"].values(), *result["slices"]])
    assert bounded(result["baseline"]["difference"])
    assert all(bounded(row, what) for row in result["per_class"] for what in ("precision", "recall", "f1"))
    assert all(bounded(result["calibration"][when], "brier") for when in ("before", "after"))
    if name != "wine":  # whose 27 test rows are too few for slices
        assert len(result["slices"]) == 2 and bounded(result["threshold"]["cost"]) and bounded(result["threshold"]["cost_at_half"])
    project.done("report")
    page = (project.root / "report.html").read_text()
    for table in re.findall(r"<caption>Classes</caption>.*?</table>", page, re.S):
        cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", table, re.S)]
        never = "\N{EN DASH}"  # a class that was never called has no precision
        assert all("[" in cell or cell == never for i, cell in enumerate(cells) if i % 5 in (1, 2, 3)), cells
    assert "Classes" in page


def test_per_class_values_hold_the_truth_as_often_as_they_say(bare: Inside) -> None:
    """Precision, recall and F1 of a class of 40 rows in 400, at rates that are known."""
    breakdown, held = bare.module("engine.slices"), {"precision": 0, "recall": 0, "f1": 0}
    truth = {"recall": 0.7, "precision": 0.7 * 0.1 / (0.7 * 0.1 + 0.05 * 0.9)}
    truth["f1"] = 2 / (1 / truth["recall"] + 1 / truth["precision"])
    for seed in range(300):
        random = np.random.default_rng(seed)
        y = (random.random(400) < 0.1).astype(int)
        prediction = np.where(y == 1, random.random(400) < 0.7, random.random(400) < 0.05).astype(int)
        row = breakdown.per_class(prediction, y, ["no", "yes"])[1]
        for name in held:
            held[name] += row[f"{name}_low"] <= truth[name] <= row[f"{name}_high"]
    assert all(275 <= count <= 297 for count in held.values()), held  # .95 of 300 is 285, its deviation 3.8


# --- rows that belong together -------------------------------------------------------------------------------------------------


def clustered(seed: int, groups: int = 30, size: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Hits of a model that is right on whole patients: (right [n], patient [n]); each is right with a chance of its own."""
    random = np.random.default_rng(seed)
    skill = random.beta(2.0, 1.0, groups)  # mean 2/3
    who = np.repeat(np.arange(groups), size)
    return random.random(len(who)) < skill[who], who


def test_intervals_over_groups_hold_the_truth(bare: Inside) -> None:
    """Accuracy of 2/3 over patients: rows alone promise 95 % and hold it half of the time."""
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="multiclass", bootstrap=300)
    naive = fair = shares = 0
    for seed in range(120):
        right, who = clustered(seed)
        y, outputs = np.zeros(len(who), int), np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
        one, other = metrics.estimate(config, {}, outputs, metrics.Truth(y)), metrics.estimate(config, {}, outputs, metrics.Truth(y, None, who))
        share = metrics.share(right, np.ones(len(right), bool), who)
        naive += one["low"] <= 2 / 3 <= one["high"]
        fair += other["low"] <= 2 / 3 <= other["high"]
        shares += share["low"] <= 2 / 3 <= share["high"]
    assert naive < 80 and fair >= 105 and shares >= 105, (naive, fair, shares)  # .95 of 120 is 114, its deviation 2.4


def test_the_clustered_interval_is_that_of_drawing_whole_groups(bare: Inside) -> None:
    """AUC on real flights, planes drawn whole: the weights against a loop that copies rows."""
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="binary")
    random = np.random.default_rng(0)
    who = np.sort(random.integers(0, 25, 400))
    lift = random.normal(size=25)[who]
    y = (random.normal(size=400) + lift > 0).astype(int)
    outputs = (random.normal(size=400) + lift)[:, None]
    got, drawn = metrics.estimate(config, {}, outputs, metrics.Truth(y, None, who)), []
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(who == w) for w in random.choice(np.unique(who), len(np.unique(who)))])
        drawn.append(reference.roc_auc_score(y[rows], outputs[rows, 0]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert got["high"] - got["low"] == pytest.approx(high - low, rel=0.15)
    rows_alone = metrics.estimate(config, {}, outputs, metrics.Truth(y))
    assert got["high"] - got["low"] > 1.3 * (rows_alone["high"] - rows_alone["low"])


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_one_row_change_nothing(bare: Inside, seed: int) -> None:
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="binary")
    random = np.random.default_rng(seed)
    y, outputs = random.integers(0, 2, 80), random.normal(size=(80, 1))
    assert metrics.estimate(config, {}, outputs, metrics.Truth(y)) == metrics.estimate(config, {}, outputs, metrics.Truth(y, None, np.arange(80)))
    whole = metrics.estimate(config, {}, 9 * (2.0 * y[:, None] - 1), metrics.Truth(y, None, np.arange(80) // 8), metric="accuracy")
    assert whole["value"] == 1.0 and whole["low"] == pytest.approx(10 / 13.8415, abs=1e-4), "ten groups are right, not 80 rows"


def test_queries_of_one_user_count_together(bare: Inside) -> None:
    """Ranking: 20 users of 6 queries each, a user's queries all easy or all hard."""
    metrics, config = bare.module("engine.metrics"), config_of(bare, task="ranking", query="q")
    random = np.random.default_rng(0)
    query = np.repeat(np.arange(120), 5)
    user = query // 6
    relevance = np.tile([2.0, 1.0, 0.0, 0.0, 0.0], 120)
    relevance[query == 7] = 0.0  # a query without gain is left out, and its user stays
    outputs = np.where(random.random(20)[user] < 0.5, relevance, -relevance)[:, None] + random.normal(scale=0.1, size=(600, 1))
    alone, together = (metrics.estimate(config, {}, outputs, metrics.Truth(relevance, query, unit)) for unit in (None, user))
    assert alone["value"] == together["value"]
    assert together["high"] - together["low"] > 1.7 * (alone["high"] - alone["low"])


def test_groups_count_together_from_split_to_test(tmp_path: Path) -> None:
    """Patients of 30 rows, some of whom nothing fits: the record says over how many groups, and its intervals are theirs."""
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 30)
    odd = (np.arange(60) % 4 == 0)[who]
    a = random.normal(size=len(who))
    y = ((a > 0) ^ odd).astype(int)
    frame = pl.DataFrame({"a": a.round(3), "b": random.normal(size=len(who)).round(3), "who": [f"p{w}" for w in who], "target": y})
    widths = {}
    for name, settings in {"rows": {}, "groups": {"group": "who"}}.items():
        project = Inside(tmp_path / name, task="binary", **settings, drop=[] if settings else ["who"])
        frame.write_csv(project.root / "data" / "train.csv")
        result = evaluated(project)
        widths[name] = result["metrics"]["accuracy"]["high"] - result["metrics"]["accuracy"]["low"]
        per_class = result["per_class"][1]
        widths[f"{name} of a class"] = per_class["recall_high"] - per_class["recall_low"]
        assert result.get("units") == (9 if settings else None)
    assert widths["groups"] > 1.3 * widths["rows"] and widths["groups of a class"] > 1.3 * widths["rows of a class"], widths
    project.done("report")
    assert "the intervals are over 9 groups" in (project.root / "report.html").read_text()


# --- nothing refuses after the opening -----------------------------------------------------------------------------------------


@pytest.fixture
def ready(tmp_path: Path) -> Inside:
    """A trained project whose next step is evaluate."""
    project = Inside(tmp_path / "p", task="binary", epochs=1)
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 300)).round(3)
    noise = random.normal(scale=0.5, size=300)
    pl.DataFrame({"a": a, "b": b, "target": np.where(a + b + noise > 0, "yes", "no")}).write_csv(project.root / "data" / "train.csv")
    for step in ("split", "baseline", "train"):
        project.done(step, *FORCED)
    return project


def changed(field: str, value: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    """Outputs on the test part as a broken model gives them."""

    def change(one: Any) -> Any:
        setattr(one, field, value(getattr(one, field)))
        return one

    return change


BROKEN = {
    "gives no finite output for 1 of 44 rows": changed("test", lambda o: np.where(np.arange(len(o))[:, None] == 3, np.nan, o)),
    "gives outputs of shape (43, 1) for 44 rows": changed("test", lambda o: o[1:]),
    "gives outputs of shape (44, 2)": changed("test", lambda o: np.repeat(o, 2, axis=1)),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_model_does_not_open_the_test_part(ready: Inside, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    evaluate = ready.module("steps.evaluate")
    real = evaluate.judged
    monkeypatch.setattr(evaluate, "judged", lambda *given: BROKEN[words](real(*given)))
    answer = ready.recipe("evaluate", *FORCED)
    assert answer.status == 2 and words in answer.sentence and not ready.opened()


def test_slices_that_are_not_there_do_not_open_the_test_part(ready: Inside) -> None:
    ready.set(slices=["c"])
    answer = ready.recipe("evaluate", *FORCED)
    assert answer.status == 2 and "'c'" in answer.sentence and not ready.opened()


def test_a_test_part_of_one_class_is_not_opened(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", epochs=1, time="day", iid="")
    n, random = 300, np.random.default_rng(0)
    y = np.where(np.arange(n) < 260, np.arange(n) % 2, 0)
    day = [f"2021-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(n)]
    pl.DataFrame({"day": day, "a": random.normal(size=n).round(3), "target": y}).write_csv(project.root / "data" / "train.csv")
    project.set(test_share=0.1)
    for step in ("split", "baseline", "train"):
        assert project.recipe(step, *FORCED).status == 0, step
    answer = project.recipe("evaluate", *FORCED)
    assert answer.status == 2 and "all its rows are 0, where auc has no value" in answer.sentence and not project.opened()


def test_rows_of_the_test_part_are_told_apart_with_their_labels(tmp_path: Path) -> None:
    """Few different rows are possible, and as many repeat as chance brings. Compared with hidden labels, more seem to."""
    random = np.random.default_rng(0)
    grade, stage, age = random.integers(0, 2, 6000), random.integers(0, 3, 6000), random.integers(0, 4, 6000)
    months = random.integers(0, 120, 6000) * (random.random(6000) < 0.7) * (np.arange(6000) > 9)  # so that 0 is what hides
    frame = pl.DataFrame({"grade": grade, "stage": stage, "age": age, "months": months})
    project = Inside(tmp_path / "p", task="regression", target="months", epochs=1)
    frame.write_csv(project.root / "data" / "train.csv")
    for step in ("split", "baseline", "train", "evaluate"):
        assert project.recipe(step, *FORCED).status == 0, step
    verdicts = {found["check"]: found["verdict"] for found in project.record("evaluate")["findings"]}
    assert verdicts["test part apart"] == "PASS"


def test_a_failed_check_of_the_model_does_not_open_the_test_part(ready: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, CheckResult = ready.module("steps.evaluate"), ready.module("checks.check_result").CheckResult
    for step in ("audit", "split", "baseline", "check", "train"):
        ready.done(step)  # so that evaluate alone may refuse
    for check, name in (("test_apart", "test part apart"), ("replayed", "same outputs as in training")):
        with monkeypatch.context() as patch:
            patch.setattr(evaluate, check, lambda *_, name=name: CheckResult(name, "FAIL", "made to fail"))
            answer = ready.recipe("evaluate")
            assert answer.status == 2 and f"the test part stays shut: {name} ended in FAIL" in answer.sentence
            assert not ready.opened()
            if check == "replayed":
                assert ready.recipe("evaluate", *FORCED).status == 0 and ready.opened()
    assert any(name in line for line in ready.record("evaluate")["forced"])


@pytest.mark.parametrize("when", ["steps.evaluate", "steps.against", "engine.classification", "engine.slices", "steps.opened_once"])
def test_a_crash_after_the_opening_is_gone_on_with(ready: Inside, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """One opening, the same score as without the crash, and a second look is refused as ever."""

    def die(*_: Any, **__: Any) -> Any:
        raise MemoryError("the machine is gone")

    with monkeypatch.context() as patch:
        folder, _, name = when.partition(".")
        patch.setattr(ready.module(f"{folder}.evaluate"), name, die)
        with pytest.raises(MemoryError):
            ready.recipe("evaluate", *FORCED)
    assert ready.opened() and not list((ready.root / "runs").glob("*-evaluate/record.json"))
    answer = ready.recipe("evaluate", *FORCED)
    assert answer.status == 0 and "going on with the evaluation" in answer.output
    record = ready.record("evaluate")
    assert len(record["result"]["openings"]) == 1 and not any("opened on" in line for line in record["forced"])
    assert ready.recipe("evaluate").status == 2 and "was opened on" in ready.recipe("evaluate").sentence


def test_labels_are_hidden_until_the_opening_is_on_disk(ready: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every label that code could see before, and the file that says so after."""
    evaluate, lock = ready.module("steps.evaluate"), ready.module("access")
    seen: list[tuple[int, bool]] = []
    real_prepare, real_score = evaluate.prepare, evaluate.score

    def prepare(*given: Any) -> Any:
        made = real_prepare(*given)
        seen.append((made.test.frame["target"].n_unique(), ready.opened()))
        return made

    def score(project: Any, run: Any, made: Any, opened: Any) -> None:
        seen.append((made.test.frame["target"].n_unique(), ready.opened()))
        real_score(project, run, made, opened)

    monkeypatch.setattr(evaluate, "prepare", prepare)
    monkeypatch.setattr(evaluate, "score", score)
    assert ready.recipe("evaluate", *FORCED).status == 0
    assert seen == [(1, False), (1, True)] and json.loads((ready.root / lock.LOCK).read_text())["openings"]
