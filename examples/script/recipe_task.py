"""What `recipe` may call of this project."""

import torch
import train as script
from torch import nn


def prepare(train):
    features = train.drop(columns="diagnosis")
    return features.mean(), features.std()


def examples(rows, prepared):
    tumors = script.Tumors(rows, *prepared)
    return tumors.x, tumors.y


def model(prepared):
    return script.Net()


def loss(outputs, y):
    return nn.functional.binary_cross_entropy_with_logits(outputs, y, reduction="none")


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


step = script.train_step


def fit(train, val):
    for train_loss, outputs in script.epochs(train, val):
        yield {"train_loss": train_loss, "outputs": outputs}
