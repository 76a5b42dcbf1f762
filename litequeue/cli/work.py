"""The commands that run jobs: work, and run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from litequeue.cli.discovery import report_failures
from litequeue.cli.parser import (
    Commands,
    add_word,
    database,
    jobs_packages,
    positive,
    seconds,
    size,
)
from litequeue.cli.spelling import misspelt
from litequeue.cli.terminal import complain
from litequeue.cli.worker_output import Lines, PlainLine
from litequeue.engine import locks
from litequeue.engine.database import watch_connections
from litequeue.engine.place import path_of
from litequeue.engine.prefetch_log import MOST
from litequeue.errors import CannotOpen, ImportsFailed, LitequeueError, OptionError
from litequeue.jobs.discovery import Found, discover
from litequeue.messages import did_you_mean, printable
from litequeue.options import DEFAULTS, Options, checked
from litequeue.queue import Queue
from litequeue.records import State, key
from litequeue.worker.parent_pipe import FINISHED, RECYCLED, WRONG_USE, ParentPipe
from litequeue.worker.shutdown import FORCED_STOP_SECONDS, Shutdown
from litequeue.worker.worker import GRACE_SECONDS, Limits, Worker

# Exit status of a supervised worker that has reached --max-jobs or --memory-limit.
RECYCLED_STATUS = 90
WRONG_USE_STATUS = 2

WORK_EXAMPLE = """\
examples:
  litequeue work jobs.db                         run jobs until Ctrl-C
  litequeue work jobs.db --queue high,default    all of high before any of default
  litequeue work jobs.db --drain --max-time 50   from cron: run the due jobs, then end
"""

RUN_EXAMPLE = """\
examples:
  litequeue run jobs.db send-email    run every due job of that name, here and now
  litequeue run jobs.db --id 42       run that one job, due or not
"""


def add(commands: Commands) -> None:
    """Add ``work``."""
    work = commands.add("work", "run jobs as they become due", work_command, WORK_EXAMPLE)
    database(work)
    _add_discovery(work)
    _add_limits(work)
    _add_processes(work)
    _add_flags(work)


def add_run(commands: Commands) -> None:
    """Add ``run``, which help lists behind ``push``."""
    run = commands.add("run", "run the due jobs of one name, or one job", run_command, RUN_EXAMPLE)
    database(run)
    add_word(run, "name", metavar="NAME", required=False, help="the jobs' name, in any spelling")
    run.add_argument("--id", metavar="N", type=positive, help="this job, due or not")
    _add_discovery(run)
    _add_flags(run)


def _add_limits(work: argparse.ArgumentParser) -> None:
    work.add_argument(
        "--queue", metavar="NAMES", help="only these queues, strictly in this order: high,default"
    )
    work.add_argument("--once", action="store_true", help="run at most one job, then end")
    work.add_argument("--drain", action="store_true", help="end when no job is due")
    work.add_argument(
        "--max", metavar="N", type=positive, help="end after looking for a due job N times"
    )
    work.add_argument("--max-jobs", metavar="N", type=positive, help="end after N jobs")
    work.add_argument("--max-time", metavar="S", type=seconds, help="end after S seconds")
    work.add_argument(
        "--memory-limit",
        metavar="B",
        type=size,
        help="end when the process uses more memory than this: 256M",
    )
    work.add_argument(
        "--sleep",
        metavar="S",
        type=seconds,
        default=1.0,
        help="seconds between polls when no job is due (default: 1)",
    )


def _add_processes(work: argparse.ArgumentParser) -> None:
    work.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="run N worker processes, and replace those that end",
    )
    work.add_argument(
        "--threads",
        metavar="N",
        type=positive,
        help="run up to N jobs at once in each process (default: 1)",
    )
    work.add_argument(
        "--grace",
        metavar="S",
        type=seconds,
        default=GRACE_SECONDS,
        help=f"seconds for a job to end after its timeout or a stop (default: {GRACE_SECONDS:g})",
    )
    work.add_argument(
        "--prefetch",
        metavar="N",
        type=positive,
        default=MOST,
        help=f"prefetch at most N short jobs at once (default: {MOST}); 1 turns prefetch off",
    )
    work.add_argument(
        "--single-id", metavar="ID", help="end at once if a worker with this ID is running"
    )
    work.add_argument(
        "--lock-dir",
        metavar="DIR",
        help="folder of the lock file of --single-id (default: beside DB)",
    )
    # An older version of the supervisor may start this worker: the option keeps its name.
    work.add_argument("--leash", dest="parent_pipe", type=int, help=argparse.SUPPRESS)
    work.add_argument("--first", action="store_true", help=argparse.SUPPRESS)


def _add_discovery(parser: argparse.ArgumentParser) -> None:
    jobs_packages(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with status 2 if a module of the jobs fails to import",
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retries",
        metavar="N",
        type=positive,
        help="maximum attempts of jobs that do not set max_attempts",
    )
    parser.add_argument(
        "--on-failure", choices=("keep", "delete"), help="whether to keep or delete a failed job"
    )
    parser.add_argument(
        "--keep",
        metavar="S",
        type=seconds,
        help="how long to keep jobs and their results after success: 3600, 12h",
    )
    parser.add_argument("--quiet", action="store_true", help="print only failures")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also print each start, and log messages"
    )


def work_command(args: argparse.Namespace) -> int:
    """Run one or several workers until they end, and return their exit status."""
    args.ends_within = args.grace
    with _single(args) as single:
        if not single:
            complain("Instance is already running. Exiting.")
            return 0
        parent = None if args.parent_pipe is None else ParentPipe(_set_apart(args.parent_pipe))
        stop = _shutdown(args, parent)
        # Before the jobs are imported: a signal during the import must end cleanly too.
        with stop.on_signals():
            if args.workers:
                return _supervise(args, stop)
            return _work(args, stop) if parent is None else _work_for(parent, args, stop)


def _shutdown(args: argparse.Namespace, parent: ParentPipe | None) -> Shutdown:
    say = _lines(args).complain
    if args.workers:
        # The workers run the jobs, and print their own messages.
        return Shutdown(say=say)
    if parent is None:
        return Shutdown(grace=args.grace, say=say)
    # The supervisor kills the worker before that time is over, and releases its job.
    return Shutdown(parent.descriptor, grace=args.grace, last=2 * FORCED_STOP_SECONDS, say=say)


def _work_for(parent: ParentPipe, args: argparse.Namespace, stop: Shutdown) -> int:
    """Work as a supervisor's child, and report on the pipe why the work ended."""
    try:
        return _work(args, stop, parent)
    except LitequeueError as error:
        if error.exit_code == WRONG_USE_STATUS:
            parent.over(WRONG_USE)
        raise


def _work(args: argparse.Namespace, stop: Shutdown, parent: ParentPipe | None = None) -> int:
    lines = _lines(args)
    found = _discovered(args)
    with _opened(args.database, lines) as queue:
        worker = _worker(queue, found, args, lines, stop)
        worker.owns_process = True
        watch_connections()
        if parent is not None:
            worker.registered = parent.registered
        _introduce(worker, lines)
        # Not once for each of --workers.
        if parent is None or args.first:
            _report_unknown_queues(worker, lines)
        status = worker.run()
    if parent is not None:
        parent.over(RECYCLED if worker.recycled else FINISHED)
        return RECYCLED_STATUS if worker.recycled else status
    return status


def _opened(path: str, lines: Lines) -> Queue:
    """Open the queue; print a line if the file is new, since its name may be misspelt."""
    missing = not os.path.exists(path)
    queue = Queue(path)
    if missing:
        lines.say(f"Made {queue.path}: there was no such file.")
    return queue


def _worker(
    queue: Queue, found: Found, args: argparse.Namespace, lines: Lines, stop: Shutdown
) -> Worker:
    return Worker(
        queue,
        found,
        queues=_queues(args.queue, os.environ),
        sleep=args.sleep,
        grace=args.grace,
        prefetch=args.prefetch,
        threads=args.threads or 1,
        limits=Limits(
            drain=args.drain or args.once,
            polls=args.max,
            jobs=1 if args.once else args.max_jobs,
            seconds=args.max_time,
            memory=args.memory_limit,
        ),
        flags=_flags(args, os.environ),
        observer=lines,
        stop=stop,
    )


def _set_apart(parent_pipe: int) -> int:
    """Move the parent pipe off standard input, where a job could read from it."""
    moved = os.dup(parent_pipe)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, parent_pipe)
    os.close(devnull)
    return moved


def _supervise(args: argparse.Namespace, stop: Shutdown) -> int:
    if sys.platform == "win32":
        raise OptionError(owner="work", problem="--workers needs POSIX; start several instead")
    if args.once:
        raise OptionError(owner="work", problem="--once runs one job, and needs no --workers")
    from litequeue.worker.supervisor import Supervisor

    lines = _lines(args)
    with _opened(args.database, lines) as queue:
        supervisor = Supervisor(
            store=queue.store,
            command=_childs_command(args),
            first=["--first"],
            count=args.workers,
            grace=args.grace,
            until_done=bool(args.drain or args.max or args.max_time),
            stop=stop,
            complain=lines.complain,
        )
        return supervisor.run()


def _childs_command(args: argparse.Namespace) -> list[str]:
    """The command of one worker, with everything but what is the supervisor's own."""
    # As it was given, and not abspath's: ".." behind a link is not what the letters say.
    words = ["work", os.path.join(os.getcwd(), args.database), "--leash", "0"]
    for package in args.jobs:
        words += ["--jobs", package]
    for flag in ("strict", "drain", "quiet", "verbose"):
        if getattr(args, flag):
            words.append(f"--{flag}")
    for option in _PASSED_ON:
        value = getattr(args, option.replace("-", "_"))
        if value is not None:
            words.append(f"--{option}={value}")
    return words


_PASSED_ON = (
    "queue", "max", "max-jobs", "max-time", "memory-limit", "grace", "prefetch", "threads", "sleep",
    "retries", "on-failure", "keep",
)  # fmt: skip


@contextmanager
def _single(args: argparse.Namespace) -> Iterator[bool]:
    """Hold the lock of --single-id; False where another holds it."""
    if args.single_id is None:
        yield True
        return
    if not args.single_id.strip():
        raise OptionError(owner="work", problem="--single-id must not be empty")
    lock = _lock_file(args)
    with ExitStack() as held:
        try:
            single = held.enter_context(locks.tried(lock))
        except OSError as error:
            raise CannotOpen(path=lock, problem=str(error.strerror)) from error
        yield single


def _lock_file(args: argparse.Namespace) -> str:
    # 4 MB for a worker that may be one of many.
    import hashlib
    from urllib.parse import quote

    path = os.path.realpath(path_of(args.database))
    folder = os.path.dirname(path) if args.lock_dir is None else args.lock_dir
    # Two databases of one name may share the folder.
    place = hashlib.sha256(path.encode()).hexdigest()[:8]
    name = f"{os.path.basename(path)}-{place}-{quote(args.single_id, safe='')}.lock"
    return os.path.join(folder, name)


def run_command(args: argparse.Namespace) -> int:
    """Run the due jobs of a name, or one job; return 1 if none was due or one failed."""
    args.ends_within = GRACE_SECONDS
    if (args.name is None) == (args.id is None):
        raise OptionError(owner="run", problem="give the name of the jobs, or --id and a number")
    lines = _lines(args)
    found = _discovered(args)
    with Queue(args.database, create=False) as queue:
        worker = Worker(
            queue,
            found,
            flags=_flags(args, os.environ),
            observer=lines,
            stop=Shutdown(grace=GRACE_SECONDS, say=lines.complain),
        )
        worker.owns_process = True
        watch_connections()
        ended = worker.run_named(args.name) if args.id is None else [worker.run_job(args.id)]
    if not ended:
        meant = did_you_mean(args.name, [cls.__litequeue__.name for cls in found.classes])
        known = args.name is None or key(args.name) in found.jobs
        complain(f"No job {args.name}{'' if known else meant} is due in {worker.queue.path}.")
    all_done = bool(ended) and all(state in (State.DONE, State.WAITING) for state in ended)
    return worker.status or (0 if all_done else 1)


def _lines(args: argparse.Namespace) -> Lines:
    handler = logging.StreamHandler()
    handler.setFormatter(PlainLine())
    level = logging.INFO if args.verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])
    return Lines(quiet=args.quiet, verbose=args.verbose)


def _discovered(args: argparse.Namespace) -> Found:
    found = discover(args.jobs)
    report_failures(found)
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


def _report_unknown_queues(worker: Worker, lines: Lines) -> None:
    """Name each queue to serve that no class and no job has, if it resembles a known one."""
    known = {
        str(cls.__litequeue__.options.get("queue", DEFAULTS["queue"]))
        for cls in worker.found.classes
    }
    for queue in worker.queues:
        meant = "" if queue in known else misspelt(worker.queue, queue, more_queues=known)
        if meant:
            lines.complain(f"Queue {printable(queue)} has no jobs{meant}.")
