"""huey on its SQLite storage; ``fsync=False`` is the faster one of its two settings."""

from __future__ import annotations

from huey import SqliteHuey

from bench.peers import work as works

_options = {"fsync": False} if works.variant() == "fsync=False" else {}
huey = SqliteHuey(filename=str(works.folder() / "jobs.db"), **_options)


@huey.task()
def count(number: int) -> None:
    works.count()


@huey.task(retries=works.ATTEMPTS - 1)
def hang() -> None:
    works.hang()


@huey.task(retries=works.ATTEMPTS - 1, timeout=works.TIMEOUT_SECONDS)
def ordinary(number: int) -> str:
    return works.ordinary()


@huey.task()
def nap() -> None:
    works.nap()


def push() -> None:
    count(1)


def push_ordinary() -> None:
    ordinary(1)


def push_nap() -> None:
    nap()


def push_hanging() -> None:
    hang()
