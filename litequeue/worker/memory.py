"""The memory that this process uses."""

from __future__ import annotations

import os
import re

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def resident_bytes() -> int:
    """Return the current (not the peak) resident size of this process, in bytes."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import subprocess

        # macOS and the BSDs have no /proc; ps prints the size in kilobytes.
        command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
        return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024


def parse_bytes(text: str) -> int:
    """Return the bytes for ``256M``, ``1G``, ``512K`` or a plain number.

    Raises ValueError for anything else.
    """
    found = re.fullmatch(r"([0-9]+)([KMG]?)B?", text.strip().upper())
    if not found or int(found[1]) == 0:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]
