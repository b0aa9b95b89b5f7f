"""The same `recipe train` under torchrun (gloo, on a CPU): equal curves and weights, one writer, a killed or stopped process.

Equal means within TOLERANCE: several processes add the same float32 numbers in another order. With dropout 0; a process
draws masks of its own.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import bake, environment
from faults import files
from safetensors.torch import load_file

HERE = Path(__file__).parent
TOLERANCE = {"tabular": 1e-5, "text": 1e-4, "image": 1e-4}  # of weights, outputs and losses; measured below a tenth
TIMES = ("seconds", "loader_seconds")
SETTINGS = {
    "task": "binary", "iid": "drawn one by one", "tracker": "none", "device": "cpu", "bootstrap": 100, "patience": 0,
    "epochs": 3, "batch_size": 16, "accumulate": 2,
}  # fmt: skip
TRAIN = ("train", "--force", "a test")


def write_table(project: Path) -> dict[str, Any]:
    """300 rows, of which 210 are for training: in batches of 16 the last has two, fewer than three processes."""
    import polars as pl

    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4)).round(3)
    y = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * random.normal(size=300) > 0
    columns = {f"x{i}": x[:, i] for i in range(4)} | {"target": y.astype(int), "color": random.choice(list("ab"), 300)}
    (project / "data").mkdir(exist_ok=True)
    pl.DataFrame(columns).write_csv(project / "data" / "train.csv")
    return {"norm": "layer"}


def write_texts(project: Path) -> dict[str, Any]:
    """Short texts and a tiny random BERT, without the dropout of its own that an encoder comes with."""
    from kit.test_text import tiny_encoder
    from kit.test_text import write_texts as write

    write(project, n=120)
    tiny_encoder(project / "encoder")
    settings = project / "encoder" / "config.json"
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **dropout}))
    return {"target": "label", "encoder": str(project / "encoder"), "max_length": 32, "lr": 1e-3, "epochs": 2}


def write_images(project: Path) -> dict[str, Any]:
    """Small pictures, cropped and mixed with others at random, for a narrow ResNet with GroupNorm.

    64 pixels and SGD: in smaller pictures its GroupNorm is left with two numbers a group, whose gradient is rounding
    alone, and AdamW would make whole steps of it.
    """
    from kit.test_image import write_images as write

    write(project, n=60)
    change = {"augment": ["crop", "mixup"], "label_preserving": "a bar stays a bar", "norm": "group"}
    return {"data": "data/images", "weights": "none", "size": 64, "epochs": 2, "optimizer": "sgd", "lr": 0.01, **change}


DATA: dict[str, Callable[[Path], dict[str, Any]]] = {"tabular": write_table, "text": write_texts, "image": write_images}


def job_environment(project: Path) -> dict[str, str]:
    """Variables of a process of a job: rank.py is on its path, no hub is asked."""
    shared = environment(project)
    path = f"{shared['PYTHONPATH']}{os.pathsep}{HERE}"
    return {**shared, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def torchrun(size: int) -> list[str]:
    """The launcher's command; nothing for one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={size}", f"--master-port={port}"]
    return [sys.executable, *(launcher if size > 1 else [])]


def recipe(
    project: Path, size: int, *words: str, trap: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """`recipe ...` in `size` processes; with a trap through rank.py."""
    command = (
        ["-m", "recipe_kit", *words] if trap is None else [str(HERE / "rank.py"), json.dumps(trap), *words]
    )
    return finished([*torchrun(size), *command], project)


def finished(command: list[str], project: Path) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder, when it has ended."""
    return subprocess.run(
        command,
        cwd=project,
        env=job_environment(project),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Modality -> a project that is split, and a copy of it with a training run by one process. Made once each."""
    made: dict[str, tuple[Path, Path]] = {}

    def make(modality: str) -> tuple[Path, Path]:
        if modality not in made:
            folder = tmp_path_factory.mktemp(modality)
            project = bake(folder, modality=modality)
            settings = {"modality": modality, **SETTINGS, **DATA[modality](project)}
            (project / "recipe.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
            done = recipe(project, 1, "split", "--force", "a test")
            assert done.returncode == 0, done.stderr
            trained = Path(shutil.copytree(project, folder / "one"))
            done = recipe(trained, 1, *TRAIN, trap={"narrow": modality == "image"})
            assert done.returncode == 0, done.stderr
            made[modality] = project, trained
        return made[modality]

    return make


def of_training(project: Path) -> Path:
    (folder,) = (project / "runs").glob("*-train")
    return folder


def assert_equal(project: Path, other: Path, tolerance: float) -> float:
    """Weights, optimizer, curves, losses and outputs of the one training run of each; returns the largest difference."""
    run, again = of_training(project), of_training(other)
    apart = {}
    for kind in ("best", "last"):
        a, b = (max((r / "checkpoints").glob(f"{kind}-*")) for r in (run, again))
        assert a.name == b.name
        apart[f"{kind} weights"] = distance(*(load_file(p / "weights.safetensors") for p in (a, b)))
    states = [torch.load(p / "state.pt", weights_only=True) for p in (a, b)]
    apart["optimizer"] = distance(*(state["optimizer"] for state in states))
    for name in ("outputs.npy", "losses.npy"):
        apart[name] = distance(*(torch.from_numpy(np.load(r / name, allow_pickle=False)) for r in (run, again)))
    curves = [json.loads((r / "curves.json").read_text()) for r in (run, again)]
    apart["curves"] = distance(*([{k: v for k, v in row.items() if k not in TIMES} for row in rows] for rows in curves))
    assert all(value <= tolerance for value in apart.values()), apart
    return max(apart.values())


def distance(a: Any, b: Any) -> float:
    """Largest absolute difference of two nested values; infinite where they do not correspond."""
    if isinstance(a, torch.Tensor):
        return float((a.double() - b.double()).abs().max()) if a.shape == b.shape else math.inf
    if isinstance(a, dict):
        return max((distance(a[k], b[k]) for k in a), default=0.0) if a.keys() == b.keys() else math.inf
    if isinstance(a, list | tuple):
        return max((distance(*pair) for pair in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, int | float):
        return abs(a - b)
    return 0.0 if a == b else math.inf


@pytest.mark.parametrize(
    "modality, size, parallel",
    [
        ("tabular", 2, "fsdp"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("tabular", 3, "ddp"), ("text", 3, "ddp"), ("text", 2, "fsdp"), ("image", 2, "ddp"), ("image", 2, "fsdp"))),
    ],
)
def test_several_processes_train_as_one(
    one: Callable[[str], tuple[Path, Path]], tmp_path: Path, modality: str, size: int, parallel: str
) -> None:
    """And with a folder for each, as on machines without a shared disk, only the first process's has changed."""
    project, alone = one(modality)
    for rank in range(size):
        shutil.copytree(project, tmp_path / f"copy{rank}")
    trap = {"apart": True, "narrow": modality == "image"}
    flags = ["--fsdp"] if parallel == "fsdp" else []
    done = recipe(project, size, *TRAIN, *flags, "--project", str(tmp_path / "copy"), trap=trap)
    assert done.returncode == 0, done.stderr
    assert "gloo outlives" not in done.stderr
    print(modality, size, parallel, assert_equal(alone, tmp_path / "copy0", TOLERANCE[modality]))
    record = json.loads((of_training(tmp_path / "copy0") / "record.json").read_text())
    assert (record["result"]["processes"], record["result"]["parallel"]) == (size, parallel)
    for rank in range(1, size):
        assert files(tmp_path / f"copy{rank}") == files(project)
    assert done.stdout.count("epoch   0") == done.stdout.count("train: ") - 1 == 1, done.stdout  # said once


@pytest.mark.slow
@pytest.mark.parametrize("rank, size, again", [(1, 2, 3), (0, 3, 1)])
def test_a_killed_process_ends_the_job_and_another_number_goes_on(
    one: Callable[[str], tuple[Path, Path]], tmp_path: Path, rank: int, size: int, again: int
) -> None:
    project, alone = one("tabular")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    began = time.monotonic()
    done = recipe(copy, size, *TRAIN, trap={"rank": rank, "step": 9, "does": "SIGKILL", "often": True})
    assert done.returncode != 0 and time.monotonic() - began < 120
    assert "Traceback" not in done.stdout and not list((copy / "runs").glob("*/record.json"))[1:]
    assert max(path.name for path in (of_training(copy) / "checkpoints").glob("last-*")) == "last-000000008"
    done = recipe(copy, again, *TRAIN, "--resume")
    assert done.returncode == 0 and "at epoch 1, step 8" in done.stdout, done.stderr
    assert_equal(alone, copy, TOLERANCE["tabular"])


def test_a_signal_to_one_process_saves_once_and_ends_all(
    one: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Its step is finished first; sharded, and gone on with by three that are not."""
    project, alone = one("tabular")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    done = recipe(copy, 2, *TRAIN, "--fsdp", trap={"rank": 1, "step": 9, "does": "SIGTERM"})
    assert done.returncode != 0 and "exitcode  : 143 (" in done.stderr, done.stderr
    assert done.stderr.count("stopped by signal 15; everything is saved") == 1
    names = sorted(path.name for path in (of_training(copy) / "checkpoints").glob("last-*"))
    assert names == ["last-000000007", "last-000000009"]  # the end of the first epoch, and now
    done = recipe(copy, 3, *TRAIN, "--resume")
    assert done.returncode == 0, done.stderr
    assert_equal(alone, copy, TOLERANCE["tabular"])


@pytest.mark.slow
def test_pictures_sharded_and_gone_on_with_by_one(
    one: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Saved in two halves, and put together again."""
    project, alone = one("image")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    done = recipe(copy, 2, *TRAIN, "--fsdp", trap={"rank": 1, "step": 2, "does": "SIGTERM", "narrow": True})
    assert done.returncode != 0 and "stopped by signal 15; everything is saved" in done.stderr, done.stderr
    done = recipe(copy, 1, *TRAIN, "--resume", trap={"narrow": True})
    assert done.returncode == 0, done.stderr
    assert_equal(alone, copy, TOLERANCE["image"])


def test_a_signal_to_the_launcher(one: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    """torchrun passes it on; processes that a scheduler has signalled too get it twice, and still save."""
    copy = Path(shutil.copytree(one("tabular")[0], tmp_path / "copy"))
    command = [*torchrun(2), "-m", "recipe_kit", *TRAIN, "epochs=100000"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(command, cwd=copy, env=job_environment(copy), start_new_session=True, **pipes)
    end = time.monotonic() + 120
    while not list(copy.glob("runs/*-train/checkpoints/last-*")):
        assert time.monotonic() < end and job.poll() is None, job.communicate()
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGTERM)
    out, err = job.communicate(timeout=120)
    assert job.returncode != 0 and err.count("stopped by signal 15; everything is saved") == 1, err
    assert "Traceback" not in out and not list(copy.glob("runs/*-train/record.json"))
    assert not list(copy.glob("runs/*-train/checkpoints/.*"))


def test_a_loss_that_is_no_number_in_one_process_stops_all(
    one: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Before the step; with the rows of the whole batch."""
    copy = Path(shutil.copytree(one("tabular")[0], tmp_path / "copy"))
    trap = {"rank": 1, "step": 9, "does": "nan"}
    done = recipe(copy, 2, *TRAIN, trap=trap)
    folder = of_training(copy)
    record = json.loads((folder / "record.json").read_text())
    red = [finding for finding in record["findings"] if finding["verdict"] == "FAIL"]
    assert [finding["check"] for finding in red] == ["finite training"] and record["status"] == "fail", done.stderr
    broken = json.loads((folder / "broken_batch.json").read_text())
    assert broken["step"] == 8 and len(set(broken["rows"])) == len(broken["rows"]) == 32
    assert "the batch itself" in broken["what"]


def test_what_is_refused_is_said_once(one: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(one("tabular")[0], tmp_path / "copy"))
    before = files(copy)
    for words, sentence in (
        ((*TRAIN, "norm=batch"), "looks across the whole batch"),
        (("audit",), "audit runs in one process, and 2 were started"),
    ):
        done = recipe(copy, 2, *words)
        assert done.returncode != 0 and done.stderr.count(sentence) == 1, done.stderr
        assert f"recipe {words[0]}: " in done.stderr and files(copy) == before


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_slurm_script_trains_on_two_machines(one: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    """Run for real, with stand-ins for what a cluster supplies: srun starts it twice here, a process each."""
    project, alone = one("tabular")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    commands = tmp_path / "bin"
    commands.mkdir()
    stand_in(commands, "scontrol", 'test "$*" = "show hostnames here,there" && printf "127.0.0.1\\n127.0.0.2\\n"')
    node = '[ "$1" = --kill-on-bad-exit=1 ] && shift; for i in 0 1; do SLURM_PROCID=$i "$@" & jobs+=($!); done'
    stand_in(commands, "srun", f'{node}; for job in "${{jobs[@]}}"; do wait "$job" || exit 1; done')
    stand_in(commands, "torchrun", f'exec {sys.executable} -m torch.distributed.run "$@"')
    slurm = {"JOB_NODELIST": "here,there", "JOB_ID": str(os.getpid()), "NNODES": "2", "GPUS_ON_NODE": "1"}
    told = {f"SLURM_{name}": value for name, value in slurm.items()}
    done = subprocess.run(
        ["bash", "launch/train.sbatch", "--force", "a test"],
        cwd=copy,
        env={**job_environment(copy), **told, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_equal(alone, copy, TOLERANCE["tabular"])
    record = json.loads((of_training(copy) / "record.json").read_text())
    assert (record["result"]["processes"], record["force"]) == (2, "a test")


def test_the_launch_files_are_read_by_their_readers(project: Path) -> None:
    """bash, YAML, and torchrun's own parser for the command in each."""
    import shlex

    import yaml
    from torch.distributed.run import get_args_parser

    script = (project / "launch" / "train.sbatch").read_text()
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    cloud = yaml.safe_load((project / "launch" / "sky.yaml").read_text())
    assert cloud.keys() == {"name", "num_nodes", "resources", "workdir", "file_mounts", "setup", "run"}
    inner = script[script.index("exec torchrun") + 5 : script.index('\' train "$@"')]
    for command in (inner, cloud["run"]):
        command = command.replace("\\\n", " ").replace('$(echo "$SKYPILOT_NODE_IPS" | head -n 1)', "here")
        words = shlex.split(
            command.replace("${SLURM_GPUS_ON_NODE:-1}", "4").replace("$SKYPILOT_NUM_GPUS_PER_NODE", "4")
        )
        numbers = ["--nnodes=2" if "--nnodes" in w else "--node-rank=1" if "--node-rank" in w else w for w in words[1:]]
        parsed = get_args_parser().parse_args([w.replace("$MASTER_PORT", "29500") for w in numbers])
        assert (parsed.module, parsed.training_script, parsed.training_script_args[0]) == (True, "recipe_kit", "train")
        assert parsed.training_script_args[1:3] == ["--resume", "auto"]


def test_accelerate_launch(one: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    project, alone = one("tabular")
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    port = torchrun(2)[-1].partition("=")[2]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", port]
    settings = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    ended = finished([sys.executable, *launch, *settings, "-m", "recipe_kit", *TRAIN], copy)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((of_training(copy) / "record.json").read_text())["result"]["processes"] == 2, ended.stderr
    assert_equal(alone, copy, TOLERANCE["tabular"])
