"""Keep the chosen modality and licence, delete the others, and say what to type next."""

import json
import shutil
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")

package = Path("src") / ANSWERS["package"]
for recipe in package.glob("*/recipe.py"):
    if recipe.parent.name != ANSWERS["modality"]:
        shutil.rmtree(recipe.parent)

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
