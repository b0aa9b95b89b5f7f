"""What `recipe` may call of this project."""

import finetune
import torch
from torch import nn


def prepare(train):
    return finetune.make_tokenizer(train["text"])


def examples(rows, prepared):
    return finetune.encode(prepared, rows)


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = finetune.make_model()

    def forward(self, x):
        return self.bert(**x).logits


def model(prepared):
    return Logits()


def loss(outputs, y):
    return nn.functional.cross_entropy(outputs, y, reduction="none")


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=5e-4)


def step(model, x, y, optimizer):
    optimizer.zero_grad()
    value = finetune.Smoothed.compute_loss(None, model.bert, {**x, "labels": y})
    value.backward()
    optimizer.step()
    return value.item()


def fit(train, val):
    return [{"train_loss": value, "outputs": logits} for value, logits in finetune.finetune(train, val)]
