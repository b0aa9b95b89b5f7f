"""Try the trained model on what its owner expects of it: `behavior.toml` (Ribeiro et al. 2020, "Beyond accuracy: CheckList").

[[test]]
name = "the oldest and poorest are not called rich"      # minimum functionality: these rows get this answer
rows = [{age = 90, income = 0}]                           # columns left out are empty
expect = "poor"                                           # a class, or [least, most] of a number

[[test]]
name = "a first name does not matter"                     # invariance: validation rows keep their answer
column = "name"
values = ["Anna", "Mehmet"]                               # or add = 1 to a number, or replace = {good = "fine"} in a text
expect = "same"                                           # the same class; of a number: within `within`

[[test]]
name = "a larger house is not cheaper"                    # direction: the number, or the probability of `class`, rises
column = "area"
add = 10
expect = "up"                                             # or "down"; by more than `within` the other way is a miss
at_most = 0.1                                             # share of rows that may miss (default 0.05; of `rows`: none)
"""

from __future__ import annotations

import argparse
import tomllib
from typing import Any

import numpy as np
import polars as pl

from ..checks.check_result import CheckResult, check_result
from ..owner.engine import kinds, metrics
from ..owner.engine.evaluate import judged
from ..owner.engine.fitted import Fitted, load_fitted
from ..owner.engine.splits import splits
from ..owner.engine.truth import saved_truth
from ..owner.errors import UserError
from ..owner.task import FEATURES, Data
from ..project import Project, Run
from .evaluate import chosen as chosen  # the run whose model is tried, as for the test part

FILE = "behavior.toml"
TYPES: tuple[tuple[str, Any, str], ...] = (
    ("rows", list, "a list of rows"), ("values", list, "a list of values"), ("replace", dict, "texts, as in {good = \"fine\"}"),
    ("add", (int, float), "a number"), ("within", (int, float), "a number"), ("at_most", (int, float), "a share"),
)  # fmt: skip
KEYS = {"name", "rows", "column", "values", "add", "replace", "expect", "within", "at_most", "class"}


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """One finding a test; rows are those of validation, for the test part is opened once and for its score alone."""
    path = project.root / FILE
    try:
        tests = tomllib.loads(path.read_text(encoding="utf-8")).get("test", [])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; write what you expect of the model there (docs/recipe.md)") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read as TOML: {error}") from None
    if not isinstance(tests, list) or not tests:
        raise UserError(f"{path} holds no [[test]]; write one for each thing that you expect of the model")
    record = chosen(project, args)
    model, val = load_fitted(project, record), splits(project)["val"]
    tried = Tried(project, record["id"], model, val)
    for number, test in enumerate(tests, start=1):
        run.add(tried.test(test, f"{FILE}, test {number}"), show=True)
    run.result |= {"run": record["id"], "tests": len(tests)}


class Tried:
    """A trained model with the validation rows that it is tried on."""

    def __init__(self, project: Project, run: str, model: Fitted, val: Data) -> None:
        self.project, self.model, self.val = project, model, val
        folder = project.root / "runs" / run
        self.seen, self.truth = np.load(folder / "outputs.npy", allow_pickle=False), saved_truth(folder)
        self.before = self.answers(val.frame, "validation")

    def answers(self, frame: pl.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
        """What it says of rows, which are looked at as those to predict are: class numbers and probabilities [n, k]; or values,
        twice. Raises UserError for a row that cannot be read, such as a picture that is not there."""
        config, prep, val = self.model.config, self.model.prep, self.val
        names = [*val.columns(*FEATURES), *([config.query] if config.query else [])]
        found, reasons = self.model.task.validate_rows(config, prep, frame.select(names))
        if odd := [f"row {i} {why}" for i, why in enumerate(reasons, start=1) if why]:
            raise UserError(f"{where}: {odd[0]}")
        stand_in = prep["classes"][0] if prep["classes"] else float(prep["target_mean"])
        data = Data(found.with_columns(pl.lit(stand_in).alias(val.target)), val.target, val.roles, "", kinds=val.kinds)
        outputs = self.model.outputs(data)[0]
        if not prep["classes"]:
            value = metrics.values(prep, outputs)
            return value, value[:, None]
        ours = judged(config, self.model, (self.seen, outputs), self.truth)
        assert ours.decided is not None, "classes are decided on"
        return ours.decided, metrics.class_probabilities(outputs / ours.temperature)

    def test(self, test: dict[str, Any], where: str) -> CheckResult:
        """One expectation, against its answers. Raises UserError for one that cannot be understood."""
        if odd := sorted(set(test) - KEYS):
            raise UserError(f"{where} has {odd[0]!r}, which is none of {', '.join(sorted(KEYS))}")
        if not isinstance(test.get("name"), str) or "expect" not in test:
            raise UserError(f"{where} needs name = a sentence, and expect")
        for key, kinds_of, words in TYPES:
            if key in test and (not isinstance(test[key], kinds_of) or test[key] in ([], {})):
                raise UserError(f"{where} has {key} = {test[key]!r}; it must be {words}")
        if self.project.config.task == "ranking" and "rows" in test:
            raise UserError(f"{where} has rows; a ranking is of one query, so only changes of a column can be tried")
        missed, rows = self._rows(test, where) if "rows" in test else self._change(test, where)
        most = float(test.get("at_most", 0.0 if "rows" in test else 0.05))
        if not 0 <= most < 1:
            raise UserError(f"{where} has at_most = {most:g}; it is a share, from 0 to below 1")
        share, n = float(missed.mean()), len(missed)
        surely = share > most if "rows" in test else metrics.wilson(int(missed.sum()), n)[0] > most
        words = f"{test['name']}: {int(missed.sum()):,} of {n:,} rows miss it ({share:.1%})"
        evidence = {"name": test["name"], "missed": int(missed.sum()), "n": n, "rows": rows[missed][:20].tolist()}
        told = {"evidence": evidence, "most": f"{most:.0%}", "column": test.get("column", "column")}
        return check_result("behavior", words, fail=surely, warn=share > most, **told)

    def _class(self, name: Any, where: str) -> int:
        if str(name) not in self.model.prep["classes"]:
            raise UserError(f"{where} names class {name!r}; there are {', '.join(self.model.prep['classes'])}")
        return int(self.model.prep["classes"].index(str(name)))

    def _rows(self, test: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
        names, columns = self.val.columns(*FEATURES), list[pl.Series]()
        if odd := [name for row in test["rows"] for name in row if name not in names]:
            raise UserError(f"{where} has column {odd[0]!r}, which is no feature; there are {', '.join(names[:20])}")
        for name in names:
            values = [row.get(name) for row in test["rows"]]
            if self.val.roles[name] == "image":
                values = [str(self.project.root / value) if isinstance(value, str) else value for value in values]
            column, bad = kinds.of_values(name, values, kind := kinds.to_predict(self.val, name))
            if bad:
                value = values[bad[0]]
                raise UserError(f"{where} has {value!r} in column {name!r}, which {kinds.why(value, kind)}")
            columns.append(column)
        expect, said = test["expect"], self.answers(pl.DataFrame(columns), where)[0]
        if self.model.prep["classes"]:
            return np.asarray(said != self._class(expect, where)), np.arange(len(said))
        if not isinstance(expect, list) or len(expect) != 2:
            raise UserError(f"{where} has expect = {expect!r}; of a number it is [least, most]")
        return np.asarray((said < expect[0]) | (said > expect[1])), np.arange(len(said))

    def _change(self, test: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
        """Which of the rows miss it, and their positions in validation."""
        expect, within = test["expect"], float(test.get("within", 0.0))
        changed, rows = self._changed(test, where)
        said, first = [self.answers(frame, where) for frame in changed], (self.before[0][rows], self.before[1][rows])
        if expect == "same":
            if not self.model.prep["classes"]:
                return np.any(
                    [np.abs(value - first[0]) > within + 1e-6 * np.abs(first[0]) for value, _ in said], axis=0
                ), rows
            return np.any([called != first[0] for called, _ in said], axis=0), rows
        if expect not in ("up", "down"):
            raise UserError(f'{where} has expect = {expect!r}; of changed rows it is "same", "up" or "down"')
        classes = self.model.prep["classes"]
        k = self._class(test.get("class", classes[-1]), where) if classes else 0
        sign = 1 if expect == "up" else -1
        slack = within + 1e-6 * np.abs(first[1][:, k])  # the same rows in another batch
        return np.any([sign * (shares[:, k] - first[1][:, k]) < -slack for _, shares in said], axis=0), rows

    def _changed(self, test: dict[str, Any], where: str) -> tuple[list[pl.DataFrame], np.ndarray]:
        """The validation rows that the change touches, as changed; and which these are."""
        frame, name = self.val.frame, test.get("column")
        if name not in self.val.columns(*FEATURES):
            raise UserError(f"{where} has column {name!r}, which is no feature of the data")
        column = frame[name]
        try:
            if "add" in test:
                others = [column + test["add"]]
                if column.dtype.is_integer() and not float(test["add"]).is_integer():
                    raise UserError(f"{where} adds {test['add']} to whole numbers of column {name!r}")
            elif "replace" in test:
                old, new = list(test["replace"]), list(test["replace"].values())
                others = [column.str.replace_many(old, new)]
            else:
                others = [pl.Series(name, [value] * len(column)).cast(column.dtype) for value in test["values"]]
        except (pl.exceptions.PolarsError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{where}: column {name!r} holds {column.dtype}; it takes add = a number, replace = a table of texts, or values"
                " = a list, as fits"
            ) from None
        rows = np.flatnonzero(np.any([(other.ne_missing(column)).to_numpy() for other in others], axis=0))
        if not len(rows):
            raise UserError(f"{where} changes no validation row of column {name!r}")
        return [frame.with_columns(other)[rows] for other in others], rows
