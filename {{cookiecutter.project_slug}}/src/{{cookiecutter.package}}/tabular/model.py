"""A multi-layer perceptron with embeddings for categories and, when asked, piecewise-linear ones for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.target import prior_logits

if TYPE_CHECKING:
    from .recipe import Config


def make_model(config: Config, prep: dict[str, Any]) -> MLP:
    """A fresh network for this preprocessing; the last bias starts at the class shares."""
    from .data import feature_names

    width = len(feature_names(prep))
    edges = [fitted["edges"] for fitted in prep["numeric"].values()] if config.numeric_embedding == "piecewise" else []
    positions = numeric_positions(prep)
    vocabularies = [len(vocabulary) + 1 for vocabulary in prep["embedded"].values()]
    model = MLP(config, width, dict(zip(positions, edges, strict=True)) if edges else {}, vocabularies, prep["outputs"])
    if model.head.bias is not None:
        with torch.no_grad():
            model.head.bias.copy_(prior_logits(prep))
    return model


def numeric_positions(prep: dict[str, Any]) -> list[int]:
    """Positions of the numbers themselves among the columns of x["numeric"]; indicators and one-hots lie between."""
    positions, at = [], 0
    for fitted in prep["numeric"].values():
        positions.append(at)
        at += 1 + fitted["missing"]
    return positions


def embedding_width(categories: int) -> int:
    """About 1.6 times the 0.56th power of the number of categories, at most 64 (a rule of thumb from fastai)."""
    return min(64, round(1.6 * categories**0.56))


class MLP(nn.Module):
    """x: {"numeric": [b, d], "categorical": [b, c]} -> outputs [b, k]."""

    def __init__(
        self, config: Config, width: int, edges: dict[int, list[float]], vocabularies: list[int], outputs: int
    ) -> None:
        super().__init__()
        tables = [nn.Embedding(size, embedding_width(size)) for size in vocabularies]
        for table in tables:
            nn.init.normal_(table.weight, std=0.1)  # the default of 1 drowns the scaled numbers
        self.embeddings = nn.ModuleList(tables)
        self.piecewise = PiecewiseLinear(edges) if edges else None
        width += sum(table.embedding_dim for table in tables) + (self.piecewise.extra if self.piecewise else 0)
        blocks: list[nn.Module] = []
        for _ in range(config.layers - 1):
            blocks += block(config, width)
            width = config.hidden
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(width, outputs, bias=config.task != "ranking")  # a pair loss ignores a shift

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        parts = [x["numeric"]] if "numeric" in x else []  # [b, d]
        if self.piecewise is not None:
            parts.append(self.piecewise(x["numeric"]))  # [b, numbers * bins]
        if len(self.embeddings):
            parts += [table(x["categorical"][:, i]) for i, table in enumerate(self.embeddings)]  # [b, e] each
        return self.head(self.body(torch.cat(parts, dim=1)))  # [b, k]


def block(config: Config, width: int) -> list[nn.Module]:
    """Linear, norm, ReLU, dropout. No bias before BatchNorm, which would cancel it; dropout comes after, never before."""
    norms: dict[str, list[nn.Module]] = {
        "none": [],
        "layer": [nn.LayerNorm(config.hidden)],
        "batch": [nn.BatchNorm1d(config.hidden)],
    }
    dropout = [nn.Dropout(config.dropout)] if config.dropout else []
    return [nn.Linear(width, config.hidden, bias=config.norm != "batch"), *norms[config.norm], nn.ReLU(), *dropout]


class PiecewiseLinear(nn.Module):
    """Piecewise-linear encoding of numbers (Gorishniy et al. 2022): how far a value fills each quantile bin, 0 to 1.

    x [b, d] -> [b, sum of bins] for the chosen columns. Nothing is learned here: the bins come from the training part.
    """

    def __init__(self, edges: dict[int, list[float]]) -> None:
        super().__init__()
        edges = {column: values for column, values in edges.items() if len(values) > 1}
        columns = [column for column, values in edges.items() for _ in values[1:]]
        starts = [start for values in edges.values() for start in values[:-1]]
        ends = [end for values in edges.values() for end in values[1:]]
        self.columns: Tensor
        self.starts: Tensor
        self.widths: Tensor
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64))
        self.register_buffer("starts", torch.tensor(starts))
        self.register_buffer("widths", torch.tensor(ends) - torch.tensor(starts))
        self.extra = len(columns)

    def forward(self, x: Tensor) -> Tensor:
        return ((x[:, self.columns] - self.starts) / self.widths).clamp(0, 1)
