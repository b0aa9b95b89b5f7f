"""Memory of this process, as Linux tells it."""

from __future__ import annotations

import re
from pathlib import Path


def megabytes(what: str) -> float:
    """`VmHWM`, the most that it has had in memory, or `VmRSS`, what it has now. `ru_maxrss` would count what the process was
    before it became this program."""
    return int(re.findall(rf"{what}:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
