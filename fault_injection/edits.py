"""Faults in the data: functions from a strength to an edit of the project's rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from fault import DataEdit


def _target(frame: pl.DataFrame) -> str:
    return next(name for name in ("target", "label", "late", "returned") if name in frame.columns)


def _some(frame: pl.DataFrame, share: float, random: np.random.Generator) -> np.ndarray:
    """Positions of a random share of the rows."""
    return random.permutation(frame.height)[: round(share * frame.height)]


def _set(frame: pl.DataFrame, name: str, rows: np.ndarray, values: object) -> pl.DataFrame:
    column = frame[name].to_numpy().copy()
    column[rows] = values
    return frame.with_columns(pl.Series(name, column))


def random_labels(share: float) -> DataEdit:
    """A share of the labels drawn anew from all labels."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        name, rows = _target(frame), _some(frame, share, random)
        return _set(frame, name, rows, random.choice(frame[name].to_numpy(), len(rows)))

    return edit


def permuted_labels(share: float) -> DataEdit:
    """A share of the labels permuted among themselves: a sort or a join went wrong."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        name, rows = _target(frame), _some(frame, share, random)
        return _set(frame, name, rows, frame[name].to_numpy()[random.permutation(rows)])

    return edit


def one_class_for_another(share: float) -> DataEdit:
    """A share of one class carries the label of another: two annotators disagreed on the guideline."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        name = _target(frame)
        classes = sorted(frame[name].unique())
        rows = np.flatnonzero((frame[name] == classes[1]).to_numpy() & (random.random(frame.height) < share))
        return _set(frame, name, rows, classes[0])

    return edit


def class_dropped(share: float) -> DataEdit:
    """A share of the rows of one class is lost."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        name = _target(frame)
        lost = (frame[name] == sorted(frame[name].unique())[1]).to_numpy() & (random.random(frame.height) < share)
        return frame.filter(~lost)

    return edit


def corrupt_rows(share: float) -> DataEdit:
    """A share of the rows with every number 0: blank records, each with some label."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        rows, name = _some(frame, share, random), _target(frame)
        for column in frame.columns:
            if column != name and frame[column].dtype.is_numeric():
                frame = _set(frame, column, rows, 0)
        return frame

    return edit


def corrupt_texts(share: float, what: str = "") -> DataEdit:
    """A share of the texts replaced by something empty or broken."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return _set(frame, "text", _some(frame, share, random), what)

    return edit


def repeated(rows: int, times: int) -> DataEdit:
    """Some rows are there several times."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        extra = np.repeat(random.permutation(frame.height)[:rows], times - 1)
        return pl.concat([frame, frame[extra]])[random.permutation(frame.height + len(extra))]

    return edit


def near_copies(share: float, noise: float) -> DataEdit:
    """A share of the rows comes again, every number changed by about `noise` of itself, as by another rounding."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        copies, name = frame[_some(frame, share, random)], _target(frame)
        for column in frame.columns:
            if column != name and frame[column].dtype.is_numeric():
                moved = copies[column].to_numpy() * random.normal(1, noise, copies.height)
                copies = copies.with_columns(pl.Series(column, moved))
        return pl.concat([frame, copies], how="vertical_relaxed")[random.permutation(frame.height + copies.height)]

    return edit


def constant_for_missing(column: str, share: float, value: float = 0.0) -> DataEdit:
    """A share of a column holds a number that means missing."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return _set(frame, column, _some(frame, share, random), value)

    return edit


def target_leaks(noise: float, share: float = 1.0) -> DataEdit:
    """A column that was written after the outcome: the target's number with noise, known for a share of the rows."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        code = frame[_target(frame)].rank("dense").cast(pl.Float64).to_numpy()
        values = (code + random.normal(0, noise, frame.height)).round(3)
        values = np.where(random.random(frame.height) < share, values, random.permutation(values))
        return frame.with_columns(pl.Series("follow_up", values))

    return edit


def sorted_with_row_number(noise: float) -> DataEdit:
    """Rows exported class by class, with a running number as a column. noise: in shares of the table's length."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        code = frame[_target(frame)].rank("dense").to_numpy() / frame[_target(frame)].n_unique()
        frame = frame[np.argsort(code + random.normal(0, noise, frame.height), kind="stable")]
        return frame.with_columns(pl.Series("record", np.arange(frame.height) * 3 + 1001))

    return edit


def sorted_rows(noise: float) -> DataEdit:
    """Rows exported class by class, more or less."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return sorted_with_row_number(noise)(frame, random).drop("record")

    return edit


def without(*columns: str) -> DataEdit:
    """These columns were not exported."""
    return lambda frame, random: frame.drop(columns)


def other_unit(column: str, share: float, factor: float) -> DataEdit:
    """A share of a column recorded in another unit."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        frame = frame.with_columns(pl.col(column).cast(pl.Float64))
        rows = _some(frame, share, random)
        return _set(frame, column, rows, frame[column].to_numpy()[rows] * factor)

    return edit


def spellings(column: str, count: int) -> DataEdit:
    """Every value of a category written in `count` ways: capitals, blanks, full stops."""
    ways = [
        str.title,
        str.upper,
        lambda s: s + " ",
        lambda s: s + ".",
        lambda s: s.replace(" ", "_"),
        lambda s: " " + s,
    ]

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        picks = random.integers(0, count, frame.height)
        values = [value if p == 0 else ways[p - 1](value) for value, p in zip(frame[column], picks, strict=True)]
        return frame.with_columns(pl.Series(column, values))

    return edit


def target_encoded(columns: list[str]) -> DataEdit:
    """Mean target of each combination of columns, own row included, before any split."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        name = _target(frame)
        hit = (pl.col(name) == sorted(frame[name].unique())[-1]).cast(pl.Float64).mean()
        return frame.with_columns(hit.over(columns).round(4).alias("history"))

    return edit


def headed(words: int) -> DataEdit:
    """Every text begins with the same header of so many words."""
    header = " ".join(["the", "of", "in", "a"] * words).split()[:words]

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return frame.with_columns((pl.lit(" ".join(header) + " ") + pl.col("text")).alias("text"))

    return edit


def broken_files(share: float) -> DataEdit:
    """A share of the pictures cannot be decoded."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return _set(frame.with_columns(pl.col("p0").cast(pl.Float64)), "p0", _some(frame, share, random), np.nan)

    return edit


def format_by_class(share: float) -> DataEdit:
    """Pictures of one class come from another source, in another format."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        one = (frame["target"] == "d1").to_numpy() & (random.random(frame.height) < share)
        return frame.with_columns(pl.Series("kind", np.where(one, "jpg", "png")))

    return edit


def moved(column: str, deviations: float, rows: int = 1000) -> DataEdit:
    """The first rows, with a column higher by so many standard deviations."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        by = deviations * float(frame[column].std())  # type: ignore[arg-type]
        return frame.head(rows).with_columns(pl.col(column) + by)

    return edit


def replaced(column: str, share: float, value: object = None) -> DataEdit:
    """A share of a column holds a value that was not there before, or nothing."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        hit = pl.Series(random.random(frame.height) < share)
        return frame.with_columns(pl.when(hit).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))

    return edit
