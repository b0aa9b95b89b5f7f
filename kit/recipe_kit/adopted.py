"""A PyTorch project that the template did not generate, seen through a module of plain functions, its recipe_task.py.

    examples(rows, prepared) -> (x, y)       rows: a pandas frame with the target; x: a tensor [n, ...] or a dict of them
    model(prepared) -> nn.Module             model(x) -> outputs [n, k]; one output for two classes, for a number
    loss(outputs, y) -> Tensor [n]           one value per example: reduction="none"
    optimizer(model) -> Optimizer
    step(model, x, y, optimizer) -> float    one step of your loop; returns the mean loss of the batch
    prepare(train) -> anything               optional: what is learned from the training rows, such as a vocabulary
    fit(train, val) -> iterable              optional: your training; for each epoch {"train_loss", "outputs" on val [n, k]}

Reading, splitting and baselines are those of the reference package, by the settings in recipe.toml.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from .checks.check_result import CheckResult
from .owner.engine import loop, metrics
from .owner.engine.files import save_array, to_json, write_atomic
from .owner.engine.fitted import weights_hash
from .owner.engine.losses import Loss, make_loss
from .owner.engine.optim import make_optimizer
from .owner.engine.target import as_text, fit_target, query_numbers, targets
from .owner.engine.train import Trained
from .owner.engine.truth import save_truth, truth_of
from .owner.errors import UserError, first_line
from .owner.task import Baseline, Batch, Data, Examples, Task, find_task

NEEDED = ("examples", "model", "loss", "optimizer", "step")
OFFERED = ("audit", "split", "baseline", "check", "train", "diagnose", "report", "runs", "settings", "completion")


def loss_of(config: Any, task: Task, prep: dict[str, Any]) -> Loss:
    """The loss of an adopted project, else that of the settings."""
    return task.loss(config, prep) if isinstance(task, Adopted) else make_loss(config, prep)


def optimizer_of(config: Any, task: Task, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of an adopted project, else that of the settings."""
    if not isinstance(task, Adopted):
        return make_optimizer(config, task, model)
    found: torch.optim.Optimizer = task.call("optimizer", model)
    for group in found.param_groups:
        group["lr"] *= config.lr / task.lr  # a check asks for a multiple of the usual
    return found


@dataclass
class Encoded:
    """What `examples` returned, as examples: x [n, ...], or a dict of such, and y [n] in the order of the rows."""

    x: Any
    y: Tensor
    query: Tensor | None
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """The rows of each part of the plan; nothing is augmented."""
        for rows in plan:
            x = {name: value[rows] for name, value in self.x.items()} if isinstance(self.x, dict) else self.x[rows]
            yield Batch(x, self.y[rows], rows, None if self.query is None else self.query[rows])


class Adopted(Task):
    """The functions of the owner's module, where the reference package asks for those of a kind of data."""

    def __init__(self, module: str, modality: str, root: Path) -> None:
        sys.path[:0] = [str(folder) for folder in (root, root / "src") if str(folder) not in sys.path]
        try:
            self.module: Any = importlib.import_module(module)
        except Exception as error:
            raise UserError(
                f"{module}, which [tool.recipe] in pyproject.toml names, cannot be imported: {first_line(error)}"
            ) from None
        if missing := [name for name in NEEDED if not callable(getattr(self.module, name, None))]:
            raise UserError(
                f"{self.module.__file__} has no function {missing[0]}; it needs {', '.join(NEEDED)} (docs/adopt.md)"
            )
        self.root, self.reference = root, find_task(modality)
        self.settings = self.reference.settings
        self.kept: dict[str, Any] = {}
        self.lr = 1.0

    def call(self, name: str, *given: Any) -> Any:
        """What the owner's function returns. Raises UserError with the line that failed where it fails."""
        try:
            found = getattr(self.module, name)(*given)
            return list(found) if name == "fit" else found
        except UserError:
            raise
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)
            own = [line for line in at if str(self.root) in line.filename] or at
            where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
            raise UserError(f"{name}() failed at {where}: {type(error).__name__}: {first_line(error)}") from None

    def loaded(self) -> set[Path]:
        """The files of this project that its functions have imported."""
        files = (getattr(module, "__file__", None) for module in [*sys.modules.values()])
        return {Path(file) for file in files if file and self.root in Path(file).parents}

    def code(self) -> str:
        """Hash of the Python files of this project, which every result depends on; hidden folders and tools/ left out."""
        names = [path.relative_to(self.root) for path in self.root.rglob("*.py")]
        own = [n for n in names if not any(p.startswith(".") or p in ("tools", "venv", "runs") for p in n.parts)]
        lines = [f"{name.as_posix()} {(self.root / name).read_bytes()!r}" for name in sorted(own)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def within_reach(self, finding: CheckResult) -> CheckResult:
        """The finding without a next command that an adopted project does not have, or whose settings do not reach its loop."""
        recipe, _, words = finding.next.partition(" ")
        reachable = recipe != "recipe" or (words.split(" ")[0] in OFFERED and "=" not in words)
        return finding if reachable else replace(finding, next="")

    def load(self, config: Any, root: Path) -> Data:
        return self.reference.load(config, root)

    def prepare(self, config: Any, train: Data) -> dict[str, Any]:
        """What `prepare` returned is kept in memory under the hash of the examples that it makes of these rows: the same rows
        must give the same."""
        made = self.call("prepare", _pandas(train)) if hasattr(self.module, "prepare") else None
        self.kept[""], self.lr, digest = made, config.lr, hashlib.sha256()
        x, y = self._encode("", train)
        for part in [*(x.values() if isinstance(x, dict) else [x]), y]:
            digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        name = digest.hexdigest()[:16]
        self.kept[name] = made
        asked = {"prepared": name, "dtype": str(y.dtype).removeprefix("torch."), "column": y.ndim == 2}
        return {**fit_target(config, train), **_coded(config, train, y.flatten()), **asked}

    def _encode(self, name: str, data: Data) -> tuple[Any, Tensor]:
        made = self.call("examples", _pandas(data), self.kept[name])
        if not isinstance(made, tuple) or len(made) != 2:
            raise UserError(f"examples() returned {type(made).__name__}; it must return x and y")
        x, y = made
        if not isinstance(y, Tensor) or y.ndim not in (1, 2) or y[:1].numel() > 1 or not y.isfinite().all():
            raise UserError("examples() gave a y that is no tensor [n] or [n, 1] of finite numbers")
        y = y.detach().cpu()
        parts = x.items() if isinstance(x, dict) else [("x", x)]
        for what, part in [*parts, ("y", y)]:
            if not isinstance(part, Tensor) or len(part) != len(data):
                size = f"{len(part)} rows" if isinstance(part, Tensor) else f"a {type(part).__name__}"
                raise UserError(f"examples() gave {what} as {size}; it must be a tensor of {len(data)}, one a row")
        return x, y

    def examples(self, config: Any, prep: dict[str, Any], data: Data) -> Examples:
        """y as `targets` has it where it says the same up to rounding; else as it is, which `rows and labels` finds."""
        x, y = self._encode(prep["prepared"], data)
        filed = torch.from_numpy(targets(config, prep, data))
        given = y.flatten().to(filed.dtype)
        return Encoded(x, filed if torch.allclose(given, filed, 1e-4, 1e-5) else given, query_numbers(config, data))

    def _own(self, prep: dict[str, Any], y: Tensor) -> Tensor:
        """Targets as `examples` gave them."""
        y = y.to(getattr(torch, prep["dtype"]))
        return y[:, None] if prep["column"] else y

    def model(self, config: Any, prep: dict[str, Any]) -> nn.Module:
        made: nn.Module = self.call("model", self.kept[prep["prepared"]])
        return made

    def loss(self, config: Any, prep: dict[str, Any]) -> Loss:
        """(outputs [b, k], batch) -> loss per example [b]."""

        def value(outputs: Tensor, batch: Batch) -> Tensor:
            found: Tensor = self.call("loss", outputs, self._own(prep, batch.y))
            if found.numel() != len(batch.y):
                raise UserError(
                    f"loss() returned {tuple(found.shape)} for {len(batch.y)} examples; it must give one value for each"
                    ' (reduction="none")'
                )
            return found.flatten()

        return value

    def step(
        self, prep: dict[str, Any], model: nn.Module, batches: list[Batch], optimizer: Any, observe: Callable[[], None]
    ) -> float:
        """One step of the owner's loop over all examples of `batches` together; returns their summed loss."""
        hook = optimizer.register_step_pre_hook(lambda *_: observe())
        x = [batch.x for batch in batches]
        joined = {n: torch.cat([part[n] for part in x]) for n in x[0]} if isinstance(x[0], dict) else torch.cat(x)
        y = torch.cat([batch.y for batch in batches])
        try:
            value = float(torch.as_tensor(self.call("step", model, joined, self._own(prep, y), optimizer)).detach())
        finally:
            hook.remove()
        return value * len(y)

    def baselines(self, config: Any, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
        """Those of the reference package for this kind of data, in the classes' own order."""
        plain = {"texts": train.columns("text")} if config.modality == "text" else self.reference.prepare(config, train)
        return self.reference.baselines(config, {**plain, **prep}, train, only)

    def simple_features(self, config: Any, data: Data) -> Any:
        return self.reference.simple_features(config, data)

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        return {}

    def train(self, config: Any, data: dict[str, Data], folder: Path) -> Trained:
        """Let `fit` train, and write what a run of the reference loop writes. The outputs of the epoch with the lowest
        validation loss count, as if its weights were kept."""
        if not hasattr(self.module, "fit"):
            raise UserError(f"{self.module.__file__} has no fit(train, val), which recipe train needs (docs/adopt.md)")
        began, prep = time.perf_counter(), self.prepare(config, data["train"])
        write_atomic(folder / "prep.json", to_json(prep))
        seen, val = (self.examples(config, prep, data[name]) for name in ("train", "val"))
        truth, loss = truth_of(config, data["val"], val), self.loss(config, prep)
        model = self.model(config, prep)
        size, lr = sum(p.numel() for p in model.parameters()), self.call("optimizer", model).param_groups[0]["lr"]
        curves: list[dict[str, Any]] = []
        losses, outputs = [], []
        for epoch, row in enumerate(self.call("fit", _pandas(data["train"]), _pandas(data["val"]))):
            outputs.append(_outputs(row, len(val), prep["outputs"]))
            losses.append(loop.losses_of(loss, outputs[-1], val))
            score = metrics.score(config, prep, outputs[-1], truth)
            scored = {"epoch": epoch, "val_loss": float(losses[-1].mean(dtype=np.float64)), "val_metric": score}
            given = {"train_loss": float(row["train_loss"]), "lr": float(row.get("lr", lr))}
            curves.append({**scored, **given, "seconds": time.perf_counter() - began, "loader_seconds": 0.0})
        if not curves:
            raise UserError("fit() gave no epoch; it must give one {'train_loss', 'outputs'} for each")
        if not any(np.isfinite(row["val_loss"]) for row in curves):
            raise UserError("fit() diverged: the loss of its outputs on validation is not finite after any epoch")
        best = int(np.nanargmin([row["val_loss"] for row in curves]))
        write_atomic(folder / "curves.json", to_json(curves))
        for name, array in (("losses", np.array(losses)), ("outputs", outputs[best])):
            save_array(folder / f"{name}.npy", array.astype(np.float32))
        save_truth(folder, truth)
        result = {
            "metric": config.resolved_metric, "model": "network", "parameters": size, "trainable": size, "epochs": len(curves),
            "best_epoch": best, "steps": 0, "skipped": [], "stopped": "all epochs done", "processes": 1, "parallel": "",
            "seconds": round(time.perf_counter() - began, 3), "weights": weights_hash(folder),
            "metrics": metrics.summary(config, prep, outputs[best], truth),
        }  # fmt: skip
        return Trained(prep, seen, val, truth, outputs[best], None, None, result)


def _pandas(data: Data) -> Any:
    """The rows as people's own code reads them; polars' own way needs a library more."""
    import pandas

    return pandas.DataFrame({name: data.frame[name].to_numpy() for name in data.frame.columns})


def _outputs(row: Any, n: int, k: int) -> np.ndarray:
    """Outputs on validation of one epoch [n, k]."""
    if not isinstance(row, dict) or not {"train_loss", "outputs"} <= row.keys():
        raise UserError(f"fit() gave {type(row).__name__} for an epoch; it must be a dict with train_loss and outputs")
    found = np.asarray(torch.as_tensor(row["outputs"]).detach().cpu(), dtype=np.float32)
    if found.size != n * k:
        raise UserError(f"fit() gave outputs of shape {found.shape}; validation has {n} rows, of {k} outputs each")
    return found.reshape(n, k)


def _coded(config: Any, train: Data, y: Tensor) -> dict[str, Any]:
    """How the owner writes the target as numbers: the classes in the order of their numbers, or mean and scale."""
    column = train.frame[config.target]
    if config.task in ("binary", "multiclass"):
        rows = pl.DataFrame({"name": as_text(column), "code": y.tolist()}).unique().sort("code")
        if rows["code"].to_list() != list(range(len(rows))) or rows["name"].n_unique() < len(rows):
            return {}
        prior = [float((y == code).double().mean()) for code in range(len(rows))]
        return {"classes": rows["name"].to_list(), "prior": prior}
    if config.task == "ranking":
        return {}
    values, given = column.cast(pl.Float64).to_numpy(), y.double().numpy()
    if not given.std():
        raise UserError("examples() gave a y that is the same in every row")
    scale, mean = np.polyfit(given, values, 1)
    off = np.abs(values - given * scale - mean).max()
    if not off <= 1e-4 * values.std():
        raise UserError(
            f"the targets of examples() are not column {config.target!r} up to a scale (off by up to {off:.3g}): rows out of"
            " order, or a transformation, which belongs into the data then"
        )
    return {"target_mean": float(mean), "target_scale": float(scale)}
