"""What comes out of the template: every choice, hostile answers, exact files, valid syntax, nothing left over."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import KIT, QUESTIONS, ROOT, TEMPLATE, bake, matrix

MODALITIES = QUESTIONS["modality"]


def expected_files(answers: dict[str, str], package: str = "my_model") -> set[str]:
    """The template's files under version control, less the modalities, licences and samples not chosen; and the kit."""
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", TEMPLATE.name, KIT.name], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = {f"tools/recipe_kit/{path.removeprefix('kit/')}" for path in tracked if path.startswith("kit/") and not path.endswith("/reference")}
    for path in tracked:
        if not path or path.startswith("kit/") or path.endswith("/tools/recipe_kit"):
            continue
        inner = path.removeprefix(f"{TEMPLATE.name}/").replace("{{cookiecutter.package}}", package)
        if inner.startswith("LICENSES/"):
            if inner == f"LICENSES/{answers['license']}":
                found.add("LICENSE")
            continue
        if sample := re.fullmatch(r"tests/sample/(tabular|image|text|sequence)/(.*)", inner):
            kind, rest = sample.groups()
            if kind == answers["modality"] and ("/" in rest or rest == f"{answers['task']}.csv"):
                found.add(f"tests/sample/{rest if '/' in rest else 'rows.csv'}")
            continue
        others = [m for m in MODALITIES if m != answers["modality"]]
        if not any(inner.startswith(f"src/{package}/{m}/") for m in others):
            found.add(inner)
    return found


@pytest.mark.parametrize("answers", matrix(), ids=lambda a: "-".join(a.values()))
def test_exact_files_with_valid_syntax(tmp_path: Path, answers: dict[str, str]) -> None:
    project = bake(tmp_path, **answers)
    files = {str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()}
    assert files == expected_files(answers)
    for name in files:
        parse(project / name)


@pytest.mark.parametrize("licence", QUESTIONS["license"])
def test_the_citation_follows_its_schema(tmp_path: Path, licence: str) -> None:
    files = [ROOT / "CITATION.cff", bake(tmp_path, license=licence) / "CITATION.cff"]
    assert yaml.safe_load(files[1].read_text()).get("license", "None") == licence
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [
        str(tool),
        "--builtin-schema",
        "vendor.citation-file-format",
        "--default-filetype",
        "yaml",
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def parse(path: Path) -> None:
    """Read a file the way its reader will; leftovers of the template are an error everywhere but in workflows and pages."""
    if path.suffix == ".png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        ast.parse(text)
    elif path.suffix == ".toml":
        tomllib.loads(text)
    elif path.suffix in (".yml", ".yaml", ".cff"):
        yaml.safe_load(text)
    elif path.suffix == ".json":
        json.loads(text)
    assert "cookiecutter" not in text.replace('"cookiecutter"', ""), path
    if path.suffix not in (".py", ".html", ".yml", ".lock"):
        assert "{{" not in text.replace("${{", "") and "{%" not in text, path  # ${{ is GitHub's
    assert "\r" not in text, path


HOSTILE = [
    {"project_name": "Ärzte & Söhne, Nr. 7"},
    {"author": 'O\'Brien "Bob" \\ <bob@example.org>'},
    {"author": "名前"},
    {"description": "Says \"yes\" or 'no' \\ costs 5 % — déjà vu #1 ${HOME} `id`"},
    {"description": "x" * 120},
    {"description": "Ships 🚀", "author": "Ann 🎓"},
    {"description": "]]] = \"\"\" ''' [tool]"},
]


@pytest.mark.parametrize("answers", HOSTILE, ids=str)
def test_awkward_answers_survive(tmp_path: Path, answers: dict[str, str]) -> None:
    project = bake(tmp_path, project_slug="my-model", package="my_model", **answers)
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    if "description" in answers:
        assert settings["description"] == answers["description"]
    if "author" in answers:
        assert settings["authors"][0]["name"] == answers["author"]
        assert answers["author"] in (project / "LICENSE").read_text()
    citation = yaml.safe_load((project / "CITATION.cff").read_text())
    asked = {**{k: v for k, v in QUESTIONS.items() if isinstance(v, str)}, **answers}
    assert (citation["title"], citation["abstract"]) == (asked["project_name"], asked["description"])
    assert citation["authors"] == [{"name": asked["author"]}]
    for path in project.rglob("*"):
        if path.is_file():
            parse(path)


REFUSED = [
    ({"project_slug": "../evil"}, "project_slug"), ({"project_slug": ""}, "already exists"), ({"project_slug": "Caps"}, "project_slug"),
    ({"project_slug": "x" * 200}, "project_slug"), ({"project_slug": "-rf"}, "project_slug"), ({"project_slug": "my-"}, "hyphen"), ({"project_slug": "torch", "package": "mine"}, "library"), ({"project_slug": "recipe-kit", "package": "mine"}, "library"), ({"project_slug": "a b"}, "project_slug"),
    ({"package": "class"}, "keyword"), ({"package": "match"}, "keyword"), ({"package": "torch"}, "hide"), ({"package": "recipe_kit"}, "hide"), ({"package": "json"}, "hide"), ({"package": "1st"}, "package"),
    ({"package": "a-b"}, "package"), ({"package": ""}, "package"), ({"package": "x" * 200}, "package"), ({"package": "../x"}, "package"), ({"package": "os; import x"}, "package"),
    ({"project_name": "a\nb", "project_slug": "ab"}, "line break"), ({"project_name": 'say "hi"', "project_slug": "ab"}, "quote"), ({"project_name": " ", "project_slug": "ab"}, "empty"),
    ({"project_name": "n" * 200, "project_slug": "ab"}, "200 characters"), ({"description": "one\ntwo"}, "line break"), ({"description": ""}, "empty"), ({"author": "a\x00b"}, "control"),
    ({"description": "d" * 121}, "121 characters"),
]  # fmt: skip


def test_no_library_of_the_lock_is_hidden_or_replaced() -> None:
    """Every name in the generated lock is refused as a package and as a slug."""
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text().split("\nfound = ")[0]
    hook: dict = {}
    exec(source.replace("{{ cookiecutter | jsonify }}", "{}"), hook)
    good = {k: v[0] if isinstance(v, list) else v for k, v in QUESTIONS.items() if not k.startswith("_")}
    good |= {"project_slug": "fine", "package": "fine"}
    assert hook["problem"](good) == ""
    names = re.findall(r"(?m)^([a-z][\w.-]*)==", (TEMPLATE / "requirements.lock").read_text())
    assert len(names) > 50
    free = [n for n in names if not hook["problem"]({**good, "package": n.replace("-", "_")})]
    free += [n for n in names if not hook["problem"]({**good, "project_slug": n})]
    assert free == []


@pytest.mark.parametrize(("answers", "words"), REFUSED, ids=[str(a)[:60] for a, _ in REFUSED])
def test_bad_answers_are_refused_with_one_sentence(tmp_path: Path, answers: dict[str, str], words: str) -> None:
    inside = tmp_path / "out"
    inside.mkdir()
    done = cookiecutter_process(inside, answers)
    # An empty slug is refused by cookiecutter itself, before any hook: it would write into the folder above.
    errors = [
        line
        for line in (done.stdout + done.stderr).removesuffix("\n").split("\n")
        if line.lower().startswith("error: ") and "hook script" not in line
    ]
    assert done.returncode != 0 and len(errors) == 1 and words in errors[0], done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["out"]


def test_a_nested_slug_is_refused(tmp_path: Path) -> None:
    """cookiecutter has made the outer folder before any hook runs and removes only the inner one: an empty folder stays."""
    done = cookiecutter_process(tmp_path, {"project_slug": "a/b"})
    assert done.returncode != 0 and "project_slug" in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["a"]


def test_template_marks_in_an_answer_do_not_run(tmp_path: Path) -> None:
    done = cookiecutter_process(tmp_path, {"description": "{{ 7 * 7 }} {{x}}"})
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*")) == []


def cookiecutter_process(folder: Path, answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Bake as a user would, in a process of its own; answers go through a replay-like JSON file, so any character can."""
    script = "import json, sys; from cookiecutter.cli import main; a = json.loads(sys.argv[1]); main([sys.argv[2], '--no-input', '--default-config', '-o', sys.argv[3], *[f'{k}={v}' for k, v in a.items()]])"
    return subprocess.run(
        [sys.executable, "-c", script, json.dumps(answers), str(ROOT), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def git(folder: Path, *words: str) -> None:
    """A git command in `folder`, with a name for its commits."""
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *words], check=True
    )


def cruft(*words: str, folder: Path) -> None:
    """A cruft command; it must succeed."""
    command = [sys.executable, "-m", "cruft", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def template_under_git(source: Path) -> Path:
    """A copy of the template under version control, as cruft and copier need it."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        git(source, *words)
    return source


@pytest.fixture
def crufted(tmp_path: Path) -> tuple[Path, Path]:
    """(the template under version control, a project that cruft made from it)."""
    source, output = template_under_git(tmp_path / "template"), tmp_path / "cruft"
    cruft("create", str(source), "--no-input", "--default-config", "--output-dir", str(output), folder=tmp_path)
    return source, output / "my-model"


def test_cruft_makes_the_same_project(crufted: tuple[Path, Path], tmp_path: Path) -> None:
    plain, generated = bake(tmp_path / "plain"), crufted[1]
    found = [p for p in generated.rglob("*") if p.is_file() and p.name != ".cruft.json"]
    theirs = {str(p.relative_to(generated)): p.read_bytes() for p in found}
    ours = {str(p.relative_to(plain)): p.read_bytes() for p in plain.rglob("*") if p.is_file()}
    assert theirs == ours


def update_keeps_what_is_yours(source: Path, project: Path, update: Callable[[], None]) -> None:
    """The owner edits, the template changes in the same files and in others, and `update` brings both together."""
    package, template = project / "src" / "my_model", source / TEMPLATE.name / "src" / "{{cookiecutter.package}}"
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "generated"]):
        git(project, *words)

    def edit(path: Path, old: str, new: str) -> None:
        assert old in path.read_text(), (path, old)
        path.write_text(path.read_text().replace(old, new, 1))

    edit(project / "recipe.toml", "target =", "# the column that matters\ntarget =")
    edit(package / "tabular" / "data.py", '"""', '"""My own reader. ')
    edit(package / "engine" / "optim.py", '"""', '"""My own optimizer. ')
    kit = project / "tools" / "recipe_kit" / "recipe_kit"
    (project / "tests" / "sample" / "rows.csv").write_text("mine\n1\n")
    git(project, "commit", "-qam", "mine")
    edited = ("recipe.toml", "README.md", "tests/sample/rows.csv")
    owned = (*edited, "src/my_model/tabular/data.py", "src/my_model/tabular/recipe.py")
    mine = {name: (project / name).read_bytes() for name in owned}
    edit(source / TEMPLATE.name / "recipe.toml", "target =", "# a new comment\ntarget =")
    edit(source / TEMPLATE.name / "README.md", "## The recipe", "## The new recipe")
    edit(template / "tabular" / "data.py", '"""', '"""A newer reader. ')
    edit(template / "tabular" / "recipe.py", '"""', '"""Newer settings. ')
    edit(template / "engine" / "losses.py", '"""', '"""Newer losses. ')
    (source / TEMPLATE.name / "tests" / "sample" / "tabular" / "binary.csv").write_text("newer\n1\n")
    with (template / "engine" / "optim.py").open("a") as file:
        file.write("\n\nNEWER = True\n")
    (template / "engine" / "fresh.py").write_text('"""New in the template."""\n')
    edit(source / "kit" / "recipe_kit" / "ledger.py", '"""', '"""A newer ledger. ')
    (source / "kit" / "recipe_kit" / "checks" / "fresh.py").write_text('"""A new check."""\n')
    (source / "kit" / "recipe_kit" / "sharpness.py").unlink()
    git(source, "add", "-A")
    git(source, "commit", "-qm", "new in the template")
    update()
    assert (package / "engine" / "losses.py").read_text().startswith('"""Newer losses. ')
    assert (package / "engine" / "fresh.py").read_text() == '"""New in the template."""\n'
    assert (kit / "ledger.py").read_text().startswith('"""A newer ledger. ') and not (kit / "sharpness.py").exists()
    assert (kit / "checks" / "fresh.py").read_text() == '"""A new check."""\n'
    merged = (package / "engine" / "optim.py").read_text()  # edited here and there
    assert merged.startswith('"""My own optimizer. ') and merged.endswith("NEWER = True\n")
    assert {name: (project / name).read_bytes() for name in mine} == mine
    assert not list(project.rglob("*.rej")) + list(project.rglob("*.orig"))


def test_cruft_update_brings_what_is_new_and_keeps_what_is_yours(crufted: tuple[Path, Path]) -> None:
    source, project = crufted
    update_keeps_what_is_yours(source, project, lambda: cruft("update", "--skip-apply-ask", folder=project))
    cruft("check", folder=project)


@pytest.mark.parametrize("modality", [*MODALITIES[:3], pytest.param("sequence", marks=pytest.mark.slow)])  # as tables need
def test_uv_finds_versions_that_fit(tmp_path: Path, modality: str) -> None:
    """What `uv sync` does before it downloads: resolve pyproject.toml for every platform. Needs the package registry."""
    project = bake(tmp_path, modality=modality)
    done = subprocess.run(
        [sys.executable, "-m", "uv", "lock", "--quiet"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if re.search(r"dns error|[Cc]ould not connect|timed out|[Ff]ailed to fetch", done.stderr):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr
    assert 'name = "torch"' in (project / "uv.lock").read_text()


def test_at_most_eight_questions_and_no_caches() -> None:
    assert len([q for q in QUESTIONS if not q.startswith("_")]) <= 8
    litter = [
        p
        for p in (*TEMPLATE.rglob("*"), *KIT.rglob("*"))
        if p.name in ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache") or p.suffix == ".pyc"
    ]
    assert litter == []


def test_locks_are_hashed_and_name_no_registry() -> None:
    for path in (ROOT / "requirements.lock", TEMPLATE / "requirements.lock"):
        text = path.read_text()
        assert "://" not in text and "index-url" not in text
        pinned = [line for line in text.removesuffix("\n").split("\n") if line and line[0].isalpha()]
        assert pinned and all("==" in line for line in pinned)
        assert text.count("--hash=sha256:") >= len(pinned)
