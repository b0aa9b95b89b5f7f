"""`recipe monitor`: do today's rows and answers still look like training, and are the answers still right?

It reads the prediction log of the last hours, or a file. Everything it alerts on is declared: the chance of a false alarm
of a whole run (--rate), the smallest drift that counts (--floor), the hours of the window, how old an answer is when its label
has come (--mature: the window of labels is as long, and ends that many days ago), and the worst score on those (--worst).
Exit status 1 is an alert; monitor/ holds the page and the numbers. For cron:

    17 * * * *  cd /path/to/project && .venv/bin/recipe monitor --quiet --webhook https://example.org/hook
"""

from __future__ import annotations

import argparse
import json
import math
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ..checks.check_result import CheckResult
from ..owner.engine.files import read_json, to_json, write_atomic
from ..owner.errors import UserError
from ..project import Project, describe
from . import alerts, drift, log
from .model import Package, load
from .monitor_page import page
from .predict import answer_chunk
from .reference import predicted
from .registry import chosen
from .rows import missing, names, read_rows, row_per_line

FOLDER = "monitor"
ENOUGH = 30  # rows below which nothing is said about drift


@dataclass(frozen=True)
class Thresholds:
    """rate: chance of a false alarm of a run. floor: PSI above chance. hours: of the log. mature: days until labels count.
    worst: of the metric on labeled rows, None for any."""

    rate: float = 0.05
    floor: float = 0.01
    hours: float = 24.0
    mature: float = 0.0
    worst: float | None = None


@dataclass
class Window:
    """What is looked at: watched quantities and answers, a row each; labeled rows; and what could not be read."""

    watched: pl.DataFrame
    answers: pl.DataFrame  # prediction and, for classes, probability; or the value
    labeled: pl.DataFrame | None = None  # columns answer (JSON) and label
    rejected: tuple[int, int] = (0, 0)  # rows that could not be read, of how many
    examples: tuple[str, ...] = ()  # why


def command(project: Project, args: argparse.Namespace) -> int:
    """Measure, judge, write the page, tell the webhook. Exit status 1 on an alert."""
    limits = thresholds(args)
    if args.webhook and not args.webhook.startswith(("http://", "https://")):
        raise UserError(f"--webhook {args.webhook!r} is no http address")
    package = load(project.task, chosen(project, args.model), project.config.device)
    found, tests = measure(project, package, args, limits)
    for one in found:
        project.say(describe(one))
    red = [one.check for one in found if one.verdict == "FAIL"]
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "version": package.version,
        "source": args.of or str(log_path(project, args)), "alert": bool(red), "red": red,
        "thresholds": asdict(limits), "findings": [one.record() for one in found], "tests": tests,
    }  # fmt: skip
    folder = project.root / FOLDER
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "monitor.json", to_json(content))
    write_atomic(folder / "monitor.html", page(content, found))
    if red and args.webhook:
        said = ("at", "version", "source", "alert", "red", "findings")
        tell(project, args.webhook, {key: content[key] for key in said})
    project.say(f"monitor: {'ALERT: ' + ', '.join(red) if red else 'quiet'} -> {folder / 'monitor.html'}")
    return int(bool(red))


def thresholds(args: argparse.Namespace) -> Thresholds:
    """The declared thresholds: the flags where they are given, else the defaults."""
    given = {name: getattr(args, name) for name in ("rate", "floor", "hours", "mature") if getattr(args, name)}
    if given.get("rate", 0.05) >= 1:
        raise UserError(f"--rate {args.rate} must be a probability below 1, such as 0.05")
    if args.worst is not None and (math.isnan(args.worst) or not (args.of or args.labels)):
        raise UserError("--worst is a number that labeled rows are held against; name their table with --labels")
    return Thresholds(**given, worst=args.worst)


def log_path(project: Project, args: argparse.Namespace) -> Path:
    """The prediction log that is read."""
    return Path(args.log) if args.log else project.root / log.FILE


def measure(
    project: Project, package: Package, args: argparse.Namespace, limits: Thresholds
) -> tuple[list[CheckResult], list[dict[str, Any]]]:
    """All findings, and the tests behind them."""
    found: list[CheckResult] = []
    if args.of:
        with row_per_line(project, Path(args.of)) as source:
            lacking = missing(package.columns, names(source)) if source.is_file() and names(source) else []
            found.append(alerts.columns(lacking, len(package.columns)))
            if lacking:
                return found, []
            window = of_file(package, source)
        found.append(alerts.rejected(*window.rejected, window.examples))
    else:
        path = log_path(project, args)
        now = time.time()
        found.append(alerts.silence(log.moments(path, now - 8 * 3600 * limits.hours), now, limits.hours))
        window = of_log(package, path, limits, args.labels)
    reference = read_json(package.folder / "reference.json", "what the monitor compares with", "export again")
    tests = compare(window, reference, limits) if len(window.watched) >= ENOUGH else []
    found += alerts.of_tests(tests, len(window.watched), ENOUGH, limits.rate, limits.floor)
    found.append(alerts.performance(package, window.labeled, limits.mature, limits.worst))
    return found, tests


def compare(window: Window, reference: dict[str, Any], limits: Thresholds) -> list[dict[str, Any]]:
    """Every test of the run, judged together."""
    pairs = [(f"answer: {n}", s, window.answers, n) for n, s in reference["answers"].items()]
    pairs += [(n, s, window.watched, n) for n, s in reference["columns"].items()]
    measured = [
        one
        for title, statistics, frame, name in pairs
        if name in frame
        for one in drift.compare(title, statistics, frame[name])
    ]
    return drift.judge(measured, limits.rate, limits.floor)


def of_file(package: Package, source: Path) -> Window:
    """Answer the rows of a file, and note what cannot be read. Its column of the target, if any, holds the labels."""
    watched, answers, labels, reasons, total = [], [], [], [], 0
    target = package.manifest["target"]
    for chunk in read_rows(source, package.columns):
        told, frame = answer_chunk(package, source, chunk)
        total += len(told)
        reasons += [why for _, answer, why in told if answer is None]
        if frame.height:
            watched.append(package.watched(frame))
        answers += [answer for _, answer, _ in told if answer is not None]
        labels += [(row.values or {}).get(target) for row, answer, _ in told if answer is not None]
    if not total:
        raise UserError(f"{source} holds no rows")
    labeled = pl.DataFrame({"answer": [json.dumps(a) for a in answers], "label": alerts.label_texts(package, labels)})
    known = labeled.filter(pl.col("label").is_not_null()) if answers else None
    everything = pl.concat(watched, how="vertical_relaxed") if watched else pl.DataFrame()
    return Window(everything, predicted(answers), known, (len(reasons), total), tuple(dict.fromkeys(reasons))[:3])


def of_log(package: Package, path: Path, limits: Thresholds, labels: str) -> Window:
    """The logged rows of the last hours; and those of as many hours before labels count, for which there is a label."""
    now, long = time.time(), 3600 * limits.hours
    rows = log.read(path, now - long, now, package.version)
    window = Window(log.watched(rows, package.columns), predicted([json.loads(text) for text in rows["answer"]]))
    if labels:
        ripe = now - 86400 * limits.mature
        window.labeled = alerts.with_labels(package, log.read(path, ripe - long, ripe, package.version), Path(labels))
    return window


def tell(project: Project, url: str, content: dict[str, Any]) -> None:
    """Post the alert. A webhook that does not answer is said, and changes nothing: the exit status is the alert."""
    request = urllib.request.Request(url, to_json(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            pass
    except (OSError, ValueError) as error:
        project.say(f"monitor: the webhook could not be told: {error}")
