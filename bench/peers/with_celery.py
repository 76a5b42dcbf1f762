"""Celery on a Redis server of its own, which appends each write to a file; only an ordinary
job stores its result. A message is acknowledged when its job starts, by default."""

from __future__ import annotations

import os

from celery import Celery

from bench.peers import work as works

# kombu's name for a socket differs from that of Redis' own client.
_url = os.environ["RQ_REDIS_URL"].replace("unix://", "redis+socket://")
app = Celery("bench", broker=_url, backend=_url)
app.conf.broker_connection_retry_on_startup = True
app.conf.result_expires = works.KEEP_SECONDS


@app.task(ignore_result=True)
def count(number: int) -> None:
    works.count()


@app.task(ignore_result=True, autoretry_for=(Exception,), max_retries=works.ATTEMPTS - 1)
def hang() -> None:
    works.hang()


@app.task(
    time_limit=works.TIMEOUT_SECONDS,
    autoretry_for=(Exception,),
    max_retries=works.ATTEMPTS - 1,
)
def ordinary(number: int) -> str:
    return works.ordinary()


@app.task(ignore_result=True)
def nap() -> None:
    works.nap()


def push() -> None:
    count.delay(1)


def push_ordinary() -> None:
    ordinary.delay(1)


def push_nap() -> None:
    nap.delay()


def push_hanging() -> None:
    hang.delay()


def settings() -> str:
    redis = app.backend.client
    found = {**redis.config_get("appendonly"), **redis.config_get("appendfsync")}
    words = {_text(name): _text(value) for name, value in found.items()}
    return f"AOF {words['appendonly']}, fsync {words['appendfsync']}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
