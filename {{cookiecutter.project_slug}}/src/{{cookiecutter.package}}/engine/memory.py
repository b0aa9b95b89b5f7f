"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes
import sys

# Numbers of mallopt's parameters in glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Have freed memory kept for the next allocation, in this process, where the C library is glibc.

    Every training step allocates and frees the same activations and gradients. By default glibc gives large pieces back
    to the system, which then hands out the same pages again, each cleared first, on first touch. Elsewhere nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(MMAP_MAX, 0)  # large pieces come from the heap too
        mallopt(TRIM_THRESHOLD, -1)  # as an unsigned number: never
