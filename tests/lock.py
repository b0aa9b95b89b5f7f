"""Write both lock files: hashed, universal, without a registry address. Run by `make lock`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "{{cookiecutter.project_slug}}" / "requirements.lock"


def compile_lock(output: Path, *inputs: str) -> None:
    """Resolve inputs for every platform from Python 3.11 on, with hashes."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11",
               "--no-header", "--no-emit-index-url", "--no-annotate", "--upgrade", *inputs, "-o", str(output)]  # fmt: skip
    subprocess.run(command, check=True)


with tempfile.TemporaryDirectory() as folder:
    project = Path(cookiecutter(str(ROOT), no_input=True, default_config=True, output_dir=folder))
    pins = Path(folder) / "pins.in"
    pins.write_text("torch==2.14.1\ntorchvision==0.29.1\ntransformers\npeft\nsetuptools\n")  # the version whose wheel also runs without a GPU; setuptools builds the project
    compile_lock(GENERATED, str(project / "pyproject.toml"), "--group", f"{project / 'pyproject.toml'}:dev", str(pins))
    compile_lock(ROOT / "requirements.lock", str(ROOT / "requirements.in"), str(GENERATED))
