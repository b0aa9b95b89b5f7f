"""What other checkers say of the published faults: one seed each, scored as an alarm that the control lacks.

pip download --no-deps the tools into a folder and unzip each wheel into a folder of its own name there: torchtest2 0.1.0,
trainproof 0.22.0, preflight_ml 0.1.1, neural_net_checklist 1.1.0; torch-preflight 0.5.0 goes into an environment of its own:

python bench/published/competitors.py FOLDER ENVIRONMENT/bin/torch-preflight      writes bench/published/competitors.json
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "fault_injection"))

from fault import Strength
from pool import bake_all, warm
from rows import ALL_BASES, ROWS

FILE = Path(__file__).with_name("competitors.json")
NOTE = (
    "Defaults, one seed, on the package of the project as the fault leaves it: an alarm counts when the control does not show it."
    " The tools see a model, a batch, a loss and an optimizer, the code, or the log of the run, as their interface takes them; they"
    " were not written for these projects. An error of a tool is no alarm and counts as silence."
)
HOW = {
    "torch-preflight 0.5.0": "`check` on the files that the fault edits (of controls, engine/loop.py); errors and warnings",
    "torchtest2 0.1.0": "`check_model` with a batch of 32, the loss and the optimizer; failures and warnings",
    "trainproof 0.22.0": "`epoch` on the losses of each epoch; WARN and FAIL",
    "preflight-ml 0.1.1": "`run_checks` with a loader, the model and the loss; tables and pictures only",
    "neural-net-checklist 1.1.0": "its seven assertions for classification, one by one, overfitting within 2,000 steps; several classes only",
}
NOT_RUN = {
    "traincheck 0.2.0": "learns invariants from the traces of a reference program: hours on two shared cores for 44 programs",
}


def context() -> dict[str, Any]:
    """The project of the current folder as a tool takes it: x, y, a module that takes x, a loss of outputs and y."""
    import importlib

    import torch
    from torch import nn

    cli, splits = (importlib.import_module(f"recipe_kit.{name}") for name in ("cli", "owner.engine.splits"))
    losses, optim, task_of = (importlib.import_module(f"project.{n}") for n in ("engine.losses", "engine.optim", "task"))
    project = cli.open_project(cli.parse(["train", "--quiet"]))
    config, task = project.config, project.task
    prep = task.prepare(config, splits.splits(project)["train"])
    train = task.examples(config, prep, splits.splits(project)["train"])
    batch = next(iter(train.batches([torch.arange(32)], 0, augment=False)))
    loss, only = losses.make_loss(config, prep), list(batch.x) == ["numeric"] if isinstance(batch.x, dict) else True

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model(config, prep)

        def forward(self, x: Any = None, **named: Any) -> Any:
            return self.model(named or ({"numeric": x} if isinstance(batch.x, dict) else x))

    def mean(output: Any, y: Any) -> Any:
        return loss(output, task_of.Batch(None, y, torch.arange(len(y)))).mean()

    x = batch.x["numeric"] if isinstance(batch.x, dict) and only else batch.x
    make = lambda: Plain()  # noqa: E731
    return {"x": x, "y": batch.y, "make": make, "loss": mean, "k": len(prep["classes"]), "only": only, "optimizer": lambda m: optim.make_optimizer(config, task, m.model)}  # fmt: skip


def by_torchtest2(c: dict[str, Any]) -> list[str]:
    import torchtest2

    model = c["make"]()
    report = torchtest2.check_model(model, c["x"], c["y"], loss_fn=c["loss"], optimizer=c["optimizer"](model))
    return [result.name for result in (*report.failures, *report.warnings)]


def by_preflight_ml(c: dict[str, Any]) -> list[str]:
    from preflight.runner import run_checks

    if not c["only"]:
        return []
    found = run_checks([(c["x"], c["y"])], model=c["make"](), loss_fn=c["loss"])
    return [r.name for r in found if not r.passed and r.severity.value in ("fatal", "warn")]


def by_checklist(c: dict[str, Any]) -> list[str]:
    from neural_net_checklist import torch_diagnostics as of

    if not c["only"] or c["k"] < 3:
        return []
    given, found = (c["x"], c["y"]), []
    for name, model, more in (
        ("assert_balanced_classification_cross_entropy_loss_at_init", c["make"](), {"num_classes": c["k"]}),
        ("assert_balanced_classification_cross_entropy_init_calibrated", c["make"](), {"num_classes": c["k"]}),
        ("assert_forward_batch_independence", c["make"], {}),
        ("assert_non_zero_gradients", c["make"](), {}),
        ("assert_backward_batch_independence", c["make"], {}),
        ("assert_input_independent_baseline_worse", c["make"], {}),
        ("assert_overfit_to_batch", c["make"](), {"max_steps": 2000}),
    ):
        try:
            getattr(of, name)(model, given, **more)
        except AssertionError:
            found.append(name)
    return found


def by_trainproof(c: dict[str, Any]) -> list[str]:
    run = next(iter(sorted(Path("runs").glob("*-train"))), None)
    curves = json.loads((run / "curves.json").read_text()) if run and (run / "curves.json").exists() else []
    rows = [{"step": r["epoch"] + 1, "loss": r["train_loss"], "eval_loss": r["val_loss"], "lr": r["lr"]} for r in curves]
    Path("log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    words = [sys.executable, "-m", "trainproof", "epoch", "log.jsonl"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)})
    lines = [line.strip() for line in done.stdout.split("\n")]
    return [line.split()[1].rstrip(":") for line in lines if line.startswith(("[WARN] TP", "[FAIL] TP"))]


TOOLS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "torchtest2 0.1.0": by_torchtest2,
    "trainproof 0.22.0": by_trainproof,
    "preflight-ml 0.1.1": by_preflight_ml,
    "neural-net-checklist 1.1.0": by_checklist,
}


def look(baked: Path, folder: Path, base: Any, fault: Strength, preflight: str, out: Path) -> None:
    """Train the project once, then ask every tool; in a process of its own."""
    from trial import trial

    found: dict[str, Any] = {"errors": {}}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trial(baked, folder, base, fault, 0, steps=("split", "train"))
            files = sorted({f"src/project/{edit.file}" for edit in fault.code}) or ["src/project/engine/loop.py"]
            words = [preflight, "check", *files, "-f", "json", "-j", "1"]
            told = json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)["diagnostics"]
            found["torch-preflight 0.5.0"] = sorted({d.get("code") or d.get("rule") for d in told if d.get("severity") in ("error", "warning")})
            for name, tool in TOOLS.items():
                try:
                    found[name] = tool(context())
                except Exception as error:
                    found[name], found["errors"][name] = [], f"{type(error).__name__}: {error}"[:200]
    except Exception as error:
        found["errors"]["all"] = f"{type(error).__name__}: {error}"[:200]
    out.write_text(json.dumps(found))


def main() -> None:
    """Every control and every row; then competitors.json."""
    tools, preflight = Path(sys.argv[1]).resolve(), str(Path(sys.argv[2]).absolute())
    sys.path += [str(folder) for folder in sorted(tools.iterdir())]
    rows = [row for row in ROWS if not row.not_run]
    cases = []
    for name in sorted({row.fault.base for row in rows}, key=lambda name: -sum(row.fault.base == name for row in rows)):
        cases.append((f"control {name}", ALL_BASES[name], Strength()))
        cases += [(r.fault.id, ALL_BASES[name], r.fault.strengths["posted"]) for r in rows if r.fault.base == name]
    warm()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        with contextlib.redirect_stdout(None):
            baked = bake_all(Path(name))
        for i, (case, base, fault) in enumerate(cases):
            out = Path(name) / f"{i}.json"
            args = (baked[base.modality], Path(name) / str(i), base, fault, preflight, out)
            process = multiprocessing.get_context("fork").Process(target=look, args=args)
            process.start()
            process.join(120)
            if process.is_alive():
                process.kill()
            found[case] = json.loads(out.read_text()) if out.exists() else {"errors": {"all": "no answer in two minutes"}}
            print(case, found[case], flush=True)
            write(found)


def write(found: dict[str, Any]) -> None:
    """competitors.json from what has been asked so far."""
    content: dict[str, Any] = {"note": NOTE, "tools": {}}
    base = {row.fault.id: row.fault.base for row in ROWS if row.fault.id in found}
    for tool, how in HOW.items():
        controls = {name.removeprefix("control "): of.get(tool, []) for name, of in found.items() if name.startswith("control ")}
        new = {id: [a for a in found[id].get(tool, []) if a not in controls[base[id]]] for id in base}
        errors = sum(tool in of["errors"] or "all" in of["errors"] for of in found.values())
        how = f"{how}; {errors} of {len(found)} projects ended in an error"
        content["tools"][tool] = {"how": how, "n": len(new), "rows": new, "controls": controls}
    content["tools"] |= {tool: {"not_run": why} for tool, why in NOT_RUN.items()}
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
