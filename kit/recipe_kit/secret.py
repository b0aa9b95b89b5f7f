"""Secrets stay in the environment: every setting and reason is written to records, so what is a secret is refused there."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

from .owner.errors import UserError

NAME = re.compile(r"(API|ACCESS|AUTH|PRIVATE)_?KEY|CREDS|CREDENTIAL|PASSWORD|PASSWD|SECRET|TOKEN", re.IGNORECASE)
LOGIN = re.compile(r"(\w+://[^\s/@:]*):[^\s/]+@")  # scheme://name:password@
SHORT = 8  # shorter values of the environment say nothing: they would be found in any text
SUSPECT = re.compile(r"(?=\S*\d)\S{16,}|PRIVATE KEY")  # what every secret holds that a detector knows
FORMS = {  # what detect-secrets does not know
    "a password in a URL": LOGIN,
    "a token in a URL": re.compile(
        r"\w+://\S+[?&][\w-]*(token|signature|sig|secret|password|api_?key)=[^&\s]{8,}", re.I
    ),
    "what looks like a secret (Hugging Face token)": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
}


def refuse(values: dict[str, Any]) -> None:
    """Raise UserError when a value holds a secret of the environment, a password in a URL, or what detect-secrets takes for a
    key or token. Never repeats it."""
    held = {value: name for name, value in os.environ.items() if NAME.search(name) and len(value) >= SHORT}
    for where, value in values.items():
        text = str(value)
        found = [f"the value of ${name}" for secret, name in held.items() if secret in text]
        if what := (found or [detected(text)])[0]:
            raise UserError(
                f"{where} holds {what}, and would be written to records; leave it in the environment, out of the recipe"
            )


def detected(text: str) -> str:
    """What secret a text holds by its form, '' where it holds none that is known."""
    if known := [what for what, form in FORMS.items() if form.search(text)]:
        return known[0]
    kinds = [one.secret_type for one in _detectors() if any(one.analyze_string(text))] if SUSPECT.search(text) else []
    return f"what looks like a secret ({kinds[0]})" if kinds else ""


@cache
def _detectors() -> list[Any]:
    """Those of detect-secrets that know a secret by its form: measures of entropy take any hash for one. They take 0.3 s to
    import."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    known: Any = get_mapping_from_secret_type_to_class().items()
    return [kind() for name, kind in known if issubclass(kind, RegexBasedDetector) and not name.startswith("Public IP")]


def hidden(text: str) -> str:
    """The text with passwords in URLs replaced by stars."""
    return LOGIN.sub(r"\1:***@", text)
