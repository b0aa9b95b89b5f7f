"""What copier leaves to a task: the files that are copied without rendering, and the two hooks of cookiecutter.

Runs in the project's folder, with the answers as JSON; copier has rendered the other files. An update runs it over a project
that is there, where what is the owner's stays.
"""

import fnmatch
import json
import os
import runpy
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

ANSWERS = json.loads(sys.argv[1])
ROOT, PROJECT = Path(__file__).parents[1], Path.cwd()
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
PLAIN = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["_copy_without_render"]


def run(hook: str, folder: Path) -> None:
    """A hook of cookiecutter with the answers filled in, in `folder`."""
    text = (ROOT / "hooks" / hook).read_text(encoding="utf-8")
    script = folder / hook
    script.write_text(text.replace("{{ cookiecutter | jsonify }}", json.dumps(ANSWERS)), encoding="utf-8")
    os.chdir(folder)
    runpy.run_path(str(script))
    os.chdir(PROJECT)
    script.unlink()


def copy_plain(folder: Path) -> None:
    """What cookiecutter copies without rendering, and the licences, of which its hook keeps one."""
    for parent, _, files in os.walk(TEMPLATE, followlinks=True):
        for source in (Path(parent) / name for name in files):
            name = source.relative_to(TEMPLATE).as_posix()
            if any(fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in PLAIN):
                target = folder / name.replace("{{cookiecutter.package}}", ANSWERS["package"])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    shutil.copytree("LICENSES", folder / "LICENSES", dirs_exist_ok=True)
    shutil.rmtree("LICENSES")


with tempfile.TemporaryDirectory() as made:
    run("pre_gen_project.py", Path(made))
    copy_plain(Path(made))
    run("post_gen_project.py", Path(made))
    owned = []
    if Path("src", ANSWERS["package"], "task.py").exists():  # copier renders none of it: the project was there before
        owned = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["cruft"]["skip"]
    for source in (path for path in Path(made).rglob("*") if path.is_file()):
        name = source.relative_to(made).as_posix()
        if not any(name == path or name.startswith(f"{path}/") for path in owned):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, name)
Path(".copier-answers.yml").write_text(json.dumps(ANSWERS, indent=2) + "\n", encoding="utf-8")
