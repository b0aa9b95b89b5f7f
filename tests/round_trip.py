"""What training stored, against `predict` on the training file and the request path of `serve` on the training rows.

Run inside a generated tabular project: python round_trip.py FOLDER NAME... prints one JSON object, name -> what was found.
A name is a set of columns and a dialect, as in "numbers in tabs".
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROWS = 90
STEPS = (["split", "--force", "a test"], ["train", "--force", "a test"], ["export", "--force", "a test"])
TINY = 'epochs = 1\nhidden = 8\nlayers = 2\nbootstrap = 100\ndevice = "cpu"\ntracker = "none"\niid = "rows of a test"\npatience = 0\n'
Columns = dict[str, list[Any]]


def _gappy(values: list[Any]) -> list[Any]:
    return [None if i % 11 == 3 else value for i, value in enumerate(values)]


def numbers(r: np.random.Generator) -> Columns:
    whole = [int(v) for v in r.integers(-500, 500, ROWS)]
    return {"whole": whole, "code": [v % 7 for v in whole], "small": (r.normal(size=ROWS) * 1e-4).tolist(), "gappy": _gappy((r.normal(size=ROWS) * 99).round(2).tolist()), "count": _gappy(whole)}  # fmt: skip


def truths(r: np.random.Generator) -> Columns:
    return {"flag": (r.random(ROWS) > 0.5).tolist(), "maybe": _gappy((r.random(ROWS) > 0.3).tolist()), "x": r.normal(size=ROWS).tolist()}  # fmt: skip


def words(r: np.random.Generator) -> Columns:
    odd = ['say "so"', "a, b; c", "a\tb|c", "two\nlines", "Zürich", " led by space", "1-2", "NaNa"]
    return {'x "net"': r.normal(size=ROWS).tolist(), "*": r.choice(odd, ROWS).tolist(), "[x]": _gappy(r.choice(["p", "q"], ROWS).tolist()), "naïve 名": r.choice(["one", "4.0x"], ROWS).tolist()}  # fmt: skip


def moments(r: np.random.Generator) -> Columns:
    days = [date(2021, 1, 1) + timedelta(days=int(d)) for d in r.integers(0, 5, ROWS)]
    zone = timezone(timedelta(hours=2))
    return {"day": days, "at": [datetime(d.year, d.month, d.day, 6, 30) for d in days], "zoned": [datetime(d.year, d.month, d.day, 1, tzinfo=zone) for d in days], "slashed": [f"{d:%d/%m/%Y}" for d in days], "x": r.normal(size=ROWS).tolist()}  # fmt: skip


def formatted(r: np.random.Generator) -> Columns:
    x = r.normal(size=(4, ROWS))
    return {"money": [f"${50000 + 9000 * v:,.2f}" for v in x[0]], "share": [f"{50 + 9 * v:.1f} %" for v in x[1]], "weight": _gappy([f"{70 + v:.1f} kg" for v in x[2]]), "x": x[3].tolist()}  # fmt: skip


def gaps(r: np.random.Generator) -> Columns:
    """A class that is spelled like a gap, and a further spelling of a gap."""
    return {"x": ["?" if i % 9 == 0 else round(float(v), 3) for i, v in enumerate(r.normal(size=ROWS))], "y": r.normal(size=ROWS).tolist()}  # fmt: skip


SETS: dict[str, tuple[Callable[[np.random.Generator], Columns], str]] = {
    "numbers": (numbers, 'categorical = ["code", "count"]\n'),
    "truths": (truths, ""),
    "words": (words, ""),
    "moments": (moments, 'categorical = ["day", "at", "zoned", "slashed"]\n'),
    "formatted": (formatted, 'numeric = ["money", "share", "weight"]\n'),
    "gaps": (gaps, 'also_missing = ["?"]\nnot_missing = ["target: NA"]\n'),
}


def _cell(value: Any, true: str = "True") -> str:
    if isinstance(value, bool):
        return true if value else {"True": "False", "true": "false", "TRUE": "FALSE"}[true]
    return "" if value is None else str(value)


def delimited(mark: str, **how: Any) -> Callable[[Columns, Path], Path]:
    """A writer of CSV: end, point (decimal mark), true, start, index, again (the header inside), quoted."""

    def write(columns: Columns, folder: Path) -> Path:
        text = io.StringIO(newline="")
        quoting = csv.QUOTE_ALL if how.get("quoted") else csv.QUOTE_MINIMAL
        writer = csv.writer(text, delimiter=mark[0], lineterminator=how.get("end", "\n"), quoting=quoting)
        head = [*([""] if how.get("index") else []), *columns]
        writer.writerow(head)
        for i, row in enumerate(zip(*columns.values(), strict=True)):
            if i == ROWS // 2 and how.get("again"):
                writer.writerow(head)
            cells = [_cell(v, how.get("true", "True")) for v in row]
            pointed = [c.replace(".", how.get("point", ".")) if isinstance(v, float) else c for c, v in zip(cells, row, strict=True)]  # fmt: skip
            writer.writerow([*([str(i)] if how.get("index") else []), *pointed])
        content = text.getvalue()
        if mark == ", ":
            lines = [[*cells] for cells in csv.reader(io.StringIO(content, newline=""))]
            content = "".join(", ".join('"' + c.replace('"', '""') + '"' if '"' in c or "," in c or "\n" in c or c.startswith(" ") else c for c in cells) + "\n" for cells in lines)  # fmt: skip
        path = folder / "train.csv"
        path.write_bytes((how.get("start", "") + content).encode())
        return path

    return write


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def json_lines(start: str = "", nan: bool = False) -> Callable[[Columns, Path], Path]:
    def write(columns: Columns, folder: Path) -> Path:
        path = folder / "train.jsonl"
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        lonely = {name for name in columns if all(v is None or isinstance(v, float) for v in columns[name])}
        plain = [{k: float("nan") if nan and v is None and k in lonely else _json(v) for k, v in row.items()} for row in rows]  # fmt: skip
        path.write_text(start + "\n".join(map(json.dumps, plain)) + "\n", encoding="utf-8")
        return path

    return write


def parquet(narrow: bool = False) -> Callable[[Columns, Path], Path]:
    """Parquet; with the narrower and the odder types of the same values, as other programs write them."""

    def write(columns: Columns, folder: Path) -> Path:
        frame = pl.DataFrame([pl.Series(name, values, strict=False) for name, values in columns.items()])
        if narrow:
            kinds: dict[Any, Any] = {pl.String: pl.Categorical, pl.Int64: pl.Int32, pl.Float64: pl.Float32}
            frame = pl.DataFrame([c.cast(kinds.get(c.dtype, c.dtype)) for c in frame.get_columns()])
            prices = pl.Series("price", [Decimal(i * 37 % 101).scaleb(-2) for i in range(ROWS)])
            sizes = pl.Series("size", [i % 250 for i in range(ROWS)], dtype=pl.UInt8)
            lasts = pl.Series("lasts", [timedelta(seconds=i * 7 % 90) for i in range(ROWS)])
            frame = pl.DataFrame([*frame.get_columns(), prices, sizes, lasts])
        frame.write_parquet(folder / "train.parquet")
        return folder / "train.parquet"

    return write


DIALECTS: dict[str, Callable[[Columns, Path], Path]] = {
    "commas": delimited(","),
    "semicolons": delimited(";"),
    "tabs": delimited("\t"),
    "bars": delimited("|"),
    "spaced commas": delimited(", ", true="true"),
    "quoted": delimited(",", quoted=True, true="TRUE"),
    "a mark": delimited(",", start="\ufeff"),
    "CRLF": delimited(",", end="\r\n"),
    "decimal commas": delimited(";", point=","),
    "an index": delimited(",", index=True),
    "two headers": delimited(",", again=True),
    "JSON": json_lines(),
    "JSON with NaN and a mark": json_lines("\ufeff", nan=True),
    "Parquet": parquet(),
    "narrow Parquet": parquet(narrow=True),
}
TYPED = ("JSON", "JSON with NaN and a mark", "Parquet", "narrow Parquet")
NAMES = [f"{kind} in {how}" for kind in SETS for how in DIALECTS if not (kind == "gaps" and how in TYPED)]


def main(folder: Path, names: list[str]) -> dict[str, Any]:
    """Every round trip, each in a project folder of its own."""
    cli = importlib.import_module("recipe_kit.cli")
    recipe, found = Path("recipe.toml").read_text(), {}
    for number, name in enumerate(names):
        place = folder / str(number)
        (place / "data").mkdir(parents=True)
        kind, _, how = name.partition(" in ")
        source = _project(place, recipe, kind, how)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            codes = [cli.main([words[0], "--project", str(place), *words[1:]]) for words in STEPS]
        found[name] = _compare(place, source) if codes == [0, 0, 0] else {"failed": said.getvalue()[-600:]}
        shutil.rmtree(place)
    return found


def _project(place: Path, recipe: str, kind: str, how: str) -> Path:
    r = np.random.default_rng(len(kind) + 31 * len(how))
    make, settings = SETS[kind]
    labels = ["NA", "EU"] if kind == "gaps" else ["no", "yes"]
    source = DIALECTS[how]({**make(r), "target": r.choice(labels, ROWS).tolist()}, place / "data")
    own = TINY + settings + f'data = "data/{source.name}"\n'
    given = {line.partition("=")[0].strip() for line in own.splitlines()}
    kept = [line for line in recipe.splitlines() if line.partition("=")[0].strip() not in given]
    (place / "recipe.toml").write_text("\n".join(kept) + "\n" + own)
    return source


def _compare(place: Path, source: Path) -> dict[str, Any]:
    """Largest differences from the stored outputs of validation, and what was rejected."""
    names = ("cli", "owner.engine.splits", "production.model", "production.schema", "production.registry", "production.rows")
    part = {name: importlib.import_module(f"recipe_kit.{name}") for name in names}
    project = part["cli"].open_project(part["cli"].parse(["train", "--project", str(place)]))
    served = part["production.model"].load(project.task, part["production.registry"].find(place, "1"))
    stored = np.load(sorted((place / "runs").glob("*-train"))[-1] / "outputs.npy")
    rows = np.flatnonzero(part["owner.engine.splits"]._derive(project) == 1)
    frame = project.data.frame[rows]
    asked = json.loads(json.dumps([part["production.schema"].as_row(served.columns, row) for row in frame.to_dicts()]))
    read, reasons = served.read(asked)
    chunks = part["production.rows"].read_rows(source, served.columns)
    filed = [row.values for chunk in chunks for row in chunk]
    again, why = served.read(filed)
    if refused := [why for why in (*reasons, *why) if why]:
        return {"failed": refused[:3]}
    told = _told(part["cli"], place, source)
    stored_answers = served.answers(stored)
    return {
        "rows": [len(filed), len(told)],
        "serve": float(np.abs(served.outputs(read) - stored).max()),
        "file": float(np.abs(served.outputs(again)[rows] - stored).max()),
        "predict": max(abs(told[i]["probability of " + name] - p) for i, answer in zip(rows, stored_answers, strict=True) for name, p in answer["probabilities"].items()),
    }  # fmt: skip


def _told(cli: Any, place: Path, source: Path) -> list[dict[str, Any]]:
    """What the command `recipe predict` wrote."""
    out = place / "told.jsonl"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main(["predict", str(source), "--project", str(place), "--model", "1", "--out", str(out)])
    return [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line]


if __name__ == "__main__":
    os.environ["WANDB_MODE"] = "disabled"
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:] or NAMES)))
