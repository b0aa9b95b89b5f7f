"""A torchvision backbone with a new head, and the ways to adapt it: all, the head first, part, or the head alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.seed import generator
from ..engine.target import prior_logits
from ..errors import UserError
from ..task import Batch
from .weights import load_backbone, weights_hash

if TYPE_CHECKING:
    from .recipe import Config

FAST = 10.0  # a new head starts from nothing; pretrained weights only need a nudge
HEAD_SHARE = 0.2  # of the epochs that head_first spends on the head alone
# Of a saliency map: noisy copies, their noise in units of the input's spread, longest side.
COPIES, NOISE, CELLS = 12, 0.15, 32


class Classifier(nn.Module):
    """x: float32 [b, 3, h, w] -> outputs [b, k]."""

    def __init__(self, backbone: nn.Module, width: int, dropout: float, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.head.weight, std=0.1 / width**0.5)  # first outputs stay near the prior, however wide

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.backbone(channels_last(x))))  # [b, width] -> [b, k]

    def train(self, mode: bool = True) -> Classifier:
        """What is frozen stays in evaluation mode: its BatchNorm statistics do not move, and nothing blurs its features."""
        super().train(mode)
        for module in self.backbone.modules() if mode else ():
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                module.eval()
        return self


def channels_last(x: Tensor) -> Tensor:
    """The channels of a pixel side by side in memory, a layout that the network's outputs take on: convolutions are faster in
    it, depthwise ones most of all. Not the weights: FSDP refuses them so, and a fused optimizer pairs a weight with its
    moments as they lie in memory, whatever their strides say."""
    return x if x.device.type == "mps" else x.contiguous(memory_format=torch.channels_last)


def make_model(config: Config, prep: dict[str, Any]) -> Classifier:
    """Backbone and new head, frozen as the settings say; the head's bias starts at the class shares."""
    if prep["weights"] != weights_hash(config.backbone, config.weights):
        raise UserError(
            f"weights = {config.weights!r} are other weights than when this was prepared; put the old ones back, or train again"
        )
    model = Classifier(*load_backbone(config), config.dropout, prep["outputs"])
    with torch.no_grad():
        model.head.bias.copy_(prior_logits(prep))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen(config, name))
    return model


def depth(name: str) -> int:
    """0 for the stem, 1 for what belongs to the first stage, and so on."""
    stage = re.search(r"\.(?:layer|features\.)(\d+)\.", name)
    return int(stage.group(1)) if stage else 0


def stages(backbone: str) -> int:
    """Number of the last stage."""
    return (7 if backbone == "efficientnet_v2_s" else 8) if backbone.startswith("efficientnet") else 4


def frozen(config: Config, name: str) -> bool:
    """Whether `adapt` keeps this parameter as it was pretrained for the whole run."""
    if name.startswith("head.") or config.adapt in ("full", "head_first"):
        return False
    return config.adapt == "frozen" or depth(name) <= stages(config.backbone) // 2


def set_trainable(config: Config, model: nn.Module, epoch: int) -> None:
    """LP-FT (Kumar et al. 2022): the head alone first, so that a random head does not tear pretrained features apart."""
    alone = config.adapt == "head_first" and epoch < max(1, round(HEAD_SHARE * config.epochs))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen(config, name) and (not alone or name.startswith("head.")))


def lr_scale(config: Config, name: str) -> float:
    """On pretrained weights ten times the learning rate for the head, and `layer_decay` once for each stage between this one and the head."""
    if config.weights == "none":
        return 1.0
    return FAST if name.startswith("head.") else config.layer_decay ** (stages(config.backbone) - depth(name))


def explain(prep: dict[str, Any], model: Classifier, batch: Batch, row: int) -> dict[str, Any]:
    """Where a small change of the picture moves the called class most: "saliency" [h][w] from 0 to 1, at most 32 a side.

    SmoothGrad (Smilkov et al. 2017): the gradient's size, largest over the colors, averaged over noisy copies. It shows
    what the output reacts to, not why.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    image = batch.x[row].to(device)
    noise = torch.randn((COPIES, *image.shape), generator=generator(0)).to(device) * NOISE * float(image.std())
    noisy = (image + noise).requires_grad_()
    with torch.enable_grad():
        output = model(noisy)
        called = output[:, output.mean(dim=0).argmax()].sum()
        slope = torch.autograd.grad(called, noisy)[0].abs().amax(dim=1).mean(dim=0)  # [h, w]
    model.train(was_training)
    cells = min(CELLS, *slope.shape)
    coarse = nn.functional.adaptive_avg_pool2d(slope[None, None].cpu(), cells)[0, 0]
    return {"saliency": [[round(v, 3) for v in line] for line in (coarse / coarse.max().clamp(min=1e-12)).tolist()]}
