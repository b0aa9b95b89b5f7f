"""Before training: the pixels of both parts, what is trained, what stays frozen, and whether labels survive augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checks.check_result import CheckResult, check_result, not_applicable
from ..owner.image.augment import augmented, plain
from ..owner.image.baseline import SIDE
from ..owner.image.data import Images, examples, first, show
from ..owner.image.model import make_model, stages
from ..owner.image.recipe import CHANGES
from ..owner.task import Batch, Data

if TYPE_CHECKING:
    from ..owner.image.recipe import Config

LOOKED = 500  # images of each part that are looked at


def checks(config: Config, prep: dict[str, Any], train: Data, val: Data) -> list[CheckResult]:
    """Before training: the pixels of both parts, what is trained, what stays frozen, and whether labels survive augmentation."""
    some = {name: first(examples(config, prep, part), LOOKED) for name, part in (("train", train), ("val", val))}
    return [
        pixels_fit(prep, some),
        trained_share(config, prep, len(train)),
        frozen_statistics(config, prep, some["train"]),
        labels_survive(config, prep, some["train"]),
    ]


def seen(prep: dict[str, Any], images: Images) -> Tensor:
    """Plain pictures as they enter the network, [n, 3, size, size]."""
    return plain(prep, torch.stack([images.picture(i) for i in range(len(images))]))


def pixels_fit(prep: dict[str, Any], some: dict[str, Images]) -> CheckResult:
    """What enters the network: does it read back as the picture on disk, do pictures differ, is their brightness alike?

    Brightness is compared between the parts, and between training with augmentation and without.
    """
    batches = {name: next(images.batches([torch.arange(len(images))])) for name, images in some.items()}
    shown = next(some["train"].batches([torch.arange(len(some["train"]))], augment=True)).x
    x = {name: batch.x.flatten(1) for name, batch in batches.items()}
    alike = {name: 1 - len(values.unique(dim=0)) / len(values) for name, values in x.items()}
    changed = {name: _read_otherwise(prep, some[name], batch) for name, batch in batches.items()}
    spread = float(x["train"].std())
    dark, error = _brightness_apart(x["train"], x["val"])
    moved, wide = _brightness_apart(x["train"], shown.flatten(1))
    return check_result(
        "pixels",
        "; ".join(
            f"{name}: mean {float(v.mean()):+.2f}, spread {float(v.std()):.2f}, {alike[name]:.1%} repeated, {changed[name]:.0%} read otherwise"
            for name, v in x.items()
        ),
        fail=max(alike.values()) > 0.5 or dark > 3 * error + 0.5 * spread or max(changed.values()) > 0,
        warn=not 0.2 < spread < 5 or moved > 3 * wide + 0.5 * spread,
        why="back" if max(changed.values()) else "causes",
        evidence={"apart": dark, "error": error, "augmented": moved, "repeated": alike, "changed": changed},
    )


def _brightness_apart(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Difference in the mean brightness of two sets of pictures [n, pixels], and its standard error."""
    a, b = one.mean(dim=1), other.mean(dim=1)
    return float((a.mean() - b.mean()).abs()), float((a.var() / len(a) + b.var() / len(b)) ** 0.5)


def _read_otherwise(prep: dict[str, Any], images: Images, batch: Batch) -> float:
    """Share of sixteen pictures that decoded from the batch are not the middle of the picture on disk, to two levels of 255."""
    rows = range(min(len(images), 16))
    edge, size = (prep["side"] - prep["size"]) // 2, prep["size"]
    stored = [images.picture(i)[:, edge : edge + size, edge : edge + size].permute(1, 2, 0).int() for i in rows]
    back = [torch.from_numpy(show(prep, batch, i)["image"]).int() for i in rows]
    return sum(int((a - b).abs().max()) > 2 for a, b in zip(stored, back, strict=True)) / len(rows)


def trained_share(config: Config, prep: dict[str, Any], rows: int) -> CheckResult:
    """How many parameters are trained, against how many examples there are to train them."""
    model = make_model(config, prep)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = {
        "full": stages(config.backbone) + 1,
        "head_first": stages(config.backbone) + 1,
        "early": stages(config.backbone) // 2,
        "frozen": 0,
    }
    needed = max(len(prep["classes"]), 1) * parts[config.adapt]
    return check_result(
        "what is trained",
        f"adapt = {config.adapt!r} trains {trained:,} of {total:,} parameters ({trained / total:.1%}) on {rows:,} examples",
        warn=rows < needed,
        evidence={"trained": trained, "total": total, "rows": rows},
    )


def frozen_statistics(config: Config, prep: dict[str, Any], images: Images) -> CheckResult:
    """Run training batches through a fresh model and compare the statistics of its frozen BatchNorm layers bit by bit."""
    model = make_model(config, prep).train()
    before = _frozen_statistics(model)
    if not before:
        return not_applicable("frozen statistics", "no BatchNorm layer is frozen")
    with torch.no_grad():
        model(seen(prep, first(images, 8)))
    after = _frozen_statistics(model)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    return check_result(
        "frozen statistics",
        f"{len(before)} statistics of frozen BatchNorm layers"
        + (f"; moved: {', '.join(moved[:3])}" if moved else ", none moved"),
        fail=bool(moved),
        evidence={"moved": moved},
    )


def _frozen_statistics(model: nn.Module) -> dict[str, Tensor]:
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad}
    return {f"{n}.{name}": value.clone() for n, m in layers.items() for name, value in m.named_buffers()}


def labels_survive(config: Config, prep: dict[str, Any], images: Images) -> CheckResult:
    """Whether augmented pictures come to lie among those of another class.

    A picture does when its nearest plain neighbor is of another class and no further than neighbors usually are.
    """
    names = tuple(name for name in config.augment if name in CHANGES)
    if not names or not prep["classes"]:
        reason = "nothing that changes a picture is configured" if not names else "the target has no classes"
        return not_applicable("labels survive augmentation", reason)
    n = len(images)
    x = torch.nn.functional.adaptive_avg_pool2d(seen(prep, images), SIDE).flatten(1)
    changed = augmented(replace(images, augment=names), torch.arange(n), 0)[0]
    distance = torch.cdist(torch.stack([x, torch.nn.functional.adaptive_avg_pool2d(changed, SIDE).flatten(1)]), x)
    distance[:, torch.arange(n), torch.arange(n)] = torch.inf
    nearest = distance.min(dim=2)
    lost = (images.y[nearest.indices] != images.y) & (nearest.values <= nearest.values[0].median())
    was, now = lost.float().mean(dim=1).tolist()
    error = (max(now, 1 / n) / n) ** 0.5
    return check_result(
        "labels survive augmentation",
        f"{', '.join(names)} at strength {config.strength:g}: {now:.1%} look like another class, plain {was:.1%}; declared: {config.label_preserving}",
        warn=now - was > 0.05 + 3 * error,
        evidence={"plain": was, "augmented": now},
        strength=config.strength,
        names=" and ".join(names),
    )
