"""The command recipe: service files for systemd, supervisor or cron, for this folder."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from litequeue.cli.environment import read
from litequeue.cli.parser import Commands, database, jobs_packages, positive, seconds
from litequeue.cli.service_files import KINDS, Site, Unit, option
from litequeue.cli.terminal import say, say_lines
from litequeue.engine.place import path_of
from litequeue.errors import OptionError
from litequeue.options import checked
from litequeue.worker.worker import GRACE_SECONDS

EXAMPLE = """\
examples:
  litequeue recipe systemd jobs.db                         one worker, for all queues
  litequeue recipe systemd jobs.db --queue high:2 --queue default:4 --queue low:1
  litequeue recipe supervisor jobs.db --into .             writes the file to this folder
  litequeue recipe cron jobs.db --queue reports            runs due jobs every minute
"""

LONGEST_NAME = 60


def add(commands: Commands) -> None:
    """Add the command of this file."""
    recipe = commands.add(
        "recipe",
        "print a service file that keeps workers running in this folder",
        recipe_command,
        EXAMPLE,
    )
    recipe.add_argument(
        "kind",
        metavar="systemd|supervisor|cron",
        choices=tuple(KINDS),
        help="the program that is to run the workers",
    )
    database(recipe)
    recipe.add_argument(
        "--queue",
        metavar="NAME[:WORKERS]",
        action="append",
        type=_served,
        default=[],
        help="a queue, or several in order of precedence, and how many workers serve them: "
        "high,default:2; may be repeated (default: one worker for all queues)",
    )
    jobs_packages(recipe, default="LITEQUEUE_JOBS, or what the worker finds")
    recipe.add_argument(
        "--grace",
        metavar="S",
        type=seconds,
        default=GRACE_SECONDS,
        help=f"seconds that a running job has to end after a stop (default: {GRACE_SECONDS:g})",
    )
    recipe.add_argument(
        "--into", metavar="FOLDER", help="write the files to this folder, and print their paths"
    )


def recipe_command(args: argparse.Namespace) -> int:
    """Print the service files, or write them to a folder."""
    if sys.platform == "win32":
        raise OptionError(
            owner="recipe", problem="systemd, supervisor and cron run on POSIX systems only"
        )
    files = KINDS[args.kind](_site(args), _units(args))
    if args.into is None:
        say_lines("\n".join(text for _, text in files).rstrip())
        return 0
    for name, text in files:
        path = Path(args.into, name)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            problem = f"{path} cannot be written: {error.strerror}"
            raise OptionError(owner="recipe", problem=problem) from error
        say(str(path))
    return 0


# The values of the options


def _served(text: str) -> tuple[str, int]:
    """Return the queues, comma-separated, and the number of their workers."""
    names, colon, count = text.rpartition(":")
    if not colon:
        names, count = text, "1"
    try:
        return _queues(names), positive(count)
    except (OptionError, argparse.ArgumentTypeError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME, or NAME:WORKERS with a number of at least 1"
        ) from error


def _queues(names: str) -> str:
    """Return checked queue names, comma-separated as ``work`` reads them; raises OptionError."""
    listed = [name.strip() for name in names.split(",")]
    for name in listed:
        checked({"queue": _line(name)}, "--queue")
    return ",".join(listed)


def _units(args: argparse.Namespace) -> list[Unit]:
    shell = _from_shell(args, "LITEQUEUE_QUEUE")
    served = args.queue or [(_queues(shell) if shell else "", 1)]
    names = [queues for queues, _ in served]
    units: dict[str, Unit] = {}
    for queues, workers in served:
        if names.count(queues) > 1:
            raise OptionError(owner="recipe", problem=f"--queue {queues} is given twice")
        name = _slug(queues)
        # Names may differ only in characters that a unit name cannot have.
        while name in units:
            name += "-2"
        units[name] = Unit(name, queues, workers)
    return list(units.values())


def _site(args: argparse.Namespace) -> Site:
    folder = os.getcwd()
    database = os.path.abspath(path_of(args.database))
    if os.path.isdir(database):
        raise OptionError(owner="recipe", problem=f"{args.database} is a folder, not a database")
    stem = Path(database).stem
    names = ("litequeue", _slug(Path(folder).name), "" if stem == "jobs" else _slug(stem))
    user, home = _user()
    search = os.environ.get("PYTHONPATH", "")
    site = Site(
        name="-".join(filter(None, names)),
        folder=folder,
        database=database,
        user=user,
        home=home,
        python_path=os.pathsep.join(os.path.abspath(p) for p in search.split(os.pathsep) if p),
        grace=args.grace,
        options=tuple(_options(args)),
    )
    for text in (folder, database, sys.executable, user, home, site.python_path, *site.options):
        _line(text)
    return site


def _options(args: argparse.Namespace) -> list[str]:
    """Return the options for ``work``, from this command line and the environment."""
    words: list[str] = []
    for package in args.jobs or _from_shell(args, "LITEQUEUE_JOBS").split(","):
        if package.strip():
            words += option("--jobs", package.strip())
    if attempts := _from_shell(args, "LITEQUEUE_MAX_ATTEMPTS"):
        number = int(attempts) if attempts.isdecimal() else attempts
        checked({"max_attempts": number}, "LITEQUEUE_MAX_ATTEMPTS")
        words += ["--retries", attempts]
    if args.env_file is not None:
        words += option("--env-file", os.path.abspath(args.env_file))
    return words


def _from_shell(args: argparse.Namespace, name: str) -> str:
    """Return a variable that is set here but not in the --env-file, else an empty text."""
    value = os.environ.get(name, "")
    told = read(args.env_file) if args.env_file is not None else {}
    return "" if told.get(name) == value else value


def _user() -> tuple[str, str]:
    """Return the name and the home of the current user."""
    import pwd

    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        # A user id without a name, as in containers.
        return str(os.geteuid()), ""
    return entry.pw_name, entry.pw_dir


def _line(text: str) -> str:
    """Return the text, if a line of a service file can hold it; raises OptionError."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        problem = (
            f"no service file can hold {text!a}: it has an unprintable character, a blank at "
            f"either end, or a backslash at its end"
        )
        raise OptionError(owner="recipe", problem=problem)
    return text


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:LONGEST_NAME] or "work" * bool(text)
