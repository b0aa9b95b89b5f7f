"""All plants, and those of the list whose step does not exist yet."""

from __future__ import annotations

from plant import Plant
from plants_code import EVALUATION, LOSS, NETWORK, OPTIMISER, REPRODUCIBILITY, RUNNING, SCHEDULE
from plants_data import DATA, PREPROCESSING, SPLIT
from plants_image import IMAGE
from strangers import STRANGERS

LISTED: list[Plant] = [
    *DATA, *SPLIT, *PREPROCESSING, *NETWORK, *LOSS, *OPTIMISER, *SCHEDULE, *RUNNING, *EVALUATION, *REPRODUCIBILITY,
]  # fmt: skip
PLANTS: list[Plant] = [*LISTED, *STRANGERS, *IMAGE]  # in this order they are run: the dear ones last

# What cannot be planted yet, and why.
NOT_RUN = {
    "V1": "serving preprocesses differently: a project has no `serve` yet",
    "V2": "a feature drifts by 0.3 sd in service: there is no monitor yet",
    "V4": "new category, new null, missing column in service: there is no `predict` yet",
    "worker seeds": "augmentation is a function of (seed, epoch, row): there is no worker seed to forget (Q1 plants the order instead)",
}
