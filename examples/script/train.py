"""Benign or malignant from thirty measurements of a cell: a Dataset, a DataLoader and a loop, as one writes them in a script."""

from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

DATA = Path(__file__).parent / "data" / "tumors.csv"


class Tumors(Dataset):
    def __init__(self, frame, mean, std):
        features = frame.drop(columns="diagnosis")
        self.x = torch.tensor(((features - mean) / std).to_numpy(), dtype=torch.float32)
        self.y = torch.tensor((frame["diagnosis"] == "malignant").to_numpy(), dtype=torch.float32).unsqueeze(1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Net(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.body(x))


def train_step(net, x, y, optimizer):
    net.train()
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def epochs(train, val, count=15):
    """Train; after each epoch its mean loss and the outputs on the validation rows."""
    torch.manual_seed(0)
    features = train.drop(columns="diagnosis")
    mean, std = features.mean(), features.std()
    loader = DataLoader(Tumors(train, mean, std), batch_size=32, shuffle=True)
    held_out, net = Tumors(val, mean, std), Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(count):
        losses = [train_step(net, x, y, optimizer) for x, y in loader]
        net.eval()
        with torch.no_grad():
            yield sum(losses) / len(losses), net(held_out.x)


if __name__ == "__main__":
    table = pd.read_csv(DATA).sample(frac=1, random_state=0)
    for number, (loss, outputs) in enumerate(epochs(table[:450], table[450:])):
        right = (outputs.squeeze(1) > 0).numpy() == (table["diagnosis"][450:] == "malignant").to_numpy()
        print(f"epoch {number}: loss {loss:.4f}, accuracy {right.mean():.3f}")
