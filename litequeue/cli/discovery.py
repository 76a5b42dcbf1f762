"""Job discovery for the commands: standard output stays free for their answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from litequeue.cli.terminal import complain, complain_lines
from litequeue.errors import NoJobsFound
from litequeue.jobs.discovery import Found, discover


def discover_quietly(packages: Sequence[str]) -> Found:
    """Return the jobs found; what modules print on import goes to standard error."""
    with redirect_stdout(sys.stderr):
        return discover(packages)


def discover_optional(packages: Sequence[str]) -> Found | None:
    """Return the jobs found, or None if no package was named and none exists."""
    try:
        return discover_quietly(packages)
    except NoJobsFound:
        if packages:
            raise
        return None


def report_failures(found: Found) -> None:
    """Print the traceback of each module that failed to import."""
    for failure in found.failures:
        complain(f"Module {failure.module} failed to import:")
        complain_lines(failure.traceback.rstrip())
