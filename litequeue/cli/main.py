"""The command line: ``python -m litequeue``, or ``litequeue`` where it is installed.

Exit statuses: 0 for success, 1 where the thing asked about is not so, 2 for wrong use
and for a file that cannot be used. Bad input is one line, and never a traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from litequeue.cli.environment import settle
from litequeue.cli.parser import Commands
from litequeue.cli.terminal import complain, silence
from litequeue.errors import LitequeueError

INTERRUPTED = 130

# Which function adds which commands, in the order in which help lists them.
ADDED_BY = {
    "work.add": ("work",),
    "push.add": ("push",),
    "work.add_run": ("run",),
    "look.add": ("status", "list"),
    "show.add": ("show",),
    "change.add": ("retry", "cancel", "forget", "prune", "pause", "resume"),
    "schedule.add": ("schedule",),
    "project.add": ("jobs", "make-job", "schema"),
    "care.add": ("doctor", "backup"),
    "recipe.add": ("recipe",),
    "demo.add": ("demo",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Without ``arguments`` it is the command
    of this process, which then ends soon after, whatever a job has left running."""
    words = sys.argv[1:] if arguments is None else arguments
    commands = commands_for(words[0] if words else "")
    args = commands.parse(words)
    status = 1
    try:
        status = _status_of(args)
    finally:
        if arguments is None and args.ends_within is not None:
            from litequeue.worker.ending import end_within  # only what runs jobs needs it

            end_within(args.ends_within, status)
    return status


def _status_of(args: argparse.Namespace) -> int:
    try:
        settle(args)
        return int(args.run(args))
    except LitequeueError as error:
        complain(f"litequeue: {error}")
        return error.exit_code
    except BrokenPipeError:
        # The reader, a head or a pager, has seen enough.
        silence(sys.stdout)
        return 0
    except OSError as error:
        complain(f"litequeue: {error.strerror or error}")
        silence(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def commands_for(word: str) -> Commands:
    """The command of this name alone: a worker, which stays, holds no other in memory; all
    of them where there is none of this name."""
    commands = Commands()
    for place, names in ADDED_BY.items():
        if word in names or not any(word in each for each in ADDED_BY.values()):
            file, _, add = place.partition(".")
            getattr(import_module(f"litequeue.cli.{file}"), add)(commands)
    return commands
