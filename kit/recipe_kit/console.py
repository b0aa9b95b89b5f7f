"""What the package logs, as printed lines."""

from __future__ import annotations

import logging

from .terminal import say


class Console(logging.Handler):
    """Prints each record with `say`, which no closed pipe stops."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def show_logs(quiet: bool) -> None:
    """Print what is logged from here on; under --quiet only errors."""
    package = logging.getLogger(__name__.partition(".")[0])
    package.handlers = [Console()]
    package.setLevel(logging.ERROR if quiet else logging.INFO)
