"""How long it takes to import litequeue, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measuring import Row, alternated, brief
from bench.sizes import Sizes
from bench.workers import ROOT

TARGET = 2.0
TIMED = """
import time
started = time.perf_counter()
import {modules}
print(time.perf_counter() - started)
"""
OURS, BARE = "litequeue", "sqlite3, json, dataclasses"


def imports(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """The import statement alone, without the start of the interpreter."""
    sides = alternated(
        sizes.imports, {"ours": lambda: _seconds(OURS), "bare": lambda: _seconds(BARE)}
    )
    # How many times the time, and so the ratio the other way round.
    times = 1 / sides.ratio("ours", "bare")
    yield Row(
        f"import {OURS} / import {BARE}",
        brief(sides.middle("ours")),
        brief(sides.middle("bare")),
        f"{times:.2f}",
        f"{1 / sides.best_ratio('ours', 'bare'):.2f}",
        f"< {TARGET:g}",
        times < TARGET,
    )


def _seconds(modules: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(modules=modules)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
