"""Classes far apart in size: dealt with by a setting or for a declared reason, else no model is held against a baseline."""

from __future__ import annotations

from .owner.config import Config
from .owner.engine.target import counted
from .owner.task import Data

IMBALANCE = 10  # to one; beyond it accuracy rewards silence
# Metrics that hide no rare class, by task: what a refusal offers.
SHOWING = {"binary": "average_precision, balanced_accuracy or f1", "multiclass": "balanced_accuracy or macro_f1"}


def handled(config: Config) -> bool:
    """Whether there are no classes, or a setting deals with rare ones: weights or copies, the focal loss, a metric chosen for it,
    costs that move the threshold; or the owner says why nothing has to."""
    chosen = config.metric not in ("auto", "accuracy") or config.cost_false_negative != config.cost_false_positive
    accepted = config.imbalance.strip() or "class balance" in config.acknowledge
    dealt = chosen or accepted or config.class_weights != "none" or config.loss == "focal"
    return config.task not in SHOWING or bool(dealt)


def unhandled(config: Config, data: Data) -> tuple[str, str]:
    """(which class is over IMBALANCE times rarer than the largest; what to do), where nothing is `handled`; ("", "") if none is."""
    counts = counted(data.frame[data.target])
    (_, most), (rare, least) = next(iter(counts.items())), list(counts.items())[-1]
    if most <= IMBALANCE * least:
        return "", ""
    costs = ", costs that differ (cost_false_negative)" if config.task == "binary" else ""
    return (
        f"class {rare!r} of {data.target!r} is {least / sum(counts.values()):.2%} of the rows outside test ({least:,}; the largest has {most:,},"
        f" over {IMBALANCE} times as many), and no setting handles that",
        f': choose class_weights = "balanced" or "oversample", loss = "focal", a metric that shows it ({SHOWING[config.task]})'
        f'{costs}; or say why it needs nothing: imbalance = "reason"',
    )
