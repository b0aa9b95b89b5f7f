"""A real `recipe train` process that is interrupted, has no disk, no rights, no reader or no peace: exit status, files, words."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import bake, environment, run
from faults import files, table

SETTINGS = {
    "modality": "tabular", "task": "binary", "drop": ["when", "who"], "iid": "drawn one by one", "tracker": "none", "device": "cpu",
    "batch_size": 16, "bootstrap": 100, "patience": 0, "epochs": 3,
}  # fmt: skip
TRAIN = ("train", "--force", "a test")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated project whose only training run was stopped by SIGTERM after its first checkpoint."""
    project = bake(tmp_path_factory.mktemp("stop"))
    (project / "data" / "train.csv").write_bytes(table())
    (project / "recipe.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in SETTINGS.items()))
    assert run(project, "split", "--force", "a test").returncode == 0
    long = begin(project, "epochs=100000")
    wait_for(project / "runs", "*-train/checkpoints/last-*")
    long.send_signal(signal.SIGTERM)
    _, err = long.communicate(timeout=120)
    assert long.returncode == 143, err
    assert err.strip() == (
        "recipe train: stopped by signal 15; everything is saved; go on with: recipe train --resume epochs=100000 --force 'a test'"
    )
    return project


def begin(project: Path, *words: str, **how: Any) -> subprocess.Popen[str]:
    """`recipe train` as a process of its own that goes on by itself."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.Popen(
        [sys.executable, "-m", "recipe_kit", *TRAIN, *words], cwd=project, env=environment(project), text=True, **pipes
    )


def wait_for(folder: Path, pattern: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, f"{pattern} never came"
        time.sleep(0.02)


def copied(project: Path, where: Path) -> tuple[Path, Path]:
    """A copy of the project, and the folder of its stopped run."""
    shutil.copytree(project, where / "copy")
    return where / "copy", next((where / "copy" / "runs").glob("*-train"))


def test_a_stopped_run_goes_on_with_the_command_it_printed(stopped: Path, tmp_path: Path) -> None:
    project, folder = copied(stopped, tmp_path)
    again = begin(project, "epochs=100000", "--resume")
    newest = max(path.name for path in (folder / "checkpoints").glob("last-*"))
    end = time.monotonic() + 120
    while max(path.name for path in (folder / "checkpoints").glob("last-*")) == newest:
        assert time.monotonic() < end and again.poll() is None
        time.sleep(0.02)
    again.send_signal(signal.SIGINT)
    assert again.communicate(timeout=60) and again.returncode == 130
    assert len(list((project / "runs").glob("*-train"))) == 1


def test_two_processes_on_one_run(stopped: Path, tmp_path: Path) -> None:
    """The second is refused while the first lives, and changes nothing."""
    project, folder = copied(stopped, tmp_path)
    first = begin(project, "epochs=100000", "--resume")
    try:
        assert first.stdout is not None
        while "resumed" not in (line := first.stdout.readline()):
            assert line, first.communicate()[1]
        second = run(project, *TRAIN, "epochs=100000", "--resume", timeout=120)
        assert second.returncode == 2 and "is being written by another process" in second.stderr
        assert second.stderr.count("\n") == 1 and first.poll() is None and (folder / "checkpoints").exists()
    finally:
        first.kill()
        first.communicate()
    assert run(project, *TRAIN, "epochs=1", "--resume", "auto").returncode == 0  # the lock died with its holder


def test_the_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """The first is only noted, however long the step takes; the second ends the process without saving."""
    project = bake(tmp_path)
    script = (
        "import os, signal, sys, time\nfrom my_model.engine.stop import on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup, which ignores it
        "with on_signals() as seen:\n os.kill(os.getpid(), getattr(signal, sys.argv[1]))\n"
        " print(seen.received, flush=True)\n os.kill(os.getpid(), getattr(signal, sys.argv[1]))\n print('never')"
    )
    for name, status in (("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)):
        done = subprocess.run(
            [sys.executable, "-c", script, name],
            capture_output=True,
            text=True,
            cwd=project / "src",
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (status, f"{status - 128}\n"), done.stderr


@pytest.mark.parametrize("reader", ["closed", "full"])
def test_training_goes_on_when_nobody_reads(stopped: Path, tmp_path: Path, reader: str) -> None:
    """`recipe train | head -1`, and a full disk behind stdout."""
    project, _ = copied(stopped, tmp_path)
    if reader == "full":
        with open("/dev/full", "w") as full:
            process = begin(project, stdout=full)
            err = process.communicate(timeout=120)[1]
    else:
        process = begin(project)
        assert process.stdout is not None and process.stdout.readline() == "\n"
        process.stdout.close()
        process.stdout = None
        err = process.communicate(timeout=120)[1]
    assert (process.returncode, err) == (0, "")
    assert len(list((project / "runs").glob("*-train/record.json"))) == 1


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at `folder`; skips where mounting is not allowed."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is not allowed here; the test with a file size limit covers the same code")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def on_small_disk(folder: Path, act: Callable[[], Any]) -> Any:
    """Move the folder's content to a tmpfs that has 20 kB left, and act."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in aside.rglob("*") if path.is_file())
    with mounted(folder, f"size={size + 20_000 + 4096}"):
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        return act()


def test_a_full_disk_leaves_the_old_checkpoints_whole(stopped: Path, tmp_path: Path) -> None:
    project, folder = copied(stopped, tmp_path)

    def act() -> None:
        before = files(folder / "checkpoints")
        done = run(project, *TRAIN, "epochs=100000", "--resume")
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "cannot be written" in done.stderr and "earlier checkpoints are intact" in done.stderr
        assert "No space left" in done.stderr or "0 MB are free" in done.stderr, done.stderr
        assert files(folder / "checkpoints") == before and before
        subprocess.run(["mount", "-o", "remount,size=50M", str(folder)], check=True)  # room again: it goes on
        again = begin(project, "epochs=100000", "--resume")
        wait_for_more(folder, before)
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
        assert again.returncode == 143

    on_small_disk(folder, act)


def wait_for_more(folder: Path, before: dict[str, str]) -> None:
    end = time.monotonic() + 120
    while not set(files(folder / "checkpoints")) - set(before):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_file_that_may_not_grow_leaves_the_old_checkpoints_whole(stopped: Path, tmp_path: Path) -> None:
    """The same without the right to mount: the kernel refuses every byte after the first 10,000 of a file."""
    project, folder = copied(stopped, tmp_path)
    before = files(folder / "checkpoints")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    process = begin(project, "epochs=100000", "--resume", preexec_fn=limit)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and err.count("\n") == 1 and "cannot be written" in err, err
    assert files(folder / "checkpoints") == before and before


def test_a_read_only_folder_is_one_sentence(stopped: Path, tmp_path: Path) -> None:
    project, folder = copied(stopped, tmp_path)
    (project / "other").mkdir()
    shutil.copytree(folder, project / "other" / "run")
    with mounted(folder, "size=50M"):
        shutil.copytree(project / "other" / "run", folder, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        before = files(folder)
        done = run(project, *TRAIN, "epochs=100000", "--resume")
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "Read-only file system" in done.stderr and files(folder) == before


def test_runs_that_cannot_be_made_are_one_sentence(stopped: Path, tmp_path: Path) -> None:
    """`runs` is a file; then a read-only disk under the whole of it."""
    project, _ = copied(stopped, tmp_path)
    shutil.rmtree(project / "runs")
    (project / "runs").write_text("")
    done = run(project, "split")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "cannot be written" in done.stderr, done.stderr
    (project / "runs").unlink()
    (project / "runs").mkdir()
    with mounted(project / "runs", "size=1M,ro"):
        done = run(project, "split")
        assert done.returncode == 2 and "Read-only file system" in done.stderr and done.stderr.count("\n") == 1


def test_many_processes_begin_runs_at_once(stopped: Path, tmp_path: Path) -> None:
    """Each gets a folder and a ledger line of its own."""
    project, _ = copied(stopped, tmp_path)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom recipe_kit.cli import open_project, parse\n"
        "args = parse(['split', '--project', sys.argv[1], '--quiet'])\nproject = open_project(args)\n"
        "project.fingerprint\nwhile time.time() < float(sys.argv[2]): pass\n"
        "for _ in range(5):\n run = project.begin('audit'); run.finish(); print(run.id)"
    )
    start = str(time.time() + 8)
    command = [sys.executable, "-c", script, str(project), start]
    all_of = [
        subprocess.Popen(command, env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=120) for process in all_of]
    ids = [line for out, _ in told for line in out.split()]
    assert len(ids) == len(set(ids)) == 15, told
    rows = [json.loads(line) for line in (project / "EXPERIMENTS.jsonl").read_text().removesuffix("\n").split("\n")]
    assert sorted(row["id"] for row in rows if row["step"] == "audit") == sorted(ids)
    assert run(project, "runs").returncode == 0
