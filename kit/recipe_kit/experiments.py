"""Training runs as experiments: what changed against which parent, what was predicted, what came of it.

A run's parent is the finished run on the same data and split that differs in the fewest settings. Runs that differ only
in their seed are repeats of one experiment. A verdict takes paired seeds: the noise between seeds is often larger than
what a setting buys (Bouthillier et al. 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from .owner.engine import metrics
from .owner.engine.truth import saved_truth
from .owner.errors import UserError
from .owner.formatting import interval, number
from .project import Project

# Settings that are no change to what is learned: where and how fast it runs, and how it is reported.
NO_CHANGE = frozenset(
    {"seed", "device", "workers", "compile", "deterministic", "tracker", "bootstrap", "slices", "human_score"}
)
SEEDS = 3  # paired seeds behind a verdict


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """Settings that differ between two configs, as setting -> [old, new]; NO_CHANGE left out."""
    settings = [name for name in {**old, **new} if name not in NO_CHANGE]
    return {name: [old.get(name), new.get(name)] for name in settings if old.get(name) != new.get(name)}


def words(settings: dict[str, Any]) -> str:
    """Settings as one would type them, numbers to four digits."""
    return " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())


def finished(project: Project) -> list[dict[str, Any]]:
    """Finished training runs on this data, split and metric, oldest first."""
    now, metric = project.fingerprint, project.config.resolved_metric
    return [
        record
        for record in project.records("train")
        if metric in record["result"].get("metrics", {})
        and all(record["fingerprint"].get(key) == now[key] for key in ("data", "split"))
    ]


def find_parent(project: Project, wanted: str = "") -> dict[str, Any] | None:
    """The run to compare with: the one named, else the nearest in settings (the newest of equals); None for a first run.

    A repeat of an experiment under another seed has the parent of that experiment.
    """
    runs = finished(project)
    if wanted:
        named = [record for record in runs if record["id"] == wanted]
        if not named:
            there = ", ".join(record["id"] for record in runs) or "none"
            raise UserError(
                f"--parent {wanted!r} is not a finished training run on this data and split; there are: {there}"
            )
        return named[0]
    if not runs:
        return None
    mine = project.config.model_dump()
    nearest = min(reversed(runs), key=lambda record: len(changes(record["config"], mine)))
    if changes(nearest["config"], mine):
        return nearest
    grandparent = nearest["result"].get("experiment", {}).get("parent", "")
    return next((record for record in runs if record["id"] == grandparent), None)


def begin(project: Project, wanted: str = "", hypothesis: str = "", allow_multiple: str = "") -> dict[str, Any]:
    """What a new run is about: its parent, the settings it changes and the hypothesis.

    Raises UserError when it changes several settings at once and `allow_multiple` does not say why: what came of it could then not
    be put down to any of them.
    """
    parent = find_parent(project, wanted)
    changed = changes(parent["config"], project.config.model_dump()) if parent else {}
    if parent and len(changed) > 1 and not allow_multiple:
        words = ", ".join(f"{name} ({old!r} -> {new!r})" for name, (old, new) in changed.items())
        project.overrule(
            f"this run changes {len(changed)} settings against {parent['id']}: {words}",
            '; change one at a time, or say why they belong together: --allow-multiple "why"',
        )
    return {
        "parent": parent["id"] if parent else "",
        "changed": changed,
        "hypothesis": hypothesis,
        "allow_multiple": allow_multiple,
    }


def repeats(runs: list[dict[str, Any]], config: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Those of the runs that are of one experiment, by seed; the newest of each."""
    return {r["config"]["seed"]: r for r in runs if not changes(r["config"], config)}


def compare(project: Project, record: dict[str, Any], parent: dict[str, Any], prep: dict[str, Any]) -> dict[str, Any]:
    """The main metric of a run's experiment minus its parent's: value, 95 % interval, standard error, seeds, verdict.

    From SEEDS paired seeds on: a t interval over the differences of the seeds. Before: a bootstrap over the rows of this
    one run, which knows nothing of the noise between seeds, and is no verdict.
    """
    metric = project.config.resolved_metric
    runs = finished(project)
    mine = repeats(runs, record["config"]) | {record["config"]["seed"]: record}
    theirs = repeats(runs, parent["config"])
    seeds = sorted(mine.keys() & theirs.keys())
    pairs = [
        (mine[s]["result"]["metrics"][metric]["value"], theirs[s]["result"]["metrics"][metric]["value"]) for s in seeds
    ]
    differences = np.array([a - b for a, b in pairs])
    if len(seeds) < SEEDS:
        found = _over_rows(project, record, parent, prep)
        error = (found["high"] - found["low"]) / (2 * 1.96)
        return {**found, "error": error, "seeds": seeds, "verdict": "undecided"}
    found = paired_interval(differences)
    return {**found, "seeds": seeds, "verdict": verdict(metric, found)}


def paired_interval(differences: np.ndarray, ratio: float = 0.0) -> dict[str, float]:
    """Mean of paired differences [n] with its 95 % t interval and standard error.

    ratio: validation rows for each training row, where the n are folds. Folds share training rows, so that the plain interval
    is too narrow: the variance is corrected by the ratio (Nadeau and Bengio 2003).
    """
    n, mean = len(differences), float(differences.mean())
    error = float(np.sqrt((1 / n + ratio) * differences.var(ddof=1)))
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return {"value": mean, "low": mean - half, "high": mean + half, "error": error}


def verdict(metric: str, difference: dict[str, float]) -> str:
    """adopt, reject or undecided: on which side of zero the whole interval lies."""
    gain = metrics.gain(metric, difference)
    return "adopt" if gain["low"] > 0 else "reject" if gain["high"] < 0 else "undecided"


def _over_rows(
    project: Project, record: dict[str, Any], parent: dict[str, Any], prep: dict[str, Any]
) -> dict[str, float]:
    mine, theirs = (project.root / "runs" / r["id"] for r in (record, parent))
    outputs = [np.load(folder / "outputs.npy", allow_pickle=False) for folder in (mine, theirs)]
    return metrics.difference(project.config, prep, outputs[0], outputs[1], *saved_truth(mine))


def sentence(experiment: dict[str, Any], metric: str) -> str:
    """An experiment in one line."""
    if not experiment["parent"]:
        return "no run with other settings yet: nothing to compare with"
    changed = ", ".join(f"{k} {old!r} -> {new!r}" for k, (old, new) in experiment["changed"].items()) or "no setting"
    found = experiment["difference"]
    n = len(found["seeds"])
    note = "" if n >= SEEDS else f" ({n} paired seed{'s' * (n != 1)} of the {SEEDS} a verdict takes)"
    return (
        f"against {experiment['parent']} ({changed}): {metric} {interval(found, '+')}, +/- {number(found['error'])},"
        f" {found['verdict']}{note}"
    )
