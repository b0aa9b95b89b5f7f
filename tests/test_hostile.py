"""Hostile files, paths, archives and secrets: nothing executes, nothing is written outside, no secret reaches the disk.

Every hostile file would create a canary when it is executed; the canary must not be there afterwards.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import faults
import numpy as np
import polars as pl
import pytest
from conftest import KIT, ROOT, TEMPLATE, bake, environment, module
from fault_cases import EVALUATE, LOG, RESUME, SPLIT, TRAIN, edited, encoder, resigned
from faults import Case, ask, both, replaced, setting, write
from test_bake import cookiecutter_process
from test_faults import Workplace, place

sys.path.insert(0, str(ROOT / "bench"))
import fuzz

__all__ = ["place"]  # the fixture
CANARY = Path(os.environ.get("TMPDIR", "/tmp")) / f"canary-{os.getpid()}"


class Bomb:
    """A pickle that creates the canary when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(CANARY), "w"))


BOMB = pickle.dumps(Bomb(), protocol=2)


def torch_bomb() -> bytes:
    """A file as torch.save writes it, with the bomb inside."""
    import torch

    content = io.BytesIO()
    torch.save({"optimizer": Bomb(), "rng": {}, "monitor": {}}, content)
    return content.getvalue()


def numpy_bomb(archive: bool = False) -> bytes:
    """An .npy or .npz file of objects."""
    content, array = io.BytesIO(), np.array([Bomb()], dtype=object)
    np.savez(content, idf=array, weights=array, bias=array) if archive else np.save(content, array, allow_pickle=True)
    return content.getvalue()


def archive(name: str = "../../../escaped.txt") -> bytes:
    """A zip whose member leads out of the folder it is unpacked in."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(name, "out")
    return content.getvalue()


CODE = f"open({str(CANARY)!r}, 'w')\nclass Evil: pass\n"
REMOTE = {
    "auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "evil.Evil"),
    "trust_remote_code": True,
}


def remote_code(folder: Path) -> None:
    """Code beside the encoder that its config asks to run."""
    (folder / "evil.py").write_text(CODE)
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) | REMOTE
        (folder / name).write_text(json.dumps(content | ({"model_type": "evil"} if name == "config.json" else {})))


def remote_tokenizer(folder: Path) -> None:
    """The same, for the tokenizer alone: the config is sound."""
    (folder / "evil.py").write_text(CODE)
    content = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, **REMOTE, "tokenizer_class": "Evil"}))


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_bomb())


# Hostile files that must be refused, with a part of the sentence.
REFUSED = [
    Case("a pickle for the optimizer's state, hash made to fit", "no valid last checkpoint", RESUME, resigned("state.pt", BOMB)),
    Case("a torch file with code for it, hash made to fit", "no valid last checkpoint", RESUME, resigned("state.pt", torch_bomb())),
    Case("a pickle for the weights, hash made to fit", "no valid last checkpoint", RESUME, resigned("weights.safetensors", BOMB)),
    Case("a pickle for the progress, hash made to fit", "no valid last checkpoint", RESUME, resigned("progress.json", BOMB)),
    Case("a pickle for a checkpoint's manifest", "no valid last checkpoint", RESUME, replaced("runs/0009-train/checkpoints/*/manifest.json", BOMB)),
    Case("a pickle for what a run was started with", "cannot be read", RESUME, replaced("runs/0009-train/started.json", BOMB)),
    Case("a pickle for the best weights", "has other weights", EVALUATE, replaced("runs/0002-train/checkpoints/best-*/weights.safetensors", BOMB)),
    Case("a pickle for a preprocessing", "cannot be read", EVALUATE, replaced("runs/0002-train/prep.json", BOMB)),
    Case("a pickle for a record", "cannot be read", EVALUATE, replaced("runs/0002-train/record.json", BOMB)),
    Case("a pickle for the test lock", "cannot be read", EVALUATE, write("TEST_ACCESS.json", BOMB)),
    Case("a pickle for the ledger", "cannot be read", LOG, replaced("EXPERIMENTS.jsonl", BOMB)),
    Case("a pickle for the split", "cannot be read", TRAIN, write("split.json", BOMB)),
    Case("a pickle for the recipe", "cannot be read as TOML", SPLIT, write("recipe.toml", BOMB)),
    Case("a pickle for a table", "UTF-8", SPLIT, write("data/train.csv", BOMB)),
    Case("a pickle for a Parquet file", "cannot be read", SPLIT, both(write("data/t.parquet", BOMB), setting('data = "data/t.parquet"'))),
    Case("a pickle for JSON lines", "UTF-8|cannot be read", SPLIT, both(write("data/t.jsonl", BOMB), setting('data = "data/t.jsonl"'))),
    Case("a pickle for a review", "--review", ["audit", "--review", "r.csv"], write("r.csv", BOMB)),
    Case("YAML with a constructor for the recipe", "cannot be read as TOML", SPLIT, write("recipe.toml", f"!!python/object/apply:os.system ['touch {CANARY}']\n")),
    Case("code for a setting", "is refused", ["split", f"lr=__import__('os').system('touch {CANARY}')"]),
    Case("shell for a setting", "is refused", ["split", f"lr=$(touch {CANARY})"]),
    Case("a format string for a setting", "is refused", ["split", "lr={0.__class__}"]),
    Case("a module for the kind of data", "not in this project", ["split", "modality=os"]),
    Case("a path for the kind of data", "not in this project", ["split", "modality=../../evil"]),
    Case("a zip that leads out, for a table", "a spreadsheet or an archive", SPLIT, both(write("data/t.csv", archive()), setting('data = "data/t.csv"'))),
    Case("a zip that leads out, for the weights, hash made to fit", "no valid last checkpoint", RESUME, resigned("weights.safetensors", archive())),
    Case("a zip that leads out, for the state, hash made to fit", "no valid last checkpoint", RESUME, resigned("state.pt", archive())),
    Case("an encoder that brings code", "cannot be read|not a BERT-family", TRAIN, encoder(remote_code), "text"),
    Case("an encoder with pickled weights", "pickled weights can run code", TRAIN, encoder(pickled_weights), "text"),
    Case("a pickle for an encoder's weights", "cannot be read", TRAIN, encoder(lambda e: (e / "model.safetensors").write_bytes(BOMB)), "text"),
    Case("a pickle for a tokenizer", "cannot be read", TRAIN, encoder(lambda e: (e / "tokenizer.json").write_bytes(BOMB)), "text"),
    Case("a pickle for a picture's weights", "cannot be read|plain tensors", TRAIN, both(write("w.pt", torch_bomb()), setting('weights = "w.pt"')), "image"),
    Case("a pickle for a picture", "none of the", SPLIT, replaced("data/images/*/*.png", BOMB), "image"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=[case.given for case in REFUSED])
def test_a_hostile_file_is_refused_and_not_executed(place: Workplace, case: Case) -> None:
    CANARY.unlink(missing_ok=True)
    above = sorted(path.name for path in place[1].iterdir() if not path.name.startswith("copy-"))
    answer, problem = faults.try_case(case, *place)
    assert problem == "", (problem, answer.lines)
    assert not CANARY.exists(), "it was executed"
    assert sorted(path.name for path in place[1].iterdir() if not path.name.startswith("copy-")) == above


def test_the_bombs_are_live(tmp_path: Path) -> None:
    """A canary that can never appear would prove nothing."""
    import torch

    loads = (
        lambda: pickle.loads(BOMB),
        lambda: torch.load(io.BytesIO(torch_bomb()), weights_only=False),
        lambda: np.load(io.BytesIO(numpy_bomb()), allow_pickle=True),
        lambda: np.load(io.BytesIO(numpy_bomb(archive=True)), allow_pickle=True)["idf"],
        lambda: exec(CODE),
    )
    for load in loads:
        CANARY.unlink(missing_ok=True)
        load()
        assert CANARY.exists()
    CANARY.unlink()


def test_code_beside_a_tokenizer_is_not_run(place: Workplace) -> None:
    """The tokenizer itself is whole: it may be used, its code not."""
    CANARY.unlink(missing_ok=True)
    faults.try_case(Case("code", "", TRAIN, encoder(remote_tokenizer), "text"), *place)
    assert not CANARY.exists()


def test_arrays_and_saved_models_of_a_run_are_no_pickles(place: Workplace) -> None:
    """What report and evaluate read back: arrays of objects, and a model that is a bomb."""
    CANARY.unlink(missing_ok=True)
    for name in ("losses.npy", "outputs.npy", "y.npy"):
        answer = faults.try_case(Case(name, "", ["report"], replaced(f"runs/0002-train/{name}", numpy_bomb())), *place)[
            0
        ]
        assert "Traceback" not in answer.output and not CANARY.exists(), (name, answer.output)
    tabular, text = (module(f"{kind}.recipe").TASK for kind in ("tabular", "text"))
    folder = place[1] / "models"
    folder.mkdir(exist_ok=True)
    for task, names in (
        (tabular, ("lightgbm.txt", "lightgbm.json")),
        (tabular, ("svc.npz",)),
        (text, ("linear.npz", "words.json")),
    ):
        error = module("errors").UserError
        for content in (BOMB, numpy_bomb(archive=True), b"", b"[]"):
            for name in names:
                (folder / name).write_bytes(content)
            with pytest.raises(error) as said:
                task.load_baseline(task.settings(), {}, folder)
            assert "\n" not in str(said.value) and not CANARY.exists()


def test_nothing_is_written_through_a_link_that_leads_out(place: Workplace) -> None:
    """Ledger, split, lock and report that are links to a file elsewhere: that file keeps its bytes."""
    bases, where = place
    outside = where / "outside"
    outside.mkdir(exist_ok=True)
    root = where / "linked"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(bases["tabular"], root)
    kept = {}
    for name in ("EXPERIMENTS.jsonl", "split.json", "report.html", "TEST_ACCESS.json"):
        if (root / name).exists():
            shutil.move(root / name, outside / name)
        elif name == "report.html":
            (outside / name).write_text("mine")
        else:
            continue
        (root / name).symlink_to(outside / name)
        kept[name] = (outside / name).read_bytes()
    for argv in (SPLIT, ["train", "--force", "x", "epochs=2"], ["evaluate", "--force", "x"], ["report"]):
        assert ask(root, argv).status in (0, 1), argv
    assert {name: (outside / name).read_bytes() for name in kept} == kept and len(kept) >= 3


# --- the ledger and the test lock -----------------------------------------------------------------------------------------


def opened(place: Workplace) -> Path:
    """A project whose test part was opened once."""
    bases, where = place
    if not (where / "opened").exists():
        shutil.copytree(bases["tabular"], where / "opened")
        done = ask(where / "opened", EVALUATE)
        assert done.status in (0, 1), done.output
    shutil.rmtree(where / "copy", ignore_errors=True)
    shutil.copytree(where / "opened", where / "copy")
    return where / "copy"


def drop_lines(step: str) -> Any:
    """Remove the lines of one step from the ledger and make the chain anew."""

    def edit(root: Path) -> None:
        from fault_cases import honest

        rows = [json.loads(line) for line in (root / "EXPERIMENTS.jsonl").read_text().removesuffix("\n").split("\n")]
        kept = [{k: v for k, v in row.items() if k not in ("hash", "previous")} for row in rows if row["step"] != step]
        (root / "EXPERIMENTS.jsonl").write_bytes(honest(kept))

    return edit


TAMPERED = [
    ("nothing", lambda root: None, "was opened on"),
    ("the lock is deleted", lambda root: (root / "TEST_ACCESS.json").unlink(), "ledger says"),
    ("the lock is edited", replaced("TEST_ACCESS.json", lambda b: b.replace(b"0002-train", b"0003-train")), "was edited"),
    ("the lock is emptied, with a true hash", write("TEST_ACCESS.json", json.dumps({"openings": [], "hash": hashlib.sha256(b"[]").hexdigest()})), "disagree"),
    ("the ledger is deleted", lambda root: (root / "EXPERIMENTS.jsonl").unlink(), "disagree|was opened on|has no result"),
    ("the ledger's line is cut out", replaced("EXPERIMENTS.jsonl", lambda b: b"\n".join(x for x in b.splitlines() if b"open_test" not in x) + b"\n"), "does not follow"),
    ("the ledger's line is cut out, all hashes anew", drop_lines("open_test"), "was opened on|disagree"),
    ("a row of the data is edited", lambda root: (root / "data/train.csv").write_bytes((root / "data/train.csv").read_bytes().replace(b"2024-01-01", b"2024-01-02", 1)), "made for other data|no finished training run for this data"),
    ("another split of the same data", setting("split_seed = 9"), "was opened on"),
    ("a value in the ledger is edited, all hashes anew", edited, "was opened on"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "edit", "words"), TAMPERED, ids=[given for given, *_ in TAMPERED])
def test_a_second_look_is_refused_whatever_was_done_to_the_files(
    place: Workplace, given: str, edit: Any, words: str
) -> None:
    root = opened(place)
    edit(root)
    answer = ask(root, ["evaluate"])
    assert answer.status == 2 and re.search(words, answer.sentence) and len(answer.lines) == 1, (given, answer.lines)


def test_what_cannot_be_detected_is_said(place: Workplace) -> None:
    """Deleting lock and ledger together, and copying the folder before: the page says so, and it is so."""
    root = opened(place)
    (root / "TEST_ACCESS.json").unlink()
    (root / "EXPERIMENTS.jsonl").unlink()
    shutil.rmtree(next((root / "runs").glob("*-evaluate")))
    assert ask(root, EVALUATE).status in (0, 1)
    page = (Path(__file__).parents[1] / "docs" / "bad-input.md").read_text()
    for words in (
        "deletes TEST_ACCESS.json and the ledger together | no",
        "copies the whole folder",
        "reads the test rows",
    ):
        assert words in page


# --- a few seconds of bench/fuzz.py ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forged", [False, True], ids=["changed", "forged and not signed"])
def test_no_answer_comes_from_a_changed_package(place: Workplace, monkeypatch: pytest.MonkeyPatch, forged: bool) -> None:
    """One sentence for every byte that was changed; where its hashes were made to fit, since signers are named."""
    bases, where = place
    root, draw = where / "fuzzed", random.Random(int(forged))
    (where / "signers").write_text("")
    if forged:
        monkeypatch.setenv("RECIPE_SIGNERS", str(where / "signers"))
    for _ in range(15):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(bases["packaged"], root)
        version, changed = fuzz.change_package(root, draw, forged)
        answer = ask(root, ["predict", "new.csv", "--model", version])
        said = (changed, answer.status, answer.output[-500:])
        assert answer.status == 2 and len(answer.lines) == 1 and not answer.touched, said


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_broken_table_is_read_or_refused_in_one_sentence(place: Workplace, kind: str) -> None:
    bases, _ = place
    root, draw = bases["packaged"], random.Random(kind)
    frame = pl.read_csv(root / "data" / "train.csv")
    path, content = root / f"broken.{kind}", io.BytesIO()
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[kind](content)
    for _ in range(12):
        path.write_bytes(changed := fuzz.mutated(content.getvalue(), draw))
        for words in (["init", path.name], ["predict", path.name, "--model", "1", "--out", "answers.csv"]):
            answer = ask(root, words)
            assert answer.status in (0, 1, 2) and "Traceback" not in answer.output, (words, changed[:2000])
            assert answer.status < 2 or len(answer.lines) == 1, (words, answer.lines, changed[:2000])


# --- killed and simultaneous exports ------------------------------------------------------------------------------------------


FORKED = """
import os, signal, sys, time
from pathlib import Path
from recipe_kit import cli
import recipe_kit.production.export, recipe_kit.owner.tabular.recipe, torch  # once, for all of them

def begin():
    return os.fork() or os._exit(cli.main(["export", "--force", "a test", "--quiet"]))

killed = begin()
while not list(Path().glob("models/.new-*/package/*.json")):
    time.sleep(0.001)
os.kill(killed, signal.SIGKILL)
os.waitpid(killed, 0)
print(len(list(Path().glob("models/.new-*"))), len(list(Path().glob("runs/*-export/.lock"))), len(list(Path().glob("models/*/package.json"))))
time.sleep(1.1)  # a run that is a second old may be about to be held
print([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in [begin() for _ in range(4)]])
"""


def test_a_killed_export_is_swept_and_four_at_once_all_arrive(place: Workplace) -> None:
    """One process is killed while it writes, then four begin at the same time."""
    bases, where = place
    root = where / "exports"
    shutil.copytree(bases["tabular"], root)
    variables = environment(bake(where / "generated"))
    script = [sys.executable, "-c", FORKED]
    done = subprocess.run(script, cwd=root, env=variables, capture_output=True, text=True, timeout=120, check=False)
    told = done.stdout.removesuffix("\n").split("\n")
    assert (told[0], told[-1]) == ("1 1 0", "[0, 0, 0, 0]"), done.stdout + done.stderr
    assert not list(root.glob("models/.new-*"))
    assert sorted(path.parent.name[:4] for path in root.glob("models/*/package.json")) == ["0001", "0002", "0003", "0004"]
    assert all((run / "record.json").exists() for run in root.glob("runs/*-export"))


# --- secrets --------------------------------------------------------------------------------------------------------------

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_QqCanaryCanaryCanaryCanaryCanary",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIcanaryK7MDENGbPxRfiCYEXAMPLEKEY",
    "MY_DATABASE_PASSWORD": "correct-horse-battery-canary",
}


def test_no_secret_reaches_disk_output_or_tracker(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    bases, where = place
    root = where / "private"
    shutil.copytree(bases["tabular"], root)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    output = ""
    for argv in (
        ["audit"],
        ["train", "--force", "x", "tracker=wandb", "epochs=2"],
        ["evaluate", "--force", "x"],
        ["report"],
        ["runs"],
        ["train", f"lr={SECRETS['HF_TOKEN']}"],
        ["train", "--force", f"with {SECRETS['MY_DATABASE_PASSWORD']}"],
        ["train", "data=postgres://me:canary-in-url@host/db"],
        ["tune", "--force", "x", "--storage", "nosuch://me:canary-in-url@host/db"],
    ):
        output += ask(root, argv).output
    setting(f'iid = "{SECRETS["HF_TOKEN"]}"')(root)
    output += ask(root, SPLIT).output
    (root / "recipe.toml").unlink()
    assert (
        "holds the value of $HF_TOKEN" in output and "$MY_DATABASE_PASSWORD" in output and "password in a URL" in output
    )
    assert list(root.rglob("*.wandb")), "the tracker wrote nothing, so nothing was tested"
    for secret in (*SECRETS.values(), "canary-in-url"):
        assert secret not in output
        for path in root.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


KEPT_OUT = (
    ".env", ".env.local", "src/.env", "deploy/key.pem", "tls.key", ".netrc", "predictions.db", "predictions.db-wal", "serve.log", "wandb/x",
    "models/0001-0123456789ab/package.json", "models/.new-x/package/weights.safetensors", "models/.lock", "data/train.csv", "runs/0001-audit/record.json",
)  # fmt: skip
TAKEN = ("models/history.jsonl", "recipe.toml", "split.json", "requirements.lock", "EXPERIMENTS.jsonl", "TEST_ACCESS.json", "data/README.md")


def docker_ignores(lines: list[str], name: str) -> bool:
    """As Docker reads .dockerignore: patterns from the root of the folder, ** for any folders, ! takes back, the last one counts."""
    ignored = False
    for line in lines:
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", name):
            ignored = not line.startswith("!")
    return ignored


def test_keys_logs_data_and_models_stay_out_of_git_and_of_the_image(tmp_path: Path) -> None:
    project = bake(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    ask = ["git", "check-ignore", "--no-index", "--stdin"]
    told = subprocess.run(ask, cwd=project, input="\n".join(KEPT_OUT + TAKEN), capture_output=True, text=True, check=True).stdout
    assert told.removesuffix("\n").split("\n") == list(KEPT_OUT)
    lines = (project / ".dockerignore").read_text().removesuffix("\n").split("\n")
    assert [name for name in KEPT_OUT if not docker_ignores(lines, name)] == []
    assert [name for name in ("requirements.lock", "recipe.toml", "src/my_model/task.py") if docker_ignores(lines, name)] == []


def test_the_image_is_pinned_and_runs_as_a_user(project: Path) -> None:
    """By its digest, which Dependabot moves; with what verifies signatures; and not as root."""
    text = (project / "Dockerfile").read_text()
    assert re.search(r"(?m)^FROM python:3\.12-slim@sha256:[0-9a-f]{64}$", text) and "openssh-client" in text
    assert re.findall(r"(?m)^(USER|ENTRYPOINT) ", text) == ["USER", "ENTRYPOINT"] and "USER root" not in text
    assert "package-ecosystem: docker" in (project / ".github" / "dependabot.yml").read_text()


# --- the source of a generated project ----------------------------------------------------------------------------------------

SOURCES = [p for folder in (TEMPLATE / "src", KIT) for p in sorted(folder.rglob("*.py"))]
FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "tarfile", "zipfile"}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def unsafe(source: str) -> list[str]:
    """What in this source could execute a file's content."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        found += [f"import {name}" for name in names if name.split(".")[0] in FORBIDDEN]
    for name, call in calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            found.append("np.load without allow_pickle=False")
        if name in ("eval", "exec", "compile", "os.system", "os.popen", "__import__") or given.get("shell") == "True":
            found.append(name)
        if name.endswith("from_pretrained") and not {"trust_remote_code", None} & given.keys():
            found.append(f"{name} without trust_remote_code=False")
        if "True" in (given.get("trust_remote_code"), given.get("allow_pickle")):
            found.append(f"{name} with trust_remote_code or allow_pickle")
    return found


def test_the_scan_sees_what_it_forbids() -> None:
    for line in (
        "import pickle", "from joblib import load", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)", "eval(x)", "import yaml",
        "np.load(p, allow_pickle=True)", "subprocess.run(x, shell=True)", "AutoModel.from_pretrained(p)", "A.from_pretrained(p, trust_remote_code=True)",
    ):  # fmt: skip
        assert unsafe(line), line
    assert unsafe("torch.load(p, weights_only=True); np.load(p, allow_pickle=False); re.compile(x)") == []


def test_no_source_of_a_generated_project_unpickles_or_executes() -> None:
    assert len(SOURCES) > 150
    assert {str(p.relative_to(ROOT)): bad for p in SOURCES if (bad := unsafe(p.read_text()))} == {}


@pytest.mark.parametrize(
    "slug",
    ["../evil", "/tmp/evil-slug", "..", ".", "a/../../evil", "~", "$(touch evil)", "con fig", "a\\b", "-x"],
)
def test_a_slug_writes_nothing_outside(tmp_path: Path, slug: str) -> None:
    inside = tmp_path / "deep" / "out"
    inside.mkdir(parents=True)
    done = cookiecutter_process(inside, {"project_slug": slug})
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*") if p != inside and p.is_file()) == []
    assert not Path("/tmp/evil-slug").exists() and sorted(p.name for p in tmp_path.iterdir()) == ["deep"]


def test_no_file_is_cut_at_what_only_python_takes_for_the_end_of_a_line() -> None:
    """U+2028, a form feed and the like are letters of a name in CSV, JSON lines and Markdown; str.splitlines cuts there."""
    assert [str(p.relative_to(ROOT)) for p in SOURCES if "splitlines" in p.read_text()] == []
