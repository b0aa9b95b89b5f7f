"""Texts that installed packages ship, for bench/folders.py: documentation, licenses, code, names, words of many languages."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tokenize
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

Made = dict[str, Any]
SETS: dict[str, Callable[[Path], Made]] = {}
LINES = {"iid": "one text a line, of many files"}
SITE = Path(np.__file__).parents[1]  # where the packages lie


def text_set(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
    """Register a function that writes a table of texts into the project's data folder and returns settings; the first line
    of its description goes into the page."""
    SETS[make.__name__] = make
    return make


def table(
    out: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...] = ("text", "label"), kind: str = "csv"
) -> Made:
    """Write rows as a table in a random order; the settings name it."""
    order = np.random.default_rng(0).permutation(len(rows))
    frame = pl.DataFrame([rows[i] for i in order], schema=list(names), orient="row", infer_schema_length=None)
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[kind](out / f"table.{kind}")
    return {"data": f"data/table.{kind}", "text": names[0], "target": names[-1]}


def some(items: list[Any], n: int, seed: int = 0) -> list[Any]:
    """At most n of them, drawn at random, each once."""
    distinct = sorted(set(items))
    return [distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))[:n]]


def docs(module: str) -> list[str]:
    """Documentation of the public functions and classes of a module."""
    whole = importlib.import_module(module)
    found = [inspect.getdoc(value) for name, value in sorted(vars(whole).items()) if callable(value) and name[0] != "_"]
    return [text for text in found if text and len(text) > 60]


def first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def sources(package: str, most: int = 60) -> Iterator[Path]:
    yield from sorted((SITE / package).rglob("*.py"))[:most]


def raised(package: str) -> list[tuple[str, str]]:
    """(message, exception) of each `raise Error("message")`."""
    found = []
    for path in sources(package, 400):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                words = [
                    c.value
                    for c in ast.walk(node.exc.args[0])
                    if isinstance(c, ast.Constant) and isinstance(c.value, str)
                ]
                if len(" ".join(words)) > 20:
                    found.append((" ".join(words), getattr(node.exc.func, "id", "other")))
    return found


def comments(package: str) -> tuple[list[str], list[str]]:
    """Comments, and lines of code."""
    said, code = [], []
    for path in sources(package):
        text = path.read_text()
        with path.open("rb") as file:
            said += [t.string.lstrip("# ") for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
        code += [line.strip() for line in text.splitlines() if re.match(r"\s+\w+.*[=(]", line) and "#" not in line]
    return [t for t in said if len(t) > 15], [t for t in code if len(t) > 15]


@cache
def licenses() -> list[tuple[str, str]]:
    """(text, kind) of the license files beside the packages."""
    found = []
    for path in sorted(SITE.glob("*.dist-info/**/*LICENSE*")):
        text = path.read_text(errors="replace") if path.is_file() else ""
        kinds = {"Apache": "Apache License", "BSD": "Redistribution and use", "MIT": "Permission is hereby granted"}
        found += [(text, name) for name, words in kinds.items() if words in text][:1]
    return found


@cache
def locales() -> list[tuple[str, str]]:
    """(words, language) of arrow: names of months and days, and how it says "in two hours"."""
    import arrow.locales

    found = []
    for kind in sorted(vars(arrow.locales).values(), key=str):
        if inspect.isclass(kind) and getattr(kind, "names", None):
            words = [w for w in (*kind.month_names, *kind.day_names, *map(str, kind.timeframes.values())) if w]
            found += [(word, kind.names[0]) for word in words]
    return found


def named(pattern: str) -> list[tuple[str, str]]:
    """(letter, name) of the letters of Unicode whose name matches."""
    found = [(chr(i), unicodedata.name(chr(i), "")) for i in range(32, 0x1FAFF) if not 0xD800 <= i < 0xE000]
    return [(letter, name) for letter, name in found if re.search(pattern, name)]


@cache
def packages() -> list[dict[str, str]]:
    """Name, summary, license, description of each installed package."""
    found = []
    for package in distributions():
        data = package.metadata
        found.append(
            {
                "name": data["Name"],
                "summary": data["Summary"] or "",
                "license": data["License-Expression"] or data["License"] or "",
                "text": data.get_payload(),
            }
        )  # type: ignore[dict-item]
    return sorted(found, key=lambda row: row["name"].lower())
