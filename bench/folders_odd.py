"""Folders of images from what installed packages ship, in odd layouts, formats and states."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from folders_pictures import PATCHES, WRITERS, Made, image_set, patches, put, some_digits


@image_set
def two_colors(out: Path) -> Made:
    """A photograph and a page in black and white: 1-bit PNG, palette GIF, and GIFs that move."""
    for name, label in (("camera.png", "coat"), ("page.png", "print")):
        for i, image in enumerate(patches(name, 60, 32)):
            bits = image.convert("1")
            kinds = (
                ("png", {}),
                ("gif", {}),
                ("gif", {"save_all": True, "append_images": [image.convert("P")], "duration": 90}),
            )
            ending, settings = kinds[i % 3]
            put(out, f"images/{label}/{i}.{ending}", bits if ending == "png" else bits.convert("P"), **settings)
    return PATCHES


@image_set
def from_cameras(out: Path) -> Made:
    """CMYK and turned JPEG, gray with transparency, TIFF of two pages, all kinds in both classes."""
    for name, label in (("flower", "flower"), ("ihc.png", "tissue")):
        for i, image in enumerate(patches(name, 60, 40)):
            turned = image.getexif()
            turned[274] = 1 + i % 8
            kinds = (
                (image.convert("CMYK"), "jpg", {}), (image, "jpeg", {"exif": turned}), (image.convert("LA"), "png", {}),
                (image, "tiff", {"save_all": True, "append_images": [image]}), (image.convert("RGBA"), "PNG", {}),
            )  # fmt: skip
            changed, ending, settings = kinds[i % 5]
            put(out, f"images/{label}/{i}.{ending}", changed, **settings)
    return PATCHES


@image_set
def linked(out: Path) -> Made:
    """A class folder and single files that are links to another disk's folders."""
    for label, i, image in some_digits((0, 1, 9), 40):
        put(out, f"archive/{label}/{i}.png", image)
    for label in ("0", "1"):
        (out / "images").mkdir(exist_ok=True)
        (out / "images" / label).symlink_to(out / "archive" / label)
    (out / "images" / "9").mkdir()
    for file in (out / "archive" / "9").iterdir():
        (out / "images" / "9" / file.name).symlink_to(os.path.relpath(file, out / "images" / "9"))
    return WRITERS


@image_set
def annotated(out: Path) -> Made:
    """Folders in folders, an XML beside every image, hidden files, Thumbs.db and a README."""
    for label, i, image in some_digits((2, 3), 60):
        path = put(out, f"images/{label}/sheet {i // 20}/row{i % 4}/{i}.png", image)
        path.with_suffix(".xml").write_text("<annotation/>")
        (path.parent / ".DS_Store").write_bytes(b"x")
    (out / "images" / "2" / "Thumbs.db").write_bytes(b"x")
    (out / "images" / "3" / "README.md").write_text("threes")
    return WRITERS


@image_set
def some_broken(out: Path) -> Made:
    """Cut off, empty and mislabeled files among sound ones, left out by setting."""
    for label, i, image in some_digits((6, 9), 70):
        path = put(out, f"images/{label}/{i}.png", image)
        broken = {5: path.read_bytes()[:60], 6: b"", 7: b"<html>404</html>", 8: path.read_bytes()[:-20]}
        if i in broken:
            path.write_bytes(broken[i])
    return {**WRITERS, "corrupt": "drop"}


@image_set
def told_by_format(out: Path) -> Made:
    """One class was saved as JPEG and the other as PNG: the format tells the label."""
    for label, i, image in some_digits((1, 7), 70):
        put(out, f"images/{label}/{i}.{'jpg' if label == '1' else 'png'}", image)
    return WRITERS


@image_set
def in_two_classes(out: Path) -> Made:
    """A fifth of the images lies in both classes."""
    for name, label in (("grass.png", "field"), ("gravel.png", "path")):
        for i, image in enumerate(patches(name, 60, 32)):
            put(out, f"images/{label}/{name}{i}.png", image)
            if i % 5 == 0:
                put(out, f"images/{'path' if label == 'field' else 'field'}/{name}{i}.png", image)
    return PATCHES


@image_set
def one_in_twenty(out: Path) -> Made:
    """A rare class: 10 of 180, weighed by setting."""
    for label, i, image in some_digits((0, 8), 170):
        if label == "0" or i < 10:
            put(out, f"images/{'rare' if label == '8' else 'usual'}/{i}.png", image)
    return {**WRITERS, "class_weights": "balanced", "metric": "auc"}


@image_set
def banners(out: Path) -> Made:
    """Lines of print and strips of sky, ten times as wide as high, of many sizes."""
    random = np.random.default_rng(0)
    for name, label in (("page.png", "print"), ("rocket.jpg", "sky")):
        for i, image in enumerate(patches(name, 60, 32)):
            put(
                out,
                f"images/{label}/{i}.png",
                image.resize((int(random.integers(150, 400)), int(random.integers(15, 40)))),
            )
    return PATCHES


@image_set
def wrong_labels(out: Path) -> Made:
    """Digits of which a fifth has another label."""
    random = np.random.default_rng(0)
    for label, i, image in some_digits((0, 1), 80):
        wrong = random.random() < 0.2
        put(out, f"images/{str(1 - int(label)) if wrong else label}/{label}-{i}.png", image)
    return WRITERS
