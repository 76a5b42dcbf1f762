"""The measuring scripts run, in small; what they measure is no matter here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.page import PAGE, RESULTS, refreshed, tables

ROOT = Path(__file__).parents[1]
LONGEST_BENCH_SECONDS = 120

HEADINGS = (
    "Ratios",
    "Ordinary jobs, drained by one worker",
    "One job among many that are ready",
    "All at once",
    "Payloads",
    "Threads and processes",
    "Jobs that wait for 20 ms",
    "Threads or processes",
    "Waiting for the disk at each commit",
    "One push, to a file that nobody listens on",
    "One job that does nothing, drained by one worker",
    "System calls a job",
)
# Of the chapters that run only when they are named.
HEADINGS_APART = (
    "Page sizes, in a new file",
    "Page sizes, with many jobs in the file",
    "The memory of a worker",
)


def run(module: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LONGEST_BENCH_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_chapter_runs_and_writes_its_tables(tmp_path: Path) -> None:
    output = tmp_path / "results.txt"
    printed = run("bench", "--tiny", "--folder", tmp_path, "--output", output)
    assert output.read_text(encoding="utf-8") == printed
    for heading in HEADINGS:
        assert f"\n{heading}\n{'-' * len(heading)}\n" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["results.txt"]


def test_the_chapters_that_are_named_run_alone(tmp_path: Path) -> None:
    printed = run("bench", "--tiny", "--folder", tmp_path, "--only", "page_sizes", "memory")
    for heading in HEADINGS_APART:
        assert f"\n{heading}\n{'-' * len(heading)}\n" in printed
    assert "\nRatios\n" not in printed


def test_libraries_that_are_not_installed_are_named(tmp_path: Path) -> None:
    if not hasattr(os, "killpg"):
        pytest.skip("this system has no process groups")
    arguments = ("--jobs", 5, "--rounds", 1, "--patience", 10, "--folder", tmp_path)
    printed = run("bench.peers", *arguments)
    assert re.search("WAL, NORMAL +run again after", printed)
    assert "Not measured: huey" in printed or "huey " in printed
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_the_tables_as_they_were_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for path in RESULTS:
        found |= tables(path.read_text(encoding="utf-8"))
    assert refreshed(page, found) == page, "run python -m bench.page"
    assert [title for title in found if f"```text\n{title}\n" not in page] == []
