"""What the curves of a run say: each diagnosis with its evidence, ranked causes, and the one experiment to do next.

The unit of every threshold is what there is to learn: the distance from the loss of a model that knows only the class
shares (`start`) to the lowest loss seen, and the standard error of a paired difference between epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .check_result import CheckResult, check_result

FITTED = 0.02  # nats, or shares of the variance: what a training loss below that leaves is no lack of capacity


@dataclass(frozen=True)
class Evidence:
    """What a run left behind, as plain numbers. Losses are per epoch; paired differences are over validation rows.

    start: loss of the trivial predictor. rise: (mean, standard error) of the loss at the last epoch minus that at the
    best. gain: the same for the loss at 60 % of the epochs minus the last. worth: the same for the loss of the trivial
    predictor minus that of the kept model. dead: share of units that never fire, by layer. updates: typical relative movement of the weights in a step. calibration:
    confidence, right, ece and its null on validation; {} where there are no classes. baseline: the main metric of the
    run minus that of the best simple model (value, low, high), so that more is better. signal: whether a simple model
    beats the trivial one, and gained by how much in the main metric. bigger, more_data: what a larger model and the last
    doubling of the data gained in the main metric, [value, low, high], more is better; None where nobody has tried.
    peaks: how often validation surely rose and surely fell again. lr_found: the range that recipe lr-find found.
    """

    start: float
    train_loss: list[float]
    val_loss: list[float]
    lr: list[float]
    seconds: list[float]
    waited: list[float]
    epochs: int
    best_epoch: int
    early: bool
    finite: bool = True
    rise: tuple[float, float] = (0.0, 0.0)
    gain: tuple[float, float] = (0.0, 0.0)
    worth: tuple[float, float] = (0.0, 0.0)
    dead: dict[str, float] | None = None
    updates: float | None = None
    calibration: dict[str, float] | None = None
    baseline: dict[str, float] | None = None
    signal: bool | None = None
    bigger: list[float] | None = None
    more_data: list[float] | None = None
    gained: float | None = None
    peaks: int = 0
    lr_found: list[float] | None = None

    @property
    def learned(self) -> float:
        """How far validation came down from the trivial loss; at least a hundredth of it, to divide by."""
        return max(self.start - min(self.val_loss), 0.01 * self.start)

    @property
    def span(self) -> float:
        """How far training came down from the trivial loss; at least a hundredth of it, to divide by."""
        return max(self.start - min(self.train_loss), 0.01 * self.start)


def peaks(losses: np.ndarray) -> int:
    """How often the mean of losses [epochs, rows] surely rose above its last low and surely fell again: by three standard
    errors of the paired difference, and by 5 % of what was learned by then."""
    mean = losses.mean(axis=1)
    found, low, top = 0, 0, -1

    def sure(later: int, earlier: int) -> bool:
        apart = losses[later] - losses[earlier]
        enough = max(3 * float(apart.std()) / len(apart) ** 0.5, 0.05 * float(mean[0] - mean.min()))
        return float(apart.mean()) > enough

    for epoch in range(1, len(mean)):
        if top < 0:
            low = epoch if mean[epoch] < mean[low] else low
            top = epoch if sure(epoch, low) else -1
        elif mean[epoch] > mean[top]:
            top = epoch
        elif sure(top, epoch):
            found, low, top = found + 1, epoch, -1
    return found


def diagnose(evidence: Evidence, settings: dict[str, Any]) -> list[CheckResult]:
    """All diagnoses that fit, the one to act on first; a single PASS when none does. `settings` fill in the experiments.

    settings: lr, epochs, workers, and `try_bigger`, `regularize`: commands and overrides of this modality.
    """
    if not evidence.finite or not evidence.train_loss or not math.isfinite(evidence.train_loss[-1]):
        return [_found(settings, "diverged", "the loss or a gradient stopped being a number")]
    found = [_found(settings, *said) for rule in RULES for said in rule(evidence)]
    e = evidence
    summary = f"train {e.train_loss[0]:.4f} -> {e.train_loss[-1]:.4f}, validation best {min(e.val_loss):.4f} at epoch {e.best_epoch} of {len(e.val_loss)}"
    fatal = [f for f in found if f.check in ("not learning", "diverged")]  # nothing else can be read from such curves
    return fatal[:1] or found or [_found(settings, "sound curves", summary)]


NOTES = (
    "overfitting", "underfitting", "data ceiling", "underfitting or data ceiling", "still improving",
    "overconfident", "good from the first epoch", "learning rate outside the range",
)  # fmt: skip
FAULTS = (
    "not learning", "diverged", "unstable", "late spike", "oscillating validation", "plateau",
    "dead units at the end", "far behind the baseline", "loader-bound",
)  # fmt: skip
NAMES = (*FAULTS, *NOTES, "sound curves")


def _found(settings: dict[str, Any], name: str, observed: str, why: str = "causes") -> CheckResult:
    """A fault of the run is a WARN; what only says where to go next, as every finished run has it, passes with advice."""
    warn = name in FAULTS or why == "unfinished"
    return check_result(name, observed, warn=warn, advise=name in NOTES, why=why, **settings)


Found = Iterator[tuple[str, ...]]  # a diagnosis, what was observed, and the list of causes where it is not "causes"


def not_learning(e: Evidence) -> Found:
    """Training never came 2 % below the trivial loss, and on validation the model is not surely better than it either:
    where the signal is weak, a sound network may gain less than 2 %."""
    if min(e.train_loss) > 0.98 * e.start and e.worth[0] < 3 * e.worth[1]:
        slow = e.updates is not None and e.updates < 1e-5
        why = "slow" if slow else "no_signal" if e.signal is False else "causes"
        moved = f"; weights move {e.updates:.1e} of their size a step" if e.updates is not None else ""
        yield "not learning", f"training loss {min(e.train_loss):.4f} at its lowest, trivial {e.start:.4f}{moved}", why


def diverged(e: Evidence) -> Found:
    """Training ended above where a model that knows nothing starts."""
    if e.train_loss[-1] > 1.5 * e.start:
        yield "diverged", f"training loss {e.train_loss[-1]:.4g} at the end, trivial {e.start:.4f}"


def jumps(e: Evidence) -> Found:
    """Rises of the training loss from one epoch to the next: three of 5 % of its span are unrest, a lone one of 25 % a spike."""
    rises = np.diff(e.train_loss) / e.span
    late = np.flatnonzero(rises > 0.25)
    late = late[late >= len(rises) // 3]
    if (rises > 0.05).sum() >= 3:
        worst = float(rises.max())
        yield (
            "unstable",
            f"training loss rose {int((rises > 0.05).sum())} times by over 5 % of all it learned; worst {worst:.0%}",
        )
    elif len(late):
        yield "late spike", f"training loss rose by {rises[late[0]]:.0%} of all it had learned at epoch {late[0] + 1}"


def oscillating(e: Evidence) -> Found:
    """Validation went up and down again three times, surely, by over 5 % of what it had learned, where training is calm."""
    if e.peaks >= 3 and not next(jumps(e), None):
        yield (
            "oscillating validation",
            f"validation rose and fell again {e.peaks} times, each time by over 5 % of what it had learned",
        )


def plateau(e: Evidence) -> Found:
    """Training stalled half way, far from zero, while the learning rate was still high: the learning rate may be what holds it up."""
    half = len(e.train_loss) // 2
    if half < 3 or next(jumps(e), None):
        return
    gained = (e.train_loss[half] - min(e.train_loss[half:])) / e.span
    high = float(np.mean(e.lr[half:])) > 0.5 * max(e.lr)
    if gained < 0.02 and high and e.train_loss[-1] > 0.1 * e.start and e.rise[0] < 3 * e.rise[1] + 0.02 * e.learned:
        yield (
            "plateau",
            f"the second half of the epochs brought {gained:.1%} of what was learned, at {np.mean(e.lr[half:]) / max(e.lr):.0%} of the peak learning rate",
        )


def dead_units(e: Evidence) -> Found:
    """Over half of the units of a layer are zero for every example at the end of training."""
    worst = max(e.dead or {}, key=lambda name: (e.dead or {})[name], default="")
    if e.dead and e.dead[worst] > 0.5:
        yield "dead units at the end", f"{e.dead[worst]:.0%} of the units of {worst} are zero for every example"


def overfitting(e: Evidence) -> Found:
    """Validation got worse after its best epoch, beyond noise and by a tenth of what it had learned, and training did not."""
    mean, error = e.rise
    lost = mean / e.learned
    falling = e.train_loss[-1] < e.train_loss[min(e.best_epoch, len(e.train_loss) - 1)]
    if mean > 3 * error and lost > 0.1 and falling:
        blind = min(e.val_loss) > 0.98 * e.start
        yield (
            "overfitting",
            f"after epoch {e.best_epoch} validation lost {lost:.0%} of what it had learned (+{mean:.4f} +/- {error:.4f}) while training fell to {e.train_loss[-1]:.4f}; the best weights are kept",
            "nothing_learned" if blind else "causes",
        )


def far_behind(e: Evidence) -> Found:
    """The network surely reaches less than half of what the best simple model gains over the trivial one: whatever the
    curves look like, such a network has not learned what is there."""
    if e.baseline and e.gained and e.baseline["high"] < -0.5 * e.gained < 0:
        yield (
            "far behind the baseline",
            f"a simple model is better by {-e.baseline['value']:.4f} [{-e.baseline['high']:.4f}, {-e.baseline['low']:.4f}] on the"
            f" same rows, and better than the trivial one by {e.gained:.4f}",
        )


def still_improving(e: Evidence) -> Found:
    """The run ended by its number of epochs, and its last two fifths still brought over a twentieth of what was learned.

    Two fifths, because under a falling schedule the very last epochs bring little in any run. Where validation has too
    few rows to be sure of its own gain, training must have fallen as much.
    """
    mean, error = e.gain
    n = len(e.train_loss)
    fell = n > 1 and e.train_loss[min(int(0.6 * n), n - 2)] - e.train_loss[-1] > 0.05 * e.span
    sure = mean > 3 * error or fell
    if not e.early and e.best_epoch >= len(e.val_loss) - 2 and sure and mean > 0.05 * e.learned:
        yield (
            "still improving",
            f"the last two fifths of {len(e.val_loss)} epochs brought {mean / e.learned:.0%} of what was learned",
            "unfinished" if mean - 3 * error > 0.4 * e.learned else "causes",  # surely as much as two fifths of a line
        )


def level(e: Evidence) -> Found:
    """Training and validation level off together, well above zero: too small a model, or all that the data can tell.

    Curves cannot say which. A simple model that does better proves that there is more; a bigger model that gains
    nothing, and more data that gain nothing, make a ceiling likely.
    """
    at = min(e.best_epoch, len(e.train_loss) - 1)
    gap = (min(e.val_loss) - e.train_loss[at]) / e.learned
    high = e.train_loss[-1] > max(0.1 * e.start, FITTED) and min(e.train_loss) <= 0.98 * e.start
    elsewhere = any(next(rule(e), None) for rule in (still_improving, overfitting, plateau, jumps, far_behind))
    if not high or gap > 0.25 or elsewhere:
        return
    observed = (
        f"train {e.train_loss[at]:.4f} and validation {min(e.val_loss):.4f} level off together (trivial {e.start:.4f})"
    )
    if e.bigger and e.bigger[1] > 0:
        yield (
            "underfitting",
            f"{observed}; a bigger model gained {e.bigger[0]:.4f} [{e.bigger[1]:.4f}, {e.bigger[2]:.4f}]",
        )
    elif e.baseline and e.baseline["high"] < 0:
        yield (
            "underfitting",
            f"{observed}; a simple model is better by {-e.baseline['value']:.4f} on the same rows",
            "baseline",
        )
    elif e.bigger:
        yield (
            "data ceiling",
            f"{observed}; a bigger model gained {e.bigger[0]:.4f} [{e.bigger[1]:.4f}, {e.bigger[2]:.4f}]{_data(e)}",
        )
    else:
        yield "underfitting or data ceiling", f"{observed}; no bigger model has been tried{_data(e)}"


def _data(e: Evidence) -> str:
    return f"; the last doubling of the data gained {e.more_data[0]:+.4f}" if e.more_data else ""


def overconfident(e: Evidence) -> Found:
    """Probabilities further from the truth than chance allows at this n, on the side of too sure."""
    c = e.calibration or {}
    if c and c["ece"] > c["ece_null"] and c["confidence"] > c["right"] + 0.02:
        yield (
            "overconfident",
            f"mean confidence {c['confidence']:.3f}, right {c['right']:.3f}; ECE {c['ece']:.3f}, {c['ece_null']:.3f} by chance at this n",
        )


def good_at_once(e: Evidence) -> Found:
    """Hardly any of the trivial loss is left on validation after one epoch: an easy task, or an answer among the features."""
    if e.val_loss[0] < 0.05 * e.start:
        yield "good from the first epoch", f"validation loss {e.val_loss[0]:.4f} after one epoch, trivial {e.start:.4f}"


def rate_outside(e: Evidence) -> Found:
    """The peak learning rate lies outside of what recipe lr-find found, by the limits that it uses itself."""
    if e.lr_found and not e.lr_found[0] / 30 <= max(e.lr) <= 10 * e.lr_found[1]:
        low, high = e.lr_found
        yield (
            "learning rate outside the range",
            f"lr rose to {max(e.lr):.1e}; recipe lr-find suggests {low:.1e} to {high:.1e}",
        )


def loader_bound(e: Evidence) -> Found:
    """Over a fifth of the time was spent waiting for batches, and it added up to something."""
    share = sum(e.waited) / max(sum(e.seconds), 1e-9)
    if share > 0.2 and sum(e.waited) > 1:
        yield "loader-bound", f"{share:.0%} of the training time was waiting for data ({sum(e.waited):.0f} s)"


RULES: tuple[Callable[[Evidence], Found], ...] = (
    diverged, not_learning, jumps, oscillating, dead_units, far_behind, plateau, overfitting, still_improving,
    level, good_at_once, rate_outside, overconfident, loader_bound,
)  # fmt: skip
