"""The server that one writes by hand in thirty lines, for bench/serving.py: python serving_bare.py PACKAGE PORT, in a generated project.

The same exported network behind FastAPI, with its preprocessing written out. Pydantic checks the types of a row, a field for each
column; there is no log, there are no versions, and no limits.
GET /own?seconds=N: mean seconds that the network and its preprocessing take for the rows of the last request, without HTTP.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from recipe_kit.cli import open_project, parse
from recipe_kit.production.model import load

project = open_project(parse(["serve"]))
package = load(project.task, Path(sys.argv[1]))
model, prep, manifest = package.fitted.model, package.fitted.prep, package.manifest
places = {n: {v: i for i, v in enumerate(vs)} for n, vs in {**prep.get("onehot", {}), **prep.get("embedded", {})}.items()}


TYPES = {"number": float, "integer": int, "boolean": bool}
Row = create_model("Row", **{c["name"]: (TYPES.get(c["kind"], str) | None, ...) for c in package.columns})  # type: ignore[call-overload]


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


def tabular(rows: list[Any]) -> dict[str, torch.Tensor]:
    numeric, categorical = [], []
    for row in rows:
        x: list[float] = []
        for name, fitted in prep["numeric"].items():
            value = getattr(row, name)
            x.append(((fitted["fill"] if value is None else value) - fitted["center"]) / fitted["scale"])
            if fitted["missing"]:
                x.append(float(value is None))
        for name, values in prep["onehot"].items():
            one = [0.0] * len(values)
            if (value := getattr(row, name)) in places[name]:
                one[places[name][value]] = 1.0
            x += one
        numeric.append(x)
        categorical.append([places[name].get(getattr(row, name), -1) + 1 for name in prep["embedded"]])
    return {"numeric": torch.tensor(numeric), "categorical": torch.tensor(categorical)}


def image(rows: list[Any]) -> torch.Tensor:
    import numpy as np
    from PIL import Image, ImageOps

    side, cut = prep["side"], (prep["side"] - prep["size"]) // 2
    method = Image.Resampling[prep["interpolation"].upper()]
    pictures = [Image.open(io.BytesIO(base64.b64decode(getattr(row, prep["image"])))).convert("RGB") for row in rows]
    x = torch.from_numpy(np.stack([np.asarray(ImageOps.fit(p, (side, side), method)) for p in pictures])).permute(0, 3, 1, 2)
    x = x[:, :, cut : cut + prep["size"], cut : cut + prep["size"]].float() / 255
    return (x - torch.tensor(prep["mean"])[:, None, None]) / torch.tensor(prep["std"])[:, None, None]


def text(rows: list[Any]) -> dict[str, torch.Tensor]:
    words = [getattr(row, prep["texts"][0]) for row in rows]
    x = tokenizer(words, truncation=True, max_length=prep["max_length"], padding=True, return_tensors="pt")
    return {name: x[name] for name in ("input_ids", "attention_mask")}


kind = next(k for k in ("tabular", "image", "text") if (Path("src/my_model") / k).is_dir())
if kind == "text":
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(package.fitted.config.encoder)


def answer(rows: list[Any]) -> list[dict[str, Any]]:
    with torch.inference_mode():
        outputs = model({"tabular": tabular, "image": image, "text": text}[kind](rows)) / manifest["temperature"]
    p = torch.cat([1 - outputs.sigmoid(), outputs.sigmoid()], 1) if outputs.shape[1] == 1 else outputs.softmax(1)
    called = (p[:, 1] >= manifest["threshold"]).long() if manifest["threshold"] is not None else p.argmax(1)
    classes = manifest["classes"]
    return [
        {"prediction": classes[c], "probabilities": dict(zip(classes, some, strict=True))}
        for c, some in zip(called.tolist(), p.tolist(), strict=True)
    ]


app = FastAPI()
last: list[Any] = []


@app.post("/predict")
async def predict(asked: Rows) -> dict[str, Any]:
    """Answers, computed in the event loop."""
    last[:] = asked.rows
    return {"predictions": answer(asked.rows)}


@app.get("/own")
async def own(seconds: float) -> dict[str, float]:
    """Mean seconds of the network and its preprocessing for the rows of the last request, again and again for so long."""
    began, n = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        answer(last)
        n += 1
    return {"seconds": took / n}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
