"""Labels reviewed by hand: a random sheet to fill in, and what the filled-in sheet says about the error rate."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import polars as pl

from ..config import Config
from ..engine import files
from ..engine.files import IMAGES
from ..engine.metrics import wilson
from ..errors import UserError, first_line
from ..task import Data
from .check_result import CheckResult, check_result

OK, RIGHT = "label_ok_yes_no", "correct_label_if_wrong"
ANSWERS = {"yes": 0, "y": 0, "no": 1, "n": 1}
THUMB = 128  # pixels of the longer side of an image on the contact sheet
GOOD, BAD = 0.01, 0.05  # label-error rates: below the first all is well, surely above the second nothing is


def write_sheet(config: Config, data: Data, path: Path) -> int:
    """A random sheet of 200 to 500 rows with empty columns to fill in. Returns its size.

    Stratified: the same number of each class, as far as the class has them. Images also get a contact sheet (HTML).
    """
    rows = _draw(config, data, int(np.clip(len(data) // 20, min(200, len(data)), 500)))
    sheet = data.frame[rows]
    empty = [pl.Series(name, [""] * len(rows)) for name in (OK, RIGHT)]
    others = [column for column in sheet.get_columns() if column.name not in (OK, RIGHT, data.target)]
    files.write_sheet(pl.DataFrame([*empty, sheet[data.target], *others]), path)
    if images := data.columns("image"):
        path.with_suffix(".html").write_text(contact_sheet(sheet, images[0], data.target), encoding="utf-8")
    return len(rows)


def _draw(config: Config, data: Data, n: int) -> np.ndarray:
    """Rows of the sheet, sorted [n]: each class gets an equal share, and what a small class leaves goes to the others."""
    random = np.random.default_rng(config.split_seed)
    order = random.permutation(len(data))
    if config.task not in ("binary", "multiclass"):
        return np.sort(order[:n])
    label = data.frame[data.target].rank("dense").to_numpy()[order]
    turn = pl.DataFrame({"label": label}).select(pl.int_range(pl.len()).over("label")).to_series().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:n]])


def contact_sheet(sheet: pl.DataFrame, image: str, target: str) -> str:
    """One page with every image of the sheet above its row number in the sheet and its label."""
    cells = []
    for number, (name, label) in enumerate(zip(sheet[image].to_list(), sheet[target].to_list(), strict=True), start=2):
        caption = f"row {number}: {html.escape(str(label))}"
        cells.append(
            f'<figure><img alt="{html.escape(Path(str(name)).name)}" src="{_thumbnail(str(name))}"><figcaption>{caption}</figcaption></figure>'
        )
    style = "body{display:flex;flex-wrap:wrap;font:13px sans-serif}figure{margin:6px;width:132px}img{width:128px;image-rendering:pixelated}"
    return f'<!doctype html><meta charset="utf-8"><title>Label review</title><style>{style}</style>' + "\n".join(cells)


def _thumbnail(path: str) -> str:
    """A small PNG as a data URL, whatever kind of file it is made from; '' for one that cannot be decoded."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(path, formats=IMAGES) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMB, THUMB))
            small.save(buffer, format="PNG")
    except Exception:  # a decoder raises whatever a broken file makes it stumble over; the audit names the file
        return ""
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_sheet(config: Config, path: Path) -> CheckResult:
    """The label-error rate of a reviewed sheet with its 95 % Wilson interval (Wilson 1927)."""
    answers = _answers(path)
    wrong, n = sum(answers), len(answers)
    low, high = wilson(wrong, n)
    return check_result(
        "label review",
        f"{wrong} of {n} reviewed labels are wrong: {wrong / n:.1%} [{low:.1%}, {high:.1%}]",
        fail=low > BAD,
        warn=wrong > 0 and high > GOOD,
        share=wrong / n,
        evidence={"wrong": wrong, "n": n, "low": low, "high": high},
        good=GOOD,
        bad=BAD,
    )


def _answers(path: Path) -> list[int]:
    """1 for wrong, 0 for right, of each answered row. Raises UserError for another file, odd words or no answer."""
    try:
        column = pl.read_csv(path, infer_schema=False)[OK].fill_null("").str.strip_chars().str.to_lowercase()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"--review {path}: not a sheet that `recipe audit` wrote ({first_line(error)})") from None
    if odd := [a for a in column.unique().sort() if a and a not in ANSWERS]:
        raise UserError(f"--review {path}: column {OK} holds {odd[0]!r}; write yes or no, or leave it empty")
    answers = [ANSWERS[a] for a in column if a]
    if not answers:
        raise UserError(f"--review {path}: no row is answered yet; write yes or no into {OK}")
    return answers
