"""docs/folders.md from the results of bench/folders.py and from the class of each FAIL in folders_read.json."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "folders.md"
READ = Path(__file__).with_name("folders_read.json")  # set -> check -> [true or false, what the reader observed]
WORDS = {"true": "true problem", "false": "false alarm", "": "not read"}
ENDED = {2: "refused", -1: "traceback", -2: "timeout"}
HEAD = """# Sixty folders and tables of real images and texts

Made by `python bench/folders.py FOLDER` from what installed packages ship: {images} folders of images and {texts} tables of texts, each
through `init`, `audit`, `split`, `baseline`, `check`, `train`, `evaluate`, `export` and `predict` on its own rows, by configuration
alone; the template at {commits}. Training is short (one epoch, random weights, images of 16 pixels, a BERT of two layers): what is
tried is whether the steps hold, not what the models reach. Where a FAIL would stop a step, the run goes on with `--force`. Nothing
here is written by hand but the class of each FAIL and the reason beside it (`bench/folders_read.json`).
"""


MEANING = """*true problem*: a careful person who looks at these rows would stop too, or cannot trust the score. *false alarm*: nobody can
defend it."""
REJECTED = """Rejected, with a reason for each: what training leaves out too (no text, a broken image), and files that are no images."""


def cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(map(cell, row)) + " |" for row in rows),
        "",
    ]


def ended(result: dict[str, Any]) -> str:
    """How the set ended: the step that did not go through, and the last line it said; '' when all did."""
    stopped = ((step, done) for step, done in result["steps"].items() if done["status"] in ENDED)
    return next((f"{step}: {ENDED[d['status']]}: {d['said'].strip().splitlines()[-1]}" for step, d in stopped), "")


def fails(results: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(set, step, check, what it observed) of each FAIL, once for each check of a set."""
    rows = {
        (r["name"], check): (step, observed)
        for r in results
        for step, check, verdict, observed in r["findings"]
        if verdict == "FAIL"
    }
    return [(name, step, check, observed) for (name, check), (step, observed) in rows.items()]


def summary(results: list[dict[str, Any]], read: dict[str, Any]) -> list[str]:
    """The figures that the benchmark is about."""
    statuses = [done["status"] for r in results for done in r["steps"].values()]
    found = fails(results)
    judged = [read.get(name, {}).get(check, [""])[0] for name, _, check, _ in found]
    alarmed = {name for (name, *_), verdict in zip(found, judged, strict=True) if verdict != "true"}
    short = [r["name"] for r in results if r["answered"] < r["rows"]]
    return [
        f"- {len(statuses)} steps: {statuses.count(-1)} tracebacks, {statuses.count(-2)} timeouts, {statuses.count(2)} refusals in one sentence",
        f"- `predict` answered every row that training read in {len(results) - len(short)} of {len(results)}" + (f"; not in {', '.join(short)}" if short else ""),
        f"- {len(found)} FAILs: " + ", ".join(f"{judged.count(kind)} {words}" for kind, words in WORDS.items())
        + f"; {len(alarmed)} of {len(results)} sets show one that is no true problem",
        "",
    ]  # fmt: skip


def seconds(results: list[dict[str, Any]]) -> list[str]:
    rows = []
    for step in results[0]["steps"]:
        for kind in ("image", "text"):
            spent = [r["steps"][step]["cpu"] for r in results if r["kind"] == kind and step in r["steps"]]
            rows += [[step, kind, len(spent), f"{statistics.median(spent):.1f}", f"{max(spent):.1f}"]] if spent else []
    return table(["step", "data", "n", "processor seconds, median", "largest"], rows)


def page(results: list[dict[str, Any]], read: dict[str, Any]) -> str:
    kinds = [r["kind"] for r in results]
    commits = ", ".join(f"{commit} ({n} sets)" for commit, n in Counter(r["commit"] for r in results).most_common())
    head = HEAD.format(images=kinds.count("image"), texts=kinds.count("text"), commits=commits)
    lines = [head, *summary(results, read), "## Every FAIL", "", MEANING, ""]
    rows = [
        [
            name,
            step,
            check,
            observed[:160],
            WORDS[(read.get(name, {}).get(check) or [""])[0]],
            (read.get(name, {}).get(check) or ["", ""])[1],
        ]
        for name, step, check, observed in fails(results)
    ]
    lines += table(["set", "step", "check", "observed", "class", "why"], rows)
    lines += ["## Seconds", "", "Of one core, of a machine that had other work too.", "", *seconds(results), "## The sets", "", REJECTED, ""]
    rows = [
        [
            r["name"],
            r["made"],
            r["rows"],
            r["answered"],
            r["rejected"],
            sum(f[2] == "WARN" for f in r["findings"]),
            ended(r) or "all steps",
        ]
        for r in results
    ]
    lines += table(["set", "what it is", "rows read", "answered", "rejected", "WARN", "went through"], rows)
    return "\n".join(lines).rstrip() + "\n"


def write(results: list[dict[str, Any]]) -> None:
    """Write docs/folders.md."""
    read = json.loads(READ.read_text()) if READ.exists() else {}
    PAGE.write_text(page(results, read), encoding="utf-8")
