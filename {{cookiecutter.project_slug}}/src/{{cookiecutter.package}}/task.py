"""The seam: what a kind of data supplies. Everything else in the package is shared and imports no kind of data; the kit in
tools/recipe_kit finds this file through `[tool.recipe] task` in pyproject.toml.

From disk to the loss a row makes three hops: `load` -> `examples(...).batches` -> `model(x)`.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .errors import UserError

FEATURES = ("numeric", "categorical", "ordinal", "text", "image", "series")  # roles of the columns that a model reads

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from torch import Tensor, nn

    from .config import Config
    from .engine.kinds import Kind
    from .engine.notes import Note


@dataclass(frozen=True)
class Data:
    """All labeled examples, one row each, before any split.

    frame: the columns as read, target included, in file order. target: name of the target column.
    roles: column -> numeric | categorical | ordinal | id | group | time | query | text | image | series | target | part | drop.
    sha256: hash of the source bytes; it pins splits and results to this very data.
    unlabeled: rows whose target is missing; never trained on, but evidence for the leakage audit.
    kinds: how each column is read (see engine/kinds.py). notes: what was noticed while the file was read.
    """

    frame: pl.DataFrame
    target: str
    roles: dict[str, str]
    sha256: str
    unlabeled: pl.DataFrame | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return self.frame.height

    def _repr_html_(self) -> str:
        """What a notebook shows: how many rows, the role of each column, and the first rows."""
        told = "; ".join(f"{name}: {role}" for name, role in self.roles.items())
        return f"<p>{len(self):,} rows. {html.escape(told)}</p>{self.frame.head()._repr_html_()}"

    def take(self, rows: np.ndarray) -> Data:
        """The rows with these positions, in this order."""
        return replace(self, frame=self.frame[rows])

    def columns(self, *roles: str) -> list[str]:
        """Names of the columns that have one of these roles, in file order."""
        return [name for name in self.frame.columns if self.roles.get(name) in roles]

    # Where the rows are larger than memory, `frame` has few columns, and these three fetch the others (tabular/large.py).

    def chunks(self) -> Iterator[Data]:
        """The rows with all columns, in order, in pieces that fit into memory."""
        yield self

    def read(self) -> Data:
        """The rows with all columns, for few rows."""
        return self

    def sample(self) -> Data:
        """Random rows with all columns, as many as fit into memory."""
        return self


class Batch(NamedTuple):
    """What one forward pass sees.

    x: a tensor [b, ...] or a dict of tensors [b, ...]; goes into `model(x)` as it is.
    y: targets [b]: int64 class numbers, float32 {0, 1} for binary, float32 standardized values for regression, float32
       relevance for ranking; or [b, k] float32 class shares where an augmentation mixes labels.
    index: int64 [b], positions of these examples in their part. query: int64 [b] query numbers (ranking), else None.
    """

    x: Any
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which no one asks of a batch
    query: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; free where it is there already."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True), self.index)

    def head(self, n: int) -> Batch:
        """The first n examples."""
        return self._each(lambda tensor: tensor[:n], self.index[:n])

    def _each(self, change: Callable[[Tensor], Tensor], index: Tensor) -> Batch:
        x = {k: change(v) for k, v in self.x.items()} if isinstance(self.x, dict) else change(self.x)
        return Batch(x, change(self.y), index, None if self.query is None else change(self.query))


class Examples(Protocol):
    """One part of the data (train, validation, ...), encoded for the network.

    y: [n] targets as in Batch. query: int64 [n] or None. lengths: int64 [n] cost per example for length bucketing, or None.
    """

    y: Tensor
    query: Tensor | None
    lengths: Tensor | None

    def __len__(self) -> int: ...

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """One Batch per index tensor of `plan`, in its order. `augment` is true in training only; its randomness is a
        function of (seed, epoch, index) alone, so that workers, order and resuming do not change it."""
        ...


class Baseline(Protocol):
    """A fitted model without a network.

    predict: outputs [n, prep["outputs"]] in the network's units: a logit (binary), log-probabilities or logits
    (multiclass), standardized values (regression), scores (ranking). save: into a folder, as text or JSON, never pickle.
    """

    def predict(self, data: Data) -> np.ndarray: ...

    def save(self, folder: Path) -> None: ...


PlainEncoder = Callable[[dict[str, list[Any]]], "dict[str, np.ndarray]"]  # columns of a request -> the x of a Batch


def find_task(modality: str) -> Task:
    """The Task of a kind of data: `TASK` in <modality>/recipe.py. Raises UserError where this project has none."""
    there = modalities()
    if modality not in there:
        raise UserError(f"modality = {modality!r} is not in this project; it has {', '.join(there)}")
    task: Task = importlib.import_module(f"{__package__}.{modality}.recipe").TASK
    return task


def modalities() -> list[str]:
    """The kinds of data of this project, sorted."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/recipe.py"))


class Task:
    """The functions a modality supplies, with the defaults that fit most. One subclass a modality, in its recipe.py.

    `prep` is a JSON-able dict: all that was learned from the training part (vocabularies, scales, class names). Every
    prep holds "classes" (list of str; [] for regression and ranking), "outputs" (width of the network's output: 1 for
    binary, k for multiclass, 1 for regression and ranking), "prior" (class shares in the training part; [] otherwise),
    "target_mean" and "target_scale" (0 and 1 for classification and ranking). `config` is an instance of `settings`.
    """

    settings: type[Config]
    # Where final_baseline names one: (config, prep, (train, val), callbacks) -> it, its outputs on val [n, k], its curves.
    final_model: Callable[..., tuple[Baseline, np.ndarray, list[dict[str, Any]]]]

    def load(self, config: Any, root: Path) -> Data:
        """Read the labeled data. Raises UserError naming the file, column and value for bad input."""
        raise NotImplementedError

    def cleaned(self, config: Any, train: Data) -> Data:
        """The rows of the training part that are trained on."""
        return train

    def prepare(self, config: Any, train: Data) -> dict[str, Any]:
        """Learn the preprocessing from the training part, and from nothing else."""
        raise NotImplementedError

    def examples(self, config: Any, prep: dict[str, Any], data: Data) -> Examples:
        """Encode a part with a fitted preprocessing."""
        raise NotImplementedError

    def plain_encoder(self, config: Any, prep: dict[str, Any]) -> PlainEncoder | None:
        """Encodes the columns of a request (numbers and texts, None for missing) without a frame; None where it takes one."""
        return None

    def model(self, config: Any, prep: dict[str, Any]) -> nn.Module:
        """A fresh network: model(x) -> outputs [b, prep["outputs"]]. Its last bias starts at the prior."""
        raise NotImplementedError

    def baselines(self, config: Any, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
        """Simple models fitted on the training part, by name, simplest first (the trivial one is added by the step);
        `only` names the one to fit where the others are not wanted."""
        raise NotImplementedError

    def load_baseline(self, config: Any, prep: dict[str, Any], folder: Path) -> Baseline:
        """The baseline that `save` wrote into `folder`: the best of a baseline step, or the final model of a run."""
        raise NotImplementedError

    def final_baseline(self, config: Any) -> str:
        """Name of the baseline that is to be the final model instead of a network; '' for a network."""
        return ""

    def simple_features(self, config: Any, data: Data) -> Any:
        """A quick matrix [n, d], dense or sparse, of a sample of the rows, for the audit's model-based evidence; None where
        there is none."""
        return None

    def show(self, prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
        """Example `row` of a batch decoded back from the tensors that enter the model: name -> readable value. An
        image goes under "image" as a uint8 array [h, w, 3]."""
        raise NotImplementedError

    def explain(self, config: Any, prep: dict[str, Any], model: nn.Module, batch: Batch, row: int) -> dict[str, Any]:
        """Where the model looked in example `row` of a batch, for the report; {} where there is nothing to show.

        Text: "tokens" and their "weights". An image: "saliency", a list [h][w] of values from 0 to 1.
        """
        return {}

    def cheaper(
        self, prep: dict[str, Any], parts: tuple[Examples, Examples], share: float
    ) -> tuple[Examples, Examples, str]:
        """The same examples with inputs on which a step costs about this share, for trials of a network, and what they are,
        in words; as they were and "" where there are none."""
        return *parts, ""

    def larger(self, config: Any) -> dict[str, Any]:
        """Settings of the next larger model, to tell underfitting from a data ceiling; {} where there is none."""
        return {}

    def validate_rows(self, config: Any, prep: dict[str, Any], frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        """Rows to predict, their features of the types that training observed: with every column that `examples` reads, and
        what is wrong with each row ("" = nothing)."""
        return frame, [""] * frame.height

    def rows_to_predict(self, config: Any, path: Path) -> pl.DataFrame | None:
        """The rows of a file where several of its lines make one, as in a long table; None where a line is a row."""
        return None

    def monitored_features(self, prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
        """What the monitor compares with training, a column each; the features as they are where they can be compared.
        frame: the features of rows that `load` or `accept` returned."""
        return frame

    def prepare_export(
        self, config: Any, prep: dict[str, Any], model: nn.Module | None, folder: Path
    ) -> tuple[Any, dict[str, Any]]:
        """The model (None: a baseline) as it works without a hub and outside the project, what it needs beside its weights
        copied to `folder`; and the settings, with the entries of prep of the same names, that change. A Path is relative to
        `folder`."""
        return model, {}

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors a checkpoint must hold to bring this model back."""
        return model.state_dict()

    def load_state(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` returned. Raises RuntimeError when names or shapes differ."""
        model.load_state_dict(tensors)

    def lr_scale(self, config: Any, name: str) -> float:
        """Factor on the learning rate of the parameter called `name` (discriminative learning rates)."""
        return 1.0

    def frozen(self, config: Any, name: str) -> bool:
        """Whether the settings freeze the parameter called `name` for the whole run."""
        return False

    def set_trainable(self, config: Any, model: nn.Module, epoch: int) -> None:
        """Called as each epoch starts: freeze or thaw parameters by requires_grad (head first, then all)."""
