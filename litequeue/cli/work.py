"""The commands that run jobs: work, and run."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping

from litequeue.cli.lines import Lines
from litequeue.cli.parser import Commands, database, positive, seconds
from litequeue.cli.terminal import complain
from litequeue.discovery import Found, discover
from litequeue.errors import ImportsFailed, OptionError
from litequeue.options import Options, checked
from litequeue.queue import Queue
from litequeue.record import State
from litequeue.stop import Stop
from litequeue.worker import Limits, Worker

WORK_EXAMPLE = """\
examples:
  litequeue work jobs.db                         run jobs until Ctrl-C
  litequeue work jobs.db --queue high,default    all of high before any of default
  litequeue work jobs.db --drain --max-time 50   from cron: what is due, then end
"""

RUN_EXAMPLE = """\
examples:
  litequeue run jobs.db send-email    run every due job of that name, here and now
  litequeue run jobs.db --id 42       run that one job, due or not
"""


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    work = commands.add("work", "run jobs as they become due", work_command, WORK_EXAMPLE)
    database(work)
    _add_discovery(work)
    work.add_argument(
        "--queue", metavar="NAMES", help="only these queues, strictly in this order: high,default"
    )
    work.add_argument("--once", action="store_true", help="run at most one job, and end")
    work.add_argument("--drain", action="store_true", help="end when nothing is due any more")
    work.add_argument("--max", metavar="N", type=positive, help="end after N looks for work")
    work.add_argument("--max-jobs", metavar="N", type=positive, help="end after N jobs")
    work.add_argument("--max-time", metavar="S", type=seconds, help="end after S seconds")
    work.add_argument(
        "--sleep", metavar="S", type=seconds, default=1.0, help="seconds between looks (default: 1)"
    )
    _add_flags(work)

    run = commands.add("run", "run the due jobs of one name, or one job", run_command, RUN_EXAMPLE)
    database(run)
    run.add_argument("name", metavar="NAME", nargs="?", help="the jobs' name, in any spelling")
    run.add_argument("--id", metavar="N", type=positive, help="this job, due or not")
    _add_discovery(run)
    _add_flags(run)


def _add_discovery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="where the jobs are (default: LITEQUEUE_JOBS, or jobs, or app.jobs)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 2 if a module of theirs fails to import"
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retries", metavar="N", type=positive, help="runs in all, for jobs that do not say"
    )
    parser.add_argument(
        "--on-failure", choices=("keep", "delete"), help="what becomes of a job that has failed"
    )
    parser.add_argument("--keep", metavar="S", type=seconds, help="seconds that finished jobs stay")
    parser.add_argument("--quiet", action="store_true", help="only what goes wrong")
    parser.add_argument("-v", "--verbose", action="store_true", help="each start, and logging")


def work_command(args: argparse.Namespace) -> int:
    """Run a worker until it ends; the exit status is its own."""
    stop = Stop()
    # From here on, and not only once the worker runs: a signal while jobs are imported
    # must end it as cleanly.
    with stop.on_signals():
        lines = _lines(args)
        found = _discovered(args)
        queue = Queue(args.database)
        worker = Worker(
            queue,
            found,
            queues=_queues(args.queue, os.environ),
            sleep=args.sleep,
            limits=Limits(
                drain=args.drain or args.once,
                polls=args.max,
                jobs=1 if args.once else args.max_jobs,
                seconds=args.max_time,
            ),
            flags=_flags(args, os.environ),
            listener=lines,
            stop=stop,
        )
        _introduce(worker, lines)
        return worker.run()


def run_command(args: argparse.Namespace) -> int:
    """Run the due jobs of a name, or one job; 1 if there was none, or one failed."""
    if (args.name is None) == (args.id is None):
        raise OptionError(owner="run", problem="give the name of the jobs, or --id and a number")
    lines = _lines(args)
    found = _discovered(args)
    worker = Worker(
        Queue(args.database, create=False),
        found,
        flags=_flags(args, os.environ),
        listener=lines,
    )
    ended = worker.run_named(args.name) if args.id is None else [worker.run_job(args.id)]
    if not ended:
        complain(f"No job {args.name} is due in {worker.queue.path}.")
    all_done = bool(ended) and all(state is State.DONE for state in ended)
    return worker.status or (0 if all_done else 1)


def _lines(args: argparse.Namespace) -> Lines:
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s"
    )
    return Lines(quiet=args.quiet, verbose=args.verbose)


def _discovered(args: argparse.Namespace) -> Found:
    found = discover(args.jobs)
    for failure in found.failures:
        complain(f"Module {failure.module} failed to import:\n{failure.traceback.rstrip()}")
    if found.failures and args.strict:
        raise ImportsFailed(count=len(found.failures))
    return found


def _queues(named: str | None, environment: Mapping[str, str]) -> list[str]:
    text = named if named is not None else environment.get("LITEQUEUE_QUEUE", "")
    queues = [name.strip() for name in text.split(",")]
    if named is not None or text:
        for name in queues:
            checked({"queue": name}, "--queue")
    return list(filter(None, queues))


def _flags(args: argparse.Namespace, environment: Mapping[str, str]) -> Options:
    flags: dict[str, object] = {}
    attempts = environment.get("LITEQUEUE_MAX_ATTEMPTS")
    if attempts:
        flags["max_attempts"] = int(attempts) if attempts.isdecimal() else attempts
    for word, value in (
        ("max_attempts", args.retries),
        ("on_failure", args.on_failure),
        ("keep", args.keep),
    ):
        if value is not None:
            flags[word] = value
    return checked(flags, "LITEQUEUE_MAX_ATTEMPTS and the command's options")


def _introduce(worker: Worker, lines: Lines) -> None:
    found = worker.found
    names = ", ".join(cls.__litequeue__.name for cls in found.classes)
    serves = f"queues {', '.join(worker.queues)}" if worker.queues else "all queues"
    lines.say(f"litequeue works on {worker.queue.path}, {serves}")
    lines.say(f"Jobs found in {', '.join(found.packages)}: {names}")
