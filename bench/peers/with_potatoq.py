"""potatoq on its SQLite broker; nobody asks for results, so none are stored. A job whose
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


def push() -> None:
    count.delay(1)


def push_hanging() -> None:
    hang.delay()
