"""Finds jobs: imports every module of a package, and collects the job classes in it.

A new file in the package is enough; there is no registry.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

from litequeue.errors import DuplicateJob, NoJobsFound
from litequeue.jobs.job import Job

DEFAULT_PACKAGES = ("jobs", "app.jobs")
OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
IMPORT_MACHINERY = ("<frozen importlib", os.sep + "importlib" + os.sep)


class ImportFailure(NamedTuple):
    """A module that could not be imported, and the traceback from the user's own code."""

    module: str
    traceback: str


@dataclass(slots=True)
class Found:
    """The jobs of an application by folded name, and the modules that failed to import."""

    packages: tuple[str, ...] = ()
    jobs: dict[str, type[Job]] = field(default_factory=dict)
    failures: list[ImportFailure] = field(default_factory=list)

    @property
    def classes(self) -> list[type[Job]]:
        """Each job once, by name."""
        return sorted(set(self.jobs.values()), key=lambda cls: cls.__litequeue__.name)

    @property
    def unimported(self) -> list[str]:
        """The modules that failed to import."""
        return [failure.module for failure in self.failures]


def discover(packages: Sequence[str] = (), folder: str | os.PathLike[str] = ".") -> Found:
    """Import the packages, or those named by LITEQUEUE_JOBS (separated by commas), or
    else ``jobs`` or ``app.jobs`` in ``folder``, and collect their jobs.

    Raises NoJobsFound where there is no such package, DuplicateJob where two jobs have
    one name.
    """
    root = os.path.abspath(folder)
    if root not in sys.path:
        sys.path.insert(0, root)
    named = tuple(packages) or _from_environment() or _default_package(root)
    found = Found(packages=named)
    for package in named:
        _check_exists(package)
        for module in _modules(package, found.failures):
            collect(jobs_in(module), found)
    collect_events(found)
    return found


def collect_events(found: Found) -> None:
    """Add the events that the jobs found so far subscribe to; raises DuplicateJob."""
    if any(cls.__litequeue__.subscribes for cls in found.jobs.values()):
        from litequeue.jobs.events import fan_outs  # most applications have no subscriber

        # Subscribers run in the order in which they were found, which is that of definition.
        collect(fan_outs(list(dict.fromkeys(found.jobs.values()))), found)


def collect(classes: Iterable[type[Job]], found: Found) -> None:
    """Add job classes to what was found; raises DuplicateJob."""
    for cls in classes:
        for name in sorted(cls.__litequeue__.keys):
            other = found.jobs.setdefault(name, cls)
            if other is not cls:
                raise DuplicateJob(
                    name=cls.__litequeue__.spelling(name),
                    first=other.__litequeue__.location,
                    second=cls.__litequeue__.location,
                )


def jobs_in(module: ModuleType) -> Iterator[type[Job]]:
    """Yield the job classes of a module, its own and those that it imports.

    A class without ``handle`` is a base class for jobs, not a job.
    """
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Job) and value.is_whole():
            yield value


def _from_environment() -> tuple[str, ...]:
    names = os.environ.get("LITEQUEUE_JOBS", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def _default_package(root: str) -> tuple[str, ...]:
    for package in DEFAULT_PACKAGES:
        # Looked for as a file: another package called jobs may be installed.
        path = os.path.join(root, *package.split("."))
        if os.path.isdir(path) or os.path.isfile(f"{path}.py"):
            return (package,)
    raise NoJobsFound(problem=f"{root} has neither a jobs nor an app/jobs package")


def _check_exists(package: str) -> None:
    missing = NoJobsFound(problem=f"there is no module {package!r}")
    if not all(part.isidentifier() for part in package.split(".")):
        raise missing
    try:
        found = importlib.util.find_spec(package)
    except (Exception, SystemExit) as error:
        absent = (isinstance(error, ModuleNotFoundError) and error.name) or " "
        if f"{package}.".startswith(f"{absent}."):
            raise missing from error
        # A parent package raises; importing it later reports the error.
        return
    if found is None:
        raise missing


def _modules(package: str, failures: list[ImportFailure]) -> Iterator[ModuleType]:
    module = _try_import(package, failures)
    if module is None:
        return
    yield module
    paths = getattr(module, "__path__", None)
    if paths is None:
        return
    names = {info.name for info in pkgutil.iter_modules(paths)} | _plain_folders(paths)
    # Importing a package's __main__ would run it.
    for name in sorted(names - {"__main__"}):
        yield from _modules(f"{package}.{name}", failures)


def _plain_folders(paths: Iterable[str]) -> set[str]:
    """Return the folders of modules without an ``__init__``, which pkgutil skips."""
    inner = (entry for path in paths if os.path.isdir(path) for entry in os.scandir(path))
    return {
        entry.name
        for entry in inner
        if entry.name.isidentifier() and entry.is_dir() and _has_modules(entry.path)
    }


def _has_modules(folder: str) -> bool:
    with suppress(OSError):
        return any(name.endswith(".py") for name in os.listdir(folder))
    return False


def _try_import(name: str, failures: list[ImportFailure]) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        failures.append(ImportFailure(name, _users_traceback(error)))
        return None


def _users_traceback(error: BaseException) -> str:
    """Return the traceback without the frames of litequeue and of the import machinery."""
    report = traceback.TracebackException.from_exception(error)
    cause: traceback.TracebackException | None = report
    while cause is not None:
        kept = [frame for frame in cause.stack if _is_users(frame.filename)]
        cause.stack = traceback.StackSummary.from_list(kept)
        cause = cause.__cause__ or cause.__context__
    return "".join(report.format())


def _is_users(filename: str) -> bool:
    ours = filename.startswith(OURS)
    return not ours and not any(part in filename for part in IMPORT_MACHINERY)
