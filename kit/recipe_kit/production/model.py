"""A model package brought back: every file verified, its golden examples replayed, and then rows in, answers out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..owner.config import make_config
from ..owner.engine.files import read_json
from ..owner.engine.fitted import Fitted
from ..owner.engine.loop import find_device, forward
from ..owner.engine.metrics import class_probabilities, values
from ..owner.errors import UserError, first_line
from ..owner.task import Data, PlainEncoder, Task
from . import schema
from .registry import inside, verify

AGREE = 1e-5  # largest difference of an output, in units of the outputs' own size where that is above 1

Answer = dict[str, Any]


@dataclass
class Answered:
    """answers: one for each row, None where it was refused. reasons: why, "" where it was not. frame: the rows that were
    answered, as the model read them; None where they were plain (see schema.plain): as they came."""

    answers: list[Answer | None]
    reasons: list[str]
    frame: pl.DataFrame | None


@dataclass
class Package:
    """folder: where it lies. manifest: package.json. fitted: the model. columns: what it reads (see schema)."""

    folder: Path
    manifest: dict[str, Any]
    fitted: Fitted
    columns: list[schema.Column]

    @property
    def version(self) -> str:
        return self.folder.name

    @cached_property
    def plain_encoder(self) -> PlainEncoder | None:
        """The task's, made once."""
        return self.fitted.task.plain_encoder(self.fitted.config, self.fitted.prep)

    def read(self, rows: Sequence[dict[str, Any]]) -> tuple[pl.DataFrame, list[str]]:
        """The rows that can be predicted, ready for the model, and what is wrong with each of all rows ("" = nothing)."""
        frame, reasons = schema.read(self.columns, rows)
        frame = where(frame, [not why for why in reasons])
        if frame.height:
            frame, more = self.fitted.task.validate_rows(self.fitted.config, self.fitted.prep, frame)
            left = iter(more)
            reasons = [why or next(left) for why in reasons]
            frame = where(frame, [not why for why in more])
        return frame, reasons

    def answer(self, rows: Sequence[dict[str, Any]]) -> Answered:
        """Rows in, answers out, in their order; a row that cannot be read or gives no number is refused with a reason."""
        if (outputs := self.outputs_of_plain(rows)) is not None and np.isfinite(outputs).all():
            return Answered([*self.answers(outputs)], [""] * len(rows), None)
        frame, reasons = self.read(rows)
        answers: list[Answer | None] = [None] * len(rows)
        if frame.height:
            outputs = self.outputs(frame)
            finite = np.isfinite(outputs).all(axis=1)
            good = np.flatnonzero([not why for why in reasons])
            for row in good[~finite]:
                reasons[row] = "gives no finite answer: the model cannot read its empty or extreme values"
            for row, answer in zip(good[finite], self.answers(outputs[finite]), strict=True):
                answers[row] = answer
            frame = where(frame, finite.tolist())
        return Answered(answers, reasons, frame)

    def outputs_of_plain(self, rows: Sequence[dict[str, Any]]) -> np.ndarray | None:
        """Outputs [n, k] without a frame, by a network whose rows need none; None for any other."""
        if self.fitted.model is None or not self.plain_encoder or (columns := schema.plain(self.columns, rows)) is None:
            return None
        return forward(self.fitted.model, self.plain_encoder(columns), self.fitted.config)

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        """Outputs [n, k] of the model: by the same call as in training and evaluation, on rows with a stand-in target."""
        config, prep = self.fitted.config, self.fitted.prep
        stand_in = prep["classes"][0] if prep["classes"] else float(prep["target_mean"])
        extra = [pl.Series(self.manifest["target"], [stand_in] * frame.height)]
        if config.query and config.query not in frame.columns:
            extra.append(pl.Series(config.query, [""] * frame.height))
        roles = {column["name"]: column["role"] for column in self.columns}
        data = Data(frame.hstack(extra), self.manifest["target"], roles, "")
        return self.fitted.outputs(data)[0]

    def answers(self, outputs: np.ndarray) -> list[Answer]:
        """What is told of each row: the class and all probabilities, tempered; or the value in units of the target."""
        if not (classes := self.manifest["classes"]):
            return [{"prediction": value} for value in values(self.fitted.prep, outputs).tolist()]
        probability = class_probabilities(outputs / self.manifest["temperature"])
        called = probability.argmax(axis=1)
        if self.manifest["threshold"] is not None:
            called = (probability[:, 1] >= self.manifest["threshold"]).astype(int)
        return [
            {"prediction": classes[c], "probabilities": dict(zip(classes, p, strict=True))}
            for c, p in zip(called.tolist(), probability.tolist(), strict=True)
        ]

    def watched(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What the monitor compares of these rows (see Task.monitored_features)."""
        return self.fitted.task.monitored_features(self.fitted.prep, frame)


def where(frame: pl.DataFrame, wanted: list[bool]) -> pl.DataFrame:
    """The wanted rows; the frame itself where that is all of them, which costs nothing."""
    return frame if all(wanted) else frame.filter(pl.Series(wanted))


def score(answer: Answer) -> float:
    """One number of an answer: the value; the probability of the positive class; or of the likeliest."""
    probabilities = list(answer.get("probabilities", {}).values())
    if not probabilities:
        return float(answer["prediction"])
    return float(probabilities[1] if len(probabilities) == 2 else max(probabilities))


def load(task: Task, folder: Path, device: str = "cpu") -> Package:
    """The package in `folder`, verified: every file by its hash, preprocessing and weights by the golden examples.

    Raises UserError when a file differs from what was exported, or when the code in use answers the golden examples
    otherwise than the training code did.
    """
    manifest = verify(folder)
    try:
        return _load(task, folder, manifest, device)
    except UserError:
        raise
    except Exception as error:  # its hashes hold, so somebody made it like this, or for other code
        sentence = (
            f"{folder.name} is no package that this code can load ({first_line(error)}); export again (recipe export)"
        )
        raise UserError(sentence) from None


def _load(task: Task, folder: Path, manifest: dict[str, Any], device: str) -> Package:
    given, prep = dict(manifest["config"]), read_json(folder / "prep.json", "a package's preprocessing", "export again")
    for name, path in manifest["paths"].items():
        given[name] = str(inside(folder, path))
    prep |= {name: given[name] for name in manifest["replaced"] if name in prep}
    config = make_config(task.settings, {**given, "device": "cpu"}, f"the config of {folder.name}")
    fitted = Fitted(manifest["name"], task, config, prep)
    if manifest["name"] == "network":
        fitted.model = _network(task, fitted, folder)
    else:
        fitted.baseline = task.load_baseline(config, prep, folder / "model")
    package = Package(folder, manifest, fitted, manifest["columns"])
    replay(package)
    if fitted.model is not None:
        fitted.config = make_config(task.settings, {**given, "device": device}, "the device to serve on")
        fitted.model = fitted.model.to(find_device(fitted.config))
    return package


def _network(task: Task, fitted: Fitted, folder: Path) -> Any:
    from safetensors.torch import load_file

    model = task.model(fitted.config, fitted.prep)
    try:
        task.load_state(model, load_file(folder / "weights.safetensors"))
    except RuntimeError as error:
        raise UserError(
            f"{folder.name}: the code builds another network than was exported ({first_line(error)})"
        ) from None
    return model.eval()


def replay(package: Package) -> float:
    """Answer the golden examples as any client's rows are; the largest difference from what the training code said.

    Raises UserError when one differs by more than AGREE: serving would preprocess or compute otherwise than training.
    """
    golden = json.loads((package.folder / "golden.json").read_text(encoding="utf-8"))
    images = [c["name"] for c in package.columns if c["kind"] == "image"]
    rows = [{k: str(inside(package.folder, v)) if k in images else v for k, v in row.items()} for row in golden["rows"]]
    frame, reasons = package.read(rows)
    if bad := [f"number {i} {why}" for i, why in enumerate(reasons) if why]:
        raise UserError(f"{package.version}: golden example {bad[0]}, though training read it; {REFUSED}")
    expected = np.array(golden["outputs"], dtype=np.float64).reshape(len(rows), -1)
    told = np.array([[np.nan if one is None else score(one)] for one in package.answer(rows).answers])
    right = np.array([[score(one)] for one in package.answers(expected)])
    plain, largest = package.outputs_of_plain(rows), 0.0
    pairs = [(package.outputs(frame), expected), *([] if plain is None else [(plain, expected)]), (told, right)]
    for found, wanted in pairs:
        apart = np.abs(found.astype(np.float64) - wanted) / np.maximum(np.abs(wanted).max(), 1.0)
        if not apart.max() <= AGREE:
            row = int(np.nan_to_num(apart, nan=np.inf).max(axis=1).argmax())
            raise UserError(
                f"{package.version}: golden example {row} gives {_numbers(found[row])} where training gave"
                f" {_numbers(wanted[row])}; {REFUSED}"
            )
        largest = max(largest, float(apart.max()))
    return largest


REFUSED = (
    "the preprocessing or the model's code is not what it was trained with, so nothing is served; put that code back"
    " (its commit is in package.json), or export again from a run of the present code"
)


def _numbers(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6f}" for value in values[:3])
    return f"{shown}, ..." if len(values) > 3 else shown
