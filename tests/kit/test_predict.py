"""The project's own predict: answers are those of training, whatever the columns of a new file look like by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from my_model.config import make_config
from my_model.engine.data import Recipe
from my_model.engine.fitted import load_fitted
from my_model.engine.metrics import class_probabilities
from my_model.engine.splits import assign, splits, write_manifest
from my_model.engine.train import train
from my_model.errors import UserError
from my_model.predict import predict
from my_model.tabular.recipe import TASK

N = 120


def rows() -> pl.DataFrame:
    random = np.random.default_rng(0)
    amount = random.normal(10, 3, N).round(2)
    return pl.DataFrame(
        {
            "zip": random.choice(["01234", "12345", "99999"], N),
            "amount": [f"{value}".replace(".", ",") for value in amount],
            "days": random.integers(1, 9, N),
            "open": random.choice(["True", "False"], N),
            "seen": [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(N)],
            "label": np.where(amount + random.normal(size=N) > 10, "yes", "no"),
        }
    )


def trained(folder: Path, **settings: Any) -> tuple[Recipe, Any, Path]:
    """A project on a file with decimal commas, and its model after two epochs."""
    (folder / "data").mkdir()
    rows().write_csv(folder / "data" / "train.csv", separator=";")
    usual = {
        "target": "label",
        "iid": "one by one",
        "categorical": ["zip"],
        "tracker": "none",
        "device": "cpu",
        "epochs": 2,
    }
    config = make_config(TASK.settings, {**usual, **settings}, "a test")
    recipe, run = Recipe(folder, config, TASK), folder / "runs" / "0001-plain_train"
    run.mkdir(parents=True)
    write_manifest(recipe, assign(config, recipe.data))
    result = train(config, TASK, splits(recipe), run).result
    record = {"id": run.name, "step": "train", "config": config.model_dump(), "result": result}
    return recipe, load_fitted(recipe, record), run


def test_answers_are_those_of_training(tmp_path: Path) -> None:
    recipe, model, run = trained(tmp_path)
    found = predict(recipe, model, run, tmp_path / "data" / "train.csv")
    outputs, _ = model.outputs(recipe.data)
    temperature = np.log(found["probability of yes"] / found["probability of no"]) / outputs[:, 0]
    assert len(found) == N and np.allclose(temperature, temperature[0], rtol=1e-3), "one temperature, the same outputs"
    assert class_probabilities(outputs).shape == (N, 2) and set(found["prediction"]) <= {"no", "yes"}


def test_a_file_in_which_every_text_is_a_number(tmp_path: Path) -> None:
    """Alone, 01234 reads as a number, True as a text and the rest as it likes; the rows are those of training all the same."""
    recipe, model, run = trained(tmp_path)
    whole = predict(recipe, model, run, tmp_path / "data" / "train.csv")
    few = rows().with_row_index().filter(pl.col("zip") == "01234").head(4)
    few.drop("index", "label").write_csv(tmp_path / "new.csv", separator=";")
    found = predict(recipe, model, run, tmp_path / "new.csv")
    assert found["probability of yes"].to_list() == pytest.approx(
        whole[few["index"].to_list()]["probability of yes"].to_list(), abs=1e-6
    )


def test_what_was_whole_in_training_may_be_any_number(tmp_path: Path) -> None:
    """As `recipe predict` and the server read it."""
    recipe, model, run = trained(tmp_path)
    rows().with_columns(days=pl.lit("4,5")).head(3).write_csv(tmp_path / "new.csv", separator=";")
    assert len(predict(recipe, model, run, tmp_path / "new.csv")) == 3


def test_a_column_without_a_value_is_missing_in_every_row(tmp_path: Path) -> None:
    recipe, model, run = trained(tmp_path)
    rows().with_columns(amount=pl.lit(None, dtype=pl.String)).head(5).write_csv(tmp_path / "new.csv", separator=";")
    assert len(predict(recipe, model, run, tmp_path / "new.csv")) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop("amount"), "'amount'"),
        (lambda frame: frame.with_columns(amount=pl.lit("many")), "'many'"),
        (lambda frame: frame.head(0), "no rows"),
    ],
    ids=["column", "value", "empty"],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, change: Any, words: str) -> None:
    recipe, model, run = trained(tmp_path)
    change(rows()).write_csv(tmp_path / "new.csv", separator=";")
    with pytest.raises(UserError, match=words) as said:
        predict(recipe, model, run, tmp_path / "new.csv")
    assert "\n" not in str(said.value)
