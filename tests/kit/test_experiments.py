"""Runs as experiments: parents, one change at a time, paired seeds, verdicts; and the steps that make many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from my_model.engine.losses import make_loss
from my_model.engine.splits import splits
from my_model.errors import UserError
from recipe_kit import experiments, ledger
from recipe_kit.checks import context
from recipe_kit.checks.context import Context
from recipe_kit.commands import parse
from recipe_kit.project import Project
from recipe_kit.sharpness import sharpness
from recipe_kit.steps import ablate, baseline, cv, diagnose, learning_curve, lr_find, rerun, split, train, tune

from .toy import ToyExamples, toy_project

STEPS: dict[str, Any] = {
    "split": split,
    "baseline": baseline,
    "train": train,
    "diagnose": diagnose,
    "lr-find": lr_find,
    "learning-curve": learning_curve,
    "ablate": ablate,
    "tune": tune,
    "rerun": rerun,
}


def do(project: Project, *words: str, **settings: Any) -> dict[str, Any]:
    """One command on a variant of the project, without the gates, which have their own test."""
    args = parse(list(words))
    variant = project.variant(**settings)
    begun = variant.begin(args.step.replace("-", "_"))
    STEPS[args.step].run(variant, begun, args)
    return begun.finish()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project with a split and a baseline."""
    made = toy_project(tmp_path, epochs=2, batch_size=64)
    for step in ("split", "baseline"):
        do(made, step)
    return made


def test_the_parent_is_the_run_that_differs_in_the_fewest_settings(project: Project) -> None:
    first = do(project, "train")
    faster = do(project, "train", lr=0.01)
    assert first["result"]["experiment"]["parent"] == ""
    assert faster["result"]["experiment"]["parent"] == first["id"]
    assert faster["result"]["experiment"]["changed"] == {"lr": [0.001, 0.01]}
    decayed = do(project, "train", weight_decay=0.1)  # nearest to the first run, not to the newest
    assert decayed["result"]["experiment"]["parent"] == first["id"]
    repeated = do(project, "train", lr=0.01, seed=1)  # another seed is the same experiment
    assert repeated["result"]["experiment"] | {"difference": 0} == faster["result"]["experiment"] | {"difference": 0}
    named = do(project, "train", "--parent", decayed["id"], weight_decay=0.1, lr=0.01)
    assert named["result"]["experiment"]["parent"] == decayed["id"]


def test_two_changes_at_once_are_refused_unless_bundled(project: Project) -> None:
    do(project, "train")
    both = project.variant(lr=0.01, clip=0.5)
    with pytest.raises(
        UserError, match=r"changes 2 things.*lr \(0.001 -> 0.01\), clip \(1.0 -> 0.5\).*--allow-multiple"
    ):
        experiments.begin(both)
    assert experiments.begin(both, allow_multiple="a high lr needs a tight clip")["allow_multiple"]
    assert experiments.begin(project.variant(seed=7, device="cpu", tracker="wandb"))["changed"] == {}
    with pytest.raises(UserError, match="--parent '0099-train' is not a finished training run"):
        experiments.begin(project, wanted="0099-train")


def test_an_edit_of_the_code_is_a_change(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it is an experiment, with a setting it is two changes at once; runs of other code are no repeats."""
    old = do(project, "train")
    edited = {**project.fingerprint, "code": "0123456789abcdef"}
    monkeypatch.setattr("recipe_kit.project.fingerprint", lambda config, data: edited)
    with pytest.raises(
        UserError, match=r"changes 2 things.*lr \(0.001 -> 0.01\), code \('\w+' -> '0123456789abcdef'\)"
    ):
        experiments.begin(project.variant(lr=0.01))
    new = do(project, "train")
    assert new["result"]["experiment"]["parent"] == old["id"]
    assert list(new["result"]["experiment"]["changed"]) == ["code"]
    assert experiments.begin(project.variant(lr=0.01))["parent"] == new["id"]
    runs = experiments.finished(project.variant())
    assert [r["id"] for r in experiments.repeats(runs, experiments.known(new)).values()] == [new["id"]]


def test_a_verdict_takes_three_paired_seeds(tmp_path: Path) -> None:
    project = toy_project(tmp_path, epochs=2, batch_size=64, metric="log_loss")
    for step in ("split", "baseline"):
        do(project, step)
    for seed in range(3):
        do(project, "train", seed=seed)
    verdicts = [do(project, "train", seed=seed, lr=0.03)["result"]["experiment"]["difference"] for seed in range(3)]
    assert [len(found["seeds"]) for found in verdicts] == [1, 2, 3]
    assert verdicts[0]["verdict"] == verdicts[1]["verdict"] == "undecided"
    metric = project.config.resolved_metric
    runs = project.records("train")
    values = np.array([r["result"]["metrics"][metric]["value"] for r in runs])
    assert verdicts[2]["value"] == pytest.approx((values[3:] - values[:3]).mean())
    assert verdicts[2]["verdict"] == "adopt"  # two epochs at 0.001 learn next to nothing


@pytest.mark.parametrize(
    ("metric", "low", "high", "expected"),
    [
        ("auc", 0.1, 0.2, "adopt"),
        ("auc", -0.2, -0.1, "reject"),
        ("auc", -0.1, 0.1, "undecided"),
        ("rmse", 0.1, 0.2, "reject"),
        ("rmse", -0.2, -0.1, "adopt"),
    ],
)
def test_verdicts_know_which_way_is_better(metric: str, low: float, high: float, expected: str) -> None:
    assert experiments.verdict(metric, {"value": (low + high) / 2, "low": low, "high": high}) == expected


def test_the_interval_is_the_paired_t_interval() -> None:
    from scipy import stats

    differences = np.array([0.01, 0.03, 0.02, -0.01])
    expected = stats.ttest_1samp(differences, 0).confidence_interval()
    found = experiments.paired_interval(differences)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_the_ledger_keeps_parent_prediction_and_verdict(project: Project) -> None:
    do(project, "train")
    do(project, "train", "--hypothesis", "faster is better", lr=0.01)
    row = ledger.read(project.ledger)[-1]
    assert row["hypothesis"] == "faster is better" and row["changed"] == {"lr": [0.001, 0.01]}
    assert row["difference"]["verdict"] == "undecided" and row["against_baseline"]["name"]
    table = ledger.table(ledger.read(project.ledger))
    assert "faster is better" in table and "undecided (1 seed)" in table and "over 2 runs" in table


def test_ablation_takes_each_part_away_under_the_same_seeds(project: Project) -> None:
    result = do(project, "ablate", "--seeds", "3", lr=0.01)["result"]
    assert [row["setting"] for row in result["removed"]] == ["weight_decay", "clip", "schedule", "warmup"]
    assert all(row["seeds"] == [0, 1, 2] for row in result["removed"])
    assert len(project.records("train")) == 3 * 5
    again = do(project, "ablate", "--seeds", "3", lr=0.01)["result"]
    assert len(project.records("train")) == 3 * 5  # nothing is trained twice
    assert again["removed"] == result["removed"]


def test_nothing_to_ablate_is_said(project: Project) -> None:
    with pytest.raises(UserError, match="nothing can be taken away"):
        do(project, "ablate", weight_decay=0.0, clip=0.0, schedule="constant", warmup=0.0)


def test_a_rerun_agrees_to_the_last_bit_and_a_changed_network_is_caught(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = do(project, "train", lr=0.02)
    same = do(project, "rerun", "--run", first["id"])
    assert ledger.read(project.ledger)[-2]["overrides"] == {"lr": 0.02}  # not every setting there is
    assert same["findings"][0]["verdict"] == "PASS" and "last bit" in same["findings"][0]["observed"]
    made = type(project.task).model

    def other(self: Any, config: Any, prep: Any) -> Any:
        model = made(self, config, prep)
        model[2].weight.data.mul_(-30)
        return model

    monkeypatch.setattr(type(project.task), "model", other)
    different = do(project, "rerun", "--run", first["id"])
    assert different["findings"][0]["verdict"] in ("WARN", "FAIL")
    with pytest.raises(UserError, match="rerun needs the id of a finished training run, not '0099-x'"):
        do(project, "rerun", "--run", "0099-x")


def test_the_learning_curve_feeds_the_diagnosis(project: Project) -> None:
    result = do(project, "learning-curve", lr=0.02)["result"]
    assert [len(scores) for scores in result["scores"]] == [3, 3, 3]
    assert result["scaling"]["low"] < result["scaling"]["exponent"] < result["scaling"]["high"]
    assert result["rows"][0] < result["rows"][1] < result["rows"][2]
    record = do(project, "train", lr=0.02)
    evidence = do(project, "diagnose", "--run", record["id"], lr=0.02)["result"]["evidence"]
    assert evidence["more_data"] == list(result["gained"]["data"].values())


def test_the_range_and_the_baseline_feed_the_diagnosis(project: Project) -> None:
    found = do(project, "lr-find")["result"]
    record = do(project, "train", lr=found["high"] * 30)
    told = do(project, "diagnose", "--run", record["id"], lr=found["high"] * 30)["result"]
    assert told["evidence"]["lr_found"] == [found["low"], found["high"]]
    assert "learning rate outside the range" in told["diagnoses"] or told["diagnoses"] in (
        ["diverged"],
        ["not learning"],
    )
    best, trivial = (value["metrics"]["auc"]["value"] for value in _scores(project))
    assert told["evidence"]["gained"] == pytest.approx(best - trivial)
    other = do(
        project, "train", "--allow-multiple", "another optimizer", optimizer="sgd"
    )  # a range for AdamW says nothing of SGD
    assert do(project, "diagnose", "--run", other["id"], optimizer="sgd")["result"]["evidence"]["lr_found"] is None


def _scores(project: Project) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the best simple model and the trivial one scored."""
    result = project.records("baseline")[-1]["result"]
    scored = result["baselines"]
    return scored[result["best"]], next(iter(scored.values()))


def test_a_share_of_a_ranking_set_is_whole_queries() -> None:
    query = torch.arange(40).repeat_interleave(5)[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    train = ToyExamples(torch.zeros(200, 1), torch.zeros(200), query)
    small, half = (learning_curve._rows(train, 0, share) for share in (0.25, 0.5))
    assert [len(rows) for rows in (small, half)] == [50, 100] and set(small.tolist()) < set(half.tolist())
    assert (torch.unique(query[half], return_counts=True)[1] == 5).all()


def test_the_scaling_of_the_error_is_found_again() -> None:
    rows, seeds = np.array(learning_curve.SHARES)[:, None], np.array([1.0, 1.1, 0.9])
    found = learning_curve.scaling("rmse", 0.3 * rows**-0.5 * seeds)
    assert found and found["exponent"] == pytest.approx(-0.5) and found["twice"] == pytest.approx(0.3 * 2**-0.5)
    found = learning_curve.scaling("accuracy", 1 - 0.1 * rows ** (-0.2 * seeds))
    assert found and found["low"] < -0.2 < found["high"] and found["twice"] == pytest.approx(1 - 0.1 * 2**-0.2)
    assert learning_curve.scaling("accuracy", np.ones((3, 3))) is None


def gains(**axes: tuple[float, float]) -> dict[str, dict[str, float]]:
    """axis -> its gain, plus and minus so much."""
    return {axis: {"value": v, "low": v - half, "high": v + half, "error": half} for axis, (v, half) in axes.items()}


@pytest.mark.parametrize(
    ("gained", "said"),
    [
        (gains(data=(0.02, 0.01), model=(0.05, 0.06), compute=(0.001, 0.01)), "the limit is data"),
        (gains(data=(0.02, 0.01), model=(0.03, 0.01), compute=(0.01, 0.02)), "the limit is model"),
        (gains(data=(0.02, 0.01), model=(0.03, 0.01), compute=(0.01, 0.005)), "the limit is compute"),
        (gains(data=(-0.02, 0.01), compute=(0.01, 0.005)), "the limit is compute"),
        (
            gains(data=(0.02, 0.03), model=(0.01, 0.01), compute=(-0.01, 0.005)),
            "none beyond the noise of seeds and rows",
        ),
    ],
    ids=str,
)
def test_the_limit_is_the_step_that_surely_gains(gained: dict[str, Any], said: str) -> None:
    found = learning_curve.limit("auc", gained)
    assert found.observed.endswith(f": {said}") and found.verdict == "PASS" and len(found.causes) == 2


def test_a_step_that_breaks_down_leaves_the_others_known(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger model may need weights that cannot be had, or another rate."""
    steps = {"model": {"hidden": 0}, "compute": {"epochs": 2 * project.config.epochs}}
    monkeypatch.setattr(learning_curve, "further", lambda project: steps)
    result = do(project, "learning-curve")["result"]
    assert list(result["gained"]) == ["data", "compute"]


def test_experiments_on_a_network_that_breaks_down_say_so_in_one_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type(project.task).model

    def huge(self: Any, config: Any, prep: Any) -> Any:
        model = made(self, config, prep)
        model[2].weight.data.fill_(float("inf"))
        return model

    monkeypatch.setattr(type(project.task), "model", huge)
    with pytest.raises(UserError, match="training on 25% of the rows with seed 0 broke down: the gradient norm is"):
        do(project, "learning-curve")
    with pytest.raises(UserError, match="-train broke down and has no score; what it died of: recipe diagnose"):
        do(project, "ablate")
    assert project.records("train")[-1]["findings"][-1]["check"] == "finite training"  # its record stays


def test_columns_are_left_out_alone_or_together(tmp_path: Path) -> None:
    """The signal is in x0, and in the product of x1 and x2, which need each other; x3 is noise."""
    project = toy_project(tmp_path, n=600, epochs=30, batch_size=32, lr=0.01, patience=0, metric="log_loss")
    do(project, "split")
    result = do(project, "ablate", "--columns", "x0,x1+x2,x3")["result"]
    assert [(row["setting"], row["verdict"]) for row in result["removed"]][:2] == [
        ("x0", "reject"),
        ("x1 + x2", "reject"),
    ]
    assert result["removed"][2]["verdict"] != "reject" and result["seeds"] == [0, 1, 2]
    with pytest.raises(UserError, match="'x9' is no feature column; there are: x0, x1, x2, x3"):
        do(project, "ablate", "--columns", "x0+x9")


def test_tuning_searches_three_stages_and_weighs_the_finalists(project: Project) -> None:
    result = do(project, "tune", "--trials", "3", "--seeds", "3")["result"]
    assert list(result["stages"]) == ["learning rate", "batch size", "regularization"]
    for trials in result["stages"].values():
        assert len(trials) == 3 and {t["state"] for t in trials} <= {"COMPLETE", "PRUNED"}
    assert result["stages"]["learning rate"][0]["params"] == {"lr": 0.001}  # the present settings come first
    assert all(len(row["seeds"]) == 3 for row in result["finalists"])
    assert result["best"] in result["finalists"]


def test_tuning_never_opens_the_test_part(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = context.splits
    monkeypatch.setattr(context, "splits", lambda p: seen.append(1) or real(p))
    do(project, "tune", "--trials", "1", "--seeds", "1")
    assert seen and set(splits(project)) == {"train", "val"}
    assert not list(project.root.glob("TEST_ACCESS*"))


def test_sharpness_is_the_rise_uphill_and_leaves_the_model_alone(project: Project) -> None:
    data = splits(project)
    prep = project.task.prepare(project.config, data["train"])
    train_examples, val = (project.task.examples(project.config, prep, data[name]) for name in ("train", "val"))
    context = Context(project.config, project.task, prep, data, train_examples, val)
    model, batch = context.fresh(), context.batch(context.rows(64))
    before = [p.detach().clone() for p in model.parameters()]
    loss = make_loss(project.config, prep)
    small, large = (sharpness(model, loss, [batch], radius) for radius in (0.01, 0.1))
    assert 0 < small < large
    parts = [context.batch(rows) for rows in context.rows(64).split(9)]
    assert sharpness(model, loss, parts, 0.01) == pytest.approx(small, rel=1e-3)
    assert all(bool((a == b).all()) for a, b in zip(before, model.parameters(), strict=True)) and model.training


def test_the_end_of_a_run_takes_no_more_memory_than_its_steps(project: Project) -> None:
    """No pass with gradients sees more examples than a step."""
    seen: list[int] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: seen.append(len(given[0])) if torch.is_grad_enabled() else None
    )
    try:
        assert do(project, "train", batch_size=16)["result"]["sharpness"] > 0
    finally:
        hook.remove()
    assert max(seen) == 16 and len(seen) > 100


def test_cross_validation_is_won_by_an_interval_alone(project: Project) -> None:
    for low, high, verdict in ((0.01, 0.2, "PASS"), (-0.01, 0.2, "WARN"), (-0.2, -0.01, "WARN")):
        difference = {"value": (low + high) / 2, "low": low, "high": high}
        found = cv.against_best(project.config, "network", "logistic", difference, 5)
        assert (found.check, found.verdict) == ("cross-validation", verdict), found.observed


def test_the_interval_of_folds_is_wider_than_that_of_seeds() -> None:
    scores = np.array([0.7, 0.8, 0.75, 0.85, 0.9])
    folds, seeds = experiments.paired_interval(scores, 0.25), experiments.paired_interval(scores)
    assert (
        folds["value"] == pytest.approx(seeds["value"]) and folds["low"] < seeds["low"] < seeds["high"] < folds["high"]
    )
