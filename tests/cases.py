"""Small inputs that failed once, with what the project does on them now. `python cases.py NAME FOLDER` writes one; no name lists them.

Each stands for a whole kind of input; tests/test_cases*.py hold the project to what each docstring says.
Tables are written to FOLDER/train.csv (or .parquet); the settings that a project needs are the comment's first line.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

R = np.random.default_rng(0)


def _table(n: int = 600) -> dict:
    a, b, c = R.normal(size=(3, n))
    return {"a": a, "b": b, "c": c, "target": np.where(a + c + R.normal(size=n) * 0.5 > 0, "yes", "no")}


def boolean(out: Path) -> None:
    """binary. A True/False column (also true/false, TRUE/FALSE, Parquet bool): trains. Was: check FAIL "decoded back", train refused."""
    pl.DataFrame({**_table(), "flag": R.random(600) > 0.5}).write_parquet(out / "train.parquet")


def named_count(out: Path) -> None:
    """binary, target = "count". Any column name works, or is refused at load with a sentence. Was: traceback."""
    t = _table()
    pl.DataFrame({**{k: t[k] for k in "abc"}, "count": t["target"]}).write_csv(out / "train.csv")


def decimal_price(out: Path) -> None:
    """binary. Decimal columns are numbers everywhere. Was: check FAIL "could not run: TypeError"."""
    pl.DataFrame({**_table(), "price": [Decimal(int(100 * v)).scaleb(-2) for v in R.normal(100, 9, 600)]}).write_parquet(out / "train.parquet")


def binary_blob(out: Path) -> None:
    """binary. A bytes column is refused at load in one sentence that says what to do. Was: traceback in audit and split."""
    pl.DataFrame({**_table(), "raw": [b"\xff\x00" if v > 0 else b"\x80" for v in R.normal(size=600)]}).write_parquet(out / "train.parquet")


def formatted_numbers(out: Path) -> None:
    """binary. Audit says how many values of a column would be numbers without , $ % or units, and offers to read them so.
    Was: the column became an id and was left out, PASS; AUC .955 -> .709."""
    t = _table()
    money = [f"${int(50000 + 9000 * v):,}" for v in t.pop("a")]
    share = [f"{50 + 9 * v:.1f} %" for v in t.pop("c")]
    pl.DataFrame({**t, "money": money, "share": share}).write_csv(out / "train.csv")


def spaced_commas(out: Path) -> None:
    """binary. ", " as separator: numbers are numbers. Was: categories, with a warning about groups."""
    t = _table()
    rows = zip(*[[f"{v:.3f}" if isinstance(v, float) else str(v) for v in col] for col in t.values()], strict=True)
    (out / "train.csv").write_text("\n".join([", ".join(t), *(", ".join(r) for r in rows)]) + "\n")


def class_NA(out: Path) -> None:
    """multiclass, target = "region". Rows without a target are reported with how the gap is written ("213 rows: 'NA'"), and a
    setting reads it as a class. Was: a third of the rows gone, all PASS."""
    r = R.choice(["NA", "EU", "AP"], 600)
    x = [{"NA": 0, "EU": 2, "AP": 4}[v] + R.normal() for v in r]
    pl.DataFrame({"clicks": x, "region": r}).write_csv(out / "train.csv")


def doubled_quotes(out: Path) -> None:
    """binary. Predicting the training file itself answers every row, whatever the dialect. Was: refused, no column 'x ""net""'."""
    t = _table()
    pl.DataFrame({**{k: t[k] for k in ("a", "b")}, 'x "net"': t["c"], "target": t["target"]}).write_csv(out / "train.csv")


def day_month_category(out: Path) -> None:
    """binary, categorical = ["opened"]. As above. Was: every row of the training file rejected by predict."""
    days = R.choice(["03/01/2021", "04/02/2021", "05/03/2021"], 600)
    pl.DataFrame({**_table(), "opened": days}).write_csv(out / "train.csv")


def json_lines(out: Path) -> None:
    """NaN as Python writes it, and a byte-order mark: read, or a sentence that names line and cause. Was: "InternalError(TapeError)"."""
    (out / "nan.jsonl").write_text("".join(json.dumps({"a": float("nan") if i % 9 == 0 else i, "target": i % 2}) + "\n" for i in range(99)))
    (out / "bom.jsonl").write_text("\ufeff" + "".join(json.dumps({"a": i, "target": i % 2}) + "\n" for i in range(99)), encoding="utf-8")


def image_train_val(out: Path) -> None:
    """image, data = FOLDER. Class folders called train and val that hold the same subfolders: offered as a given split. Was: two classes."""
    from PIL import Image

    for part, n in (("train", 40), ("val", 12)):
        for k, name in enumerate(("cat", "dog")):
            (out / part / name).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(R.integers(0, 120 + 100 * k, (24, 24, 3), dtype=np.uint8)).save(out / part / name / f"{i}.png")


def skewed_survey(out: Path) -> None:
    """binary. Few distinct rows are possible, so repeats are no copies, in any part. Was: "test part apart" FAIL, test voided."""
    q = R.choice(5, (3000, 8), p=[0.02, 0.03, 0.1, 0.35, 0.5])
    y = (q.sum(axis=1) + R.normal(size=3000) * 3 > 24).astype(int)
    pl.DataFrame({**{f"q{i}": q[:, i] for i in range(8)}, "target": y}).write_csv(out / "train.csv")


def mostly_zero(out: Path) -> None:
    """binary. Tolerances come from the column, not from 16 rows. Was: "decoded back" FAIL, train refused."""
    t = _table(2000)
    pl.DataFrame({**t, "cost": np.where(R.random(2000) < 0.01, (1e6 * R.random(2000)).round(), 0)}).write_csv(out / "train.csv")


def class_only_in_test(out: Path) -> None:
    """multiclass, time = "day". The split says so and stops what follows; the test part stays closed. Was: training passed,
    evaluate wrote the opening, then refused for good."""
    n = 1000
    y = R.choice(["a", "b"], n).astype(object)
    y[-3] = "c"
    day = [(dt.date(2020, 1, 1) + dt.timedelta(days=i)).isoformat() for i in range(n)]
    pl.DataFrame({"day": day, "x": R.normal(size=n) + (y == "a"), "target": y.tolist()}).write_csv(out / "train.csv")


def autocorrelated(out: Path) -> None:
    """regression. Rows that follow their neighbors are noticed though every target differs. Was: "sorted by the target", PASS."""
    n, y = 1500, [0.0]
    for _ in range(n - 1):
        y.append(0.97 * y[-1] + R.normal())
    pl.DataFrame({"u": R.normal(size=n), "v": R.normal(size=n), "target": np.round(y, 6)}).write_csv(out / "train.csv")


def noisy_few(out: Path) -> None:
    """multiclass. 16 rows of one noisy feature are hard to tell apart: what overfitting can reach, and how fast, follows from the
    rows. Was: "overfit a batch" FAIL, train refused."""
    x = R.normal(size=800).round(2)
    pl.DataFrame({"u": x, "target": R.choice(["a", "b", "c"], 800)}).write_csv(out / "train.csv")


def one_strong_column(out: Path) -> None:
    """binary. One honest strong column and nothing else: at most a WARN that asks. Was: FAIL "dominant feature"."""
    y = R.integers(0, 2, 600)
    pl.DataFrame({"score": np.round(y + R.normal(size=600) * 0.15, 3), "target": y}).write_csv(out / "train.csv")


def user_ids(out: Path) -> None:
    """binary. Integers that name things (300 users) are noticed and offered as category or group; a new id gets a trained
    vector for "unknown". Was: a scaled number, and random noise for new ids."""
    u = R.integers(1000, 1300, 4000)
    taste = {k: R.normal() for k in range(1000, 1300)}
    y = [int(taste[k] + R.normal() * 0.5 > 0) for k in u]
    pl.DataFrame({"user_id": u, "x": R.normal(size=4000), "target": y}).write_csv(out / "train.csv")


def rare_positive(out: Path) -> None:
    """binary, cost_false_negative = 25. Precision, recall and F1 are those of the threshold that will be used. Was: F1 0.000 for
    a model that finds 9 of 10."""
    y = (R.random(3000) < 0.03).astype(int)
    pl.DataFrame({"u": R.normal(size=3000) + 1.5 * y, "v": R.normal(size=3000) + y, "target": y}).write_csv(out / "train.csv")


def line_separator(out: Path) -> None:
    """`recipe train --force "ok<U+2028>go"`, or a git author with that character: stays readable. Was: the ledger refused for good."""
    (out / "reason.txt").write_text("ok\u2028go\u0085on", encoding="utf-8")


CASES = {k: v for k, v in list(globals().items()) if callable(v) and getattr(v, "__module__", "") == __name__ and not k.startswith("_")}

if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("\n".join(f"{name:20} {' '.join((case.__doc__ or '').split())}" for name, case in CASES.items()))
    else:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        CASES[sys.argv[1]](folder)
