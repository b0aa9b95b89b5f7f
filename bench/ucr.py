"""Series of the UCR and UEA archives as wide tables: the network `conv` and the baselines, beside published accuracies.

    pip download --no-deps aeon==1.6.0 -d FOLDER && unzip -q FOLDER/aeon-*.whl -d FOLDER
    python bench/ucr.py FOLDER                         all sets; what is in ucr-out/ is not run again
    python bench/ucr.py FOLDER GunPoint             these alone; docs/ucr.md is written from all that is there

The archive's train and test parts are two files, `data` and `test_data` with `split = "given"`; validation is cut from train. One
thread. A set takes one to ten minutes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

ROOT = Path(__file__).parents[1]
OUT = ROOT / "ucr-out"
SEEDS = 3
SETTINGS: dict[str, Any] = {"batch_size": 16, "epochs": 200, "patience": 50, "tracker": "none", "device": "cpu"}
SETS = ("ItalyPowerDemand", "BasicMotions", "GunPoint", "ArrowHead", "JapaneseVowels")
INCEPTION = "https://github.com/hfawaz/InceptionTime/blob/365ce4d/results-InceptionTime-128.csv"
INCEPTION_MTS = "https://github.com/hfawaz/InceptionTime/blob/0d623a3/results-mts.csv"
RESNET = "https://github.com/hfawaz/dl-4-tsc/blob/e0233ef/results/results-ucr-128.csv"
RESNET_MTS = "https://github.com/hfawaz/dl-4-tsc/blob/777990f/results/results-mts.csv"
# Set -> accuracy on the test part and where it is written: ResNet the mean of five repetitions there, InceptionTime an ensemble.
PUBLISHED: dict[str, dict[str, tuple[float, str]]] = {
    "ItalyPowerDemand": {"ResNet": (0.9615, RESNET), "InceptionTime": (0.9650, INCEPTION)},
    "GunPoint": {"ResNet": (0.9907, RESNET), "InceptionTime": (1.0, INCEPTION)},
    "ArrowHead": {"ResNet": (0.8377, RESNET), "InceptionTime": (0.8457, INCEPTION)},
    "BasicMotions": {"InceptionTime": (1.0, INCEPTION_MTS)},
    "JapaneseVowels": {"ResNet": (0.99, RESNET_MTS), "InceptionTime": (0.9919, INCEPTION_MTS)},
}


def as_wide(path: Path) -> pl.DataFrame:
    """A .ts file as a wide table: columns c<channel>_<step>, empty behind the end of a series, and label."""
    lines = [line.strip() for line in path.read_text().split("\n")]
    rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
    series = [[[float(value) for value in channel.split(",")] for channel in row[:-1]] for row in rows]
    longest = max(len(channel) for row in series for channel in row)
    columns: dict[str, list[float | str | None]] = {"label": [f"class {row[-1]}" for row in rows]}
    for c in range(len(series[0])):
        for step in range(longest):
            columns[f"c{c}_{step}"] = [row[c][step] if step < len(row[c]) else None for row in series]
    return pl.DataFrame(columns)


def measured(source: Path, name: str, root: Path) -> dict[str, Any]:
    """Accuracies on the test part: of the network, one for each seed, and of the baselines, fitted on the training part."""
    from my_model.config import make_config
    from my_model.engine.loop import fit, predict
    from my_model.engine.splits import assign
    from my_model.sequence.recipe import TASK, Config

    (root / "data").mkdir(parents=True)
    for part in ("train", "test"):
        as_wide(next(source.rglob(f"{name}_{part.upper()}.ts"))).write_csv(root / "data" / f"{part}.csv")
    given = {"modality": "sequence", "task": "multiclass", "target": "label", "split": "given"}
    given |= {"data": "data/train.csv", "test_data": "data/test.csv", **SETTINGS}
    found: dict[str, Any] = {"network": [], "minutes": []}
    for seed in range(SEEDS):
        began = time.perf_counter()
        config = make_config(Config, {**given, "seed": seed, "split_seed": seed}, "bench")
        data = TASK.load(config, root)  # type: ignore[arg-type]
        train, val, test = (data.take(np.flatnonzero(assign(config, data) == part)) for part in range(3))
        prep = TASK.prepare(config, train)  # type: ignore[arg-type]
        learned, watched, unseen = (TASK.examples(config, prep, part) for part in (train, val, test))  # type: ignore[arg-type]
        network, _ = fit(config, TASK, prep, learned, watched, root / f"seed{seed}")
        y = unseen.y.numpy()
        found["network"].append(float((predict(network, unseen, config).argmax(1) == y).mean()))
        found["minutes"].append((time.perf_counter() - began) / 60)
        if not seed:
            found |= {"train": len(train), "val": len(val), "test": len(test), "classes": len(prep["classes"])}
            found |= {"channels": len(prep["channels"]), "steps": int(unseen.lengths.max())}  # type: ignore[union-attr]
            plain = TASK.baselines(config, prep, train)  # type: ignore[arg-type]
            found["baselines"] = {
                one: float((fitted.predict(test).argmax(1) == y).mean()) for one, fitted in plain.items()
            }
        print(f"{name} seed {seed}: {found['network'][-1]:.4f} in {found['minutes'][-1]:.1f} min", flush=True)
    return found


def page(found: dict[str, dict[str, Any]]) -> str:
    """docs/ucr.md."""
    lines = [
        "# Series of the UCR and UEA archives",
        "",
        f"Generated by `python bench/ucr.py FOLDER`: sets that the package aeon 1.6.0 ships, written as wide tables, with the archive's own"
        f" train and test parts; a part of train is cut off for validation, which the published results did not hold out. The network is `model ="
        f' "conv"` with {", ".join(f"`{k} = {v}`" for k, v in list(SETTINGS.items())[:3])}, defaults otherwise, the same for all sets: mean and'
        f" standard deviation of the accuracy on the test part over n = {SEEDS} seeds (of weights, batches and the validation cut). Minutes are"
        " of one seed on one thread of a shared machine. The baselines learn from summaries of each series (docs/sequence.md), and are"
        " those of the first seed.",
        "",
        "| set | train + val, test | channels x steps | classes | `conv`, mean (sd) | baselines | ResNet, published | InceptionTime, published | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in SETS if name in found):
        one, shown = found[name], {}
        for model in ("ResNet", "InceptionTime"):
            value, link = PUBLISHED[name].get(model, (0.0, ""))
            shown[model] = f"[{value:.3f}]({link})" if link else "none found"
        plain = ", ".join(f"{model} {value:.3f}" for model, value in one["baselines"].items())
        lines.append(
            f"| {name} | {one['train']} + {one['val']}, {one['test']} | {one['channels']} x {one['steps']} | {one['classes']} |"
            f" {np.mean(one['network']):.3f} ({np.std(one['network'], ddof=1):.3f}) | {plain} | {shown['ResNet']} |"
            f" {shown['InceptionTime']} | {np.mean(one['minutes']):.1f} |"
        )
    missing = [name for name in SETS if name not in found]
    lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    lines += [
        "",
        "ResNet is the mean of the five repetitions in that file (of JapaneseVowels the rounded figure there, on an older copy of the set),"
        " InceptionTime an ensemble of five networks, for the multivariate sets by a file that its README does not link; both train on all"
        " of train, for 1,500 epochs.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The sets one after the other; the page is written after each."""
    sys.path[:0] = [str(ROOT / "tests")]
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        import torch
        from conftest import link

        link(Path(name))
        sys.path.insert(0, name)
        torch.set_num_threads(1)
        for one in sys.argv[2:] or SETS:
            path = OUT / f"{one}.json"
            if not path.exists():
                path.write_text(json.dumps(measured(Path(sys.argv[1]), one, Path(name) / one)))
            found = {
                known: json.loads((OUT / f"{known}.json").read_text())
                for known in SETS
                if (OUT / f"{known}.json").exists()
            }
            (ROOT / "docs" / "ucr.md").write_text(page(found))


if __name__ == "__main__":
    main()
