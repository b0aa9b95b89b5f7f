"""Which file is an image of which class: from the folders it lies in, or from a table of paths and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ..engine import given
from ..engine.folders import LITTER, data_root, files_below, outside
from ..engine.kinds import is_text
from ..engine.table import Table, declared, read_table, require_columns
from ..engine.target import as_text
from ..errors import UserError
from .picture import NO_IMAGE

if TYPE_CHECKING:
    from .recipe import Config

BESIDE = (".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".html", ".pdf", ".log", ".py", ".npy", ".zip")  # fmt: skip
OTHER = "a file of another kind"  # what lies among images and says so by its name
FILE = "file_"  # columns that say what a file is: file_sha256, file_mode, file_problem, ...
Parts = tuple[str, ...]  # of a path, below the folder that `data` names


def listed(config: Config, path: Path) -> Table:
    """The images of a folder of class folders, or of a table, with their classes."""
    return Table(list_folders(config, path), {}, []) if path.is_dir() else read_list(config, path)


def list_folders(config: Config, path: Path) -> pl.DataFrame:
    """The files below each class folder, in order of their names; the class is the name of the folder.

    Where the split is given, the class folders may lie in folders called train, val and test, or hold such folders.
    """
    files = files_below(path)
    names = [file.relative_to(path).parts for file in files]
    level = given.part_level(names)
    if config.split == "auto" and not config.test_data:
        _ask_for_parts(path, names, level)
    level = level if config.split_kind == "given" else None
    _refuse_layout(path, names, 1 if level is None else 2)
    columns = {config.image: list(map(str, files)), config.target: [parts[int(level == 0)] for parts in names]}
    if level is not None:
        columns[given.COLUMN] = [parts[level] for parts in names]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _ask_for_parts(path: Path, names: list[Parts], level: int | None) -> None:
    """Raise UserError where folders are called train and val: only the owner can say whether these are parts or classes."""
    called = sorted({parts[level or 0] for parts in names if len(parts) > (level or 0) + 1})
    if level is None and not given.says_parts(called):
        return
    shown = ", ".join(name for name in called if given.part_of(name))
    seen = {
        0: f"{path} holds {shown}, with class folders of the same names in each: a split that was given",
        1: f"the class folders of {path} hold {shown}: a split that was given",
        None: f"{path} holds {shown}, which are names of parts, and no class folders in them",
    }[level]
    take = (
        'put split = "given" into recipe.toml to take it' if level is not None else "make a folder for each class there"
    )
    raise UserError(f'{seen}; {take}, or split = "stratified" where {path.name} holds no parts but classes')


def _refuse_layout(path: Path, names: list[Parts], deep: int) -> None:
    """Raise UserError for files and folders that say no class. deep: folders that an image lies in, below `path`."""
    if odd := [parts for parts in names if not is_text("/".join(parts))]:
        raise UserError(f"{path} holds a file whose name is not UTF-8: {str(Path(*odd[0]))!r}; rename it")
    inside = [parts for parts in names if len(parts) > deep]
    filled = {parts[:deep] for parts in inside}
    for folder in sorted(path.glob("/".join("*" * deep))):
        parts = folder.relative_to(path).parts
        passed = any(name.startswith(".") or name.lower() in LITTER for name in parts)
        if folder.is_dir() and not passed and parts not in filled:
            raise UserError(f"class folder {folder} holds no files; fill it, or delete it")
    if not inside:
        raise UserError(f"{path} holds no class folders; put the images of each class into a folder of its name")
    if loose := [parts for parts in names if len(parts) <= deep]:
        raise UserError(
            f"{path.joinpath(*loose[0])} lies beside the class folders and has no class; move or delete it and the like"
            f" ({len(loose):,} files)"
        )
    within = sorted({parts[1] for parts in inside if len(parts) > 2})
    if deep == 1 and len({parts[0] for parts in inside}) == 1 and len(within) > 1:
        raise UserError(
            f"{path} holds one class folder, {inside[0][0]}, and that holds {', '.join(within[:3])}; if these are the classes, set"
            f" data to {path / inside[0][0]}"
        )


def beside(config: Config, frame: pl.DataFrame) -> pl.DataFrame:
    """The same files; those of a folder that are no images and are not named like one have OTHER as their problem."""
    named = pl.Series([name.lower().endswith(BESIDE) for name in frame[config.image]], dtype=pl.Boolean)
    problem = frame[FILE + "problem"]
    return frame.with_columns(problem.set(named & (problem == NO_IMAGE), OTHER))


def refuse_lost(config: Config, frame: pl.DataFrame, kept: pl.DataFrame) -> None:
    """Raise UserError for a class folder of which no file is an image that can be used."""
    if (lost := frame.filter(~frame[config.target].is_in(kept[config.target].unique().to_list()))).height:
        path, why = Path(lost[config.image][0]), lost[FILE + "problem"][0]
        raise UserError(
            f"class folder {lost[config.target][0]} holds no image that can be used: {path} is {why}; fill the folder, or delete it"
        )


def read_list(config: Config, path: Path) -> Table:
    """A table with a column of paths, relative to its folder, and a column of labels."""
    if not path.is_file():
        raise UserError(
            f"data = {config.data!r} is neither a folder nor a file; set it to a folder of class folders, or a table of paths and labels"
        )
    table = read_table(path, declared=declared(config, text=[config.image]))
    frame = table.frame
    require_columns({"image": [config.image], "target": [config.target], "query": [config.query]}, frame, path)
    if clash := [name for name in frame.columns if name.startswith(FILE)]:
        raise UserError(f"{path} has a column {clash[0]!r}; names that start with {FILE!r} are taken, rename it")
    names = as_text(frame[config.image])
    if names.null_count():
        raise UserError(
            f"column {config.image!r} of {path} is empty in {names.null_count():,} rows; give each row the path of its image"
        )
    if odd := [name for name in names if outside(path, name)]:
        raise UserError(
            f"{path} names {odd[0]!r}, which is not in {data_root(path)}; put the images there, or a link to their folder"
        )
    paths = pl.Series(config.image, [str((path.parent / name).absolute()) for name in names])
    return replace(table, frame=frame.with_columns(paths))
