"""Pretrained weights and the preprocessing they were trained with: from the hub, a file, or a run of another project."""

from __future__ import annotations

import math
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.files import read_json, sha256
from ..errors import UserError, first_line

if TYPE_CHECKING:
    from .recipe import Config

NAMES = ("weights.safetensors", "model.safetensors")  # what a folder of weights may hold, ours first
HUB = re.compile(r"pretrained|DEFAULT|IMAGENET1K_\w+")  # names of weights of the hub; anything else is a path
SECONDS = 10  # after which a silent hub counts as out of reach
STATISTICS = ("num_batches_tracked", "running_mean", "running_var")  # what BatchNorm has and GroupNorm has not
GROUPS = 32  # of GroupNorm (Wu and He 2018), fewer where the channels are not a multiple


@lru_cache
def find_weights(backbone: str, weights: str) -> Path | None:
    """The file with the weights; None for "none". Raises UserError, never falls back on random ones."""
    if weights == "none":
        return None
    if HUB.fullmatch(weights):
        return _from_hub(hub_entry(backbone, weights), weights)
    for folder in (Path.cwd(), *Path.cwd().parents):
        path = folder / Path(weights).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            return _in_folder(path, weights)
    raise UserError(
        f"weights = {weights!r} is no file, no folder and no name of the hub; use pretrained, a file of tensors, the folder of a run, or none"
    )


def _in_folder(path: Path, weights: str) -> Path:
    """The weights in a folder: a checkpoint, or the best checkpoint of a run."""
    folders = [path, *sorted(path.glob("checkpoints/best-*"), reverse=True), *sorted(path.glob("best-*"), reverse=True)]
    found = next((folder / name for folder in folders for name in NAMES if (folder / name).is_file()), None)
    if found is None:
        raise UserError(
            f"weights = {weights!r} is a folder without {' or '.join(NAMES)} and without checkpoints/best-*; name a run's folder or a file"
        )
    return found


def hub_entry(backbone: str, weights: str) -> Any:
    """torchvision's description of these weights: address, preprocessing, what they reach."""
    from torchvision import models

    known = models.get_model_weights(backbone)
    if weights in ("pretrained", "DEFAULT"):
        return known.DEFAULT
    if weights not in known.__members__:
        raise UserError(
            f"weights = {weights!r} is not there for {backbone}; the hub has {', '.join(known.__members__)}"
        )
    return known[weights]


def _from_hub(entry: Any, weights: str) -> Path:
    """The file in torch's cache, downloaded when it is not there yet; its hash is part of its name and is checked."""
    import torch

    name = entry.url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(entry.url, str(path), name.rpartition("-")[2].partition(".")[0], progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"weights = {weights!r}: {name} is not in the cache and the hub cannot be reached ({type(error).__name__}); three ways on: "
            f"(1) download {entry.url} where there is a connection, copy it here and set weights to that file; "
            f'(2) set weights = "none" to train from random weights; (3) fix the connection or the proxy and run this again'
        ) from None
    finally:
        socket.setdefaulttimeout(usual)
    return path


@lru_cache
def weights_hash(backbone: str, weights: str) -> str:
    """First 16 hex digits of sha256 of the file, so that a model never meets other weights than it was prepared for; 'none' for random ones."""
    path = find_weights(backbone, weights)
    return "none" if path is None else sha256(path)[:16]


def own_view(backbone: str, weights: str) -> dict[str, Any]:
    """How these weights want to see: size, margin (shorter side over size before the crop), interpolation, mean, std.

    A run of a project brings its prep.json; other files count as trained like the hub's. Without weights mean and std
    are empty: they are measured on the training part.
    """
    if weights == "none":
        return {"size": 224, "margin": 1.0, "interpolation": "bilinear", "mean": [], "std": []}
    hub = HUB.fullmatch(weights) is not None
    path = None if hub else find_weights(backbone, weights)
    for folder in path.parents[:3] if path else ():
        if (folder / "prep.json").is_file():
            prep = read_json(
                folder / "prep.json", "the preprocessing of a run", "name the weights file of a finished run"
            )
            same = {name: prep.get(name) for name in ("size", "interpolation", "mean", "std")}
            if None not in same.values():
                return {**same, "margin": prep["side"] / prep["size"]}
    view = hub_entry(backbone, weights if hub else "pretrained").transforms()
    return {
        "size": view.crop_size[0], "margin": view.resize_size[0] / view.crop_size[0], "interpolation": view.interpolation.value,
        "mean": list(view.mean), "std": list(view.std),
    }  # fmt: skip


def load_backbone(config: Config) -> tuple[Any, int]:
    """(network without its head, width of its features), with the weights or random ones."""
    from torch import nn
    from torchvision import models

    network = models.get_model(config.backbone, weights=None)
    last = "fc" if hasattr(network, "fc") else "classifier"
    linear = next(m for m in getattr(network, last).modules() if isinstance(m, nn.Linear))
    setattr(network, last, nn.Identity())
    if config.norm == "group":
        swap_norm(network)
    if (path := find_weights(config.backbone, config.weights)) is None:
        return network, linear.in_features
    tensors = backbone_of(read_tensors(path))
    if config.norm == "group" and any(name.endswith("running_mean") for name in tensors):
        if config.adapt in ("frozen", "early"):
            raise UserError(
                f"the weights in {path} were trained with BatchNorm; frozen, they need it: use norm = 'batch', or adapt = 'full'"
            )
        tensors = {name: t for name, t in tensors.items() if not name.endswith(STATISTICS)}
    put(network, tensors, f"{path} ({config.backbone}, norm = {config.norm!r})")
    return network, linear.in_features


def swap_norm(network: Any) -> None:
    """Put a GroupNorm in the place of every BatchNorm, in place: its statistics do not depend on the batch."""
    from torch import nn

    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                setattr(module, name, nn.GroupNorm(math.gcd(GROUPS, channels), channels, child.eps))


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a .safetensors file or of a state dict saved by torch; nothing in a pickle is ever run."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            tensors: Any = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no such thing may raise anything
        raise UserError(
            f"{path} cannot be read as plain tensors ({first_line(error)}); save a state dict, or copy or download the file again"
        ) from None
    for inner in ("state_dict", "model"):  # how training scripts wrap what they save
        tensors = tensors[inner] if isinstance(tensors, dict) and isinstance(tensors.get(inner), dict) else tensors
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no state dict of tensors; save model.state_dict()")
    return tensors


def backbone_of(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors of the backbone alone, named as torchvision does: of a model of ours, or of one with torchvision's head."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    ours = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    return ours or {name: t for name, t in tensors.items() if not name.startswith(("fc.", "classifier."))}


def put(network: Any, given: dict[str, Any], what: str) -> None:
    """Load tensors into a network. Raises UserError when one is lacking, left over, misshapen or not finite."""
    wanted = network.state_dict()
    lacking = [n for n in wanted if n not in given and not n.endswith(STATISTICS[0])]
    odd = [n for n in wanted if n in given and given[n].shape != wanted[n].shape]
    over = [n for n in given if n not in wanted]
    for names, words in (
        (lacking, "lack {} tensors of this backbone"),
        (odd, "hold {} tensors of another shape"),
        (over, "hold {} tensors too many"),
    ):
        if names:
            raise UserError(
                f"the weights in {what} {words.format(len(names))} ({names[0]}, ...); set backbone and norm as they were trained"
            )
    if broken := next((n for n, t in given.items() if t.is_floating_point() and not bool(t.isfinite().all())), ""):
        raise UserError(f"the weights in {what} are not finite ({broken}); use an earlier checkpoint")
    network.load_state_dict(given, strict=False)
