"""A pretrained encoder with its own tokenizer, a head on its pooled output, and the ways to adapt it: all, part, or LoRA."""

from __future__ import annotations

import copy
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.target import prior_logits
from ..errors import UserError
from ..task import Batch
from .encoder import FILES, find_encoder, load_encoder, load_settings, load_tokenizer, pooling, weights_hash

if TYPE_CHECKING:
    from .recipe import Config

FAST = 10.0  # head and LoRA matrices start from nothing; the encoder only needs a nudge (Hu et al. 2022 use about 10x)


class Classifier(nn.Module):
    """x: {"input_ids", "attention_mask" and, for pairs, "token_type_ids": [b, t], or [b, c, t] of c windows} -> outputs [b, k]."""

    def __init__(self, encoder: Any, pool: str, dropout: float, outputs: int, pretrained: bool) -> None:
        super().__init__()
        self.encoder, self.pool, self.pretrained = encoder, pool, pretrained
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)  # as BERT's own layers

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.head(self.dropout(self.embed(x)))  # [b, k]

    def embed(self, x: dict[str, Tensor]) -> Tensor:
        """One vector per text [b, d]: the first token's, or the mean over all real tokens; of several windows, the mean, each
        by its tokens."""
        if x["input_ids"].dim() == 3:
            real = x["attention_mask"].sum(dim=2, keepdim=True)  # [b, c, 1] tokens of each window
            read = real.squeeze(2) > 0
            vectors = self.embed({name: tensor[read] for name, tensor in x.items()})
            each = vectors.new_zeros(*read.shape, vectors.shape[1])
            each[read] = vectors
            return (each * real).sum(dim=1) / real.sum(dim=1)
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
    """Encoder and head, adapted as the settings say; the head's bias starts at the class shares."""
    if prep["weights"] != weights_hash(config.encoder, config.weights):
        raise UserError(
            f"encoder = {config.encoder!r} has other weights than when this was prepared; put the old ones back, or train again"
        )
    model = Classifier(
        load_encoder(config), pooling(config.encoder), config.dropout, prep["outputs"], config.weights != "none"
    )
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

    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.dropout,
        target_modules=config.lora_targets or "all-linear",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(encoder, settings)
    except ValueError:
        linear = sorted(
            {name.rpartition(".")[2] for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
        )
        raise UserError(
            f"lora_targets = {config.lora_targets} names no linear layer of the encoder; it has {', '.join(linear)}"
        ) from None


def merge(model: Classifier) -> Classifier:
    """A copy with the LoRA updates added into the weights: a plain encoder of the same outputs and the old speed."""
    merged = copy.deepcopy(model)
    merged.encoder = merged.encoder.merge_and_unload()
    return merged


def save_merged(model: Classifier, prep: dict[str, Any], folder: Path) -> None:
    """Write the adapted encoder, LoRA merged in, and its tokenizer as a folder that `encoder` can name."""
    encoder = merge(model).encoder if hasattr(model.encoder, "merge_and_unload") else model.encoder
    encoder.save_pretrained(folder)
    load_tokenizer(prep["encoder"]).save_pretrained(folder)


def prepare_export(config: Config, model: Classifier | None, folder: Path) -> tuple[Classifier | None, dict[str, Any]]:
    """Copy the encoder's config and tokenizer, its weights only for a baseline: a network's own hold them all, LoRA merged in."""
    source = find_encoder(config.encoder)
    for pattern in FILES:
        for path in source.glob(pattern):
            if model is None or "safetensors" not in path.name:
                copied = folder / "encoder" / path.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)
    if model is None:
        return None, {"encoder": Path("encoder")}
    merged = merge(model) if hasattr(model.encoder, "merge_and_unload") else model
    return merged, {"encoder": Path("encoder"), "weights": "none", "adapt": "full"}


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


def lr_scale(config: Config, name: str) -> float:
    """Ten times the learning rate for head and LoRA; `layer_decay` once for each layer between this parameter and the head."""
    if name.startswith("head."):
        return FAST
    below = load_settings(config.encoder).num_hidden_layers - depth(name)
    return (FAST if "lora_" in name else 1.0) * config.layer_decay**below


@torch.no_grad()
def explain(prep: dict[str, Any], model: Classifier, batch: Batch, row: int) -> dict[str, Any]:
    """Where one example's attention goes, in its first window: its tokens, and how much of the pooled output flows from each.

    weights: attention rollout (Abnar and Zuidema 2020) over all layers, summing to 1. map: attention of the last layer,
    mean over heads, [t, t], row attends to column. Attention shows where a network looks, not why it answers.
    """
    device = next(model.parameters()).device
    window = (row, 0) if batch.x["input_ids"].dim() == 3 else (row,)
    n = int(batch.x["attention_mask"][window].sum())
    x = {name: tensor[window][None, :n].to(device) for name, tensor in batch.x.items()}
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
    return {
        "tokens": tokens,
        "weights": [round(w, 4) for w in weights.tolist()],
        "map": [[round(v, 3) for v in line] for line in layers[-1].tolist()],
    }
