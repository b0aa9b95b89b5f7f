"""Train, then look at what came of it: checks, the best baseline, the parent experiment, a diagnosis of the curves."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import experiments
from ..checks import trial_runs
from ..checks.check_result import CheckResult, check_result, not_applicable
from ..checks.context import Context, Rows
from ..checks.gradients import dead_shares
from ..nonfinite import Autopsy
from ..owner.config import Config
from ..owner.engine import metrics
from ..owner.engine.callback import Callback, EpochLines
from ..owner.engine.files import save_array
from ..owner.engine.loop import NonFinite, Progress, fit, losses_of, plan, planned_steps, predict
from ..owner.engine.losses import Loss, make_loss
from ..owner.engine.seed import generator
from ..owner.engine.splits import splits
from ..owner.engine.stop import alone
from ..owner.engine.track import make_tracker
from ..owner.engine.train import Trained, train
from ..owner.errors import Stopped, UserError
from ..owner.formatting import interval, number
from ..owner.task import Batch, Examples
from ..project import Project, Run
from ..reopen import STARTED, difference, started
from ..report.inputs import distributions
from ..runs import environment, git
from ..sharpness import sharpness
from ..step_monitor import StepMonitor
from ..terminal import Bar
from . import diagnose

FIRST = 10.0  # seconds that the first process has to say what is wrong and end, before another says the same
WATCHED = 2_000  # training examples whose loss at the end is kept
PROBE = 512  # training examples on which dead units and sharpness are measured at the end


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Fit, evaluate the best on validation and record; what it rests on is looked at before (gates.py)."""
    config, task = project.config, project.task
    run.held.enter_context(alone(run.folder))
    project.distributed.refuse(config, task)
    baseline = project.current("baseline")
    experiment = experiments.begin(project, args.parent, args.hypothesis, args.allow_multiple)
    run.add(committed(project))
    said = {"run": run.id, "resumed": run.resumed, "started": started(project)}
    if not run.resumed:
        run.save(STARTED, said["started"])
    data = splits(project)  # may refuse: before a tracker is opened
    watching = [] if project.adopted else callbacks(project, run)
    try:
        if project.adopted:
            trained = project.adopted.train(config, data, run.folder)
        else:
            trained = train(config, task, data, run.folder, run.resumed, watching, args.skip, project.distributed, said)
    except NonFinite as broken:
        run.add(non_finite(config, broken))
        return
    run.result |= trained.result
    run.save("inputs.json", distributions(task, trained.prep, data["train"]))
    observe(project, run, trained, baseline)
    _compare(project, run, trained.prep, experiment)
    if run.result["model"] == "network":
        for one in diagnose.findings(project, run.folder, config.model_dump(), run.result)[0]:
            run.add(one)


def observe(project: Project, run: Run, trained: Trained, baseline: dict[str, Any] | None) -> None:
    """What the checks say of a training that has ended, and how it compares with the best baseline."""
    config, result = project.config, run.result
    if trained.model is None or trained.progress is None:
        project.say(f"  {result['model']} fitted in {result['seconds']:.1f} s")
        result |= {"dead_units": {}, "sharpness": None}
    else:
        device, loss = next(trained.model.parameters()).device, make_loss(config, trained.prep)
        run.add(best_restored(loss, trained.val, trained.outputs, trained.progress))
        run.add(trial_runs.lr_as_planned(config, trained.progress, planned_steps(config, trained.train)))
        run.add(trial_runs.seen(trial_runs.due(config, trained.train), trained.progress))
        _save_worst(project, run, trained, trained.model)
        if trained.train.query is None:
            order = torch.randperm(len(trained.train), generator=generator(config.seed))[:WATCHED]
            some = Rows(trained.train, order)
            save_array(run.folder / "train_losses.npy", losses_of(loss, predict(trained.model, some, config), some))
        few = plan(trained.train, min(config.batch_size, PROBE))[: max(PROBE // config.batch_size, 1)]
        probe = [batch.to(device) for batch in trained.train.batches(few)]
        result["dead_units"] = dead_shares(trained.model, probe)
        result["sharpness"] = sharpness(trained.model, loss, probe)
    metric = config.resolved_metric
    scores = result["metrics"][metric]
    result["ledger"] = {"metric": metric, "model": result["model"], "weights": result["weights"], **scores}
    project.say(f"  {result['model']}: validation {metric} {interval(scores)}")
    if baseline:
        run.add(against_baseline(project, run, trained, baseline), show=True)


def follow(project: Project, args: argparse.Namespace) -> int:
    """What every process but the first does: its share of the training. It writes nothing, and the first says how it ended.

    Raises UserError for what the first has not met, such as other data on this machine.
    """
    try:
        with project.distributed.together(None) as told:
            if changed := difference(told["started"], started(project)):
                raise UserError(f"it was started with something else than process 0: {'; '.join(changed)}")
            config, task, data, prep = project.config, project.task, splits(project), told["prep"]
            parts = [task.examples(config, prep, data[name]) for name in ("train", "val")]
            folder, distributed = project.root / "runs" / told["run"], project.distributed
            watching = [StepMonitor(folder, distributed), Autopsy(folder, config, distributed)]
            fit(config, task, prep, parts[0], parts[1], folder, told["resumed"], watching, args.skip, distributed)
    except (Stopped, NonFinite):
        pass
    except UserError as error:
        time.sleep(FIRST)  # torchrun ends this process when the first refuses the same
        raise UserError(f"process {project.distributed.rank}: {error}") from None
    return 0


def committed(project: Project) -> CheckResult:
    """Whether the code and the recipe of this run are those of a commit, so that the run can be found again."""
    commit = git(project.root, "rev-parse", "HEAD")
    if not commit:
        return not_applicable("committed code", "the project lies in no git repository with a commit")
    status = git(
        project.root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--", "src", "recipe.toml"
    )
    changed = [entry.strip()[2:].strip() for entry in status.split("\0") if entry]
    return check_result(
        "committed code",
        f"{', '.join(changed[:4])} changed since commit {commit[:8]}" if changed else f"as in commit {commit[:8]}",
        warn=bool(changed),
        evidence={"commit": commit, "changed": changed},
    )


def repeat(project: Project, args: argparse.Namespace, run: Run, seeds: range, **settings: Any) -> dict[str, Any]:
    """Train with these settings once under each seed, where no such run is there yet; the record of the first seed."""
    args = argparse.Namespace(**{**vars(args), "allow_multiple": args.allow_multiple or f"part of {run.id}"})
    wanted = {**experiments.asked(project), **settings}
    there = experiments.repeats(experiments.finished(project), wanted)
    for seed in [seed for seed in seeds if seed not in there]:
        quiet = project.variant(seed=seed, **settings)
        quiet.quiet = True
        record = there[seed] = again(quiet, args)
        metric = record["result"]["metric"]
        project.say(
            f"  {record['id']} {experiments.words(settings) or 'as it is'}, seed {seed}: {metric} {number(record['result']['metrics'][metric]['value'])}"
        )
    return there[seeds[0]]


def again(project: Project, args: argparse.Namespace) -> dict[str, Any]:
    """Train a variant of the project as a run of its own, with its own record and ledger line; returns the record.

    Raises UserError when the training broke down: its record stays, and there is no score to go on with.
    """
    begun = project.begin("train")
    try:
        run(project, begun, args)
        record = begun.finish()
    except BaseException:
        begun.discard()
        raise
    if not record["result"].get("metrics"):
        raise UserError(f"{record['id']} broke down and has no score; what it died of: recipe diagnose {record['id']}")
    return record


@contextmanager
def unbroken(config: Config, what: str = "training") -> Iterator[None]:
    """A training inside that breaks down is a UserError, where there is nothing to go on with."""
    try:
        yield
    except NonFinite as broken:
        raise UserError(f"{what} broke down: {broken}; fix that first: recipe train lr={config.lr / 10:g}") from None


def score_of(run: Run, of: Context, callbacks: Sequence[Callback] = (), **settings: Any) -> float:
    """`outputs_of` these settings, as the main metric on validation."""
    outputs = outputs_of(run, of, callbacks, **settings)
    return metrics.score(of.config, of.prep, outputs, metrics.Truth.of(of.val))


def outputs_of(run: Run, of: Context, callbacks: Sequence[Callback] = (), **settings: Any) -> np.ndarray:
    """Train on these parts with these settings, leaving no record, and return the outputs on validation [n, k] of the best weights.

    callbacks: of a network. Raises NonFinite when the training breaks down.
    """
    config, task = run.project.variant(**settings).config, of.task
    if task.final_baseline(config):
        return task.final_model(config, of.prep, (of.train, of.val))[1]
    with tempfile.TemporaryDirectory(dir=run.folder) as name:
        folder = Path(name)
        watching = [Autopsy(folder, config), *callbacks]
        model, _ = fit(config, task, of.prep, of.train, of.val, folder, callbacks=watching)
        return predict(model, of.val, config)


def callbacks(project: Project, run: Run) -> list[Callback]:
    """What watches a training run: gradients, steps that are not finite, the tracker, and the terminal unless --quiet; of a
    plain model the tracker alone."""
    config, distributed, made = project.config, project.distributed, environment(project.root)
    facts = {"run": run.id, **{f"hash_{k}": v for k, v in project.fingerprint.items()}, "commit": made["commit"]}
    facts |= {f"version_{name}": version for name, version in made["libraries"].items() if version}
    tracker = make_tracker(config, run.folder, facts)
    if project.task.final_baseline(config):
        return [tracker]
    watching = [StepMonitor(run.folder, distributed), Autopsy(run.folder, config, distributed), tracker]
    return watching if project.quiet else [ProgressBar(config), *watching, EpochLines(config)]


class ProgressBar(Callback):
    """How far the run is, on the last line of the terminal."""

    def __init__(self, config: Config) -> None:
        self.most = bool(config.patience)

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        self.bar = Bar(steps, quiet=False, most=self.most)

    def on_step(self, step: int) -> None:
        self.bar.at(step + 1)


def _compare(project: Project, run: Run, prep: dict[str, Any], experiment: dict[str, Any]) -> None:
    """What came of the experiment against its parent; kept in the record and in the ledger."""
    metric = project.config.resolved_metric
    if experiment["parent"]:
        parent = next(r for r in experiments.finished(project) if r["id"] == experiment["parent"])
        mine = {
            "id": run.id,
            "config": project.config.model_dump(),
            "result": run.result,
            "fingerprint": project.fingerprint,
        }
        experiment["difference"] = experiments.compare(project, mine, parent, prep)
    run.result["experiment"] = experiment
    run.result["ledger"] |= {**experiment, "against_baseline": run.result.get("against_baseline")}
    project.say(f"  {experiments.sentence(experiment, metric)}")


def against_baseline(project: Project, run: Run, trained: Trained, baseline: dict[str, Any]) -> CheckResult:
    """Whether the model beats the best simple one: paired difference on the same validation rows.

    A WARN also where the interval holds 0: what is not shown to be better is no PASS.
    """
    config, best = project.config, baseline["result"]["best"]
    theirs = np.load(project.root / "runs" / baseline["id"] / f"outputs-{best}.npy", allow_pickle=False)
    difference = metrics.difference(config, trained.prep, trained.outputs, theirs, trained.truth)
    run.result["against_baseline"] = {"name": best, **difference}
    if run.result.get("model") == best:
        told = f"the final model is {best}, the best simple one; by its settings {config.resolved_metric} differs by"
        return not_applicable("beats the baseline", f"{told} {interval(difference, '+')}")
    return beats(config.resolved_metric, best, difference, "validation")


def beats(metric: str, best: str, difference: dict[str, float], part: str) -> CheckResult:
    """The verdict on a paired difference from the best simple model on a part of the data."""
    gain = metrics.gain(metric, difference)
    better, worse = gain["low"] > 0, gain["high"] < 0
    return check_result(
        "beats the baseline",
        f"{'better' if better else 'worse' if worse else 'not shown to be better'} than {best} on {part}: {metric} difference {interval(difference)}",
        warn=not better,
        why="worse" if worse else "causes",
        evidence=difference,
        best=best,
    )


def best_restored(loss: Loss, val: Examples, outputs: np.ndarray, progress: Progress) -> CheckResult:
    """Replay of the best checkpoint: its validation loss must be the lowest of the curve."""
    losses = [row["val_loss"] for row in progress.curves]
    now = float(losses_of(loss, outputs, val).mean(dtype=np.float64))
    low = min((value for value in losses if math.isfinite(value)), default=math.nan)
    return check_result(
        "best restored",
        f"validation loss {now:.5f} from the restored weights, lowest of the curve {low:.5f} (epoch {progress.best_epoch})",
        fail=not math.isclose(now, low, rel_tol=1e-4, abs_tol=1e-6),
        evidence={"restored": now, "lowest": low},
    )


def non_finite(config: Config, broken: NonFinite) -> CheckResult:
    """The finding for a run that was stopped before a non-finite step."""
    inputs = [x for batch in broken.batches for x in (batch.x.values() if isinstance(batch.x, dict) else [batch.x])]
    clean = all(bool(x.isfinite().all()) for x in inputs if x.is_floating_point())
    return check_result(
        "finite training",
        f"{broken}; the step was not taken; the inputs of the batch are {'finite' if clean else 'NOT finite'}",
        fail=True,
        why="finite_input" if clean else "bad_input",
        lower=config.lr / 10,
        command=f"recipe train lr={config.lr / 10:g}" if clean else "recipe audit",
    )


def _save_worst(project: Project, run: Run, trained: Trained, model: nn.Module, count: int = 12) -> None:
    """The validation examples with the highest loss, decoded back from what entered the model, and where it looked."""
    prep, outputs, val = trained.prep, trained.outputs, trained.val
    each = losses_of(make_loss(project.config, prep), outputs, val)
    rows = np.argsort(-each)[:count].copy()
    batch: Batch = next(iter(val.batches([torch.from_numpy(rows)])))
    run.save(
        "worst.json",
        [
            {
                "index": int(row),
                "y": float(batch.y[i]),
                "loss": float(each[row]),
                "output": outputs[row].tolist(),
                "shown": project.task.show(prep, batch, i),
                "explained": project.task.explain(project.config, prep, model, batch, i),
            }
            for i, row in enumerate(rows)
        ],
    )
