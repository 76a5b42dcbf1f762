"""The commands for a project's own files: jobs, make-job, and schema."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import keyword
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from litequeue.cli.discovery import discover_quietly, report_failures
from litequeue.cli.parser import Commands, as_json, environment_file, jobs_packages
from litequeue.cli.terminal import complain, say, say_json, say_lines, say_table
from litequeue.engine import schema
from litequeue.engine.database import Database
from litequeue.errors import NoJobsFound, OptionError
from litequeue.jobs.discovery import DEFAULT_PACKAGES, Found
from litequeue.jobs.job import Job
from litequeue.messages import printable
from litequeue.options import DEFAULTS
from litequeue.records import key

JOBS_EXAMPLE = """\
examples:
  litequeue jobs                   what a worker would find, started in this folder
  litequeue jobs --jobs shop.jobs  what it would find in that package
"""

MAKE_JOB_EXAMPLE = """\
examples:
  litequeue make-job SendWelcomeEmail            writes jobs/send_welcome_email.py
  litequeue make-job send-welcome-email          the same
  litequeue make-job resize --package shop.jobs  writes shop/jobs/resize.py
"""

SCHEMA_EXAMPLE = """\
examples:
  litequeue schema > schema.sql  the tables as SQL
  litequeue schema jobs.db       create the file, or upgrade its tables
"""

TEMPLATE = '''\
from litequeue import Job


class {name}(Job):
    """Say here what the job does."""

    # Options are keywords of the class, and there need be none:
    #
    #     class {name}(Job, queue="emails", max_attempts=5, timeout=30):

    # The fields are what a push says. One without a default must be given.
    message: str = "hello"

    def handle(self) -> None:
        # An exception that leaves handle() means: try again later.
        print(f"{name} says {{self.message}}")
'''

# Where words meet in CamelCase: send|Mail, HTTP|Fetch.
SEAM = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    jobs = commands.add(
        "jobs", "list the jobs that a worker started here would find", jobs_command, JOBS_EXAMPLE
    )
    jobs_packages(jobs)
    environment_file(jobs)
    as_json(jobs)

    make = commands.add(
        "make-job", "write the file of a new job, ready to run", make_job_command, MAKE_JOB_EXAMPLE
    )
    make.add_argument("name", metavar="NAME", help="the job's name, in any spelling")
    make.add_argument("--force", action="store_true", help="overwrite an existing file")
    make.add_argument(
        "--package",
        metavar="PACKAGE",
        help="the package to write to (default: the one where a worker looks, or jobs)",
    )
    environment_file(make)

    schemas = commands.add(
        "schema", "print the tables as SQL, or upgrade a file", schema_command,
        SCHEMA_EXAMPLE,
    )  # fmt: skip
    schemas.add_argument(
        "database", metavar="DB", nargs="?", help="the file to upgrade or to create"
    )


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


def make_job_command(args: argparse.Namespace) -> int:
    """Write the file of a new job; return 1 if the file or the name is taken."""
    name, module = _spelled(args.name)
    package = args.package or _package()
    folder = _folder(package)
    path = folder / f"{module}.py"
    taken = _taken(name, path, package, force=args.force)
    if taken:
        complain(taken)
        return 1
    _write(path, TEMPLATE.format(name=name))
    say(f"Made {path}")
    say(f"Push it:  litequeue push jobs.db {name} " + shlex.quote('{"message": "hello"}'))
    say("Run it:   litequeue work jobs.db")
    return 0


def schema_command(args: argparse.Namespace) -> int:
    """Print the schema, or upgrade a file."""
    if args.database is None:
        say_lines(schema.sql().rstrip())
        return 0
    missing = not os.path.exists(args.database)
    database = Database(args.database)
    try:
        steps = schema.upgrade(database)
    finally:
        database.close()
    counted = "1 step" if steps == 1 else f"{steps} steps"
    if missing:
        say(f"Made {database.path} ({counted}).")
    elif steps:
        say(f"Brought {database.path} up to date ({counted}).")
    else:
        say(f"{database.path} is up to date (0 steps).")
    return 0


# jobs


def _say_jobs(classes: Sequence[type[Job]]) -> None:
    heads, table = ["name", "where", "queue", "options", "fields"], list(map(_cells, classes))
    if any(cls.__litequeue__.timing for cls in classes):
        heads.insert(3, "comes")
        for cells, cls in zip(table, classes, strict=True):
            cells.insert(3, printable(_comes(cls) or "-"))
    say_table(heads, table)


def _comes(cls: type[Job]) -> str | None:
    """Return the schedule of a periodic job in words, or None."""
    timing = cls.__litequeue__.timing
    return None if timing is None else timing.words()


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
                "expression": timing.text if (timing := cls.__litequeue__.timing) else None,
                "zone": timing.zone if timing else None,
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


# make-job


def _spelled(text: str) -> tuple[str, str]:
    """Return the class name and the module name for any spelling; raises OptionError."""
    words = [word for word in re.split(r"[-_\s]+", SEAM.sub("_", text)) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    module = "_".join(words).lower()
    for each in (name, module):
        if not each.isidentifier() or keyword.iskeyword(each):
            problem = f"{text!r} makes no name that Python takes; write one such as send-email"
            raise OptionError(owner="make-job", problem=problem)
    return name, module


def _package() -> str:
    """Return the package that a worker in this folder searches."""
    named = os.environ.get("LITEQUEUE_JOBS", "").split(",")[0].strip()
    there = (name for name in DEFAULT_PACKAGES if Path(*name.split(".")).is_dir())
    return named or next(there, DEFAULT_PACKAGES[0])


def _folder(package: str) -> Path:
    """Return the folder of a package, relative to the current one; raises OptionError."""
    parts = package.split(".")
    problem = ""
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        problem = f"{package!r} is no name of a package"
    elif parts[0] in sys.stdlib_module_names:
        problem = f"{parts[0]} is a module of Python itself; name another package"
    else:
        files = [Path(*parts[:depth], f"{part}.py") for depth, part in enumerate(parts)]
        for file in filter(Path.is_file, files):
            problem = f"{file} is a module, and a package of its name would hide it"
    if problem:
        raise OptionError(owner="make-job", problem=problem)
    return Path(*parts)


def _taken(name: str, path: Path, package: str, *, force: bool) -> str:
    """Return why the job cannot be written, or an empty text."""
    if path.with_suffix("").is_dir():
        return f"{path.with_suffix('')} is a package already; choose another name."
    if path.exists() and not force:
        return f"{path} is there already; --force writes over it."
    cls = discover_quietly([package]).jobs.get(key(name)) if path.parent.is_dir() else None
    if cls is None or cls.__module__ == f"{package}.{path.stem}":
        return ""
    return f"{cls.__litequeue__.location} answers to {name} already; choose another name."


def _write(path: Path, text: str) -> None:
    try:
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir()
                (folder / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"{error.filename or path} cannot be written ({error.strerror})"
        raise OptionError(owner="make-job", problem=problem) from error
