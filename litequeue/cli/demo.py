"""The command demo: a guided tour with real files, two workers, a retry, a failure and a
delay."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from litequeue.cli.parser import Commands
from litequeue.errors import OptionError

EXAMPLE = """\
examples:
  litequeue demo                      archive Python's own library in ./litequeue-demo
  litequeue demo ~/Documents          these files instead; they are only read
  litequeue demo --folder /tmp/tour   make the queue and the archive there
"""

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def add(commands: Commands) -> None:
    """Add the command of this file."""
    demo = commands.add("demo", "take a guided tour on real files", demo_command, EXAMPLE)
    demo.add_argument(
        "directory", metavar="DIR", nargs="?", help="whose files (default: Python's own library)"
    )
    demo.add_argument(
        "--folder",
        metavar="PATH",
        default="litequeue-demo",
        help="the folder to make (default: litequeue-demo, or -2, -3, ... beside former ones)",
    )


def demo_command(args: argparse.Namespace) -> int:
    """Take the tour; 1 if no worker lived to its end, or the archive is not whole."""
    try:
        with _interrupted_by_signals():
            return 0 if _taken(args) else 1
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise OptionError(owner="demo", problem=f"{where}{error.strerror or error}") from error


def _taken(args: argparse.Namespace) -> bool:
    # Only here: the other commands start faster without what a tour needs.
    from litequeue.cli.demo_files import all_files, library
    from litequeue.cli.demo_tour import tour

    return tour(library() if args.directory is None else all_files(args.directory), args.folder)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Inside the block, being told to end does what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
