"""The command jobs: the jobs that a worker would find."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Sequence

from litequeue.cli.discovery import discover_quietly, report_failures
from litequeue.cli.parser import Commands, as_json, environment_file, jobs_packages
from litequeue.cli.terminal import say_json, say_table
from litequeue.errors import NoJobsFound
from litequeue.jobs.discovery import Found
from litequeue.jobs.job import Job
from litequeue.messages import printable
from litequeue.options import DEFAULTS

EXAMPLE = """\
examples:
  litequeue jobs                   what a worker would find, started in this folder
  litequeue jobs --jobs shop.jobs  what it would find in that package
"""


def add(commands: Commands) -> None:
    """Add the command of this file."""
    jobs = commands.add(
        "jobs", "list the jobs that a worker started here would find", jobs_command, EXAMPLE
    )
    jobs_packages(jobs)
    environment_file(jobs)
    as_json(jobs)


def jobs_command(args: argparse.Namespace) -> int:
    """List the jobs found; return 1 if a module failed to import."""
    found = discover_quietly(args.jobs)
    report_failures(found)
    if not found.classes and not found.failures:
        raise NoJobsFound(problem=f"there is no job class in {', '.join(found.packages)}")
    if args.json:
        say_json(_as_json(found))
    elif found.classes:
        _say_jobs(found.classes)
    return 1 if found.failures else 0


def _say_jobs(classes: Sequence[type[Job]]) -> None:
    heads, table = ["name", "where", "queue", "options", "fields"], list(map(_cells, classes))
    if any(cls.__litequeue__.schedule for cls in classes):
        heads.insert(3, "schedule")
        for cells, cls in zip(table, classes, strict=True):
            cells.insert(3, printable(_comes(cls) or "-"))
    say_table(heads, table)


def _comes(cls: type[Job]) -> str | None:
    """Return the schedule of a periodic job in words, or None."""
    schedule = cls.__litequeue__.schedule
    return None if schedule is None else schedule.words()


def _cells(cls: type[Job]) -> list[str]:
    said = _options(cls)
    queue = str(said.pop("queue", DEFAULTS["queue"]))
    options = ", ".join(f"{word}={value}" for word, value in said.items())
    fields = ", ".join(_field_in_words(field) for field in _own_fields(cls))
    cells = (cls.__litequeue__.name, cls.__module__, queue, options or "-", fields or "-")
    return [printable(cell) for cell in cells]


def _as_json(found: Found) -> dict[str, object]:
    return {
        "packages": list(found.packages),
        "jobs": [
            {
                "name": cls.__litequeue__.name,
                "aliases": list(cls.__litequeue__.aliases),
                "where": cls.__litequeue__.location,
                "queue": cls.__litequeue__.options.get("queue", DEFAULTS["queue"]),
                "expression": schedule.text if (schedule := cls.__litequeue__.schedule) else None,
                "zone": schedule.zone if schedule else None,
                "words": _comes(cls),
                "options": _options(cls),
                "fields": _fields(cls),
            }
            for cls in found.classes
        ],
        "failures": [
            {"module": failure.module, "traceback": failure.traceback} for failure in found.failures
        ],
    }


def _options(cls: type[Job]) -> dict[str, object]:
    """Return the options of a class as JSON values."""
    return {word: _plain(value) for word, value in cls.__litequeue__.options.items()}


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | int | float):
        return value
    # A backoff may be a function, a delay a timedelta.
    return str(getattr(value, "__name__", value))


def _fields(cls: type[Job]) -> list[dict[str, object]]:
    return [
        {"name": field.name, "type": _type(field), "required": _default(field) == ""}
        for field in _own_fields(cls)
    ]


def _own_fields(cls: type[Job]) -> list[dataclasses.Field[object]]:
    # Job's subclasses are dataclasses; a type checker takes its word for it here.
    assert dataclasses.is_dataclass(cls)
    return [field for field in dataclasses.fields(cls) if field.init]


def _field_in_words(field: dataclasses.Field[object]) -> str:
    return f"{field.name}: {_type(field)}{_default(field)}"


def _type(field: dataclasses.Field[object]) -> str:
    hint: object = field.type
    return hint if isinstance(hint, str) else inspect.formatannotation(hint)


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return "" if field.default_factory is dataclasses.MISSING else " = ..."
