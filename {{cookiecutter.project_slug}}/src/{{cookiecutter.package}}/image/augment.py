"""What training shows instead of the picture itself, and how pixels become the numbers that enter the network.

Every draw follows from (seed, epoch, index) alone: workers, order and resuming do not change what an example looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from ..engine.seed import generator
from .recipe import MIXES

if TYPE_CHECKING:
    from .data import Images


def plain(prep: dict[str, Any], stored: Tensor) -> Tensor:
    """uint8 [b, 3, side, side] -> float32 [b, 3, size, size]: the middle, scaled to the mean and spread of the training."""
    edge = (stored.shape[-1] - prep["size"]) // 2
    return scaled(prep, stored[..., edge : edge + prep["size"], edge : edge + prep["size"]])


def scaled(prep: dict[str, Any], image: Tensor) -> Tensor:
    """uint8 [..., 3, h, w] -> float32 of the same shape: (x / 255 - mean) / std, per channel."""
    mean, std = (torch.tensor(prep[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
    return image.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)  # in place: a third of the time


def make_transform(names: tuple[str, ...], strength: float, size: int) -> v2.Transform:
    """uint8 [3, side, side] -> uint8 [3, size, size]. At strength 0.5: crops of 60 % of the area and more, jitter of 0.4."""
    steps: list[Any] = []
    if "crop" in names:
        steps.append(v2.RandomResizedCrop(size, scale=(1 - 0.8 * strength, 1.0), antialias=True))
    else:
        steps.append(v2.CenterCrop(size))
    if "flip" in names:
        steps.append(v2.RandomHorizontalFlip(0.5))
    if "jitter" in names:
        amount = 0.8 * strength
        steps.append(v2.ColorJitter(amount, amount, amount, 0.1 * strength))
    if "randaugment" in names:  # Cubuk et al. 2020; two operations at magnitude 9 of 30 are the usual middle
        steps.append(v2.RandAugment(num_ops=2, magnitude=round(18 * strength)))
    return v2.Compose(steps)


def make_mix(names: tuple[str, ...], strength: float, classes: int) -> Any:
    """mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a pair; None where neither is named or nothing is mixed."""
    kind = next((name for name in names if name in MIXES), "")
    if not kind or not strength:
        return None
    if kind == "mixup":
        return v2.MixUp(alpha=0.4 * strength, num_classes=classes)
    return v2.CutMix(alpha=2 * strength, num_classes=classes)


@contextmanager
def borrowed_generator() -> Iterator[torch.Generator]:
    """torch's global CPU generator, which v2 draws from, put back as it was: dropout must not notice."""
    state = torch.get_rng_state()
    try:
        yield torch.default_generator
    finally:
        torch.set_rng_state(state)


def augmented(images: Images, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """(x float32 [b, 3, size, size], y [b], or class shares [b, k] when mixed) of these examples in this epoch.

    A partner to mix with is drawn from the whole part, not from the batch: the order must not matter.
    """
    prep = images.prep
    change = make_transform(images.augment, images.strength, prep["size"])
    mix = make_mix(images.augment, images.strength, len(prep["classes"]))
    x, y = [], []
    with borrowed_generator() as random:
        for row in rows.tolist():
            random.manual_seed(generator(images.seed, epoch, row).initial_seed())
            image, label = scaled(prep, change(images.picture(row))), images.y[row]
            if mix:
                other = int(torch.randint(len(images), ()))
                pair = torch.stack([image, scaled(prep, change(images.picture(other)))])
                mixed, shares = mix(pair, torch.stack([label, images.y[other]]).long())
                image, label = mixed[0], shares[0]
            x.append(image)
            y.append(label)
    return torch.stack(x), torch.stack(y)
