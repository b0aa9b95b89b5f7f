"""The reading test: project and kit with the wall between them, their sizes, imports that point one way, help in a blink."""

from __future__ import annotations

import ast
import importlib
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import KIT, QUESTIONS, ROOT, TEMPLATE, environment, run

sys.path.insert(0, str(ROOT / "docs"))
from build import crossings

PACKAGE = TEMPLATE / "src" / "{{cookiecutter.package}}"
RECIPE = KIT / "recipe_kit"
MODALITIES = QUESTIONS["modality"]
# Of the kit: a layer may import from its own and from those after it. What lies beside the folders keeps the books.
LAYERS = {"cli": 0, "production": 1, "steps": 1, "report": 2, "checks": 2, "modality": 2, "books": 3, "base": 4}
BASE = ("check_result", "commands", "__init__")


def sources(folder: Path) -> list[Path]:
    """Its Python files."""
    return sorted(folder.rglob("*.py"))


def project_files(modality: str) -> list[Path]:
    """What lies in the owner's package of this kind of data."""
    others = [other for other in MODALITIES if other != modality]
    return [p for p in sources(PACKAGE) if p.relative_to(PACKAGE).parts[0] not in others]


def layer(path: Path) -> str:
    """Which layer a file of the kit belongs to."""
    first, *rest = path.relative_to(RECIPE).with_suffix("").parts
    if (rest or [first])[-1] in BASE and len(rest) < 2:
        return "base"
    if first in ("cli", "__main__"):
        return "cli"
    return "modality" if first in MODALITIES else first if rest else "books"


def imports(path: Path, types: bool = False) -> list[Path]:
    """The files of its own side of the wall that a file imports, at any depth of the code; type-checking imports only with
    `types`."""
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
            base = path.parents[node.level - 1]
            base = base.joinpath(*node.module.split(".")) if node.module else base
            for name in node.names:
                target = base / f"{name.name}.py" if (base / f"{name.name}.py").exists() else base.with_suffix(".py")
                found.append(target if target.exists() else base / "__init__.py")
    return found


def reach(start: list[Path]) -> list[Path]:
    """These files and all that they import, at any remove."""
    reached, todo = set(), list(start)
    while todo:
        path = todo.pop()
        if path not in reached and path.exists():
            reached.add(path)
            todo += imports(path)
    return sorted(reached)


def test_the_project_imports_nothing_of_the_kit() -> None:
    """The wall: whoever deletes tools/ has a project that splits, trains, resumes, evaluates and predicts."""
    assert [p for p in sources(PACKAGE) if re.search(r"(import|from) +recipe_kit|import_module\(.recipe_kit", p.read_text())] == []
    assert [(p, q) for p in sources(PACKAGE) for q in imports(p, types=True) if PACKAGE not in q.parents or not q.exists()] == []


def test_imports_of_the_kit_point_one_way() -> None:
    inside = [(p, q) for p in sources(RECIPE) for q in imports(p) if q.exists() and RECIPE in q.parents]
    wrong = [f"{p.relative_to(RECIPE)} -> {q.relative_to(RECIPE)}" for p, q in inside if LAYERS[layer(p)] > LAYERS[layer(q)]]
    assert wrong == []


def test_what_the_kit_takes_from_the_owner_is_there() -> None:
    """docs/reference/seam.md lists it."""
    missing = [f"{of}.{name}" for of, name in crossings() if name and not hasattr(importlib.import_module(f"my_model.{of}"), name)]
    assert missing == [] and all(PACKAGE.joinpath(*of.split(".")).with_suffix(".py").exists() for of, _ in crossings())


def test_shared_code_names_no_modality() -> None:
    for folder, shared in ((PACKAGE, lambda p: p.relative_to(PACKAGE).parts[0] not in MODALITIES), (RECIPE, lambda p: layer(p) != "modality")):
        for path in filter(shared, sources(folder)):
            assert not [q for q in imports(path) if q.exists() and set(q.parts) & set(MODALITIES)], path


def test_no_template_marks_in_python() -> None:
    for path in [*TEMPLATE.rglob("*.py"), *sources(RECIPE)]:
        assert "cookiecutter" not in path.read_text(), path


def lines(paths: list[Path]) -> int:
    return sum(len(p.read_text().removesuffix("\n").split("\n")) for p in paths)


@pytest.mark.parametrize("modality", MODALITIES)
def test_sizes(modality: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed always. The limits stop growth: whoever passes one thinks about what to take out before raising it."""
    own, kit, tests = project_files(modality), sources(RECIPE), sources(TEMPLATE / "tests")
    reached = reach([PACKAGE / "engine" / "train.py", PACKAGE / modality / "recipe.py"])
    path = [PACKAGE / modality / f"{name}.py" for name in ("data", "model")]
    path += [PACKAGE / "engine" / f"{name}.py" for name in ("loop", "losses", "optim")]
    shapes = []
    for files in (own, kit):
        functions = [n for p in files for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.FunctionDef)]
        lengths = [n.end_lineno - n.lineno + 1 for n in functions]  # type: ignore[operator]
        arguments = [len(n.args.args) + len(n.args.kwonlyargs) for n in functions]
        shapes.append((max(lines([p]) for p in files), max(lengths), sum(lengths) / len(lengths), max(arguments)))
    with capsys.disabled():
        print(
            f"\n{modality}: project {lines(own)} lines, its tests {lines(tests)}, kit {lines(kit)}; from disk to loss {lines(path)},"
            f" train reaches {lines(reached)}, fit {lines(reach([path[2]]))}; the kit takes {len(crossings())} names of the project"
        )
        for side, (file, function, mean, most) in zip(("project", "kit"), shapes, strict=True):
            print(f"  {side}: longest file {file}, longest function {function}, mean {mean:.1f}, most arguments {most}")
    assert lines(path) <= 1500  # what one reads in an hour: data.py, model.py, loop.py, losses.py, optim.py
    assert lines(own) <= (7360 if modality == "sequence" else 7300) and lines(tests) <= 400  # series come in three shapes
    assert lines(kit) <= 16_780 and len(crossings()) <= 159  # 50 for two probes, of faults that had passed: every column read, nothing ahead
    assert lines(reached) <= 6510 and lines(reach([path[2]])) <= 2730
    assert max(mean for _, _, mean, _ in shapes) <= 15


def test_help_is_instant_and_imports_nothing_heavy(project: Path) -> None:
    paths = environment(project)["PYTHONPATH"]
    script = "import sys; sys.argv = ['recipe', '--help']\ntry:\n import recipe_kit.cli as c; c.main()\nexcept SystemExit: pass\nprint([m for m in ('numpy', 'torch', 'polars', 'pydantic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": paths},
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
            subprocess.run(command, env={"PYTHONPATH": paths}, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    assert cost(sys.executable, "-m", "recipe_kit", "--help") - cost(sys.executable, "-c", "pass") < 0.1


def test_going_back_to_an_earlier_version_takes_no_time(project: Path) -> None:
    """Neither it nor what looks at records imports torch, which takes seconds."""
    script = "import sys, recipe_kit.project, recipe_kit.production.registry, recipe_kit.steps.report, recipe_kit.steps.split; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(project), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_setting_is_documented_and_few(project: Path) -> None:
    done = run(project, "settings")
    assert done.returncode == 0, done.stderr
    settings = done.stdout.strip().split("\n")
    assert len(settings) // 2 <= 75
    assert all(line.startswith("    ") and len(line) > 20 for line in settings[1::2])
