"""The training section: curves, learning rate, gradients, the spread of losses, what the model says of its confidence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..owner.engine import metrics
from ..owner.engine.files import read_json
from . import plots
from .axes import Axes
from .page import Section, section
from .records import Record

LAYERS = 6  # drawn of a deep network: spread evenly from the input to the output
FOLLOWED = 4  # single examples drawn: the worst at the end, and those that rose most from their best


def training_section(folder: Path, record: Record, lr_find: Record | None, diagnoses: list[dict[str, Any]]) -> Section:
    """Everything that was seen of a run while it trained. folder: its run folder. diagnoses: findings on its curves."""
    result, drawn = record["result"], []
    prep = read_json(folder / "prep.json", "the preprocessing of a run", "train again: recipe train")
    if (folder / "curves.json").exists():
        curves = read_json(folder / "curves.json", "a run's curves", "train again: recipe train")
        said = " ".join(f"{f['check'].capitalize()}: {f['observed']}." for f in diagnoses)
        drawn += curve_plots(curves, result["metric"], result["best_epoch"], said)
        drawn += loss_plots(folder, [row["epoch"] for row in curves], result["best_epoch"])
    if lr_find:
        drawn.append(range_plot(lr_find["result"], record["config"]["lr"]))
    if (folder / "gradients.json").exists():
        drawn += gradient_plots(read_json(folder / "gradients.json", "a run's gradients", "train again: recipe train"))
    drawn += prediction_plots(folder, record["config"]["task"], prep)
    text = f"Run {record['id']}: {result['model']}"
    if result["steps"]:
        text += f", {result['parameters']:,} parameters, {result['steps']:,} steps in {record['seconds']:.0f} s"
    text += f"; {result['stopped']}." if result["stopped"] else "."
    findings = [*diagnoses, *(f for f in record["findings"] if f["check"] not in {d["check"] for d in diagnoses})]
    return section("Training", text, plots=drawn, findings=findings)


def curve_plots(curves: list[dict[str, Any]], metric: str, best: int, said: str = "") -> list[str]:
    """Loss, metric, rate and gradient norm over epochs. said: the diagnosis, which stands on the loss."""
    epochs = [row["epoch"] for row in curves]

    def column(key: str) -> tuple[list[Any], list[Any]]:
        return epochs, [row.get(key) for row in curves]

    losses = {"train (while training)": column("train_loss"), "validation": column("val_loss")}
    return [
        plots.lines("Loss", losses, Axes("epoch", "loss"), {"best": best}, note=said),
        plots.lines(f"Validation {metric}", {metric: column("val_metric")}, Axes("epoch", metric), {"best": best}),
        plots.lines("Learning rate", {"rate": column("lr")}, Axes("epoch", "rate")),
        plots.lines("Gradient norm", {"norm": column("grad_norm")}, Axes("epoch", "norm before clipping", log_y=True)),
    ]


def loss_plots(folder: Path, epochs: list[int], best: int) -> list[str]:
    """The distribution of the validation loss: its quantiles over epochs, its shape, and single examples.

    The file holds [epochs, n]: the loss of the first validation examples after each epoch.
    """
    path, seen = folder / "losses.npy", folder / "train_losses.npy"
    if not path.exists():
        return []
    losses = np.load(path, allow_pickle=False).astype(np.float64)
    train = np.load(seen, allow_pickle=False).astype(np.float64) if seen.exists() else np.empty(0)
    losses[~np.isfinite(losses)] = np.nan
    if not losses.size or np.isnan(losses).all():
        return []
    levels = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "worst": 1.0}
    some = ~np.isnan(losses).all(axis=1)
    spread = {
        name: (np.array(epochs)[some].tolist(), np.nanquantile(losses[some], q, axis=1).tolist())
        for name, q in levels.items()
    }
    at = epochs.index(best) if best in epochs else len(epochs) - 1
    return [
        plots.lines("Loss of single validation examples", spread, Axes("epoch", "loss")),
        shape_plot(losses[0], losses[at], best, train),
        followed_plot(losses, epochs),
    ]


def shape_plot(first: np.ndarray, best: np.ndarray, epoch: int, train: np.ndarray) -> str:
    """Histograms of the validation loss after the first and after the best epoch, on one logarithmic axis, and of as many
    training examples under the best weights."""
    train = train[: len(best)]
    both = np.concatenate([first, best, train])
    low = max(float(np.nanquantile(both, 0.01)), 1e-4)
    high = max(float(np.nanmax(both)), 1.01 * low)
    edges = np.geomspace(low, high, 17)
    middles = np.sqrt(edges[1:] * edges[:-1]).tolist()
    series = {
        name: (middles, np.histogram(np.clip(each[~np.isnan(each)], low, high), edges)[0].tolist())
        for name, each in (("first epoch", first), (f"best epoch, {epoch}", best), ("training, best epoch", train))
        if len(each)
    }
    return plots.lines(
        "Distribution of the loss",
        series,
        Axes("loss of an example", "examples", log_x=True),
        note="A second hump on the right is a group of examples that the model gets wrong: look at the worst ones. Training far left of validation was learned by heart.",
    )


def followed_plot(losses: np.ndarray, epochs: list[int]) -> str:
    """The loss of single examples over epochs: the worst at the end, and those that were right once and rose again."""
    if len(losses) < 2:
        return ""
    last = np.nan_to_num(losses[-1], nan=-np.inf)
    rise = last - np.nan_to_num(np.nanmin(losses, axis=0, initial=np.inf), posinf=np.inf)
    apart = np.unique(last, return_index=True)[1]  # the rows of one query share their loss, and so do copies
    worst = apart[np.argsort(-last[apart])][:FOLLOWED].tolist()
    risen = [i for i in apart[np.argsort(-rise[apart])].tolist() if i not in worst][:FOLLOWED]
    series = {f"row {i}": (epochs, losses[:, i].tolist()) for i in worst + risen}
    note = f"The first {len(worst)} end worst; the others rose most from their lowest. Rows count from 0 in validation."
    return plots.lines("Examples followed over epochs", series, Axes("epoch", "loss"), note=note)


def range_plot(result: dict[str, Any], used: float) -> str:
    """Loss against learning rate for each seed, the suggested interval shaded, and the rate that was used."""
    series = {f"seed {c['seed']}": (c["lr"], c["loss"]) for c in result["curves"]}
    return plots.lines(
        "Learning-rate range test",
        series,
        Axes("learning rate", "loss of a fixed batch", log_x=True, log_y=True),
        {"suggested": result["suggestion"], "used": used},
        (result["low"], result["high"]),
        note=f"Shaded: what the seeds suggest, {result['low']:.1e} to {result['high']:.1e}.",
    )


def gradient_plots(gradients: dict[str, Any]) -> list[str]:
    """Gradient norm and update ratio of the weights of some layers."""
    weights = {n: v for n, v in gradients["layers"].items() if "weight" in n and v["update"]} or gradients["layers"]
    names = list(weights)
    picked = [names[i] for i in sorted({round(j) for j in np.linspace(0, len(names) - 1, min(LAYERS, len(names)))})]
    short = dict(zip(picked, short_names(picked), strict=True))
    drawn = {key: {short[n]: (gradients["step"], weights[n][key]) for n in picked} for key in ("norm", "update")}
    return [
        plots.lines("Gradient norm by layer", drawn["norm"], Axes("step", "norm", log_y=True)),
        plots.lines(
            "Update size by layer",
            drawn["update"],
            Axes("step", "size of the update, as a share of the weights", log_y=True),
            note="About 1e-3 is sound; a layer far below the others hardly learns, one far above is unstable.",
        ),
    ]


def short_names(names: list[str]) -> list[str]:
    """Names of parameters without the dotted words that all of them begin with; the whole names where two would be one."""
    words = [name.split(".") for name in names]
    common = 0
    while len(names) > 1 and all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    idle = ("weight", "default", "base_layer", "base_model", "model")
    short = [".".join(w for w in word[common:] if w not in idle) for word in words]
    return short if len(set(short)) == len(names) and all(short) else names


def prediction_plots(folder: Path, task: str, prep: dict[str, Any]) -> list[str]:
    """What the model says on validation: confidence of right and wrong calls; errors; or gains by query."""
    if not (folder / "outputs.npy").exists():
        return []
    outputs, y = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("outputs", "y"))
    kept = np.isfinite(outputs).all(axis=1)
    if not kept.any():
        return []
    if task == "ranking":
        return query_plots(outputs, y, np.load(folder / "query.npy", allow_pickle=False))
    if prep["classes"]:
        return [confidence_plot(outputs[kept], y[kept].astype(int))]
    truth = y[kept] * prep["target_scale"] + prep["target_mean"]
    return error_plots(metrics.values(prep, outputs[kept]), truth)


def confidence_plot(outputs: np.ndarray, truth: np.ndarray) -> str:
    """Histogram of the probability of the called class, right and wrong calls apart."""
    probability = metrics.class_probabilities(outputs)
    right, sure = probability.argmax(axis=1) == truth, probability.max(axis=1)
    edges = np.linspace(1 / probability.shape[1], 1, 21)
    counts = {n: np.histogram(sure[k], edges)[0].tolist() for n, k in (("right", right), ("wrong", ~right))}
    axes = Axes("probability of the called class", "examples")
    return plots.bars("Confidence on validation", edges.tolist(), counts, axes)


def error_plots(prediction: np.ndarray, truth: np.ndarray) -> list[str]:
    """Predicted against true, and the histogram of the errors, in the units of the target."""
    counts, edges = np.histogram(prediction - truth, bins=min(30, max(int(math.sqrt(len(prediction))), 5)))
    cloud = (truth.tolist(), prediction.tolist())
    return [
        plots.points("Predicted against true, validation", cloud, Axes("true", "predicted"), diagonal=True),
        plots.bars("Errors on validation", edges.tolist(), {"rows": counts.tolist()}, Axes("predicted - true", "rows")),
    ]


def query_plots(outputs: np.ndarray, y: np.ndarray, query: np.ndarray) -> list[str]:
    """Histogram of the NDCG of each query: a mean hides the queries that are all wrong."""
    each = metrics.ndcg(outputs[:, 0], y, query)
    if not np.isfinite(each).any():
        return []
    edges = np.linspace(0, 1, 21)
    counts = {"queries": np.histogram(each, edges)[0].tolist()}
    return [plots.bars("NDCG of each query, validation", edges.tolist(), counts, Axes("NDCG at 10", "queries"))]
