"""Background jobs for Python on one SQLite file."""

from typing import TYPE_CHECKING

from litequeue import errors
from litequeue.context import Run, current
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
from litequeue.job import Job, bind, job
from litequeue.queue import Queue
from litequeue.record import JobRow, State
from litequeue.version import VERSION as __version__

if TYPE_CHECKING:
    from litequeue.batch import Batch
    from litequeue.batches import BatchRow
    from litequeue.listeners import on
    from litequeue.worker import Worker

__all__ = [
    "Batch",
    "BatchRow",
    "Fail",
    "Job",
    "JobFailed",
    "JobRow",
    "LitequeueError",
    "NoSuchJob",
    "PayloadError",
    "Queue",
    "Retry",
    "Run",
    "RunLost",
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


def __getattr__(name: str) -> object:
    # What a process that only pushes does without.
    if name == "Batch":
        from litequeue.batch import Batch

        return Batch
    if name == "BatchRow":
        from litequeue.batches import BatchRow

        return BatchRow
    if name == "on":
        from litequeue.listeners import on

        return on
    if name == "Worker":
        from litequeue.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
