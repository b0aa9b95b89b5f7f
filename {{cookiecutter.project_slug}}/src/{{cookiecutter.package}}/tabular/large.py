"""A Parquet file larger than memory (`sample_rows` above 0): parted by a few columns, looked at by sample, encoded once.

Held in memory for every row: the target and the columns that say who, when and which query. All others are read PIECE
rows at a time, by what can do with pieces, or for `sample_rows` random rows, by what needs its rows all at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl
from filelock import FileLock

from ..engine import given
from ..engine.files import sha256, sync_folder
from ..engine.kinds import KINDS as KINDS_OF
from ..engine.kinds import Kind, decide, of_dtype
from ..engine.table import Table, converted, declared, read_table, refused
from ..engine.target import check_target, query_numbers, targets, with_target
from ..errors import UserError
from ..task import Batch, Data
from .data import encode, feature_names, infer_roles, require_named
from .unknown import Forget, forgetting

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

PIECE = 100_000  # rows read at once: of 50 columns 40 MB, encoded 60 MB
STRETCH = 256  # encoded rows that are read together: 64 KB of 60 columns, which a disk gives in one go
KINDS: dict[str, Any] = {"numeric": np.dtype(np.float32), "categorical": np.dtype(np.int64)}  # as `encode` gives them


@dataclass(frozen=True, kw_only=True)
class Large(Data):
    """Rows of a Parquet file. frame: of all its rows here, only the columns that part and score them.

    rows: positions in the file, int32 [n] where they can be. left_out: positions of the rows without a target. most: rows of a sample.
    """

    path: Path
    rows: np.ndarray
    left_out: np.ndarray
    most: int
    seed: int

    def take(self, rows: np.ndarray) -> Large:
        return replace(self, frame=self.frame[rows], rows=self.rows[rows])

    def columns(self, *roles: str) -> list[str]:
        return [name for name, role in self.roles.items() if role in roles]

    def chunks(self) -> Iterator[Data]:
        for frame in pieces(self.path, self.kinds, self.rows):
            yield self._of(frame)

    def read(self) -> Data:
        frame = pl.concat(pieces(self.path, self.kinds, np.sort(self.rows)))
        return self._of(frame[np.argsort(np.argsort(self.rows))])

    def _of(self, frame: pl.DataFrame) -> Data:
        return Data(frame, self.target, self.roles, self.sha256, kinds=self.kinds, notes=self.notes)

    def sample(self) -> Data:
        return self._sample

    @cached_property
    def _sample(self) -> Data:
        left_out = pl.concat(pieces(self.path, self.kinds, drawn(self.left_out, self))) if len(self.left_out) else None
        return replace(self.take(drawn(np.arange(len(self)), self)).read(), unlabeled=left_out)


def drawn(rows: np.ndarray, data: Large) -> np.ndarray:
    """At most `data.most` of these, in their order, always the same ones."""
    return rows[np.sort(np.random.default_rng(data.seed).permutation(len(rows))[: data.most])]


def pieces(path: Path, kinds: dict[str, Kind], rows: np.ndarray) -> Iterator[pl.DataFrame]:
    """The rows with these positions, ascending: columns of these kinds, as many rows at a time as lie within PIECE."""
    start = 0
    while start < len(rows):
        first = int(rows[start])
        end = int(np.searchsorted(rows, first + PIECE))
        window = pl.scan_parquet(path).slice(first, int(rows[end - 1]) - first + 1)
        frame = window.select(pl.selectors.by_name(*kinds)).collect()
        yield by_kinds(path, frame if frame.height == end - start else frame[rows[start:end] - first], kinds)
        start = end


def by_kinds(path: Path, frame: pl.DataFrame, kinds: dict[str, Kind]) -> pl.DataFrame:
    """The columns by their kinds. Raises UserError for a value that cannot be read so."""
    return pl.DataFrame([converted(path, frame[name], kind) for name, kind in kinds.items()])


def load(config: Config, root: Path) -> Large:
    """What `data.load` gives, with the few columns alone in memory. Raises UserError for bad input."""
    path = root / config.data
    if path.suffix != ".parquet":
        raise UserError(
            f"sample_rows reads Parquet in pieces, and data = {config.data!r}; turn it into such a file, once: python -c"
            f" \"import polars; polars.scan_csv('{config.data}').sink_parquet('data/train.parquet')\""
        )
    if config.duplicates == "drop":
        raise UserError(
            "duplicates = 'drop' needs every row in memory, which sample_rows avoids; drop them from the file"
        )
    if config.test_data:
        raise UserError("sample_rows reads one file; put the rows of test_data into it, with a column for split_column")
    require_named(config, read_table(path, 1, declared(config)).frame, path)
    kinds = _kinds(config, path)
    named = [config.target, config.group, config.time, config.query, config.split_column, *config.slices]
    few = {name: kinds[name] for name in kinds if name in named}

    def part_of(file: Path) -> Table:
        return Table(by_kinds(file, pl.scan_parquet(file).select(pl.selectors.by_name(*few)).collect(), few), few, [])

    part = given.read(config, root, part_of).frame
    known = part[config.target].is_not_null()
    frame, unlabeled = with_target(part, config.target)
    check_target(config, frame, path)
    width = np.int32 if part.height < 2**31 else np.int64
    rows, left_out = (np.flatnonzero(mask.to_numpy()).astype(width) for mask in (known, ~known))
    data = Large(
        frame,
        config.target,
        {},
        sha256(path),
        unlabeled,
        kinds,
        path=path,
        rows=rows,
        left_out=left_out,
        most=config.sample_rows,
        seed=config.split_seed,
    )
    return replace(data, roles=_roles(config, data))


def _kinds(config: Config, path: Path) -> dict[str, Kind]:
    """How each column is read: by its type, and numbers that are written as texts by the first rows."""
    schema, told = pl.read_parquet_schema(path), declared(config, numeric=config.numeric)
    kinds = {name: of_dtype(dtype) for name, dtype in schema.items()}
    if words := [name for name in config.numeric if kinds.get(name) == {"kind": "text"}]:
        first = pl.scan_parquet(path).select(pl.selectors.by_name(*words)).head(PIECE).collect()
        kinds |= {name: decide(first[name], True, "number") for name in words}
    if unread := [name for name, kind in kinds.items() if kind is None and name not in told.drop]:
        raise refused(path, unread[0], str(schema[unread[0]]))
    gaps = {"gaps": list(told.also_missing)}  # of texts, as the reader of whole files pins them
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    return {name: {**kind, **gaps} if kind == {"kind": "text"} else kind for name, kind in known.items()}


def _roles(config: Config, data: Large) -> dict[str, str]:
    """Roles from types where they decide, and from a sample of the others: what texts hold."""
    words = {name: kind for name, kind in data.kinds.items() if kind["kind"] in ("text", "boolean")}
    sample = pl.DataFrame({"": drawn(data.rows, data)})
    if words:
        sample = sample.hstack(pl.concat(pieces(data.path, words, sample[""].to_numpy())))
    told = [pl.lit(None, KINDS_OF[kind["kind"]]).alias(name) for name, kind in data.kinds.items() if name not in words]
    return infer_roles(config, sample.with_columns(told).select(pl.selectors.by_name(*data.kinds)))


@dataclass
class Stored:
    """A part encoded into files that are read where a batch needs them. files: of each tensor of x, its rows one after
    the other, as many bytes wide as `widths` says. Not mapped: mapped pages would count as memory of this process, 1 GB
    for a batch where the system keeps files in large pages.

    stretch: rows that lie together; an epoch goes through stretches in random order (see `plan`).
    """

    files: dict[str, BinaryIO]
    widths: dict[str, int]
    y: Tensor
    query: Tensor | None = None
    lengths: Tensor | None = None
    stretch: int = STRETCH
    forget: Forget | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """Row by row, 2 microseconds each where the system still has the pages."""
        import torch

        for rows in plan:
            x = {name: torch.from_numpy(self.read(name, rows.tolist())) for name in self.files}
            if augment and self.forget:
                self.forget(x, rows, epoch)
            yield Batch(x, self.y[rows], rows, None if self.query is None else self.query[rows])

    def read(self, name: str, rows: list[int]) -> np.ndarray:
        """These rows of one of the files, [b, d]."""
        file, width = self.files[name], self.widths[name]
        found = np.empty((len(rows), width // KINDS[name].itemsize), KINDS[name])
        for row, place in zip(rows, found, strict=True):
            file.seek(row * width)
            file.readinto(place)  # type: ignore[attr-defined]  # a file without a buffer has it
        return found


def examples(config: Config, prep: dict[str, Any], data: Large) -> Stored:
    """The part, encoded into `encoded/` beside the data file unless it lies there. Raises UserError where that is full."""
    import torch

    y, query = torch.from_numpy(targets(config, prep, data)), query_numbers(config, data)
    folder = _encoded(prep, data)
    paths = sorted(folder.iterdir())
    files: dict[str, BinaryIO] = {path.name: open(path, "rb", buffering=0) for path in paths}  # noqa: SIM115
    widths = {path.name: path.stat().st_size // len(data) for path in paths}
    return Stored(files, widths, y, query, forget=forgetting(config, prep, len(y)))


def _encoded(prep: dict[str, Any], data: Large) -> Path:
    """The folder of these rows under this preprocessing and this code; made when it is not there, whole or not at all."""
    code = (Path(__file__).parent / "data.py").read_bytes()
    digest = hashlib.sha256(code + json.dumps([data.sha256, prep], sort_keys=True).encode())
    digest.update(data.rows.tobytes())
    folder = data.path.parent / "encoded" / digest.hexdigest()[:16]
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            made = folder.with_suffix(".tmp")
            shutil.rmtree(made, ignore_errors=True)  # what a killed process left
            _refuse_full(prep, data, folder.parent)
            made.mkdir()
            _write(prep, data, made)
            os.replace(made, folder)
            sync_folder(folder.parent)
    return folder


def _write(prep: dict[str, Any], data: Large, folder: Path) -> None:
    for chunk in data.chunks():
        for name, array in encode(prep, chunk.frame).items():
            with open(folder / name, "ab") as file:
                array.tofile(file)
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _refuse_full(prep: dict[str, Any], data: Large, folder: Path) -> None:
    width = 4 * len(feature_names(prep)) + 8 * len(prep["embedded"])
    need, free = width * len(data) / 1e9, shutil.disk_usage(folder).free / 1e9
    if need > free:
        raise UserError(
            f"{len(data):,} encoded rows take {need:.1f} GB, and {folder} has {free:.1f} GB free; delete folders of"
            " earlier preprocessings there: whatever is needed is made again"
        )
