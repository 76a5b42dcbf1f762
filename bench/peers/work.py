"""What the jobs of all libraries do: count themselves, or hang."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

FOLDER = "LITEQUEUE_PEERS_FOLDER"
JOBS = "LITEQUEUE_PEERS_JOBS"
VARIANT = "LITEQUEUE_PEERS_VARIANT"
HANG_SECONDS = 600
# How often the job that hangs may run.
ATTEMPTS = 3

_seen = {"count": 0, "first": 0}


def folder() -> Path:
    """Where this run has its database and its notes."""
    return Path(os.environ[FOLDER])


def variant() -> str:
    """In which way the library is to be set up."""
    return os.environ.get(VARIANT, "")


def count() -> None:
    """Count a job in the memory of the process; the last writes down how long all took."""
    now = time.monotonic_ns()
    _seen["count"] += 1
    if _seen["count"] == 1:
        _seen["first"] = now
    if _seen["count"] == int(os.environ[JOBS]):
        partial = folder() / "span.partial"
        partial.write_text(json.dumps([_seen["first"], now]), encoding="utf-8")
        partial.rename(folder() / "span")


def stamp() -> None:
    """Count a job of a worker that has a process for each, by a line in a file."""
    with open(folder() / "stamps", "a", encoding="utf-8") as stamps:
        stamps.write(f"{time.monotonic_ns()}\n")


def hang() -> None:
    """Write down that the job has started; at the first time, never end."""
    starts = folder() / "starts"
    with open(starts, "a", encoding="utf-8") as lines:
        lines.write(f"{time.monotonic_ns()}\n")
    if len(starts.read_text(encoding="utf-8").splitlines()) == 1:
        time.sleep(HANG_SECONDS)
