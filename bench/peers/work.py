"""What the jobs of all libraries do: count themselves, return, sleep or hang."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

FOLDER = "LITEQUEUE_PEERS_FOLDER"
JOBS = "LITEQUEUE_PEERS_JOBS"
VARIANT = "LITEQUEUE_PEERS_VARIANT"
HANG_SECONDS = 600
# How often an ordinary job and the one that hangs may run.
ATTEMPTS = 3
# Of an ordinary job: how long it may run, and how long its result is kept.
TIMEOUT_SECONDS = 30
KEEP_SECONDS = 3600
RESULT = "a result of some words, as a job would return them"
NAP_SECONDS = 1.0

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


def ordinary() -> str:
    """Count a job in memory, and return a text."""
    count()
    return RESULT


def stamp_ordinary() -> str:
    """Count a job by a line in a file, and return a text."""
    stamp()
    return RESULT


def nap() -> None:
    """Sleep, and write down when that began and ended."""
    _note_nap()
    time.sleep(NAP_SECONDS)
    _note_nap()


def _note_nap() -> None:
    with open(folder() / "naps", "a", encoding="utf-8") as naps:
        naps.write(f"{time.monotonic_ns()}\n")


def hang() -> None:
    """Write down that the job has started; at the first time, never end."""
    starts = folder() / "starts"
    with open(starts, "a", encoding="utf-8") as lines:
        lines.write(f"{time.monotonic_ns()}\n")
    if len(starts.read_text(encoding="utf-8").splitlines()) == 1:
        time.sleep(HANG_SECONDS)
