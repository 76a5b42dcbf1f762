"""The command make-job: writes the file of a new job."""

from __future__ import annotations

import argparse
import keyword
import os
import re
import shlex
import sys
from pathlib import Path

from litequeue.cli.discovery import discover_quietly
from litequeue.cli.parser import Commands, environment_file
from litequeue.cli.terminal import complain, say
from litequeue.errors import OptionError
from litequeue.jobs.discovery import DEFAULT_PACKAGES
from litequeue.records import key

EXAMPLE = """\
examples:
  litequeue make-job SendWelcomeEmail            writes jobs/send_welcome_email.py
  litequeue make-job send-welcome-email          the same
  litequeue make-job resize --package shop.jobs  writes shop/jobs/resize.py
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
    """Add the command of this file."""
    make = commands.add(
        "make-job", "write the file of a new job, ready to run", make_job_command, EXAMPLE
    )
    make.add_argument("name", metavar="NAME", help="the job's name, in any spelling")
    make.add_argument("--force", action="store_true", help="overwrite an existing file")
    make.add_argument(
        "--package",
        metavar="PACKAGE",
        help="the package to write to (default: the package that a worker searches, or jobs)",
    )
    environment_file(make)


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
    searched = _package() == package
    say("Run it:   litequeue work jobs.db" + ("" if searched else f" --jobs {package}"))
    return 0


def _spelled(text: str) -> tuple[str, str]:
    """Return the class name and the module name for any spelling; raises OptionError."""
    words = [word for word in re.split(r"[-_\s]+", SEAM.sub("_", text)) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    module = "_".join(words).lower()
    for each in (name, module):
        if not each.isidentifier() or keyword.iskeyword(each):
            problem = f"{text!r} cannot be the name of a job; write one such as send-email"
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
        problem = f"{package!r} is not the name of a package; write one such as shop.jobs"
    elif parts[0] in sys.stdlib_module_names:
        problem = (
            f"{parts[0]} is a module of Python itself; write to another one with --package NAME"
        )
    else:
        files = [Path(*parts[:depth], f"{part}.py") for depth, part in enumerate(parts)]
        for file in filter(Path.is_file, files):
            problem = (
                f"{file} is a module, and a package of its name would hide it; "
                "write to another one with --package NAME"
            )
    if problem:
        raise OptionError(owner="make-job", problem=problem)
    return Path(*parts)


def _taken(name: str, path: Path, package: str, *, force: bool) -> str:
    """Return why the job cannot be written, or an empty text."""
    if path.with_suffix("").is_dir():
        return f"{path.with_suffix('')} is a package already; choose another name."
    if path.exists() and not force:
        return f"{path} exists already; --force overwrites it."
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
