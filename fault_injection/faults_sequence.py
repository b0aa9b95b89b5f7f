"""Faults in projects of series: waves that are to be told apart, and a demand that is to be forecast."""

from __future__ import annotations

import numpy as np
import polars as pl
from fault import DataEdit, Edit, Fault, Strength
from faults_data import LEAK, of_data

MODEL, TABLE, FORECAST = "sequence/model.py", "sequence/table.py", "sequence/forecast.py"
MEAN = "    return (x * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)"
PACKED = "values.transpose(1, 2), mask.sum(dim=1).cpu()"
ATTENDED = ", src_key_padding_mask=~mask"
ORDERED = "    ordered = frame.with_row_index(ROW)"
ORDER = "[pl.col(config.step)] if config.step"
LABELED = "    labeled, unlabeled = with_target(frame, config.target)"
KNOWN = "column[max(start, origin - config.max_length) : origin]"
COLUMN = "frame[column].cast(pl.Float64).to_list()"
COMPANY = "an answer depends on how long the others of its batch are"
FUTURE = "what is known at the origin holds what came later"


def code(file: str, old: str, new: str, **settings: object) -> Strength:
    return Strength(code=(Edit(file, old, new),), settings=settings)


def said_at_the_end(share: float) -> DataEdit:
    """The last noise of a share of the fast waves is a mark that somebody set when the answer was known."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        fast = frame.filter(pl.col("target") == "fast")["who"].unique(maintain_order=True).to_list()
        marked = [who for who in fast if random.random() < share]
        last = (pl.col("at") == pl.col("at").max().over("who")) & pl.col("who").is_in(marked)
        return frame.with_columns(pl.when(last).then(9.0).otherwise("noise").alias("noise"))

    return edit


def cut_shorter(share: float) -> DataEdit:
    """A share of the slow waves ends after eight steps: one class was recorded by another device."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        slow = frame.filter(pl.col("target") == "slow")["who"].unique(maintain_order=True).to_list()
        short = [who for who in slow if random.random() < share]
        return frame.filter(~(pl.col("who").is_in(short) & (pl.col("at") >= 8)))

    return edit


def numbered_by_class(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """The file is sorted by class and its row number is among the columns."""
    return frame.sort("target", maintain_order=True).with_row_index("row")


def named_again(series: int) -> DataEdit:
    """Some series come again under other names."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        names = random.permutation(frame["who"].unique(maintain_order=True).to_numpy())[:series]
        again = frame.filter(pl.col("who").is_in(names.tolist())).with_columns(pl.col("who") + "b")
        return pl.concat([frame, again])

    return edit


def rows_lost(share: float) -> DataEdit:
    """A share of the steps is missing, and nothing says where."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        return frame.filter(pl.Series(random.random(frame.height) >= share))

    return edit


def of_later(noise: float) -> DataEdit:
    """The channel beside the demand was computed from the demand of three days later."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        later = pl.col("target").shift(-3).over("place") + pl.Series(noise * random.normal(size=frame.height))
        return frame.with_columns(later.round(2).alias("warm"))

    return edit


def gaps(share: float) -> DataEdit:
    """A share of the demand was not measured."""

    def edit(frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        lost = pl.Series(random.random(frame.height) < share)
        return frame.with_columns(pl.when(lost).then(None).otherwise("target").alias("target"))

    return edit


LEAKS = ("dominant feature", "target-derived feature", "recorded after the outcome", "informative missingness")
AHEAD = ("refit", "permuted labels", *LEAKS)
SEQUENCE = [
    Fault("Y1", "the mean over the steps counts the padding", ("model",), "waves", "check", {"medium": code(MODEL, MEAN, "    return x.mean(dim=1)")}, wrong=COMPANY, checks=("no mixing",)),
    Fault("Y2", "a recurrent network reads the padding", ("model",), "waves", "check", {"medium": code(MODEL, PACKED, PACKED.replace("mask.sum(dim=1)", "(0 * mask.sum(dim=1) + mask.shape[1])"), model="gru")}, wrong=COMPANY, checks=("no mixing",)),
    Fault("Y3", "attention looks at the padding", ("model",), "waves", "check", {"medium": code(MODEL, ATTENDED, "", model="transformer")}, wrong=COMPANY, checks=("no mixing",)),
    Fault("Y4", "channels are standardized over the whole file", ("preprocessing", "split"), "waves", "check", {"medium": code(TABLE, ORDERED, ORDERED + ".with_columns((pl.col(pl.Float64) - pl.col(pl.Float64).mean()) / pl.col(pl.Float64).std())")}, wrong=LEAK, inflating=True, checks=("refit",)),
    Fault("Y5", "the end of a series says what came out", ("data", "split"), "waves", "audit", of_data(said_at_the_end, 0.3, 0.6, 1.0), wrong="the mark is set when the answer is known", inflating=True, checks=LEAKS),
    Fault("Y6", "the length of a series says what it is", ("data", "split"), "waves", "audit", of_data(cut_shorter, 0.3, 0.6, 1.0), wrong="how a series was recorded is not what it is", inflating=True, checks=("length and padding", *LEAKS)),
    Fault("Y7", "row numbers of a file sorted by class", ("data", "split"), "waves", "audit", {"extreme": Strength(data=numbered_by_class)}, wrong="a row number says where a series stood in the file", inflating=True, checks=("row number as channel", "row number as feature", "row-order dependence", *LEAKS)),
    Fault("Y8", "series again under other names", ("data", "split"), "waves", "audit", of_data(named_again, 5, 20, 80), wrong=LEAK, inflating=True, checks=("duplicate rows", "near duplicates", "duplicates across parts", "near duplicates across parts")),
    Fault("Y9", "steps are missing and nothing says where", ("data",), "waves", "audit", of_data(rows_lost, 0.02, 0.1, 0.3), wrong="the network reads a step after another, not moments", checks=("time steps",)),
    Fault("Y10", "steps are ordered as words: 10 before 2", ("data", "preprocessing"), "waves", "audit", {"medium": code(TABLE, ORDER, "[pl.col(config.step).cast(pl.String)] if config.step")}, wrong="the order of the steps is lost", checks=("time steps", "decoded back", "rows and labels")),
    Fault("Y11", "each series has the label of the one before", ("data", "preprocessing"), "waves", "audit", {"medium": code(TABLE, LABELED, "    frame = frame.with_columns(pl.col(config.target).shift(1).fill_null(strategy='backward'))\n" + LABELED)}, wrong="labels of other rows", checks=("rows and labels", "signal", "something to learn", "label suspects", "input matters")),
    Fault("Y12", "a window ends after the origin", ("preprocessing", "split", "data"), "demand", "audit", {s: code(FORECAST, KNOWN, KNOWN[:-1] + f" + {n}]") for s, n in (("mild", 1), ("medium", 3), ("extreme", 7))}, wrong=FUTURE, inflating=True, checks=AHEAD),
    Fault("Y13", "values are smoothed with later ones", ("preprocessing", "split", "data"), "demand", "audit", {s: code(FORECAST, COLUMN, COLUMN.replace(".to_list()", f".reverse().rolling_mean({n}, min_samples=1).reverse().to_list()")) for s, n in (("mild", 2), ("medium", 4), ("extreme", 8))}, wrong=FUTURE, inflating=True, checks=AHEAD),
    Fault("Y14", "gaps are filled with the next value", ("preprocessing", "split", "data"), "demand", "audit", {s: Strength(data=gaps(share), code=(Edit(FORECAST, COLUMN, COLUMN.replace(".to_list()", '.fill_null(strategy="backward").to_list()')),)) for s, share in (("medium", 0.1), ("extreme", 0.4))}, wrong=FUTURE, inflating=True, checks=AHEAD),
    Fault("Y15", "a channel that was computed from the future", ("data", "split"), "demand", "audit", of_data(of_later, 4.0, 1.0, 0.1), wrong="it is not there when one asks", inflating=True, checks=(*AHEAD, "good from the first epoch")),
    Fault("Y16", "windows of a forecast are split at random", ("split",), "demand", "split", {"medium": Strength(settings={"split": "random"})}, wrong="the training part knows days beside those that validate", inflating=True, checks=("undeclared time or group", "time in order", "independence", "near duplicates across parts", "duplicates across parts"), says="time"),
]  # fmt: skip
