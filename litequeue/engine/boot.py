"""Which start of the machine, and which file: what a note beside the database has to agree
with to be believed.

A power failure can leave one file newer than another, so what was written under another
start of the machine says nothing about the database as it is now.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import lru_cache

BOOT_ID = "/proc/sys/kernel/random/boot_id"
# What macOS and FreeBSD call it.
SYSCTLS = (b"kern.bootsessionuuid", b"kern.boot_id")


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A text that is another one after each start of this machine, and does not change
    when its clock is set."""
    with suppress(OSError), open(BOOT_ID) as file:
        return file.read().strip()
    with suppress(OSError, AttributeError, ValueError):
        found = _windows_boot() if sys.platform == "win32" else _sysctl()
        if found:
            return found
    # The clock may be set, and then a note is not believed: a job is run once more.
    return str(int(time.time() - time.monotonic()))


def file_mark(path: str) -> bytes:
    """What tells this start of the machine and the file at ``path`` from any other."""
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
    """The instant of the start, without the changes of the clock since."""
    if sys.platform != "win32":
        return ""
    import ctypes  # only on Windows

    # SYSTEM_TIMEOFDAY_INFORMATION: BootTime is moved with the clock, by BootTimeBias.
    times = (ctypes.c_int64 * 6)()
    size = ctypes.c_ulong(ctypes.sizeof(times))
    if ctypes.WinDLL("ntdll").NtQuerySystemInformation(3, times, size, None) != 0:
        return ""
    return str(times[0] - times[4])
