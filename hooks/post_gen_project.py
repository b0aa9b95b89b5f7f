"""Keep what belongs to the chosen kind of data, task and licence, delete the rest, and say what to type next."""

import json
import re
import shutil
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")

package = Path("src") / ANSWERS["package"]
for recipe in package.glob("*/recipe.py"):
    if recipe.parent.name != ANSWERS["modality"]:
        shutil.rmtree(recipe.parent)

# The sample for the smoke test: the rows of this task, and beside them the files that they name.
sample = Path("tests") / "sample"
for kind in ("tabular", "image", "text"):
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
