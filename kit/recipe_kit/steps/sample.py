"""A few rows of the training part for the smoke test. They travel with the repository, so that a CI without the data has some."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine.files import write_atomic
from ..owner.engine.splits import splits
from ..owner.errors import UserError
from ..owner.task import Data
from ..project import Project
from ..recipe_file import to_toml

ROWS = 64
CLASSES = 16  # the largest ones: of each there are then four rows
SIDE = 256  # pixels of the longer side of an image that is kept
FOLDER = Path("tests") / "sample"
PNG = ("1", "L", "LA", "P", "I", "I;16", "RGB", "RGBA")  # what Pillow writes as it is
# What a model reads, and nothing else: no identifiers, no dropped columns.
ROLES = ("numeric", "categorical", "ordinal", "text", "image", "series", "query", "target")


def write(project: Project) -> str:
    """Write rows.csv, sample.toml and the images to tests/sample; what to know of it, in words."""
    config, data = project.config, splits(project)["train"]  # never a row of the test part
    data = data.take(chosen(config, data)).read()
    frame = data.frame.select(data.columns(*ROLES))
    if len(frame) < 10:
        raise UserError(f"{len(frame)} rows of the training part can be used as a sample; at least 10 are needed")
    folder = project.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "images", ignore_errors=True)
    for name in data.columns("image"):
        frame = frame.with_columns(pl.Series(name, copied(frame[name], folder)))
    write_atomic(folder / "rows.csv", frame.write_csv())
    write_atomic(folder / "sample.toml", toml(config, frame.columns))
    return (
        f"{len(frame)} rows of the training part with the columns {', '.join(frame.columns)} are in {FOLDER}. Once committed, they are "
        "part of the repository: whoever can read it can read them. Look at them first; take out what is secret or personal"
    )


def chosen(config: Config, data: Data) -> np.ndarray:
    """Positions of up to ROWS rows: whole queries; or of each class in turn, so that the first rows hold all; or any."""
    random = np.random.default_rng(config.split_seed)
    if config.query:  # with rows to be ranked one over the other
        query, y = (data.frame[name].rank("dense").fill_null(0).to_numpy() for name in (config.query, data.target))
        whole = [np.flatnonzero(query == value) for value in random.permutation(np.unique(query))]
        return np.concatenate([rows for rows in whole if len(np.unique(y[rows])) > 1][:ROWS])[:ROWS]
    order = random.permutation(len(data))
    if config.task not in ("binary", "multiclass"):
        return order[:ROWS]
    y = data.frame[data.target].rank("dense").to_numpy().astype(np.int64)[order]
    largest = np.argsort(-np.bincount(y), kind="stable")[:CLASSES]
    each = [order[y == value] for value in largest]
    turns = [rows[turn] for turn in range(ROWS) for rows in each if turn < len(rows)]
    return np.array(turns[:ROWS])


def copied(paths: pl.Series, folder: Path) -> list[str]:
    """Copies of the images as PNG, no larger than SIDE; their paths relative to the folder."""
    from PIL import Image

    names = [f"images/{number:02d}.png" for number in range(len(paths))]
    (folder / "images").mkdir()
    for path, name in zip(paths, names, strict=True):
        try:
            with Image.open(path) as image:
                image.thumbnail((SIDE, SIDE))
                (image if image.mode in PNG else image.convert("RGB")).save(folder / name)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} is no image that can be read ({error}); fix or delete it") from None
    return names


def toml(config: Config, columns: list[str]) -> str:
    """What recipe.toml says of these columns, without the columns that are left out, and that the rows are now here."""
    settings = {"data": (FOLDER / "rows.csv").as_posix()}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, list):  # of columns, or as in "size: small < large"
            value = [entry for entry in value if entry.partition(":")[0].strip() in columns]
        ours = field.json_schema_extra["group"] == "data" and name not in ("modality", "task", "data")  # type: ignore[index,call-overload]
        if ours and value != field.default:
            settings[name] = value
    head = f"# Rows of the training part of {config.data}, written by `recipe sample` for the smoke test, and what their columns are.\n"
    return head + "".join(f"{name} = {to_toml(value)}\n" for name, value in settings.items())
