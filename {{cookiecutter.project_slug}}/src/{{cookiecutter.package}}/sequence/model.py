"""Three networks for series, none of which sees the padding: convolutions, recurrent layers, and a transformer encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.target import prior_logits
from .recipe import HEADS

if TYPE_CHECKING:
    from .recipe import Config

KERNELS = (5, 11, 23)  # steps that the convolutions of a block see: short, middle and long shapes


class Classifier(nn.Module):
    """x: {"values" [b, c, t], "mask" [b, t], "static" [b, s] or none} -> outputs [b, k]."""

    def __init__(self, body: nn.Module, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        mask = x["mask"].bool()
        read = self.body(x["values"], mask)  # [b, d]
        if "static" in x:
            read = torch.cat([read, x["static"].to(read.dtype)], dim=1)
        return self.head(self.dropout(read))


def make_model(config: Config, prep: dict[str, Any]) -> Classifier:
    """A fresh network for this preprocessing; the last bias starts at the class shares."""
    channels = len(prep["channels"]) + sum(fitted["missing"] for fitted in prep["channels"].values())
    static = sum(1 + fitted["missing"] for fitted in prep["static"].values())
    static += sum(len(vocabulary) for vocabulary in prep["categories"].values())
    static += (1 + bool(prep["season"])) if prep["past"] else 0
    bodies = {"conv": Convolutions, "lstm": Recurrent, "gru": Recurrent, "transformer": Transformer}
    body = bodies[config.model](config, channels)
    width = (2 if config.model in ("lstm", "gru") else 1) * config.hidden
    model = Classifier(body, width + static, prep["outputs"], config.dropout)
    with torch.no_grad():
        model.head.bias.copy_(prior_logits(prep))
    return model


def mean_over_steps(x: Tensor, mask: Tensor) -> Tensor:
    """Mean [b, d] of x [b, t, d] over the steps that are there."""
    there = mask.unsqueeze(2).to(x.dtype)
    return (x * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


class Convolutions(nn.Module):
    """Residual blocks of parallel convolutions, in the manner of InceptionTime (Ismail Fawaz et al. 2020), and the mean over steps.

    LayerNorm over the channels of a step instead of BatchNorm: what is normalized never depends on padding or neighbors.
    """

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        widths = [channels, *[config.hidden] * (config.layers - 1)]
        self.blocks = nn.ModuleList(Block(width, config.hidden, config.dropout) for width in widths)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        x = values.transpose(1, 2)  # [b, t, c]
        for block in self.blocks:
            x = block(x, mask)
        return mean_over_steps(x, mask)


class Block(nn.Module):
    """x [b, t, c] -> [b, t, hidden]: convolutions of several widths and a maximum of neighbors, side by side, on a residual path."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        parts = [hidden // 4 + (i < hidden % 4) for i in range(4)]
        self.narrow = nn.Linear(channels, hidden, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, part, kernel, padding=kernel // 2, bias=False)
            for part, kernel in zip(parts, KERNELS, strict=False)
        )
        self.pooled = nn.Conv1d(channels, parts[-1], 1, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.path = nn.Linear(channels, hidden) if channels != hidden else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The steps behind the end are 0 for each convolution, as before its beginning, whatever the batch pads."""
        there = mask.unsqueeze(2)
        x = x * there
        narrow = (self.narrow(x) * there).transpose(1, 2)  # [b, hidden, t]
        low = x.masked_fill(~there, -math.inf).transpose(1, 2)
        most = nn.functional.max_pool1d(low, 3, stride=1, padding=1).masked_fill(~mask.unsqueeze(1), 0.0)
        wide = torch.cat([*(convolution(narrow) for convolution in self.convolutions), self.pooled(most)], dim=1)
        return self.dropout(torch.relu(self.norm(wide.transpose(1, 2)))) + self.path(x)


class Recurrent(nn.Module):
    """LSTM or GRU in both directions over packed series: it stops at the end of each. Its last states [b, 2 hidden]."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        kind = nn.LSTM if config.model == "lstm" else nn.GRU
        dropout = config.dropout if config.layers > 1 else 0.0
        shared = {"batch_first": True, "dropout": dropout, "bidirectional": True}
        self.layers = kind(channels, config.hidden, config.layers, **shared)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        steps, length = values.transpose(1, 2), mask.sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(steps, length, batch_first=True, enforce_sorted=False)
        state = self.layers(packed)[1]  # of an LSTM: (hidden, cell)
        last = state[0] if isinstance(state, tuple) else state  # [2 layers, b, hidden]
        return torch.cat([last[-2], last[-1]], dim=1)


class Transformer(nn.Module):
    """Encoder layers that attend to the steps that are there, with sine positions, and the mean over steps."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            config.hidden, HEADS, 2 * config.hidden, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.enter = nn.Linear(channels, config.hidden)
        norm = nn.LayerNorm(config.hidden)
        self.layers = nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        x = self.enter(values.transpose(1, 2))  # [b, t, d]
        x = self.layers(x + positions(x.shape[1], x.shape[2], x), src_key_padding_mask=~mask)
        return mean_over_steps(x.masked_fill(~mask.unsqueeze(2), 0.0), mask)


def positions(steps: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of each step [t, d] (Vaswani et al. 2017); of any length, also beyond that of training."""
    step = torch.arange(steps, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([torch.sin(step * rate), torch.cos(step * rate)], dim=2).flatten(1)[:, :width].to(like.dtype)
