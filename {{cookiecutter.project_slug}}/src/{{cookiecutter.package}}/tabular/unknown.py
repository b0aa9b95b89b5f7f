"""A category that training never observed: how its vector is trained all the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

UNKNOWN = 0  # slot of a category that training never observed, and of a missing one


@dataclass(frozen=True)
class Forget:
    """Training only: a small share of the embedded categories is read as UNKNOWN. Its vector is then trained on rows of
    every category, so that a new one is predicted as an average one; untrained, it is random noise.

    Drawn from (seed, epoch, row) alone. rows, columns: of the whole part.
    """

    rows: int
    columns: int
    share: float
    seed: int

    def __call__(self, x: dict[str, Tensor], rows: Tensor, epoch: int) -> None:
        """Change the codes of these rows in place."""
        x["categorical"].masked_fill_(_forgotten(self, epoch)[rows], UNKNOWN)


@lru_cache(maxsize=2)
def _forgotten(forget: Forget, epoch: int) -> Tensor:
    """Which codes [rows, columns] an epoch reads as UNKNOWN."""
    import torch

    from ..engine.seed import generator

    drawn = torch.empty((forget.rows, forget.columns), dtype=torch.bool)
    return drawn.bernoulli_(forget.share, generator=generator(forget.seed, epoch, 1))  # 1: not the draw of the order


def forgetting(config: Config, prep: dict[str, Any], rows: int) -> Forget | None:
    """What `batches` applies in training to a part of so many rows; None where no column is embedded."""
    columns = len(prep["embedded"])
    return Forget(rows, columns, config.unknown_share, config.seed) if columns and config.unknown_share else None
