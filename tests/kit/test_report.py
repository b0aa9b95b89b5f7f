"""The pages: what they draw from good records, and that null, NaN, other data and old records do not mislead them."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import data
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import Inside
from my_model.engine.splits import splits
from my_model.errors import UserError
from my_model.formatting import interval, number
from recipe_kit.checks.check_result import sentences
from recipe_kit.checks.diagnosis import NAMES
from recipe_kit.project import Project
from recipe_kit.report import examples, experiments, grids, inputs, plots, records, scores, training, verdict
from recipe_kit.report.axes import Axes, Scale
from recipe_kit.steps import report

from .test_evaluate import again, do, trained

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """A page taken apart: its captions, ids, links, images, and tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.captions: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.add(tag)
        self.ids += [known["id"]] if known.get("id") else []  # type: ignore[list-item]
        self.links += [str(known[k]) for k in ("href", "src") if k in known]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "figcaption":
            self.captions.append(data)


def reported(project: Project, run: str = "") -> tuple[Page, str]:
    """The project's page after `recipe report`."""
    begun = project.begin("report")
    report.run(project, begun, argparse.Namespace(run=run))
    begun.finish()
    text = (project.root / "report.html").read_text()
    page = Page(text)
    assert page.open == [], "every tag is closed"
    assert len(page.ids) == len(set(page.ids)) and {f"#{i}" for i in page.ids} >= {
        x for x in page.links if x[:1] == "#"
    }
    assert not page.tags & {"script", "iframe", "object"} and len(text) < 5_000_000
    assert not re.search(
        r"\b(NaN|nan|None|inf)\b", re.sub(r"<style>.*?</style>|<details>.*?</details>", "", text, flags=re.S)
    )
    return page, text


ALWAYS = {"Loss", "Learning rate", "Gradient norm", "Loss of single validation examples", "Distribution of the loss",
          "Examples followed over epochs", "Gradient norm by layer", "Update size by layer"}  # fmt: skip
CLASSES = {"Confusion on test", "Reliability on test", "Recall by class on test", "Confidence on validation"}
ERRORS = {"Predicted against true, validation", "Errors on validation"}


@pytest.mark.parametrize(("k", "expected"), [(1, ERRORS), (2, CLASSES), (4, CLASSES)])
def test_every_plot_is_there(tmp_path: Path, k: int, expected: set[str]) -> None:
    project = trained(tmp_path, k=k)
    do(project, "evaluate")
    page, text = reported(again(project))
    assert set(page.captions) >= ALWAYS | expected and len(page.captions) == len(set(page.captions))
    assert not {link for link in page.links if link.startswith(("http", "//"))}
    assert (project.root / "runs" / "0003-train" / "report.html").exists()
    assert all((project.root / link).exists() for link in page.links if link.startswith("runs/"))
    copy = next((project.root / "runs").glob("*-report/report.html"))
    links = [link for link in Page(copy.read_text()).links if "runs/" in link]
    assert links and all((copy.parent / link).exists() for link in links)
    assert "0003-train" in text and "was made before" not in text


def test_inputs_training_losses_and_the_first_steps_are_kept(tmp_path: Path) -> None:
    """On scikit-learn's diabetes patients: the counts are those of the training part, the losses those of the best weights."""
    inside = Inside(tmp_path, modality="tabular", task="regression", epochs=8, batch_size=16, categorical=["sex"])
    data.diabetes(tmp_path / "data" / "train.csv")
    for step in ("audit", "split", "baseline", "check", "train", "report"):
        assert inside.recipe(step, "--force", "a test").status == 0, step
    folder, part = tmp_path / "runs" / inside.record("train")["id"], splits(inside.project())["train"]
    kept = json.loads((folder / "inputs.json").read_text())["inputs"]
    assert set(kept) == set(part.frame.columns) - {"target"}
    age = part.frame["age"].to_numpy()
    inner = [float(edge) for edge in kept["age"]["edges"][1:-1]]
    assert np.histogram(age, [-np.inf, *inner, np.inf])[0].tolist() == kept["age"]["counts"]
    assert kept["sex"]["counts"] == sorted(part.frame["sex"].value_counts()["count"].to_list(), reverse=True)
    losses = np.load(folder / "train_losses.npy")
    assert len(losses) == len(part) and losses.mean() < np.load(folder / "losses.npy")[0].mean()
    steps = json.loads((folder / "gradients.json").read_text())
    assert steps["step"][:100] == list(range(100)) and len(steps["step"]) > 100
    assert all(len(layer["update"]) == len(layer["norm"]) == len(steps["step"]) for layer in steps["layers"].values())
    text = (tmp_path / "report.html").read_text()
    assert {"age", "sex", "Distribution of the loss"} <= set(Page(text).captions) and "training, best epoch" in text


def test_a_shut_test_part_shows_validation_class_by_class(tmp_path: Path) -> None:
    page, text = reported(trained(tmp_path))
    assert "Confusion on validation" in page.captions and "Confusion on test" not in page.captions
    assert "The test part is still shut" in text


def test_an_empty_project_has_a_page(tmp_path: Path) -> None:
    from .toy import toy_project

    page, text = reported(toy_project(tmp_path))
    assert page.captions == [] and "No model is trained yet" in text


def test_an_unknown_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are: 0003-train"):
        reported(trained(tmp_path), run="0009-train")


def edit(project: Project, name: str, change: Any) -> None:
    """Change a JSON file of the training run."""
    path = project.root / "runs" / "0003-train" / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_null_numbers_do_not_break_the_page(tmp_path: Path) -> None:
    """JSON holds null where a value was not finite: an exploded loss, an interval without bounds."""
    project = trained(tmp_path)
    do(project, "evaluate")

    def losses(curves: Any) -> None:
        curves[0].update(train_loss=None, val_loss=None, grad_norm=None, val_metric=None)

    def worst(rows: Any) -> None:
        rows[0].update(loss=None, output=[None])
        rows[1].update(y=None)

    def bounds(record: Any) -> None:
        record["result"]["against_baseline"].update(low=None, high=None)
        record["result"]["metrics"]["auc"].update(low=None, high=None)

    for name, change in (("curves.json", losses), ("worst.json", worst), ("record.json", bounds)):
        edit(project, name, change)
    folder = project.root / "runs" / "0003-train"
    each = np.load(folder / "losses.npy")
    each[0], each[1, 3] = np.nan, np.inf
    np.save(folder / "losses.npy", each)
    page, text = reported(again(project))
    assert set(page.captions) >= ALWAYS and "cannot be judged against" in text and "nothing (not a number)" in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_run_that_said_nothing_finite_has_a_page(tmp_path: Path, value: float) -> None:
    project = trained(tmp_path)
    folder = project.root / "runs" / "0003-train"
    for name in ("losses", "outputs"):
        np.save(folder / f"{name}.npy", np.full_like(np.load(folder / f"{name}.npy"), value))
    edit(project, "curves.json", lambda rows: [row.update(train_loss=None, val_loss=None) for row in rows])
    reported(project)


def test_runs_on_other_data_are_not_compared(tmp_path: Path) -> None:
    project = trained(tmp_path)
    other = again(project, split_seed=3)
    other.force = "no checks on a toy"
    for step in ("split", "baseline", "train"):
        do(other, step)
    _, text = reported(again(other), run="0006-train")
    assert "1 runs on other data or another split are left out" in text
    assert "runs/0006-train/report.html" in text and "runs/0003-train/report.html" not in text
    drawn = experiments.runs_section(other, records.shown(other, "0003-train"))["plots"][0]
    assert "network 0003" in drawn and "network 0006" not in drawn


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split_seed": 3}, "0003-train was made before split changed; to bring it up to date: recipe train"),
        ({"metric": "accuracy"}, "0002-baseline was made before evaluation changed"),
        ({"lr": 0.5}, "0003-train was trained with lr = 0.001 (now 0.5)"),
    ],
)
def test_old_records_are_called_old(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    project = again(trained(tmp_path), **settings)
    found = records.notices(project, records.shown(project, ""))
    assert any(words in sentence for sentence in found), found


def test_changed_code_and_missing_data_are_said(tmp_path: Path) -> None:
    project = trained(tmp_path)
    edit(project, "record.json", lambda record: record["fingerprint"].update(code="older"))
    found = records.notices(project, records.shown(project, ""))
    assert found == ["The code has changed since 0003-train."]
    (project.root / project.config.data).unlink()

    class Gone(type(project.task)):  # type: ignore[misc]
        def load(self, config: Any, root: Path) -> Any:
            raise UserError("no file")

    bare = Project(project.root, project.config, Gone(), quiet=True)
    assert "cannot be read: no file" in records.notices(bare, records.shown(bare, ""))[0]


@pytest.mark.parametrize(
    ("metric", "low", "high", "words"),
    [
        ("auc", 0.01, 0.05, "beats"),
        ("auc", -0.05, -0.01, "does not beat ridge, which is better"),
        ("rmse", -0.05, -0.01, "beats"),
        ("rmse", 0.01, 0.05, "does not beat ridge, which is better"),
        ("rmse", -0.01, 0.05, "on this evidence"),
    ],
)
def test_the_verdict_knows_which_side_is_better(metric: str, low: float, high: float, words: str) -> None:
    against = {"name": "ridge", "value": (low + high) / 2, "low": low, "high": high}
    sentence = verdict.worth("network", metric, against)
    assert words in sentence and f"{low:+.4f}" in sentence and ("lower is better" in sentence) == (metric == "rmse")


def test_the_verdict_says_how_to_use_the_simple_model() -> None:
    """Where it is no worse than the network and was kept."""

    def first(gain: float, **kept: str) -> str:
        against = {"name": "ridge", "value": gain, "low": gain - 0.01, "high": gain + 0.01}
        train = {"id": "0004-train", "result": {"model": "network", "against_baseline": against}, "findings": []}
        baseline = {"id": "0002-baseline", "result": {"best": "ridge", **kept}, "findings": []}
        return verdict.verdict_lines("auc", {"train": train, "baseline": baseline})[0]

    said = "recipe export --run 0002-baseline"
    kept = {"weights": "0" * 16}
    assert said in first(-0.05, **kept) and said in first(0.0, **kept)
    assert said not in first(0.05, **kept) and said not in first(-0.05)


@settings(max_examples=200, deadline=None)
@given(st.floats(-12, 12), st.floats(1e-3, 14))
def test_logarithmic_axes_have_ticks(start: float, span: float) -> None:
    low, high = 10.0**start, 10.0 ** (start + span)
    ticks = Scale([low, high], 0, 300, log=True).ticks()
    assert 2 <= len(ticks) <= 9 and all(0 <= Scale([low, high], 0, 300, log=True)(v) <= 300 for v, _ in ticks)
    assert len({words for _, words in ticks}) == len(ticks), ticks


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_linear_axes_have_ticks(low: float, span: float) -> None:
    ticks = Scale([low, low + span], 0, 300).ticks()
    assert 1 <= len(ticks) <= 6 and len({words for _, words in ticks}) == len(ticks)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_nothing_to_draw_draws_nothing(value: Any) -> None:
    axes = Axes("x", "y")
    assert plots.lines("a", {"s": ([0, 1], [value, value])}, axes) == ""
    assert plots.points("a", ([value], [1.0]), axes) == ""
    assert plots.bars("a", [0, 1], {"s": [0]}, axes) == ""
    assert grids.intervals("a", {"m": {"value": value, "low": 0, "high": 1}}, "x") == ""
    assert grids.matrix("a", [], []) == ""


def test_names_are_escaped() -> None:
    name = "<script>alert('x')</script>"
    drawn = plots.lines(name, {name: ([0, 1], [0, 1]), "b": ([0], [0])}, Axes(name, name))
    drawn += grids.intervals(name, {name: {"value": 1, "low": 0, "high": 2}}, name)
    drawn += grids.matrix(name, [[1, 0], [0, 1]], [name, name])
    assert "<script" not in drawn and "&lt;script" in drawn


def test_the_suggested_interval_is_shaded() -> None:
    result = {
        "low": 1e-3,
        "high": 1e-2,
        "suggestion": 3e-3,
        "curves": [{"seed": 0, "lr": [1e-6, 1e-1], "loss": [1, 2]}],
    }
    drawn = training.range_plot(result, 1e-3)
    assert "class='band'" in drawn and "suggested" in drawn and "used" in drawn


METRIC = {"value": 0.8, "low": 0.7, "high": 0.9}


def a_run(number: int, value: float, **result: Any) -> dict[str, Any]:
    """The record of a training run, as far as the runs' section reads it."""
    scored = {"metrics": {"auc": METRIC | {"value": value}}, "model": "network"}
    return {"id": f"{number:04d}-train", "overrides": {"lr": 0.1}, "result": scored | result}


def test_the_best_run_and_the_shown_one_are_always_drawn() -> None:
    runs = [a_run(i, 0.9 if i == 2 else 0.7) for i in range(1, 41)]
    drawn = [r["id"][:4] for r in experiments.drawn_runs(runs, runs[4], "auc")]
    assert drawn == ["0002", "0005", *(f"{i:04d}" for i in range(31, 41))]
    lowest = [r["id"][:4] for r in experiments.drawn_runs([a_run(i, 1.0 / i) for i in range(1, 31)], None, "auc")]
    assert lowest[0] == "0001"
    assert experiments.progress_plot(runs[:2], "auc", {}) == ""
    assert "best baseline" in experiments.progress_plot(runs, "auc", {"ridge": METRIC})


def test_a_run_says_what_it_changed_and_what_came_of_it() -> None:
    difference = {"value": 0.1, "low": 0.05, "high": 0.15, "verdict": "adopt"}
    experiment = {"parent": "0001-train", "changed": {"dropout": [0.0, 0.2]}, "hypothesis": "less overfitting"}
    run = a_run(2, 0.8, experiment=experiment | {"difference": difference}, sharpness=0.01)
    found = experiments._table([run], "auc")
    assert found and found["rows"][0][0]["link"] == "runs/0002-train/report.html"
    words = [str(cell).replace("\xa0", " ") for cell in found["rows"][0][2:]]
    assert words == ["dropout=0.2", "less overfitting", "0.8000 [0.7000, 0.9000]",
                     "+0.1000 [+0.0500, +0.1500] to 0001, adopt", "", "0.0100"]  # fmt: skip
    assert experiments.changed(a_run(3, 0.8)) == "lr=0.1"


def test_the_loss_says_what_ails_it(tmp_path: Path) -> None:
    project = trained(tmp_path)
    edit(project, "record.json", lambda record: record["findings"].append({**record["findings"][0], "check": "overfitting",
                                                                           "observed": "validation rose"}))  # fmt: skip
    _, text = reported(project)
    assert re.search(r"<figcaption>Loss</figcaption>.*?Overfitting: validation rose\.</p></figure>", text, flags=re.S)
    assert all(name in sentences() for name in NAMES)


def test_studies_are_drawn() -> None:
    trial = {"number": 0, "state": "COMPLETE", "value": -1.5, "params": {"lr": 1e-3}}
    finalist = {"settings": {"lr": 1e-3}, "run": "0009-train", "verdict": "adopt", **METRIC}
    made: dict[str, Any] = {
        "cv": {"metric": "rmse", "folds": 5, "model": "network", "intervals": {"network": METRIC, "ridge": METRIC}},
        "learning_curve": {"metric": "rmse", "rows": [25, 50, 100], "scores": [[3, 4], [2, 3], [1, 2]]},
        "tune": {"metric": "rmse", "stages": {"learning rate": [trial]}, "finalists": [finalist], "seeds": [0, 1, 2]},
        "ablate": {"metric": "rmse", "seeds": [0, 1, 2], "removed": [{"setting": "dropout", **METRIC}]},
    }
    section = experiments.studies_section({step: {"result": r, "findings": []} for step, r in made.items()})
    assert section and len(section["plots"]) == 5
    assert "Cross-validation: rmse" in section["plots"][0] and "ridge" in section["plots"][0]
    assert "1.5" in experiments.tuning_plots(made["tune"])[0], "shown as it is, not as it was maximized"
    assert experiments.studies_section({}) is None


def test_a_page_of_a_run_is_written_once(tmp_path: Path) -> None:
    project = trained(tmp_path)
    reported(project)
    page = tmp_path / "runs" / "0003-train" / "report.html"
    before = page.stat().st_mtime_ns
    reported(project)
    assert page.stat().st_mtime_ns == before
    do(project, "evaluate")
    reported(project)
    assert page.stat().st_mtime_ns > before and "Confusion on test" in page.read_text()


def test_layers_have_short_names() -> None:
    names = [f"encoder.base_model.model.layer.{i}.dense.lora_A.default.weight" for i in (0, 5)]
    assert training.short_names(names) == ["0.dense.lora_A", "5.dense.lora_A"]
    assert training.short_names(["body.0.weight", "head.weight"]) == ["body.0", "head"]
    assert training.short_names(["weight", "model.weight"]) == ["weight", "model.weight"]


def test_ranking_draws_gains_and_no_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, array in (
        ("outputs", random.normal(size=(60, 1))),
        ("y", random.integers(0, 3, 60)),
        ("query", np.arange(60) // 6),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    drawn = training.prediction_plots(tmp_path, "ranking", {"classes": []})
    assert len(drawn) == 1 and "NDCG of each query" in drawn[0]


def test_many_classes_get_a_table_instead_of_a_matrix() -> None:
    k = 40
    table = np.eye(k, dtype=int) * 5
    table[3, 7] = 4
    result = {"confusion": table.tolist(), "classes": [f"class {i}" for i in range(k)],
              "per_class": [{"class": f"class {i}", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 5} for i in range(k)]}  # fmt: skip
    assert grids.matrix("Confusion", result["confusion"], result["classes"]) == ""
    found = scores.class_tables(result)
    assert found[1] and found[1]["rows"] == [["class 3", "class 7", 4]]


PREP = {"classes": ["cat", "dog"], "target_mean": 0.0, "target_scale": 1.0}


def test_pictures_and_where_the_model_looked() -> None:
    shown = {"image": np.full((300, 200, 3), 200).tolist(), "file": "a.png"}
    row = {"index": 3, "y": 1.0, "loss": 2.0, "output": [-1.0], "shown": shown,
           "explained": {"saliency": np.eye(300, 200).tolist()}}  # fmt: skip
    drawn = examples.example(row, PREP)
    assert [image["source"][:22] for image in drawn["images"]] == ["data:image/png;base64,"] * 2
    assert drawn["title"] == "row 3: truth dog, called cat, loss 2.0000" and drawn["text"] == "file: a.png"
    assert all(len(image["source"]) < 100_000 for image in drawn["images"])


def test_a_page_of_large_noisy_pictures_stays_small(tmp_path: Path) -> None:
    """Noise does not compress: the worst there is for a PNG. Two thousand steps in the ledger, a long run."""
    project = trained(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3))

    def worst(rows: Any) -> None:
        for row in rows:
            row["shown"]["image"], row["explained"] = noise.tolist(), {"saliency": np.ones((7, 7)).tolist()}

    def long(curves: Any) -> None:
        curves += [{**curves[-1], "epoch": epoch} for epoch in range(2, 2000)]

    edit(project, "worst.json", worst)
    edit(project, "curves.json", long)
    folder = project.root / "runs" / "0003-train"
    np.save(folder / "losses.npy", np.random.default_rng(0).exponential(size=(2000, 200)))
    _, text = reported(project)
    assert text.count("data:image/png") == 24 and len(text) < 3_000_000


def test_bars_of_whole_numbers_hold_as_many_of_them() -> None:
    for days in (31, 60, 365):
        every = np.arange(1.0, days + 1)
        counts = np.histogram(every, inputs._edges(every, 1, days))[0]
        assert len(counts) <= 40 and len(set(counts[:-1])) == 1 and counts.sum() == days
    assert inputs._edges(np.array([0.5, 1.0]), 0.5, 1.0) == 20


def test_a_batch_is_shown_with_its_mixed_labels() -> None:
    mixed = examples.seen({"y": [0.25, 0.75], "image": np.zeros((8, 8, 3)).tolist(), "file": "a.png"}, PREP)
    assert mixed["title"] == "25% cat, 75% dog" and len(mixed["images"]) == 1 and mixed["text"] == "file: a.png"
    assert examples.seen({"y": 1.0, "x": 3}, PREP)["title"] == "dog"


def test_a_coarse_map_is_stretched_over_the_picture() -> None:
    found = examples.pictures(np.full((64, 64, 3), 255, dtype=np.uint8), [[0.0, 1.0], [0.0, 1.0]])
    assert len(found) == 2 and found[0]["source"] != found[1]["source"]


def test_tokens_are_shaded_by_their_weight() -> None:
    explained = {"tokens": ["[CLS]", "bad", "the", "[SEP]"], "weights": [0.9, 0.4, 0.0, 0.8]}
    assert examples.shaded(explained) == [("[CLS]", 0), ("bad", 4), ("the", 0), ("[SEP]", 0)]


def test_numbers_for_people() -> None:
    assert number(None) == "\u2013" and number(0.5) == "0.5000" and number(0.0) == "0.0000"
    assert number(53_210.1234) == "53,210" and number(8.377e24) == "8.377e+24" and number(-2.5e-7, "+") == "-2.5e-07"
    assert interval({"value": 0.0004, "low": -0.0036, "high": 0.0017}, "+") == "+0.0004 [-0.0036, +0.0017]"
    assert interval({"value": 2.51e-6, "low": 2e-6, "high": 3e-6}) == "2.51e-06 [2e-06, 3e-06]"
    assert interval({"value": 0.5, "low": 0.25, "high": None}) == "0.5000"
    assert interval({"value": 0.5, "low": 0.25, "high": 0.75}, "+") == "+0.5000 [+0.2500, +0.7500]"
