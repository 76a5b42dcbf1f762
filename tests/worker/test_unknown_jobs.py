"""A job whose name no class of this worker answers to, yet or no more: it is put back, looked
at again, and run by the first worker that has its class."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from commands import Capture, litequeue
from waiting import Child, Clock, wait_until
from worker_side import claimed

from litequeue import Fail, Job, Queue, Retry, Worker
from litequeue.engine import schema
from litequeue.jobs.discovery import discover
from litequeue.records import JobRow, State
from litequeue.worker.outcome import UNKNOWN_SECONDS
from litequeue.worker.worker import Limits

Application = Callable[[Mapping[str, str]], Path]
MakeQueue = Callable[..., Queue]
DRAIN, ONCE = Limits(drain=True), Limits(drain=True, jobs=1)


class Known(Job, name="known"):
    def handle(self) -> None:
        ran.append("known")


class Nope(Job, name="nope", aliases=["no-pe-as-it-was"]):
    wish: str = "nothing"

    def handle(self) -> None:
        ran.append("nope")
        if self.wish == "retry":
            raise Retry("as asked", after=30)
        if self.wish == "fail":
            raise Fail("as asked")


ran: list[str] = []


@pytest.fixture(autouse=True)
def _ran() -> None:
    ran.clear()


def work(queue: Queue, *jobs: type[Job], limits: Limits = DRAIN) -> None:
    Worker(queue, jobs or [Known], limits=limits).run()


def test_it_is_put_back_with_its_attempt_not_used(queue: Queue, clock: Clock) -> None:
    id = queue.push("Nope", max_attempts=1)
    work(queue)
    row = queue.get(id)
    assert (row.state, row.attempts, row.exception) == (State.SCHEDULED, 0, None)
    assert row.available_at.timestamp() == clock() + 10
    assert row.unknown_since is not None
    assert row.unknown_since.timestamp() == clock()


def test_it_is_looked_at_again_after_ten_seconds_doubling_to_five_minutes(
    queue: Queue, clock: Clock
) -> None:
    id, pauses = queue.push("nope"), []
    for _ in range(8):
        work(queue)
        pauses.append(queue.get(id).available_at.timestamp() - clock())
        clock.advance(pauses[-1])
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


def test_it_fails_for_good_a_day_after_the_first_look(queue: Queue, clock: Clock) -> None:
    id, begun = queue.push("Nope"), clock()
    while queue.get(id).state is not State.FAILED:
        assert clock() <= begun + UNKNOWN_SECONDS
        work(queue)
        clock.advance(max(0, queue.get(id).available_at.timestamp() - clock()))
    row = queue.get(id)
    assert row.failed_at is not None
    assert row.failed_at.timestamp() == begun + UNKNOWN_SECONDS
    assert (row.attempts, row.reason) == (1, "UnknownJob: Job (Nope) not found!")


def test_a_retry_by_hand_begins_the_day_anew(queue: Queue, clock: Clock) -> None:
    id = queue.push("nope")
    work(queue)
    clock.advance(UNKNOWN_SECONDS)
    work(queue)
    assert queue.get(id).state is State.FAILED
    queue.retry(id)
    assert queue.get(id).unknown_since is None
    work(queue)
    row = queue.get(id)
    assert row.state is State.SCHEDULED
    assert row.unknown_since is not None
    assert row.unknown_since.timestamp() == clock()


def test_a_clock_that_was_set_back_does_not_make_it_fail_or_spin(
    queue: Queue, clock: Clock
) -> None:
    id = queue.push("nope")
    work(queue)
    clock.advance(-3600)
    queue.retry(id)
    work(queue)
    row = queue.get(id)
    assert (row.state, row.available_at.timestamp()) == (State.SCHEDULED, clock() + 10)


def test_a_worker_that_has_its_class_runs_it_at_its_start(queue: Queue) -> None:
    for name in ("nope", "No_Pe", "no-pe-as-it-was", "known"):
        queue.push(name)
    work(queue)
    assert ran == ["known"]
    work(queue, Nope)
    assert ran == ["known", "nope", "nope", "nope"]
    assert queue.find() == []


def test_a_worker_that_is_at_work_takes_over_what_another_puts_back(tmp_path: Path) -> None:
    with Queue(tmp_path / "jobs.db") as queue, Worker(queue, [Nope]).in_background():
        # As the worker of another project puts it back.
        queue.pause("default")
        id = queue.push("nope")
        with closing(sqlite3.connect(queue.path, isolation_level=None)) as other:
            later = "available_at = 9000000000000, unknown_since = 1900000000000"
            other.execute(f"update litequeue_jobs set state = 4, {later}")
        queue.resume("default")
        wait_until(lambda: not queue.find(), within=20)
    assert (id, ran) == (1, ["nope"])


def test_many_are_taken_over(queue: Queue) -> None:
    queue.push_many([("nope", {})] * 2500)
    work(queue)
    assert queue.counts() == {"default": {State.SCHEDULED: 2500}}
    work(queue, Nope)
    assert len(ran) == 2500


def test_it_is_left_to_workers_that_serve_its_queue(queue: Queue) -> None:
    id = queue.push("nope", queue="low")
    work(queue)
    before = queue.get(id)
    Worker(queue, [Nope], queues=["high"], limits=DRAIN).run()
    assert queue.get(id) == before


def test_a_paused_queue_stays_paused(queue: Queue) -> None:
    id = queue.push("nope")
    work(queue)
    queue.pause("default")
    work(queue, Nope)
    assert (queue.get(id).state, ran) == (State.READY, [])
    queue.resume("default")
    work(queue, Nope)
    assert ran == ["nope"]


@pytest.mark.parametrize("wish", ["retry", "fail"])
def test_once_it_has_run_the_look_is_forgotten(queue: Queue, clock: Clock, wish: str) -> None:
    id = queue.push("nope", {"wish": wish})
    work(queue)
    clock.advance(3600)
    work(queue, Nope)
    row = queue.get(id)
    assert (row.attempts, row.unknown_since, ran) == (1, None, ["nope"])


def test_a_key_is_free_while_it_waits(queue: Queue) -> None:
    first = queue.push("nope", without_overlapping="one")
    second = queue.push("known", without_overlapping="one")
    work(queue)
    assert queue.get(first).state is State.SCHEDULED
    assert (ran, [row.id for row in queue.find()]) == (["known"], [first])
    assert second > first


def test_one_that_was_asked_to_cancel_is_cancelled(queue: Queue) -> None:
    id = queue.push("nope")
    row = claimed(queue, 1 << 41)
    queue.cancel(id)
    assert queue.store.executions.put_back(row, after=10) is State.CANCELLED


def test_once_runs_the_job_behind_it(queue: Queue) -> None:
    queue.push("nope")
    queue.push("known")
    queue.push("known")
    work(queue, limits=ONCE)
    assert ran == ["known"]
    assert queue.counts() == {"default": {State.SCHEDULED: 1, State.READY: 1}}


def test_once_and_drain_end_where_there_is_nothing_else(queue: Queue) -> None:
    id = queue.push("nope")
    for limits in (ONCE, DRAIN):
        work(queue, limits=limits)
    assert queue.get(id).state is State.SCHEDULED


def test_it_is_logged_once_for_each_name(
    queue: Queue, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for name in ("Nope", "Nope", "Other"):
        queue.push(name)
    worker = Worker(queue, [Known], limits=DRAIN)
    for _ in range(3):
        worker.run()
        clock.advance(60)
    texts = [record.getMessage() for record in caplog.records]
    assert [("named Nope." in text, "named Other." in text) for text in texts] == [
        (True, False),
        (False, True),
    ]
    assert "attempt not used" in texts[0]


def test_the_log_names_the_modules_that_failed_to_import(
    queue: Queue, application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    application(
        {
            "jobs/__init__.py": "",
            "jobs/mail.py": "from litequeue import Job\nimport not_there\n"
            "class Mail(Job):\n    def handle(self): pass\n",
            "jobs/greet.py": "from litequeue import Job\n"
            "class Greet(Job):\n    def handle(self): pass\n",
        }
    )
    id = queue.push("Mail")
    Worker(queue, discover(), limits=DRAIN).run()
    assert queue.get(id).state is State.SCHEDULED
    (record,) = caplog.records
    assert "these modules failed to import: jobs.mail" in record.getMessage()


def test_show_and_status_say_that_it_waits_for_its_class(tmp_path: Path, capsys: Capture) -> None:
    def say(*words: str) -> str:
        capsys.readouterr()
        assert litequeue(*words) == 0
        return capsys.readouterr().out

    with Queue(tmp_path / "jobs.db") as queue:
        path, id = queue.path, str(queue.push("Nope"))
        work(queue)
        shown = say("show", path, id)
        assert "no worker so far has a job named Nope; a worker tries again" in shown
        assert (
            "and the job fails permanently in 23 h; start a worker whose jobs package has it"
            in shown
        )
        assert json.loads(say("show", path, id, "--json"))["unknown_since"] is not None
        assert "Unknown to a worker: Nope (1 job)." in say("status", path)
        unknown = json.loads(say("status", path, "--json"))["unknown"]
        assert unknown == [{"name": "Nope", "jobs": 1}]
        work(queue, Nope)
        assert "Unknown" not in say("status", path)


def test_run_by_name_or_by_id_puts_it_back_too(queue: Queue) -> None:
    id = queue.push("nope")
    assert Worker(queue, [Known]).run_named("nope") == [State.SCHEDULED]
    assert Worker(queue, [Known]).run_job(id) is State.SCHEDULED
    row = queue.get(id)
    assert (row.attempts, row.state) == (0, State.SCHEDULED)
    assert Worker(queue, [Nope]).run_named("nope") == [State.DONE]


def test_a_worker_of_the_schema_before_goes_on_with_the_file(
    tmp_path: Path, start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statements of before name their columns, and so leave out the new one."""
    path = tmp_path / "jobs.db"
    with monkeypatch.context() as before:
        before.setattr(schema, "STEPS", {1: schema.STEPS[1]})
        before.setattr(schema, "KNOWN", 1)
        Queue(path).close()
    old = (
        "insert into litequeue_jobs (state, queue, priority, attempts, worker, available_at, "
        "reserved_at, created_at, name, payload) values (3, 'default', 0, 0, 1099511627776, "
        "1, 1, 1, 'known', '{}')"
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as open_before:
        open_before.execute(old)
        with Queue(path) as queue:
            open_before.execute(old)
            rows: list[JobRow] = queue.find()
            assert [row.unknown_since for row in rows] == [None, None]
            work(queue)
    assert ran == ["known", "known"]
