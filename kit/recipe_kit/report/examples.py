"""The worst examples as they entered the model: values, text with the weight of each token, pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from ..owner.engine.files import read_json
from ..owner.formatting import number
from .page import Section, section

LONGEST = 400  # characters of an example's values
TOKENS = 160
SIDE = 160  # pixels of a picture on the page


def worst_section(folder: Path) -> Section | None:
    """The validation examples with the highest loss. folder: that of the training run."""
    path = folder / "worst.json"
    if not path.exists():
        return None
    rows = read_json(path, "a run's worst examples", "train again: recipe train")
    prep = read_json(folder / "prep.json", "the preprocessing of a run", "train again: recipe train")
    return section(
        "Worst validation examples",
        "Decoded back from the tensors that entered the model. Wrong labels and broken inputs show here first.",
        examples=[example(row, prep) for row in rows],
    )


def seen_section(folder: Path, prep: dict[str, Any]) -> Section | None:
    """The batch that the checks looked at, augmented as in training. folder: that of the check."""
    path = folder / "batch.json"
    if not path.exists():
        return None
    rows = read_json(path, "what the network sees", "run: recipe check")
    return section(
        "What the network sees",
        "A few training examples, augmented as in training and decoded back from the tensors that enter the model.",
        examples=[seen(row, prep) for row in rows],
    )


def seen(row: dict[str, Any], prep: dict[str, Any]) -> dict[str, Any]:
    """One example of a batch for the page; a mixed one with the shares of its classes."""
    y, shown = row["y"], {name: value for name, value in row.items() if name != "y"}
    pixels = np.array(shown.pop("image"), dtype=np.uint8) if "image" in shown else None
    shares = zip(prep["classes"], y, strict=True) if isinstance(y, list) else []
    mixed = ", ".join(f"{share:.0%} {name}" for name, share in shares if share)
    return {
        "title": mixed or truth(y, prep),
        "text": values(shown),
        "images": pictures(pixels, None) if pixels is not None else [],
        "tokens": [],
    }


def values(shown: dict[str, Any]) -> str:
    """The readable values of an example, cut where they grow long."""
    text = "; ".join(f"{name}: {value}" for name, value in shown.items())
    return text if len(text) < LONGEST else text[:LONGEST] + " ..."


def example(row: dict[str, Any], prep: dict[str, Any]) -> dict[str, Any]:
    """One example for the page: a picture when it has one, tokens with their weights, else its values."""
    shown, explained = dict(row["shown"]), row.get("explained") or {}
    pixels = np.array(shown.pop("image"), dtype=np.uint8) if "image" in shown else None
    tokens = shaded(explained)
    if tokens:
        shown.pop("tokens", None)  # shown with their weights instead
    return {
        "title": f"row {row['index']}: truth {truth(row['y'], prep)}, called {called(row['output'], prep)}, loss {number(row['loss'])}",
        "text": values(shown),
        "images": pictures(pixels, explained.get("saliency")) if pixels is not None else [],
        "tokens": tokens,
    }


def truth(y: float | None, prep: dict[str, Any]) -> str:
    """The target in words or in its units."""
    if y is None or not prep["classes"]:
        return number(None if y is None else y * prep["target_scale"] + prep["target_mean"])
    return str(prep["classes"][int(y)])


def called(output: list[float | None], prep: dict[str, Any]) -> str:
    """What the model said, in words or in the units of the target."""
    if None in output:
        return "nothing (not a number)"
    values = np.array(output, dtype=float)
    if not prep["classes"]:
        return number(float(values[0] * prep["target_scale"] + prep["target_mean"]))
    return str(prep["classes"][int(values[0] > 0) if len(values) == 1 else int(values.argmax())])


def shaded(explained: dict[str, Any]) -> list[tuple[str, int]]:
    """Tokens with a shade from 0 to 4 by their share of the attention; the first and last are special and not shaded."""
    weights = np.nan_to_num(np.array(explained.get("weights", []), dtype=float))
    if len(weights) < 3:
        return []
    weights[[0, -1]] = 0.0
    shades = np.ceil(4 * weights / max(weights.max(), 1e-12) - 0.5).clip(0, 4).astype(int)
    return list(zip(explained["tokens"][:TOKENS], shades.tolist(), strict=False))


def pictures(pixels: np.ndarray, saliency: Any) -> list[dict[str, str]]:
    """The picture, and a second one dimmed where the model did not look, when that is known."""
    found = [{"source": png(pixels), "what": "as it entered the model"}]
    if saliency is not None:
        dimmed = pixels * (0.15 + 0.85 * _stretched(saliency, pixels.shape)[..., None])
        found.append({"source": png(dimmed.astype(np.uint8)), "what": "bright where the model looked"})
    return found


def _stretched(saliency: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A map of any size from 0 to 1, stretched to the height and width of the picture [h, w]."""
    from PIL import Image

    weight = np.nan_to_num(np.array(saliency, dtype=np.float32)).clip(0, 1)
    return np.asarray(Image.fromarray(weight).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def png(pixels: np.ndarray) -> str:
    """A uint8 image [h, w, 3] as a data URL, shrunk to at most SIDE pixels: twelve of them stay under a megabyte."""
    from PIL import Image

    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
