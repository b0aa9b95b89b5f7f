"""Series of a long or a wide table as requests carry them: python -m <package>.sequence.gather data/new.csv data/new.jsonl"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from ..config import make_config, read_toml
from ..errors import UserError
from .recipe import Config
from .table import to_predict


def main(argv: list[str]) -> int:
    """Write the series of a table as JSON lines, by the settings of recipe.toml in this folder; exit status 2 for a mistake."""
    try:
        if len(argv) != 2 or not argv[1].endswith(".jsonl"):
            raise UserError("gather needs a table and a file to write, as in data/new.csv data/new.jsonl")
        config = cast(Config, make_config(Config, read_toml(Path("recipe.toml")), "recipe.toml"))
        if (frame := to_predict(config, Path(argv[0]))) is None:
            raise UserError(
                f"{argv[0]} holds lists already, which a request carries as they are; gather is for long and wide tables"
            )
    except UserError as error:
        print(f"gather: {error}", file=sys.stderr)
        return 2
    with Path(argv[1]).open("w", encoding="utf-8") as file:
        for row in frame.to_dicts():
            lists = {n: json.loads(v) if isinstance(v, str) and v[:1] == "[" else v for n, v in row.items()}
            file.write(json.dumps(lists, default=str) + "\n")
    print(f"{frame.height:,} series -> {argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
