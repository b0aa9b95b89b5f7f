"""Generated projects at work: their own tests and lint, and the whole recipe on real data by configuration alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import KIT, QUESTIONS, ROOT, TEMPLATE, bake, environment, run, wines

sys.path.insert(0, str(ROOT / "demo"))
import data

BREAST = {"task": "binary", "iid": "one row a patient", "metric": "accuracy"}
SETS: dict[str, dict[str, Any]] = {
    "breast_cancer": BREAST,
    "wine": {"task": "multiclass", "iid": "one row a bottle"},
    "diabetes": {"task": "regression", "iid": "one row a patient"},
    "flight_ranking": {
        "task": "ranking",
        "query": "day_and_hour",
        "target": "relevance",
        "iid": "days are compared as a whole",
    },
}


def ci_lines(project: Path, workflow: str, job: str) -> list[str]:
    """The commands of a job of the project's own CI, as written."""
    steps = yaml.safe_load((project / ".github" / "workflows" / workflow).read_text())["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


def at_work(project: Path, lines: list[str], **variables: str) -> None:
    """Run each line in the project as a runner does: bash that stops at the first error."""
    for line in lines:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", line],
            cwd=project,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout[-3000:]}{done.stderr[-2000:]}"


def test_a_rerun_gives_the_same_bits_here_and_stays_within_its_interval_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere: a processor without vector instructions, whose sums are rounded otherwise."""
    project = wines(tmp_path)
    for words in (["audit"], ["split"], ["train", "epochs=8", "--force", "the run is the matter here"]):
        assert run(project, *words).returncode == 0
    first = next((project / "runs").glob("*-train")).name
    here = run(project, "rerun", "--run", first)
    assert here.returncode == 0 and "the same to the last bit" in here.stdout, here.stdout + here.stderr
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    elsewhere = run(project, "rerun", "--run", first)
    assert elsewhere.returncode == 0 and "to the last bit" not in elsewhere.stdout, elsewhere.stdout + elsewhere.stderr
    assert "not as it was: instructions" in elsewhere.stdout, elsewhere.stdout


@pytest.mark.parametrize("modality", ["tabular", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("image", "text", "sequence"))])
def test_the_steps_of_its_own_ci_pass(tmp_path: Path, modality: str, types_of_libraries: Path) -> None:
    """Lint, types and tests, by the lines of its workflow. The environment of these tests stands in for its .venv, so
    `make setup` finds it made; the test below makes it."""
    project = bake(tmp_path, modality=modality)
    lines = ci_lines(project, "ci.yml", "cpu")
    assert lines == ["make setup", "make lint", ".venv/bin/python -m recipe_kit check --static", "make test"]
    (project / ".venv").mkdir()
    (project / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (project / ".venv" / ".done").touch()
    at_work(project, lines, PYTHONPATH=environment(project)["PYTHONPATH"], MYPY_CACHE_DIR=str(types_of_libraries))


@pytest.fixture(scope="session")
def types_of_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mypy's cache, one for all processes: reading the types of torch takes it a minute."""
    return tmp_path_factory.getbasetemp().parent / "mypy"


def test_the_kit_holds_to_its_own_lint_format_and_types(tmp_path: Path, types_of_libraries: Path) -> None:
    """Types across the wall: the template's package stands where `recipe_kit.owner` finds the owner's."""
    kit = tmp_path / "recipe_kit"
    kit.mkdir()
    for path in (KIT / "recipe_kit").iterdir():
        if path.name != "reference":  # a link to the very package that stands as `owner`
            (kit / path.name).symlink_to(path)
    (kit / "owner").symlink_to(TEMPLATE / "src" / "{{cookiecutter.package}}")
    settings = bake(tmp_path) / "pyproject.toml"
    tools = Path(sys.executable).parent
    for words in (
        [tools / "ruff", "check", "--no-cache", "--config", settings, KIT],
        [tools / "ruff", "format", "--no-cache", "--isolated", "--line-length", "120", "--check", KIT],
        [tools / "mypy", "--config-file", settings, "--cache-dir", types_of_libraries, "-p", "recipe_kit"],
    ):
        done = subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("modality", QUESTIONS["modality"])
def test_its_own_ci_from_nothing(tmp_path: Path, modality: str) -> None:
    """The same lines with a .venv made from the hashed lock, then the smoke tests of its GPU job; without a GPU on the CPU."""
    project = bake(tmp_path, modality=modality)
    at_work(project, [*ci_lines(project, "ci.yml", "cpu"), *ci_lines(project, "gpu.yml", "smoke")], PYTHONPATH="")


def generated(folder: Path, name: str) -> Path:
    """A project on one of the real sets; its recipe.toml holds nothing but what an owner would set."""
    project = bake(folder, task=SETS[name]["task"])
    getattr(data, name)(project / "data" / "train.csv")
    text = (project / "recipe.toml").read_text()
    kept = [line for line in text.removesuffix("\n").split("\n") if line.split(" = ")[0] not in SETS[name]]
    (project / "recipe.toml").write_text(
        "\n".join([*kept, *(f"{k} = {json.dumps(v)}" for k, v in SETS[name].items()), ""])
    )
    return project


def records(project: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((project / "runs").glob(f"*-{step}/record.json"))]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("breast_cancer", "diabetes"))) for name in SETS]
)
def test_whole_recipe_on_real_data(tmp_path: Path, name: str) -> None:
    project = generated(tmp_path, name)
    done = run(project, "all")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    steps = [json.loads(line)["step"] for line in (project / "EXPERIMENTS.jsonl").read_text().removesuffix("\n").split("\n")]
    assert steps == ["audit", "split", "baseline", "check", "lr_find", "train", "diagnose", "open_test", "evaluate", "report"]
    assert "Traceback" not in done.stderr
    keys = {tuple(json.loads(p.read_text())) for p in (project / "runs").glob("*/record.json")}
    assert len(keys) == 1, "every step writes the same schema"
    assert (project / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_same_seed_same_curve_and_gates(tmp_path: Path) -> None:
    """The gates in order, one sentence each; two runs with one seed are equal; the test opens once."""
    project = generated(tmp_path, "breast_cancer")
    for step, words in (
        ("split", "recipe audit"),
        ("baseline", "recipe audit"),
        ("check", "recipe audit"),
        ("train", "recipe audit"),
        ("evaluate", "recipe train"),
    ):
        done = run(project, step)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, (step, done.stderr)
    assert run(project, "audit").returncode == 0
    assert "recipe split" in run(project, "train").stderr
    assert run(project, "split").returncode == 0
    assert "recipe baseline" in run(project, "train").stderr
    assert run(project, "baseline").returncode == 0
    assert "recipe check" in run(project, "train").stderr
    assert run(project, "check").returncode == 0
    assert "model changed" in run(project, "train", "hidden=64").stderr
    for _ in range(2):
        done = run(project, "train", "epochs=5")
        assert done.returncode == 0, done.stderr
    first, second = records(project, "train")
    curves = [json.loads((project / "runs" / r["id"] / "curves.json").read_text()) for r in (first, second)]
    for a, b in zip(*curves, strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k} == {k: v for k, v in b.items() if "seconds" not in k}
    weights = [
        next((project / "runs" / r["id"] / "checkpoints").glob("best-*")) / "weights.safetensors"
        for r in (first, second)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert run(project, "evaluate").returncode == 0
    again = run(project, "evaluate")
    assert again.returncode == 2 and "opened on" in again.stderr
    (project / "TEST_ACCESS.json").unlink()
    assert "ledger says" in run(project, "evaluate").stderr
    ledger = project / "EXPERIMENTS.jsonl"
    ledger.write_text(ledger.read_text().replace('"accuracy"', '"auc"', 1))
    assert "does not follow" in run(project, "evaluate").stderr


BAD_SETTINGS = [
    (["lr=fast"], "a number"), (["lr=-1"], "above 0"), (["learning_rate=1"], "did you mean"), (["lr"], "not setting=value"), (["layers=9"], "at most 5"), (["loss=mse"], "does not fit task"),
    (["batch_size=0"], "at least 1"), (["epochs=1.5"], "whole number"), (["schedule=cosin"], "one of cosine"), (["target=diagnose"], "does not have"), (["data=data/none.csv"], "not a file"),
    (["time=mean_radius", "split=random"], "contradicts"), (["folds=1"], "nothing to train on"), (["modality=sound"], "not in this project"), (["drop=[\"target\"]"], "holds the target"), (["device=tpu"], "of the form"),
]  # fmt: skip


def test_bad_settings_get_one_sentence(tmp_path: Path) -> None:
    project = generated(tmp_path, "breast_cancer")
    for words, expected in BAD_SETTINGS:
        done = run(project, "split", *words)
        assert done.returncode == 2, (words, done.stdout, done.stderr)
        assert expected in done.stderr and done.stderr.strip().count("\n") == 0 and "Traceback" not in done.stderr, (
            words,
            done.stderr,
        )
    assert not list((project / "runs").glob("*/record.json")) and not (project / "EXPERIMENTS.jsonl").exists()
