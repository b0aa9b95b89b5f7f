"""The pretrained encoder and its own tokenizer, from a folder or the hub: found, checked, and never a trace of noise."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.files import sha256
from ..errors import UserError, first_line

if TYPE_CHECKING:
    from .recipe import Config

FILES = [
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
    "*.safetensors*",
    "1_Pooling/config.json",
]
PADDED = 128  # embedding rows beyond the vocabulary that some encoders keep, to reach a round number
OFFSET = ("roberta", "camembert", "mpnet")  # families whose positions start after the padding id


@lru_cache
def find_encoder(encoder: str) -> Path:
    """Folder with the encoder's files: a folder here or above, the hub's cache, or a download. Never pickled weights."""
    path = Path(encoder).expanduser()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / path).is_dir():
            if not (folder / path / "config.json").is_file():
                raise UserError(
                    f"encoder = {encoder!r} is a folder without config.json; copy the whole folder of the encoder there"
                )
            return folder / path
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", encoder):
        raise UserError(
            f"encoder = {encoder!r} is not a folder, and no hub id (like bert-base-uncased or owner/name) either"
        )
    return _from_hub(encoder)


def _from_hub(encoder: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    why: Exception | None = None
    for cached in (True, False):  # what is there already is used as it is: no look-up, no change between runs
        try:
            folder = Path(snapshot_download(encoder, allow_patterns=FILES, local_files_only=cached, etag_timeout=10))
        except RepositoryNotFoundError:
            raise UserError(
                f"encoder = {encoder!r}: the hub has no public model of this name; fix the name, or use a folder"
            ) from None
        except Exception as error:  # the hub's client raises whatever its connection raises
            why = error
            continue
        if (folder / "config.json").is_file() and (list(folder.glob("*.safetensors")) or not cached):
            return folder
    raise UserError(
        f"encoder = {encoder!r} is not a folder, not in the cache, and the hub cannot be reached ({type(why).__name__}); three ways on: "
        f"(1) set encoder to a folder that holds config.json, tokenizer.json and model.safetensors; (2) run `hf download {encoder}` where there is "
        f'a connection and copy ~/.cache/huggingface/hub/models--{encoder.replace("/", "--")} to this machine; (3) set weights = "none" and encoder '
        "to a folder that holds only config.json and tokenizer.json, to train from random weights"
    )


def _read(what: str, folder: Path, load: Callable[[], Any]) -> Any:
    """Call the library without its noise; whatever it raises about this folder becomes one sentence."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load()
    except Exception as error:
        raise UserError(
            f"the {what} in {folder} cannot be read: {first_line(error)}; copy the encoder's folder again, or choose another encoder"
        ) from None


@lru_cache
def load_settings(encoder: str) -> Any:
    """The encoder's config. Code that comes with a model is never run."""
    from transformers import AutoConfig

    folder = find_encoder(encoder)
    settings = _read(
        "config", folder, lambda: AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    )
    if getattr(settings, "is_encoder_decoder", False) or not hasattr(settings, "num_hidden_layers"):
        raise UserError(
            f"encoder = {encoder!r} is a {settings.model_type}, not a BERT-family encoder; use BERT, RoBERTa, DistilBERT, MiniLM or the like"
        )
    return settings


@lru_cache
def load_tokenizer(encoder: str) -> Any:
    """The encoder's own tokenizer. Raises UserError when the one in its folder belongs to another model."""
    from transformers import AutoTokenizer

    folder, settings = find_encoder(encoder), load_settings(encoder)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise UserError(
            f"{folder} holds no tokenizer (tokenizer.json); an encoder only understands its own: copy it there"
        )
    tokenizer = _read(
        "tokenizer",
        folder,
        lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
    )
    if why := _foreign(folder, tokenizer, settings):
        raise UserError(
            f"the tokenizer in {folder} belongs to another model: {why}; copy the tokenizer files of this very encoder there"
        )
    return tokenizer


def _foreign(folder: Path, tokenizer: Any, settings: Any) -> str:
    """Why this tokenizer cannot be the encoder's, in a few words; '' when nothing speaks against it."""
    rows, size = settings.vocab_size, len(tokenizer)
    if not (size == rows or (0 < rows - size < PADDED and rows % 4 == 0)):
        return f"it has {size:,} tokens for {rows:,} embedding rows"
    if not getattr(tokenizer, "is_fast", False) or tokenizer.pad_token_id is None or tokenizer.unk_token_id is None:
        return "it is not a fast tokenizer with a padding and an unknown token"
    for name in ("pad", "bos", "eos"):
        wanted, there = getattr(settings, f"{name}_token_id", None), getattr(tokenizer, f"{name}_token_id")
        if wanted is not None and there is not None and wanted != there:
            return f"its {name} token has number {there}, the encoder's has {wanted}"
    listed = folder / "vocab.txt"
    if listed.is_file() and (folder / "tokenizer.json").is_file():
        words = listed.read_text(encoding="utf-8").split("\n")
        known = tokenizer.get_vocab()
        if wrong := next((word for i, word in enumerate(words) if word and known.get(word) != i), ""):
            return f"vocab.txt and tokenizer.json disagree on {wrong!r}"
    return ""


def longest(encoder: str) -> int:
    """Most tokens that the encoder has positions for."""
    settings, tokenizer = load_settings(encoder), load_tokenizer(encoder)
    offset = tokenizer.pad_token_id + 1 if any(family in settings.model_type for family in OFFSET) else 0
    return (
        int(min(getattr(settings, "max_position_embeddings", None) or 10**6, tokenizer.model_max_length + offset))
        - offset
    )


@lru_cache
def weights_hash(encoder: str, weights: str) -> str:
    """What the pretrained weights are, so that an adapter never meets another encoder; 'none' for random ones."""
    return (
        "none"
        if weights == "none"
        else "".join(sha256(path)[:16] for path in sorted(find_encoder(encoder).glob("*.safetensors")))
    )


def load_encoder(config: Config) -> Any:
    """The encoder with its weights, float32, without the pooler. Raises UserError rather than fill gaps at random."""
    import torch
    from transformers import AutoModel

    folder, settings = find_encoder(config.encoder), copy.deepcopy(load_settings(config.encoder))
    if config.weights == "none":
        encoder = _read("config", folder, lambda: AutoModel.from_config(settings, dtype=torch.float32))
    else:
        if not list(folder.glob("*.safetensors")):
            raise UserError(
                f'{folder} holds no *.safetensors; pickled weights can run code and are not loaded: convert them, or use weights = "none"'
            )
        safe: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
        how = {"config": settings, "dtype": torch.float32, "output_loading_info": True, **safe}
        encoder, report = _read("weights", folder, lambda: AutoModel.from_pretrained(folder, **how))
        gaps = sorted(
            str(name)
            for name in (*report["missing_keys"], *report["mismatched_keys"])
            if not str(name).startswith("pooler.")
        )
        if gaps:
            raise UserError(
                f"the weights in {folder} lack {len(gaps)} tensors that its config asks for ({gaps[0]}, ...); copy the encoder's folder again"
            )
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # trained for next-sentence prediction, if at all; the head reads the hidden states
    return encoder


def pooling(encoder: str) -> str:
    """How the encoder was trained to be read: its 1_Pooling/config.json says cls or mean; mean where it says nothing."""
    path = find_encoder(encoder) / "1_Pooling" / "config.json"
    return (
        "cls"
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token")
        else "mean"
    )
