"""What `recipe init` says of a table: one rule a setting, each with the reason it gives."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from ..checks.identifiers import CALLED, names_things
from ..checks.independence import part_columns, snake
from ..checks.leakage import counts_rows
from ..owner.config import Config
from ..owner.engine.folders import PICTURES
from ..owner.engine.table import Table
from ..owner.errors import UserError
from ..owner.task import Data
from .proposal import Line, Proposal
from .propose_apart import PERIODS, rows_apart

# Names of what is to be predicted, the surest first; a whole name, or else the last word of one: SalePrice, is_churn.
TARGETS = (
    "target", "label", "labels", "y", "outcome", "response", "survived", "diagnosis", "churn", "churned", "exited",
    "attrition", "fraud", "default", "class", "sentiment", "species", "variety", "result", "status", "quality", "rating",
    "stars", "grade", "score", "category", "price",
)  # fmt: skip
# What describes somebody or some place is seldom predicted; it is taken where nothing else could be.
DESCRIBES = re.compile(
    r"(^|_)(sex|gender|race|ethnicity|religion|age|name|region|country|county|state|city|location|lat|latitude|lon|"
    r"long|longitude|treatment|treat|trt|group|plot|weight|weights|se)$"
)
WORDS = 5  # mean number of words from which a column is a text rather than a name
CLASSES = 20  # whole numbers up to this many are taken for classes
EACH = 10  # rows that the rarest of them has, or they are amounts


def of_table(config: Config, table: Table, path: Path, asked: str) -> Proposal:
    """Settings for a table. config: the project's, as far as it fits the file. asked: the target that the command line
    names, or ''. Raises UserError where there is nothing to learn from."""
    proposal = Proposal(config.modality, out=_unusable(config, table, asked))
    frame = table.frame.drop([n for n in (*proposal.out, *config.drop) if n in table.frame.columns])
    given = [name for name in part_columns(frame) if name not in (asked, config.target)][:1]
    frame = frame.drop(given)
    if frame.width < 2 or frame.height < 2:
        lost = "".join(f"; {name} {why}" for name, why in list(proposal.out.items())[:4])
        raise UserError(
            f"{path} has {table.frame.width} columns and {frame.height} rows; it needs a target, a feature and rows{lost}"
        )
    target = _target(config, frame, asked)
    data = _data(frame, target.value)
    apart = rows_apart(config, data)
    task = _task(config, frame[target.value], apart.value("query"))
    proposal.lines += [target, task, *apart.lines]
    for name in given:
        proposal.add("split_column", name, "it says train and val or test: the split is taken from it")
    proposal.questions += apart.questions
    _read_as(config, data, proposal, (path, table))
    if proposal.out:
        why = "; ".join(f"{name} {reason}" for name, reason in proposal.out.items())
        proposal.add("drop", [*config.drop, *proposal.out], why)
    return proposal


def _data(frame: pl.DataFrame, target: str, taken: Iterable[str] = ()) -> Data:
    kinds = {name: "numeric" if kind.is_numeric() else "categorical" for name, kind in frame.schema.items()}
    return Data(frame, target, {**kinds, **dict.fromkeys(taken, "drop"), target: "target"}, "")


def _unusable(config: Config, table: Table, asked: str) -> dict[str, str]:
    """Columns that no feature can be made of, each with the reason."""
    empty, out = {note.column for note in table.notes if note.about == "empty"}, {}
    for column in table.frame.get_columns():
        if column.null_count() == len(column):
            out[column.name] = "is empty" if column.name in empty else "holds what no feature can be made of"
        elif column.n_unique() == 1:
            out[column.name] = f"is {str(column[0])[:40]!r} in every row"
    return {name: why for name, why in out.items() if name not in (*config.drop, asked)}


def _target(config: Config, frame: pl.DataFrame, asked: str) -> Line:
    """Asked for; else as recipe.toml has it; else by its name; else the last column that could be one."""
    if asked:
        if asked not in frame.columns:
            raise UserError(f"there is no column {asked!r} to predict; there are {', '.join(frame.columns[:12])}")
        return Line("target", asked, "as you asked")
    if config.target in frame.columns:
        return Line("target", config.target, "as recipe.toml has it")
    could = [name for name in frame.columns if _could_be_predicted(frame[name])]
    could = [name for name in could if not DESCRIBES.search(snake(name))] or could
    named = sorted((name for name in could if _rank(name) is not None), key=lambda name: _rank(name) or 0)
    if named:
        others = f"; or is it {' or '.join(named[1:4])}?" if named[1:] else ""
        return Line("target", named[0], f"by its name{others}")
    if not could:
        raise UserError("no column could be a target: each is a moment, a text, or names its row; use --target NAME")
    return Line("target", could[-1], "the last that could be one: is this what you want to predict? else --target NAME")


def _rank(name: str) -> int | None:
    """How surely a name is that of a target, 0 the surest; None where it says nothing."""
    whole = snake(name).rstrip("_0123456789")
    last = whole.split("_")[-1]
    words = (whole, last if len(last) > 1 else "")
    said = [i * len(TARGETS) + TARGETS.index(word) for i, word in enumerate(words) if word in TARGETS]
    return min(said, default=None)


def _could_be_predicted(column: pl.Series) -> bool:
    """Not a moment, a text, the name of a row or of who it belongs to, nor empty in most rows."""
    values, present = column.drop_nulls().n_unique(), len(column) - column.null_count()
    if column.dtype.is_temporal() or values < 2 or present < len(column) / 2:
        return False
    if CALLED.search(snake(column.name)) or PERIODS.search(snake(column.name)) or counts_rows(column):
        return False
    if column.dtype.is_numeric():
        return column.dtype.is_float() or values < present
    return values <= max(2, present / 2)


def _task(config: Config, target: pl.Series, query: str | None) -> Line:
    """The project's own task where the target allows it; else by the values of the target."""
    column, empty = target.drop_nulls(), target.null_count()
    values = column.n_unique()
    note = f"; {empty:,} rows have none and are left out" if empty else ""
    if query:
        return Line("task", "ranking", f"the rows of one {query} are ranked by {target.name}{note}")
    number = column.dtype.is_numeric()
    whole = number and bool((column.cast(pl.Float64) % 1 == 0).all())
    few = int(column.rename("value").value_counts()["count"].min()) < EACH  # type: ignore[arg-type]
    amounts = number and (not whole or values > CLASSES or few)
    task = "binary" if values == 2 else "regression" if amounts else "multiclass"
    if values > 2 and ((config.task == "multiclass" and not amounts) or (config.task == "regression" and number)):
        task = config.task
    words = f"{values:,} different numbers" if task == "regression" else f"{values:,} classes"
    either = whole and 2 < values <= CLASSES
    other = f"; or {'multiclass' if task == 'regression' else 'regression'}, if you want it so" if either else ""
    return Line("task", task, words + note + other)


def _read_as(config: Config, data: Data, proposal: Proposal, source: tuple[Path, Table]) -> None:
    """What the project's kind reads of the other columns; another kind where it could read none of them."""
    path, table = source
    said = [data.target, *(proposal.value(n) or getattr(config, n) for n in ("time", "group", "query"))]
    rest = [column for column in data.frame.get_columns() if column.name not in said]
    strings = [c for c in rest if c.dtype == pl.String]
    pictures = [c.name for c in strings if _holds_paths(c)]
    strings = sorted((c for c in strings if c.name not in pictures), key=_mean_words, reverse=True)
    long = [c.name for c in strings if _mean_words(c) > WORDS]
    plain = [c.name for c in rest if c.name not in (*long, *pictures) and not (c.dtype.is_temporal() or names_rows(c))]
    texts = long or [c.name for c in strings if names_rows(c)] or [c.name for c in strings if c.n_unique() > CLASSES]
    reads = {"image": pictures, "text": texts, "tabular": plain, "sequence": [c.name for c in rest]}
    if not any(reads.values()):
        lost = ", ".join(name for name in table.frame.columns if name != data.target)
        raise UserError(f"{path} has nothing to predict {data.target} from: {lost} say only when, who or which row")
    if not reads[config.modality]:
        proposal.kind = next(kind for kind, columns in reads.items() if columns)
    if proposal.kind == "tabular":
        proposal.out |= dict.fromkeys(long, "is a text, which a table's model does not read")
        proposal.out |= dict.fromkeys(pictures, "holds the paths of images")
        zeros = [note.column for note in table.notes if note.about == "zeros"]
        _numbers_that_name(config, _data(data.frame, data.target, [*said, *proposal.out]), proposal, zeros)
    for name in reads[proposal.kind][:1]:
        if proposal.kind == "text" and getattr(config, "text", "") not in texts:
            proposal.add("text", name, f"{_mean_words(data.frame[name]):.0f} words on average")
        elif proposal.kind == "image" and getattr(config, "image", "") not in pictures:
            some = data.frame[name].drop_nulls().head(100).to_list()
            there = sum((path.parent / file).is_file() for file in some)
            proposal.add("image", name, f"{there} of the first {len(some)} files are there, relative to the table")
    for name in texts[1:2] if proposal.kind == "text" and len(long) > 1 else []:
        proposal.ask("text_pair", name, "is it to be read together with the first?")


def _numbers_that_name(config: Config, data: Data, proposal: Proposal, zeros: list[str]) -> None:
    """Numbers that are no quantities: of rows, and of things. zeros: columns that are written with leading ones."""
    known = [n for setting in ("id", "numeric", "categorical") for n in getattr(config, setting, [])]
    numbers = [name for name in data.columns("numeric") if name not in known]
    rows = [name for name in numbers if names_rows(data.frame[name])]
    things = names_things(data, [name for name in numbers if name not in rows])
    things |= {name: "it is written with leading zeros" for name in zeros if name in numbers and name not in rows}
    if rows:
        proposal.add("id", [*getattr(config, "id", []), *rows], "it names a row, and says nothing of it")
    if things:
        words = "; ".join(f"{name}: {why}" for name, why in things.items())
        proposal.add("categorical", [*getattr(config, "categorical", []), *things], f"names, not amounts: {words}")


def names_rows(column: pl.Series) -> bool:
    """Texts of which nearly every row has its own; whole numbers that count the rows, or differ in all and are called so."""
    present = len(column) - column.null_count()
    if column.dtype == pl.String:
        return column.n_unique() > 0.95 * max(present, 1) and present > CLASSES
    distinct = column.dtype.is_integer() and column.n_unique() == len(column)
    return counts_rows(column) or (distinct and CALLED.search(snake(column.name)) is not None)


def _mean_words(column: pl.Series) -> float:
    return float(column.drop_nulls().head(1000).str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]


def _holds_paths(column: pl.Series) -> bool:
    some = column.drop_nulls().head(100).str.to_lowercase()
    return bool(len(some)) and all(value.endswith(PICTURES) for value in some)
