"""Broken and forged files for every parser of packages, tables and images: 10 minutes, every file in a process of its own.

`python bench/fuzz.py 10` writes docs/fuzz.md. A package is changed in three ways: its bytes alone; its bytes with hashes and name
made to fit; and the same where signers are named. A table (CSV, Parquet, JSON lines) is changed and then read by `init` and by
`predict`, an image by `predict`. Wrong is a traceback, a process that dies or takes over a minute, more than one sentence, and any answer from a
package that was changed, unless whoever changed it made its hashes fit and no signers are named.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]
os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

SECONDS = 60  # after which a process is taken to hang
ODD = (
    b"", b"0", b"-1", b"1e999", b"nan", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"999999999", b"-2147483648",
    b"18446744073709551616", b"../../x", b"/etc/hostname", b"\x00", b"\xff\xfe", b"\xe2\x80\xa8", b"\r", b"\n", b'"', b",", b"'", b"=1+1",
    b"\xf0\x9f\x98\x80", b"9" * 5000, b"[" * 3000, b"\\ud800",
)  # fmt: skip
FORGED = "files with hashes made to fit"
SIGNED = "the same, signers named"
KINDS = {
    "tabular": ("files", FORGED, SIGNED, "a CSV table.csv", "a Parquet table.parquet", "a JSON-lines table.jsonl"),
    "image": ("files", FORGED, SIGNED, "an image.png"),
    "text": ("files", FORGED, SIGNED),
}


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The bytes with one to four changes: bits flipped, pieces cut out, doubled, moved, cut off, or replaced by odd values."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(content) + 1)
        end = min(len(content), at + draw.choice((1, 1, 2, 8, 64, 1000)))
        kind = draw.randrange(7)
        if kind == 0 and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        elif kind == 1:
            content = content[:at] + content[end:]
        elif kind == 2:
            content = content[:end] + content[at:end] * draw.choice((1, 2, 50)) + content[end:]
        elif kind == 3:
            to = draw.randrange(len(content) + 1)
            content = content[:to] + content[at:end] + content[to:]
        elif kind == 4:
            content = content[:at]
        elif kind == 5:
            content = content[:at] + draw.choice(ODD) + content[end:]
        else:
            content = value_replaced(content, draw)
    return content


def value_replaced(content: bytes, draw: random.Random) -> bytes:
    """One number, word or cell replaced as a whole: what a person or a program would get wrong."""
    import re

    spots = [found.span() for found in re.finditer(rb"[-+.\w]+", content[:200_000])]
    if not spots:
        return draw.choice(ODD)
    start, stop = draw.choice(spots)
    return content[:start] + draw.choice(ODD) + content[stop:]


def forge(folder: Path) -> Path:
    """Give the package hashes and a name that fit its files; the new folder. One whose manifest is none stays as it is."""
    import hashlib

    try:
        manifest = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        manifest["files"] = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("package.json", "package.json.sig")
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (folder / "package.json").write_text(text, encoding="utf-8")
        name = hashlib.sha256(json.dumps(json.loads(text), ensure_ascii=False).encode()).hexdigest()[:12]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return folder
    return folder.rename(folder.with_name(f"{folder.name[:4]}-{name}"))


def change_package(root: Path, draw: random.Random, forged: bool) -> tuple[str, str]:
    """Change one file of one package of the project; its version's number, and which file it was."""
    folder = draw.choice(sorted(path.parent for path in root.glob("models/*/package.json")))
    path = draw.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".sig"))
    before, name, number = path.read_bytes(), path.relative_to(folder).as_posix(), folder.name[:4].lstrip("0")
    while (folder / name).read_bytes() == before:  # a space more in a manifest is gone again when it was made to fit
        (folder / name).write_bytes(mutated(before, draw))
        folder = forge(folder) if forged else folder
    return number, name


# ---- the 10 minutes -----------------------------------------------------------------------------------------------------------


def prepare(where: Path) -> None:
    """A project of each kind with signed packages, of a table three (network, LightGBM, the best plain model), and its rows."""
    import faults
    import polars as pl

    os.environ["RECIPE_SIGNING_KEY"] = str(where / "key")
    os.system(f"ssh-keygen -q -t ed25519 -N '' -f {where / 'key'}")
    (where / "signers").write_text(f"fuzz {(where / 'key.pub').read_text()}")
    force = ("--force", "fuzzing")
    for modality in ("image", "text"):
        root = faults.make_base(modality, where)
        for words in (["train", *force], ["export", *force]):
            done = faults.ask(root, words)
            assert done.status == 0, done.output
    (where / "rows.png").write_bytes(next((where / "base-image" / "data").rglob("*.png")).read_bytes())
    shutil.copy(where / "base-text" / "data" / "train.csv", where / "rows.txt")
    root = faults.make_base("tabular", where)
    for words in (
        ["baseline", *force],
        ["export", "--run", "0002-train", *force],
        ["export", "--run", "0010-baseline", *force],
        ["train", "model=lightgbm", *force],
        ["export", "--run", "0013-train", *force],
    ):
        done = faults.ask(root, words)
        assert done.status in (0, 1), done.output
    assert len(list(root.glob("models/*/package.json"))) == 3
    frame = pl.read_csv(root / "data" / "train.csv")
    frame.write_csv(where / "rows.csv")
    frame.write_ndjson(where / "rows.jsonl")
    frame.write_parquet(where / "rows.parquet")


def in_child(action: Callable[[], int], output: Path, seconds: int = SECONDS) -> int:
    """Exit status of the action in a process of its own; below 0 where it was killed, by the alarm after so many seconds too."""
    process = os.fork()
    if not process:
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        signal.alarm(seconds)
        status = 99
        try:
            status = action()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def judged(status: int, told: str, answered: bool, may_answer: bool) -> str:
    """What came of it, beginning with WRONG where it must not."""
    if status < 0:
        return f"WRONG: killed by signal {-status}"
    if "Traceback" in told or status not in (0, 1, 2):
        return "WRONG: a traceback"
    if answered and not may_answer:
        return "WRONG: an answer"
    said = [line for line in told.split("\n") if line.startswith("recipe ")]
    if status == 2 and len(said) != 1:
        return f"WRONG: {len(said)} sentences"
    return "refused in one sentence" if status == 2 else "read"


def one(where: Path, modality: str, kind: str, draw: random.Random) -> tuple[str, str, str]:
    """One changed file: what was changed, what came of it, and what was said."""
    cli = importlib.import_module("recipe_kit.cli")
    root, output = where / "copy", where / "output"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(where / f"base-{modality}", root)
    answers, variables = root / "answers.csv", {}
    (root / "new").mkdir()
    name = {"tabular": "rows.csv", "image": "rows.png", "text": "rows.txt"}[modality]
    rows = shutil.copy(where / name, root / "new")
    rows = root / "new" if modality == "image" else rows
    if suffix := Path(kind).suffix:
        path = root / "new" / f"rows{suffix}"
        path.write_bytes(mutated((where / path.name).read_bytes(), draw))
        asked = ["predict", str(rows if modality == "image" else path), "--model", "1", "--out", str(answers)]
        words = asked if modality == "image" else draw.choice((["init", str(path)], asked))
        changed, may_answer = f"{words[0]} {path.name}", True
    else:
        version, changed = change_package(root, draw, kind != "files")
        may_answer = kind == FORGED
        variables = {"RECIPE_SIGNERS": str(where / "signers")} if kind == SIGNED else {}
        words = draw.choice((["predict", str(rows), "--model", version, "--out", str(answers)], ["promote", version]))
        words = ["versions"] if may_answer and draw.random() < 0.1 else words

    def action() -> int:
        os.environ.update(variables)
        os.chdir(root)
        return cli.main(words)

    status = in_child(action, output)
    told = output.read_text(encoding="utf-8", errors="replace")
    promoted = words[0] == "promote" and status == 0
    return changed, judged(status, told, answers.exists() or promoted, may_answer), told


def main(minutes: float, seed: int) -> int:
    where = Path(tempfile.mkdtemp(prefix="fuzz-"))
    begun = in_child(lambda: prepare(where) or 0, where / "prepared", seconds=1200)
    assert begun == 0, (where / "prepared").read_text()
    libraries = ("lightgbm", "peft", "torchvision", "transformers")
    own = (f"my_model.{modality}.model" for modality in KINDS)
    for name in (*libraries, "recipe_kit.cli", "recipe_kit.production.monitor", *own):
        importlib.import_module(name)  # once, for all of the children
    import torch

    torch.set_num_threads(1)
    draw, counts, wrong = random.Random(seed), Counter[tuple[str, str, str]](), []
    kinds = [(modality, kind) for modality, some in KINDS.items() for kind in some]
    began = time.monotonic()
    while time.monotonic() - began < 60 * minutes:
        modality, kind = kinds[sum(counts.values()) % len(kinds)]
        changed, outcome, told = one(where, modality, kind, draw)
        counts[modality, kind, outcome] += 1
        if outcome.startswith("WRONG"):
            wrong.append(f"{modality}, {kind}, {changed}: {outcome}: {told[-300:]!r}")
            print(wrong[-1], flush=True)
    seconds = time.monotonic() - began
    shutil.rmtree(where)
    page(counts, seconds, seed)
    print(f"{sum(counts.values()):,} files in {seconds / 60:.1f} minutes, {len(wrong)} wrong")
    return int(bool(wrong))


def page(counts: Counter[tuple[str, str, str]], seconds: float, seed: int) -> None:
    """docs/fuzz.md."""
    outcomes = sorted({outcome for *_, outcome in counts})
    table = [f"| project | changed | {' | '.join(outcomes)} |", "|---|---|" + "---|" * len(outcomes)]
    for modality, some in KINDS.items():
        for kind in some:
            name = kind.rpartition(".")[0] or {"files": "files of a package"}.get(kind, kind)
            cells = " | ".join(f"{counts[modality, kind, outcome]:,}" for outcome in outcomes)
            table.append(f"| {modality} | {name} | {cells} |")
    wrong = sum(n for (*_, outcome), n in counts.items() if outcome.startswith("WRONG"))
    lines = [
        "# Fuzzing the parsers of packages, tables and images", "",
        f"{sum(counts.values()):,} changed files in {seconds / 60:.1f} minutes on one core, seed {seed}, each read in a process of its own:"
        f" {wrong} with a traceback, a crash, a process that hung, more than one sentence, or an answer from a changed package.", "",
        *table, "",
        "A changed package may be read where whoever changed it made its hashes and its name fit and no signers are named: then the"
        " golden examples alone vouch for it, and they are in the package. That is what [signatures](security.md) are for.", "",
        "Changes: bits flipped; pieces cut out, doubled, moved or cut off; numbers and words replaced by odd ones. Packages of a network"
        " on a table, on images and on text, of LightGBM and of the best plain model are read by `predict`, `promote` and `versions`, tables"
        " by `init` and `predict`, images by `predict`. Written by `python bench/fuzz.py 10`; a test runs a few of them.",
    ]  # fmt: skip
    (ROOT / "docs" / "fuzz.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
