"""What the trials say: which faults matter, which are caught, by which check, and which causes were named."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from concerned import NEVER_FOR_LEAK
from fault import Fault

RANK = {"NOT APPLICABLE": 0, "PASS": 0, "WARN": 1, "FAIL": 2}
ORDER = ("audit", "split", "baseline", "check", "lr-find", "train", "evaluate", "export", "predict", "monitor")


@dataclass
class Verdict:
    """A fault at one strength. caught_by: check -> share of the full trials in which it failed because of the fault.

    scored: seeds behind effect and p. refused: share of the trials in which a step refused with an explanation. effect: Cohen's d of the honest score, p its
    paired test. nan, linear: what the competitors caught. codes: states of the code that the trials ran on. strict, strict_named:
    caught and named by the strict rule, see `strictly`; strict_by: check -> share of the trials, of the checks that count there.
    """

    fault: Fault
    strength: str
    trials: int
    scored: int
    effective: bool
    effect: float
    p: float
    caught: bool
    attributed: bool
    caught_by: dict[str, float]
    attributed_by: dict[str, float]
    refused: float
    crashed: float
    stage: str
    nan: bool
    linear: bool
    strict: bool = False
    strict_named: bool = False
    strict_by: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)


def reds(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """(step, check) -> the worst finding of that name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for step in result.get("steps", []):
        for finding in step["findings"]:
            key = (step["step"], finding["check"])
            if key not in found or RANK[finding["verdict"]] > RANK[found[key]["verdict"]]:
                found[key] = finding
    return {key: finding for key, finding in found.items() if RANK[finding["verdict"]]}


def caused(result: dict[str, Any], control: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The red findings that the control does not show, or shows less red, on the same seed."""
    controls = reds(control)
    return {
        key: finding
        for key, finding in reds(result).items()
        if RANK[finding["verdict"]] > RANK[controls.get(key, {"verdict": "PASS"})["verdict"]]
    }


def concerned(fault: Fault, check: str) -> bool:
    """Whether the fault lists the check, and the check may count for it."""
    return check in fault.checks and not (fault.inflating and check in NEVER_FOR_LEAK)


def strictly(
    fault: Fault, results: list[dict[str, Any]], controls: list[dict[str, Any]]
) -> tuple[bool, bool, dict[str, float]]:
    """(caught, named, check -> share of the trials) by the strict rule, for trials and the controls of their seeds.

    Caught: one and the same check that concerns the fault is WARN or FAIL on at least half of the seeds where its control is
    neither; or on half of them a step refuses with the word that names the fault. Named: so, and with the right group among the
    first three causes.
    """
    n, seen, right, refused = len(results), dict[str, int](), dict[str, int](), 0
    for result, control in zip(results, controls, strict=True):
        quiet = {check for _, check in reds(control)}
        new = {check: f for (_, check), f in reds(result).items() if concerned(fault, check) and check not in quiet}
        for check, finding in new.items():
            seen[check] = seen.get(check, 0) + 1
            right[check] = right.get(check, 0) + bool(set(finding["groups"][:3]) & set(fault.group))
        before = {step["step"] for step in outcomes(control, "refused")}
        said = [s["said"] for s in outcomes(result, "refused") if s["step"] not in before]
        refused += any(fault.says and fault.says in words for words in said)
    enough = [any(2 * count >= n for count in counts) and n > 0 for counts in ([*seen.values(), refused], [*right.values(), refused])]
    return enough[0], enough[1], {check: count / n for check, count in seen.items()}


def outcomes(result: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The steps that ended so: refused or crashed. What is refused after a crash only follows from it."""
    steps = result.get("steps", [])
    crashed = [i for i, step in enumerate(steps) if step["outcome"] == "crashed"]
    before = steps[: crashed[0] + 1] if crashed else steps
    return [step for step in before if step["outcome"] == what]


def effect(faulty: list[float], controls: list[float]) -> tuple[float, float]:
    """(Cohen's d, p): d of the difference in pooled standard deviations, p of the paired t test."""
    from scipy.stats import ttest_rel

    a, b = np.array(faulty), np.array(controls)
    if len(a) < 3:
        return math.nan, math.nan
    if np.allclose(a, b):
        return 0.0, 1.0
    spread = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return float((a - b).mean() / max(spread, 1e-12)), float(ttest_rel(a, b).pvalue)


def score(fault: Fault, strength: str, results: list[dict[str, Any]], controls: list[dict[str, Any]]) -> Verdict:
    """Hold the trials of one fault against the controls of the same seeds."""
    control = {t["seed"]: t for t in controls if "seed" in t}
    broken = [r["broken"] for r in results if "broken" in r]
    results = [r for r in results if "broken" not in r and r["seed"] in control]
    scored = [r for r in results if r["honest"] is not None and control[r["seed"]]["honest"] is not None]
    d, p = effect([r["honest"] for r in scored], [control[r["seed"]]["honest"] for r in scored])
    untrained = sum(r["honest"] is None for r in results) > len(results) / 2  # no model came out of it at all
    full = [r for r in results if not r["light"]]
    n = max(len(full), 1)
    found = [caused(r, control[r["seed"]]) for r in full]
    refused = [[s for s in outcomes(r, "refused") if not outcomes(control[r["seed"]], "refused")] for r in full]
    crashed = [[s for s in outcomes(r, "crashed") if not outcomes(control[r["seed"]], "crashed")] for r in full]
    caught = [bool(f or q) for f, q in zip(found, refused, strict=True)]
    named = [
        any(set(f["groups"][:3]) & set(fault.group) for f in reds_.values())
        or any(fault.says and fault.says in s["said"] for s in refusals)
        for reds_, refusals in zip(found, refused, strict=True)
    ]
    seen = dict.fromkeys(key for f in found for key in f)  # in the order of the steps, each once
    share = {f"{a}: {b}": sum((a, b) in f for f in found) / n for a, b in seen}
    right = {
        f"{a}: {b}": sum((a, b) in f and bool(set(f[a, b]["groups"][:3]) & set(fault.group)) for f in found) / n
        for a, b in seen
    }
    strict, strict_named, strict_by = strictly(fault, full, [control[r["seed"]] for r in full])
    steps = [key[0] for f in found for key in f] + [s["step"] for q in refused for s in q]
    return Verdict(
        fault=fault,
        strength=strength,
        trials=len(full),
        scored=len(scored),
        effective=bool(fault.wrong) or untrained or (p < 0.05 and abs(d) >= 0.5),
        effect=d,
        p=p,
        caught=sum(caught) >= n / 2 and bool(full),
        attributed=sum(named) >= n / 2 and bool(full),
        caught_by=share,
        attributed_by=right,
        refused=sum(map(bool, refused)) / n,
        crashed=sum(map(bool, crashed)) / n,
        stage=min(steps, key=ORDER.index) if steps else "",
        nan=sum(r["finite"] is False for r in full) >= n / 2,
        linear=sum(bool(r["linear"]) and not control[r["seed"]]["linear"] for r in full) >= n / 2,
        strict=strict,
        strict_named=strict_named,
        strict_by=strict_by,
        broken=broken,
        codes={r["code"] for r in results if "code" in r},
    )
