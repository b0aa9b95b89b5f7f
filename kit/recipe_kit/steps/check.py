"""Find silent bugs before a long run. The four first, in this order: init loss, overfit a batch, gradients, clean split."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import owner
from ..checks import gradients, inputs, leak_probes, lint, loader, loop, loss, network, pipeline, trial_runs
from ..checks.check_result import CheckResult, check_result, not_applicable
from ..checks.context import Context, affordable, open_context
from ..checks.of_kind import of_kind
from ..checks.static import training_code
from ..owner.task import Batch
from ..project import Project, Run
from .cost import attention

CHECKS: tuple[Callable[[Context], CheckResult | list[CheckResult]], ...] = (
    network.init_loss, network.overfit, gradients.gradient_flow, lint.output_kind, lint.activations,
    lint.parameters_stepped, lint.normalization, loss.known_outputs, loss.mean_not_sum, loss.accumulation,
    loss.fresh_gradients, loss.downhill, loss.declared_gradient, loss.memory_per_step, pipeline.rows_and_labels,
    pipeline.decoded, pipeline.metric_of_known_outputs, network.no_mixing, inputs.input_matters,
    inputs.train_against_eval, loop.order, loop.schedule, loop.decay, loop.patience, loop.augmentation,
    loader.loader, trial_runs.trial_runs,
)  # fmt: skip

# These look at the inputs as training will; the others at cheaper ones where a step would take too long.
OF_INPUTS = (pipeline.rows_and_labels, pipeline.decoded, loop.augmentation, loader.loader)

# These also read or run the project itself.
ON_DISK: tuple[Callable[[Context, Project], CheckResult | list[CheckResult]], ...] = (
    pipeline.parts_as_pinned,
    leak_probes.refit,
    leak_probes.permuted_labels,
)


# These look at the loop of a generated project; that of an adopted one is seen through its `step` alone.
OF_LOOP = (
    loss.accumulation, loop.order, loop.schedule, loop.decay, loop.patience, loader.loader, trial_runs.trial_runs,
)  # fmt: skip


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Build the context and run every check; a check that crashes is a FAIL, with the error as what it saw."""
    context = open_context(project)
    run.save("batch.json", look(context))
    trials = affordable(context, project.say)
    for check in CHECKS:
        if check in OF_LOOP and project.adopted:
            run.add(not_applicable(check.__name__.replace("_", " "), "it needs the loop of a generated project"))
            continue
        run.timed(guarded(check), context if check in OF_INPUTS else trials)
        if check is gradients.gradient_flow:  # the fourth of the four that come first
            run.add(clean_split(project.current("split")))
    for with_project in ON_DISK:
        run.timed(guarded(with_project), trials, project)
    if project.adopted:
        run.timed(guarded(training_code), project.root, project.root, project.adopted.loaded())
    else:
        for found in of_kind(project.config, "checks")(project.config, context.prep, *context.data.values()):
            run.add(found)
        run.timed(guarded(training_code), Path(str(owner.__file__)).parent, project.root)
    with suppress(Exception):  # a network that cannot be called is told of above
        for line in attention(context):
            project.say(f"  {line}")
    run.result["inputs"] = trials.inputs
    run.result["checks"] = {found.check: found.verdict for found in run.findings}


def clean_split(record: dict[str, Any] | None) -> CheckResult:
    """What `recipe split` found of the parts: a fault there makes every score of this model wrong."""
    found = record["findings"] if record else []
    loud = {verdict: [f["check"] for f in found if f["verdict"] == verdict] for verdict in ("FAIL", "WARN")}
    words = "; ".join(f"{verdict} {', '.join(names)}" for verdict, names in loud.items() if names)
    return check_result(
        "clean split",
        f"{record['id']}: {words or f'{len(found)} checks passed'}" if record else "the split was not checked",
        fail=bool(loud["FAIL"]) or not record,
        evidence=loud,
    )


def guarded(check: Callable[..., CheckResult | list[CheckResult]]) -> Callable[..., CheckResult | list[CheckResult]]:
    """The check, with any exception turned into a FAIL: broken project code must not hide the other checks."""

    def call(*args: Any) -> CheckResult | list[CheckResult]:
        try:
            return check(*args)
        except Exception as error:
            return replace(
                check_result("it runs", f"it could not run: {type(error).__name__}: {error}", fail=True),
                check=check.__name__.replace("_", " "),
            )

    return call


def look(context: Context, rows: int = 8) -> list[dict[str, Any]]:
    """What the network sees: training examples of all classes, augmented as in training, decoded back from their tensors."""
    batch: Batch = next(iter(context.train.batches([context.rows(rows)], 0, augment=True)))
    return [
        {"y": batch.y[i].tolist(), **context.task.show(context.prep, batch, i)} for i in range(min(rows, len(batch.y)))
    ]
