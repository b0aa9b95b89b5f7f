"""`recipe predict FILE`: the same file with answers, a chunk at a time; rows that cannot be read go to a second file."""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..owner.engine.dialect import Lines
from ..owner.engine.files import safe_cell, to_json
from ..owner.engine.folders import beside
from ..owner.engine.table import LINES
from ..owner.errors import UserError
from ..project import Project
from .model import Answer, Package, load
from .registry import chosen
from .rows import Row, located, names, read_rows, row_per_line

PROGRESS = 5.0  # seconds between two lines of progress
DELIMITED = (".csv", ".tsv", ".txt")  # whatever the separator is; the answers are written with commas

Write = Callable[[list[dict[str, Any]]], None]


@dataclass
class Count:
    """Rows that were answered and rows that were rejected."""

    answered: int = 0
    rejected: int = 0


def command(project: Project, args: argparse.Namespace) -> int:
    """Answer every row of the file. Exit status 1 when some were rejected, so that a script notices."""
    if not args.of:
        raise UserError("name what to predict: recipe predict FILE (CSV, JSONL, Parquet, or a folder of images)")
    source = Path(args.of)
    package = load(project.task, chosen(project, args.model), project.config.device)
    target = Path(args.out) if args.out else default_output(source, project.root / project.config.data)
    refuse(source, target, package)
    rejected = target.with_name(f"{target.stem}.rejected.jsonl")
    before = time.monotonic()
    with row_per_line(project, source) as rows:
        count = predict(package, rows, target, rejected, project.say)
    answered = f"{package.version} answered {count.answered:,} of {count.answered + count.rejected:,} rows"
    project.say(f"predict: {answered} in {time.monotonic() - before:.1f} s -> {target}")
    if count.rejected:
        project.say(f"predict: {count.rejected:,} rows were rejected, each with its reason -> {rejected}")
    return int(count.rejected > 0)


def default_output(source: Path, data: Path) -> Path:
    """Beside the input: rows.csv -> rows.predicted.csv; a folder -> folder.predicted.csv, of one among the class folders of
    `data` beside `data`, where no step takes it for an example. Raises UserError for a file of no known kind."""
    if source.is_file() and source.suffix not in (*DELIMITED, *LINES, ".parquet"):
        raise UserError(
            f"{source} ends in none of .csv, .jsonl, .ndjson and .parquet; rename it to what it is, or, if it is CSV, name"
            f" where the answers go: --out answers.csv"
        )
    own = source.is_file() and source.suffix not in DELIMITED
    return beside(source, data).with_name(f"{source.stem}.predicted{source.suffix if own else '.csv'}")


def refuse(source: Path, target: Path, package: Package) -> None:
    """Refuse to write over the input, into no folder, as a kind that cannot hold the rows, or over columns of the input."""
    fitting = LINES if source.suffix in LINES else (".csv", *LINES, *((".parquet",) if source.is_file() else ()))
    if target.suffix not in fitting:
        raise UserError(f"--out {target} cannot hold the rows of {source}; end it in one of {', '.join(fitting)}")
    if not target.parent.is_dir() or target.is_dir() or target.resolve() == source.resolve():
        raise UserError(f"--out {target} cannot be written: it needs a folder that exists, and is not the input")
    added = ["prediction", *(f"probability of {name}" for name in package.manifest["classes"]), "model_version"]
    if clash := [name for name in added if name in names(source)]:
        raise UserError(f"{source} has a column {clash[0]!r}, which the answers need; rename it")


def predict(package: Package, source: Path, target: Path, rejected: Path, say: Callable[[str], None]) -> Count:
    """Every row of `source` goes to `target` or to `rejected`. Both are whole or absent; no `rejected` when it would be empty."""
    count, told, met = Count(), time.monotonic(), Lines()
    with written(target, types(source)) as write, written(rejected) as reject:
        for chunk in read_rows(source, package.columns, met):
            good, bad = answered(package, source, chunk)
            if good:
                write(good)
            if bad:
                reject(bad)
            count.answered, count.rejected = count.answered + len(good), count.rejected + len(bad)
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                say(f"  {count.answered + count.rejected:,} rows")
    if met.header:
        say(f"  the header occurs again in line {', '.join(map(str, met.header[:5]))} and was passed over")
    if not count.rejected:
        rejected.unlink(missing_ok=True)
    if not count.answered and not count.rejected:
        target.unlink(missing_ok=True)
        raise UserError(f"{source} holds no rows")
    return count


def answered(package: Package, source: Path, chunk: list[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows with their answers, and the rows without, with reasons."""
    told, _ = answer_chunk(package, source, chunk)
    good = [{**(row.values or {}), **flat(package, answer)} for row, answer, _ in told if answer is not None]
    bad = [
        {"row": row.number, "reason": why, "content": row.raw if row.values is None else row.values}
        for row, answer, why in told
        if answer is None
    ]
    return good, bad


def answer_chunk(
    package: Package, source: Path, chunk: list[Row]
) -> tuple[list[tuple[Row, Answer | None, str]], pl.DataFrame]:
    """Each row with its answer, or with None and why there is none; and the rows that have one, as the model read them."""
    readable = [row for row in chunk if row.values is not None]
    rows = [located(source, package.columns, row.values or {}) for row in readable]
    found = package.answer(rows)
    frame = package.read(rows)[0] if found.frame is None else found.frame
    told = {row.number: pair for row, *pair in zip(readable, found.answers, found.reasons, strict=True)}
    return [(row, *told.get(row.number, (None, row.why))) for row in chunk], frame


def flat(package: Package, answer: Answer) -> dict[str, Any]:
    """An answer as columns."""
    probabilities = {f"probability of {name}": p for name, p in answer.get("probabilities", {}).items()}
    return {"prediction": answer["prediction"], **probabilities, "model_version": package.version}


def types(source: Path) -> dict[str, Any]:
    """Types of the input's own columns, for a Parquet file of the answers: as they are, and texts from a CSV file."""
    if source.suffix == ".parquet":
        return dict(pl.read_parquet_schema(source))
    return dict.fromkeys(names(source), pl.String)


@contextmanager
def written(path: Path, kinds: dict[str, Any] | None = None) -> Iterator[Write]:
    """A function that adds rows to a file of this kind; the file gets its name when all is in it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".predict-") as folder:
        new = Path(folder) / path.name
        if path.suffix == ".parquet":
            yield lambda rows: _add_parquet(Path(folder), rows, kinds or {})
            if parts := sorted(Path(folder).glob("part-*.parquet")):
                pl.scan_parquet(parts).sink_parquet(new)
        else:
            # A row that is rejected may hold bytes that are no UTF-8: they are shown as \udcff.
            with new.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                yield _csv_writer(file) if path.suffix == ".csv" else lambda rows: _add_lines(file, rows)
        if new.exists():
            os.replace(new, path)


def _add_lines(file: Any, rows: list[dict[str, Any]]) -> None:
    known = str | int | float | bool | list | dict | None
    plain = ({k: v if isinstance(v, known) else str(v) for k, v in row.items()} for row in rows)
    file.writelines(to_json(row, indent=None) + "\n" for row in plain)


def _csv_writer(file: Any) -> Write:
    head: list[str] = []

    def add(rows: list[dict[str, Any]]) -> None:
        writer = csv.writer(file)
        if not head:
            head.extend(rows[0])
            writer.writerow(map(safe_cell, head))
        writer.writerows([safe_cell(row.get(name)) for name in head] for row in rows)

    return add


def _add_parquet(folder: Path, rows: list[dict[str, Any]], kinds: dict[str, Any]) -> None:
    number = len(list(folder.glob("part-*.parquet")))
    pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None).write_parquet(
        folder / f"part-{number:06d}.parquet"
    )
