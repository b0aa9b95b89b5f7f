"""Sections on the runs as experiments: what each changed and what came of it, tuning, ablation, the learning curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..experiments import words
from ..owner.config import LOWER_IS_BETTER
from ..owner.formatting import interval, number
from ..project import Project
from . import grids, plots
from .axes import Axes
from .page import Section, Table, fixed, section, table
from .records import Record, comparable, finished

MOST_RUNS = 10  # drawn: the newest, the best and the one of the page


def runs_section(project: Project, records: dict[str, Record | None]) -> Section:
    """All models on validation: the baselines, and the runs on the same data and split as the one shown."""
    train, metric = records["train"], project.config.resolved_metric
    baselines = _baselines(records, metric)
    runs = [r for r in finished(project) if train and comparable(r, train) and metric in r["result"]["metrics"]]
    rows = baselines | {_name(r): r["result"]["metrics"][metric] for r in drawn_runs(runs, train, metric)}
    elsewhere = len(finished(project)) - len(runs)
    text = f"Validation, 95 % intervals{'; lower is better' if metric in LOWER_IS_BETTER else ''}."
    text += " The orange one is the run of this page." if train else ""
    text += f" {elsewhere} runs on other data or another split are left out." if elsewhere else ""
    drawn = [
        grids.intervals(f"{metric} on validation", rows, metric, _name(train) if train else ""),
        progress_plot(runs, metric, baselines),
    ]
    return section("Models", text, plots=drawn, tables=[_table(runs, metric)])


def drawn_runs(runs: list[Record], train: Record | None, metric: str) -> list[Record]:
    """The newest runs, the best one and the one of the page, oldest first."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    scored = [r for r in runs if r["result"]["metrics"][metric]["value"] is not None]
    best = max(scored, key=lambda r: sign * r["result"]["metrics"][metric]["value"], default=None)
    kept = {r["id"] for r in (*runs[-MOST_RUNS:], best, train) if r}
    return [r for r in runs if r["id"] in kept]


def _baselines(records: dict[str, Record | None], metric: str) -> dict[str, Any]:
    baseline, reference = records["baseline"], records["train"] or records["baseline"]
    if not baseline or not reference or not comparable(baseline, reference):
        return {}
    every = baseline["result"]["baselines"].items()
    return {name: entry["metrics"][metric] for name, entry in every if metric in entry["metrics"]}


def _name(record: Record) -> str:
    return f"{record['result']['model']} {record['id'][:4]}"


def progress_plot(runs: list[Record], metric: str, baselines: dict[str, Any]) -> str:
    """Score of each run in the order of their making, the best so far, and the best baseline; from three runs on."""
    if len(runs) < 3:
        return ""
    scores = [run["result"]["metrics"][metric]["value"] for run in runs]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    numbers = [int(run["id"][:4]) for run in runs]
    best = sign * np.maximum.accumulate([-np.inf if s is None else sign * s for s in scores])
    series: dict[str, Any] = {"each run": (numbers, scores), "best so far": (numbers, best.tolist())}
    values = [entry["value"] for entry in baselines.values() if entry["value"] is not None]
    if values:
        level = sign * max(sign * value for value in values)
        series["best baseline"] = ([numbers[0], numbers[-1]], [level, level])
    note = "Many runs were compared on the same rows, so the best of them looks too good."
    return plots.lines("Progress over the runs", series, Axes("number of the run", metric), note=note)


def _table(runs: list[Record], metric: str) -> Table | None:
    """One row a run, newest first: what it changed against its parent, what came of it, and against the baseline."""
    rows = []
    for record in reversed(runs):
        result = record["result"]
        against, experiment = result.get("against_baseline"), result.get("experiment") or {}
        link = {"text": record["id"], "link": f"runs/{record['id']}/report.html"}
        came = experiment.get("difference")
        beside = f"{fixed(interval(came, '+'))} to {experiment['parent'][:4]}, {came['verdict']}" if came else ""
        baseline = f"{fixed(interval(against, '+'))} to {against['name']}" if against else ""
        sharp = number(result["sharpness"]) if result.get("sharpness") is not None else ""
        score = fixed(interval(result["metrics"][metric]))
        hypothesis = experiment.get("hypothesis", "")
        rows.append([link, result["model"], changed(record), hypothesis, score, beside, baseline, sharp])
    head = ["run", "model", "changed", "hypothesis", metric, "against its parent", "against the baseline", "sharpness"]
    return table("Runs on this data and split", head, rows)


def changed(record: Record) -> str:
    """The settings a run changed against its parent, else those given on the command line."""
    experiment = record["result"].get("experiment") or {}
    settings = {name: new for name, (_, new) in experiment.get("changed", {}).items()} or record["overrides"]
    return words(settings)


def studies_section(records: dict[str, Record | None]) -> Section | None:
    """Cross-validation, the learning curve, what tuning found and bought, what each part is worth; None where none was made."""
    crossed, curve, tuned, ablated = (records.get(step) for step in ("cv", "learning_curve", "tune", "ablate"))
    drawn = []
    if crossed:
        found = crossed["result"]
        note = f"Means over {found['folds']} folds of the rows outside the test part; intervals allow for the rows that folds share."
        title = f"Cross-validation: {found['metric']}"
        drawn.append(grids.intervals(title, found["intervals"], found["metric"], found["model"], note=note))
    if curve:
        drawn.append(learning_curve_plot(curve["result"]))
    if tuned:
        drawn += tuning_plots(tuned["result"])
    if ablated:
        removed = {f"without {row['setting']}": row for row in ablated["result"]["removed"]}
        metric = ablated["result"]["metric"]
        note = f"Difference to the base run over {len(ablated['result']['seeds'])} paired seeds; dashed: none."
        drawn.append(grids.intervals("What each part is worth", removed, metric, line=0.0, note=note))
    findings = [f for record in (crossed, curve, tuned, ablated) if record for f in record["findings"]]
    tables = [finalists_table(tuned["result"])] if tuned else []
    return section("Studies", plots=drawn, tables=tables, findings=findings) if drawn else None


def learning_curve_plot(result: dict[str, Any]) -> str:
    """Score against the number of training rows, for each seed."""
    by_seed = list(zip(*result["scores"], strict=True))
    series = {f"repeat {i}": (result["rows"], list(scores)) for i, scores in enumerate(by_seed, start=1)}
    note = "Still rising at the right end: more data would help. Flat: it would not."
    if found := result.get("scaling"):
        note += (
            f" The error goes as rows to the power {found['exponent']:.2f} [{found['low']:.2f}, {found['high']:.2f}]: twice the rows"
            f" would give about {number(found['twice'])}, if that holds beyond these three points."
        )
    axes = Axes("training rows", f"{result['metric']} on validation", log_x=True)
    return plots.lines("Learning curve", series, axes, note=note)


def tuning_plots(result: dict[str, Any]) -> list[str]:
    """The trials of each stage over the setting it searched, and the finalists under paired seeds."""
    metric, drawn = result["metric"], []
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    for stage, trials in result.get("stages", {}).items():
        ended = [t for t in trials if t["state"] == "COMPLETE" and t["value"] is not None]
        for setting in dict.fromkeys(name for trial in ended for name in trial["params"]):
            tried = [t for t in ended if isinstance(t["params"].get(setting), int | float)]
            cloud = ([t["params"][setting] for t in tried], [sign * t["value"] for t in tried])
            axes = Axes(setting, metric, log_x=all(x > 0 for x in cloud[0]))
            drawn.append(plots.points(f"Tuning: {stage}, {setting}", cloud, axes))
    finalists = {f"run {row['run'][:4]}": row for row in result["finalists"]}
    note = f"Difference to the settings it started from over {len(result['seeds'])} paired seeds; dashed: none."
    return [*drawn, grids.intervals("Tuning: the finalists", finalists, metric, line=0.0, note=note)]


def finalists_table(result: dict[str, Any]) -> Table | None:
    """The settings of each finalist, and what they gained under paired seeds."""
    rows = [[r["run"], words(r["settings"]), fixed(interval(r, "+")), r["verdict"]] for r in result["finalists"]]
    return table("Finalists of the tuning", ["run", "settings", f"{result['metric']} gained", "verdict"], rows)
