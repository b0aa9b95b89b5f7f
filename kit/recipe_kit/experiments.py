"""Training runs as experiments: what changed against which parent, what was predicted, what came of it.

A run's parent is the finished run on the same data and split that differs in the fewest settings. Runs that differ only
in their seed are repeats of one experiment. A verdict takes paired seeds: the noise between seeds is often larger than
what a setting buys (Bouthillier et al. 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .owner.config import Config
from .owner.engine import metrics
from .owner.engine.truth import saved_truth
from .owner.errors import UserError
from .owner.formatting import interval, number
from .project import Project

# Settings that are no change to what is learned: where and how fast it runs, and how it is reported.
NO_CHANGE = {"seed", "device", "workers", "compile", "deterministic"}
NO_CHANGE |= {"tracker", "bootstrap", "slices", "human_score", "imbalance"}
SEEDS = 3  # paired seeds behind a verdict


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """Settings that differ between two configs, as setting -> [old, new]; NO_CHANGE left out."""
    settings = [name for name in {**old, **new} if name not in NO_CHANGE]
    return {name: [old.get(name), new.get(name)] for name in settings if old.get(name) != new.get(name)}


def known(record: dict[str, Any]) -> dict[str, Any]:
    """What a run was made of, as `changes` compares it: its settings, and the code, which is one thing whatever was edited."""
    return {**record["config"], "code": record["fingerprint"].get("code")}


def asked(project: Project) -> dict[str, Any]:
    """The same of a run that is still to be made."""
    return {**project.config.model_dump(), "code": project.fingerprint["code"]}


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
            raise UserError(f"--parent {wanted!r} is not a finished training run on this data; there are: {there}")
        return named[0]
    if not runs:
        return None
    mine = asked(project)
    nearest = min(reversed(runs), key=lambda record: len(changes(known(record), mine)))
    if changes(known(nearest), mine):
        return nearest
    grandparent = nearest["result"].get("experiment", {}).get("parent", "")
    return next((record for record in runs if record["id"] == grandparent), None)


def begin(project: Project, wanted: str = "", hypothesis: str = "", allow_multiple: str = "") -> dict[str, Any]:
    """What a new run is about: its parent, what it changes, settings or code, and the hypothesis.

    Raises UserError when it changes several things at once and `allow_multiple` does not say why: what came of it could then not
    be put down to any of them.
    """
    parent = find_parent(project, wanted)
    mine = asked(project)
    changed = changes(known(parent), mine) if parent else {}
    if parent and len(changed) > 1 and not allow_multiple:
        words = ", ".join(f"{name} ({old!r} -> {new!r})" for name, (old, new) in changed.items())
        project.overrule(
            f"this run changes {len(changed)} things against {parent['id']}: {words}",
            '; change one at a time, or say why they belong together: --allow-multiple "why"',
        )
    return {
        "parent": parent["id"] if parent else "",
        "changed": changed,
        "hypothesis": hypothesis,
        "allow_multiple": allow_multiple,
    }


def repeats(runs: list[dict[str, Any]], mine: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Those of the runs that are of one experiment, whose settings and code these are, by seed; the newest of each."""
    return {r["config"]["seed"]: r for r in runs if not changes(known(r), mine)}


def compare(project: Project, record: dict[str, Any], parent: dict[str, Any], prep: dict[str, Any]) -> dict[str, Any]:
    """The main metric of a run's experiment minus its parent's, see `difference`; seeds and, from SEEDS of them on, a verdict."""
    runs = finished(project)
    mine = repeats(runs, known(record)) | {record["config"]["seed"]: record}
    theirs = repeats(runs, known(parent))
    seeds = sorted(mine.keys() & theirs.keys())
    pairs = [(mine[seed], theirs[seed]) for seed in seeds] or [(record, parent)]
    folders = [[project.root / "runs" / one["id"] for one in side] for side in zip(*pairs, strict=True)]
    outputs = [[np.load(folder / "outputs.npy", allow_pickle=False) for folder in side] for side in folders]
    found = difference(project.config, prep, outputs[0], outputs[1], saved_truth(folders[0][0]))
    said = verdict(project.config.resolved_metric, found) if len(seeds) >= SEEDS else "undecided"
    return {**found, "seeds": seeds, "verdict": said}


def difference(
    config: Config, prep: dict[str, Any], mine: list[np.ndarray], theirs: list[np.ndarray], truth: metrics.Truth
) -> dict[str, float]:
    """The main metric of outputs minus that of others on the same rows, a pair [n, k] each for a seed: mean, 95 % interval, error.

    What another draw would change (Bouthillier et al. 2021): other seeds, by a t interval over the pairs, and other rows, by a
    bootstrap of their mean, which every pair shares; the two add in squares. One pair knows nothing of other seeds.
    """
    pairs = [
        [metrics.measure(config, prep, config.resolved_metric, outputs, truth) for outputs in pair]
        for pair in zip(mine, theirs, strict=True)
    ]

    def differences(weights: np.ndarray) -> np.ndarray:
        return np.array([a.of(weights) - b.of(weights) for a, b in pairs])

    one = pairs[0][0]
    found = paired_interval(differences(np.ones((1, one.n)))[:, 0])
    drawn = [differences(w).mean(axis=0) for w in metrics.resampled(config, one.n, one.together)]
    rows = float(np.nanstd(np.concatenate(drawn)))
    value, half = found["value"], float(np.hypot(found["value"] - found["low"], 1.96 * rows))
    return {"value": value, "low": value - half, "high": value + half, "error": float(np.hypot(found["error"], rows))}


def paired_interval(differences: np.ndarray, ratio: float = 0.0) -> dict[str, float]:
    """Mean of paired differences [n] with its 95 % t interval and standard error; of one alone, no interval.

    ratio: validation rows for each training row, where the n are folds. Folds share training rows, so that the plain interval
    is too narrow: the variance is corrected by the ratio (Nadeau and Bengio 2003).
    """
    n, mean = len(differences), float(differences.mean())
    if n == 1:
        return {"value": mean, "low": mean, "high": mean, "error": 0.0}
    from scipy.stats import t  # takes a second, which only several seeds are worth

    error = float(np.sqrt((1 / n + ratio) * differences.var(ddof=1)))
    half = float(t.ppf(0.975, n - 1)) * error
    return {"value": mean, "low": mean - half, "high": mean + half, "error": error}


def verdict(metric: str, difference: dict[str, float]) -> str:
    """adopt, reject or undecided: on which side of zero the whole interval lies."""
    gain = metrics.gain(metric, difference)
    return "adopt" if gain["low"] > 0 else "reject" if gain["high"] < 0 else "undecided"


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
