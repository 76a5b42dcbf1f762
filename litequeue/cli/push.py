"""The command that pushes: one job, or a line of standard input for each."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from litequeue.cli.discovery import discover_optional
from litequeue.cli.parser import (
    Commands,
    add_word,
    as_json,
    database,
    jobs_packages,
    name,
    positive,
    seconds,
)
from litequeue.cli.terminal import complain, say, say_json
from litequeue.errors import LitequeueError, OptionError, PayloadError
from litequeue.jobs.job import Job
from litequeue.messages import did_you_mean, show
from litequeue.monitor.status import jobs_counted
from litequeue.options import Options, checked
from litequeue.payloads.codec import encode_plain
from litequeue.queue import Queue
from litequeue.records import Spec, key
from litequeue.store.insert import Pushable

EXAMPLE = """\
examples:
  litequeue push jobs.db send-email '{"user_id": 1}' --delay 30s    prints the job's id
  litequeue push jobs.db send-email - < users.jsonl                 one JSON object per line
  litequeue push jobs.db report --after 7,8 --unique                after both, and only once
"""

WORDS = (
    "queue", "priority", "max_attempts", "backoff", "delay", "at", "keep", "on_failure", "timeout",
    "unique", "without_overlapping", "concurrency", "expires", "rate_limit", "rate_key",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Checked:
    """A job whose payload was checked before the database is opened."""

    spec: Spec

    def __litequeue_spec__(self) -> Spec:
        return self.spec


def add(commands: Commands) -> None:
    """Add the command of this file."""
    push = commands.add("push", "push a job, and print its id", push_command, EXAMPLE)
    database(push)
    add_word(push, "name", metavar="NAME", type=name, help="the job's name, in any spelling")
    add_word(
        push,
        "payload",
        metavar="JSON",
        required=False,
        default="{}",
        help="its fields as a JSON object (default: {}); - reads one object per line "
        "from standard input, and pushes all or none",
    )
    _add_options(push)
    _add_dependencies(push)
    jobs_packages(
        push,
        "the package with the job's class, which checks the fields and sets options",
        "LITEQUEUE_JOBS, or jobs, or app.jobs, if it exists",
    )
    as_json(push)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", metavar="QUEUE", type=name, help="the queue (default: default)")
    parser.add_argument("--priority", metavar="N", type=int, help="higher runs first (default: 0)")
    parser.add_argument(
        "--max-attempts",
        metavar="N",
        type=positive,
        help="how often the job may run, retries included",
    )
    parser.add_argument(
        "--backoff",
        metavar="S",
        type=_backoff,
        help="seconds before the next attempt: 10, or 10,30,60 for the first, second, later ones",
    )
    parser.add_argument(
        "--delay", metavar="TIME", help="wait this long before the first attempt: 30s, 15m"
    )
    parser.add_argument("--at", metavar="TIME", help="time of the first attempt: 'tomorrow 10:00'")
    parser.add_argument(
        "--expires",
        metavar="TIME",
        help="cancel the job if it was not started by then: 1h after the push, '18:00'",
    )
    parser.add_argument(
        "--keep",
        metavar="S",
        type=seconds,
        help="how long to keep the job and its result: 3600, 12h",
    )
    parser.add_argument(
        "--on-failure",
        choices=("keep", "delete"),
        help="whether to keep or delete the job when it has failed",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=seconds, help="how long one attempt may take: 30, 5m"
    )


def _add_dependencies(parser: argparse.ArgumentParser) -> None:
    """Add the options that relate a job to others: dependencies and keys."""
    parser.add_argument(
        "--after",
        metavar="ID",
        action="extend",
        type=_ids,
        default=[],
        help="run only after these jobs have succeeded: 7, or 7,8; may be repeated",
    )
    parser.add_argument(
        "--unique",
        metavar="KEY",
        nargs="?",
        const=True,
        type=name,
        help="while a job of this key is unfinished, push nothing and print that job's id "
        "(default KEY: name and fields)",
    )
    parser.add_argument(
        "--without-overlapping",
        metavar="KEY",
        nargs="?",
        const=True,
        type=name,
        help="run no two jobs of this key at once (default KEY: the name)",
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=positive, help="run at most N jobs of the key at once"
    )
    parser.add_argument(
        "--rate-limit",
        metavar="N/TIME",
        help="start at most N jobs of the key in any such time: 100/minute, 5/10s",
    )
    parser.add_argument(
        "--rate-key", metavar="KEY", type=name, help="the key of the rate limit (default: the name)"
    )


def push_command(args: argparse.Namespace) -> int:
    """Push one job or several; all are checked before anything is written."""
    options = _options(args)
    cls, remark = _class_named(args)
    if args.payload == "-":
        _push_lines(args, list(_from_lines(args.name, cls)), options)
    else:
        _push_one(args, _job(args.name, cls, args.payload), options)
    if remark:
        complain(remark)
    return 0


def _push_one(args: argparse.Namespace, job: Pushable, options: Options) -> None:
    with _opened(args.database) as queue:
        id = queue.push(job, after=args.after, **options)
    if args.json:
        say_json({"id": id})
    else:
        say(str(id))


def _opened(path: str) -> Queue:
    """Open the queue. On a terminal, report a new file, since its name may be misspelt; a
    script that pushes the first job needs no such message."""
    missing = not os.path.exists(path)
    queue = Queue(path)
    if missing and sys.stdout.isatty():
        complain(f"Made {queue.path}: there was no such file.")
    return queue


def _push_lines(args: argparse.Namespace, jobs: list[Pushable], options: Options) -> None:
    with _opened(args.database) as queue, queue.store.database.transaction():
        if args.after:
            ids = [queue.push(job, after=args.after, **options) for job in jobs]
        else:
            ids = queue.push_many(jobs, **options)
    # With a unique key, an id may come twice, or be that of an older job.
    different = sorted(set(ids))
    if args.json:
        say_json({"ids": ids})
    elif len(different) > 1:
        say(f"Pushed {jobs_counted(len(different))}: ids {different[0]} to {different[-1]}")
    else:
        say(f"Pushed 1 job: id {ids[0]}" if ids else "Pushed 0 jobs: there was no line.")


def _options(args: argparse.Namespace) -> Options:
    given = {word: getattr(args, word) for word in WORDS}
    return checked({word: value for word, value in given.items() if value is not None}, "push")


def _ids(text: str) -> list[int]:
    return [positive(id) for id in text.split(",")]


def _backoff(text: str) -> float | list[float]:
    steps = [seconds(step) for step in text.split(",")]
    return steps if len(steps) > 1 else steps[0]


def _class_named(args: argparse.Namespace) -> tuple[type[Job] | None, str]:
    """The class that answers to the name; or None, and what to say of it once the job is
    pushed."""
    if not args.name.strip():
        raise OptionError(owner="push", problem="the name of the job is empty")
    found = discover_optional(args.jobs)
    if found is None:
        return None, f"No jobs package is here: {show(args.name)} is pushed by name, unchecked."
    for failure in found.failures:
        last = failure.traceback.strip().splitlines()[-1]
        complain(f"Module {failure.module} failed to import: {last}")
    cls = found.jobs.get(key(args.name))
    if cls is not None:
        return cls, ""
    meant = did_you_mean(args.name, [each.__litequeue__.name for each in found.classes])
    return None, f"No job answers to {show(args.name)} here{meant}: pushed by name, unchecked."


def _job(name: str, cls: type[Job] | None, text: str) -> Pushable:
    """The job with these fields; by its class, if that was found. Raises PayloadError."""
    fields = _fields(text)
    if cls is None:
        return _Checked(Spec(name, encode_plain(fields, name)))
    job = cls.__litequeue__.codec.decode(text)
    assert isinstance(job, Job)
    # The job itself, which a callable for a key is asked of.
    return job


def _fields(text: str) -> dict[str, object]:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if "\n" in text else ""
        where = f"{line}column {error.colno}"
        raise PayloadError(job="JSON", problem=f"{error.msg} at {where}") from error
    except (ValueError, RecursionError) as error:
        raise PayloadError(job="JSON", problem=str(error)) from error
    if not isinstance(fields, dict):
        raise PayloadError(job="JSON", problem='the fields must be an object, such as {"id": 1}')
    return fields


def _from_lines(name: str, cls: type[Job] | None) -> Iterator[Pushable]:
    # As bytes: text would be split at signs that JSON strings may hold.
    lines = [] if sys.stdin is None else sys.stdin.buffer
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig").strip()
            if text:
                yield _job(name, cls, text)
        except (LitequeueError, UnicodeDecodeError) as error:
            raise PayloadError(
                job=f"line {number}", problem=f"{error} (nothing was pushed)"
            ) from error
