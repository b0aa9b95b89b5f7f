"""What is known of the rows of a part: targets, queries, and which rows belong together; kept beside the outputs of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import Config
from ..task import Data, Examples
from .files import save_array
from .metrics import Truth
from .splits import together


def truth_of(config: Config, data: Data, examples: Examples) -> Truth:
    """Of the rows of a part, from the data and from their encoded examples."""
    return Truth.of(examples)._replace(together=together(config, data))


def save_truth(folder: Path, truth: Truth) -> None:
    """Keep y, and the queries and groups where there are such."""
    for name, array in truth._asdict().items():
        if array is not None:
            save_array(folder / f"{name}.npy", array)


def saved_truth(folder: Path) -> Truth:
    """What `save_truth` wrote."""
    paths = {name: folder / f"{name}.npy" for name in Truth._fields}
    return Truth(**{name: np.load(path, allow_pickle=False) for name, path in paths.items() if path.exists()})
