"""Tuning comes last: search learning rate, then batch size, then regularization, and hold the winner against noise.

Each stage is an Optuna study: random draws first, then TPE (Bergstra et al. 2011). Start the same command again to add
a worker, on another machine with --storage; a worker that dies loses nothing but its own trial, which is queued again.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from .. import experiments
from ..checks.check_result import CheckResult, check_result
from ..checks.context import Context, open_context
from ..owner.config import LOWER_IS_BETTER
from ..owner.engine.callback import Callback
from ..owner.engine.files import read_json
from ..owner.engine.loop import NonFinite
from ..owner.engine.metrics import gain
from ..owner.engine.resume import Progress
from ..owner.engine.stop import alone
from ..owner.errors import UserError, first_line
from ..owner.formatting import interval, number
from ..project import Project, Run
from ..publish import publish_trials
from . import train

TRIALS = 12  # in each stage; the first half are random draws
HEARTBEAT = 10  # seconds between signs of life of a worker
GRACE = 40  # seconds of silence after which its trial is queued again
FINALISTS = 2  # that run against the present settings under paired seeds
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
Space = dict[str, Any]  # setting -> its range, or a list of values


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Three stages of trials on train and validation, then the finalists against the present settings; never the test part."""
    context = open_context(project)
    best: dict[str, Any] = {}
    finalists: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are called that since 2021
        for stage, space in stages(project.config, len(context.train)).items():
            with alone(project.root / "runs", wait=True):  # two workers that make the same tables at once fail
                study = open_study(project, stage, best, args.storage)
            search(run, context, study, space, best, args.trials or TRIALS)
            finalists = [{**best, **params} for params in ranked(study)[:FINALISTS]]
            if not finalists:
                raise UserError(f"no trial of the stage {stage!r} came to an end; look at lr with: recipe lr-find")
            best = finalists[0]
            project.say(f"  {stage}: {len(study.trials)} trials, best {experiments.words(best)}")
            run.result.setdefault("stages", {})[stage] = describe(study)
    publish_trials(run)
    with alone(project.root / "runs", wait=True):  # a second worker waits, and then finds the finalists' runs there
        _final(project, run, args, finalists)


def ranked(study: optuna.Study) -> list[dict[str, Any]]:
    """Settings of the trials that came to their end, best first."""
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]  # a pruned one has a value too: its last report
    return [t.params for t in sorted(ended, key=lambda t: (-(t.value or 0.0), t.number))]


def stages(config: Any, rows: int) -> dict[str, Space]:
    """What is searched, stage by stage."""
    if getattr(config, "model", "") == "lightgbm":
        leaf = {size for size in (5, 20, 50, 200) if size <= rows // 4} | {config.min_child_samples}
        step = {"low": config.shrinkage / 5, "high": min(6 * config.shrinkage, 1.0), "log": True}
        return {
            "learning rate": {"shrinkage": step},
            "trees": {
                "num_leaves": sorted({7, 15, 31, 63, 127, config.num_leaves}),
                "min_child_samples": sorted(leaf),
            },
            "sampling": {"subsample": {"low": 0.5, "high": 1.0, "step": 0.1}},
        }
    sizes = {max(8, int(config.batch_size * factor)) for factor in (0.25, 0.5, 1, 2, 4)}
    sizes = {size for size in sizes if size <= max(rows // 4, config.batch_size)}
    dropout = {"dropout": {"low": 0.0, "high": 0.5, "step": 0.05}} if hasattr(config, "dropout") else {}
    return {
        "learning rate": {"lr": {"low": config.lr / 30, "high": min(30 * config.lr, 10.0), "log": True}},
        "batch size": {"batch_size": sorted(sizes | {config.batch_size})},
        "regularization": {"weight_decay": {"low": 1e-4, "high": 0.3, "log": True}, **dropout},
    }


def inside(value: Any, choice: Any) -> bool:
    """Whether a present value of a setting is one that the search could draw."""
    return value in choice if isinstance(choice, list) else choice["low"] <= value <= choice["high"]


def open_study(project: Project, stage: str, fixed: dict[str, Any], url: str) -> optuna.Study:
    """The study of a stage for this data, code and these settings; the same one for every worker that asks for it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name = "-".join([stage, *(value[:8] for value in project.fingerprint.values()), experiments.words(fixed)])
    try:
        storage = optuna.storages.RDBStorage(
            url or f"sqlite:///{project.root / 'runs' / 'tuning.db'}",
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )
    except Exception as error:  # SQLAlchemy's errors differ from driver to driver
        raise UserError(f"--storage {url!r} cannot be opened: {first_line(error)}") from None
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(project.config.epochs // 10, 2))
    return optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
    )


def search(run: Run, of: Context, study: optuna.Study, space: Space, fixed: dict[str, Any], trials: int) -> None:
    """Run trials until `trials` are done, by this worker and others; the present settings are the first of them."""
    project, present = run.project, {name: getattr(of.config, name) for name in space}
    if all(inside(value, space[name]) for name, value in present.items()):
        study.enqueue_trial(present, skip_if_exists=True)
    known: set[int] = set()
    while True:
        reap(study, known)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        done, running = sum(s in DONE for s in states), states.count(TrialState.RUNNING)
        if done >= trials:
            return
        if done + running >= trials and TrialState.WAITING not in states:
            time.sleep(1)  # another worker has the last ones; should it die, they come back
            continue
        apart = os.getpid() if running else 0  # a worker alone draws the same trials again; two draw different ones
        seed = int(np.random.default_rng([project.config.seed, len(states), apart]).integers(2**31))
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=trials // 2, seed=seed)
        try:
            study.optimize(lambda trial: _trial(run, of, trial, space, fixed), n_trials=1)
        except ValueError as error:
            if not str(error).startswith("Cannot tell a FAIL trial"):
                raise
            project.say(f"    silent for over {GRACE} s, taken for dead: the trial is another worker's now; going on")


def reap(study: optuna.Study, known: set[int]) -> None:
    """Fail the trials of workers that died, which queues them again. known: numbers of the running trials seen here; one that
    is new gets a sign of life, since Optuna never misses a worker that died before it gave its first."""
    optuna.storages.fail_stale_trials(study)
    storage: Any = study._storage
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number not in known:
            known.add(trial.number)
            storage.record_heartbeat(trial._trial_id)


def _trial(run: Run, of: Context, trial: optuna.Trial, space: Space, fixed: dict[str, Any]) -> float:
    """The main metric on validation with these settings, turned so that more is better. Raises TrialPruned when hopeless."""
    settings = {
        name: trial.suggest_categorical(name, choice)
        if isinstance(choice, list)
        else trial.suggest_float(name, **choice)
        for name, choice in space.items()
    }
    metric = of.config.resolved_metric
    sign = -1 if metric in LOWER_IS_BETTER else 1

    class Prune(Callback):
        def on_epoch(self, progress: Progress) -> None:
            trial.report(sign * max(sign * row["val_metric"] for row in progress.curves), progress.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        value = train.score_of(run, of, [Prune()], **fixed, **settings)
    except NonFinite:
        raise optuna.TrialPruned from None
    run.project.say(f"    trial {trial.number}: {experiments.words(settings)} -> {metric} {number(value)}")
    return sign * value


def describe(study: optuna.Study) -> list[dict[str, Any]]:
    """Every trial of a study as JSON-able values."""
    return [{"number": t.number, "state": t.state.name, "value": t.value, "params": t.params} for t in study.trials]


def _final(project: Project, run: Run, args: argparse.Namespace, finalists: list[dict[str, Any]]) -> None:
    """The finalists and the present settings under the same seeds, each a training run with its own record."""
    seeds = range(project.config.seed, project.config.seed + (args.seeds or experiments.SEEDS))
    base = train.repeat(project, args, run, seeds)
    prep = read_json(project.root / "runs" / base["id"] / "prep.json", "the preprocessing of a run", "recipe tune")
    found = []
    for settings in finalists:
        record = train.repeat(project, args, run, seeds, **settings)
        found.append({"settings": settings, "run": record["id"], **experiments.compare(project, record, base, prep)})
    metric = project.config.resolved_metric
    best = max(found, key=lambda row: gain(metric, row)["value"])
    run.result |= {"metric": metric, "base": base["id"], "seeds": list(seeds), "finalists": found, "best": best}
    run.add(bought(metric, best), show=True)


def bought(metric: str, best: dict[str, Any]) -> CheckResult:
    """What tuning gained over the settings it started from, against the noise of seeds and validation rows."""
    return check_result(
        "what tuning bought",
        f"{experiments.words(best['settings'])}: {metric} {interval(best, '+')} over"
        f" {len(best['seeds'])} paired seeds: {best['verdict']}",
        warn=best["verdict"] != "adopt",
        evidence={key: best[key] for key in ("value", "low", "high")},
    )
