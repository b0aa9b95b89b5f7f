"""What the C library does with freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Numbers of mallopt's parameters in glibc's malloc.h, and the values at which its own defaults arrive in a long run.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
DEFAULTS = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 65_536}


@contextlib.contextmanager
def freed_kept() -> Iterator[None]:
    """Freed memory is kept for the next allocation, and goes back to the system at the end. glibc alone has this setting.

    Every training step allocates and frees the same activations and gradients. By default glibc gives large pieces back
    to the system, which then hands out the same pages again, each cleared first, on first touch. Only around training:
    what allocates pieces of many sizes once, as reading and checking do, needs more memory when it is kept.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_MAX, 0)  # large pieces come from the heap too
    library.mallopt(TRIM_THRESHOLD, -1)  # as an unsigned number: never
    try:
        yield
    finally:
        for name, value in DEFAULTS.items():
            library.mallopt(name, value)
        library.malloc_trim(0)
