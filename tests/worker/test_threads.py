"""Many jobs at once in one process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until
from worker_side import WorkerSide

from litequeue import Job, Queue, Retry, Worker, current
from litequeue.engine.presence import STUCK_JOB
from litequeue.errors import DatabaseRefused, JobTimeout, OptionError
from litequeue.records import RUNS_ALONE, JobRow
from litequeue.worker.worker import Limits

WITHIN_SECONDS = 20.0

seen: list[object] = []
running: set[int] = set()
most_at_once = 0
lock = threading.Lock()
together = threading.Barrier(4)
gate = threading.Event()


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    global most_at_once
    seen.clear()
    running.clear()
    gate.clear()
    together.reset()
    most_at_once = 0


def enter() -> None:
    global most_at_once
    with lock:
        running.add(current().id)
        most_at_once = max(most_at_once, len(running))


def leave() -> None:
    with lock:
        running.discard(current().id)
        seen.append(current().id)


class Meets(Job):
    """Ends only if three others run at the same time."""

    def handle(self) -> None:
        enter()
        together.wait(WITHIN_SECONDS)
        leave()


class Counts(Job):
    """Counts how many run at once."""

    seconds: float = 0.01

    def handle(self) -> None:
        enter()
        time.sleep(self.seconds)
        leave()


class Waits(Job):
    """Waits for the gate."""

    def handle(self) -> None:
        enter()
        assert gate.wait(WITHIN_SECONDS)
        leave()


class Sleeps(Job):
    """An async job; notes its loop, its thread and its id before and after it has slept."""

    seconds: float = 0.05

    async def handle(self) -> object:
        enter()
        before = current().id
        await asyncio.sleep(self.seconds)
        assert current().id == before
        leave()
        return [id(asyncio.get_running_loop()), threading.get_ident()]


class Hangs(Job):
    async def handle(self) -> None:
        await asyncio.sleep(3600)


class Spins(Job):
    def handle(self) -> None:
        try:
            while True:
                time.sleep(0.001)
        except JobTimeout:
            seen.append("timed out")
            raise


class Writes(Job):
    """Writes in a transaction between two pauses, and perhaps awaits inside it."""

    fails: bool = False
    pause: float = 0

    async def handle(self) -> None:
        await asyncio.sleep(0.01)
        with current().transaction() as connection:
            connection.execute("create table if not exists mine (id integer)")
            connection.execute("insert into mine values (?)", (current().id,))
            if self.pause:
                await asyncio.sleep(self.pause)
            if self.fails:
                raise ValueError("roll back")
        await asyncio.sleep(0.01)


class Flaky(Job, max_attempts=2, backoff=0):
    def handle(self) -> str:
        if current().attempt == 1:
            raise Retry("as asked", after=0)
        return "second"


JOBS = [Meets, Counts, Waits, Sleeps, Hangs, Spins, Writes, Flaky]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as made:
        yield made
        assert made.check() == []
        assert made.store.presence.workers() == []
        assert [t.name for t in threading.enumerate() if t.name.startswith("litequeue")] == []


def worker_of(queue: Queue, threads: int = 4, **limits: object) -> Worker:
    made = Limits(**{"drain": True, **limits})  # type: ignore[arg-type]
    return Worker(queue, JOBS, threads=threads, limits=made, grace=0.2)


def states(queue: Queue) -> dict[str, int]:
    counts = queue.counts()
    return {str(state): n for each in counts.values() for state, n in each.items() if n}


def test_as_many_jobs_run_at_once_as_there_are_threads(queue: Queue) -> None:
    queue.push_many([Meets() for _ in range(8)])
    assert worker_of(queue).run() == 0
    assert len(seen) == 8
    assert most_at_once == 4


def test_all_async_jobs_share_one_loop_and_one_thread(queue: Queue) -> None:
    ids = queue.push_many([Sleeps() for _ in range(12)], keep=60)
    worker_of(queue, threads=12).run()
    assert most_at_once == 12
    assert len({str(queue.result(id)) for id in ids}) == 1


def test_async_jobs_and_others_share_the_slots(queue: Queue) -> None:
    queue.push_many([job for _ in range(6) for job in (Sleeps(), Counts(0.05))])
    worker_of(queue).run()
    assert len(seen) == 12
    assert 2 <= most_at_once <= 4


def test_short_jobs_are_run_once_each_and_completed_together(queue: Queue) -> None:
    ids = queue.push_many([Counts(0) for _ in range(400)])
    worker_of(queue).run()
    assert sorted(seen) == ids  # type: ignore[type-var]
    assert queue.counts() == {}


def test_a_job_that_fails_runs_again_beside_the_others(queue: Queue) -> None:
    flaky = queue.push(Flaky(), keep=60)
    queue.push_many([Counts() for _ in range(10)])
    worker_of(queue).run()
    assert queue.result(flaky) == "second"
    assert queue.get(flaky).attempts == 2


def test_a_timeout_ends_one_job_and_not_its_neighbours(queue: Queue) -> None:
    late = [
        queue.push(Spins(), timeout=0.1, max_attempts=1),
        queue.push(Hangs(), timeout=0.1, max_attempts=1),
    ]
    queue.push_many([Sleeps(0.3), Counts(0.3)])
    worker_of(queue).run()
    assert len(seen) == 3
    for id in late:
        row = queue.get(id)
        assert row.state == "failed"
        assert row.reason.startswith("JobTimeout: The job did not end within its timeout of 0.1 s")


def test_jobs_of_one_key_do_not_overlap(queue: Queue) -> None:
    for _ in range(6):
        queue.push(Counts(), without_overlapping="one")
    worker_of(queue).run()
    assert len(seen) == 6
    assert most_at_once == 1


@pytest.mark.parametrize("most", [1, 3, 6])
def test_a_worker_runs_no_more_jobs_than_it_may(most: int, queue: Queue) -> None:
    queue.push_many([Counts() for _ in range(10)])
    worker_of(queue, jobs=most).run()
    assert len(seen) == most
    assert states(queue) == {"ready": 10 - most}


def test_what_runs_at_a_stop_ends_and_nothing_else_starts(queue: Queue) -> None:
    queue.push_many([Waits() for _ in range(10)])
    worker = worker_of(queue)
    with worker.in_background():
        wait_until(lambda: len(running) == 4, WITHIN_SECONDS)
        worker.stop()
        assert states(queue) == {"ready": 6, "running": 4}
        gate.set()
    assert len(seen) == 4
    assert states(queue) == {"ready": 6}


def test_an_idle_worker_is_woken_while_another_job_runs(queue: Queue) -> None:
    queue.push(Waits())
    worker = Worker(queue, JOBS, threads=2, sleep=60)
    with worker.in_background():
        wait_until(lambda: len(running) == 1, WITHIN_SECONDS)
        late = queue.push(Counts())
        wait_until(lambda: late in seen, WITHIN_SECONDS)
        gate.set()


def test_a_job_that_may_have_killed_its_worker_runs_without_others(queue: Queue) -> None:
    queue.push_many([Counts(0.05) for _ in range(3)])
    suspect = queue.push(Counts(0.05))
    queue.push_many([Counts(0.05) for _ in range(3)])
    sql = "update litequeue_jobs set exception = :text where id = :id"
    queue.store.database.change(sql, {"text": RUNS_ALONE, "id": suspect})
    beside: list[int] = []

    def note() -> None:
        beside.append(len(running))

    worker = worker_of(queue)
    executor = worker._executor
    execute = executor.execute

    def watched(row: object, report_to: int) -> object:
        if getattr(row, "id", 0) == suspect:
            note()
        return execute(row, report_to)  # type: ignore[arg-type]

    executor.execute = watched  # type: ignore[assignment, method-assign]
    worker.run()
    assert beside == [0]
    assert len(seen) == 7
    assert seen.index(suspect) == 3


def test_a_job_that_waits_to_run_without_others_does_not_start_after_a_stop(queue: Queue) -> None:
    long, suspect = queue.push_many([Waits(), Counts()])
    sql = "update litequeue_jobs set exception = :text where id = :id"
    queue.store.database.change(sql, {"text": RUNS_ALONE, "id": suspect})
    worker = worker_of(queue)
    with worker.in_background():
        wait_until(lambda: running and queue.get(suspect).state == "running", WITHIN_SECONDS)
        worker.stop()
        wait_until(lambda: queue.get(suspect).state == "ready", WITHIN_SECONDS)
        gate.set()
    assert seen == [long]
    assert queue.get(suspect).attempts == 0


def test_a_job_that_hung_and_ended_at_the_last_moment_is_complete(queue: Queue) -> None:
    """Its worker has written down that it ends because of the job, and the job that it is over."""
    registration = queue.store.presence.register((), threads=2)
    id = queue.push(Counts())
    (row,) = WorkerSide(queue).claim(registration.worker)
    assert row.reserved_at is not None
    registration.prefetch_log.begin([id], row.reserved_at.timestamp())
    registration.prefetch_log.start()
    os.write(registration.fileno(), f"{STUCK_JOB}{id}\n".encode())
    registration.prefetch_log.finish()
    registration.close()
    assert WorkerSide(queue).rescue(1) == 1
    assert queue.find() == []


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_a_claim_undoes_no_end_and_starts_nothing(
    threads: int, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = queue.push_many([Counts(0.001) for _ in range(20)])
    claims = queue.store.claims
    claim_within, raised = claims.claim_within, []

    def failing(*arguments: object) -> list[JobRow]:
        rows = claim_within(*arguments)  # type: ignore[arg-type]
        if rows and len(raised) < 3:
            raised.append(rows)
            raise DatabaseRefused(path=queue.path, problem="disk I/O error")
        return rows

    monkeypatch.setattr(claims, "claim_within", failing)
    assert worker_of(queue, threads).run() == 0
    assert len(raised) == 3
    assert sorted(seen) == ids  # type: ignore[type-var]
    assert queue.counts() == {}


def test_async_jobs_write_in_transactions_of_their_own(queue: Queue) -> None:
    ids = [queue.push(Writes(fails=fails), max_attempts=1) for fails in (False, True) * 2]
    worker_of(queue).run()
    rows = WorkerSide(queue).rows("select id from mine order by id")
    assert [id for (id,) in rows] == [ids[0], ids[2]]
    assert states(queue) == {"failed": 2}


def test_who_awaits_inside_a_transaction_keeps_no_other_job_waiting(queue: Queue) -> None:
    ids = [queue.push(Writes(pause=0.2), max_attempts=1) for _ in range(2)]
    worker_of(queue).run()
    states = sorted(row.id for row in queue.find())
    assert len(states) == 1
    assert set(states) < set(ids)
    assert "Do not await inside" in queue.get(states[0]).reason


def test_progress_and_pushes_of_jobs_in_threads_are_their_own(queue: Queue) -> None:
    class Pushes(Job):
        n: int = 0

        def handle(self) -> None:
            current().progress(self.n, 10)
            current().push(Counts(0), unique=f"of {current().id}")

    ids = queue.push_many([Pushes(n) for n in range(8)])
    Worker(queue, [*JOBS, Pushes], threads=4, limits=Limits(drain=True)).run()
    assert sorted(seen) == list(range(max(ids) + 1, max(ids) + 9))  # type: ignore[type-var]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "4", 1001, None])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: int, queue: Queue) -> None:
    with pytest.raises(OptionError, match="threads must be a whole number from 1 to 1000"):
        Worker(queue, JOBS, threads=threads)


def test_a_sound_worker_leaves_the_callables_of_a_queue_alone(queue: Queue) -> None:
    """A second run in the same process finds everything as the first did."""
    worker = worker_of(queue)
    for _ in range(2):
        queue.push_many([Counts(), Sleeps(0.01)])
        assert worker.run() == 0
    assert len(seen) == 4
