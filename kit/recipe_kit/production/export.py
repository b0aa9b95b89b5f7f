"""Export a trained model as a package: a folder that holds all it needs, is named after its content, and proves itself."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.check_result import CheckResult, check_result
from ..checks.data import any_null
from ..owner.engine import calibration, decisions, kinds, metrics
from ..owner.engine.files import sha256, sync_folder, to_json, write_atomic
from ..owner.engine.fitted import Fitted, load_competitor, load_fitted
from ..owner.engine.splits import MANIFEST as SPLIT
from ..owner.engine.splits import read_manifest, split_hash, splits
from ..owner.engine.stop import alone
from ..owner.errors import UserError
from ..owner.task import Data
from ..project import Project, Run
from ..runs import environment
from ..steps.evaluate import choose
from . import data_card, model, model_card, reference, registry, sbom, schema
from .sign import sign

NEW = ".new-"  # a package that is being written
GOLDEN = 16  # validation rows whose outputs are pinned; half of them with missing values where there are such


@dataclass
class Source:
    """What is exported: the record of its run, the model on the CPU, its validation outputs [n, k] and their truth [n]."""

    record: dict[str, Any]
    fitted: Fitted
    outputs: np.ndarray
    truth: np.ndarray
    tested: dict[str, Any] | None


def chosen(project: Project, args: argparse.Namespace) -> dict[str, Any]:
    """The run or baseline whose model is exported."""
    wanted, _ = _wanted(project, args.run)
    baselines = {r["id"]: r for r in project.records("baseline")}
    return baselines[wanted] if wanted in baselines else choose(project, wanted)[0]


def run(project: Project, run: Run, args: argparse.Namespace) -> None:
    """Write the package under another name, load it as a server would, and only then give it its name."""
    data = splits(project)
    source = find_source(project, args.run, data)
    folder = project.root / registry.FOLDER
    folder.mkdir(exist_ok=True)
    with alone(folder, wait=True), tempfile.TemporaryDirectory(dir=folder, prefix=NEW) as made:
        for left in folder.glob(f"{NEW}*"):  # by exports that were killed: whoever holds the lock is the only one
            if left != Path(made):
                shutil.rmtree(left, ignore_errors=True)
        new = Path(made) / "package"
        new.mkdir()
        manifest = write(project, source, data, new)
        number = 1 + max((int(name.split("-")[0]) for name in registry.versions(project.root)), default=0)
        version = f"{number:0{registry.LEAST}d}-{registry.digest(manifest)}"
        final = new.with_name(version)
        new.rename(final)
        package = model.load(project.task, final)
        apart = model.replay(package)
        if args.onnx:
            from .onnx import export

            run.add(export(package, data["val"], Path(made) / f"{version}.onnx"))
        if args.hub:
            from .hub import publish

            run.result["hub"] = publish(project.root, package, args.hub)
            project.say(f"  {version} -> {run.result['hub']}")
        for whole in sorted(Path(made).iterdir(), key=Path.is_dir):  # the version last: with it the export is done
            os.replace(whole, folder / whole.name)
        sync_folder(folder)
    size = sum(path.stat().st_size for path in (folder / version).rglob("*") if path.is_file())
    run.result |= {"version": version, "run": source.record["id"], "bytes": size, "golden": apart}
    run.result["ledger"] = {"version": version, "model": source.fitted.name, "parent": source.record["id"]}
    run.add(agreement(apart), show=True)
    project.say(f"  {source.record['id']} ({source.fitted.name}) -> models/{version}, {size / 1e6:.1f} MB")
    project.say(f"  next: recipe promote {version}, then recipe serve")


def agreement(apart: float) -> CheckResult:
    """The golden examples, answered by the exported package as a client's rows are. A larger difference stops the export."""
    return check_result(
        "golden examples",
        f"validation rows answered by the package as a client would ask: largest difference {apart:.1e}",
        evidence={"difference": apart, "allowed": model.AGREE},
    )


def find_source(project: Project, wanted: str, data: dict[str, Data]) -> Source:
    """The named run; else the one that was evaluated; else the best on validation. A baseline record gives its best."""
    wanted, tested = _wanted(project, wanted)
    baselines = {r["id"]: r for r in project.records("baseline")}
    if wanted in baselines:
        record, fitted = baselines[wanted], load_competitor(project, baselines[wanted], data["train"])
        if fitted is None or not (project.root / "runs" / wanted / "model").is_dir():
            raise UserError(f"the best baseline of {wanted} cannot be saved as a model; export a training run")
        outputs = f"outputs-{fitted.name}.npy"
    else:
        record, _ = choose(project, wanted)
        fitted, outputs = load_fitted(project, record), "outputs.npy"
    fitted.config = fitted.config.model_copy(update={"device": "cpu", "precision": "fp32"})
    if fitted.model is not None:
        fitted.model = fitted.model.to("cpu")
    folder = project.root / "runs" / record["id"]
    loaded = [np.load(folder / name, allow_pickle=False) for name in (outputs, "y.npy")]
    return Source(record, fitted, loaded[0], loaded[1], tested)


def _wanted(project: Project, wanted: str) -> tuple[str, dict[str, Any] | None]:
    """Id of the named run, else of the one that was evaluated ("" where none was), and the newest evaluation of it."""
    tests = [r for r in project.records("evaluate") if r["fingerprint"]["data"] == project.fingerprint["data"]]
    wanted = wanted or (tests[-1]["result"]["run"] if tests else "")
    return wanted, next((r for r in reversed(tests) if r["result"]["run"] == wanted), None)


def write(project: Project, source: Source, data: dict[str, Data], folder: Path) -> dict[str, Any]:
    """All files of the package, package.json last; returns what package.json holds."""
    fitted = source.fitted
    data = {name: part.sample() for name, part in data.items()}
    columns = schema.describe(data["train"])
    write_atomic(folder / "golden.json", to_json(golden(fitted, columns, data["val"], folder)))
    changed = save_model(fitted, folder)
    write_atomic(folder / "prep.json", to_json(fitted.prep, indent=None))
    shutil.copyfile(project.root / SPLIT, folder / SPLIT)
    for licence in ("LICENSE", "LICENCE"):
        if (project.root / licence).is_file():
            shutil.copyfile(project.root / licence, folder / "LICENSE")
    manifest = describe(project, source, columns, changed)
    told = model.Package(folder, manifest, fitted, columns)
    statistics = reference.of_training(told, data["train"], data["val"], source.outputs)
    write_atomic(folder / "reference.json", to_json(statistics, indent=None))
    write_atomic(folder / "MODEL_CARD.md", model_card.card(project, source.record, source.tested, manifest))
    write_atomic(folder / "DATA_CARD.md", data_card.data_card(project))
    write_atomic(folder / sbom.FILE, to_json(sbom.bill(project.root, manifest)))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_atomic(folder / registry.MANIFEST, to_json(manifest))
    sign(folder / registry.MANIFEST)
    return manifest


def save_model(fitted: Fitted, folder: Path) -> dict[str, Any]:
    """Weights in safetensors or the baseline's own files, and what else it needs; returns the settings that change."""
    packed, changed = fitted.task.prepare_export(fitted.config, fitted.prep, fitted.model, folder)
    if fitted.baseline is not None:
        (folder / "model").mkdir()
        fitted.baseline.save(folder / "model")
        return changed
    from safetensors.torch import save_file

    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in packed.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    return changed


def describe(project: Project, source: Source, columns: list[schema.Column], changed: dict[str, Any]) -> dict[str, Any]:
    """package.json without its hashes: where the model comes from, how it is to be read, and what it was worth."""
    config, prep, result = source.fitted.config, source.fitted.prep, source.record["result"]
    temperature, cut = temperature_and_threshold(source)
    metric = project.config.resolved_metric
    own = result.get("metrics") or result["baselines"][source.fitted.name]["metrics"]
    plain = {name: value for name, value in changed.items() if not isinstance(value, Path)}
    seen = environment(project.root)
    return {
        "schema": 1, "exported": datetime.now(UTC).isoformat(timespec="seconds"), "run": source.record["id"],
        "name": source.fitted.name, "task": config.task, "target": config.target, "classes": prep["classes"],
        "temperature": temperature, "threshold": cut,
        "chosen_for": decisions.in_words(config) if cut is not None else None,
        "metric": metric, "tested": source.tested is not None,
        "metrics": source.tested["result"]["metrics"] if source.tested else own,
        "split": split_hash(read_manifest(project)), "data": project.data.sha256,
        "commit": seen["commit"], "libraries": seen["libraries"], "forced": project.forced,
        "columns": columns, "target_kind": kinds.of_column(project.data, config.target),
        "config": {**config.model_dump(), **plain},
        "paths": {name: value.as_posix() for name, value in changed.items() if isinstance(value, Path)},
        "replaced": sorted(changed), "files": {},
    }  # fmt: skip


def temperature_and_threshold(source: Source) -> tuple[float, float | None]:
    """Those that the evaluation found on validation where there was one, else found now, on validation as well."""
    config, prep = source.fitted.config, source.fitted.prep
    if not prep["classes"]:
        return 1.0, None
    if source.tested:
        found = source.tested["result"]
        return float(found["temperature"]), found["threshold"]["value"] if "threshold" in found else None
    truth = source.truth.astype(int)
    temperature = calibration.temperature(source.outputs, truth)
    if config.task != "binary":
        return temperature, None
    return temperature, decisions.threshold(
        config, metrics.class_probabilities(source.outputs / temperature)[:, 1], truth
    )


def golden(fitted: Fitted, columns: list[schema.Column], val: Data, folder: Path) -> dict[str, Any]:
    """Validation rows as a client would send them, and what the training code says of them."""
    names = [column["name"] for column in columns]
    holes = any_null(val.frame, names).to_numpy()
    spread = np.linspace(0, len(val) - 1, GOLDEN).astype(int)
    chosen = np.unique(np.r_[spread[:: 2 if holes.any() else 1], np.flatnonzero(holes)[: GOLDEN // 2]])
    part = val.take(chosen)
    outputs = fitted.outputs(part)[0]
    rows = [schema.as_row(columns, row) for row in part.frame[names].to_dicts()]
    for column in (c for c in columns if c["kind"] == "image"):
        (folder / "golden").mkdir(exist_ok=True)
        for i, row in enumerate(rows):
            kept = f"golden/{i:02d}{Path(row[column['name']]).suffix}"
            shutil.copyfile(row[column["name"]], folder / kept)
            row[column["name"]] = kept
    return {"rows": rows, "outputs": outputs}
