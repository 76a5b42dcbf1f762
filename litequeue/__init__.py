"""Background jobs for Python on one SQLite file."""

from importlib import import_module
from typing import TYPE_CHECKING

from litequeue import errors
from litequeue.errors import (
    Fail,
    JobFailed,
    LitequeueError,
    NoSuchJob,
    PayloadError,
    Retry,
    RunLost,
    Snooze,
    WaitTimeout,
)
from litequeue.jobs.context import Run, current
from litequeue.jobs.job import Job, bind, job
from litequeue.queue import Queue
from litequeue.records import JobRow, State
from litequeue.version import VERSION as __version__

if TYPE_CHECKING:
    from litequeue.jobs.batch import Batch
    from litequeue.jobs.events import on
    from litequeue.store.batches import BatchRow
    from litequeue.worker.periodic import Schedules
    from litequeue.worker.worker import Limits, Worker

__all__ = [
    "Batch",
    "BatchRow",
    "Fail",
    "Job",
    "JobFailed",
    "JobRow",
    "Limits",
    "LitequeueError",
    "NoSuchJob",
    "PayloadError",
    "Queue",
    "Retry",
    "Run",
    "RunLost",
    "Schedules",
    "Snooze",
    "State",
    "WaitTimeout",
    "Worker",
    "__version__",
    "bind",
    "current",
    "errors",
    "job",
    "on",
]


# What a process that only pushes does without.
_LOADED_WHEN_USED = {
    "Batch": "litequeue.jobs.batch",
    "BatchRow": "litequeue.store.batches",
    "Limits": "litequeue.worker.worker",
    "Schedules": "litequeue.worker.periodic",
    "Worker": "litequeue.worker.worker",
    "on": "litequeue.jobs.events",
}


def __getattr__(name: str) -> object:
    if name in _LOADED_WHEN_USED:
        return getattr(import_module(_LOADED_WHEN_USED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
