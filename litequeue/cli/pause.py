"""The commands pause and resume: whether workers start the jobs of a queue."""

from __future__ import annotations

import argparse

from litequeue.cli.parser import (
    Commands,
    Run,
    add_word,
    as_json,
    database,
    name,
)
from litequeue.cli.spelling import misspelt
from litequeue.cli.terminal import answer, complain
from litequeue.messages import printable
from litequeue.options import checked
from litequeue.queue import Queue

PAUSE_EXAMPLE = """\
examples:
  litequeue pause jobs.db emails   start no more of its jobs; running ones continue
  litequeue resume jobs.db emails  start its jobs again
"""

RESUME_EXAMPLE = """\
examples:
  litequeue resume jobs.db emails  start its jobs again
  litequeue status jobs.db         shows which queues are paused
"""


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    _add_queue(commands, "pause", "stop starting the jobs of a queue", pause, PAUSE_EXAMPLE)
    _add_queue(commands, "resume", "start the jobs of a queue again", resume, RESUME_EXAMPLE)


def _add_queue(commands: Commands, verb: str, summary: str, run: Run, examples: str) -> None:
    parser = commands.add(verb, summary, run, examples)
    database(parser)
    add_word(parser, "queue", metavar="QUEUE", type=name, help="the name of the queue")
    as_json(parser)


def pause(args: argparse.Namespace) -> int:
    """Pause a queue; return 1 if it was paused already."""
    checked({"queue": args.queue}, "pause")
    with Queue(args.database, create=False) as queue:
        meant = misspelt(queue, args.queue)
        changed = queue.pause(args.queue)
    sentence = (
        f"Paused queue {args.queue}." if changed else f"Queue {args.queue} was paused already."
    )
    if changed and meant:
        complain(f"Queue {printable(args.queue)} has no jobs{meant}.")
    return answer(args, sentence, {"queue": args.queue, "paused": True, "changed": changed})


def resume(args: argparse.Namespace) -> int:
    """Resume a queue; return 1 if it was not paused."""
    checked({"queue": args.queue}, "resume")
    with Queue(args.database, create=False) as queue:
        changed = queue.resume(args.queue)
        meant = "" if changed else misspelt(queue, args.queue)
    sentence = (
        f"Resumed queue {args.queue}." if changed else f"Queue {args.queue} was not paused{meant}."
    )
    return answer(args, sentence, {"queue": args.queue, "paused": False, "changed": changed})
