"""Your data, on the rows of tests/sample: how they are read, encoded and split. Yours to extend when you edit data.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from conftest import ROOT, one_batch

from my_model.engine.splits import assign
from my_model.engine.target import as_text
from my_model.task import Data


@pytest.fixture(scope="module")
def data(parts) -> Data:
    return parts.task.load(parts.config, ROOT)


def tensors(batch):
    return batch.x if isinstance(batch.x, dict) else {"x": batch.x}


def test_every_row_keeps_its_target(parts, data):
    y = parts.task.examples(parts.config, parts.prep, data).y
    assert len(y) == len(data)
    column = data.frame[data.target]
    if parts.prep["classes"]:
        assert [parts.prep["classes"][int(code)] for code in y] == as_text(column).to_list()
    elif parts.config.task == "regression":
        back = y.double() * parts.prep["target_scale"] + parts.prep["target_mean"]
        assert np.allclose(back, column.to_numpy(), rtol=1e-4, atol=1e-4 * parts.prep["target_scale"])


def test_a_row_alone_is_encoded_as_among_others(parts):
    for row in (0, 3):
        alone = one_batch(parts.task.examples(parts.config, parts.prep, parts.data.take(np.array([row]))))
        for name, values in tensors(alone).items():
            among = tensors(parts.batch)[name][row].cpu()
            width = min(values.shape[-1], among.shape[-1]) if among.ndim else 0  # texts are padded to the longest
            one, other = (values[0][..., :width], among[..., :width]) if among.ndim else (values[0], among)
            assert torch.allclose(one.double(), other.double(), atol=1e-5), name


def test_the_split_is_the_same_every_time_and_leaves_no_row_out(parts, data):
    part = assign(parts.config, data)
    assert (part == assign(parts.config, data)).all()
    assert len(part) == len(data) and set(part) == {0, 1, 2}


def test_what_belongs_together_stays_together(parts, data):
    who = [f"group {i // 4}" for i in range(len(data))]
    grouped = replace(data, frame=data.frame.with_columns(pl.Series("who", who)), roles={**data.roles, "who": "group"})
    config = parts.config.model_copy(update={"group": "who", "query": ""})
    part = assign(config, grouped)
    assert all(len({part[i] for i in range(len(part)) if who[i] == name}) == 1 for name in set(who))
