"""Keep what belongs to the chosen kind of data, task and licence, delete the rest, and say what to type next."""

import json
import re
import shutil
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")

package = Path("src") / ANSWERS["package"]
for recipe in package.glob("*/recipe.py"):
    if recipe.parent.name != ANSWERS["modality"]:
        shutil.rmtree(recipe.parent)

# The kit is a link in the template's tree. What Python left in it there is not part of it.
kit = Path("tools") / "recipe_kit"
if not (kit / "recipe_kit").is_dir():
    sys.exit(
        f"{kit} is not a folder: the template was cloned without symbolic links; on Windows turn on developer mode and clone it"
        " again with: git clone -c core.symlinks=true"
    )
# The reference package in it stands for a package that an existing project does not have; this one has its own.
for extra in [*kit.rglob("__pycache__"), *kit.glob("*.egg-info"), kit / "build", kit / "recipe_kit" / "reference"]:
    shutil.rmtree(extra, ignore_errors=True)

# The sample for the smoke test: the rows of this task, and beside them the files that they name.
sample = Path("tests") / "sample"
for kind in ("tabular", "image", "text", "sequence"):
    if kind == ANSWERS["modality"]:
        (sample / kind / f"{ANSWERS['task']}.csv").rename(sample / "rows.csv")
        for folder in (path for path in (sample / kind).iterdir() if path.is_dir()):
            folder.rename(sample / folder.name)
    shutil.rmtree(sample / kind)

# Tests outside the package import it by its name; in the template that is the name of the default answers.
for test in Path("tests").glob("*.py"):
    test.write_text(re.sub(r"\bmy_model\b", ANSWERS["package"], test.read_text(encoding="utf-8")), encoding="utf-8")

chosen = Path("LICENSES") / ANSWERS["license"]
if chosen.exists():
    chosen.rename("LICENSE")
shutil.rmtree("LICENSES")

print(f"""
{ANSWERS["project_slug"]} is ready. Next:

  cd {ANSWERS["project_slug"]}
  make setup          # or the three plain commands under "Set up" in README.md
  put your data into data/, name it in recipe.toml, then
  .venv/bin/recipe audit
""")
