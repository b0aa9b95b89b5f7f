"""Faults in service: an exported model is asked about new rows, by code that may have changed."""

from __future__ import annotations

from edits import moved, other_unit, replaced, without
from fault import DataEdit, Edit, Fault, Strength
from faults_data import three

SERVING, TABLE = "production/model.py", "tabular/data.py"
READ = "        if (outputs := self.outputs_of_plain(rows)) is not None and np.isfinite(outputs).all():"
SCALED = "    x = {name: torch.from_numpy(array) for name, array in encode(prep, data.frame).items()}"


def rewritten(change: str) -> Strength:
    """Serving does something of its own to the rows before the model reads them."""
    change = f"        rows = pl.DataFrame(rows, infer_schema_length=None).with_columns({change}).to_dicts()\n"
    return Strength(code=(Edit(SERVING, READ, f"{change}{READ}"),))


def newer(line: str) -> Strength:
    """The preprocessing was changed after the export, and the newer code is on the server."""
    return Strength(deployed=(Edit(TABLE, SCALED, f"{line}{SCALED}"),))


def new_rows(*edits: DataEdit) -> dict[str, Strength]:
    """Three strengths of what is odd about the rows that come."""
    return three(*(Strength(served=edit) for edit in edits))


CENTERED = "    prep = {{**prep, 'numeric': {{n: {{**f, 'center': f['center'] + {by} * f['scale']}} for n, f in prep['numeric'].items()}}}}\n"
SKEW = "the server computes other inputs than training did"
OTHER = "the model is asked about other rows than it has learned from"
SERVICE = [
    Fault(
        "V1", "serving preprocesses in another way", ("production", "preprocessing"), "shop served", "export",
        three(
            rewritten("pl.col('weight').cast(float).round(1)"),
            rewritten("pl.col('price').cast(float).log()"),
            rewritten("pl.col('weight', 'price').cast(float) * 0"),
        ),
        wrong=SKEW, says="preprocessing",
    ),
    Fault(
        "V1 newer", "the preprocessing changed after the export", ("production", "preprocessing"), "cancer served", "predict",
        three(newer(CENTERED.format(by=0.001)), newer(CENTERED.format(by=0.1)), newer(CENTERED.format(by=2.0))),
        wrong=SKEW, says="preprocessing",
    ),
    Fault("V1 unit", "a feature comes in another unit", ("production", "data"), "shop served", "monitor", new_rows(other_unit("price", 0.1, 100), other_unit("price", 1.0, 2.54), other_unit("price", 1.0, 1000)), wrong=OTHER),
    Fault("V2", "a feature drifts", ("production", "data"), "shop served", "monitor", new_rows(moved("weight", 0.3, 300), moved("weight", 0.3), moved("weight", 1.0)), wrong=OTHER),
    Fault("V2 answer", "the decisive feature drifts in a small file", ("production", "data"), "cancer served", "monitor", new_rows(moved("mean_concave_points", 0.3), moved("mean_concave_points", 0.6), moved("mean_concave_points", 1.5)), wrong=OTHER),
    Fault("V4", "a category that training never had", ("production", "data"), "shop served", "monitor", new_rows(replaced("brand", 0.01, "brand Z"), replaced("brand", 0.05, "brand Z"), replaced("brand", 1.0, "brand Z")), wrong=OTHER),
    Fault("V4 null", "missing values in a column that had none", ("production", "data"), "shop served", "monitor", new_rows(replaced("weight", 0.01), replaced("weight", 0.05), replaced("weight", 1.0)), wrong=OTHER),
    Fault("V4 column", "a column is missing", ("production", "data"), "shop served", "predict", {"extreme": Strength(served=without("price"))}, wrong=OTHER, says="column"),
]  # fmt: skip
