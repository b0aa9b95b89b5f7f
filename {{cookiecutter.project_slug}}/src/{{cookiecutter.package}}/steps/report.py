"""One self-contained HTML page from the records there are: plots first, numbers with intervals, no script."""

from __future__ import annotations

import argparse
import base64
import io
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..config import LOWER_IS_BETTER
from ..engine import ledger, metrics
from ..engine.files import read_json, write_atomic
from ..engine.fitted import load_fitted
from ..engine.project import Project, Run
from ..report import plots

Section = dict[str, Any]


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Collect the newest record of each step for this data, draw, and write report.html here and in the project root."""
    from jinja2 import Environment, PackageLoader

    records = {step: latest(project, step) for step in ("audit", "split", "baseline", "check", "lr_range", "evaluate")}
    records["train"] = trained(project, records["evaluate"], args.run)
    sections = [*result_sections(project, records), *data_sections(records), *book_sections(project, records)]
    page = (
        Environment(loader=PackageLoader(__package__.rpartition(".")[0], "report"), autoescape=True, trim_blocks=True)
        .get_template("page.html")
        .render(
            name=project.root.name,
            task=project.config.task,
            target=project.config.target,
            metric=project.config.resolved_metric,
            made=datetime.now().strftime("%Y-%m-%d %H:%M"),
            verdict=verdict_lines(project, records),
            sections=sections,
        )
    )
    write_atomic(run.folder / "report.html", page)
    shutil.copyfile(run.folder / "report.html", project.root / "report.html")
    run.result |= {
        "page": "report.html",
        "bytes": len(page.encode()),
        "sections": [s["title"] for s in sections],
        "of": {k: r["id"] for k, r in records.items() if r},
    }
    project.say(f"  {len(sections)} sections, {len(page) // 1024} kB -> {project.root / 'report.html'}")


def latest(project: Project, step: str) -> dict[str, Any] | None:
    """The newest record of a step, whatever it was made for; the page says when it is out of date."""
    records = project.records(step)
    return records[-1] if records else None


def trained(project: Project, evaluated: dict[str, Any] | None, wanted: str) -> dict[str, Any] | None:
    """The training run to show: the named one, else the evaluated one, else the newest that finished."""
    records = [r for r in project.records("train") if "metrics" in r["result"]]
    wanted = wanted or (evaluated["result"]["run"] if evaluated else "")
    return next((r for r in records if r["id"] == wanted), records[-1] if records else None)


def verdict_lines(project: Project, records: dict[str, Any]) -> list[str]:
    """What the page says first, in plain words."""
    train, evaluated, metric = records["train"], records["evaluate"], project.config.resolved_metric
    lines = []
    against = train["result"].get("against_baseline") if train else None
    if against:
        low, high = sorted((against["low"], against["high"]))
        sign = -1 if metric in LOWER_IS_BETTER else 1
        gain_low, gain_high = (low, high) if sign > 0 else (-high, -low)
        who = "The network" if train["result"]["model"] == "network" else train["result"]["model"]
        words = f"by {abs(against['value']):.4f} {metric} [{low:.4f}, {high:.4f}]"
        if gain_low > 0:
            lines.append(f"{who} beats the best simple model, {against['name']}, {words} on validation.")
        elif gain_high < 0:
            lines.append(f"{who} is not worth having: {against['name']} is better {words} on validation.")
        else:
            lines.append(
                f"{who} is not worth having over {against['name']} on this evidence: the difference {against['value']:+.4f} {metric} [{low:.4f}, {high:.4f}] includes 0."
            )
    else:
        lines.append("No model is trained yet." if not train else "No baseline was run: the result cannot be judged.")
    if evaluated:
        score = evaluated["result"]["metrics"][metric]
        times = len(evaluated["result"]["openings"])
        clean = "opened once" if times == 1 else f"opened {times} times, so this is no clean test"
        lines.append(
            f"Test ({clean}, {evaluated['result']['rows']:,} rows): {metric} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]."
        )
    else:
        lines.append("The test part is still shut.")
    red = [f"{r['id']}: {f['check']}" for r in records.values() if r for f in r["findings"] if f["verdict"] == "FAIL"]
    lines.append(f"Red: {'; '.join(red)}." if red else "No check is red.")
    return lines


def section(title: str, text: str = "", **parts: Any) -> Section:
    """A section of the page; empty plots are left out."""
    parts["plots"] = [p for p in parts.get("plots", []) if p]
    return {"title": title, "text": text, "tables": [], "findings": [], "examples": [], "details": [], **parts}


def result_sections(project: Project, records: dict[str, Any]) -> list[Section]:
    """Model against baselines, curves, gradients, losses, calibration, per class, slices, worst examples."""
    found: list[Section | None] = [against_section(project, records)]
    if records["train"]:
        found += [training_section(project, records), worst_section(project, records["train"])]
    if records["evaluate"]:
        found.insert(1, test_section(project, records["evaluate"]))
    return [s for s in found if s]


def against_section(project: Project, records: dict[str, Any]) -> Section:
    """Forest plot of all models on validation."""
    metric, rows = project.config.resolved_metric, {}
    if records["baseline"]:
        rows = {
            name: entry["metrics"][metric]
            for name, entry in records["baseline"]["result"]["baselines"].items()
            if metric in entry["metrics"]
        }
    for record in project.records("train"):
        result = record["result"]
        if (
            metric in result.get("metrics", {})
            and records["train"]
            and record["fingerprint"]["split"] == records["train"]["fingerprint"]["split"]
        ):
            rows[f"{result['model']} {record['id'][:4]}"] = result["metrics"][metric]
    mine = f"{records['train']['result']['model']} {records['train']['id'][:4]}" if records["train"] else ""
    return section(
        "Model against baselines",
        "Validation, 95 % bootstrap intervals. The orange one is the model of this page."
        if mine
        else "Validation, 95 % bootstrap intervals.",
        plots=[plots.intervals(f"{metric} on validation", rows, metric, mine)],
        tables=[
            {
                "title": "scores",
                "head": ["model", metric, "low", "high"],
                "rows": [[n, f"{r['value']:.4f}", f"{r['low']:.4f}", f"{r['high']:.4f}"] for n, r in rows.items()],
            }
        ]
        if rows
        else [],
    )


def test_section(project: Project, record: dict[str, Any]) -> Section:
    """What the opened test part said."""
    result = record["result"]
    drawn = []
    tables = [
        {
            "title": "test scores",
            "head": ["metric", "value", "low", "high"],
            "rows": [
                [n, f"{s['value']:.4f}", f"{s['low']:.4f}", f"{s['high']:.4f}"] for n, s in result["metrics"].items()
            ],
        }
    ]
    if "confusion" in result:
        after = result["calibration"]["after"]
        before = result["calibration"]["before"]
        drawn = [
            plots.matrix("Confusion on test", result["confusion"], result["classes"], "called", "truth"),
            plots.reliability(
                f"Reliability: ECE {before['ece']:.3f} (chance alone up to {before['ece_null']:.3f}), after temperature {result['temperature']:.2f}: {after['ece']:.3f}",
                {"as trained": before["bins"], "after temperature": after["bins"]},
            ),
        ]
        tables.append(
            {
                "title": "per class",
                "head": ["class", "precision", "recall", "F1", "rows"],
                "rows": [
                    [c["class"], *(_number(c[k]) for k in ("precision", "recall", "f1")), c["support"]]
                    for c in result["per_class"]
                ],
            }
        )
    if result.get("slices"):
        drawn.append(
            plots.intervals(
                "Slices of the test part",
                {f"{s['column']} {s['value']} ({s['n']})": s for s in result["slices"]},
                result["metric"],
            )
        )
    text = f"Run {result['run']} ({result['model']})."
    if "threshold" in result:
        cut = result["threshold"]
        text += f" Threshold from declared costs, chosen on validation: {cut['value']:.3f}; cost per row {cut['cost']:.4f}, at 0.5 it would be {cut['cost_at_half']:.4f}."
    if "baseline" in result:
        d = result["baseline"]["difference"]
        text += f" Against {result['baseline']['name']} on the same rows: {d['value']:+.4f} [{d['low']:.4f}, {d['high']:.4f}]."
    return section("Test", text, plots=drawn, tables=tables, findings=record["findings"])


def training_section(project: Project, records: dict[str, Any]) -> Section:
    """Curves, learning rate, gradients, the distribution of losses and confidences."""
    record = records["train"]
    folder = project.root / "runs" / record["id"]
    drawn = []
    if (folder / "curves.json").exists():
        drawn = curve_plots(folder, record["result"]["metric"], record["result"]["best_epoch"])
    if records["lr_range"]:
        result = records["lr_range"]["result"]
        series = {f"seed {c['seed']}": (c["lr"], c["loss"]) for c in result["curves"]}
        drawn.append(
            plots.lines(
                "Learning-rate range test",
                series,
                "learning rate",
                "loss of a fixed batch",
                log_x=True,
                marks={"suggested": result["suggestion"], "used": record["config"]["lr"]},
            )
        )
    drawn += prediction_plots(project, record, folder)
    result = record["result"]
    text = f"Run {record['id']}: {result['model']}, {result['parameters']:,} parameters, {result['steps']:,} steps in {record['seconds']:.0f} s"
    return section(
        "Training",
        f"{text}; {result['stopped']}." if result["stopped"] else f"{text}.",
        plots=drawn,
        findings=record["findings"],
    )


def curve_plots(folder: Path, metric: str, best: int) -> list[str]:
    """Loss, metric, rate, gradient norms, update ratios and the spread of losses over epochs."""
    curves = read_json(folder / "curves.json", "a run's curves", "train again")
    epochs = [row["epoch"] for row in curves]

    def column(key: str) -> tuple[list[float], list[float]]:
        return epochs, [row[key] if row[key] is not None else float("nan") for row in curves]

    drawn = [
        plots.lines(
            "Loss",
            {"train (while training)": column("train_loss"), "validation": column("val_loss")},
            "epoch",
            "loss",
            marks={"best": best},
        ),
        plots.lines(f"Validation {metric}", {metric: column("val_metric")}, "epoch", metric, marks={"best": best}),
        plots.lines("Learning rate", {"lr": column("lr")}, "epoch", "rate"),
    ]
    if (folder / "gradients.json").exists():
        gradients = read_json(folder / "gradients.json", "a run's gradients", "train again")
        weights = {n: v for n, v in gradients["layers"].items() if "weight" in n and v["update"]} or gradients["layers"]
        shown = list(weights)[:: max(len(weights) // 7, 1)][:8]
        drawn.append(
            plots.lines(
                "Gradient norm by layer",
                {n: (gradients["step"], weights[n]["norm"]) for n in shown},
                "step",
                "norm",
                log_y=True,
            )
        )
        drawn.append(
            plots.lines(
                "Update size by layer (of the weights' norm)",
                {n: (gradients["step"], weights[n]["update"]) for n in shown},
                "step",
                "update / weight",
                log_y=True,
            )
        )
    losses = np.load(folder / "losses.npy", allow_pickle=False)
    levels = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "worst": 1.0}
    drawn.append(
        plots.lines(
            "Loss of single validation examples",
            {n: (epochs, np.quantile(losses, q, axis=1).tolist()) for n, q in levels.items()},
            "epoch",
            "loss",
        )
    )
    return drawn


def prediction_plots(project: Project, record: dict[str, Any], folder: Path) -> list[str]:
    """Loss histogram at the end; confidence histogram for classes, residuals for regression."""
    outputs = np.load(folder / "outputs.npy", allow_pickle=False)
    y = np.load(folder / "y.npy", allow_pickle=False)
    fitted = load_fitted(project, record)
    drawn = []
    if fitted.prep["classes"]:
        chance = metrics.probabilities(fitted.config, fitted.prep, outputs)
        each = -np.log(np.clip(chance[np.arange(len(y)), y.astype(int)], 1e-12, None))
        counts, edges = np.histogram(chance.max(axis=1), bins=20, range=(1 / chance.shape[1], 1))
        drawn.append(
            plots.bars(
                "Confidence on validation",
                edges.tolist(),
                counts.tolist(),
                "probability of the called class",
                "examples",
            )
        )
    else:
        each = metrics.values(fitted.prep, outputs) - (y * fitted.prep["target_scale"] + fitted.prep["target_mean"])
    counts, edges = np.histogram(each, bins=30)
    drawn.append(
        plots.bars(
            "Loss of each validation example" if fitted.prep["classes"] else "Error of each validation example",
            edges.tolist(),
            counts.tolist(),
            "log loss" if fitted.prep["classes"] else "predicted - true",
            "examples",
        )
    )
    return drawn


def worst_section(project: Project, record: dict[str, Any]) -> Section | None:
    """The examples with the highest loss, as they entered the model."""
    path = project.root / "runs" / record["id"] / "worst.json"
    if not path.exists():
        return None
    rows = read_json(path, "a run's worst examples", "train again")
    prep = read_json(path.parent / "prep.json", "the preprocessing of a run", "train again")
    return section(
        "Worst validation examples",
        "Decoded back from the tensors that entered the model. Wrong labels and broken inputs show here first.",
        examples=[example(row, prep) for row in rows],
    )


def example(row: dict[str, Any], prep: dict[str, Any]) -> dict[str, Any]:
    """One example for the page: an image when it has one, else its values."""
    shown = dict(row["shown"])
    image = png(np.array(shown.pop("image"), dtype=np.uint8)) if "image" in shown else ""
    truth = (
        prep["classes"][int(row["y"])]
        if prep["classes"]
        else f"{row['y'] * prep['target_scale'] + prep['target_mean']:.4g}"
    )
    tokens = shaded(row.get("explained", {}))
    if tokens:
        shown.pop("tokens", None)  # shown with their weights instead
    text = "; ".join(f"{name}: {value}" for name, value in shown.items())
    return {
        "title": f"truth {truth}, called {called(row['output'], prep)}, loss {row['loss']:.2f}",
        "text": text if len(text) < 700 else text[:700] + " ...",
        "image": image,
        "tokens": tokens,
    }


def called(output: list[float], prep: dict[str, Any]) -> str:
    """What the model said, in words."""
    if not prep["classes"]:
        return f"{output[0] * prep['target_scale'] + prep['target_mean']:.4g}"
    number = int(output[0] > 0) if len(output) == 1 else int(np.argmax(output))
    return str(prep["classes"][number])


def shaded(explained: dict[str, Any], most: int = 160) -> list[tuple[str, int]]:
    """Tokens with a shade from 0 to 4 by their share of the attention; the first and last are special and not shaded."""
    weights = np.array(explained.get("weights", []), dtype=float)
    if len(weights) < 3:
        return []
    weights[[0, -1]] = 0.0
    shades = np.ceil(4 * weights / max(weights.max(), 1e-12) - 0.5).clip(0, 4).astype(int)
    return list(zip(explained["tokens"][:most], shades.tolist(), strict=False))


def png(pixels: np.ndarray) -> str:
    """A uint8 image [h, w, 3] as a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def data_sections(records: dict[str, Any]) -> list[Section]:
    """Audit, split and check findings."""
    titles = {"audit": "What the audit found", "split": "The split", "check": "Checks before training"}
    order = {"FAIL": 0, "WARN": 1, "PASS": 2, "NOT APPLICABLE": 3}
    found = []
    for step, title in titles.items():
        if record := records[step]:
            findings = sorted(record["findings"], key=lambda f: order[f["verdict"]])
            sizes = record["result"].get("sizes")
            text = f"{record['id']}, {record['started']}" + (
                ": " + ", ".join(f"{n} {c:,}" for n, c in sizes.items()) if sizes else ""
            )
            found.append(section(title, text, findings=findings))
    return found


def book_sections(project: Project, records: dict[str, Any]) -> list[Section]:
    """The ledger, the knobs and the environment."""
    newest = next(
        (records[s] for s in ("train", "evaluate", "check", "baseline", "split", "audit") if records.get(s)), None
    )
    found = [section("Ledger", details=[("Every step so far", ledger.table(ledger.read(project.ledger)))])]
    if newest:
        environment = newest["environment"]
        libraries = "\n".join(f"{n} {v}" for n, v in environment["libraries"].items() if v)
        rest = "\n".join(f"{k}: {v}" for k, v in environment.items() if k != "libraries")
        knobs = "\n".join(f"{k} = {v!r}" for k, v in newest["config"].items())
        found.append(
            section("Environment and knobs", details=[("Environment", f"{rest}\n{libraries}"), ("Knobs", knobs)])
        )
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
