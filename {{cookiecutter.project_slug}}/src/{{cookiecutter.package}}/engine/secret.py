"""Secrets stay in the environment: every setting and reason is written to records, so what is a secret is refused there."""

from __future__ import annotations

import os
import re
from typing import Any

from ..errors import UserError

NAME = re.compile(r"API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
LOGIN = re.compile(r"(\w+://[^\s/@:]*):[^\s/@]+@")  # scheme://name:password@
SHORT = 8  # shorter values of the environment say nothing: they would be found in any text


def refuse(values: dict[str, Any]) -> None:
    """Raise UserError when a value holds a secret of the environment, or a password in a URL. Never repeats it."""
    held = {value: name for name, value in os.environ.items() if NAME.search(name) and len(value) >= SHORT}
    for where, value in values.items():
        text = str(value)
        if name := next((name for secret, name in held.items() if secret in text), ""):
            raise UserError(
                f"{where} holds the value of ${name}, and would be written to records; leave it in the environment"
            )
        if LOGIN.search(text):
            raise UserError(
                f"{where} holds a password in a URL, and would be written to records; keep it out of the recipe"
            )


def hidden(text: str) -> str:
    """The text with passwords in URLs replaced by stars."""
    return LOGIN.sub(r"\1:***@", text)
