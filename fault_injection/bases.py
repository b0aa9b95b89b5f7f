"""Controls projects: the ground that faults are injected in. Small real tables and made texts, so that a trial costs seconds.

A base gives rows for a seed: those of the project, and clean ones that the project never sees, on which a trained model
is scored honestly. Rows are drawn anew for every seed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "demo"))

Rows = Callable[[np.random.Generator], tuple[pl.DataFrame, pl.DataFrame]]


def write_table(rows: pl.DataFrame, path: Path) -> None:
    """Rows as they are."""
    rows.write_csv(path)


def write_pictures(rows: pl.DataFrame, path: Path) -> None:
    """Pixels p0 to p63 of each row as a PNG of 16 x 16 beside a table of paths; `kind`, where there is one, is the format."""
    from PIL import Image

    folder = path.parent / path.stem
    folder.mkdir()
    pixels = rows.select([f"p{i}" for i in range(64)]).to_numpy().reshape(-1, 8, 8)
    kinds = rows["kind"].to_list() if "kind" in rows.columns else ["png"] * len(rows)
    names = [f"{folder.name}/{i:04d}.{kind}" for i, kind in enumerate(kinds)]
    for image, name in zip(pixels, names, strict=True):
        if np.isnan(image).any():
            (path.parent / name).write_bytes(b"half a file")
        else:
            gray = np.kron(image * 15, np.ones((2, 2))).clip(0, 255).astype(np.uint8)
            Image.fromarray(gray).convert("RGB").save(path.parent / name)
    pl.DataFrame({"path": names, "target": rows["target"]}).write_csv(path)


@dataclass(frozen=True)
class Base:
    """rows: generator -> (rows of the project, held-out rows). modality and task as in cookiecutter.json.

    write: rows -> the table at a path, and what belongs to it. service: whether the model is exported, and asked and
    watched on new rows, instead of taken through the whole recipe.
    """

    name: str
    rows: Rows
    task: str
    settings: dict[str, Any] = field(default_factory=dict)
    modality: str = "tabular"
    write: Callable[[pl.DataFrame, Path], None] = write_table
    service: bool = False


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    blocks = bunch.data.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))  # 8 x 8 pixels to 4 x 4
    six = bunch.target < 6  # trees over ten classes would cost more than all the rest of a trial
    return blocks.reshape(-1, 16)[six], bunch.target[six]


def _frame(x: np.ndarray, y: np.ndarray, names: list[str]) -> pl.DataFrame:
    return pl.DataFrame({name: np.round(x[:, i], 4) for i, name in enumerate(names)} | {"target": y})


def _cut(frame: pl.DataFrame, n: int, random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    order = random.permutation(frame.height)
    return frame[order[:n]], frame[order[n:]]


def digits(random: np.random.Generator, n: int = 700) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hand-written digits as 4 x 4 pixels in 16 columns; six classes."""
    x, y = _digits()
    return _cut(_frame(x, np.array([f"d{v}" for v in y]), [f"p{i}" for i in range(16)]), n, random)


def writers(random: np.random.Generator, n: int = 800, copies: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Digits seen several times each with noise, as frames of one film are; `source` says which belong together."""
    x, y = _digits()
    order = random.permutation(len(y))
    chosen, rest = order[: n // copies].repeat(copies), order[n // copies :]
    seen = x[chosen] + random.normal(0, 1.0, size=(len(chosen), 16))
    frame = _frame(seen, np.array([f"d{v}" for v in y[chosen]]), [f"p{i}" for i in range(16)])
    frame = frame.with_columns(pl.Series("source", [f"film {i // copies}" for i in range(len(chosen))]))
    held = _frame(
        x[rest] + random.normal(0, 1.0, size=(len(rest), 16)),
        np.array([f"d{v}" for v in y[rest]]),
        [f"p{i}" for i in range(16)],
    )
    return frame, held.with_columns(pl.Series("source", [f"other {i}" for i in range(len(rest))]))


@cache
def _table(name: str) -> pl.DataFrame:
    import data

    with tempfile.TemporaryDirectory() as folder:
        getattr(data, name)(Path(folder) / "table.csv")
        return pl.read_csv(Path(folder) / "table.csv", infer_schema_length=None)


def cancer(random: np.random.Generator, n: int = 380) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Wisconsin breast cancer: the ten mean measurements; malignant or benign."""
    frame = _table("breast_cancer")
    return _cut(frame.select([*frame.columns[:10], "target"]), n, random)


def diabetes(random: np.random.Generator, n: int = 330) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Progression of diabetes after a year, a number."""
    return _cut(_table("diabetes"), n, random)


@cache
def _flights() -> pl.DataFrame:
    frame = _table("flights").filter(pl.col("late").is_not_null())
    known = ["month", "day", "sched_dep_time", "carrier", "origin", "dest", "distance", "hour", "time_hour", "late"]
    return frame.select(known)


def flights(random: np.random.Generator, n: int = 1600) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flights of nine days in January, known columns only, in order of time; held out: the two days after the last."""
    frame = _flights()
    first = int(random.integers(1, 20))
    days = frame.filter(pl.col("month") == 1)
    ours = days.filter(pl.col("day").is_between(first, first + 8))
    rows = np.sort(random.choice(ours.height, n, replace=False))
    later = days.filter(pl.col("day").is_between(first + 9, first + 10))
    return ours[rows].drop("month"), later.drop("month")


def shop(random: np.random.Generator, n: int = 1200) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Made orders with categories and numbers: is an order returned? A third of what decides is in the categories."""
    rows = n + 1000
    brand = random.choice([f"brand {c}" for c in "ABCDEFGH"], rows)
    size = random.choice(["small", "medium", "large"], rows)
    price = np.exp(random.normal(3.5, 0.6, rows))
    weight = random.gamma(3.0, 0.5, rows)
    days = random.poisson(6, rows)
    width = random.normal(20, 4, rows)
    effect = dict(zip(sorted(set(brand)), np.linspace(-1.6, 1.6, 8), strict=True))
    logit = np.array([effect[b] for b in brand]) + 1.2 * (size == "small") + 1.3 * (np.log(price) - 3.5) / 0.6
    logit += 0.9 * (weight - 1.5) + 0.35 * (days - 6) + 0.15 * (width - 20) - 0.5
    returned = random.random(rows) < 1 / (1 + np.exp(-1.3 * logit))
    frame = pl.DataFrame(
        {
            "brand": brand, "size": size, "price": price.round(2), "weight": weight.round(3), "days": days,
            "width": width.round(2), "returned": np.where(returned, "yes", "no"),
        }
    )  # fmt: skip
    return frame[:n], frame[n:]


def pictures(random: np.random.Generator, n: int = 280) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hand-written digits as pictures; four classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    four = bunch.target < 4
    names = np.array([f"d{v}" for v in bunch.target[four]])
    return _cut(_frame(bunch.data[four], names, [f"p{i}" for i in range(64)]), n, random)


TOPICS = {"sea": "wave tide salt fish boat sail harbour gull", "wood": "oak pine moss leaf bark fern owl trail"}
COMMON = "the a of and in over under near with slow quick old new small large"


def texts(random: np.random.Generator, n: int = 240) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sentences of common words in which two words tell sea from wood; one of them may be of the other topic."""
    rows = []
    for i in range(n + 400):
        label = ("sea", "wood")[i % 2]
        own, other = (TOPICS[label].split(), TOPICS["wood" if label == "sea" else "sea"].split())
        told = [*random.choice(own, 3), *random.choice(other, int(random.integers(0, 2)))]
        words = random.permutation([*random.choice(COMMON.split(), int(random.integers(3, 14))), *told])
        rows.append((" ".join(words), label))
    frame = pl.DataFrame(rows, schema=["text", "label"], orient="row")
    return frame[:n], frame[n:]


def waves(random: np.random.Generator, n: int = 240) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A long table of slow and fast waves, 8 to 20 steps each, under noise; beside them noise with gaps, and a place."""
    rows = []
    for i in range(n + 240):
        length, fast, start = int(random.integers(8, 21)), int(random.integers(2)), random.uniform(0, 6)
        place = str(random.choice(["hill", "lake"]))
        for at in range(length):
            wave = round(float(3 * np.sin(start + at * (0.5 + 0.5 * fast)) + random.normal() + 20), 3)
            noise = None if random.random() < 0.1 else round(float(random.normal()), 3)
            rows.append((f"w{i:03d}", at, place, wave, noise, ("slow", "fast")[fast]))
    frame = pl.DataFrame(rows, schema=["who", "at", "place", "wave", "noise", "target"], orient="row", infer_schema_length=None)
    held = frame["who"].str.slice(1).cast(pl.Int64) >= n
    return frame.filter(~held), frame.filter(held)


def demand(random: np.random.Generator, days: int = 300) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A long table of what five places need a day: a level that drifts, a week that repeats itself, noise, few gaps, and how warm it is."""
    rows = []
    for place in ("a", "b", "c", "d", "e"):
        level = random.uniform(40, 80)
        for day in range(days):
            level += float(random.normal()) / 3
            warm = round(float(10 * np.sin(day / 58) + random.normal()), 2)
            need = level + (0, 1, 2, 2, 1, -6, -8)[day % 7] + float(random.normal())
            rows.append((place, day, None if random.random() < 0.01 else round(need, 2), warm))
    frame = pl.DataFrame(rows, schema=["place", "day", "target", "warm"], orient="row", infer_schema_length=None)
    held = frame["place"].is_in(["d", "e"])
    return frame.filter(~held), frame.filter(held)


COMMON_SETTINGS = {"tracker": "none", "device": "cpu", "bootstrap": 300}
TABLE = {**COMMON_SETTINGS, "hidden": 48, "layers": 3, "batch_size": 32, "lr": 3e-3, "epochs": 12, "patience": 6}
DIGITS = {**TABLE, "iid": "one image a writer"}
SHOP = {**TABLE, "iid": "one order a customer", "target": "returned", "epochs": 12}
TEXT = {
    **COMMON_SETTINGS, "iid": "drawn one by one", "target": "label", "max_length": 32, "batch_size": 16, "lr": 1e-3, "epochs": 5,
    "weights": "none", "encoder": "encoder",
}  # fmt: skip

PICTURES = {
    **COMMON_SETTINGS, "iid": "one picture a writer", "data": "data/train.csv", "image": "path", "target": "target", "size": 16,
    "weights": "none", "batch_size": 16, "lr": 1e-2, "epochs": 12, "patience": 5,
}  # fmt: skip
SMALL = {**COMMON_SETTINGS, "hidden": 16, "layers": 2, "batch_size": 16, "lr": 3e-3, "epochs": 8}
WAVES = {**SMALL, "iid": "one wave each", "series": "who", "step": "at", "static": ["place"], "target": "target"}
DEMAND = {
    **SMALL, "series": "place", "step": "day", "time": "day", "target": "target", "horizon": 7, "season": 7, "max_length": 28,
    "epochs": 4,
}  # fmt: skip
CHANGED = {**PICTURES, "augment": ["jitter"], "label_preserving": "ink has no color"}

BASES = {
    base.name: base
    for base in (
        Base("digits", digits, "multiclass", DIGITS),
        Base("digits sgd", digits, "multiclass", {**DIGITS, "optimizer": "sgd", "lr": 0.05}),
        Base(
            "digits sgd accumulated", digits, "multiclass", {**DIGITS, "optimizer": "sgd", "lr": 0.2, "accumulate": 4}
        ),
        Base("digits dropout", digits, "multiclass", {**DIGITS, "dropout": 0.3}),
        Base("digits few", lambda random: digits(random, 240), "multiclass", {**DIGITS, "epochs": 60, "patience": 0}),
        Base("writers", writers, "multiclass", {**TABLE, "group": "source"}),
        Base("cancer", cancer, "binary", {**TABLE, "iid": "one row a patient"}),
        Base("shop", shop, "binary", SHOP),
        Base("shop served", shop, "binary", {**SHOP, "epochs": 4}, service=True),
        Base("cancer served", cancer, "binary", {**TABLE, "iid": "one row a patient", "epochs": 4}, service=True),
        Base("diabetes", diabetes, "regression", {**TABLE, "iid": "one row a patient", "lr": 1e-3}),
        Base(
            "flights",
            flights,
            "binary",
            {**TABLE, "target": "late", "time": "time_hour", "epochs": 5, "batch_size": 64},
        ),
        Base("pictures", pictures, "multiclass", PICTURES, "image", write_pictures),
        Base("pictures augmented", pictures, "multiclass", CHANGED, "image", write_pictures),
        Base("texts", texts, "binary", TEXT, "text"),
        Base("texts masked", texts, "binary", {**TEXT, "token_masking": 0.15}, "text"),
        Base("waves", waves, "binary", WAVES, "sequence"),
        Base("demand", demand, "regression", DEMAND, "sequence"),
    )
}


def recipe(baked: str, settings: dict[str, Any]) -> str:
    """recipe.toml of a baked project with these settings instead of its own."""
    kept = [line for line in baked.removesuffix("\n").split("\n") if line.split(" = ")[0] not in settings]
    return "\n".join([*kept, *(f"{name} = {json.dumps(value)}" for name, value in settings.items()), ""])


# Folder name -> share of our words that its tokenizer does not know.
ENCODERS = {"encoder": 0.0, "encoder-taught": 0.0, "encoder-third": 0.3, "encoder-most": 0.6, "encoder-foreign": 1.0}


def encoder(folder: Path) -> None:
    """A tiny BERT with random weights, and a tokenizer of whole words that knows as many as ENCODERS says."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words = " ".join([*TOPICS.values(), COMMON, "page not found error"]).split()
    known = [w for w in words if np.random.default_rng(len(w) + 31 * ord(w[0])).random() >= ENCODERS[folder.name]]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(known))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64, model_input_names=["input_ids", "attention_mask", "token_type_ids"],
    )  # fmt: skip
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", vocab_size=len(fast), max_position_embeddings=66, pad_token_id=0, **shape)
    model = AutoModel.from_config(config)
    if folder.name == "encoder-taught":
        teach(model, fast)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


def teach(model: Any, tokenizer: Any, steps: int = 150) -> None:
    """Give the weights something to know: which topic other texts of the kind are about."""
    import torch

    frame = texts(np.random.default_rng(99), 800)[0]
    x = tokenizer(frame["text"].to_list(), padding=True, return_tensors="pt")
    y = torch.tensor((frame["label"] == "sea").to_numpy()).float()
    head = torch.nn.Linear(32, 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-3)
    for i in range(steps):
        rows = torch.arange(i * 32, i * 32 + 32) % len(y)
        hidden = model(**{name: tensor[rows] for name, tensor in x.items()}).last_hidden_state[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(hidden)[:, 0], y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
