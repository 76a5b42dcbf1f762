"""The command line: ``python -m litequeue``, or ``litequeue`` where it is installed.

Exit statuses: 0 for success, 1 if nothing matched or a check failed, 2 for wrong use or an
unusable file. Wrong input prints one line, never a traceback.
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

# The function that adds each command, in the order of the help.
ADDED_BY = {
    "work.add": ("work",),
    "push.add": ("push",),
    "work.add_run": ("run",),
    "status.add": ("status",),
    "list.add": ("list",),
    "show.add": ("show",),
    "change_jobs.add": ("retry", "cancel", "forget", "prune"),
    "pause.add": ("pause", "resume"),
    "schedule.add": ("schedule",),
    "jobs.add": ("jobs",),
    "make_job.add": ("make-job",),
    "schema.add": ("schema",),
    "doctor.add": ("doctor",),
    "backup.add": ("backup",),
    "recipe.add": ("recipe",),
    "demo.add": ("demo",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Without ``arguments`` it runs the command
    of this process, and makes sure that the process ends even if a job left threads."""
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
        # The reader of the pipe, such as head or a pager, has closed it.
        silence(sys.stdout)
        return 0
    except OSError as error:
        complain(f"litequeue: {error.strerror or error}")
        silence(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def commands_for(word: str) -> Commands:
    """Return the command of this name only, which saves a worker the memory of the others;
    all commands if there is none of this name."""
    commands = Commands()
    for place, names in ADDED_BY.items():
        if word in names or not any(word in each for each in ADDED_BY.values()):
            file, _, add = place.partition(".")
            getattr(import_module(f"litequeue.cli.{file}"), add)(commands)
    return commands
