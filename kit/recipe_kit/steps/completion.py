"""What makes the Tab key complete commands, flags and settings in bash, zsh and fish."""

from __future__ import annotations

from ..commands import COMMANDS, FLAGS, names_of
from ..owner.errors import UserError
from ..owner.task import find_task, modalities

# In each: @commands@, @flags@ and @settings@ are lists of words.
SCRIPTS = {
    "bash": """_recipe() {
  local here=${COMP_WORDS[COMP_CWORD]} words="@flags@ @settings@"
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
    compadd -S "" -- @settings@
    _files
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _recipe recipe""",
    "fish": """complete -c recipe -n "__fish_is_first_token" -f -a "@commands@"
complete -c recipe -n "not __fish_is_first_token" -a "@flags@ @settings@\"""",
}
USE = """# bash: eval "$(recipe completion bash)"    zsh: eval "$(recipe completion zsh)"    fish: recipe completion fish | source"""


def script(shell: str) -> str:
    """The lines a shell evaluates. Raises UserError for another shell."""
    if shell not in SCRIPTS:
        raise UserError(f"completion is for {', '.join(SCRIPTS)}, not {shell!r}; try: recipe completion bash")
    flags = sorted(names_of(flag)[-1] for flag in FLAGS)
    settings = sorted({f"{name}=" for kind in modalities() for name in find_task(kind).settings.model_fields})
    words = {"commands": list(COMMANDS), "flags": flags, "settings": settings}
    text = f"{USE}\n{SCRIPTS[shell]}"
    for name, values in words.items():
        text = text.replace(f"@{name}@", " ".join(values))
    return text
