"""`recipe export --onnx`: the network as an ONNX file beside the package, compared with PyTorch in ONNX Runtime.

The file holds the network alone: x as `examples` makes it, outputs as the network gives them. Preprocessing, temperature
and threshold stay in the package, and whoever runs the file has to do what they do.
"""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checks.check_result import CheckResult, check_result, not_applicable
from ..owner.engine.loop import plan
from ..owner.errors import UserError, first_line
from ..owner.task import Batch, Data
from .model import Package

AGREE = 1e-4  # largest difference of an output, in units of the outputs' own size where that is above 1
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export(package: Package, val: Data, path: Path) -> CheckResult:
    """Write `path`, then answer batches of two sizes with it. Raises UserError when the libraries are not installed."""
    if package.fitted.model is None:
        return not_applicable("onnx", f"{package.fitted.name} is no network; its own files are in the package")
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(
            f"--onnx needs {' and '.join(lacking)}, which the project does not; run: pip install {' '.join(NEEDED)}"
        )
    some = package.fitted.task.examples(
        package.fitted.config, package.fitted.prep, val.take(np.arange(min(len(val), 24)))
    )
    batches = list(some.batches(plan(some, 8)))
    model, names = (
        Flat(package.fitted.model, batches[0]),
        sorted(batches[0].x) if isinstance(batches[0].x, dict) else ["x"],
    )
    try:
        _write(model, names, batches[0], path)
        tried = (batches[0], batches[-1], batches[-1].head(1))
        apart = float(np.max([_difference(model, names, batch, path) for batch in tried]))  # NaN where one is
    except Exception as error:  # the exporter raises whatever it meets in a network
        path.unlink(missing_ok=True)
        return not_applicable("onnx", f"this network cannot be exported: {type(error).__name__}: {first_line(error)}")
    agrees = apart <= AGREE
    if not agrees:
        path.unlink(missing_ok=True)
    return check_result(
        "onnx",
        f"{path.name}: largest difference from PyTorch {apart:.1e} on batches of {len(batches[0].y)}, {len(batches[-1].y)} and 1",
        fail=not agrees,
        evidence={"difference": apart, "allowed": AGREE},
    )


class Flat(nn.Module):
    """The network with its inputs one by one, in the order of their names: ONNX knows no dict."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        super().__init__()
        self.model, self.names = model.eval(), sorted(batch.x) if isinstance(batch.x, dict) else None

    def forward(self, *x: Tensor) -> Any:
        return self.model(x[0] if self.names is None else dict(zip(self.names, x, strict=True)))


def _inputs(batch: Batch, names: list[str]) -> tuple[Tensor, ...]:
    return tuple(batch.x[name] for name in names) if isinstance(batch.x, dict) else (batch.x,)


def _write(model: Flat, names: list[str], batch: Batch, path: Path) -> None:
    """Batches of any size; of whole numbers (tokens) of any length as well."""
    inputs = _inputs(batch, names)
    free = {0: torch.export.Dim.DYNAMIC}
    shapes = tuple(
        {**free, 1: torch.export.Dim.DYNAMIC} if t.ndim == 2 and len(t) and n.endswith(("_ids", "_mask")) else free
        for n, t in zip(names, inputs, strict=True)
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, inputs, str(path), dynamo=True, input_names=names, output_names=["outputs"], dynamic_shapes=(shapes,), verbose=False,
            external_data=False,
        )  # fmt: skip


def _difference(model: Flat, names: list[str], batch: Batch, path: Path) -> float:
    """Largest difference of an output between PyTorch and ONNX Runtime, in units of the outputs' size if above 1."""
    import onnxruntime

    inputs = _inputs(batch, names)
    with torch.inference_mode():
        expected = model(*inputs).float().numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: t.numpy() for name, t in zip(names, inputs, strict=True)})[0]
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1.0))
