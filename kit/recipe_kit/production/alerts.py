"""What the monitor says: one finding for each kind of trouble. FAIL is an alert, WARN is worth a look."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from ..checks.check_result import CheckResult, check_result, not_applicable
from ..owner.engine import kinds, metrics
from ..owner.engine.table import declared, read_table, require_columns
from ..owner.engine.target import as_text, codes
from ..owner.errors import UserError
from ..owner.formatting import interval, number
from .model import Package

BAD = 0.01  # share of rows that cannot be read
COVERED = 0.5  # share of mature rows that should have a label
LABELED = 30  # rows with a label below which performance is not judged


def silence(at: np.ndarray, now: float, hours: float) -> CheckResult:
    """Whether answers are still logged: some in the window, and not far fewer than in the seven windows before.

    at: time of each logged answer of the last eight windows, ascending, seconds. Counts are compared as Poisson counts.
    """
    start = now - 3600 * hours
    count = int((at >= start).sum())
    windows = min(7.0, (start - float(at[0])) / (3600 * hours)) if len(at) else 0.0
    usual = (len(at) - count) / windows if windows >= 1 else 0.0
    quiet = count < usual / 10 and float(stats.poisson.cdf(count, usual)) < 1e-6
    last = f"; the last one {(now - at[-1]) / 3600:.1f} hours ago" if len(at) else ""
    return check_result(
        "silence",
        f"{count:,} answers logged in the last {hours:g} hours, {usual:,.0f} usually{last}",
        fail=not count or quiet,
        evidence={"count": count, "usual": usual, "hours": hours},
    )


def columns(lacking: list[str], n: int) -> CheckResult:
    """Whether the file has all columns that the model reads."""
    return check_result(
        "columns in production",
        f"{len(lacking)} of {n} columns are missing: {', '.join(lacking[:8])}"
        if lacking
        else f"all {n} columns are there",
        fail=bool(lacking),
        evidence={"missing": lacking},
        first=lacking[0] if lacking else "",
    )


def rejected(bad: int, total: int, why: tuple[str, ...]) -> CheckResult:
    """Rows that cannot be read."""
    told = f"; a row {'; a row '.join(why)}" if why else ""
    return check_result(
        "rejected rows",
        f"{bad:,} of {total:,} rows cannot be read{told}",
        fail=bad > BAD * total,
        warn=bad > 0,
        share=bad / max(total, 1),
        evidence={"bad": bad, "rows": total},
        most=BAD,
    )


def of_tests(tests: list[dict[str, Any]], n: int, enough: int, rate: float, floor: float) -> list[CheckResult]:
    """Drift of features and of answers, missing values and new categories: a finding each."""
    checks = ("feature drift", "prediction drift", "missing values in production", "new categories")
    if n < enough:
        return [not_applicable(check, f"{n} rows, at least {enough} are needed") for check in checks]
    shape = [one for one in tests if one["test"] == "distribution"]
    own = [one for one in shape if one["name"].startswith("answer: ")]
    return [
        _distributions(checks[0], [one for one in shape if one not in own], n, rate, floor),
        _distributions(checks[1], own, n, rate, floor),
        _shares(checks[2], [one for one in tests if one["test"] == "missing"], rate),
        _shares(checks[3], [one for one in tests if one["test"] == "unseen"], rate),
    ]


def _distributions(check: str, tests: list[dict[str, Any]], n: int, rate: float, floor: float) -> CheckResult:
    red = sorted((one for one in tests if one["alert"]), key=lambda one: -one["excess"])
    named = ", ".join(
        f"{one['name']} (PSI {one['psi']:.3f}, {one['chance']:.3f} by chance, p {one['corrected']:.1g})"
        for one in red[:5]
    )
    return check_result(
        check,
        f"{len(red)} of {len(tests)} differ over {n:,} rows{': ' + named if named else ''}",
        fail=bool(red),
        evidence={"drifted": [one["name"] for one in red], "rate": rate, "floor": floor},
        first=red[0]["name"] if red else "",
    )


def _shares(check: str, tests: list[dict[str, Any]], rate: float) -> CheckResult:
    """Alert where a share has grown; a note where something came that training never had."""
    red = sorted((one for one in tests if one["alert"]), key=lambda one: -one["excess"])
    new = [one for one in tests if not one["then"] and one["now"]]
    named = ", ".join(f"{c['name']} ({c['then']:.1%} -> {c['now']:.1%}{_values(c)})" for c in (red or new)[:5])
    return check_result(
        check,
        f"{len(red)} columns have more than before{': ' + named if named else ''}",
        fail=bool(red),
        warn=bool(new),
        evidence={"grown": [one["name"] for one in red], "new": [one["name"] for one in new], "rate": rate},
        first=(red or new)[0]["name"] if red or new else "",
    )


def _values(one: dict[str, Any]) -> str:
    return f": {', '.join(map(repr, one['values'][:3]))}" if one.get("values") else ""


def with_labels(package: Package, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Logged rows with their label, null where none has come. The table of labels has columns id and target."""
    target = package.manifest["target"]
    if not path.is_file():
        raise UserError(f"--labels {path} is not a file; name a table (CSV, JSONL, Parquet) of id and {target}")
    table = read_table(path, declared=declared(package.fitted.config, text=["id", target])).frame
    require_columns({"labels": ["id", target]}, table, path)
    labels = pl.DataFrame({"id": as_text(table["id"]), "label": label_texts(package, table[target].to_list())})
    return rows.select("id", "answer").join(labels.unique("id", keep="last"), on="id", how="left")


def label_texts(package: Package, labels: list[Any]) -> pl.Series:
    """Labels as training read the target, as text; one that it could not have read stays what it is."""
    kind = package.manifest.get("target_kind", {"kind": "text"})
    values, bad = kinds.of_values("label", labels, kind)
    texts = as_text(values).to_list()
    return pl.Series("label", [str(labels[i]) if i in set(bad) else t for i, t in enumerate(texts)], dtype=pl.String)


def performance(package: Package, labeled: pl.DataFrame | None, mature: float, worst: float | None) -> CheckResult:
    """The metric on rows whose label has come, against what the export promised and against the worst that is declared.

    A drop beyond 2.6 standard errors of both is an alert, and so is an interval that lies beyond the worst; a value beyond it
    whose interval holds it may be chance. Labels that come for few rows may be of the easy or the bad ones.
    """
    check, metric = "live performance", package.manifest["metric"]
    if labeled is None or not len(labeled) or package.manifest["task"] == "ranking":
        return not_applicable(check, "no labels; name a table of id and target with --labels, or a file with targets")
    known = labeled.filter(pl.col("label").is_not_null())
    truth, usable = _truth(package, known["label"])
    if usable.sum() < LABELED or (package.manifest["classes"] and len(np.unique(truth)) < 2):
        return not_applicable(
            check,
            f"{int(usable.sum())} rows with a label of age {mature:g} days; {LABELED} and two classes are needed",
        )
    outputs = _outputs(package, known["answer"])[usable]
    called = pl.Series([json.loads(text)["prediction"] for text in known["answer"]])  # at the threshold that was in use
    classes = package.fitted.prep["classes"]
    decided = codes(called, classes)[usable] - 1 if classes else None
    now = metrics.estimate(package.fitted.config, package.fitted.prep, outputs, metrics.Truth(truth), metric, decided)
    then = package.manifest["metrics"][metric]
    drop = (-1 if metric in metrics.LOWER_IS_BETTER else 1) * (then["value"] - now["value"])
    allowed = 2.6 * math.hypot(_error(then), _error(now))
    covered, odd = len(known) / len(labeled), int((~usable).sum())
    dropped = drop > allowed + 1e-9
    room = metrics.gain(metric, {end: value - (worst or 0.0) for end, value in now.items()})
    surely, perhaps = (worst is not None and room[end] < 0 for end in ("high", "value"))
    return check_result(
        check,
        f"{metric} {interval(now)} on {len(truth):,} rows, {number(then['value'])} at export"
        f"{'' if worst is None else f', {number(worst)} declared as the worst'}; {covered:.0%} of the mature rows have a label{f', {odd} of an unknown class' if odd else ''}",
        fail=dropped or surely,
        warn=covered < COVERED or odd > 0 or perhaps,
        why="causes" if dropped or surely else "worst" if perhaps else "labels",
        evidence={"now": now, "then": then, "drop": drop, "allowed": allowed, "covered": covered, "unknown": odd},
        run=package.manifest["run"],
    )


def _truth(package: Package, labels: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Encoded targets of the usable rows, and which rows those are."""
    prep = package.fitted.prep
    if prep["classes"]:
        found = codes(labels, prep["classes"]) - 1
        return found[found >= 0], found >= 0
    values = labels.cast(pl.Float64, strict=False).to_numpy()
    usable = np.isfinite(values)
    return (values[usable] - prep["target_mean"]) / prep["target_scale"], usable


def _outputs(package: Package, answers: pl.Series) -> np.ndarray:
    """Outputs [n, k] that stand for the answers as they were given, tempered."""
    told, prep = [json.loads(text) for text in answers], package.fitted.prep
    if not prep["classes"]:
        return np.array([[(one["prediction"] - prep["target_mean"]) / prep["target_scale"]] for one in told])
    logs = np.log(np.clip([list(one["probabilities"].values()) for one in told], 1e-300, None))
    return logs[:, 1:] - logs[:, :1] if prep["outputs"] == 1 else logs


def _error(score: dict[str, float]) -> float:
    return (score["high"] - score["low"]) / (2 * 1.96)
