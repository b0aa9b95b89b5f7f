"""A recipe as it was read: what every command of the project starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..config import Config
from ..task import Data, Task
from .remote import local
from .target import without_classes


@dataclass
class Recipe:
    """root: folder of recipe.toml. config: its settings. task: the functions of the kind of data that they name."""

    root: Path
    config: Config
    task: Task

    @cached_property
    def local_config(self) -> Config:
        """The settings, with the data where they lie on this machine."""
        places = {
            name: local(self.root, place) for name in ("data", "test_data") if (place := getattr(self.config, name))
        }
        return self.config.model_copy(update=places)

    @cached_property
    def data(self) -> Data:
        """The labeled data as the config asks for it (exact duplicates dropped when `duplicates = "drop"`)."""
        data = self.task.load(self.local_config, self.root)
        if self.config.duplicates == "drop":
            told = [name for name in data.frame.columns if data.roles.get(name) != "part"]
            data = replace(data, frame=data.frame.filter(data.frame[told].to_struct("").is_first_distinct()))
        return without_classes(data, self.config.drop_classes) if self.config.drop_classes else data
