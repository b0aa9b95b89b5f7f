"""From the file to the network: each check passing on a sound toy project, and failing on the fault it exists for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.engine import calibration, metrics, splits
from my_model.engine.loop import Progress
from my_model.errors import UserError
from my_model.task import Batch, Data
from recipe_kit.checks import labels, leak_probes, pipeline, trial_runs
from recipe_kit.checks.context import Context
from recipe_kit.project import Project
from recipe_kit.steps.evaluate import replayed, temperature_of_validation
from recipe_kit.steps.train import committed
from torch import Tensor

from .tables import config_of, data_of, table
from .toy import Toy, ToyExamples, toy_project

SETTINGS: list[dict[str, Any]] = [{"k": 1}, {"k": 2}, {"k": 3}, {"k": 3, "class_weights": "balanced"}]


class Table(Toy):
    """The toy with columns that a forest can be shown."""

    def simple_features(self, config: Any, data: Data) -> Any:
        return data.frame[data.columns("numeric")].to_numpy()


def bench_of(root: Path, task: Toy | None = None, **settings: Any) -> tuple[Context, Project]:
    """A context over the pinned parts of a toy project on disk."""
    project = replace(toy_project(root, **settings), task=task or Table())
    splits.write_manifest(project, splits.assign(project.config, project.data))
    data = splits.splits(project)
    prep = project.task.prepare(project.config, data["train"])
    train, val = (project.task.examples(project.config, prep, data[name]) for name in ("train", "val"))
    return Context(project.config, project.task, prep, data, train, val), project


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_sound_projects_pass(tmp_path: Path, settings: dict[str, Any]) -> None:
    context, project = bench_of(tmp_path, **settings)
    found = [check(context) for check in (pipeline.rows_and_labels, pipeline.decoded, pipeline.metric_of_known_outputs)]
    found += [
        check(context, project) for check in (pipeline.parts_as_pinned, leak_probes.refit, leak_probes.permuted_labels)
    ]
    assert [f.verdict for f in found] == ["PASS"] * 6, [f.observed for f in found]


class Changed(ToyExamples):
    """Toy examples whose batches pass through `change`(x, y, augment) -> (x, y)."""

    change: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        for batch in super().batches(plan, epoch, augment):
            x, y = self.change(batch.x, batch.y, augment)
            yield batch._replace(x=x, y=y)


def changed(examples: Any, change: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]) -> Changed:
    other = Changed(examples.x, examples.y, examples.query, examples.lengths)
    other.change = change  # type: ignore[method-assign]
    return other


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lambda x, y, augment: (x, y.roll(1)), "labels of train"),
        (lambda x, y, augment: (x, y.roll(1) if augment else y), "labels of train while training"),
        (lambda x, y, augment: (x.flip(0), y), "inputs of train"),
        (lambda x, y, augment: (x - x.mean(dim=0), y), "inputs of train"),
    ],
)
def test_rows_and_labels_out_of_step_fail(tmp_path: Path, what: Any, why: str) -> None:
    context, _ = bench_of(tmp_path, k=3)
    found = pipeline.rows_and_labels(replace(context, train=changed(context.train, what)))
    assert found.verdict == "FAIL" and why in found.observed


def test_labels_of_other_rows_fail(tmp_path: Path) -> None:
    context, _ = bench_of(tmp_path, k=3)
    context.val.y = context.val.y.roll(1)
    assert "labels of val" in pipeline.rows_and_labels(context).observed


def test_validation_that_reads_otherwise_fails(tmp_path: Path) -> None:
    context, _ = bench_of(tmp_path, k=2)
    for change in (lambda x, y, augment: (x * 1.1, y), lambda x, y, augment: (x.flip(1), y)):
        found = pipeline.decoded(replace(context, val=changed(context.val, change)))
        assert found.verdict == "FAIL" and "in val" in found.observed and "in train" not in found.observed


def test_rows_that_changed_parts_fail(tmp_path: Path) -> None:
    context, project = bench_of(tmp_path, k=2)
    val = context.data["val"].frame
    more = replace(context.data["train"], frame=pl.concat([context.data["train"].frame, val.head(len(val) // 2)]))
    found = pipeline.parts_as_pinned(replace(context, data={**context.data, "train": more}), project)
    assert found.verdict == "FAIL" and found.evidence["copies"] == len(val) // 2
    assert pipeline.test_apart(project.config, context.data, splits.open_test(project)).verdict == "PASS"
    assert pipeline.test_apart(project.config, context.data, context.data["val"]).verdict == "FAIL"


@pytest.mark.parametrize("name", sorted(pipeline.KNOWN))
def test_every_metric_against_its_independent_value(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    k = 1 if name in ("rmse", "mae", "r2") else 3 if name == "macro_f1" else 2
    context, _ = bench_of(tmp_path, k=k, metric=name)
    assert pipeline.metric_of_known_outputs(context).verdict == "PASS"
    right = metrics.score
    monkeypatch.setattr(metrics, "score", lambda c, p, o, t, decided: (right(c, p, o[:128], metrics.Truth(t.y[:128])) + right(c, p, o[128:], metrics.Truth(t.y[128:]))) / 2)  # fmt: skip
    assert pipeline.metric_of_known_outputs(context).verdict == "FAIL"


def test_a_preprocessing_of_other_rows_fails(tmp_path: Path) -> None:
    context, project = bench_of(tmp_path, k=2)
    prep = project.task.prepare(project.config, project.data)
    assert leak_probes.refit(replace(context, prep=prep), project).verdict == "FAIL"


class ScalesOnLoad(Table):
    """Scales every number over all rows of the file."""

    def load(self, config: Any, root: Path) -> Data:
        data = super().load(config, root)
        numbers = data.columns("numeric")
        return replace(
            data, frame=data.frame.with_columns((pl.col(c) - pl.col(c).mean()) / pl.col(c).std() for c in numbers)
        )


class EncodesTarget(Table):
    """Replaces a number by the mean target of rows like it, the own one included."""

    def load(self, config: Any, root: Path) -> Data:
        data = super().load(config, root)
        mean = pl.col("target").cast(pl.Float64).mean().over((pl.col("x3") * 50).round())
        return replace(data, frame=data.frame.with_columns(x3=mean))


def test_a_loader_that_looks_at_all_rows_fails(tmp_path: Path) -> None:
    context, project = bench_of(tmp_path, ScalesOnLoad(), k=2)
    found = leak_probes.refit(context, project)
    assert found.verdict == "FAIL" and "x0" in found.observed


def test_a_column_computed_from_labels_fails(tmp_path: Path) -> None:
    context, project = bench_of(tmp_path, EncodesTarget(), k=2)
    found = leak_probes.permuted_labels(context, project)
    assert found.verdict == "FAIL" and found.evidence["score"] > 0.6


class Pictures(Table):
    """A table of names of files that lie beside it."""

    def load(self, config: Any, root: Path) -> Data:
        if not (root / "beside").exists():
            raise UserError("the picture is not there")
        data = super().load(config, root)
        return replace(data, roles={**data.roles, "x3": "image"})


def test_a_table_of_files_is_not_loaded_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "beside").touch()
    context, project = bench_of(tmp_path, Pictures(), k=2)
    for probe in (leak_probes.refit, leak_probes.permuted_labels):
        assert probe(context, project).verdict == "NOT APPLICABLE"


def neighbors(data: Data, **settings: Any) -> str:
    config = config_of(**settings)
    judged = labels.judge(config, data, lambda config, data: data.frame[data.columns("numeric")].to_numpy())
    return labels.neighbors(config, data, judged).verdict


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_that_belong_together_are_named(seed: int) -> None:
    frame = table(300, seed=seed)
    random = np.random.default_rng(seed)
    lines = pl.Series(np.repeat(np.arange(300), 4))
    films = frame[lines].with_columns(pl.col(f"x{i}") + pl.Series(random.normal(0, 0.3, 1200)) for i in range(6))
    flips = np.repeat(random.random(300) < 0.2, 4)  # what else decides is shared by the frames of one film
    films = films.with_columns(target=pl.when(pl.Series(flips)).then(pl.lit("yes")).otherwise(pl.col("target")))
    assert neighbors(data_of(films)) == "WARN"
    assert neighbors(data_of(films.with_columns(film=lines.cast(pl.String))), group="film") == "NOT APPLICABLE"
    assert neighbors(data_of(films.sample(fraction=1, shuffle=True, seed=seed))) == "PASS"
    assert neighbors(data_of(films.sort("target"))) == "NOT APPLICABLE"


def test_a_rate_off_the_plan_and_examples_left_out_fail() -> None:
    config = config_of(lr=0.1, epochs=2, warmup=0.0)
    rates = [0.1 * (1 + np.cos(np.pi * 4 / 9)) / 2, 0.0]
    sound = Progress(epoch=2, step=10, curves=[{"lr": rate, "seen": 50} for rate in rates])
    assert trial_runs.lr_as_planned(config, sound, 10).verdict == trial_runs.seen(50, sound).verdict == "PASS"
    broken = Progress(epoch=2, step=10, curves=[{"lr": rate / 10, "seen": 40} for rate in rates])
    assert trial_runs.lr_as_planned(config, broken, 10).verdict == trial_runs.seen(50, broken).verdict == "FAIL"


def test_outputs_that_changed_since_training_fail(tmp_path: Path) -> None:
    project = toy_project(tmp_path, k=2)
    outputs = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32)
    (tmp_path / "runs" / "0001-train").mkdir(parents=True)
    np.save(tmp_path / "runs" / "0001-train" / "outputs.npy", outputs)
    assert replayed(project, {"id": "0001-train"}, outputs).verdict == "PASS"
    assert replayed(project, {"id": "0001-train"}, outputs + 0.1).verdict == "FAIL"
    assert replayed(project, {"id": "0001-train"}, outputs[:10]).verdict == "FAIL"


def test_a_temperature_of_other_rows_fails(tmp_path: Path) -> None:
    project = toy_project(tmp_path, k=2)
    random = np.random.default_rng(0)
    outputs = random.normal(size=(200, 1)).astype(np.float32)
    y = (random.random(200) < 1 / (1 + np.exp(-outputs[:, 0]))).astype(np.float32)
    folder = tmp_path / "runs" / "0001-train"
    folder.mkdir(parents=True)
    for name, array in (("outputs", outputs), ("y", y)):
        np.save(folder / f"{name}.npy", array)
    prep = {"classes": ["0", "1"], "outputs": 1}
    own = calibration.temperature(outputs, y.astype(int))
    for temperature, verdict in ((own, "PASS"), (1.1 * own, "FAIL")):
        assert temperature_of_validation(project, {"id": "0001-train"}, prep, temperature).verdict == verdict


def test_uncommitted_code_is_named(tmp_path: Path) -> None:
    project = toy_project(tmp_path, k=2)
    assert committed(project).verdict == "NOT APPLICABLE"
    for words in (
        ["init", "-q"],
        ["add", "recipe.toml"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    assert committed(project).verdict == "PASS"
    (tmp_path / "recipe.toml").write_text("lr = 0.1\n")
    found = committed(project)
    assert found.verdict == "WARN" and "recipe.toml" in found.observed
