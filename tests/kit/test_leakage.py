"""Leaks and labels: each check passing where columns are honest and failing on an injected leak; and the audit step as a whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.config import Config
from my_model.engine import splits
from my_model.errors import UserError
from my_model.task import Data
from recipe_kit.checks import labels, leakage, predictive_power, review, target_leaks
from recipe_kit.checks.check_result import CheckResult
from recipe_kit.steps import audit

from .tables import config_of, data_of, table
from .toy import toy_project

SEEDS = (0, 1, 2)


def features(data: Data) -> np.ndarray:
    return data.frame[data.columns("numeric")].to_numpy().astype(float)


def truth(frame: pl.DataFrame) -> np.ndarray:
    return (frame["target"] == "yes").to_numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "FAIL"), (0.05, "WARN"), (0.15, "WARN"), (2.0, "PASS")])
def test_a_copy_of_the_answer_fails(noise: float, verdict: str, seed: int) -> None:
    """A copy is certain. With noise, however little, the same column could be an honest and decisive one: a question."""
    frame = table(seed=seed)
    random = np.random.default_rng(seed)
    weak = frame.with_columns(pl.Series("target", np.where(frame["x0"] + 3 * random.normal(size=600) > 0, "yes", "no")))
    data = data_of(weak.with_columns(pl.Series("leak", truth(weak) + noise * random.normal(size=600))))
    found = leakage.single_column(config_of(), data)
    assert found.verdict == verdict, found.observed
    assert ("leak" in found.next) is (verdict != "PASS")
    assert leakage.single_column(config_of(known_at_prediction=["leak"]), data).verdict == "PASS"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_decisive_column_among_others_only_warns(seed: int) -> None:
    frame = table(seed=seed)
    data = data_of(
        frame.with_columns(pl.Series("leak", truth(frame) + 0.05 * np.random.default_rng(seed).normal(size=600)))
    )
    assert leakage.single_column(config_of(), data).verdict == "WARN"


def test_a_leak_in_regression_fails() -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{i}": random.normal(size=400) for i in range(4)} | {"target": random.normal(size=400)})
    data = data_of(frame.with_columns(leak=pl.col("target") * 3 + 1))
    assert leakage.single_column(config_of(task="regression"), data).verdict == "FAIL"
    assert leakage.single_column(config_of(task="regression"), data_of(frame)).verdict == "PASS"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("known", "verdict"), [(0.0, "PASS"), (0.5, "WARN"), (0.8, "WARN"), (1.0, "WARN")])
def test_the_answer_in_some_rows_of_a_column_is_seen(known: float, verdict: str, seed: int) -> None:
    """Every share leaves the column alone among columns that are related to each other, and weaker than "knows it all"."""
    frame, random = table(1500, seed=seed), np.random.default_rng(seed)
    column = np.where(random.random(1500) < known, truth(frame), random.permutation(truth(frame)))
    data = data_of(frame.with_columns(pl.Series("leak", column + 0.4 * random.normal(size=1500))))
    found = target_leaks.made_from_target(config_of(), data)
    assert found.verdict == verdict and ("leak" in found.next) is (verdict == "WARN"), (found.observed, found.evidence)
    assert target_leaks.made_from_target(config_of(known_at_prediction=["leak"]), data).verdict == "PASS"


@pytest.mark.parametrize(
    ("shown", "named"),
    [
        ({"a": 0.5, "b": 8.0, "c": 9.0}, ["a"]),
        ({"a": 0.5, "b": 8.0}, []),  # too little company
        ({"a": 0.5, "b": 0.1, "c": 9.0}, []),  # columns here are simply not related to each other
        ({"a": 1.8, "b": 4.0, "c": 5.0}, []),  # too few rows to tell
        ({"a": 0.5, "b": 3.5, "c": 9.0, "d": 9.0, "e": 9.0, "f": 9.0}, ["a"]),
    ],
)
def test_a_column_is_apart_only_among_related_ones(shown: dict[str, float], named: list[str]) -> None:
    assert target_leaks.aloof(target_leaks.Shown(shown, shown, [])) == named


def test_one_class_of_many_is_enough_to_be_told() -> None:
    """Half of one class of ten: an average over the classes hides it."""
    random = np.random.default_rng(0)
    config, y = config_of(task="multiclass"), np.arange(800) % 10
    told = ((y == 3) & (random.random(800) < 0.5)).astype(float)[:, None]
    value, limit = predictive_power.best_class(config, told, y)
    assert value > limit and predictive_power.alone(config, told[:, 0], y, True) < limit
    chance = [predictive_power.best_class(config, random.integers(0, 2, (800, 1)).astype(float), y) for _ in range(40)]
    assert all(value < limit for value, limit in chance)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("own", "verdict"), [(False, "PASS"), (True, "FAIL")])
def test_target_means_that_count_their_own_row_fail(own: bool, verdict: str, task: str) -> None:
    """The same encoding from other rows is honest: its means scatter as samples do."""
    both = table(1600).with_columns(shop=pl.Series(np.random.default_rng(1).integers(0, 60, 1600)))
    number = (pl.col("target") == "yes").cast(pl.Float64) if task == "binary" else pl.col("x0") + pl.col("shop") / 60
    both = both.with_columns(y=number + 0.0)
    frame, earlier = both[:800], both[800:]
    means = (frame if own else earlier).group_by("shop").agg(pl.col("y").mean().round(4).alias("rate"))
    frame = frame.join(means, on="shop", how="left", maintain_order="left").with_columns(pl.col("rate").fill_null(0.5))
    frame = frame.drop("y", "shop") if task == "binary" else frame.drop("target", "shop").rename({"y": "target"})
    found = target_leaks.made_from_target(config_of(task=task), data_of(frame))
    assert found.verdict == verdict and ("rate" in found.next) is own, (found.observed, found.evidence)


def test_balanced_designs_and_tables_without_company_stay_quiet() -> None:
    """As many of each class in every block is a design, no leak; and one column has nobody to be compared with."""
    blocks = pl.DataFrame({"block": np.repeat(np.arange(50), 8), "target": ["yes", "no"] * 200})
    assert target_leaks.made_from_target(config_of(), data_of(blocks)).verdict == "PASS"
    alone = table().select("x0", "target").with_columns(leak=(pl.col("target") == "yes").cast(pl.Float64))
    assert target_leaks.made_from_target(config_of(), data_of(alone)).verdict == "PASS"


@pytest.mark.parametrize(("early", "verdict"), [(0.0, "PASS"), (0.3, "PASS"), (0.7, "WARN"), (1.0, "FAIL")])
def test_columns_recorded_with_the_outcome_fail(early: float, verdict: str) -> None:
    unlabeled = table(100, seed=1).with_columns(
        pl.lit(None, pl.String).alias("target"),
        pl.when(pl.int_range(100) < 100 * early).then(None).otherwise(pl.col("x3")).alias("x3"),
    )
    data = data_of(table(), unlabeled)
    found = leakage.after_outcome(config_of(drop=["old"]), data)
    assert found.verdict == verdict
    assert verdict == "PASS" or 'drop = ["old", "x3"]' in found.next
    assert leakage.after_outcome(config_of(known_at_prediction=["x3"]), data).verdict == "PASS"
    assert leakage.after_outcome(config_of(), data_of(table())).verdict == "NOT APPLICABLE"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("extra", "verdict"), [(0.0, "PASS"), (0.5, "WARN"), (0.9, "WARN")])
def test_missing_values_that_tell_are_named(extra: float, verdict: str, seed: int) -> None:
    frame, random = table(seed=seed), np.random.default_rng(seed)
    gone = random.random(600) < 0.05 + extra * truth(frame)
    frame = frame.with_columns(pl.when(pl.Series(gone)).then(None).otherwise(pl.col("x4")).alias("x4"))
    found = leakage.missing_tells(config_of(), data_of(frame))
    assert found.verdict == verdict and (verdict == "PASS" or "x4" in found.next)


@pytest.mark.parametrize(("order", "verdict"), [("sorted", "FAIL"), ("shuffled", "WARN"), ("none", "PASS")])
def test_row_numbers_are_no_features(order: str, verdict: str) -> None:
    frame = table().sort("target") if order == "sorted" else table()
    frame = frame if order == "none" else frame.with_row_index("number")
    found = leakage.row_number(config_of(), data_of(frame))
    assert found.verdict == verdict and (verdict == "PASS" or "number" in found.next)


def judged(config: Config, data: Data) -> labels.Judged | None:
    return labels.judge(config, data, lambda config, data: features(data))


def overlapping(seed: int, n: int = 2000) -> Data:
    """Classes that overlap honestly: the label is drawn with a probability that the features give (AUC about .8)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    target = np.where(random.random(n) < 1 / (1 + np.exp(-2 * x[:, 0] - x[:, 1])), "yes", "no")
    return data_of(pl.DataFrame({f"x{i}": x[:, i] for i in range(6)} | {"target": target}))


@pytest.mark.parametrize("seed", SEEDS)
def test_honest_labels_are_green(seed: int, tmp_path: Path) -> None:
    for data in (data_of(table(seed=seed)), overlapping(seed)):
        found = [
            check(config_of(), data, judged(config_of(), data), *more)
            for check, more in ((labels.learnable, ()), (labels.suspects, (tmp_path / "s.csv",)))
        ]
        assert [f.verdict for f in found] == ["PASS", "PASS"], [f.observed for f in found]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_random_labels_are_red_and_queued(seed: int, share: float, tmp_path: Path) -> None:
    frame, random = table(2000, seed=seed), np.random.default_rng(seed)
    hit = random.random(2000) < share
    wrong = hit & (random.random(2000) < 0.5)
    data = data_of(frame.with_columns(pl.Series("target", np.where(truth(frame) ^ wrong, "yes", "no"))))
    found = labels.suspects(config_of(), data, judged(config_of(), data), tmp_path / "suspects.csv")
    assert found.verdict == "WARN" and found.share > 0.03, found.observed
    queue = pl.read_csv(tmp_path / "suspects.csv")
    injected = set(np.round(frame["x0"].to_numpy()[wrong], 9))
    assert np.mean([round(v, 9) in injected for v in queue["x0"][:50]]) > 0.6  # the top of the queue is worth reading


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.6])
def test_the_share_of_random_labels_is_estimated(seed: int, share: float, tmp_path: Path) -> None:
    """Five classes of overlapping clouds: the estimate is right at any share, and nothing is seen where nothing is."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 5, 1200)
    x = random.normal(size=(1200, 4)) + 3 * np.random.default_rng(9).normal(size=(5, 4))[y]
    y = np.where(random.random(1200) < share, random.integers(0, 5, 1200), y)
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"target": [f"c{v}" for v in y]})
    config, data = config_of(task="multiclass"), data_of(frame)
    found = labels.suspects(config, data, judged(config, data), tmp_path / "s.csv")
    assert found.verdict == ("WARN" if share else "PASS"), found.observed
    assert share - 0.06 < found.evidence["share"] < share + 0.06


def test_many_classes_of_few_rows_are_no_trouble(tmp_path: Path) -> None:
    """Two hundred classes of eight rows: the sample holds some of them, and what is said is about those."""
    random = np.random.default_rng(0)
    y = np.arange(1600) % 200
    x = random.normal(size=(1600, 3)) * 0.05 + random.normal(size=(200, 3))[y]
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(3)} | {"target": [f"c{v}" for v in y]})
    config, data = config_of(task="multiclass"), data_of(frame)
    assert labels.suspects(config, data, judged(config, data), tmp_path / "s.csv").verdict == "PASS"


def test_a_chance_that_levels_off_is_no_label_noise(tmp_path: Path) -> None:
    """Heavy tails, where being far out makes nothing surer; and a target that nobody could know well."""
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        x = random.standard_t(2, size=(1500, 4))
        for score in (2 * np.arctan(x[:, 0]) - x[:, 1].clip(-2, 2), 0.5 * x[:, 2].clip(-3, 3)):
            target = np.where(random.random(1500) < 1 / (1 + np.exp(-score)), "yes", "no")
            data = data_of(pl.DataFrame({f"x{i}": x[:, i] for i in range(4)} | {"target": target}))
            found = labels.suspects(config_of(), data, judged(config_of(), data), tmp_path / "s.csv")
            assert found.verdict == "PASS", found.observed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_shuffled_labels_leave_nothing_to_learn(seed: int, task: str) -> None:
    frame = table(seed=seed)
    target = frame["x0"] if task == "regression" else frame["target"]
    frame = frame.with_columns(target.shuffle(seed=seed).alias("target"))
    config, data = config_of(task=task), data_of(frame)
    assert labels.learnable(config, data, judged(config, data)).verdict == "WARN"


def test_sparse_features_of_texts_are_judged_too(tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    data = data_of(table())
    found = labels.judge(config_of(), data, lambda config, data: csr_matrix(features(data)))
    assert labels.learnable(config_of(), data, found).verdict == "PASS"
    assert labels.suspects(config_of(), data, None, tmp_path / "s.csv").verdict == "NOT APPLICABLE"


def test_chance_is_a_half_and_its_spread_is_known() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 300)
    scores = [
        predictive_power.skill(config_of(), np.stack([1 - (p := random.random(300)), p], axis=1), y) for _ in range(400)
    ]
    assert abs(np.mean(scores) - 0.5) < 0.01
    assert abs(np.std(scores) / predictive_power.null_deviation(config_of(), y) - 1) < 0.15


def answer(path: Path, wrong: int, right: int) -> None:
    sheet = pl.read_csv(path, infer_schema=False)
    answers = ["No"] * wrong + [" yes "] * right + [None] * (len(sheet) - wrong - right)
    sheet.with_columns(pl.Series(review.OK, answers, dtype=pl.String)).write_csv(path)


@pytest.mark.parametrize(
    ("wrong", "right", "verdict"), [(0, 200, "PASS"), (1, 199, "WARN"), (6, 194, "WARN"), (40, 160, "FAIL")]
)
def test_reviewed_sheets_give_a_rate_with_an_interval(tmp_path: Path, wrong: int, right: int, verdict: str) -> None:
    path = tmp_path / "review.csv"
    assert review.write_sheet(config_of(), data_of(table(4000)), path) == 200
    answer(path, wrong, right)
    found = review.read_sheet(config_of(), data_of(table(4000)), path)
    assert found.verdict == verdict and found.evidence["wrong"] == wrong
    assert found.evidence["low"] <= wrong / 200 <= found.evidence["high"]


def test_wilson_agrees_with_the_published_example() -> None:
    low, high = review.wilson(15, 148)  # Newcombe 1998, method 3 without correction: .0624 to .1605
    assert abs(low - 0.0624) < 5e-4 and abs(high - 0.1605) < 5e-4


def test_the_sheet_is_stratified(tmp_path: Path) -> None:
    frame = table(4000).with_columns(pl.Series("target", ["rare"] * 30 + ["common"] * 3970))
    review.write_sheet(config_of(), data_of(frame), tmp_path / "review.csv")
    counts = dict(pl.read_csv(tmp_path / "review.csv")["target"].value_counts().iter_rows())
    assert counts == {"rare": 30, "common": 170}


def reviewed(path: Path, frame: pl.DataFrame, wrong: dict[str, int]) -> CheckResult:
    """The sheet of `frame` with so many labels of each class found wrong, all others right."""
    review.write_sheet(config_of(), data_of(frame), path)
    sheet = pl.read_csv(path, infer_schema=False)
    left, answers = dict(wrong), []
    for label in sheet["target"]:
        answers.append("no" if left.get(label, 0) else "yes")
        left[label] = left.get(label, 0) - (answers[-1] == "no")
    sheet.with_columns(pl.Series(review.OK, answers)).write_csv(path)
    return review.read_sheet(config_of(), data_of(frame), path)


def test_a_class_counts_by_its_share_of_the_data(tmp_path: Path) -> None:
    """The sheet holds 100 rows of a class that is 5 % of the data: a fifth of them wrong are 1 % of all, not 10 %."""
    frame = table(4000).with_columns(pl.Series("target", ["rare"] * 200 + ["common"] * 3800))
    found = reviewed(tmp_path / "review.csv", frame, {"rare": 20})
    assert found.evidence["rate"] == pytest.approx(0.01) and found.share == pytest.approx(0.01)
    assert found.verdict == "WARN" and "rare 20 of 100" in found.observed and "1.0% [" in found.observed
    sheet = pl.read_csv(tmp_path / "review.csv", infer_schema=False).filter(pl.col("target") == "rare")
    sheet.write_csv(tmp_path / "rare.csv")
    assert "no answer for common" in review.read_sheet(config_of(), data_of(frame), tmp_path / "rare.csv").observed
    with pytest.raises(UserError, match="'rare' in column target is no class"):
        review.read_sheet(config_of(), data_of(table()), tmp_path / "rare.csv")


def test_labels_are_known_again_after_a_spreadsheet_saved_them(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    for classes, saved in (([True, False], {"True": "TRUE", "False": "FALSE"}), (["=a", "1.0"], {"1.0": "1"})):
        frame = table(400).with_columns(pl.Series("target", [classes[0]] * 100 + [classes[1]] * 300))
        review.write_sheet(config_of(), data_of(frame), path)
        sheet = pl.read_csv(path, infer_schema=False)
        sheet.with_columns(pl.col("target").replace(saved), pl.lit("yes").alias(review.OK)).write_csv(path)
        assert review.read_sheet(config_of(), data_of(frame), path).evidence["rate"] == 0


def test_the_interval_of_a_weighted_rate_covers(tmp_path: Path) -> None:
    """True rate 1.7 %, most of it in a rare class: 300 sheets, of which 95 % should hold it."""
    random, hits = np.random.default_rng(0), 0
    frame = table(4000).with_columns(pl.Series("target", ["rare"] * 200 + ["common"] * 3800))
    data = data_of(frame)
    truth = 0.05 * 0.15 + 0.95 * 0.01
    review.write_sheet(config_of(), data, tmp_path / "review.csv")
    sheet = pl.read_csv(tmp_path / "review.csv", infer_schema=False)
    chance = np.where(sheet["target"] == "rare", 0.15, 0.01)
    for _ in range(300):
        answers = np.where(random.random(len(sheet)) < chance, "no", "yes")
        sheet.with_columns(pl.Series(review.OK, answers)).write_csv(tmp_path / "one.csv")
        found = review.read_sheet(config_of(), data, tmp_path / "one.csv").evidence
        hits += found["low"] <= truth <= found["high"]
    assert hits >= 0.93 * 300, hits


def test_a_reviewed_sheet_is_part_of_the_share_of_rows_with_problems(tmp_path: Path) -> None:
    record = run_audit(tmp_path)
    sheet = tmp_path / "runs" / record["id"] / "review.csv"
    answer(sheet, 12, 188)
    total = {f["check"]: f for f in run_audit(tmp_path, sheet)["findings"]}["share of rows with problems"]
    assert total["verdict"] == "WARN" and "label review 6.0%" in total["observed"]
    after = {f["check"]: f for f in run_audit(tmp_path)["findings"]}["share of rows with problems"]
    assert after["observed"] == total["observed"], "the next audit of the same data knows it too"


def test_images_get_a_contact_sheet(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    frame = pl.DataFrame({"path": [str(tmp_path / "a.png"), "gone.png"], "target": ["<b>", "dog"]})
    review.write_sheet(config_of(), data_of(frame, path="image"), tmp_path / "review.csv")
    page = (tmp_path / "review.html").read_text()
    assert page.count("<figure>") == 2 and "&lt;b&gt;" in page and "iVBO" in page


@pytest.mark.parametrize("content", ["a,b\n1,2\n", f"{review.OK},x\nperhaps,1\n", f"{review.OK},x\n,1\n", ""])
def test_other_files_are_no_sheets(tmp_path: Path, content: str) -> None:
    (tmp_path / "sheet.csv").write_text(content)
    with pytest.raises(UserError, match="--review"):
        review.read_sheet(config_of(), data_of(table()), tmp_path / "sheet.csv")


def run_audit(root: Path, sheet: Path | None = None, **settings: Any) -> dict[str, Any]:
    project = toy_project(root, **settings)
    project.task.simple_features = lambda config, data: features(data)  # type: ignore[method-assign]
    run = project.begin("audit")
    audit.run(project, run, argparse.Namespace(review=sheet))
    return run.finish()


def test_the_audit_is_green_on_the_toy_and_reads_its_own_sheet_back(tmp_path: Path) -> None:
    record = run_audit(tmp_path)
    assert record["status"] == "pass", [f["observed"] for f in record["findings"] if f["verdict"] in ("WARN", "FAIL")]
    folder = tmp_path / "runs" / record["id"]
    assert {"review.csv", "suspects.csv", "record.json"} <= {p.name for p in folder.iterdir()}
    answer(folder / "review.csv", 60, 140)
    assert run_audit(tmp_path, folder / "review.csv")["status"] == "fail"


def test_a_finding_can_be_acknowledged_by_name() -> None:
    red = CheckResult("duplicate rows", "FAIL", "copies", "none", share=0.2)
    kept, accepted = audit.acknowledge(["other"], red), audit.acknowledge(["duplicate rows"], red)
    assert (kept.verdict, accepted.verdict, accepted.share) == (
        "FAIL",
        "PASS",
        0.0,
    ) and "acknowledged" in accepted.observed


def test_the_audit_never_looks_at_the_test_part(tmp_path: Path) -> None:
    project = toy_project(tmp_path)
    assert len(audit.rows_to_look_at(project)) == 300
    part = splits.assign(project.config, project.data)
    splits.write_manifest(project, part)
    seen = audit.rows_to_look_at(project)
    assert seen.frame.equals(project.data.frame.filter(pl.Series(part != 2)))
    assert len(audit.rows_to_look_at(toy_project(tmp_path, split_seed=1))) == 300  # a void split hides nothing
