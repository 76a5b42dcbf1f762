"""The command schedule: the schedules of the periodic jobs."""

from __future__ import annotations

import argparse

from litequeue.cli.discovery import discover_optional
from litequeue.cli.json import line_as_json, local, utc
from litequeue.cli.parser import Commands, as_json, database, jobs_packages, name
from litequeue.cli.terminal import answer, complain, say, say_json, say_table
from litequeue.errors import DuplicateJob
from litequeue.jobs.discovery import Found
from litequeue.jobs.job import Job
from litequeue.messages import printable
from litequeue.queue import Queue
from litequeue.records import key
from litequeue.worker.periodic import ScheduleEntry, Schedules

EXAMPLE = """\
examples:
  litequeue schedule jobs.db                         when each job runs, and when it ran last
  litequeue schedule jobs.db --run nightly-report    push it now, and print the job's id
  litequeue schedule jobs.db --pause nightly-report  do not run it again until --resume
"""


def add(commands: Commands) -> None:
    """Add the command of this file."""
    parser = commands.add(
        "schedule", "list the periodic jobs; run, pause or forget one", schedule_command, EXAMPLE
    )
    database(parser)
    verbs = parser.add_mutually_exclusive_group()
    for verb, what in (
        ("run", "push this job now, in addition to its schedule, and print its id"),
        ("pause", "stop pushing this job"),
        ("resume", "push this job again, from its next due time on"),
        ("forget", "delete the schedule of a job whose code is gone"),
    ):
        verbs.add_argument(f"--{verb}", dest=f"to_{verb}", metavar="NAME", type=name, help=what)
    jobs_packages(
        parser,
        "the package with the periodic jobs; may be repeated",
        "LITEQUEUE_JOBS, or jobs, or app.jobs, if it exists",
    )
    as_json(parser)


def schedule_command(args: argparse.Namespace) -> int:
    """Print the schedules, or change one; return 1 if there was nothing to change."""
    with Queue(args.database, create=False) as queue:
        schedules = Schedules(queue.store)
        if args.to_run is not None:
            return _run(schedules, args)
        if args.to_pause is not None:
            return _pause(schedules, args)
        if args.to_resume is not None:
            return _resume(schedules, args)
        if args.to_forget is not None:
            return _forget(schedules, args)
        return _list(schedules, args)


def _list(schedules: Schedules, args: argparse.Namespace) -> int:
    entries, absent = schedules.entries(), schedules.absent(_classes(args.jobs))
    all_entries = sorted(entries + absent, key=lambda entry: entry.name)
    if args.json:
        say_json([{**_as_json(entry), "on_timetable": entry in entries} for entry in all_entries])
    elif all_entries:
        heads = ("name", "schedule", "next run", "last run", "paused")
        say_table(heads, [_cells(entry) for entry in all_entries])
        if absent:
            names = ", ".join(printable(entry.name) for entry in absent)
            say(f"Not stored yet: {names}. A worker stores them when it starts.")
    else:
        say("No periodic job is stored. A worker stores its periodic jobs when it starts.")
    return 0


def _run(schedules: Schedules, args: argparse.Namespace) -> int:
    entry = schedules.entry(args.to_run)
    job = _class_of(entry.name, args.jobs)
    if job is None:
        complain(f"The code of {printable(entry.name)} is not here: pushed by name alone.")
    id = schedules.push_now(entry.name, job)
    return answer(args, str(id), {"id": id})


def _pause(schedules: Schedules, args: argparse.Namespace) -> int:
    shown = printable(schedules.entry(args.to_pause).name)
    changed = schedules.pause(args.to_pause)
    sentence = f"Paused {shown}." if changed else f"{shown} was paused already."
    return answer(args, sentence, {"name": shown, "paused": True, "changed": changed})


def _resume(schedules: Schedules, args: argparse.Namespace) -> int:
    shown = printable(schedules.entry(args.to_resume).name)
    changed = schedules.resume(args.to_resume)
    sentence = f"{shown} was not paused."
    if changed:
        sentence = f"Resumed {shown}; it is next due at {_when(schedules.entry(args.to_resume))}."
    return answer(args, sentence, {"name": shown, "paused": False, "changed": changed})


def _forget(schedules: Schedules, args: argparse.Namespace) -> int:
    shown = printable(schedules.entry(args.to_forget).name)
    schedules.forget(args.to_forget)
    sentence = f"Forgot {shown}; a worker that has its code adds it again when it starts."
    return answer(args, sentence, {"name": shown, "changed": True})


def _classes(packages: list[str]) -> list[type[Job]]:
    """Return the jobs found; the list is printed without them if that fails."""
    try:
        found = _discovered(packages)
    except DuplicateJob as error:
        complain(str(error))
        return []
    for module in found.unimported:
        complain(f"Module {module} failed to import; `litequeue jobs` says why.")
    return found.classes


def _class_of(name: str, packages: list[str]) -> type[Job] | None:
    """Return the class of a periodic job, if it was found; its options set the queue."""
    return _discovered(packages).jobs.get(key(name))


def _discovered(packages: list[str]) -> Found:
    return discover_optional(packages) or Found()


def _cells(entry: ScheduleEntry) -> list[str]:
    last = "-" if entry.last_at is None else local(entry.last_at)
    paused = "yes" if entry.paused else "-"
    return [printable(entry.name), printable(entry.words), _when(entry), last, paused]


def _as_json(entry: ScheduleEntry) -> dict[str, object]:
    return {
        **line_as_json(entry),
        "words": entry.words,
        "last_at": None if entry.last_at is None else utc(entry.last_at),
        "last_job": entry.last_job,
        "paused": entry.paused,
    }


def _when(entry: ScheduleEntry) -> str:
    return "-" if entry.paused else local(entry.next_at)
