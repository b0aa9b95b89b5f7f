"""The reading test: the package can be read in an hour, imports point one way, help comes in a blink."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUESTIONS, TEMPLATE, bake, run

PACKAGE = TEMPLATE / "src" / "{{cookiecutter.package}}"
MODALITIES = QUESTIONS["modality"]
# A layer may import from its own and from the ones after it; `check_result`, `task`, `config`, `commands`, `errors`, `formatting` are below all.
LAYERS = {"cli": 0, "modality": 1, "production": 2, "steps": 2, "report": 3, "checks": 3, "engine": 4, "base": 5}

# What will be the owner's project once the kit has moved out, for each kind of data; all else observes it.
PROJECT = {
    "": ("__init__", "config", "errors", "formatting", "task"),
    "engine": (
        "__init__", "baseline", "calibration", "callback", "checkpoint", "data", "decisions", "dialect", "distributed", "evaluate", "files",
        "fingerprint", "fitted", "folders", "formatted", "given", "grouped", "kernel", "kinds", "linear", "loop", "losses", "memory", "metrics",
        "moments", "notes", "optim", "order", "overlap", "process_group", "resume", "runs", "seed", "slices", "source", "splits", "stop", "table",
        "target", "track", "train", "truth",
    ),
    "tabular": ("__init__", "baseline", "data", "large", "model", "recipe", "trees", "unknown"),
    "image": ("__init__", "augment", "baseline", "data", "listing", "model", "picture", "recipe", "weights"),
    "text": ("__init__", "baseline", "data", "encoder", "model", "recipe"),
}  # fmt: skip


def sources(folder: Path = PACKAGE) -> list[Path]:
    """Python files, tests left out."""
    return [p for p in sorted(folder.rglob("*.py")) if not p.name.startswith("test_") and p.parent.name != "tests"]


def layer(path: Path) -> str:
    """Which layer a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts in (("checks", "check_result"), ("config",), ("task",), ("commands",), ("errors",), ("formatting",), ("__init__",)):
        return "base"
    if parts[0] in ("cli", "__main__"):
        return "cli"
    return parts[0] if parts[0] in LAYERS else "modality"


def imports(path: Path, types: bool = False) -> list[Path]:
    """The package's own files that a file imports, at any depth of the code; type-checking imports only with `types`."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(n)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not types
        for n in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in skipped:
            base = (
                path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                if node.module
                else path.parents[node.level - 1]
            )
            for name in node.names:
                target = base / f"{name.name}.py" if (base / f"{name.name}.py").exists() else base.with_suffix(".py")
                found.append(target if target.exists() else base / "__init__.py")
    return found


def test_imports_point_one_way() -> None:
    wrong = [
        f"{p.relative_to(PACKAGE)} -> {q.relative_to(PACKAGE)}"
        for p in sources()
        for q in imports(p)
        if q.exists() and LAYERS[layer(p)] > LAYERS[layer(q)]
    ]
    assert wrong == []


def project_files(modality: str) -> list[Path]:
    return [PACKAGE / folder / f"{name}.py" for folder in ("", "engine", modality) for name in PROJECT[folder]]


def reach(start: list[Path]) -> list[Path]:
    """These files and all that they import, at any remove."""
    reached, todo = set(), list(start)
    while todo:
        path = todo.pop()
        if path not in reached and path.exists():
            reached.add(path)
            todo += imports(path)
    return sorted(reached)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_project_imports_nothing_that_observes_it(modality: str) -> None:
    """The wall: whoever takes checks, gates, reports and commands away has a project that splits, trains, resumes and evaluates."""
    own = project_files(modality)
    through = [(p, q) for p in own for q in imports(p, types=True) if q not in own]
    assert [f"{p.relative_to(PACKAGE)} -> {q.relative_to(PACKAGE)}" for p, q in through] == []


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_result_depends_on_the_code_of_the_project_alone(modality: str, tmp_path: Path) -> None:
    """What the code hash covers is what the wall encloses, and whatever file the owner adds."""
    baked = bake(tmp_path, modality=modality) / "src" / "my_model"
    (baked / modality / "blocks.py").write_text("")
    script = "from my_model.engine.fingerprint import code_files; print(*code_files())"
    shell = {"PYTHONPATH": str(baked.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=shell, capture_output=True, text=True, check=True)
    own = {str(path.relative_to(PACKAGE)) for path in project_files(modality)}
    assert set(done.stdout.split()) == own | {f"{modality}/blocks.py"}


def test_shared_code_names_no_modality() -> None:
    for path in sources():
        if layer(path) != "modality":
            assert not [q for q in imports(path) if q.exists() and layer(q) == "modality"], path


def test_no_template_marks_in_python() -> None:
    for path in TEMPLATE.rglob("*.py"):
        assert "cookiecutter" not in path.read_text(), path


def lines(paths: list[Path]) -> int:
    return sum(len(p.read_text().removesuffix("\n").split("\n")) for p in paths)


@pytest.mark.parametrize("modality", MODALITIES)
def test_sizes(modality: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed always. The limits stop growth: whoever passes one thinks about what to take out before raising it."""
    whole = [p for p in sources() if layer(p) != "modality" or p.relative_to(PACKAGE).parts[0] == modality]
    reached = reach([PACKAGE / "engine" / "train.py", PACKAGE / modality / "recipe.py"])
    functions = [n for p in whole for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.FunctionDef)]
    lengths = [n.end_lineno - n.lineno + 1 for n in functions]  # type: ignore[operator]
    arguments = [len(n.args.args) + len(n.args.kwonlyargs) for n in functions]
    path = [PACKAGE / modality / f"{name}.py" for name in ("data", "model")]
    path += [PACKAGE / "engine" / f"{name}.py" for name in ("loop", "losses", "optim")]
    with capsys.disabled():
        print(
            f"\n{modality}: from disk to loss {lines(path)} lines, package {lines(whole)}, project {lines(project_files(modality))},"
            f" train reaches {lines(reached)}, fit {lines(reach([path[2]]))}; longest file {max(lines([p]) for p in whole)},"
            f" longest function {max(lengths)}, mean {sum(lengths) / len(lengths):.1f}, most arguments {max(arguments)}"
        )
    assert lines(path) <= 1500  # what one reads in an hour: data.py, model.py, loop.py, losses.py, optim.py
    assert lines(whole) <= 21_650  # until what the owner does not edit leaves the package
    assert lines(project_files(modality)) <= 7100  # what will be the owner's
    assert lines(reached) <= 6500 and lines(reach([path[2]])) <= 2700
    assert sum(lengths) / len(lengths) <= 15


def test_help_is_instant_and_imports_nothing_heavy(project: Path) -> None:
    script = "import sys; sys.argv = ['recipe', '--help']\ntry:\n import my_model.cli as c; c.main()\nexcept SystemExit: pass\nprint([m for m in ('numpy', 'torch', 'polars', 'pydantic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.removesuffix("\n").split("\n")[-1] == "[]"

    def cost(*command: str) -> float:
        """Least processor time of ten runs: a busy machine stretches the wall clock, not this."""
        times = []
        for _ in range(10):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, env={"PYTHONPATH": str(project / "src")}, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    assert cost(sys.executable, "-m", "my_model", "--help") - cost(sys.executable, "-c", "pass") < 0.1


def test_every_setting_is_documented_and_few(project: Path) -> None:
    done = run(project, "settings")
    assert done.returncode == 0, done.stderr
    settings = done.stdout.strip().split("\n")
    assert len(settings) // 2 <= 70
    assert all(line.startswith("    ") and len(line) > 20 for line in settings[1::2])
