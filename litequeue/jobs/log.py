"""The logger of a job, which puts its id and name before each message."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from litequeue.messages import one_line
from litequeue.records import JobRow

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class JobLog(logging.LoggerAdapter):  # type: ignore[type-arg]
    """The logger "litequeue.job" for one job, whose id is in ``extra`` as ``job_id``."""

    def __init__(self, row: JobRow) -> None:
        super().__init__(logging.getLogger("litequeue.job"), {"job_id": row.id})
        self._prefix = f"job {row.id} ({one_line(row.name)}): "

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return self._prefix + str(msg), {"extra": self.extra, **kwargs}
