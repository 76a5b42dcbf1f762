"""RQ on a Redis server of its own, which appends each write to a file."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue, Retry

from bench.peers import work as works

_redis = Redis.from_url(os.environ["RQ_REDIS_URL"])
_queue = Queue(connection=_redis)


def push() -> None:
    # The default worker has a process for each job, where a count in memory would be lost.
    alone = works.variant() == "SimpleWorker"
    _queue.enqueue(works.count if alone else works.stamp)


def push_ordinary() -> None:
    alone = works.variant() == "SimpleWorker"
    _queue.enqueue(
        works.ordinary if alone else works.stamp_ordinary,
        job_timeout=works.TIMEOUT_SECONDS,
        result_ttl=works.KEEP_SECONDS,
        retry=Retry(max=works.ATTEMPTS - 1),
    )


def push_nap() -> None:
    _queue.enqueue(works.nap)


def push_hanging() -> None:
    _queue.enqueue(works.hang, retry=Retry(max=works.ATTEMPTS - 1))


def settings() -> str:
    found = {**_redis.config_get("appendonly"), **_redis.config_get("appendfsync")}
    return f"AOF {found['appendonly']}, fsync {found['appendfsync']}"
