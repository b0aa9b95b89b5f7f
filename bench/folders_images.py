"""Folders of images from what installed packages ship: digits, photographs, faces, letters, icons, colors, heights."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from folders_pictures import (
    DRAWN,
    PATCHES,
    WRITERS,
    Made,
    faces,
    fonts,
    image_set,
    letter,
    letters,
    patches,
    put,
    some_digits,
)
from PIL import Image


@image_set
def ten_digits(out: Path) -> Made:
    """Handwritten digits, ten class folders of PNG."""
    for label, i, image in some_digits(tuple(range(10)), 20):
        put(out, f"images/{label}/{i}.png", image)
    return WRITERS


@image_set
def three_or_eight(out: Path) -> Made:
    """Threes and eights as JPEG, endings in capitals."""
    for label, i, image in some_digits((3, 8), 80):
        put(out, f"images/{label}/{i}.JPG", image, format="JPEG")
    return WRITERS


@image_set
def digits_given(out: Path) -> Made:
    """Digits in Training, Validation and Testing above the class folders."""
    for label, i, image in some_digits((0, 1, 2, 3), 50):
        put(
            out, f"images/{('Training', 'Training', 'Training', 'Validation', 'Testing')[i % 5]}/{label}/{i}.png", image
        )
    return WRITERS


@image_set
def digits_given_copies(out: Path) -> Made:
    """Digits in train and test, a third of test copied from train: a true leak."""
    for label, i, image in some_digits((4, 7), 60):
        put(out, f"images/{'test' if i % 4 == 0 else 'train'}/{label}/{i}.png", image)
        if i % 4 == 1 and i % 3 == 0:
            put(out, f"images/test/{label}/copy{i}.png", image)
    return WRITERS


@image_set
def digits_parts_below(out: Path) -> Made:
    """Digits, train and val inside each class folder, binary PPM."""
    for label, i, image in some_digits((5, 6), 60):
        put(out, f"images/{label}/{'val' if i % 5 == 0 else 'train'}/{i}.ppm", image)
    return WRITERS


@image_set
def photographs(out: Path) -> Made:
    """Patches of two photographs (a temple, a flower), JPEG of 48 pixels."""
    for name in ("china", "flower"):
        for i, image in enumerate(patches(name, 60, 48)):
            put(out, f"images/{name}/{i}.jpg", image, quality=90)
    return PATCHES


@image_set
def five_photographs(out: Path) -> Made:
    """Patches of five photographs as WEBP, class folders with blanks, quotes and accents in their names."""
    named = {
        "astronaut.png": "l'astronaute",
        "coffee.png": "café au lait",
        "chelsea.png": 'a "cat"',
        "rocket.jpg": "rocket, fired",
        "retina.jpg": "眼底",
    }
    for name, label in named.items():
        for i, image in enumerate(patches(name, 30, 32)):
            put(out, f"images/{label}/{i} .webp", image)
    return PATCHES


@image_set
def textures(out: Path) -> Made:
    """Brick, grass and gravel, gray TIFF."""
    for name in ("brick", "grass", "gravel"):
        for i, image in enumerate(patches(f"{name}.png", 50, 32)):
            put(out, f"images/{name}/{i}.tif", image.convert("L"))
    return PATCHES


@image_set
def grouped_table(out: Path) -> Made:
    """A CSV of paths and labels, sky or ground, with the photograph as group."""
    rows = []
    for name in (
        "china",
        "flower",
        "rocket.jpg",
        "coffee.png",
        "astronaut.png",
        "chelsea.png",
        "hubble_deep_field.jpg",
        "ihc.png",
    ):
        for i, image in enumerate(patches(name, 24, 40)):
            put(out, f"files/{name}-{i}.png", image)
            rows.append(
                {
                    "path": f"files/{name}-{i}.png",
                    "label": "bright" if np.asarray(image).mean() > 110 else "dark",
                    "photo": name,
                }
            )
    pl.DataFrame(rows).write_csv(out / "list.csv")
    return {"data": "data/list.csv", "target": "label", "task": "binary", "group": "photo"}


@image_set
def brightness(out: Path) -> Made:
    """JSON lines of paths and a number: the mean brightness of a patch (regression)."""
    rows = []
    for name in ("china", "flower"):
        for i, image in enumerate(patches(name, 80, 32)):
            put(out, f"files/{name}{i}.png", image)
            rows.append({"path": f"files/{name}{i}.png", "brightness": float(np.asarray(image).mean().round(2))})
    pl.DataFrame(rows).write_ndjson(out / "list.jsonl")
    return {"data": "data/list.jsonl", "target": "brightness", "task": "regression", **PATCHES}


@image_set
def faces_or_not(out: Path) -> Made:
    """Faces and other patches of 25 pixels, gray BMP."""
    for i, image in enumerate(faces()):
        put(out, f"images/{'face' if i < 100 else 'other'}/{i}.bmp", Image.fromarray(image))
    return {"iid": "one patch a photograph"}


@image_set
def faces_test_folder(out: Path) -> Made:
    """Faces with a test folder of its own (test_data)."""
    for i, image in enumerate(faces()):
        put(
            out,
            f"{'held' if i % 5 == 0 else 'images'}/{'face' if i < 100 else 'other'}/{i}.png",
            Image.fromarray(image),
        )
    return {"iid": "one patch a photograph", "test_data": "data/held"}


@image_set
def faces_column(out: Path) -> Made:
    """Faces in a Parquet table with a column that says the part."""
    rows = []
    for i, image in enumerate(faces()):
        put(out, f"files/{i}.png", Image.fromarray(image))
        rows.append(
            {
                "path": f"files/{i}.png",
                "kind": "face" if i < 100 else "other",
                "use": ("training", "training", "dev", "holdout")[i % 4],
            }
        )
    pl.DataFrame(rows).write_parquet(out / "list.parquet")
    return {
        "data": "data/list.parquet",
        "target": "kind",
        "task": "binary",
        "split_column": "use",
        "iid": "one patch a photograph",
    }


@image_set
def letters_abc(out: Path) -> Made:
    """Five letters in twenty fonts, turned a little."""
    for text, name, image in letters("ABCDE", 40):
        put(out, f"images/{text}/{name}.png", image)
    return DRAWN


@image_set
def many_letters(out: Path) -> Made:
    """52 letters, six images each: many classes, few examples."""
    for text, name, image in letters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 6):
        put(out, f"images/{'upper' if text.isupper() else 'lower'} {text}/{name}.png", image)
    return DRAWN


@image_set
def alphabets(out: Path) -> Made:
    """Greek, Cyrillic and Latin letters; classes and files named in them."""
    for label, texts in {"Ελληνικά": "ΓΔΘΛΞΠΣΦΨΩ", "Кириллица": "БГДЖЗИЛЦЯЮ", "Latin": "DFGJLNQRSV"}.items():
        for text, name, image in letters(texts, 6):
            put(out, f"images/{label}/{text} {name}.png", image)
    return DRAWN


@image_set
def serif_or_not(out: Path) -> Made:
    """Fonts with serifs and without, grouped by letter in a table."""
    rows = []
    for text in "ABCDEFGHKLMNPRSTUVXZ":
        for label, family in (("serif", ("DejaVuSerif", "STIXGeneral")), ("sans", ("DejaVuSans",))):
            for font in fonts(*family)[:4]:
                path = put(out, f"files/{text}-{font.stem}.png", letter(text, font))
                rows.append({"image": path.name, "family": label, "letter": text})
    pl.DataFrame(rows).write_csv(out / "files" / "list.csv")
    return {"data": "data/files/list.csv", "image": "image", "target": "family", "task": "binary", "group": "letter"}


@image_set
def icons(out: Path) -> Made:
    """Matplotlib's toolbar icons, RGBA on nothing, each pasted at random places."""
    folder, random = Path(matplotlib.get_data_path()) / "images", np.random.default_rng(0)
    for name in ("home", "move", "hand", "filesave", "help"):
        icon = Image.open(folder / f"{name}.png").convert("RGBA")
        for i in range(24):
            sheet = Image.new("RGBA", (40, 40))
            sheet.paste(icon.rotate(float(random.uniform(-30, 30))), tuple(int(v) for v in random.integers(0, 16, 2)))
            put(out, f"images/{name}/{i}.png", sheet)
    return DRAWN


@image_set
def color_maps(out: Path) -> Made:
    """Strips of color maps, diverging or sequential: wide pictures, palettes and RGB mixed."""
    random = np.random.default_rng(0)
    for label, names in {
        "diverging": ("PiYG", "PRGn", "BrBG", "RdBu", "coolwarm", "seismic"),
        "sequential": ("viridis", "Blues", "Reds", "bone", "hot", "copper"),
    }.items():
        for name in names:
            for i in range(10):
                low, high = np.sort(random.uniform(0, 1, 2) * 0.3 + (0, 0.7))
                strip = matplotlib.colormaps[name](np.linspace(low, high, 64))[None, :, :3].repeat(16, axis=0)
                image = Image.fromarray((strip * 255).astype(np.uint8))
                put(out, f"images/{label}/{name}{i}.png", image.quantize(64) if i % 2 else image)
    return DRAWN


@image_set
def sixteen_bits(out: Path) -> Made:
    """Heights of land and sea as 16-bit PNG."""
    topo = np.load(Path(matplotlib.get_data_path()) / "sample_data" / "topobathy.npz")["topo"].astype(float)
    deep = ((topo - topo.min()) / (topo.max() - topo.min()) * 65535).astype(np.uint16)
    random, counts = np.random.default_rng(0), {"land": 0, "sea": 0}
    for row, column in random.permutation(
        [(r, c) for r in range(0, topo.shape[0] - 10, 10) for c in range(0, topo.shape[1] - 10, 10)]
    ):
        label = "land" if topo[row : row + 10, column : column + 10].mean() > 0 else "sea"
        if counts[label] < 60:
            counts[label] += 1
            put(out, f"images/{label}/{row}-{column}.png", Image.fromarray(deep[row : row + 10, column : column + 10]))
    return PATCHES
