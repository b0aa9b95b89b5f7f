"""What makes the Tab key complete commands, flags and knobs in bash, zsh and fish."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from ..errors import UserError

# In each: @commands@, @flags@ and @knobs@ are lists of words.
SCRIPTS = {
    "bash": """_recipe() {
  local here=${COMP_WORDS[COMP_CWORD]} words="@flags@ @knobs@"
  [ "$COMP_CWORD" = 1 ] && words="@commands@ --help"
  COMPREPLY=($(compgen -W "$words" -- "$here"))
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _recipe recipe""",
    "zsh": """_recipe() {
  if (( CURRENT == 2 )); then
    compadd -- @commands@
  else
    compadd -- @flags@
    compadd -S "" -- @knobs@
    _files
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _recipe recipe""",
    "fish": """complete -c recipe -n "__fish_is_first_token" -f -a "@commands@"
complete -c recipe -n "not __fish_is_first_token" -a "@flags@ @knobs@\"""",
}
USE = """# bash: eval "$(recipe completion bash)"    zsh: eval "$(recipe completion zsh)"    fish: recipe completion fish | source"""


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The lines a shell evaluates. Raises UserError for another shell."""
    if shell not in SCRIPTS:
        raise UserError(f"completion is for {', '.join(SCRIPTS)}, not {shell!r}; try: recipe completion bash")
    flags = sorted(name for action in parser._actions for name in action.option_strings if name.startswith("--"))
    steps = next(action.choices for action in parser._actions if action.dest == "step")
    words = {"commands": list(steps or ()), "flags": flags, "knobs": [f"{name}=" for name in knobs()]}
    text = f"{USE}\n{SCRIPTS[shell]}"
    for name, values in words.items():
        text = text.replace(f"@{name}@", " ".join(values))
    return text


def knobs() -> list[str]:
    """The knobs of every kind of data in this project, sorted."""
    package = Path(__file__).parents[1]
    folders = [path.parent.name for path in package.glob("*/recipe.py")]
    tasks = [importlib.import_module(f"{__package__.rpartition('.')[0]}.{name}.recipe").TASK for name in folders]
    return sorted({name for task in tasks for name in task.knobs.model_fields})
