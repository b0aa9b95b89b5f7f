"""Which checks concern a fault: written from what the fault is, before it is run. The strict rule of scoring.py counts no others.

A fault without an entry of its own has that of the first word of its id. A check concerns a fault when what it expects is what
the fault breaks; one that would merely notice that training goes badly is listed only where this is what the fault does.
"""

from __future__ import annotations

from dataclasses import replace

from fault import Fault

# Scores of a model say nothing of a leak: a leaked score is a good one.
NEVER_FOR_LEAK = ("beats the baseline", "learning rate", "learning rate outside the range", "far behind the baseline")

LABELS = ("label suspects", "something to learn")
NO_SCALE = ("parts alike", "decoded back", "train against eval", "refit")
COPIES = ("duplicate rows", "near duplicates", "duplicates across parts", "near duplicates across parts")
LEAKS = ("dominant feature", "target-derived feature", "dominant word", "recorded after the outcome", "informative missingness")
DEPENDENT = ("independence", "undeclared time or group", "row-order dependence", "groups apart", "time in order")
OVERLAP = ("duplicates across parts", "near duplicates across parts", "parts as pinned", "every row in one part")
AUGMENTED = ("augmentation", "labels survive augmentation", "rows and labels")
IN_EVALUATION = ("evaluation mode", "rows and labels", "evaluation replay", "pixels", "train against eval", "decoded back")
TRAINED = ("every layer learns", "parameters stepped")
HOT = ("update size", "gradient size", "diverged", "unstable", "late spike", "not learning", "learning rate", "learning rate outside the range", "finite training")
COLD = ("update size", "not learning", "underfitting", "still improving", "learning rate", "learning rate outside the range", "plateau")
REDUCTION = ("mean, not sum", "accumulation", "loss of known outputs")
PLAN = ("schedule", "lr as planned")
LOSS = ("loss of known outputs", "init loss", "downhill")
LOST = ("resume", "repeatable")
DRIFT = ("feature drift", "prediction drift", "live performance")
NOT_SEEN = ("missing values in production", "new categories", "rejected rows", "columns in production")

CONCERNED: dict[str, tuple[str, ...]] = {
    "D1": LABELS,
    "D3": (*LABELS, "rows and labels", "signal", "input matters"),
    "D3 code": ("rows and labels", "input matters"),
    "D4": (*LABELS, "rows and labels", "row-order dependence", "input matters"),
    "D6": ("class balance", "classes in every part"),
    "D7": ("duplicate rows", "missing values", "share of rows with problems"),
    "D7 text": ("texts", "duplicate rows", "tokens"),
    "D7 image": ("blank images", "duplicate rows"),
    "D7 broken": ("readable images",),
    "D8": COPIES,
    "D9": ("values that mean missing", "informative missingness"),
    "S1": (*COPIES, "groups apart"),
    "S1 code": OVERLAP,
    "S3": (*DEPENDENT, *COPIES),
    "S4": (*DEPENDENT, "parts alike"),
    "S5": LEAKS,
    "S5 image": ("informative file format",),
    "S8": ("refit", "permuted labels"),
    "S12": ("test part apart", "test access", "every row in one part"),
    "S12 train": ("test part apart", *OVERLAP),
    "S13": ("classes in every part", "class balance"),
    "S14": ("row number as feature", "row-order dependence", "dominant feature", "target-derived feature"),
    "P1": ("input matters", "update size", "gradient size", "init loss", "not learning", "distributions", "far behind the baseline", "beats the baseline"),
    "P2": NO_SCALE,
    "P2 image": ("pixels", "train against eval", "augmentation", "labels survive augmentation"),
    "P6": IN_EVALUATION,
    "P7": AUGMENTED,
    "P8": ("tokenizer", "tokens", "unknown tokens", "it runs"),
    "P9": ("truncation",),
    "M1": ("activations",),
    "M2": ("dead units", "dead units at the end", "every layer learns"),
    "M3": (*TRAINED, "trained share", "what is trained"),
    "M4": (*TRAINED, "dead units", "init loss", "overfit a batch"),
    "M6": ("init loss", "gradient size", "update size", "diverged", "unstable", "good from the first epoch"),
    "M7": ("no mixing",),
    "M10": ("normalization", "train against eval", "frozen statistics"),
    "M12": TRAINED,
    "L1": ("output kind", "init loss", "overfit a batch", "loss of known outputs"),
    "L2": REDUCTION,
    "L3": LOSS,
    "L6": ("no mixing", "rows and labels"),
    "L7": ("loss of known outputs", "accumulation", "it runs", "overfit a batch"),
    "O1": ("downhill", "diverged", "not learning", "overfit a batch"),
    "O2": ("fresh gradients",),
    "O3": HOT,
    "O4": COLD,
    "O5": ("weight decay", "update size", "not learning", "underfitting", "overfit a batch"),
    "O6": TRAINED,
    "O7": ("gradient size", "update size", "not learning", "underfitting"),
    "C1": (*PLAN, "underfitting", "still improving", "plateau"),
    "C2": PLAN,
    "C4": ("best restored", "evaluation replay", "patience", "sound curves"),
    "C4 patience": ("patience", "oscillating validation", "still improving"),
    "R1": ("order of examples",),
    "R2": ("evaluation mode", "evaluation replay", "train against eval"),
    "R4": ("examples seen", "order of examples"),
    "R5": ("loader", "loader-bound"),
    "R6": ("best restored", "evaluation replay"),
    "R8": ("accumulation", "mean, not sum"),
    "E1": ("metric of known outputs", "evaluation replay"),
    "E5": ("test access",),
    "E6": ("temperature of validation", "same outputs as in training"),
    "E8": (*OVERLAP, "rows and labels", "good from the first epoch"),
    "Q1": ("repeatable", "resume", "order of examples"),
    "Q2": LOST,
    "Q3": ("committed code",),
    "Q4": (),  # a refusal alone
    "V1": ("golden examples", "same outputs as in training"),
    "V1 unit": DRIFT,
    "V2": DRIFT,
    "V4": (*NOT_SEEN, *DRIFT),
    "X1": ("mixed units", "distributions"),
    "X2": ("spellings",),
    "X3": ("values that mean missing", "distributions"),
    "X4": LEAKS,
    "X5": ("input matters", "every layer learns", "gradient size", "dead units", "far behind the baseline", "beats the baseline"),
    "X6": ("output kind", "init loss", "overfit a batch", "loss of known outputs"),
    "X7": PLAN,
    "X8": (*LOSS, "overfit a batch"),
    "X9": ("decoded back", "rows and labels", "train against eval"),
    "X10": ("metric of known outputs",),
}  # fmt: skip


def with_checks(fault: Fault) -> Fault:
    """The fault with the checks that concern it, where its own row does not list them."""
    return fault if fault.checks else replace(fault, checks=CONCERNED.get(fault.id, CONCERNED.get(fault.id.split()[0], ())))
