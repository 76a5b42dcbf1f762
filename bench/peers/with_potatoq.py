"""potatoq on its SQLite broker; only an ordinary job stores its result. A job whose
worker dies may run five times, unless one says otherwise."""

from __future__ import annotations

from potatoq import Potatoq

from bench.peers import work as works

app = Potatoq("bench", broker=f"sqlite:///{works.folder() / 'jobs.db'}")


@app.task(ignore_result=True)
def count(number: int) -> None:
    works.count()


@app.task(ignore_result=True)
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
