"""Faults in data, split and preprocessing."""

from __future__ import annotations

from edits import (
    class_dropped,
    constant_for_missing,
    corrupt_rows,
    corrupt_texts,
    headed,
    near_copies,
    one_class_for_another,
    permuted_labels,
    random_labels,
    repeated,
    sorted_with_row_number,
    target_leaks,
    without,
)
from fault import Edit, Fault, Strength

TABLE, PARTS = "tabular/data.py", "engine/splits.py"
BATCH = "            yield Batch(x, self.y[rows], rows, query)"
PARTS_OF = (
    "    parts = {name: recipe.data.take(np.flatnonzero(part == number)) for number, name in enumerate(PARTS[:2])}"
)
LEAK = "the parts share what they must not share"


def _labels(expression: str) -> Strength:
    return Strength(code=(Edit(TABLE, BATCH, BATCH.replace("self.y[rows], rows", f"{expression}, rows")),))


def _of_train(expression: str) -> Strength:
    """Other labels while training, the right ones in evaluation."""
    return _labels(f"(self.y[{expression}] if augment else self.y[rows])")


def _parts(share: float) -> Strength:
    """A share of the validation rows joins the training part."""
    new = (
        "    val = np.flatnonzero(part == 1)\n"
        f"    train = np.r_[np.flatnonzero(part == 0), val[: round({share} * len(val))]]\n"
        '    return {"train": recipe.data.take(train), "val": recipe.data.take(val)}'
    )
    return Strength(code=(Edit(PARTS, PARTS_OF, new),))


def _scaled_by_itself() -> Edit:
    """Every part is scaled by its own mean and spread."""
    old = "    x = {name: torch.from_numpy(array) for name, array in encode(prep, data.frame).items()}"
    new = (
        '    own = {name: {**fit, **_fit_numeric(config, data.frame[name]), "missing": fit["missing"]}'
        ' for name, fit in prep["numeric"].items()}\n'
        '    prep = {**prep, "numeric": own}\n'
    )
    return Edit(TABLE, old, new + old)


def _scaled_otherwise(factor: float) -> Strength:
    """Evaluation multiplies the scaled numbers by a factor."""
    new = (
        f"            x['numeric'] = x['numeric'] * (1.0 if augment else {factor})\n"
        "            yield Batch(x, self.y[rows], rows, query)"
    )
    return Strength(code=(Edit(TABLE, BATCH, new),))


SCALED_BEFORE_SPLIT = Edit(
    TABLE,
    "    check_target(config, labeled, path)\n    roles = infer_roles(config, labeled)\n",
    "    check_target(config, labeled, path)\n    roles = infer_roles(config, labeled)\n"
    "    numbers = [n for n, r in roles.items() if r == 'numeric']\n"
    "    labeled = labeled.with_columns((pl.col(n) - pl.col(n).mean()) / pl.col(n).std() for n in numbers)\n",
)
FITTED_ON_ALL = (
    *(
        Edit(
            f"engine/{core}.py",
            '    prep = task.prepare(config, data["train"])\n',
            "    prep = task.prepare(config, task.load(config, folder.parents[1]))\n",
        )
        for core in ("baseline", "train")
    ),
    Edit(
        "checks/context.py",
        'prep = task.prepare(config, data["train"])',
        "prep = task.prepare(config, project.data)",
    ),
)
ASSIGNED = "    empty = [name for number, name in enumerate(PARTS) if not (part == number).any()]"
CLASS_MISSING = Edit(
    PARTS,
    ASSIGNED,
    "    first = (data.frame[data.target] == data.frame[data.target].min()).to_numpy()\n"
    "    part = np.where((part == 1) & first, 0, part).astype(np.int8)\n" + ASSIGNED,
)
OPEN_TEST = (
    '    """The test part. For steps/evaluate.py alone, which writes down that it was opened before it looks."""\n'
    "    return recipe.data.take(np.flatnonzero(_derive(recipe) == 2))"
)
VAL_FOR_TEST = Edit(PARTS, OPEN_TEST, OPEN_TEST.replace("== 2", "== 1"))
TRAIN_FOR_TEST = Edit(PARTS, OPEN_TEST, OPEN_TEST.replace("== 2", "== 0"))
PARTS_BUT_VAL = Edit(
    PARTS,
    PARTS_OF,
    '    return {"train": recipe.data.take(np.flatnonzero(part != 1)), "val": recipe.data.take(np.flatnonzero(part == 1))}',
)


def three(mild: Strength, medium: Strength, extreme: Strength) -> dict[str, Strength]:
    """The usual three strengths."""
    return {"mild": mild, "medium": medium, "extreme": extreme}


def of_data(edit: object, *levels: object) -> dict[str, Strength]:
    """Three strengths of one data edit, each given its own arguments."""
    return three(*(Strength(data=edit(*(level if isinstance(level, tuple) else (level,)))) for level in levels))  # type: ignore[operator]


DATA = [
    Fault("D1", "random labels", ("data",), "digits", "audit", of_data(random_labels, 0.05, 0.2, 0.5)),
    Fault("D1 text", "random labels", ("data",), "texts", "audit", of_data(random_labels, 0.05, 0.2, 0.5)),
    Fault("D1 one-sided", "one class labeled as another", ("data",), "cancer", "audit", of_data(one_class_for_another, 0.1, 0.3, 0.6)),
    Fault("D3", "labels permuted against inputs in the file", ("data",), "digits", "audit", of_data(permuted_labels, 0.3, 0.6, 1.0)),
    Fault(
        "D3 code", "inputs and labels of a batch in another order", ("data", "preprocessing", "loop"), "digits", "check",
        {"medium": _labels("self.y[(rows + (rows % 2)) % len(self.y)]"), "extreme": _labels("self.y[rows.flip(0)]")},
    ),
    Fault(
        "D4", "labels shifted by one row in train only", ("data", "preprocessing", "loop"), "digits", "check",
        three(
            _of_train("(rows + (rows % 4 == 0)) % len(self.y)"),
            _of_train("(rows + (rows % 2)) % len(self.y)"),
            _of_train("(rows + 1) % len(self.y)"),
        ),
    ),
    Fault("D6", "most of one class is lost", ("data",), "digits", "audit", of_data(class_dropped, 0.5, 0.8, 0.95)),
    Fault("D7", "blank rows that carry labels", ("data",), "digits", "audit", of_data(corrupt_rows, 0.02, 0.05, 0.25)),
    Fault("D7 text", "empty texts that carry labels", ("data",), "texts", "audit", of_data(corrupt_texts, 0.02, 0.05, 0.25)),
    Fault(
        "D7 text garbage", "texts replaced by an error message", ("data",), "texts", "audit",
        of_data(corrupt_texts, (0.02, "error 404 page not found"), (0.05, "error 404 page not found"), (0.25, "error 404 page not found")),
    ),
    Fault(
        "D8", "rows repeated ten times", ("data", "split"), "digits", "audit", of_data(repeated, (10, 10), (40, 10), (200, 10)),
        wrong="copies fall on both sides of the split", inflating=True,
    ),
    Fault(
        "D9", "0 for missing in the best column", ("data", "preprocessing"), "cancer", "audit",
        of_data(constant_for_missing, ("mean_concave_points", 0.05), ("mean_concave_points", 0.15), ("mean_concave_points", 0.5)),
    ),
]  # fmt: skip

SPLIT = [
    Fault(
        "S1", "copies of rows, slightly changed, on both sides", ("split", "data"), "digits", "audit",
        of_data(near_copies, (0.1, 0.01), (0.3, 0.01), (0.6, 0.01)), wrong=LEAK, inflating=True,
    ),
    Fault("S1 code", "validation rows added to train", ("split", "data"), "digits", "check", three(_parts(0.1), _parts(0.5), _parts(1.0)), wrong=LEAK, inflating=True),
    Fault(
        "S3", "groups on both sides, the column not declared", ("split", "data"), "writers", "audit",
        {"medium": Strength(settings={"group": None, "iid": "one image a writer"})}, wrong=LEAK, inflating=True,
    ),
    Fault(
        "S3 blind", "groups on both sides, and no column that says so", ("split", "data"), "writers", "audit",
        {"medium": Strength(without("source"), settings={"group": None, "iid": "one image a writer"})}, wrong=LEAK, inflating=True,
    ),
    Fault(
        "S4", "random split of a time series", ("split", "data"), "flights", "audit",
        {
            "medium": Strength(settings={"time": None, "iid": "every flight is its own"}),
            "mild": Strength(without("time_hour"), settings={"time": None, "iid": "every flight is its own"}),
        },
        wrong=LEAK, inflating=True,
    ),
    Fault(
        "S5", "the target inside a feature", ("data", "split"), "cancer", "audit",
        of_data(target_leaks, (0.5,), (0.2,), (0.01,)), wrong="it is not known when predicting", inflating=True,
    ),
    Fault(
        "S5 part", "the target inside a feature for some rows", ("data", "split"), "shop", "audit",
        of_data(target_leaks, (0.05, 0.3), (0.05, 0.6), (0.05, 0.9)), wrong="it is not known when predicting", inflating=True,
    ),
    Fault(
        "S8", "scaled over all rows before the split", ("split", "preprocessing"), "cancer", "check",
        {"medium": Strength(code=(SCALED_BEFORE_SPLIT,))}, wrong="statistics of the test part reach training", inflating=True,
    ),
    Fault(
        "S8 fit", "preprocessing fitted on all parts", ("split", "preprocessing"), "cancer", "check",
        {"medium": Strength(code=FITTED_ON_ALL)}, wrong="statistics of the test part reach training", inflating=True,
    ),
    Fault(
        "S12", "another part is opened as the test part", ("split", "evaluation"), "digits", "evaluate",
        {"medium": Strength(code=(VAL_FOR_TEST,)), "extreme": Strength(code=(TRAIN_FOR_TEST,))}, wrong="nothing is held out", inflating=True,
    ),
    Fault(
        "S12 train", "test rows are trained on", ("split", "evaluation"), "digits", "check",
        {"extreme": Strength(code=(PARTS_BUT_VAL,))}, wrong="nothing is held out", inflating=True,
    ),
    Fault("S13", "a class is missing from validation", ("split", "data"), "digits", "split", {"medium": Strength(code=(CLASS_MISSING,))}, wrong="the score says nothing on that class"),
    Fault(
        "S14", "a running number in a file sorted by class", ("data", "split"), "digits", "audit",
        of_data(sorted_with_row_number, 0.3, 0.1, 0.0), wrong="the number is not there in service", inflating=True,
    ),
]  # fmt: skip

PREPROCESSING = [
    Fault("P1", "numbers not scaled", ("preprocessing",), "cancer", "check", {"medium": Strength(settings={"scaling": "none"})}),
    Fault(
        "P2", "validation scaled in another way than train", ("preprocessing", "evaluation"), "digits", "check",
        three(_scaled_otherwise(1.3), _scaled_otherwise(2.0), _scaled_otherwise(5.0)), wrong="evaluation sees other inputs than training",
    ),
    Fault("P2 own", "every part scaled by itself", ("preprocessing", "split"), "cancer", "check", {"mild": Strength(code=(_scaled_by_itself(),))}, wrong="a single row cannot be scaled so"),
    Fault(
        "P6", "augmentation left on in evaluation", ("preprocessing", "evaluation", "loop"), "texts masked", "check",
        three(*(
            Strength(settings={"token_masking": share}, code=(Edit("text/data.py", "            if augment and self.masking:", "            if self.masking:"),))
            for share in (0.1, 0.2, 0.4)
        )),
        wrong="the score is that of spoilt inputs",
    ),
    Fault(
        "P7", "the same augmentation in every epoch", ("preprocessing", "loop", "reproducibility"), "texts masked", "check",
        {"medium": Strength(code=(Edit("text/data.py", "generator(self.seed, epoch, row)", "generator(self.seed, 0, row)"),))},
        wrong="the augmentation adds nothing",
    ),
    Fault(
        "P7 worker", "the same augmentation for every example", ("preprocessing", "loop", "reproducibility"), "texts masked", "check",
        {"medium": Strength(code=(Edit("text/data.py", "generator(self.seed, epoch, row)", "generator(self.seed)"),))},
        wrong="examples are changed together",
    ),
    Fault(
        "P8", "a tokenizer of other texts", ("preprocessing", "model"), "texts", "baseline",
        three(
            Strength(settings={"encoder": "encoder-third"}), Strength(settings={"encoder": "encoder-most"}), Strength(settings={"encoder": "encoder-foreign"}),
        ),
        says="token",
    ),
    Fault(
        "P9", "texts cut before the words that matter", ("preprocessing", "data"), "texts", "check",
        of_data(headed, 14, 22, 32),
    ),
]  # fmt: skip
