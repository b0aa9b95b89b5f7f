"""All faults, and those of the list whose step does not exist yet."""

from __future__ import annotations

from concerned import with_checks
from fault import Fault
from faults_code import EVALUATION, LOSS, NETWORK, OPTIMIZER, REPRODUCIBILITY, RUNNING, SCHEDULE
from faults_data import DATA, PREPROCESSING, SPLIT
from faults_image import IMAGE
from faults_sequence import SEQUENCE
from faults_service import SERVICE
from held_out import HELD_OUT_FAULTS

LISTED: list[Fault] = [
    *DATA, *SPLIT, *PREPROCESSING, *NETWORK, *LOSS, *OPTIMIZER, *SCHEDULE, *RUNNING, *EVALUATION, *REPRODUCIBILITY, *SERVICE,
]  # fmt: skip
FAULTS: list[Fault] = [with_checks(fault) for fault in (*LISTED, *HELD_OUT_FAULTS, *SEQUENCE, *IMAGE)]  # in this order they are run: the dear ones last

# What was not run, and why.
NOT_RUN = {
    "frozen backbone with BatchNorm": "sound project: needs pretrained weights of a few kilobytes, which nobody ships",
    "worker seeds": "augmentation is a function of (seed, epoch, row): there is no worker seed to forget; Q1 changes the order instead",
}

# Why what is missed is missed, (fault, strength) -> reason; shown where the table says so.
REMARKS = {
    ("D1 one-sided", "extreme"): "one class is told only 40 % of the time, and a class that is likely but never sure is what most outcomes of people, weather and machines look like; AUC hardly moves",
    ("O3 text", "mild"): "the higher rate makes the model better on unseen rows: a finding here would be wrong",
    ("R5", "mild"): "two milliseconds a batch are about one second of this whole run, and waiting that adds up to less is not reported",
    ("D6 image", "medium"): "a fifth of the size of three others that are alike: three sizes say little of how alike the sizes of classes are (Grubbs' test, two degrees of freedom), and what is under ten rows or over 10:1 is named anyway",
    ("X1", "medium"): "inches and centimetres of prices that differ tenfold among themselves run into one hump; without knowing the goods, the column looks like a price list",
}
