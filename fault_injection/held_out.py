"""Ten faults from no list, invented before the thresholds of the checks were looked at, and reported apart."""

from __future__ import annotations

from edits import constant_for_missing, other_unit, spellings, target_encoded
from fault import Edit, Fault, Strength

MODEL, DATA = "tabular/model.py", "tabular/data.py"
FORWARD = '        parts = [x["numeric"]] if "numeric" in x else []  # [b, d]'
HEAD = "return self.head(self.body(torch.cat(parts, dim=1)))  # [b, k]"
BATCH = "            yield Batch(x, self.y[rows], rows, query)"


def _sees(columns: int) -> Strength:
    new = f'        parts = [x["numeric"] * (torch.arange(x["numeric"].shape[1]) < {columns})]'
    return Strength(code=(Edit(MODEL, FORWARD, new),))


def _squashed(limit: float) -> Strength:
    return Strength(code=(Edit(MODEL, HEAD, f"return {limit} * torch.tanh({HEAD.split('  #')[0][7:]} / {limit})"),))


def _clamped(most: float) -> Strength:
    old = "    return F.cross_entropy(output, y if y.ndim == 2 else y.long(), reduction=\"none\", label_smoothing=smoothing)"
    return Strength(code=(Edit("engine/losses.py", old, f"{old}.clamp(max={most})"),))


def _swapped(order: str) -> Strength:
    """Columns in another order whenever it is not training."""
    new = (
        "            if not augment:\n"
        f"                width = list(range(x['numeric'].shape[1])); x['numeric'] = x['numeric'][:, {order}]\n"
        "            yield Batch(x, self.y[rows], rows, query)"
    )
    return Strength(code=(Edit(DATA, BATCH, new),))


HELD_OUT_FAULTS = [
    Fault(
        "X1",
        "a share of a column is recorded in another unit",
        ("data",),
        "shop",
        "audit",
        {
            "mild": Strength(data=other_unit("price", 0.05, 100)),
            "medium": Strength(data=other_unit("price", 0.5, 2.54)),
            "extreme": Strength(data=other_unit("price", 0.5, 1000)),
        },
        held_out=True,
    ),
    Fault(
        "X2",
        "category values in several spellings",
        ("data", "preprocessing"),
        "shop",
        "audit",
        {
            "mild": Strength(data=spellings("brand", 2)),
            "medium": Strength(data=spellings("brand", 4)),
            "extreme": Strength(data=spellings("brand", 7)),
        },
        held_out=True,
    ),
    Fault(
        "X3",
        "-999 where a number is missing",
        ("data", "preprocessing"),
        "shop",
        "audit",
        {
            "mild": Strength(data=constant_for_missing("weight", 0.05, -999.0)),
            "medium": Strength(data=constant_for_missing("weight", 0.15, -999.0)),
            "extreme": Strength(data=constant_for_missing("weight", 0.4, -999.0)),
        },
        held_out=True,
    ),
    Fault(
        "X4",
        "categories replaced by their mean target over all rows, the own one included",
        ("data", "preprocessing", "split"),
        "shop",
        "audit",
        {
            "mild": Strength(data=target_encoded(["brand", "days"])),
            "medium": Strength(data=target_encoded(["brand", "size", "days"])),
            "extreme": Strength(data=target_encoded(["width"])),
        },
        wrong="the feature holds the answer of its own row",
        inflating=True,
        held_out=True,
    ),
    Fault(
        "X5",
        "the network multiplies most of its inputs by zero",
        ("model",),
        "digits",
        "check",
        {"mild": _sees(8), "medium": _sees(4), "extreme": _sees(1)},
        held_out=True,
    ),
    Fault(
        "X6",
        "logits squashed by tanh before the loss",
        ("model", "loss"),
        "digits",
        "check",
        {"mild": _squashed(4.0), "medium": _squashed(1.0), "extreme": _squashed(0.1)},
        held_out=True,
    ),
    Fault(
        "X7",
        "the warm-up takes most of the training",
        ("schedule",),
        "digits",
        "check",
        {
            "mild": Strength(settings={"warmup": 0.5}),
            "medium": Strength(settings={"warmup": 0.9}),
            "extreme": Strength(settings={"warmup": 0.99}),
        },
        held_out=True,
    ),
    Fault(
        "X8",
        "the loss is clamped, so hard examples give no gradient",
        ("loss",),
        "digits",
        "check",
        {"mild": _clamped(3.0), "medium": _clamped(2.0), "extreme": _clamped(1.0)},
        held_out=True,
    ),
    Fault(
        "X9",
        "columns in another order outside training",
        ("preprocessing", "evaluation"),
        "digits",
        "check",
        {
            "mild": _swapped("[1, 0, *width[2:]]"),
            "medium": _swapped("[1, 0, 3, 2, 5, 4, *width[6:]]"),
            "extreme": _swapped("width[::-1]"),
        },
        wrong="validation, test and service see other inputs than training",
        held_out=True,
    ),
    Fault(
        "X10",
        "AUC computed on calls instead of scores",
        ("evaluation",),
        "cancer",
        "train",
        {
            "medium": Strength(
                code=(
                    Edit(
                        "engine/metrics.py",
                        "return curve(raw[:, 0], truth)",
                        "return curve((raw[:, 0] > 0).astype(float), truth)",
                    ),
                )
            )
        },
        wrong="the number reported is not the metric it is called",
        held_out=True,
    ),
]
