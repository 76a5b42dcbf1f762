"""An argument of the wrong kind is refused with what to write instead, and not by an error of
the inside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from litequeue import Job, Queue, Worker, bind, job
from litequeue.errors import JobError, OptionError, WrongArgument


class Greet(Job):
    name: str

    def handle(self) -> None: ...


class Base(Job):
    pass


@job
def resize(width: int) -> None: ...


def plain() -> None: ...


def closed() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.close()
    return connection


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue


nameless: Any = lambda: 1  # noqa: E731
GREET = Greet("Ada")

MISTAKES: list[tuple[Callable[[Any], object], str]] = [
    (lambda q: q.push(Greet), "not the class Greet: write queue.push(Greet(...))"),
    (lambda q: q.push(resize), "not the class resize: write queue.push(resize(...))"),
    (lambda q: q.push(plain), "the function plain: put @job above it, and write queue.push(plain"),
    (lambda q: q.push(nameless), "not a lambda: make one, as in queue.push(SendMail(...))"),
    (lambda q: q.push(None), "push takes a job, not None"),
    (lambda q: q.push(7), "push takes a job, not int (7)"),
    (lambda q: q.push(("greet", {})), "write queue.push('greet', {...})"),
    (lambda q: q.push([GREET]), "write queue.push_many([...])"),
    (lambda q: q.push("greet", GREET), "a job has its name and its fields: push it alone"),
    (lambda q: q.push(GREET, queue=q), "queue must be a name"),
    (lambda q: q.push(GREET, after=Greet), "after must be a list of ids and jobs"),
    (lambda q: q.push_many(GREET), "write queue.push(job)"),
    (lambda q: q.push_many(Greet), "push_many takes a list of jobs, not the class Greet"),
    (lambda q: q.push_many([GREET, Greet]), "push_many takes jobs, not the class Greet"),
    (lambda q: q.push_many("greet"), "push_many takes a list of jobs, not str ('greet')"),
    (lambda q: q.push_many({"greet": {}}), "push_many takes a list of jobs, not dict"),
    (lambda q: q.push_many(None), "push_many takes a list of jobs, not None"),
    (lambda q: q.push_many([("greet",)]), 'write ("send-mail", {"to": 7})'),
    (lambda q: q.push_many([("greet", {}), ("greet", {}, 1)]), "pairs of a name and its fields"),
    (lambda q: q.chain([GREET, GREET]), "write queue.chain(*jobs)"),
    (lambda q: q.chain(GREET, Greet), "chain takes jobs, not the class Greet: write Greet(...)"),
    (lambda q: q.batch(then=Greet).__enter__(), "write then=Greet(...)"),
    (lambda q: q.batch(GREET), "an id is a number, not Greet"),
    (lambda q: q.get("7"), "an id is a number, not str ('7'): write 7"),
    (lambda q: q.cancel([7]), "write *ids"),
    (lambda q: q.cancel(q.get(q.push(GREET))), "write its id, 1"),
    (lambda q: q.wait(None), "an id is a number, not None: write what push returned"),
    (lambda q: q.pause(7), "queue must be a name"),
    (lambda q: q.prune("soon"), "older must be seconds, a timedelta or text"),
    (lambda q: Worker("jobs.db", [Greet]), "write Worker(Queue('jobs.db'), ...)"),
    (lambda q: Worker([Greet], q), "Worker takes a Queue first, not list"),
    (lambda q: Worker(q, Greet), "not the class Greet: write Worker(queue, [Greet])"),
    (lambda q: Worker(q, GREET), "write Worker(queue, [Greet])"),
    (lambda q: Worker(q, [GREET]), "write Worker(queue, [Greet]), and push the job"),
    (lambda q: Worker(q, [plain]), "put @job above plain"),
    (lambda q: Worker(q, ["jobs"]), "write Worker(queue, 'jobs'), if it is a package"),
    (lambda q: Worker(q, None), "write Worker(queue, [SendMail, ...])"),
    (lambda q: Worker(q, [Job]), "one is a subclass of Job"),
    (lambda q: Worker(q, [Greet], queues="default"), "write queues=['default'], a list"),
    (lambda q: Queue(q), "use it as it is, or its path"),
    (lambda q: Queue(None), 'Queue takes the path of a file, not None: write Queue("jobs.db")'),
    (lambda q: Queue(closed()), "Queue takes the path of a file, not Conn"),
    (lambda q: bind("jobs.db"), "write bind(Queue('jobs.db'))"),
]


@pytest.mark.parametrize(("mistake", "told"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_told_what_to_write(
    queue: Queue, mistake: Callable[[Queue], object], told: str
) -> None:
    with pytest.raises(OptionError) as caught:
        mistake(queue)
    message = str(caught.value)
    assert told in message
    assert len(message) < 300
    assert caught.value.__cause__ is None


def test_what_is_no_job_is_a_type_error_too(queue: Queue) -> None:
    with pytest.raises(TypeError, match="push takes a job"):
        queue.push(Greet)
    with pytest.raises(ValueError, match="push takes a job"):
        queue.push(None)


def test_a_batch_says_so_in_the_line_of_the_push(queue: Queue) -> None:
    with queue.batch(then=GREET) as batch:
        for wrong in (Greet, plain, None, 7):
            with pytest.raises(WrongArgument, match=r"batch\.push takes jobs"):
                batch.push(wrong)
        batch.push(GREET)
    assert len(batch.ids) == 1


def test_an_error_of_the_jobs_own_code_stays_what_it_is(queue: Queue) -> None:
    class Odd(Job, unique=lambda job: job.nothing):
        def handle(self) -> None: ...

    class Other:
        def __litequeue_spec__(self) -> object:
            raise AttributeError("its own")

    with pytest.raises(OptionError, match="its key raises AttributeError"):
        queue.push(Odd())
    with pytest.raises(AttributeError, match="its own"):
        queue.push(Other())


def test_a_worker_takes_no_class_without_work(queue: Queue) -> None:
    with pytest.raises(JobError, match=r"Base cannot be a job: it has no handle\(\)"):
        Worker(queue, [Greet, Base])
