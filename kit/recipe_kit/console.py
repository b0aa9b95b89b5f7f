"""What the package logs, as printed lines."""

from __future__ import annotations

import logging

from . import owner
from .terminal import say


class Console(logging.Handler):
    """Prints each record with `say`, which no closed pipe stops."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def show_logs(quiet: bool) -> None:
    """Print what the kit and the owner's package log from here on; under --quiet only errors."""
    for package in (__package__, owner.__name__):
        logger = logging.getLogger(package)
        logger.handlers = [Console()]
        logger.setLevel(logging.ERROR if quiet else logging.INFO)
