"""From a file of texts to tokens: read, tokenized once by the encoder's own tokenizer, padded batch by batch."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine import given
from ..engine.kinds import plain_number
from ..engine.table import declared, noted, read_table, require_columns
from ..engine.target import as_text, check_target, fit_target, query_numbers, targets
from ..errors import UserError
from ..task import Batch, Data

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Config

LETTERS = 40  # characters kept for each token that may be read: a text of a million is cut before it is tokenized
CHUNK = 2_000  # texts tokenized at a time, to bound memory
UNKNOWN = 0.5  # share of unknown tokens at which a tokenizer plainly does not fit the texts


def load(config: Config, root: Path) -> Data:
    """Read the file, check the text columns, and leave out rows without a target or a text. Raises UserError for bad input."""
    path = root / config.data
    said = declared(config, text=text_columns(config))
    table = given.read(config, root, lambda file: read_table(file, declared=said))
    frame = table.frame.rechunk()  # rows of a frame in one piece are taken without copying their texts
    named = {
        "text": [config.text], "text_pair": [config.text_pair], "target": [config.target], "group": [config.group],
        "time": [config.time], "query": [config.query], "drop": config.drop, "slices": config.slices,
    }  # fmt: skip
    require_columns(named, frame, path)
    for name in text_columns(config):
        frame = frame.with_columns(_texts(frame[name], path))
    left_out = frame[config.target].is_null() | wordless(frame, text_columns(config))
    labeled, unlabeled = frame.filter(~left_out), frame.filter(left_out) if left_out.any() else None
    check_target(config, labeled, path)
    return Data(
        labeled,
        config.target,
        infer_roles(config, labeled),
        given.sources_hash(config, root),
        unlabeled,
        table.kinds,
        noted(config, path, table),
    )


def text_columns(config: Config) -> list[str]:
    """The text column, and that of the second text where there is one."""
    return [name for name in (config.text, config.text_pair) if name]


def wordless(frame: pl.DataFrame, columns: list[str]) -> pl.Series:
    """Whether all texts of a row are missing or blank, bool [n]: nothing to train on, and nothing to answer."""
    blank = [~frame[name].fill_null("").str.contains(r"\S") for name in columns]
    return functools.reduce(operator.and_, blank)


def _texts(column: pl.Series, path: Path) -> pl.Series:
    if column.dtype.is_nested() or column.dtype.is_numeric():
        raise UserError(
            f"column {column.name!r} of {path} holds {column.dtype}, not text; set text in recipe.toml to the column of the texts"
        )
    column = as_text(column)
    if column.null_count() < len(column) and plain_number(column.drop_nulls()):
        raise UserError(
            f"column {column.name!r} of {path} holds numbers alone, not text; set text in recipe.toml to the column of the texts"
        )
    if not column.str.contains(r"\S").any():
        raise UserError(
            f"column {column.name!r} of {path} is empty in every row; set text in recipe.toml to the column that holds the texts"
        )
    return column


def infer_roles(config: Config, frame: pl.DataFrame) -> dict[str, str]:
    """What the settings name has that role; every other column is dropped: the encoder reads texts alone."""
    special = {
        config.group: "group", config.time: "time", config.query: "query", config.text: "text",
        config.text_pair: "text", given.column(config): "part", config.target: "target",
    }  # fmt: skip
    return dict.fromkeys(frame.columns, "drop") | {name: role for name, role in special.items() if name}


def prepare(config: Config, train: Data) -> dict[str, Any]:
    """The target, and all that ties a model to its tokenizer. Nothing is learned from the texts themselves."""
    from .encoder import load_tokenizer, longest, weights_hash

    tokenizer = load_tokenizer(config.encoder)
    if config.max_length > (most := longest(config.encoder)):
        raise UserError(
            f"max_length = {config.max_length} is more than the {most} positions of the encoder; use at most {most}"
        )
    prep = {
        **fit_target(config, train),
        "task": config.task,
        "texts": text_columns(config),
        "encoder": config.encoder,
        "max_length": config.max_length,
        "windows": config.windows,
        "weights": weights_hash(config.encoder, config.weights),
        "tokenizer": tokenizer_hash(config.encoder),
        "pad": tokenizer.pad_token_id,
        "mask": tokenizer.mask_token_id,
        "unknown": tokenizer.unk_token_id,
        "special": sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}),
        "kinds": bool(config.text_pair) and "token_type_ids" in tokenizer.model_input_names,
    }
    share = unknown_share(prep, encode(prep, train.frame.head(1000)).ids)
    if share > UNKNOWN:
        raise UserError(
            f"{share:.0%} of the tokens of {config.text!r} are unknown to the tokenizer of {config.encoder!r}: it is not made for these texts"
        )
    if config.token_masking and prep["mask"] is None:
        raise UserError(
            f"token_masking = {config.token_masking}, but the tokenizer of {config.encoder!r} has no mask token; set it to 0"
        )
    return prep


@functools.lru_cache
def tokenizer_hash(encoder: str) -> str:
    """First 16 hex digits of sha256 over the vocabulary and the special tokens; once a process, it takes as long as the
    network does for some texts."""
    from .encoder import load_tokenizer

    tokenizer = load_tokenizer(encoder)
    content = json.dumps(
        [sorted(tokenizer.get_vocab().items()), sorted(tokenizer.special_tokens_map.items())], default=str
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def unknown_share(prep: dict[str, Any], ids: np.ndarray) -> float:
    """Share of unknown tokens among those that are not special."""
    real = ~np.isin(ids, prep["special"])
    return float((ids[real] == prep["unknown"]).mean()) if real.any() else 0.0


@dataclass
class Tokens:
    """Texts as one long row of tokens. ids, kinds [total]; starts [n + 1]; cut [n]: whether a text lost its end.

    end [n]: at most this many characters of the (first) text are read. windows [w + 1]: where each window starts, one or more a
    text; first [n + 1]: the first window of each text.
    """

    ids: np.ndarray
    kinds: np.ndarray
    windows: np.ndarray
    first: np.ndarray
    cut: np.ndarray
    end: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return self.windows[self.first]


def encode(prep: dict[str, Any], frame: pl.DataFrame) -> Tokens:
    """Tokenize the text columns of a frame, each text once, in windows that each stand between special tokens."""
    from .encoder import load_tokenizer

    tokenizer, most, windows = load_tokenizer(prep["encoder"]), prep["max_length"], prep["windows"]
    letters = LETTERS * most * windows
    if tokenizer_hash(prep["encoder"]) != prep["tokenizer"]:
        raise UserError(
            f"the tokenizer of encoder = {prep['encoder']!r} has changed since this was prepared; put the old one back, or train again"
        )
    whole = [frame[name].fill_null("") for name in prep["texts"]]
    ids, kinds, ends, first = array("i"), array("b"), array("q", [0]), array("q", [0])
    cut, end = array("b"), array("q")
    for at in range(0, frame.height, CHUNK):
        some = [column.slice(at, CHUNK).str.head(letters).to_list() for column in whole]
        for encoding in tokenizer(*some, truncation=True, max_length=most).encodings:
            read = [encoding, *encoding.overflowing[: windows - 1]]
            for window in read:
                ids.extend(window.ids)
                kinds.extend(window.type_ids)
                ends.append(len(ids))
            first.append(len(ends) - 1)
            cut.append(len(encoding.overflowing) >= windows)
            end.append(_end(read[-1]) if cut[-1] else letters)
    long = np.any([(column.str.len_chars() > letters).to_numpy() for column in whole], axis=0)
    lost = np.array(cut, dtype=bool) | long
    return Tokens(
        np.asarray(ids), np.asarray(kinds), np.asarray(ends), np.asarray(first), cut=lost, end=np.asarray(end)
    )


def _end(encoding: Any) -> int:
    return max(
        (span[1] for span, text in zip(encoding.offsets, encoding.sequence_ids, strict=True) if text == 0), default=0
    )


@dataclass
class Texts:
    """A part as tokens. A batch is padded to its own longest text; `lengths` lets the loop put like lengths together."""

    tokens: Tokens
    prep: dict[str, Any]
    y: Tensor
    query: Tensor | None
    lengths: Tensor | None
    masking: float
    seed: int

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, plan: list[Tensor], epoch: int = 0, augment: bool = False) -> Iterator[Batch]:
        """x: "input_ids", "attention_mask" and, for pairs, "token_type_ids", each int64 [b, longest of the batch]; where a text
        may have several windows [b, most windows of the batch, longest]."""
        for rows in plan:
            x = self._padded(rows.cpu().numpy())
            if augment and self.masking:
                self._mask(x, rows.tolist(), epoch)
            yield Batch(x, self.y[rows], rows, None if self.query is None else self.query[rows])

    def _padded(self, rows: np.ndarray) -> dict[str, Tensor]:
        import torch

        tokens, first = self.tokens, self.tokens.first[rows]
        count = self.tokens.first[rows + 1] - first
        window = first[:, None] + np.arange(count.max())  # [b, c]
        there = window < (first + count)[:, None]
        window = np.where(there, window, 0)
        start = tokens.windows[window]
        length = np.where(there, tokens.windows[window + 1] - start, 0)
        place = np.arange(length.max())
        real = place < length[..., None]  # [b, c, t]
        at = np.where(real, start[..., None] + place, 0)
        x = {"input_ids": np.where(real, self.tokens.ids[at], self.prep["pad"]), "attention_mask": real}
        if self.prep["kinds"]:
            x["token_type_ids"] = np.where(real, self.tokens.kinds[at], 0)
        made = {name: torch.from_numpy(array.astype(np.int64)) for name, array in x.items()}
        return made if self.prep["windows"] > 1 else {name: tensor[:, 0] for name, tensor in made.items()}

    def _mask(self, x: dict[str, Tensor], rows: list[int], epoch: int) -> None:
        """Replace a share of the ordinary tokens by the mask token, in place; drawn from (seed, epoch, row) alone."""
        import torch

        from ..engine.seed import generator

        special = torch.tensor(self.prep["special"])
        for ids, mask, row in zip(x["input_ids"], x["attention_mask"].bool(), rows, strict=True):
            words = ids[mask]
            chosen = torch.rand(len(words), generator=generator(self.seed, epoch, row)) < self.masking
            ids[mask] = torch.where(chosen & ~torch.isin(words, special), self.prep["mask"], words)


def examples(config: Config, prep: dict[str, Any], data: Data) -> Texts:
    """Tokenize a part. Classes unseen in training raise UserError."""
    import torch

    tokens = encode(prep, data.frame)
    y = torch.from_numpy(targets(config, prep, data))
    lengths = torch.from_numpy(np.diff(tokens.starts))
    return Texts(tokens, prep, y, query_numbers(config, data), lengths, config.token_masking, config.seed)


def show(prep: dict[str, Any], batch: Batch, row: int) -> dict[str, Any]:
    """One example decoded back from its tokens, special ones included, as the encoder reads it."""
    from .encoder import load_tokenizer

    ids = batch.x["input_ids"][row][batch.x["attention_mask"][row].bool()].tolist()
    words = load_tokenizer(prep["encoder"]).decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return {"tokens": words, "length": len(ids), "unknown": ids.count(prep["unknown"])}


def validate_rows(prep: dict[str, Any], frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Texts to predict: a row needs words in at least one of its texts."""
    none = wordless(frame, prep["texts"])
    return frame, ["has no text" if lacking else "" for lacking in none]


def monitored_features(prep: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """What is cheap to say of a text: its length, its words, and how much of it is no plain English letter."""
    columns = []
    for name in prep["texts"]:
        text = frame[name].fill_null("")
        letters, words = text.str.len_chars().cast(pl.Float64), text.str.count_matches(r"\S+").cast(pl.Float64)
        some = letters.clip(1)
        columns += [
            letters.alias(f"{name}: characters"),
            (letters / words.clip(1)).alias(f"{name}: characters a word"),
            (text.str.count_matches(r"[^\x00-\x7F]") / some).alias(f"{name}: share outside ASCII"),
            (text.str.count_matches(r"[0-9]") / some).alias(f"{name}: share of digits"),
            (text.str.count_matches(r"[[:punct:]]") / some).alias(f"{name}: share of punctuation"),
        ]
    return pl.DataFrame(columns)
