"""Which library does a docstring document? A small BERT and the Trainer of transformers, with a loss of its own."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

DATA = Path(__file__).parent / "data" / "docs.csv"
LABELS = {"numpy": 0, "scipy": 1, "sklearn": 2, "torch": 3}


def make_tokenizer(texts):
    """The most frequent words, in an order that depends on the texts alone: a trained WordPiece breaks ties at random."""
    counts = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    words = ["[PAD]", "[UNK]", *sorted(counts, key=lambda word: (-counts[word], word))[:2998]]
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = Lowercase(), Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")


def encode(tokenizer, frame):
    """A dict of tensors, and the labels."""
    tokens = tokenizer(list(frame["text"]), padding="max_length", truncation=True, max_length=48, return_tensors="pt")
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}, torch.tensor([LABELS[n] for n in frame["library"]])


def make_model():
    torch.manual_seed(0)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    return BertForSequenceClassification(BertConfig(vocab_size=3000, num_labels=len(LABELS), **size))


class Smoothed(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], label_smoothing=0.0)
        return (loss, outputs) if return_outputs else loss


class Rows(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {**{name: value[i] for name, value in self.x.items()}, "labels": self.y[i]}


def finetune(train, val, epochs=4):
    """Trains; returns the mean loss of each epoch and the logits on the validation rows after it."""
    tokenizer = make_tokenizer(train["text"])
    held_out, seen = Rows(*encode(tokenizer, val)), []

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in logs:
                seen.append((logs["loss"], trainer.predict(held_out).predictions))

    settings = TrainingArguments(
        "out", num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=5e-4, logging_strategy="epoch",
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )
    trainer = Smoothed(make_model(), settings, train_dataset=Rows(*encode(tokenizer, train)), callbacks=[Watch()])
    trainer.train()
    return seen


if __name__ == "__main__":
    table = pd.read_csv(DATA).sample(frac=1, random_state=0)
    for number, (loss, logits) in enumerate(finetune(table[200:], table[:200])):
        right = logits.argmax(1) == table["library"][:200].map(LABELS).to_numpy()
        print(f"epoch {number}: loss {loss:.4f}, accuracy {right.mean():.3f}")
