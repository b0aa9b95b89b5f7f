"""`recipe cv`: k folds of the whole pipeline, against scikit-learn on the same folds; by class, group and time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, module
from inside import Inside

sys.path.insert(0, str(ROOT / "demo"))
import data

FORCED = ("--force", "a test")
SETS: dict[str, dict[str, Any]] = {
    "breast_cancer": {"task": "binary", "metric": "accuracy"},
    "wine": {"task": "multiclass"},
    "digits": {"task": "multiclass"},
    "diabetes": {"task": "regression", "metric": "rmse"},
    "diabetes r2": {"task": "regression", "metric": "r2"},
}


def validated(project: Inside, *words: str) -> tuple[dict[str, Any], np.ndarray, pl.DataFrame]:
    """The result of cv, the fold of each row, and these rows."""
    assert project.recipe("split", *FORCED).status == 0
    answer = project.recipe("cv", *FORCED, *words)
    assert answer.status == 0, answer.output
    record = project.record("cv")
    there = project.project()
    rows = project.module("engine.splits").outside_test(there).frame
    return record["result"], np.load(project.root / "runs" / record["id"] / "folds.npy"), rows


def pipeline(task: str) -> Any:
    """The linear baseline, written with scikit-learn alone."""
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if task == "regression":
        from sklearn.compose import TransformedTargetRegressor

        ridge = TransformedTargetRegressor(RidgeCV(alphas=np.logspace(-3, 4, 15)), transformer=StandardScaler())
        return make_pipeline(StandardScaler(), ridge)
    logistic = LogisticRegressionCV(
        Cs=np.logspace(-3, 2, 6), cv=5, max_iter=1000, scoring="neg_log_loss", l1_ratios=(0.0,), use_legacy_attributes=False
    )  # fmt: skip
    return make_pipeline(StandardScaler(), logistic)


@pytest.mark.parametrize("name", SETS)
def test_the_linear_model_scores_as_in_scikit_learn(tmp_path: Path, name: str) -> None:
    from sklearn.model_selection import PredefinedSplit, cross_val_score

    project = Inside(tmp_path / "p", epochs=1, **SETS[name])
    getattr(data, name.split()[0])(project.root / "data" / "train.csv")
    found, folds, rows = validated(project)
    scoring = {"rmse": "neg_root_mean_squared_error", "r2": "r2"}.get(found["metric"], "accuracy")
    prep = project.project().task.prepare(project.project().config, project.project().data)
    x, y = rows.select(list(prep["numeric"])).to_numpy().astype(np.float32), rows["target"].to_numpy()
    scores = cross_val_score(pipeline(SETS[name]["task"]), x, y, cv=PredefinedSplit(folds), scoring=scoring)
    ours = np.array(found["scores"]["ridge" if SETS[name]["task"] == "regression" else "logistic"])
    assert np.abs(ours - (-scores if found["metric"] == "rmse" else scores)).max() < 1e-6 * max(1.0, np.abs(ours).max())
    assert set(found["scores"]) >= {"network", "lightgbm"} and len(found["scores"]["network"]) == found["folds"] == 5


def made(n: int = 300) -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, n))
    day = pl.Series([f"2021-01-{1 + i * 28 // n:02d}" for i in range(n)])
    y = np.where(a + random.normal(size=n) * 0.5 > 0, "yes", "no")
    return pl.DataFrame({"a": a, "b": b, "who": [f"p{i // 5}" for i in range(n)], "day": day, "target": y})


def test_groups_stay_whole(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", group="who", iid="", drop=["day"])
    made().write_csv(project.root / "data" / "train.csv")
    found, folds, rows = validated(project, "--folds", "4")
    assert rows.with_columns(fold=folds).group_by("who").agg(pl.col("fold").n_unique())["fold"].max() == 1
    assert sorted(np.unique(folds)) == [0, 1, 2, 3] and found["folds"] == 4


def test_time_is_never_trained_on_the_future(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", time="day", iid="", drop=["who"])
    made().write_csv(project.root / "data" / "train.csv")
    found, folds, rows = validated(project)
    for fold in range(5):
        assert rows["day"].filter(folds <= fold).max() < rows["day"].filter(folds == fold + 1).min()
    assert [train for train, _ in found["sizes"]] == sorted(train for train, _ in found["sizes"])


def test_the_test_part_stays_shut(tmp_path: Path) -> None:
    project = Inside(tmp_path / "p", task="binary", drop=["who", "day"])
    made().write_csv(project.root / "data" / "train.csv")
    found, folds, rows = validated(project)
    assert not project.opened() and len(rows) == len(folds) == sum(val for _, val in found["sizes"]) < 300
    assert found["intervals"]["network"]["low"] < found["intervals"]["network"]["high"]
    assert project.recipe("cv", *FORCED, "--folds", "1").status == 2


def test_the_interval_covers_what_it_promises() -> None:
    """Means of five folds that share training rows, as in Nadeau and Bengio: with the correction at least 95 %, without it less."""
    random = np.random.default_rng(0)
    experiments = module("experiments")
    corrected = plain = 0
    for _ in range(2000):
        # each score is the mean of an own part and of one that all folds share: correlation 0.2, the share of validation rows
        scores = np.sqrt(0.8) * random.normal(size=5) + np.sqrt(0.2) * random.normal()
        with_ratio, without = experiments.paired_interval(scores, 0.25), experiments.paired_interval(scores, 0.0)
        corrected += with_ratio["low"] < 0 < with_ratio["high"]
        plain += without["low"] < 0 < without["high"]
    assert corrected / 2000 > 0.94 > plain / 2000


@pytest.mark.parametrize("modality", ["image", "text"])
def test_other_kinds_of_data(tmp_path: Path, modality: str) -> None:
    random = np.random.default_rng(0)
    common: dict[str, Any] = {"modality": modality, "task": "binary", "epochs": 1, "weights": "none", "lr": 0.001}
    if modality == "image":
        from PIL import Image

        project = Inside(tmp_path / "p", **common, size=32, batch_size=16, data="data/images")
        for name, level in (("dark", 60), ("light", 190)):
            (project.root / "data" / "images" / name).mkdir(parents=True)
            for i in range(24):
                noise = random.integers(0, 60, (32, 32, 3)).astype(np.uint8) + np.uint8(level)
                Image.fromarray(noise).save(project.root / "data" / "images" / name / f"{i}.png")
    else:
        encoder = ROOT / "{{cookiecutter.project_slug}}" / "tests" / "sample" / "text" / "encoder"
        project = Inside(tmp_path / "p", **common, encoder=str(encoder), batch_size=16, max_length=32)
        words = [" ".join(random.choice(["red", "old", "tall", ("good", "bad")[i % 2]], 6)) + f" {i}" for i in range(60)]
        pl.DataFrame({"text": words, "target": [i % 2 for i in range(60)]}).write_csv(project.root / "data" / "train.csv")
    assert project.recipe("split", *FORCED).status == 0
    answer = project.recipe("cv", *FORCED, "--folds", "2")
    assert answer.status == 0, answer.output
    found = project.record("cv")["result"]
    assert len(found["scores"]["network"]) == 2 and len(found["scores"]) >= 2
