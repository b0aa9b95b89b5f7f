"""Every setting of a project: one flat, typed, documented model, read from recipe.toml and `setting=value` arguments.

A setting belongs to one group. The fingerprint of a group (see `Config.fingerprint`) is what ties a passing check, a
split or a baseline to the settings it was made under. A modality adds its own settings by subclassing `Config`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import UserError

GROUPS = ("data", "split", "preprocessing", "model", "loss", "optimizer", "schedule", "loop", "evaluation", "tracking")


def setting(default: Any, group: str, description: str, off: Any = None, **bounds: Any) -> Any:
    """A documented field. `group` is one of GROUPS; `off` is the value that takes the part away, for `recipe ablate`;
    `bounds` are pydantic's (ge, gt, le, lt, pattern, ...)."""
    assert group in GROUPS, group
    return Field(
        default,
        description=description,
        json_schema_extra={"group": group, "off": off},
        validate_default=True,
        **bounds,
    )


class Config(BaseModel):
    """The settings that every modality shares."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    modality: str = setting(
        "tabular", "data", "Folder of the package that supplies the Task", pattern=r"^[a-z][a-z0-9_]*$"
    )
    task: Literal["binary", "multiclass", "regression", "ranking"] = setting("binary", "data", "What is predicted")
    data: str = setting("data/train.csv", "data", "Path from recipe.toml, or an address (s3://...)", min_length=1)
    test_data: str = setting(
        "", "data", "A test file of its own, with the columns of data; the other rows train and validate"
    )
    target: str = setting("target", "data", "Name of the column to predict", min_length=1)
    positive: str = setting("", "data", "Binary: the class called positive ('' = the last in sorted order)")
    group: str = setting("", "split", "Column whose values must stay on one side of the split (patient, user, ...)")
    time: str = setting("", "split", "Column that orders the examples in time; the split is then by time, never random")
    query: str = setting("", "data", "Ranking: column that names the query a row belongs to")
    iid: str = setting("", "split", "Why the rows are independent; needed when no group and no time is declared")
    drop: list[str] = setting([], "data", "Columns that are never used (post-outcome, identifiers, ...)")
    also_missing: list[str] = setting([], "data", 'More spellings of a missing value, beside NA, NaN, null and ""')
    not_missing: list[str] = setting([], "data", 'Spellings that are values after all, by column, as in "region: NA"')
    month_first: list[str] = setting([], "data", "Columns of dates in which 03/01/2021 is the first of March")
    known_at_prediction: list[str] = setting([], "data", "Suspected columns that you confirm are known when predicting")
    acknowledge: list[str] = setting([], "data", "Names of data checks whose FAIL you have seen and accept")
    drop_classes: list[str] = setting([], "data", "Classes whose rows are left out, such as one with a single row")
    duplicates: Literal["keep", "drop"] = setting("keep", "data", "Exact duplicate rows: keep, or keep the first only")

    split_column: str = setting("", "data", "Column that says train, val or test: the split is then given, not drawn")
    split: Literal["auto", "random", "stratified", "group", "time", "given"] = setting(
        "auto",
        "split",
        "Kind of split; auto = given if there is one, else time or group if declared, else stratified or random",
    )
    val_share: float = setting(0.0, "split", "Share of validation rows; 0 = by size (15 %, 10 % or 1 %)", ge=0, le=0.5)
    test_share: float = setting(0.0, "split", "Share of test rows; 0 = by size (15 %, 10 % or 1 %)", ge=0, le=0.5)
    folds: int = setting(
        0, "split", "k-fold: the rows outside test in k parts, of which one validates; 0 = off", ge=0, le=50
    )
    fold: int = setting(0, "split", "Which of the folds validates", ge=0, le=49)
    split_seed: int = setting(0, "split", "Seed of the split; leave it alone", ge=0, lt=2**32)

    metric: Literal[
        "auto", "auc", "average_precision", "accuracy", "balanced_accuracy", "macro_f1", "f1", "log_loss", "cost",
        "rmse", "mae", "r2", "ndcg",
    ] = setting("auto", "evaluation", "What decides; auto = auc, accuracy, rmse or ndcg by task")  # fmt: skip
    cost_false_positive: float = setting(
        1.0, "evaluation", "Binary: cost of a false alarm; costs that differ choose the threshold", ge=0
    )
    cost_false_negative: float = setting(1.0, "evaluation", "Binary: cost of a miss", ge=0)
    imbalance: str = setting("", "evaluation", "Why classes over 10:1 apart need no weights and no other metric")
    slices: list[str] = setting([], "evaluation", "Columns whose values are reported one by one (deployment slices)")
    bootstrap: int = setting(1000, "evaluation", "Resamples behind every 95 % interval", ge=100, le=100_000)
    human_score: float | None = setting(None, "evaluation", "What a person reaches on this metric, when you know it")

    loss: Literal["auto", "cross_entropy", "bce", "focal", "mse", "mae", "huber", "pairwise"] = setting(
        "auto", "loss", "auto = bce, cross_entropy, mse or pairwise (BPR) by task"
    )
    class_weights: Literal["none", "balanced", "oversample"] = setting(
        "none",
        "loss",
        "balanced = the loss weighs by inverse frequency, mean one; oversample = an epoch repeats examples of rarer classes until all are as frequent",
        off="none",
    )
    label_smoothing: float = setting(0.0, "loss", "Share of the target spread over all classes", off=0.0, ge=0, le=0.5)
    focal_gamma: float = setting(2.0, "loss", "Focusing parameter of the focal loss", ge=0, le=10)

    optimizer: Literal["adamw", "sgd"] = setting("adamw", "optimizer", "AdamW, or SGD with Nesterov momentum")
    lr: float = setting(1e-3, "optimizer", "Peak learning rate", gt=0, le=10)
    weight_decay: float = setting(
        1e-2, "optimizer", "Decoupled decay; none on bias, norm and embeddings", off=0.0, ge=0, le=1
    )
    momentum: float = setting(0.9, "optimizer", "SGD's momentum", ge=0, lt=1)
    clip: float = setting(1.0, "optimizer", "Largest global gradient norm; 0 = no clipping", off=0.0, ge=0)
    schedule: Literal["cosine", "linear", "one_cycle", "plateau", "constant"] = setting(
        "cosine", "schedule", "How the learning rate falls after warm-up", off="constant"
    )
    warmup: float = setting(0.05, "schedule", "Share of all steps spent rising from zero to lr", off=0.0, ge=0, lt=1)

    epochs: int = setting(30, "loop", "Most passes over the training part", ge=1, le=100_000)
    batch_size: int = setting(128, "loop", "Examples per forward pass; 32-256 balances noise and speed", ge=1)
    accumulate: int = setting(
        1, "loop", "Forward passes per optimizer step; equal to the batch that many times larger", ge=1
    )
    patience: int = setting(8, "loop", "Epochs without a better validation loss before stopping; 0 = never stop", ge=0)
    precision: Literal["fp32", "bf16"] = setting("fp32", "loop", "bf16 = autocast matrix products to bfloat16")
    compile: bool = setting(False, "loop", "torch.compile the model; pays on long runs only")
    workers: int = setting(
        0, "loop", "Loader processes for images; 0 = none. Tables and texts lie in memory and need none", ge=0, le=256
    )
    device: str = setting("auto", "loop", "auto = cuda, then mps, then cpu", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    seed: int = setting(0, "loop", "Seed of initialization, order and augmentation", ge=0, lt=2**32)
    deterministic: bool = setting(True, "loop", "Ask torch for deterministic kernels")

    tracker: Literal["none", "wandb", "mlflow", "tensorboard"] = setting(
        "wandb", "tracking", "Where curves also go; wandb stays offline by default, the others are installed on demand"
    )

    @model_validator(mode="after")
    def _agree(self) -> Config:
        """Refuse settings that contradict each other; each message names both values and the way out."""
        for name, known in (("loss", LOSSES[self.task]), ("metric", METRICS[self.task])):
            if (value := getattr(self, name)) not in ("auto", *known):
                raise ValueError(f"{name} = {value!r} does not fit task = {self.task!r}; use one of {', '.join(known)}")
        if self.task == "ranking" and not self.query:
            raise ValueError("task = 'ranking' needs query = the column that names the query of a row")
        if self.split == "time" and not self.time:
            raise ValueError("split = 'time' needs time = the column that orders the rows")
        if self.split == "group" and not self.group:
            raise ValueError("split = 'group' needs group = the column that must stay on one side")
        if self.time and self.split in ("random", "stratified"):
            raise ValueError(
                f"split = {self.split!r} contradicts time = {self.time!r}; a declared time is never split at random"
            )
        if self.split not in ("auto", "given") and (self.split_column or self.test_data):
            raise ValueError(
                f"split = {self.split!r} contradicts {'split_column' if self.split_column else 'test_data'}, which gives the split; remove one"
            )
        if self.folds == 1:
            raise ValueError("folds = 1 leaves nothing to train on; use 0 (off) or at least 2")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"fold = {self.fold} is outside 0..{self.folds - 1} (folds = {self.folds})")
        if self.folds and (self.drawn_kind if self.split_kind == "given" else self.split_kind) == "time":
            raise ValueError("folds cannot be used with a time split: a fold would train on the future; set folds = 0")
        if self.label_smoothing and self.resolved_loss not in ("cross_entropy", "bce"):
            raise ValueError(
                f"label_smoothing = {self.label_smoothing} has no meaning for loss = {self.resolved_loss!r}; set it to 0"
            )
        roles = [name for name in (self.target, self.group, self.time, self.query, self.split_column) if name]
        if len(set(roles)) < len(roles) - (self.group == self.query != ""):
            raise ValueError(
                f"target, group, time, query and split_column must be different columns; got {', '.join(roles)}"
            )
        if self.drop_classes and self.task not in ("binary", "multiclass"):
            raise ValueError(
                f"drop_classes = {self.drop_classes} has no meaning for task = {self.task!r}; set it to []"
            )
        if self.target in self.drop:
            raise ValueError(f"drop holds the target {self.target!r}; remove it from drop")
        return self

    @property
    def split_kind(self) -> str:
        """The kind of split that `split = "auto"` stands for."""
        if self.split != "auto":
            return self.split
        return "given" if self.split_column or self.test_data else self.drawn_kind

    @property
    def drawn_kind(self) -> str:
        """The kind of split that is drawn where nothing else is asked for. A ranking query is a group."""
        if self.time:
            return "time"
        if self.group or self.query:
            return "group"
        return "stratified" if self.task in ("binary", "multiclass") else "random"

    @property
    def resolved_loss(self) -> str:
        """The loss that `loss = "auto"` stands for."""
        return LOSSES[self.task][0] if self.loss == "auto" else self.loss

    @property
    def resolved_metric(self) -> str:
        """The metric that `metric = "auto"` stands for."""
        return METRICS[self.task][0] if self.metric == "auto" else self.metric

    def fingerprint(self, *groups: str) -> str:
        """sha256 (first 16 hex digits) over the values of all settings in these groups; all groups when none is named."""
        chosen = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if not groups or field.json_schema_extra["group"] in groups  # type: ignore[index,call-overload,operator]
        }
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


# The losses and the metrics that fit a task; the first is the default. Lower is better for the ones in LOWER_IS_BETTER.
LOSSES = {
    "binary": ("bce", "focal"),
    "multiclass": ("cross_entropy", "focal"),
    "regression": ("mse", "mae", "huber"),
    "ranking": ("pairwise", "mse", "mae", "huber"),
}
METRICS = {
    "binary": ("auc", "average_precision", "accuracy", "balanced_accuracy", "f1", "log_loss", "cost"),
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1", "auc", "average_precision", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
    "ranking": ("ndcg",),
}
LOWER_IS_BETTER = frozenset({"log_loss", "cost", "rmse", "mae"})


def read_toml(path: Path) -> dict[str, Any]:
    """The flat table of recipe.toml. Raises UserError when it is missing, not TOML, or nested."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad puts a mark before the first letter
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run recipe in a project folder, or name one with --project") from None
    except (ValueError, OSError, RecursionError) as error:  # not TOML, not UTF-8, a number too long, nested too deep
        raise UserError(f"{path} cannot be read as TOML: {error}") from None
    nested = [name for name, value in values.items() if isinstance(value, dict)]
    if nested:
        raise UserError(
            f"{path} has a table [{nested[0]}]; the recipe is one flat table: write its keys at the top level"
        )
    return values


def parse_override(text: str) -> tuple[str, Any]:
    """`setting=value` -> (setting, value). The value is read as TOML, and as a plain string when it is not TOML."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{text!r} is not setting=value; for example lr=0.01")
    try:
        read = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return name.strip(), value
    if len(read) > 1:
        raise UserError(f"{text!r} holds more than one line; give each setting as an argument of its own")
    return name.strip(), read["value"]


def make_config(cls: type[Config], values: dict[str, Any], where: str) -> Config:
    """A validated config, or one UserError sentence naming the setting, the value seen and what is allowed."""
    try:
        return cls(**values)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(cls, error)}") from None


def _sentence(cls: type[Config], error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.6)
        said = name.replace("_", " ").lower()
        close += [k for k, f in cls.model_fields.items() if said and said in (f.description or "").lower()]
        return f"unknown setting {name!r}" + (
            f"; did you mean {close[0]!r}?" if close else "; `recipe settings` lists them all"
        )
    return f"{name} = {first['input']!r} is refused: it must be {allowed(cls, name)}"


def allowed(cls: type[Config], name: str) -> str:
    """The values a setting takes, in words: its choices, or its type with its bounds."""
    field = cls.model_fields[name]
    annotation = field.annotation
    if choices := [str(c) for c in get_args(annotation) if isinstance(c, str)]:
        return "one of " + ", ".join(choices)
    words = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}
    kind = words.get(getattr(annotation, "__name__", ""), "") or {
        "list[str]": 'a list of texts, as in ["a", "b"]',
        "list[int]": "a list of whole numbers",
        "float | None": "a number",
    }.get(str(annotation), str(annotation))
    signs = {
        "ge": "at least", "gt": "above", "le": "at most", "lt": "below", "pattern": "of the form",
        "min_length": "of length at least", "max_length": "of length at most",
    }  # fmt: skip
    limits = [(words, getattr(m, sign, None)) for m in field.metadata for sign, words in signs.items()]
    bounds = [f"{words} {value}" for words, value in limits if value is not None]
    return f"{kind} {' and '.join(bounds)}".strip()
