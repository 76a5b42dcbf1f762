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


def push() -> None:
    count.enqueue(1)


def push_hanging() -> None:
    hang.enqueue()
