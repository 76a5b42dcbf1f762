"""Identifies the boot of the machine and the database file, so that files beside the
database are trusted only if they belong to both.

A power failure can leave one file newer than another, so a file that was written before
the last boot says nothing about the database as it is now.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import lru_cache

BOOT_ID = "/proc/sys/kernel/random/boot_id"
# The names on macOS and FreeBSD.
SYSCTLS = (b"kern.bootsessionuuid", b"kern.boot_id")


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A text that is different after each boot of this machine, and does not change when
    the clock is set."""
    with suppress(OSError), open(BOOT_ID) as file:
        return file.read().strip()
    with suppress(OSError, AttributeError, ValueError):
        found = _windows_boot() if sys.platform == "win32" else _sysctl()
        if found:
            return found
    # If the clock is set, this changes and the prefetch log is ignored: a job may run again.
    return str(int(time.time() - time.monotonic()))


def file_mark(path: str) -> bytes:
    """A mark that identifies this boot of the machine and the file at ``path``; empty if
    the file cannot be read."""
    try:
        found = os.stat(path)
    except OSError:
        return b""
    return f"{boot_id()} {found.st_dev} {found.st_ino}".encode()


def _sysctl() -> str:
    import ctypes  # only where there is no /proc

    libc = ctypes.CDLL(None)
    for name in SYSCTLS:
        value = ctypes.create_string_buffer(40)
        size = ctypes.c_size_t(len(value))
        if libc.sysctlbyname(name, value, ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
            return value.raw[: size.value].hex()
    return ""


def _windows_boot() -> str:
    """The time of the boot, corrected for changes of the clock since."""
    if sys.platform != "win32":
        return ""
    import ctypes  # only on Windows

    # SYSTEM_TIMEOFDAY_INFORMATION: BootTime moves with the clock, by BootTimeBias.
    times = (ctypes.c_int64 * 6)()
    size = ctypes.c_ulong(ctypes.sizeof(times))
    if ctypes.WinDLL("ntdll").NtQuerySystemInformation(3, times, size, None) != 0:
        return ""
    return str(times[0] - times[4])
