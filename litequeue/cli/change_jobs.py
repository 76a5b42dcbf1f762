"""The commands that change stored jobs: retry, cancel, forget, prune."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from litequeue.cli.parser import (
    Commands,
    Run,
    add_filters,
    add_word,
    as_json,
    database,
    filters,
    positive,
    seconds,
)
from litequeue.cli.spelling import misspelt
from litequeue.cli.terminal import answer, complain, say, say_json
from litequeue.errors import OptionError
from litequeue.monitor.status import asked_to_stop, jobs_counted, runs
from litequeue.queue import Queue
from litequeue.records import State

RETRY_EXAMPLE = """\
examples:
  litequeue retry jobs.db 42 43                          these two, now
  litequeue retry jobs.db --state failed --queue emails  all failed jobs of this queue
  litequeue retry jobs.db --force 42                     a running job that hangs
"""

CANCEL_EXAMPLE = """\
examples:
  litequeue cancel jobs.db 42                      a running job is only asked to stop
  litequeue cancel jobs.db --name send-newsletter  all of this name that have not finished
  litequeue cancel jobs.db --batch 42              the jobs of this batch and its follow-up job
"""

FORGET_EXAMPLE = """\
examples:
  litequeue forget jobs.db 42              delete this job
  litequeue forget jobs.db --state failed  delete all failed jobs
"""

PRUNE_EXAMPLE = """\
examples:
  litequeue prune jobs.db --older 7d   jobs that finished more than a week ago
  litequeue prune jobs.db --older 12h  from cron, once an hour
"""

NOT_STARTED = (State.WAITING, State.SCHEDULED, State.READY)


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    retrying = _add_choice(
        commands,
        "retry",
        "run failed jobs again, with their full number of attempts",
        retry,
        RETRY_EXAMPLE,
    )
    retrying.add_argument(
        "--force",
        action="store_true",
        help="also retry running jobs, which are taken from their workers; needs IDs",
    )
    cancelling = _add_choice(
        commands, "cancel", "cancel jobs that have not finished", cancel, CANCEL_EXAMPLE
    )
    cancelling.add_argument(
        "--batch", metavar="ID", type=positive, help="the jobs of this batch and its follow-up job"
    )
    _add_choice(commands, "forget", "delete jobs that are not running", forget, FORGET_EXAMPLE)

    pruning = commands.add("prune", "delete jobs that finished long ago", prune, PRUNE_EXAMPLE)
    database(pruning)
    pruning.add_argument(
        "--older",
        metavar="S",
        type=seconds,
        required=True,
        help="only jobs that finished longer ago than this: 7d, 12h",
    )
    as_json(pruning)


def _add_choice(
    commands: Commands, verb: str, summary: str, run: Run, examples: str
) -> argparse.ArgumentParser:
    parser = commands.add(verb, summary, run, examples)
    database(parser)
    add_word(
        parser,
        "ids",
        metavar="ID",
        type=positive,
        required=False,
        many=True,
        help=f"the jobs to {verb}; if one of them cannot be changed, none is",
    )
    parser.add_argument("--all", action="store_true", help=f"all jobs that {verb} applies to")
    add_filters(parser)
    as_json(parser)
    parser.set_defaults(verb=verb)
    return parser


def retry(args: argparse.Namespace) -> int:
    """Retry jobs; return 1 if none matched."""
    if args.force and not args.ids:
        raise OptionError(owner="retry", problem="--force takes jobs by their ids alone")
    with Queue(args.database, create=False) as queue:
        changed = _change(partial(queue.retry, force=args.force), args)
        return _answer(queue, args, {"retried": changed}, [f"Retried {jobs_counted(changed)}."])


def cancel(args: argparse.Namespace) -> int:
    """Cancel jobs, and ask running ones to stop; return 1 if none matched."""
    with Queue(args.database, create=False) as queue:
        cancelled, asked = (_cancel if args.batch is None else _cancel_batch)(queue, args)
        lines = []
        if cancelled:
            lines.append(f"Cancelled {jobs_counted(cancelled)}.")
        if asked:
            lines.append(f"Asked {asked} running job{'' if asked == 1 else 's'} to stop.")
        return _answer(queue, args, {"cancelled": cancelled, "asked_to_stop": asked}, lines)


def forget(args: argparse.Namespace) -> int:
    """Delete jobs; return 1 if none matched."""
    with Queue(args.database, create=False) as queue:
        changed = _change(queue.forget, args)
        return _answer(queue, args, {"forgotten": changed}, [f"Forgot {jobs_counted(changed)}."])


def prune(args: argparse.Namespace) -> int:
    """Delete jobs that finished long ago; return 0 even if there were none."""
    with Queue(args.database, create=False) as queue:
        pruned = queue.prune(args.older)
    return answer(args, f"Pruned {jobs_counted(pruned)}.", {"pruned": pruned})


class Change(Protocol):
    """A method of Queue that takes ids, or filters."""

    def __call__(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int: ...


def _change(verb: Change, args: argparse.Namespace) -> int:
    # The second of two equal ids would find its job changed already, and be refused.
    ids = dict.fromkeys(args.ids)
    return verb(*ids, all=args.all, **filters(args))


def _cancel(queue: Queue, args: argparse.Namespace) -> tuple[int, int]:
    """Cancel jobs; return how many were cancelled, and how many running ones were asked to
    stop."""
    matched = args.queue is not None or args.name is not None
    if args.ids:
        with queue.store.database.transaction():
            changed = _change(queue.cancel, args)
            asked = sum(runs(queue.store, id) for id in set(args.ids))
        return changed - asked, asked
    if args.state is not None or args.all == matched:
        changed = _change(queue.cancel, args)
        return (0, changed) if args.state == State.RUNNING else (changed, 0)
    # One state after the other tells them apart; a job that starts meanwhile meets the last.
    cancelled, asked = (
        sum(queue.cancel(state=state, queue=args.queue, name=args.name) for state in states)
        for states in (NOT_STARTED, (State.RUNNING,))
    )
    return cancelled, asked


def _cancel_batch(queue: Queue, args: argparse.Namespace) -> tuple[int, int]:
    """Cancel a batch; return the same two counts."""
    if args.ids or args.all or any(filters(args).values()):
        raise OptionError(owner="cancel", problem="say --batch ID alone, or which jobs")
    changed = queue.cancel_batch(args.batch)
    # Some may have ended since.
    asked = min(changed, asked_to_stop(queue.store, args.batch))
    return changed - asked, asked


def _answer(
    queue: Queue, args: argparse.Namespace, counts: dict[str, int], lines: Sequence[str]
) -> int:
    changed = any(counts.values())
    if args.json:
        say_json(counts)
    elif changed:
        for line in lines:
            say(line)
    else:
        meant = misspelt(queue, args.queue, args.name)
        complain(f"No job matches that {args.verb} can take{meant}.")
    return 0 if changed else 1
