"""What the figures come from: the machine, the versions, the settings and the day."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from litequeue import __version__
from litequeue.monitor.filesystem import filesystem


def described(folder: Path) -> Iterator[str]:
    """Lines on the machine and the versions, for databases in ``folder``."""
    now = datetime.datetime.now(datetime.timezone.utc)
    yield f"date         {now:%Y-%m-%d %H:%M} UTC"
    yield f"processor    {_processor()}, {os.cpu_count()} cores"
    yield f"kernel       {platform.platform()}"
    yield f"file system  {filesystem(folder) or 'unknown'} ({folder})"
    yield (
        f"versions     litequeue {__version__}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )
    yield f"load         {_load()} when this began"


def settings() -> Iterator[str]:
    """Lines on how durable both sides are."""
    yield "Both sides: journal_mode=WAL, synchronous=NORMAL, a file on this host. What is committed"
    yield "outlives the process, however it ends; a power failure can take back the last commits."
    yield "The bare loops checkpoint as SQLite does by default; litequeue checkpoints by itself."


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.2f}"
    except OSError:
        return "unknown"
