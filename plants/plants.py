"""All plants, and those of the list whose step does not exist yet."""

from __future__ import annotations

from plant import Plant
from plants_code import EVALUATION, LOSS, NETWORK, OPTIMISER, REPRODUCIBILITY, RUNNING, SCHEDULE
from plants_data import DATA, PREPROCESSING, SPLIT
from plants_image import IMAGE
from plants_service import SERVICE
from strangers import STRANGERS

LISTED: list[Plant] = [
    *DATA, *SPLIT, *PREPROCESSING, *NETWORK, *LOSS, *OPTIMISER, *SCHEDULE, *RUNNING, *EVALUATION, *REPRODUCIBILITY, *SERVICE,
]  # fmt: skip
PLANTS: list[Plant] = [*LISTED, *STRANGERS, *IMAGE]  # in this order they are run: the dear ones last

# What was not run, and why.
NOT_RUN = {
    "frozen backbone with BatchNorm": "healthy project: needs pretrained weights of a few kilobytes, which nobody ships",
    "worker seeds": "augmentation is a function of (seed, epoch, row): there is no worker seed to forget; Q1 plants the order instead",
    "deepchecks, cleanlab": "their defaults are not run beside these checks yet; cleanlab works inside `label suspects`",
}
