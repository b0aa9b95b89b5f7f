"""A table on disk: CSV, JSON lines or Parquet, read with errors that name the file, the column and what to do."""

from __future__ import annotations

import difflib
from pathlib import Path

import polars as pl

from ..errors import UserError

MISSING = ["", "NA", "NaN", "nan", "null"]


def read_table(path: Path) -> pl.DataFrame:
    """The file as a frame. Raises UserError when it is missing, empty, broken, or has two columns of one name."""
    if not path.is_file():
        raise UserError(f"data = {str(path)!r} is not a file; set data in recipe.toml to a CSV, JSONL or Parquet file")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix in (".jsonl", ".ndjson"):
            return pl.read_ndjson(path, infer_schema_length=None)
        names = path.open(encoding="utf-8").readline().strip().split(",")
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise UserError(f"{path} has two columns called {repeated[0]!r}; rename one")
        return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None, null_values=MISSING)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        hint = " with a header line" if path.suffix == ".csv" else ""
        raise UserError(
            f"{path} cannot be read as {path.suffix[1:] or 'CSV'}: {str(error).splitlines()[0]}; is it UTF-8{hint}?"
        ) from None


def require_columns(named: dict[str, list[str]], frame: pl.DataFrame, path: Path) -> None:
    """Refuse a file without rows, and a knob that names a column the file does not have. named: knob -> columns."""
    if not frame.height:
        raise UserError(f"{path} has a header but no rows")
    for knob, names in named.items():
        for name in names:
            if name and name not in frame.columns:
                close = difflib.get_close_matches(name, frame.columns, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(frame.columns[:8])}"
                raise UserError(f"{knob} names column {name!r}, which {path} does not have; {hint}")
