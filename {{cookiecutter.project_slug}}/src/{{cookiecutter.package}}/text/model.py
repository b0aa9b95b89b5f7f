"""A pretrained encoder with its own tokenizer, a head on its pooled output, and the ways to adapt it: all, part, or LoRA."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.files import sha256
from ..engine.target import prior_logits
from ..errors import UserError
from ..task import Batch

if TYPE_CHECKING:
    from .recipe import Config

FILES = ["config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model", "*.safetensors*", "1_Pooling/config.json"]
FAST = 10.0  # head and LoRA matrices start from nothing; the encoder only needs a nudge (Hu et al. 2022 use about 10x)
PADDED = 128  # embedding rows beyond the vocabulary that some encoders keep, to reach a round number
OFFSET = ("roberta", "camembert", "mpnet")  # families whose positions start after the padding id


@lru_cache
def find_encoder(encoder: str) -> Path:
    """Folder with the encoder's files: a folder here or above, the hub's cache, or a download. Never pickled weights."""
    path = Path(encoder).expanduser()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / path).is_dir():
            if not (folder / path / "config.json").is_file():
                raise UserError(f"encoder = {encoder!r} is a folder without config.json; copy the whole folder of the encoder there")
            return folder / path
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", encoder):
        raise UserError(f"encoder = {encoder!r} is not a folder, and no hub id (like bert-base-uncased or owner/name) either")
    return _from_hub(encoder)


def _from_hub(encoder: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    why: Exception | None = None
    for cached in (True, False):  # what is there already is used as it is: no look-up, no change between runs
        try:
            folder = Path(snapshot_download(encoder, allow_patterns=FILES, local_files_only=cached, etag_timeout=10))
        except RepositoryNotFoundError:
            raise UserError(f"encoder = {encoder!r}: the hub has no public model of this name; mend the name, or use a folder") from None
        except Exception as error:  # the hub's client raises whatever its connection raises
            why = error
            continue
        if (folder / "config.json").is_file() and (list(folder.glob("*.safetensors")) or not cached):
            return folder
    raise UserError(
        f"encoder = {encoder!r} is not a folder, not in the cache, and the hub cannot be reached ({type(why).__name__}); three ways on: "
        f"(1) set encoder to a folder that holds config.json, tokenizer.json and model.safetensors; (2) run `hf download {encoder}` where there is "
        f"a connection and copy ~/.cache/huggingface/hub/models--{encoder.replace('/', '--')} to this machine; (3) set weights = \"none\" and encoder "
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
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"the {what} in {folder} cannot be read: {first}; copy the encoder's folder again, or choose another encoder") from None


@lru_cache
def load_settings(encoder: str) -> Any:
    """The encoder's config. Code that comes with a model is never run."""
    from transformers import AutoConfig

    folder = find_encoder(encoder)
    settings = _read("config", folder, lambda: AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    if getattr(settings, "is_encoder_decoder", False) or not hasattr(settings, "num_hidden_layers"):
        raise UserError(f"encoder = {encoder!r} is a {settings.model_type}, not a BERT-family encoder; use BERT, RoBERTa, DistilBERT, MiniLM or the like")
    return settings


@lru_cache
def load_tokenizer(encoder: str) -> Any:
    """The encoder's own tokenizer. Raises UserError when the one in its folder belongs to another model."""
    from transformers import AutoTokenizer

    folder, settings = find_encoder(encoder), load_settings(encoder)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise UserError(f"{folder} holds no tokenizer (tokenizer.json); an encoder only understands its own: copy it there")
    tokenizer = _read("tokenizer", folder, lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    if why := _foreign(folder, tokenizer, settings):
        raise UserError(f"the tokenizer in {folder} belongs to another model: {why}; copy the tokenizer files of this very encoder there")
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
    return int(min(getattr(settings, "max_position_embeddings", None) or 10**6, tokenizer.model_max_length + offset)) - offset


@lru_cache
def weights_hash(encoder: str, weights: str) -> str:
    """What the pretrained weights are, so that an adapter never meets another encoder; 'none' for random ones."""
    return "none" if weights == "none" else "".join(sha256(path)[:16] for path in sorted(find_encoder(encoder).glob("*.safetensors")))


def load_encoder(config: Config) -> Any:
    """The encoder with its weights, float32, without the pooler. Raises UserError rather than fill gaps at random."""
    from transformers import AutoModel

    folder, settings = find_encoder(config.encoder), copy.deepcopy(load_settings(config.encoder))
    if config.weights == "none":
        encoder = _read("config", folder, lambda: AutoModel.from_config(settings, dtype=torch.float32))
    else:
        if not list(folder.glob("*.safetensors")):
            raise UserError(f"{folder} holds no *.safetensors; pickled weights can run code and are not loaded: convert them, or use weights = \"none\"")
        safe: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
        load = lambda: AutoModel.from_pretrained(folder, config=settings, dtype=torch.float32, output_loading_info=True, **safe)  # noqa: E731
        encoder, report = _read("weights", folder, load)
        gaps = sorted(str(name) for name in (*report["missing_keys"], *report["mismatched_keys"]) if not str(name).startswith("pooler."))
        if gaps:
            raise UserError(f"the weights in {folder} lack {len(gaps)} tensors that its config asks for ({gaps[0]}, ...); copy the encoder's folder again")
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # trained for next-sentence prediction, if at all; the head reads the hidden states
    return encoder


def pooling(encoder: str) -> str:
    """How the encoder was trained to be read: its 1_Pooling/config.json says cls or mean; mean where it says nothing."""
    path = find_encoder(encoder) / "1_Pooling" / "config.json"
    return "cls" if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token") else "mean"


class Classifier(nn.Module):
    """x: {"input_ids", "attention_mask" and, for pairs, "token_type_ids": [b, t]} -> outputs [b, k]."""

    def __init__(self, encoder: Any, pool: str, dropout: float, outputs: int, pretrained: bool) -> None:
        super().__init__()
        self.encoder, self.pool, self.pretrained = encoder, pool, pretrained
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)  # as BERT's own layers

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.head(self.dropout(self.embed(x)))  # [b, k]

    def embed(self, x: dict[str, Tensor]) -> Tensor:
        """One vector per text [b, d]: the first token's, or the mean over all real tokens."""
        hidden = self.encoder(**x).last_hidden_state  # [b, t, d]
        if self.pool == "cls":
            return hidden[:, 0]
        mask = x["attention_mask"].unsqueeze(2).to(hidden.dtype)  # [b, t, 1]
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def train(self, mode: bool = True) -> Classifier:
        """A wholly frozen encoder stays in evaluation mode: its dropout would only blur fixed features."""
        super().train(mode)
        if not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()
        return self


def make_model(config: Config, prep: dict[str, Any]) -> Classifier:
    """Encoder and head, adapted as the knobs say; the head's bias starts at the class shares."""
    if prep["weights"] != weights_hash(config.encoder, config.weights):
        raise UserError(f"encoder = {config.encoder!r} has other weights than when this was prepared; put the old ones back, or train again")
    model = Classifier(load_encoder(config), pooling(config.encoder), config.dropout, prep["outputs"], config.weights != "none")
    with torch.no_grad():
        model.head.bias.copy_(prior_logits(prep))
    if config.adapt == "lora":
        model.encoder = add_lora(config, model.encoder)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen(config, name))
    return model


def add_lora(config: Config, encoder: Any) -> Any:
    """Low-rank updates (Hu et al. 2022) beside the targeted linear layers, all of them by default; B starts at zero."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, lora_dropout=config.dropout, target_modules=config.lora_targets or "all-linear")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(encoder, settings)
    except ValueError:
        linear = sorted({name.rpartition(".")[2] for name, module in encoder.named_modules() if isinstance(module, nn.Linear)})
        raise UserError(f"lora_targets = {config.lora_targets} names no linear layer of the encoder; it has {', '.join(linear)}") from None


def merge(model: Classifier) -> Classifier:
    """A copy with the LoRA updates added into the weights: a plain encoder of the same outputs and the old speed."""
    merged = copy.deepcopy(model)
    merged.encoder = merged.encoder.merge_and_unload()
    return merged


def state(model: Classifier) -> dict[str, Tensor]:
    """What a checkpoint holds: all but the frozen pretrained tensors, so that a LoRA checkpoint is its adapter alone."""
    given = {name for name, p in model.named_parameters() if model.pretrained and not p.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in given}


def load_state(model: Classifier, tensors: dict[str, Tensor]) -> None:
    """Put back what `state` returned. Raises RuntimeError when names or shapes differ."""
    if odd := sorted(state(model).keys() ^ tensors.keys()):
        raise RuntimeError(f"the checkpoint and the model differ in {len(odd)} tensors, such as {odd[0]}")
    model.load_state_dict(tensors, strict=False)


def depth(name: str) -> int:
    """0 for embeddings, 1 for what belongs to the first layer, and so on."""
    layer = re.search(r"\.layers?\.(\d+)\.", name)
    return int(layer.group(1)) + 1 if layer else 0


def frozen(config: Config, name: str) -> bool:
    """Whether `adapt` keeps this parameter as it was pretrained."""
    if name.startswith("head.") or config.adapt == "full":
        return False
    if config.adapt == "early":
        return depth(name) <= load_settings(config.encoder).num_hidden_layers // 2
    return config.adapt == "frozen" or "lora_" not in name


def rate_scale(config: Config, name: str) -> float:
    """Ten times the rate for head and LoRA; `layer_decay` once for each layer between this parameter and the head."""
    if name.startswith("head."):
        return FAST
    below = load_settings(config.encoder).num_hidden_layers - depth(name)
    return (FAST if "lora_" in name else 1.0) * config.layer_decay**below


@torch.no_grad()
def explain(prep: dict[str, Any], model: Classifier, batch: Batch, row: int) -> dict[str, Any]:
    """Where one example's attention goes: its tokens, and how much of the pooled output flows from each.

    weights: attention rollout (Abnar and Zuidema 2020) over all layers, summing to 1. map: attention of the last layer,
    mean over heads, [t, t], row attends to column. Attention shows where a network looks, not why it answers.
    """
    device = next(model.parameters()).device
    n = int(batch.x["attention_mask"][row].sum())
    x = {name: tensor[row : row + 1, :n].to(device) for name, tensor in batch.x.items()}
    encoder, was_training = model.encoder, model.training
    usual = encoder.config._attn_implementation
    model.eval()
    encoder.set_attn_implementation("eager")  # the fused kernel never forms the attention matrix
    layers = [layer[0].float().mean(dim=0) for layer in encoder(**x, output_attentions=True).attentions]  # [t, t] each
    encoder.set_attn_implementation(usual)
    model.train(was_training)
    flow = torch.eye(n, device=device)
    for attention in layers:
        flow = (attention + torch.eye(n, device=device)) / 2 @ flow
    weights = flow[0] if model.pool == "cls" else flow.mean(dim=0)
    tokens = load_tokenizer(prep["encoder"]).convert_ids_to_tokens(x["input_ids"][0].tolist())
    return {"tokens": tokens, "weights": [round(w, 4) for w in weights.tolist()], "map": [[round(v, 3) for v in line] for line in layers[-1].tolist()]}
