"""What becomes of the job that runs when its worker is killed, and another one is started."""

from __future__ import annotations

import time
from pathlib import Path

from bench.measuring import brief
from bench.peers.libraries import Library
from bench.peers.playing import Field, field, kill
from bench.workers import wait_until

START_SECONDS = 30.0


def after_sigkill(library: Library, folder: Path, patience: float) -> str:
    """Kill all processes of a worker while a job runs, start a worker again, and say when
    the job started anew, waiting for ``patience`` seconds."""
    with field(library, folder) as place:
        place.ask("hang")
        with place.worker() as first:
            wait_until(lambda: _starts(place), within=START_SECONDS)
            kill(first)
        killed_at = time.monotonic_ns()
        with place.worker():
            try:
                wait_until(lambda: len(_starts(place)) > 1, within=patience)
            except TimeoutError:
                return f"not run again within {patience:.0f} s"
        return f"run again after {brief((_starts(place)[1] - killed_at) / 1e9)}"


def _starts(place: Field) -> list[int]:
    try:
        lines = (place.folder / "starts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [int(line) for line in lines]
