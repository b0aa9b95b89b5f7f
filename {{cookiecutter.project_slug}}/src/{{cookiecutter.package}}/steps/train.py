"""Train the model the recipe asks for, stop early, keep the best, and hold it against the best baseline."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..checks import trial_runs
from ..checks.check_result import CheckResult, check_result, not_applicable
from ..checks.gradients import dead_shares
from ..config import Config
from ..engine import experiments, metrics
from ..engine.callback import Callback, EpochLines
from ..engine.fitted import Fitted, weights_hash
from ..engine.loop import NonFinite, Progress, fit, losses_of, plan, planned_steps, predict, query_of, truth_of
from ..engine.losses import Loss, make_loss
from ..engine.nonfinite import Autopsy
from ..engine.project import Project, Run, environment, git
from ..engine.reopen import STARTED, difference, started
from ..engine.sharpness import sharpness
from ..engine.splits import splits
from ..engine.step_monitor import StepMonitor
from ..engine.stop import alone
from ..engine.terminal import Bar
from ..engine.track import make_tracker
from ..errors import Stopped, UserError
from ..task import Batch, Examples
from . import diagnose
from .baseline import save_truth

FIRST = 10.0  # seconds that the first process has to say what is wrong and end, before another says the same
PROBE = 512  # training examples on which dead units and sharpness are measured at the end


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Fit, evaluate the best on validation and record; what it rests on is looked at before (engine/gates.py)."""
    config, task = project.config, project.task
    run.held.enter_context(alone(run.folder))
    project.distributed.refuse(config, task)
    baseline = project.current("baseline")
    experiment = experiments.begin(project, args.parent, args.hypothesis, args.allow_multiple)
    run.add(committed(project))
    data = splits(project)
    prep = task.prepare(config, data["train"])
    run.save("prep.json", prep)
    train, val = (task.examples(config, prep, data[name]) for name in ("train", "val"))
    if task.final_baseline(config):
        outputs, summary = _fit_baseline(project, run, prep, data)
    else:
        try:
            outputs, summary = _fit_network(project, run, prep, (train, val), args)
        except NonFinite as broken:
            run.add(non_finite(config, broken))
            return
    _record(project, run, prep, truth_of(config, data["val"], val), outputs, summary, baseline)
    _compare(project, run, prep, experiment)
    if not task.final_baseline(config):
        for one in diagnose.findings(project, run.folder, config.model_dump(), run.result)[0]:
            run.add(one)


def follow(project: Project, args: argparse.Namespace) -> int:
    """What every process but the first does: its share of the training. It writes nothing, and the first says how it ended.

    Raises UserError for what the first has not met, such as other data on this machine.
    """
    try:
        with project.distributed.together(None) as told:
            if changed := difference(told["started"], started(project)):
                raise UserError(f"it was started with something else than process 0: {'; '.join(changed)}")
            data = splits(project)
            train, val = (project.task.examples(project.config, told["prep"], data[name]) for name in ("train", "val"))
            folder, distributed = project.root / "runs" / told["run"], project.distributed
            callbacks = [StepMonitor(folder, distributed), Autopsy(folder, project.config, distributed)]
            fit(
                project.config,
                project.task,
                told["prep"],
                train,
                val,
                folder,
                told["resumed"],
                callbacks,
                args.skip,
                distributed,
            )
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
    there = experiments.repeats(experiments.finished(project), {**project.config.model_dump(), **settings})
    for seed in [seed for seed in seeds if seed not in there]:
        quiet = project.variant(seed=seed, **settings)
        quiet.quiet = True
        record = there[seed] = again(quiet, args)
        metric = record["result"]["metric"]
        project.say(
            f"  {record['id']} {experiments.words(settings) or 'as it is'}, seed {seed}: {metric} {record['result']['metrics'][metric]['value']:.4f}"
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


def score_of(
    project: Project,
    run: Run,
    prep: dict[str, Any],
    examples: tuple[Examples, Examples],
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> float:
    """`outputs_of` these settings, as the main metric on validation."""
    outputs = outputs_of(project, run, prep, examples, callbacks, **settings)
    return metrics.score(project.config, prep, outputs, examples[1].y.cpu().numpy(), query_of(examples[1]))


def outputs_of(
    project: Project,
    run: Run,
    prep: dict[str, Any],
    examples: tuple[Examples, Examples],
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> np.ndarray:
    """Train with these settings, leaving no record, and return the outputs on validation [n, k] of the best weights.

    Raises NonFinite when the training breaks down.
    """
    config, task = project.variant(**settings).config, project.task
    with tempfile.TemporaryDirectory(dir=run.folder) as name:
        folder = Path(name)
        model, _ = fit(config, task, prep, *examples, folder, callbacks=[Autopsy(folder, config), *callbacks])
        return predict(model, examples[1], config)


def _fit_network(
    project: Project, run: Run, prep: dict[str, Any], examples: tuple[Examples, Examples], args: argparse.Namespace
) -> tuple[np.ndarray, dict[str, Any]]:
    said = {"run": run.id, "resumed": run.resumed, "prep": prep, "started": started(project)}
    if not run.resumed:
        run.save(STARTED, said["started"])
    with project.distributed.together(said):
        watching = callbacks(project, run)
        model, progress = fit(
            project.config,
            project.task,
            prep,
            *examples,
            run.folder,
            run.resumed,
            watching,
            args.skip,
            project.distributed,
        )
    outputs = predict(model, examples[1], project.config)
    run.add(best_restored(project, prep, examples[1], outputs, progress))
    run.add(trial_runs.lr_as_planned(project.config, progress, planned_steps(project.config, examples[0])))
    run.add(trial_runs.seen(len(examples[0]), progress))
    device, loss = next(model.parameters()).device, make_loss(project.config, prep)
    probe = next(iter(examples[0].batches(plan(examples[0], PROBE)[:1]))).to(device)
    run.save("curves.json", progress.curves)
    run.save_array("losses.npy", np.array(progress.losses, dtype=np.float32))
    _save_worst(project, run, prep, examples[1], (model, outputs))
    return outputs, {
        "model": "network",
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "steps": progress.step,
        "skipped": progress.skipped,
        "stopped": progress.stopped or "all epochs done",
        "dead_units": dead_shares(model, probe),
        "sharpness": sharpness(model, loss, probe),
    }


def callbacks(project: Project, run: Run) -> list[Callback]:
    """What watches a training run: gradients, steps that are not finite, the tracker, and the terminal unless --quiet."""
    config, distributed, made = project.config, project.distributed, environment(project.root)
    facts = {"run": run.id, **{f"hash_{k}": v for k, v in project.fingerprint.items()}, "commit": made["commit"]}
    facts |= {f"version_{name}": version for name, version in made["libraries"].items() if version}
    watching = [
        StepMonitor(run.folder, distributed),
        Autopsy(run.folder, config, distributed),
        make_tracker(config, run.folder, facts),
    ]
    return watching if project.quiet else [ProgressBar(config), *watching, EpochLines(config)]


class ProgressBar(Callback):
    """How far the run is, on the last line of the terminal."""

    def __init__(self, config: Config) -> None:
        self.most = bool(config.patience)

    def on_start(self, model: nn.Module, loss: Loss, steps: int) -> None:
        self.bar = Bar(steps, quiet=False, most=self.most)

    def on_step(self, step: int) -> None:
        self.bar.at(step + 1)


def _fit_baseline(
    project: Project, run: Run, prep: dict[str, Any], data: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """The final model is a plain one: fit it by itself, save it, and use it like the network."""
    name = project.task.final_baseline(project.config)
    before = time.perf_counter()
    fitted = project.task.baselines(project.config, prep, data["train"])[name]
    folder = run.folder / "model"
    folder.mkdir(exist_ok=True)
    fitted.save(folder)
    project.say(f"  {name} fitted in {time.perf_counter() - before:.1f} s")
    outputs = Fitted(name, project.task, project.config, prep, baseline=fitted).outputs(data["val"])[0]
    return outputs, {
        "model": name,
        "parameters": 0,
        "trainable": 0,
        "epochs": 0,
        "best_epoch": 0,
        "steps": 0,
        "skipped": [],
        "stopped": "",
        "dead_units": {},
        "sharpness": None,
    }


def _record(
    project: Project,
    run: Run,
    prep: dict[str, Any],
    truth: metrics.Truth,
    outputs: np.ndarray,
    summary: dict[str, Any],
    baseline: dict[str, Any] | None,
) -> None:
    config = project.config
    run.save_array("outputs.npy", outputs)
    save_truth(run, truth)
    scores = metrics.summary(config, prep, outputs, *truth)
    metric = config.resolved_metric
    run.result |= {
        "metric": metric,
        **summary,
        "processes": project.distributed.size,
        "parallel": project.distributed.strategy,
        "metrics": scores,
        "weights": weights_hash(run.folder),
    }
    pinned = {"model": summary["model"], "weights": run.result["weights"]}
    run.result["ledger"] = {"metric": metric, **pinned, **scores[metric]}
    project.say(f"  {summary['model']}: validation {metric} {_interval(scores[metric])}")
    if baseline:
        run.add(against_baseline(project, run, prep, outputs, truth, baseline), show=True)


def _compare(project: Project, run: Run, prep: dict[str, Any], experiment: dict[str, Any]) -> None:
    """What came of the experiment against its parent; kept in the record and in the ledger."""
    metric = project.config.resolved_metric
    if experiment["parent"]:
        parent = next(r for r in experiments.finished(project) if r["id"] == experiment["parent"])
        mine = {"id": run.id, "config": project.config.model_dump(), "result": run.result}
        experiment["difference"] = experiments.compare(project, mine, parent, prep)
    run.result["experiment"] = experiment
    run.result["ledger"] |= {**experiment, "against_baseline": run.result.get("against_baseline")}
    project.say(f"  {experiments.sentence(experiment, metric)}")


def against_baseline(
    project: Project,
    run: Run,
    prep: dict[str, Any],
    outputs: np.ndarray,
    truth: metrics.Truth,
    baseline: dict[str, Any],
) -> CheckResult:
    """Whether the model beats the best simple one: paired difference on the same validation rows.

    A WARN also where the interval holds 0: what is not shown to be better is no PASS.
    """
    config, best = project.config, baseline["result"]["best"]
    theirs = np.load(project.root / "runs" / baseline["id"] / f"outputs-{best}.npy", allow_pickle=False)
    difference = metrics.difference(config, prep, outputs, theirs, *truth)
    run.result["against_baseline"] = {"name": best, **difference}
    if run.result.get("model") == best:
        return not_applicable("beats the baseline", f"the final model is {best}, the best simple one")
    return beats(config.resolved_metric, best, difference, "validation")


def beats(metric: str, best: str, difference: dict[str, float], part: str) -> CheckResult:
    """The verdict on a paired difference from the best simple model on a part of the data."""
    gain = metrics.gain(metric, difference)
    better, worse = gain["low"] > 0, gain["high"] < 0
    return check_result(
        "beats the baseline",
        f"{'better' if better else 'worse' if worse else 'not shown to be better'} than {best} on {part}: {metric} difference {_interval(difference)}",
        warn=not better,
        why="worse" if worse else "causes",
        evidence=difference,
        best=best,
    )


def best_restored(
    project: Project, prep: dict[str, Any], val: Examples, outputs: np.ndarray, progress: Progress
) -> CheckResult:
    """Replay of the best checkpoint: its validation loss must be the lowest of the curve."""
    losses = [row["val_loss"] for row in progress.curves]
    now = float(losses_of(make_loss(project.config, prep), outputs, val).mean(dtype=np.float64))
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


def _save_worst(
    project: Project, run: Run, prep: dict[str, Any], val: Examples, trained: tuple[Any, np.ndarray], count: int = 12
) -> None:
    """The validation examples with the highest loss, decoded back from what entered the model, and where it looked."""
    import torch

    model, outputs = trained
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


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
