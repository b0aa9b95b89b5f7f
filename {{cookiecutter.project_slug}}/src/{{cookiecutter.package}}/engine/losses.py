"""Loss functions. Each returns one value per example, so that a mean over any grouping of batches is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config
from ..errors import UserError
from ..task import Batch

Loss = Callable[[Tensor, Batch], Tensor]


def make_loss(config: Config, prep: dict[str, Any]) -> Loss:
    """The configured loss: (output [b, k], batch) -> loss per example [b].

    Accumulation is equal to the large batch because the loop divides the sum by the number of examples in the whole
    optimizer step; class weights have mean one over the training part for the same reason.
    """
    name, outputs = config.resolved_loss, prep["outputs"]
    if name not in (*CLASSIFICATION, *REGRESSION, "pairwise"):
        raise UserError(f"loss = {name!r} has no function; write one in engine/losses.py, and call it in make_loss")
    weights = class_weights(prep["prior"]) if config.class_weights == "balanced" and prep["prior"] else None

    def loss(output: Tensor, batch: Batch) -> Tensor:
        if output.shape != (len(batch.y), outputs):
            raise ValueError(f"the model returned {tuple(output.shape)}; the loss needs ({len(batch.y)}, {outputs})")
        if name == "pairwise":
            assert batch.query is not None, "pairwise loss without query numbers"
            return pairwise(output.squeeze(1), batch.y, batch.query)
        if name in REGRESSION:
            return REGRESSION[name](output.squeeze(1), batch.y)
        value = classification(output, batch.y, config.label_smoothing, config.focal_gamma if name == "focal" else 0.0)
        return value if weights is None else value * (class_shares(batch.y, len(weights)) @ weights.to(output))

    return loss


def class_weights(prior: list[float]) -> Tensor:
    """Inverse class frequency [k], scaled so that the mean over the training examples is one."""
    share = torch.tensor(prior)
    return 1.0 / (share.clamp(min=1e-12) * len(prior))


def class_shares(y: Tensor, classes: int) -> Tensor:
    """Targets as class shares [b, k]: one-hot for class numbers, as they are when already mixed."""
    return y if y.ndim == 2 else F.one_hot(y.long(), classes).float()


def smooth(shares: Tensor, smoothing: float, classes: int) -> Tensor:
    """Label smoothing (Szegedy et al. 2016): move this share of the target evenly over all classes."""
    return shares * (1 - smoothing) + smoothing / classes if smoothing else shares


def classification(output: Tensor, y: Tensor, smoothing: float, gamma: float) -> Tensor:
    """Cross-entropy [b] of logits [b, k], or [b, 1] for binary, against class numbers or shares; gamma > 0 makes it focal
    (Lin et al. 2017). One kernel where torch has one: a tenth of a small network's step."""
    if gamma:
        logits = output if output.shape[1] > 1 else torch.cat([torch.zeros_like(output), output], dim=1)
        log_p = F.log_softmax(logits, dim=1)
        hard = (1 - log_p.exp()).clamp(min=0) ** gamma
        return -(class_shares(y, logits.shape[1]) * log_p * hard).sum(dim=1)
    if output.shape[1] == 1:
        positive = smooth(y if y.ndim == 1 else y[:, 1], smoothing, 2)
        return F.binary_cross_entropy_with_logits(output.squeeze(1), positive, reduction="none")
    return F.cross_entropy(output, y if y.ndim == 2 else y.long(), reduction="none", label_smoothing=smoothing)


def pairwise(score: Tensor, relevance: Tensor, query: Tensor) -> Tensor:
    """Bayesian personalized ranking (Rendle et al. 2009) over every pair of one query with unequal relevance.

    score, relevance, query: [b]. Each example carries the mean pair loss of its query, so long queries do not weigh
    more per row. Cost grows with b squared; a batch holds whole queries.
    """
    same = (query[:, None] == query[None, :]).float()
    above = same * (relevance[:, None] > relevance[None, :])
    pairs = F.softplus(score[None, :] - score[:, None]) * above
    return (same @ pairs.sum(dim=1)) / (same @ above.sum(dim=1)).clamp(min=1)


CLASSIFICATION = ("bce", "cross_entropy", "focal")  # of `classification`
REGRESSION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda output, y: (output - y) ** 2,
    "mae": lambda output, y: (output - y).abs(),
    # Squared up to one standard deviation of the target, linear beyond (Huber 1964).
    "huber": lambda output, y: F.huber_loss(output, y, reduction="none", delta=1.0),
}


def expected_initial_loss(config: Config, prep: dict[str, Any], y: Tensor | None = None) -> float | None:
    """The loss of a model that knows the class prior and nothing else; None where the loss has no such constant, or nobody wrote it down.

    Entropy of the prior for cross-entropy (ln k when balanced, 0.693 for two equal classes), variance 1 for squared
    error on a standardized target, ln 2 for a pair. `y`: the classes [n] that it is expected on, where they are few and
    chance moves their shares; with balanced weights one rare example more or less is a good part of the loss.
    """
    name, prior = config.resolved_loss, torch.tensor(prep["prior"], dtype=torch.float64)
    if name == "pairwise":
        return 0.6931471805599453
    if name == "mse":
        return 1.0
    if name not in CLASSIFICATION:
        return None
    weights = class_weights(prep["prior"]).double() if config.class_weights == "balanced" else torch.ones_like(prior)
    gamma = config.focal_gamma if name == "focal" else 0.0
    target = smooth(torch.eye(len(prior), dtype=torch.float64), config.label_smoothing, len(prior))
    each = -(target @ (prior.clamp(min=1e-12).log() * (1 - prior) ** gamma))
    shares = prior if y is None else torch.bincount(y.long(), minlength=len(prior)).cpu().double() / len(y)
    return float((shares * weights * each).sum())
