"""What only images can have wrong: broken and blank files, formats that give the label away, crops that lose it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ..checks import predictive_power
from ..checks.check_result import CheckResult, check_result
from ..checks.of_kind import how_to_adapt
from ..owner.image.listing import OTHER
from ..owner.image.picture import all_pixels
from ..owner.image.weights import own_view
from ..owner.task import Data

if TYPE_CHECKING:
    from ..owner.image.recipe import Config

LOOKED = 500  # images that are decoded for a judgement on all
NAMED = 5  # files that are named in a sentence; the evidence names up to a thousand
PHOTO = 64  # shorter side from which a color picture counts as a photograph
FEW = 50  # examples a class under which moving millions of weights is not safe


def audit(config: Config, data: Data, adopted: bool = False) -> list[CheckResult]:
    """Checks on the files as they are; and, where the network is ours, advice on how to adapt its weights to this many."""
    whole = data.frame if data.unlabeled is None else pl.concat([data.frame, data.unlabeled], how="vertical_relaxed")
    return [
        readable_images(config, whole),
        blank_images(config, data.frame),
        format_tells(config, data),
        *([] if adopted else [image_sizes(config, data.frame), advice(config, data)]),
    ]


def readable_images(config: Config, frame: pl.DataFrame) -> CheckResult:
    """Files that cannot be decoded: missing, empty, truncated, foreign, too large. Counted by kind, and named."""
    others = frame.filter(pl.col("file_problem") == OTHER)
    frame = frame.filter(pl.col("file_problem") != OTHER)
    bad = frame.filter(pl.col("file_problem") != "")
    share = bad.height / frame.height
    kinds = bad["file_problem"].str.split(":").list.first().value_counts(sort=True).rows()
    names = [f"{_name(path)}: {why}" for path, why in bad[[config.image, "file_problem"]].rows()]
    observed = f"{bad.height:,} of {frame.height:,} images cannot be used"
    if bad.height:
        left_out = ", left out" if config.corrupt == "drop" else ""
        observed += f"{left_out} ({', '.join(f'{n:,} {kind}' for kind, n in kinds)}): {'; '.join(names[:NAMED])}{' ...' if len(names) > NAMED else ''}"
    if others.height:
        observed += f"; {others.height:,} files are of another kind and passed over, {_name(others[config.image][0])} among them"
    return check_result(
        "readable images",
        observed,
        fail=share > 0.1 or (config.corrupt == "stop" and bad.height > 0),
        warn=share > 0.01,
        share=share,
        evidence={"kinds": dict(kinds), "files": names[:1000]},
    )


def _name(path: str) -> str:
    """The file with its folder, on one line whatever its name holds."""
    name = "/".join(Path(path).parts[-2:])
    return name if name.isprintable() else repr(name)


def blank_images(config: Config, frame: pl.DataFrame) -> CheckResult:
    """Images of one color everywhere: there is nothing in them to learn from."""
    blank = frame.filter("file_blank")
    share = blank.height / frame.height
    names = [Path(path).name for path in blank[config.image].head(1000)]
    return check_result(
        "blank images",
        f"{blank.height:,} of {frame.height:,} are of one color" + (f": {', '.join(names[:NAMED])}" if names else ""),
        fail=share > 0.1,
        warn=share > 0.001,
        share=share,
        evidence={"files": names},
    )


def format_tells(config: Config, data: Data) -> CheckResult:
    """Which kinds and color modes there are, what becomes of them, and whether they or the size alone predict the label."""
    frame = data.frame
    counts = (
        frame.group_by("file_kind", "file_mode")
        .len()
        .sort("len", "file_kind", "file_mode", descending=[True, False, False])
        .rows()
    )
    profile = ", ".join(f"{n:,} {kind or 'unknown'} {mode}" for kind, mode, n in counts[:8]) + (
        " ..." if len(counts) > 8 else ""
    )
    told = [note for marks, note in MODES if any(any(mark in mode for mark in marks) for _, mode, _ in counts)]
    rows = predictive_power.sample(data)
    columns = ("file_kind", "file_mode", "file_width", "file_height")
    x = np.stack([predictive_power.column_numbers(frame[name][rows]) for name in columns], axis=1)
    y = predictive_power.target_numbers(config, data, rows)
    value, limit = predictive_power.best_class(config, x, y)  # one class from another source is enough
    what = data.target if config.task == "regression" else f"a class of {data.target}"
    return check_result(
        "informative file format",
        f"{profile}{'; ' if told else ''}{', '.join(told)}; kind, mode and size predict {what} with {value:.3f} (0.5 = chance)",
        warn=value > limit,
        evidence={"counts": [list(row) for row in counts], "score": value, "limit": limit},
    )


# Marks in a mode's name, and what becomes of such images.
MODES = (
    (("CMYK", "YCbCr", "LAB", "HSV"), "CMYK and the like are converted to RGB"),
    (("I",), "16 bits are scaled to 8"),
    (("A", "transparency"), "transparency is laid on white"),
    (("P",), "palettes are resolved"),
)


def image_sizes(config: Config, frame: pl.DataFrame) -> CheckResult:
    """Width and height, what the middle square loses, and how far small pictures are enlarged."""
    sound = frame.filter(pl.col("file_problem") == "")
    width, height = (sound[f"file_{name}"].to_numpy() for name in ("width", "height"))
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    kept, side = float((shorter / longer).mean()), float(np.median(shorter))
    size = config.size or own_size(config)
    cropped, enlarged = kept < 0.75, size > 4 * side
    return check_result(
        "image sizes",
        f"shorter side {shorter.min():,} to {shorter.max():,} pixels (median {side:.0f}), read at {size}; the middle square keeps {kept:.0%} of a picture",
        warn=cropped or enlarged,
        why="cropped" if cropped else "enlarged",
        evidence={"kept": kept, "shorter": np.quantile(shorter, [0, 0.1, 0.5, 0.9, 1]).tolist()},
        size=size,
        side=round(side),
        smaller=max(32, 32 * round(min(2 * side, size) / 32)),
    )


def own_size(config: Config) -> int:
    """The size that the weights ask for; 224 where they cannot be had: this is about the pictures."""
    from ..owner.errors import UserError

    try:
        return int(own_view(config.backbone, config.weights)["size"])
    except UserError:
        return 224


def advice(config: Config, data: Data) -> CheckResult:
    """Frozen, head first or full, from the number of examples and how far they are from photographs; and what would change it."""
    classes = data.frame[data.target].n_unique() if config.task in ("binary", "multiclass") else 1
    photos = photographs(config, data)
    adapt, reason = recommend(len(data), classes, photos)
    competitor = {"frozen": "head_first", "head_first": "full", "full": "head_first"}[adapt]
    if config.weights == "none":
        adapt, reason, competitor = "full", "there are no pretrained weights to keep", ""
    seen = f"{len(data):,} images, {photos:.0%} of them like photographs"
    return how_to_adapt(config, seen, adapt, reason, competitor, photographs=photos, rows=len(data))


def photographs(config: Config, data: Data) -> float:
    """Share of images in color and of 64 pixels and more: what the hub's weights were trained on."""
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:LOOKED])
    some = data.frame[rows].filter(
        (pl.col("file_problem") == "") & (pl.min_horizontal("file_width", "file_height") >= PHOTO)
    )
    if not some.height:
        return 0.0
    tiny = all_pixels(some[config.image], 16).astype(float)
    color = (tiny.max(axis=1) - tiny.min(axis=1)).mean(axis=(1, 2)) > 8  # of 255
    return float(color.sum() / len(rows))


def recommend(rows: int, classes: int, photos: float) -> tuple[str, str]:
    """(adapt, reason). Rules of thumb: transfer falls with the distance between the tasks (Yosinski et al. 2014), and
    fine-tuning from a random head distorts good features, the more the fewer the examples (Kumar et al. 2022)."""
    few, near = rows < FEW * classes or rows < 4 * FEW, photos >= 0.5
    if few and near:
        return "frozen", f"{rows / classes:.0f} examples a class are too few to move millions of weights safely"
    if few:
        return (
            "head_first",
            "pictures unlike photographs need other features, and a random head would tear at the ones there are",
        )
    if rows < 20_000 and near:
        return "head_first", "features made for photographs fit: the head learns to use them before they are changed"
    return (
        "full",
        "this many examples can move all weights"
        if rows >= 20_000
        else "pictures unlike photographs need their features changed",
    )
