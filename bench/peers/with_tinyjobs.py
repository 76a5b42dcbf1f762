"""tinyjobs: the tasks are coroutines, which its documentation calls the native path."""

from __future__ import annotations

from tinyjobs import TinyJobs

from bench.peers import work as works

app = TinyJobs(f"sqlite:///{works.folder() / 'jobs.db'}")


@app.task
async def count(number: int) -> None:
    works.count()


@app.task(max_attempts=works.ATTEMPTS)
async def hang() -> None:
    works.hang()


@app.task(timeout=works.TIMEOUT_SECONDS, store_result=True, max_attempts=works.ATTEMPTS)
async def ordinary(number: int) -> str:
    return works.ordinary()


@app.task
def nap() -> None:
    works.nap()


def push() -> None:
    count.enqueue(1)


def push_ordinary() -> None:
    ordinary.enqueue(1)


def push_nap() -> None:
    nap.enqueue()


def push_hanging() -> None:
    hang.enqueue()
