"""Between the file and the network: do the rows, labels and parts that arrive there still belong together?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..owner.config import Config
from ..owner.engine import metrics
from ..owner.engine.splits import PARTS, read_manifest
from ..owner.engine.target import as_text, targets
from ..owner.task import Data, Examples
from ..project import Project
from .check_result import CheckResult, check_result, not_applicable
from .context import Context
from .repeats import FEATURES, known_again

SPREAD = 1e-3  # of a standard deviation by which a decoded number may differ: a shift this small changes no output that counts
ROUNDING = 1e-6  # of the distance from the mean: float32 keeps seven digits of a scaled value
CLIPPED = 1e5  # standard deviations from which a value may be clipped
UNTOLD = ("missing", "unknown")


def rows_and_labels(context: Context) -> CheckResult:
    """A batch holds the inputs and labels of the rows it names: those of the file, and of each row read alone.

    Inputs are compared outside training, where nothing is augmented; labels in training too, unless they are mixed.
    """
    wrong = []
    for name, examples in (("train", context.train), ("val", context.val)):
        filed = torch.from_numpy(targets(context.config, context.prep, context.data[name]))
        rows = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:16]
        plain, trained = (next(iter(examples.batches([rows], 1, augment))) for augment in (False, True))
        if not torch.equal(examples.y.cpu(), filed) or not torch.equal(plain.y.cpu(), filed[rows]):
            wrong.append(f"labels of {name}")
        elif trained.y.ndim == 1 and not torch.equal(trained.y.cpu(), filed[rows]):
            wrong.append(f"labels of {name} while training")
        if not all(_same_row(examples, plain.x, i, row) for i, row in enumerate(rows)):
            wrong.append(f"inputs of {name}")
    return check_result(
        "rows and labels",
        f"not those of their rows: {', '.join(wrong)}" if wrong else "as in the file, and as each row read alone",
        fail=bool(wrong),
        why="labels" if any("labels" in what for what in wrong) else "inputs",
    )


def _same_row(examples: Examples, x: Any, i: int, row: Tensor) -> bool:
    """Whether row i of a batch is what the row gives alone; a batch may pad it further."""
    alone = next(iter(examples.batches([row[None]], 1))).x
    pairs = [(x[k], alone[k]) for k in alone] if isinstance(alone, dict) else [(x, alone)]
    return all(torch.equal(many[i][tuple(slice(0, n) for n in one.shape[1:])], one[0]) for many, one in pairs)


def decoded(context: Context, rows: int = 16) -> CheckResult:
    """What enters the network, decoded back, has the values of the file: in training and in validation."""
    wrong, compared = set(), set()
    known = context.data["train"].sample()
    for name, examples in (("train", context.train), ("val", context.val)):
        chosen = torch.arange(len(examples))[:: max(len(examples) // rows, 1)]
        batch = next(iter(examples.batches([chosen])))
        frame = context.data[name].take(chosen.numpy()).read().frame
        shown = [context.task.show(context.prep, batch, i) for i in range(frame.height)]
        for column in shown[0].keys() & set(known.columns("numeric", "categorical", "ordinal")):
            compared.add(column)
            same = _same_numbers if known.roles.get(column) == "numeric" else _same_texts
            if not same([values[column] for values in shown], frame[column], known.frame[column]):
                wrong.add(f"{column} in {name}")
    if not compared:
        return not_applicable("decoded back", "inputs of this kind do not decode to the columns of the file")
    words = f"{len(wrong)} columns read otherwise: {', '.join(sorted(wrong)[:4])}"
    return check_result("decoded back", words if wrong else f"{len(compared)} columns as in the file", fail=bool(wrong))


def _same_numbers(shown: list[Any], filed: pl.Series, known: pl.Series) -> bool:
    """Whether decoded numbers are those in the file: to a thousandth of the column's standard deviation in the training
    part, or to what float32 keeps of a value that lies far from its mean. What lies beyond all scale may be clipped."""
    train = known.cast(pl.Float64, strict=False)
    mean, spread = float(train.mean() or 0.0), float(train.std() or 0.0)  # type: ignore[arg-type]
    for value, number in zip(shown, filed.cast(pl.Float64, strict=False).to_list(), strict=True):
        if number is None:  # filled, or said to be missing
            continue
        far = abs(number - mean)
        near = SPREAD * spread + ROUNDING * far + float(np.spacing(abs(number)))
        if not isinstance(value, float) or not (abs(value - number) <= near or far >= CLIPPED * spread):
            return False
    return True


def _same_texts(shown: list[Any], filed: pl.Series, known: pl.Series) -> bool:
    """Whether decoded values are those in the file, or the texts that vocabularies are made of; what the training part
    does not have may be unknown."""
    train = set(as_text(known))
    return all(
        text is None or value == given or str(value) == text or (value in UNTOLD and text not in train)
        for value, given, text in zip(shown, filed.to_list(), as_text(filed), strict=True)
    )


def parts_as_pinned(context: Context, project: Project) -> CheckResult:
    """The parts that reach the network have the rows that split.json counts, and share none."""
    pinned = {name: read_manifest(project)["parts"][name]["rows"] for name in PARTS[:2]}
    counts = {name: len(context.data[name]) for name in pinned}
    train, val = (context.data[name] for name in pinned)
    copies, chance, surely = known_again(context.config, val, train) if train.columns(*FEATURES) else (0, 0.0, False)
    lost = counts["train"] < pinned["train"] and getattr(context.config, "missing", "") != "drop"
    words = ", ".join(f"{name} {n:,} of {pinned[name]:,} rows" for name, n in counts.items())
    return check_result(
        "parts as pinned",
        f"{words}; {copies:,} of val are rows of train too",
        fail=counts["val"] != pinned["val"] or counts["train"] > pinned["train"] or surely or lost,
        evidence={"rows": counts, "pinned": pinned, "copies": copies},
        chance=chance,
    )


def test_apart(config: Config, data: dict[str, Data], test: Data) -> CheckResult:
    """The rows that are opened as the test part are not those of training or validation."""
    check = "test part apart"
    if not test.columns(*FEATURES):
        return not_applicable(check, "there is no feature column")
    found = {name: known_again(config, test, rows) for name, rows in data.items()}
    return check_result(
        check,
        ", ".join(f"{n:,} of {len(test):,} test rows are rows of {name} too" for name, (n, _, _) in found.items()),
        fail=any(surely for _, _, surely in found.values()),
        evidence={name: n for name, (n, _, _) in found.items()},
        chance=", ".join(f"{chance:,.0f} of {name}" for name, (_, chance, _) in found.items()),
    )


def metric_of_known_outputs(context: Context, n: int = 203) -> CheckResult:
    """The configured metric on made-up outputs against scikit-learn's value for the same ones."""
    name = context.config.resolved_metric
    random = np.random.default_rng(0)
    outputs = random.normal(size=(n, context.prep["outputs"])).astype(np.float32)
    k = len(context.prep["classes"])
    y = random.permutation(np.arange(n) % k) if k else random.normal(size=n)
    if name not in KNOWN:
        return not_applicable("metric of known outputs", f"there is no independent value for {name}")
    likeliest = _probabilities(outputs).argmax(axis=1) if k else None
    ours = metrics.score(context.config, context.prep, outputs, metrics.Truth(y), decided=likeliest)
    expected = KNOWN[name](context, outputs, y)
    return check_result(
        "metric of known outputs",
        f"{name} {ours:.6f} where scikit-learn has {expected:.6f}",
        fail=not np.isclose(ours, expected, rtol=1e-6, atol=1e-9),
        evidence={"ours": ours, "expected": expected},
    )


def _classes(of: str, **options: Any) -> Callable[[Context, np.ndarray, np.ndarray], float]:
    def value(context: Context, outputs: np.ndarray, y: np.ndarray) -> float:
        from sklearn import metrics as independent

        probability = _probabilities(outputs)
        if of == "log_loss":
            return float(independent.log_loss(y, probability))
        if of not in ("roc_auc_score", "average_precision_score"):
            return float(getattr(independent, of)(y, probability.argmax(axis=1), **options))
        if probability.shape[1] == 2:
            return float(getattr(independent, of)(y, probability[:, 1]))
        each = [getattr(independent, of)(y == c, probability[:, c]) for c in np.unique(y)]
        return float(np.mean(each))

    return value


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Softmax of logits [n, k], written out; one column is the logit of the second of two classes."""
    both = np.concatenate([np.zeros_like(outputs), outputs], axis=1) if outputs.shape[1] == 1 else outputs
    raised = np.exp(both.astype(np.float64))
    return raised / raised.sum(axis=1, keepdims=True)


def _numbers(of: str) -> Callable[[Context, np.ndarray, np.ndarray], float]:
    def value(context: Context, outputs: np.ndarray, y: np.ndarray) -> float:
        from sklearn import metrics as independent

        scale, mean = context.prep["target_scale"], context.prep["target_mean"]
        return float(getattr(independent, of)(y * scale + mean, outputs[:, 0].astype(np.float64) * scale + mean))

    return value


KNOWN = {
    "auc": _classes("roc_auc_score"),
    "average_precision": _classes("average_precision_score"),
    "accuracy": _classes("accuracy_score"),
    "balanced_accuracy": _classes("balanced_accuracy_score"),
    "f1": _classes("f1_score"),
    "macro_f1": _classes("f1_score", average="macro"),
    "log_loss": _classes("log_loss"),
    "rmse": _numbers("root_mean_squared_error"),
    "mae": _numbers("mean_absolute_error"),
    "r2": _numbers("r2_score"),
}
