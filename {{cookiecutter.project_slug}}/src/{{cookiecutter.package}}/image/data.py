"""From files to tensors: found, looked at, decoded once, and augmented by (seed, epoch, index) alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine import given
from ..engine.table import noted, require_columns
from ..engine.target import check_target, fit_target, query_numbers, targets
from ..errors import UserError
from ..task import Batch, Data
from .listing import FILE, OTHER, beside, listed, refuse_lost
from .picture import all_pixels, look_at, pixels, scan

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

Wanted = tuple[list[int], int, bool]  # the rows of a batch, the epoch, whether to augment
MEMORY = 2 << 30  # bytes of decoded images of one part that are kept in memory; more are decoded batch by batch
WATCHED = 32  # pixels a side at which brightness and contrast are measured
FITTED = 1_000  # training images that color mean and spread are measured on where no weights bring theirs


def load(config: Config, root: Path) -> Data:
    """Find the images, look at every file, and leave out rows without a target, files of another kind and, if so asked,
    broken images."""
    path = root / config.data
    table = given.read(config, root, lambda place: listed(config, place))
    frame = table.frame
    notes = tuple(table.notes) if path.is_dir() else noted(config, path, table)
    facts = scan(frame[config.image], root / "runs").drop("path")
    frame = frame.hstack([column.alias(FILE + column.name) for column in facts])
    frame = beside(config, frame) if path.is_dir() else frame
    require_columns(
        {"group": [config.group], "time": [config.time], "slices": config.slices, "drop": config.drop}, frame, path
    )
    broken = pl.col("file_problem") != ""
    if frame.select(broken.all()).item():
        raise UserError(
            f"none of the {frame.height:,} images of {path} can be used; the first, {frame[config.image][0]}, is {frame['file_problem'][0]}"
        )
    problem = frame["file_problem"]
    unusable = problem != "" if config.corrupt == "drop" else problem == OTHER
    left_out = frame[config.target].is_null() | unusable
    labeled, unlabeled = frame.filter(~left_out), frame.filter(left_out)
    if path.is_dir():
        refuse_lost(config, frame, labeled)
    if config.duplicates == "drop":
        labeled = labeled.filter(labeled[["file_sha256", config.target]].to_struct("").is_first_distinct())
    check_target(config, labeled, path)
    digest = _digest(config, frame, [root / name for name in (config.data, config.test_data) if name])
    roles = infer_roles(config, labeled)
    return Data(labeled, config.target, roles, digest, unlabeled if unlabeled.height else None, table.kinds, notes)


def infer_roles(config: Config, frame: pl.DataFrame) -> dict[str, str]:
    """What the settings name has that role; every other column is dropped: the network sees pictures alone."""
    special = {
        config.group: "group", config.time: "time", config.query: "query", config.image: "image",
        "file_sha256": "content", given.column(config): "part", config.target: "target",
    }  # fmt: skip
    return dict.fromkeys(frame.columns, "drop") | {name: role for name, role in special.items() if name}


def _digest(config: Config, frame: pl.DataFrame, sources: list[Path]) -> str:
    """sha256 over the tables, if there are any, and the name and bytes of every image; not over where the project lies."""
    around = [path if path.is_dir() else path.parent.absolute() for path in sources]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources if not path.is_dir()))
    for name, content in frame[[config.image, "file_sha256"]].iter_rows():
        within = [Path(name).relative_to(folder).as_posix() for folder in around if Path(name).is_relative_to(folder)]
        digest.update(f"{within[0] if within else name}\n{content}\n".encode())
    return digest.hexdigest()


def refuse_broken(config: Config, data: Data) -> None:
    """Raise UserError naming the files that cannot be used: this is decided before training, never met in the middle."""
    broken = data.frame["file_problem"] != ""
    if broken.any():
        bad = data.frame.filter(broken)
        named = ", ".join(
            f"{Path(name).name} ({why.split(':')[0]})"
            for name, why in bad[[config.image, "file_problem"]].head(3).rows()
        )
        raise UserError(
            f"{bad.height:,} of {len(data):,} images cannot be used: {named}{' ...' if bad.height > 3 else ''}; fix or delete them, "
            f'or set corrupt = "drop" in recipe.toml (recipe audit names them all)'
        )


def prepare(config: Config, train: Data) -> dict[str, Any]:
    """The target, and how a picture becomes numbers: as the weights were trained, or measured on the training part."""
    from .weights import own_view, weights_hash

    refuse_broken(config, train)
    view = own_view(config.backbone, config.weights)
    size = config.size or view["size"]
    side = max(round(size * view["margin"]), size)
    if not view["mean"]:
        rows = np.random.default_rng(0).permutation(len(train))[:FITTED]
        some = decoded(files(config.image, train.take(rows)), side, view["interpolation"]).float().div(255)
        mean, std = some.mean(dim=(0, 2, 3)), some.std(dim=(0, 2, 3)).clamp(min=1e-3)
        view = {**view, "mean": mean.tolist(), "std": std.tolist()}
    return {
        **fit_target(config, train), "task": config.task, "backbone": config.backbone, "norm": config.norm,
        "weights": weights_hash(config.backbone, config.weights), "size": size, "side": side, "image": config.image,
        "interpolation": view["interpolation"], "mean": view["mean"], "std": view["std"],
    }  # fmt: skip


@dataclass(frozen=True)
class Files:
    """The files of a part. sha256: of their paths and of the hashes of their bytes, by which parts are told apart."""

    sha256: str
    paths: pl.Series = field(compare=False)


def files(column: str, data: Data) -> Files:
    """The files of a part, and what tells them from others."""
    digest = hashlib.sha256()
    for name, content in zip(data.frame[column], data.frame["file_sha256"], strict=True):
        digest.update(f"{name}\0{content}\0".encode())
    return Files(digest.hexdigest(), data.frame[column])


@lru_cache(maxsize=6)
def decoded(files: Files, side: int, interpolation: str) -> Tensor:
    """All images as one tensor, uint8 [n, 3, side, side]. Kept: a step asks for the same part several times."""
    import torch

    return torch.from_numpy(all_pixels(files.paths, side, interpolation))


@dataclass
class Images:
    """A part as pictures. stored: uint8 [n, 3, side, side], or None where they do not fit into memory."""

    paths: pl.Series
    prep: dict[str, Any]
    y: Tensor
    query: Tensor | None
    lengths: Tensor | None
    stored: Tensor | None
    augment: tuple[str, ...]
    strength: float
    seed: int
    workers: int
    loader: Iterable[Batch] | None = field(default=None, init=False)
    wanted: list[Wanted] = field(default_factory=list, init=False)

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """x: float32 [b, 3, size, size], scaled as the weights expect. Workers, if any, make whole batches, in order."""
        todo = [(rows.tolist(), epoch, augment) for rows in plan]
        if not self.workers or len(plan) == 1:
            yield from map(self.__getitem__, todo)
            return
        if self.loader is None:
            self.loader = make_loader(replace(self), self.wanted)
        self.wanted[:] = todo
        yield from self.loader

    def __getitem__(self, wanted: Wanted) -> Batch:
        """One batch."""
        import torch

        from .augment import augmented, plain

        numbers, epoch, augment = wanted
        rows = torch.tensor(numbers)
        query = None if self.query is None else self.query[rows]
        if augment and self.augment:
            x, y = augmented(self, rows, epoch)
            return Batch(x, y, rows, query)
        x = plain(self.prep, torch.stack([self.picture(i) for i in numbers]))
        return Batch(x, self.y[rows], rows, query)

    def picture(self, row: int) -> Tensor:
        """One image, uint8 [3, side, side]."""
        import torch

        if self.stored is not None:
            return self.stored[row]
        return torch.from_numpy(pixels(self.paths[row], self.prep["side"], self.prep["interpolation"]))


@dataclass
class Shrunk:
    """Pictures scaled down as they come, for trials of a network where a step at their own size takes too long."""

    whole: Any
    side: int

    def __post_init__(self) -> None:
        self.y, self.query, self.lengths = self.whole.y, self.whole.query, self.whole.lengths

    def __len__(self) -> int:
        return len(self.whole)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """The same batches, x: float32 [b, 3, side, side]."""
        from torch.nn.functional import interpolate

        for batch in self.whole.batches(plan, epoch, augment):
            yield batch._replace(x=interpolate(batch.x, size=(self.side, self.side), mode="bilinear", antialias=True))


def make_loader(images: Images, wanted: list[Wanted]) -> Iterable[Batch]:
    """Workers that live as long as the loader, and make what `wanted` holds whenever it is gone through: where processes
    are not forked (Windows, macOS), starting them takes seconds, in each epoch."""
    import torch
    from torch.utils.data import DataLoader

    own = torch.Generator()  # the loader would draw its seed from the global generator, and dropout notice
    several = {"num_workers": images.workers, "persistent_workers": True, "pin_memory": torch.cuda.is_available()}
    return DataLoader(images, batch_size=None, sampler=wanted, generator=own, **several)  # type: ignore[arg-type]


def examples(config: Config, prep: dict[str, Any], data: Data) -> Images:
    """A part as pictures, decoded now if they fit into memory. Classes unseen in training raise UserError."""
    import torch

    refuse_broken(config, data)
    paths = data.frame[prep["image"]]
    fits = len(paths) * 3 * prep["side"] ** 2 <= MEMORY
    stored: torch.Tensor | None
    if paths.dtype == pl.Binary:  # of a request, which no later step asks for again
        stored = torch.from_numpy(all_pixels(paths, prep["side"], prep["interpolation"]))
    else:
        stored = decoded(files(prep["image"], data), prep["side"], prep["interpolation"]) if fits else None
    y = torch.from_numpy(targets(config, prep, data))
    augment = tuple(config.augment)
    return Images(
        paths, prep, y, query_numbers(config, data), None, stored, augment, config.strength, config.seed, config.workers
    )


def first(images: Images, n: int) -> Images:
    """The first n images of a part."""
    return replace(
        images, paths=images.paths[:n], y=images.y[:n], stored=None if images.stored is None else images.stored[:n]
    )


def show(prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
    """One example as it entered the model, scaled back to 8 bits: uint8 [size, size, 3]."""
    import torch

    x = batch.x[row].cpu()
    back = x * torch.tensor(prep["std"])[:, None, None] + torch.tensor(prep["mean"])[:, None, None]
    return {"image": back.mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()}


def validate_rows(prep: dict[str, Any], frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Images to predict: every file is looked at, as before training."""
    paths = frame[prep["image"]]
    facts = look_at(paths if not paths.null_count() else paths.fill_null(b"" if paths.dtype == pl.Binary else ""))
    named = [facts[name].alias(FILE + name) for name in facts.columns[1:]]
    return frame.hstack(named), [f"is {why}" if why else "" for why in facts["problem"]]


def monitored_features(prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """What can be said of a picture without a network: its size and mode, its brightness and contrast."""
    small = all_pixels(frame[prep["image"]], WATCHED) / 255  # [n, 3, h, w]
    colors = small.mean(axis=(2, 3))
    return frame.select(
        pl.col(FILE + "width").cast(pl.Float64).alias("width"),
        pl.col(FILE + "height").cast(pl.Float64).alias("height"),
        pl.col(FILE + "mode").alias("mode"),
        pl.Series("brightness", small.mean(axis=(1, 2, 3))),
        pl.Series("contrast", small.std(axis=(1, 2, 3))),
        pl.Series("redness", colors[:, 0] - colors[:, 2]),
    )
