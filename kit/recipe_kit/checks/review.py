"""Labels reviewed by hand: a random sheet to fill in, and what the filled-in sheet says about the error rate."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from ..owner.config import Config
from ..owner.engine import files
from ..owner.engine.files import IMAGES
from ..owner.engine.metrics import wilson
from ..owner.engine.target import counted
from ..owner.errors import UserError, first_line
from ..owner.task import Data
from .check_result import CheckResult, check_result

OK, RIGHT = "label_ok_yes_no", "correct_label_if_wrong"
ANSWERS = {"yes": False, "y": False, "no": True, "n": True}
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


def read_sheet(config: Config, data: Data, path: Path) -> CheckResult:
    """The label-error rate of the data by a reviewed sheet, with its 95 % interval.

    The sheet holds as many of each class as it can, so every class counts by its share of the data, over as many rows as
    its weights leave (Kish 1965); the interval is that of Wilson (1927). A wrong label counts where it was written down.
    """
    sheet = _answered(path)
    classes, counts = _classes(config, data, sheet, path)
    wrong, of = Counter(label for label, no in zip(classes, sheet[OK], strict=True) if no), Counter(classes)
    seen = sum(counts[label] for label in of)
    weight = {label: counts[label] / seen for label in of}
    rate = sum(weight[label] * wrong[label] / n for label, n in of.items())
    rows = 1 / sum(weight[label] ** 2 / n for label, n in of.items())
    low, high = wilson(rate * rows, rows)
    unseen = sorted(set(counts) - set(of))
    each = "; ".join(f"{label} {wrong[label]} of {of[label]}" for label in sorted(of) if label)
    return check_result(
        "label review",
        f"{wrong.total()} of {of.total()} reviewed labels are wrong" + (f" ({each})" if each else "")
        + f": {rate:.1%} [{low:.1%}, {high:.1%}] of all" + (f"; no answer for {', '.join(unseen)}" if unseen else ""),
        fail=low > BAD,
        warn=rate > 0 and high > GOOD,
        share=rate,
        evidence={"wrong": wrong.total(), "n": of.total(), "rate": rate, "low": low, "high": high},
        good=GOOD,
        bad=BAD,
    )  # fmt: skip


def _classes(config: Config, data: Data, sheet: pl.DataFrame, path: Path) -> tuple[list[str], dict[str, int]]:
    """(class of each answered row, rows of each class in the data). One class, '', where there are none to weigh."""
    counts = counted(data.frame[data.target]) if config.task in ("binary", "multiclass") else {}
    if not counts or data.target not in sheet.columns:
        return [""] * len(sheet), {"": len(data)}
    known = {_as_saved(label): label for label in counts}
    saved = sheet[data.target].fill_null("").to_list()
    if odd := [label for label in saved if _as_saved(label) not in known]:
        raise UserError(f"--review {path}: {odd[0]!r} in column {data.target} is no class; is it of other data?")
    return [known[_as_saved(label)] for label in saved], counts


def _as_saved(label: str) -> str:
    """One key for a label and for what a spreadsheet makes of it: True and TRUE, 1.0 and 1, an apostrophe before a formula."""
    try:
        return repr(float(label))
    except ValueError:
        return label.removeprefix("'").strip().casefold()


def _answered(path: Path) -> pl.DataFrame:
    """The answered rows of a sheet, as text, with True in column OK for a wrong label. Raises UserError for another file,
    odd words or no answer."""
    try:
        sheet = pl.read_csv(path, infer_schema=False)
        answers = sheet[OK].fill_null("").str.strip_chars().str.to_lowercase()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"--review {path}: not a sheet that `recipe audit` wrote ({first_line(error)})") from None
    if odd := [a for a in answers.unique().sort() if a and a not in ANSWERS]:
        raise UserError(f"--review {path}: column {OK} holds {odd[0]!r}; write yes or no, or leave it empty")
    if not (answers != "").any():
        raise UserError(f"--review {path}: no row is answered yet; write yes or no into {OK}")
    sheet = sheet.with_columns(answers.replace_strict(ANSWERS, default=None).alias(OK))
    return sheet.filter(pl.col(OK).is_not_null())
