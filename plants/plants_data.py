"""Plants in data, split and preprocessing."""

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
from plant import Edit, Fault, Plant

TABLE, PARTS = "tabular/data.py", "engine/parts.py"
BATCH = "            yield Batch(x, self.y[rows], rows, query)"
PARTS_OF = (
    "    return {name: project.data.take(np.flatnonzero(part == number)) for number, name in enumerate(PARTS[:2])}"
)
LEAK = "the parts share what they must not share"


def _labels(expression: str) -> Fault:
    return Fault(code=(Edit(TABLE, BATCH, BATCH.replace("self.y[rows], rows", f"{expression}, rows")),))


def _of_train(expression: str) -> Fault:
    """Other labels while training, the right ones in evaluation."""
    return _labels(f"(self.y[{expression}] if augment else self.y[rows])")


def _parts(share: float) -> Fault:
    """A share of the validation rows joins the training part."""
    new = (
        "    val = np.flatnonzero(part == 1)\n"
        f"    train = np.r_[np.flatnonzero(part == 0), val[: round({share} * len(val))]]\n"
        '    return {"train": project.data.take(train), "val": project.data.take(val)}'
    )
    return Fault(code=(Edit(PARTS, PARTS_OF, new),))


def _scaled_by_itself() -> Edit:
    """Every part is scaled by its own mean and spread."""
    old = "    x = {name: torch.from_numpy(array) for name, array in encode(prep, data.frame).items()}"
    new = (
        '    own = {name: {**fit, **_fit_numeric(config, data.frame[name]), "missing": fit["missing"]}'
        ' for name, fit in prep["numeric"].items()}\n'
        '    prep = {**prep, "numeric": own}\n'
    )
    return Edit(TABLE, old, new + old)


def _scaled_otherwise(factor: float) -> Fault:
    """Evaluation multiplies the scaled numbers by a factor."""
    new = (
        "            x = {name: tensor[rows] for name, tensor in self.x.items()}\n"
        f"            x['numeric'] = x['numeric'] * (1.0 if augment else {factor})\n"
        "            yield Batch(x, self.y[rows], rows, query)"
    )
    return Fault(code=(Edit(TABLE, BATCH, new),))


SCALED_BEFORE_SPLIT = Edit(
    TABLE,
    "    check_target(config, labelled, path)\n    roles = infer_roles(config, labelled)\n",
    "    check_target(config, labelled, path)\n    roles = infer_roles(config, labelled)\n"
    "    numbers = [n for n, r in roles.items() if r == 'numeric']\n"
    "    labelled = labelled.with_columns((pl.col(n) - pl.col(n).mean()) / pl.col(n).std() for n in numbers)\n",
)
FITTED_ON_ALL = tuple(
    Edit(
        f"steps/{step}.py",
        'prep = project.task.prepare(config, data["train"])'
        if step == "baseline"
        else 'prep = task.prepare(config, data["train"])'
        if step == "train"
        else 'prep = project.task.prepare(project.config, data["train"])',
        "prep = project.task.prepare(project.config, project.data)",
    )
    for step in ("baseline", "check", "train")
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
    "    return project.data.take(np.flatnonzero(_derive(project) == 2))"
)
VAL_FOR_TEST = Edit(PARTS, OPEN_TEST, OPEN_TEST.replace("== 2", "== 1"))
TRAIN_FOR_TEST = Edit(PARTS, OPEN_TEST, OPEN_TEST.replace("== 2", "== 0"))
PARTS_BUT_VAL = Edit(
    PARTS,
    PARTS_OF,
    '    return {"train": project.data.take(np.flatnonzero(part != 1)), "val": project.data.take(np.flatnonzero(part == 1))}',
)


def three(mild: Fault, medium: Fault, extreme: Fault) -> dict[str, Fault]:
    """The usual three strengths."""
    return {"mild": mild, "medium": medium, "extreme": extreme}


def of_data(edit: object, *levels: object) -> dict[str, Fault]:
    """Three strengths of one data edit, each given its own arguments."""
    return three(*(Fault(data=edit(*(level if isinstance(level, tuple) else (level,)))) for level in levels))  # type: ignore[operator]


DATA = [
    Plant("D1", "random labels", ("data",), "digits", "audit", of_data(random_labels, 0.05, 0.2, 0.5)),
    Plant("D1 text", "random labels", ("data",), "texts", "audit", of_data(random_labels, 0.05, 0.2, 0.5)),
    Plant("D1 one-sided", "one class labelled as another", ("data",), "cancer", "audit", of_data(one_class_for_another, 0.1, 0.3, 0.6)),
    Plant("D3", "labels permuted against inputs in the file", ("data",), "digits", "audit", of_data(permuted_labels, 0.3, 0.6, 1.0)),
    Plant(
        "D3 code", "inputs and labels of a batch in another order", ("data", "preprocessing", "loop"), "digits", "check",
        {"medium": _labels("self.y[(rows + (rows % 2)) % len(self.y)]"), "extreme": _labels("self.y[rows.flip(0)]")},
    ),
    Plant(
        "D4", "labels shifted by one row in train only", ("data", "preprocessing", "loop"), "digits", "check",
        three(
            _of_train("(rows + (rows % 4 == 0)) % len(self.y)"),
            _of_train("(rows + (rows % 2)) % len(self.y)"),
            _of_train("(rows + 1) % len(self.y)"),
        ),
    ),
    Plant("D6", "most of one class is lost", ("data",), "digits", "audit", of_data(class_dropped, 0.5, 0.8, 0.95)),
    Plant("D7", "blank rows that carry labels", ("data",), "digits", "audit", of_data(corrupt_rows, 0.02, 0.05, 0.25)),
    Plant("D7 text", "empty texts that carry labels", ("data",), "texts", "audit", of_data(corrupt_texts, 0.02, 0.05, 0.25)),
    Plant(
        "D7 text garbage", "texts replaced by an error message", ("data",), "texts", "audit",
        of_data(corrupt_texts, (0.02, "error 404 page not found"), (0.05, "error 404 page not found"), (0.25, "error 404 page not found")),
    ),
    Plant(
        "D8", "rows repeated ten times", ("data", "split"), "digits", "audit", of_data(repeated, (10, 10), (40, 10), (200, 10)),
        wrong="copies fall on both sides of the split", inflating=True,
    ),
    Plant(
        "D9", "0 for missing in the best column", ("data", "preprocessing"), "cancer", "audit",
        of_data(constant_for_missing, ("mean_concave_points", 0.05), ("mean_concave_points", 0.15), ("mean_concave_points", 0.5)),
    ),
]  # fmt: skip

SPLIT = [
    Plant(
        "S1", "copies of rows, slightly changed, on both sides", ("split", "data"), "digits", "audit",
        of_data(near_copies, (0.1, 0.01), (0.3, 0.01), (0.6, 0.01)), wrong=LEAK, inflating=True,
    ),
    Plant("S1 code", "validation rows added to train", ("split", "data"), "digits", "check", three(_parts(0.1), _parts(0.5), _parts(1.0)), wrong=LEAK, inflating=True),
    Plant(
        "S3", "groups on both sides, the column not declared", ("split", "data"), "writers", "audit",
        {"medium": Fault(knobs={"group": None, "iid": "one image a writer"})}, wrong=LEAK, inflating=True,
    ),
    Plant(
        "S3 blind", "groups on both sides, and no column that says so", ("split", "data"), "writers", "audit",
        {"medium": Fault(without("source"), knobs={"group": None, "iid": "one image a writer"})}, wrong=LEAK, inflating=True,
    ),
    Plant(
        "S4", "random split of a time series", ("split", "data"), "flights", "audit",
        {
            "medium": Fault(knobs={"time": None, "iid": "every flight is its own"}),
            "mild": Fault(without("time_hour"), knobs={"time": None, "iid": "every flight is its own"}),
        },
        wrong=LEAK, inflating=True,
    ),
    Plant(
        "S5", "the target inside a feature", ("data", "split"), "cancer", "audit",
        of_data(target_leaks, (0.5,), (0.2,), (0.01,)), wrong="it is not known when predicting", inflating=True,
    ),
    Plant(
        "S5 part", "the target inside a feature for some rows", ("data", "split"), "shop", "audit",
        of_data(target_leaks, (0.05, 0.3), (0.05, 0.6), (0.05, 0.9)), wrong="it is not known when predicting", inflating=True,
    ),
    Plant(
        "S8", "scaled over all rows before the split", ("split", "preprocessing"), "cancer", "check",
        {"medium": Fault(code=(SCALED_BEFORE_SPLIT,))}, wrong="statistics of the test part reach training", inflating=True,
    ),
    Plant(
        "S8 fit", "preprocessing fitted on all parts", ("split", "preprocessing"), "cancer", "check",
        {"medium": Fault(code=FITTED_ON_ALL)}, wrong="statistics of the test part reach training", inflating=True,
    ),
    Plant(
        "S12", "another part is opened as the test part", ("split", "evaluation"), "digits", "evaluate",
        {"medium": Fault(code=(VAL_FOR_TEST,)), "extreme": Fault(code=(TRAIN_FOR_TEST,))}, wrong="nothing is held out", inflating=True,
    ),
    Plant(
        "S12 train", "test rows are trained on", ("split", "evaluation"), "digits", "check",
        {"extreme": Fault(code=(PARTS_BUT_VAL,))}, wrong="nothing is held out", inflating=True,
    ),
    Plant("S13", "a class is missing from validation", ("split", "data"), "digits", "split", {"medium": Fault(code=(CLASS_MISSING,))}, wrong="the score says nothing on that class"),
    Plant(
        "S14", "a running number in a file sorted by class", ("data", "split"), "digits", "audit",
        of_data(sorted_with_row_number, 0.3, 0.1, 0.0), wrong="the number is not there in service", inflating=True,
    ),
]  # fmt: skip

PREPROCESSING = [
    Plant("P1", "numbers not scaled", ("preprocessing",), "cancer", "check", {"medium": Fault(knobs={"scaling": "none"})}),
    Plant(
        "P2", "validation scaled in another way than train", ("preprocessing", "evaluation"), "digits", "check",
        three(_scaled_otherwise(1.3), _scaled_otherwise(2.0), _scaled_otherwise(5.0)), wrong="evaluation sees other inputs than training",
    ),
    Plant("P2 own", "every part scaled by itself", ("preprocessing", "split"), "cancer", "check", {"mild": Fault(code=(_scaled_by_itself(),))}, wrong="a single row cannot be scaled so"),
    Plant(
        "P6", "augmentation left on in evaluation", ("preprocessing", "evaluation", "loop"), "texts masked", "check",
        three(*(
            Fault(knobs={"token_masking": share}, code=(Edit("text/data.py", "            if augment and self.masking:", "            if self.masking:"),))
            for share in (0.1, 0.2, 0.4)
        )),
        wrong="the score is that of spoilt inputs",
    ),
    Plant(
        "P7", "the same augmentation in every epoch", ("preprocessing", "loop", "reproducibility"), "texts masked", "check",
        {"medium": Fault(code=(Edit("text/data.py", "generator(self.seed, epoch, row)", "generator(self.seed, 0, row)"),))},
        wrong="the augmentation adds nothing",
    ),
    Plant(
        "P7 worker", "the same augmentation for every example", ("preprocessing", "loop", "reproducibility"), "texts masked", "check",
        {"medium": Fault(code=(Edit("text/data.py", "generator(self.seed, epoch, row)", "generator(self.seed)"),))},
        wrong="examples are changed together",
    ),
    Plant(
        "P8", "a tokenizer of other texts", ("preprocessing", "model"), "texts", "baseline",
        three(
            Fault(knobs={"encoder": "encoder-third"}), Fault(knobs={"encoder": "encoder-most"}), Fault(knobs={"encoder": "encoder-foreign"}),
        ),
        says="token",
    ),
    Plant(
        "P9", "texts cut before the words that matter", ("preprocessing", "data"), "texts", "check",
        of_data(headed, 14, 22, 32),
    ),
]  # fmt: skip
