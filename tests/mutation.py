"""Mutants: each check made to pass whatever it sees, the tests of that check run, and the survivors listed.

A check whose body can be taken out without a test failing is not tested. One process imports everything once and forks
for each mutant; only tests that name the check or its function are run, and the first failure ends it.

python tests/mutation.py                  every mutant (some minutes), then docs/mutation.md
python tests/mutation.py --survivors      those that the page lists as survivors, then the page
python tests/mutation.py units lint       mutants of these files or functions only, no page
"""

from __future__ import annotations

import ast
import importlib
import inspect
import multiprocessing
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kit" / "recipe_kit"
TESTS = ROOT / "tests" / "kit"
BUILDERS = ("check_result", "not_applicable", "describe")  # what only words a finding; describe is of the terminal
SURVIVES = "survives:"
HEAVY = (
    "torch",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "cleanlab.filter",
)
ENTRIES = ("run", "command", "main", "audit", "checks")
LIMIT = 300.0  # seconds for one mutant
PAGE = ROOT / "docs" / "mutation.md"


@dataclass(frozen=True)
class Mutant:
    """A function that builds findings: the module under the kit, its name, the checks it names, and what calls it."""

    module: str
    function: str
    checks: tuple[str, ...]
    callers: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.module}.{self.function}"


def sources() -> list[Path]:
    """Modules of the kit that may hold checks."""
    return sorted(PACKAGE.rglob("*.py"))


def mutants() -> list[Mutant]:
    """Every function whose body builds a finding that may fail: those are the checks, whatever file they lie in."""
    found = []
    for path in sources():
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name not in BUILDERS and _reds(node):
                found.append(Mutant(module, node.name, tuple(sorted(_names(tree, node))), _callers(tree, node.name)))
    return found


@cache
def known() -> set[str]:
    """Names of all checks, as every findings.toml lists them."""
    files = PACKAGE.glob("*/findings.toml")
    return {name for path in files for name in tomllib.loads(path.read_text(encoding="utf-8"))}


def _words(nodes: Sequence[ast.AST]) -> set[str]:
    """Names of variables below these nodes."""
    return {child.id for node in nodes for child in ast.walk(node) if isinstance(child, ast.Name)}


def _texts(node: ast.AST) -> set[str]:
    return {child.value for child in ast.walk(node) if isinstance(child, ast.Constant) and isinstance(child.value, str)}


def _reds(node: ast.AST) -> list[ast.Call]:
    """Calls of `check_result` that say when it fails; others only tell."""
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    told = [call for call in calls if call.func.id == "check_result"]  # type: ignore[attr-defined]
    return [call for call in told if {"fail", "warn"} & {keyword.arg for keyword in call.keywords}]


def _names(tree: ast.Module, node: ast.FunctionDef) -> set[str]:
    """Names of the checks: as written in the call, as assigned before it, or as handed in by callers in the same file."""
    names: set[str] = set()
    for call in _reds(node):
        first = call.args[0]
        if isinstance(first, ast.Constant):
            names.add(str(first.value))
            continue
        word = ast.unparse(first)
        for other in ast.walk(tree):
            if isinstance(other, ast.Assign) and word in _words(other.targets):
                names |= _texts(other.value)
            if (
                isinstance(other, ast.Call)
                and isinstance(other.func, ast.Name)
                and other.func.id == node.name
                and other.args
            ):
                given = _words([other.args[0]])
                assigned = [a for a in ast.walk(tree) if isinstance(a, ast.Assign) and given & _words(a.targets)]
                names |= _texts(other.args[0]).union(*(_texts(a.value) for a in assigned))
    return names & known()


def _callers(tree: ast.Module, function: str) -> tuple[str, ...]:
    """Functions of the same file that call it; the entry of a step is called by everything and says nothing."""
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name not in (*ENTRIES, function)
    ]
    return tuple(n.name for n in functions if any(isinstance(c, ast.Name) and c.id == function for c in ast.walk(n)))


def test_files(mutant: Mutant) -> list[Path]:
    """The three test files that name the function, its module or its checks most often."""
    leaf, function = mutant.module.split(".")[-1], mutant.function.strip("_")
    weights: dict[Path, int] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        alias = "|".join({leaf, *re.findall(rf"\b{leaf} as (\w+)", text)})
        called = "|".join((mutant.function, *mutant.callers))
        weight = 20 * len(re.findall(rf"\b(?:{alias})\.(?:{called})\b", text)) + 3 * sum(
            text.count(f'"{c}"') for c in mutant.checks
        )
        weight += len(re.findall(rf"\b{function}\b", text)) + 20 * (path.stem == f"test_{mutant.module.split('.')[0]}")
        weight += bool(re.search(rf"\b{leaf}\b", text))
        if weight:
            weights[path] = weight
    return sorted(weights, key=lambda path: -weights[path])[:3]


def pacify(module: Any, function: str) -> None:
    """Make the findings of one function pass, in place, so that whoever holds the function already gets the mutant."""
    from dataclasses import replace

    def green(*args: Any, **options: Any) -> Any:
        return replace(module.check_result(*args, **{**options, "fail": False, "warn": False}), causes=(), next="")

    module.passing_result = green
    body = getattr(module, function)
    body.__code__ = _renamed(body.__code__)


def _renamed(code: CodeType) -> CodeType:
    """The code with every use of the global name `finding` turned to `passing_result`."""
    inner = tuple(_renamed(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    names = tuple("passing_result" if name == "check_result" else name for name in code.co_names)
    return code.replace(co_names=names, co_consts=inner)


class Chosen:
    """Runs only the tests that name the check or its function, those that say so in their own name first: a test that
    fails by luck is no test of it."""

    def __init__(self, mutant: Mutant) -> None:
        words = [mutant.function.strip("_"), *mutant.callers, *mutant.checks]
        self.words = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in words))

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        named = [item for item in items if self.words.search(item.name)]
        items[:] = named + [item for item in items if item not in named and self.words.search(_source(item))]


def _source(item: Any) -> str:
    try:
        return inspect.getsource(item.function)
    except (OSError, TypeError):
        return ""


def run_tests(mutant: Mutant) -> bool:
    """Whether a test failed."""
    import pytest

    options = ["-q", "-x", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(ROOT)]
    for path in test_files(mutant):
        with tempfile.TemporaryDirectory() as folder:
            done = pytest.main([*options, "--basetemp", f"{folder}/t", str(path)], plugins=[Chosen(mutant)])
        if done == pytest.ExitCode.TESTS_FAILED:
            return True
    return False


def _child(mutant: Mutant, answer: Any) -> None:
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    pacify(importlib.import_module(f"recipe_kit.{mutant.module}"), mutant.function)
    answer.send(run_tests(mutant))
    os._exit(0)


def killed(mutant: Mutant) -> bool:
    """Run the tests of one mutant in a fork. One that runs out of time or crashes is not killed: nobody saw it fail."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(mutant, there))
    process.start()
    there.close()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    try:
        return bool(here.recv())
    except EOFError:
        return False


def warm(chosen: list[Mutant]) -> None:
    """Import the modules of the mutants, and the heavy libraries where they pay."""
    importlib.import_module("conftest")  # makes kit and package importable
    for name in HEAVY if len(chosen) > len(HEAVY) else ():
        importlib.import_module(name)
    for module in dict.fromkeys(m.module for m in chosen):
        importlib.import_module(f"recipe_kit.{module}")


def survivors(chosen: list[Mutant]) -> list[Mutant]:
    """The mutants that no test noticed."""
    left = []
    warm(chosen)
    for mutant in chosen:
        began = time.monotonic()
        dead = killed(mutant)
        left += [] if dead else [mutant]
        print(f"{'killed  ' if dead else 'SURVIVES'} {mutant.name:<44} {time.monotonic() - began:5.1f} s", flush=True)
    return left


def page(everything: list[Mutant], left: list[Mutant]) -> str:
    """docs/mutation.md."""
    lines = [
        "# Does a test notice when a check is taken out?\n",
        "Generated by `make mutation-test`: each function that builds a finding is made to pass whatever it sees, and the tests that"
        f" name it are run. {len(everything) - len(left)} of {len(everything)} such mutants make a test fail"
        f"{'; these do not:' if left else '.'}\n",
        *(f"- {SURVIVES} `{m.name}`: {', '.join(m.checks)}" for m in left),
        "\n| file | function | checks |",
        "|---|---|---|",
        *(f"| {m.module.replace('.', '/')}.py | {m.function} | {', '.join(m.checks)} |" for m in everything),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run; exit status 1 when one survives."""
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "TOKENIZERS_PARALLELISM": "false"}
    wanted, everything = sys.argv[1:], mutants()
    chosen = everything
    if wanted == ["--survivors"]:
        listed = re.findall(rf"- {SURVIVES} `(.+?)`", PAGE.read_text(encoding="utf-8"))
        chosen = [m for m in everything if m.name in listed]
    elif wanted:
        chosen = [m for m in everything if {m.module.split(".")[-1], m.function, m.name} & set(wanted)]
    left = survivors(chosen)
    if not wanted or wanted == ["--survivors"]:
        PAGE.write_text(page(everything, left), encoding="utf-8")
    print(f"{len(left)} of {len(chosen)} survive: {', '.join(m.name for m in left) or 'none'}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
