"""Bad and hostile input: what is given, and the one sentence one gets. `make bad-input` writes docs/bad-input.md from it.

A case is a project folder with one thing wrong and a command. The command must say one sentence with the given words,
end with a status other than 0, and leave every file as it was (lock files apart): no traceback, nothing half-written,
nothing taken in silence. All run in this process through cli.main, on copies of a small project that was split, trained
and (in another copy) stopped in the middle.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from conftest import module

COPIES = itertools.count()
Edit = Callable[[Path], Any]


@dataclass(frozen=True)
class Case:
    """given: what is wrong, in words. words: what the sentence must hold. edit: makes it wrong. argv: the command."""

    given: str
    words: str
    argv: list[str]
    edit: Edit = lambda root: None
    data: str = "tabular"
    split: bool = False  # split again after the edit, so that the command meets the fault and not an outdated split


@dataclass
class Answer:
    """What came back: exit status, stderr's lines, all output, and the files that were changed, added or removed."""

    status: int
    sentence: str
    lines: list[str]
    output: str
    touched: list[str] = field(default_factory=list)


def write(name: str, content: str | bytes) -> Edit:
    """Put a file into the project."""

    def edit(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return edit


def setting(text: str) -> Edit:
    """Append a line to recipe.toml, instead of the line of the same setting."""

    def edit(root: Path) -> None:
        name = text.partition("=")[0].strip()
        lines = [x for x in (root / "recipe.toml").read_text().removesuffix("\n").split("\n") if x.partition("=")[0].strip() != name]
        (root / "recipe.toml").write_text("\n".join([*lines, text, ""]))

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(root: Path) -> None:
        for one in edits:
            one(root)

    return edit


def in_json(name: str, change: Callable[[Any], Any]) -> Edit:
    """Change a JSON file of the project; `change` returns the new content, or changes it in place and returns None."""

    def edit(root: Path) -> None:
        path = next(iter(sorted(root.glob(name))))
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    return edit


def replaced(name: str, content: bytes | Callable[[bytes], bytes]) -> Edit:
    """Overwrite files that are there, by glob."""

    def edit(root: Path) -> None:
        found = list(root.glob(name))
        assert found, name
        for path in found:
            path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return edit


def removed(name: str) -> Edit:
    """Delete files or folders, by glob."""

    def edit(root: Path) -> None:
        found = list(root.glob(name))
        assert found, name
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return edit


def folder(name: str) -> Edit:
    """A folder where a file belongs."""
    return lambda root: (removed(name)(root) if list(root.glob(name)) else None, (root / name).mkdir(parents=True))


COLUMNS = "x0,x1,color,when,who,target"


def rows(n: int = 60) -> list[str]:
    """Lines of a sound table."""
    random = np.random.default_rng(0)
    lines = []
    for i in range(n):
        x = random.normal(size=2)
        label = "yes" if x[0] + 0.5 * random.normal() > 0 else "no"
        lines.append(f"{x[0]:.3f},{x[1]:.3f},{'abc'[i % 3]},2024-01-{i % 28 + 1:02d},p{i % 20},{label}")
    return lines


def table(lines: list[str] | None = None, head: str = COLUMNS) -> bytes:
    """A CSV file."""
    return ("\n".join([head, *(rows() if lines is None else lines)]) + "\n").encode()


SOUND = {
    "tabular": {"task": "binary", "drop": ["when", "who"]},
    "text": {"task": "binary", "target": "label", "max_length": 32},
    "image": {"task": "binary", "data": "data/images", "weights": "none", "size": 16},
}
COMMON = {
    "iid": "drawn one by one",
    "tracker": "none",
    "device": "cpu",
    "epochs": 1,
    "batch_size": 16,
    "bootstrap": 100,
}


def make_base(modality: str, where: Path) -> Path:
    """A small sound project of one kind, split; tables are also trained, and trained halfway in a second run."""
    root = where / f"base-{modality}"
    (root / "data").mkdir(parents=True)
    more: dict[str, Any] = {}
    if modality == "tabular":
        (root / "data" / "train.csv").write_bytes(table())
    elif modality == "text":
        helpers = importlib.import_module("kit.test_text")
        helpers.write_texts(root, n=60)
        more["encoder"] = str(helpers.tiny_encoder(where / "encoder"))
    else:
        importlib.import_module("kit.test_image").write_images(root, n=30)
    settings = {"modality": modality, **COMMON, **SOUND[modality], **more}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (root / "recipe.toml").write_text("\n".join(lines) + "\n")
    assert ask(root, ["split", "--force", "a base for tests"]).status == 0
    if modality == "tabular":
        done = ask(root, ["train", "--force", "a base for tests"])
        assert done.status == 0, done.output
        run = next((root / "runs").glob("*-train"))
        half = run.with_name("0009-train")
        shutil.copytree(run, half)
        (half / "record.json").unlink()
    return root


def make_packaged(base: Path, where: Path) -> Path:
    """The project with a model package that is promoted, and a file of new rows."""
    root = where / "base-packaged"
    shutil.copytree(base, root)
    for step in ("export", "promote"):
        done = ask(root, [step, "--force", "a base for tests"])
        assert done.status == 0, done.output
    (root / "new.csv").write_bytes(table(rows()[:5]))
    assert ask(root, ["predict", "new.csv", "--out", "answers.csv"]).status == 0
    (root / "answers.csv").unlink()
    return root


def ask(root: Path, argv: list[str]) -> Answer:
    """Run `recipe` in a project, in this process."""
    main = module("cli").main
    before, here = files(root), Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    try:
        os.chdir(root)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                status = main(argv)
            except SystemExit as left:  # argparse
                status = int(left.code or 0)
    finally:
        os.chdir(here)
    lines = [line for line in err.getvalue().removesuffix("\n").split("\n") if line.strip() and not line.startswith("usage:")]
    after = files(root)
    touched = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Answer(status, lines[-1] if lines else "", lines, out.getvalue() + err.getvalue(), touched)


def files(root: Path) -> dict[str, str]:
    """Name and hash of every file and folder below root, lock files apart; links are not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink() or not path.is_file():
            found[name] = "link or folder"
        elif not name.endswith(".lock") and name != "runs/images.parquet":  # what was learned of the files: a cache
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def problem(case: Case, answer: Answer) -> str:
    """What is wrong with an answer; empty when it is as it should be."""
    if answer.status == 0:
        return "accepted in silence"
    if "Traceback" in answer.output:
        return "a traceback"
    if len(answer.lines) != 1:
        return f"{len(answer.lines)} lines instead of one"
    if not re.search(case.words, answer.sentence):
        return f"the sentence does not say {case.words!r}"
    if answer.touched:
        return f"left or changed {answer.touched[:3]}"
    return "" if answer.status == 2 else f"exit status {answer.status}"


def try_case(case: Case, bases: dict[str, Path], where: Path) -> tuple[Answer, str]:
    """Copy the base, make it wrong, ask. Returns the answer and what is wrong with it."""
    root = where / f"copy-{next(COPIES)}" / "project"  # a new path each time: encoders are remembered by theirs
    shutil.copytree(bases[case.data], root, symlinks=True)
    case.edit(root)
    if case.split:
        ask(root, ["split", "--force", "x"])
    try:
        answer = ask(root, case.argv)
        answer.sentence = answer.sentence.replace(str(root), ".")
    except Exception as error:
        return Answer(
            99, f"{type(error).__name__}: {error}", [], ""
        ), f"a traceback: {type(error).__name__}: {str(error)[:200]}"
    return answer, problem(case, answer)


def shown(sentence: str) -> str:
    """The sentence for a page: nothing that breaks a table, and no path of the machine it was made on."""
    sentence = re.sub(re.escape(tempfile.gettempdir()) + r"/\w+/", "", sentence)
    text = sentence.replace("|", "\\|").replace("<", "&lt;").encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 300 else f"{text[:300]} ..."
