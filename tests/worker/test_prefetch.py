"""One turn of a worker: several jobs run one after the other, and are written down together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from litequeue import Fail, Job, Queue, Retry, Snooze, Worker, current
from litequeue.engine.prefetch_log import PrefetchLog
from litequeue.errors import DatabaseBusy, DatabaseRefused, NoSuchJob, RunLost
from litequeue.records import JobRow, State
from litequeue.worker.outcome import Outcome
from litequeue.worker.worker import Limits

RUN_PATIENCE_SECONDS = 20.0


class Does(Job, name="does", max_attempts=2, backoff=3600):
    """Does what a test has written under its word."""

    word: str = "nothing"

    def handle(self) -> object:
        return DEEDS[self.word]()


class Follows(Job, name="follows"):
    """Notes what the jobs before it have returned."""

    def handle(self) -> None:
        results.append(current().results)


class Hooked(Job, name="hooked"):
    def handle(self) -> int:
        return 5

    def succeeded(self, result: object) -> None:
        results.append([result, there(current_queue[0], current_queue[1])])


results: list[list[object]] = []
current_queue: list[object] = []
DEEDS: dict[str, Callable[[], object]] = {}


def deed(word: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def enter(work: Callable[[], object]) -> Callable[[], object]:
        DEEDS[word] = work
        return work

    return enter


DEEDS["nothing"] = lambda: None
DEEDS["result"] = lambda: {"gr\u00fc\u00df": "\u2028"}
DEEDS["large"] = lambda: "\u20ac" * 5000
DEEDS["no json"] = lambda: object()
DEEDS["push"] = lambda: current().push(Does("nothing"))
DEEDS["push unique"] = lambda: current().push(Does("nothing"), unique=True)
DEEDS["reclaim"] = lambda: current().pushes_to.store.reclaimer.reclaim()


@deed("raise")
def _raise() -> None:
    raise ValueError("as asked")


@deed("fail")
def _fail() -> None:
    raise Fail("as asked")


@deed("retry")
def _retry() -> None:
    raise Retry("as asked", after=3600)


@deed("snooze")
def _snooze() -> None:
    raise Snooze("as asked", after=3600)


@deed("exit")
def _exit() -> None:
    raise SystemExit(3)


@deed("transaction")
def _transaction() -> None:
    with current().transaction() as connection:
        connection.execute("create table if not exists mine (id integer)")
        connection.execute("insert into mine values (?)", (current().id,))


@deed("cancel next")
def _cancel_next() -> None:
    run = current()
    run.pushes_to.cancel(run.id + 1)


@deed("forget last")
def _forget_last() -> None:
    """As alone: the last one has succeeded, and is no more."""
    run = current()
    with pytest.raises(NoSuchJob):
        run.pushes_to.cancel(run.id - 1)


@deed("wait for last")
def _wait_for_last() -> None:
    run = current()
    assert run.pushes_to.wait(run.id - 1, timeout=RUN_PATIENCE_SECONDS) is None


@deed("until others are back")
def _until_others_are_back() -> None:
    run = current()
    queue = run.pushes_to
    wait_until(lambda: not there(queue, run.id - 1), RUN_PATIENCE_SECONDS)
    wait_until(lambda: queue.get(run.id + 1).state == "ready", RUN_PATIENCE_SECONDS)


def there(queue: object, id: object) -> bool:
    assert isinstance(queue, Queue)
    try:
        queue.get(id)  # type: ignore[arg-type]
    except NoSuchJob:
        return False
    return True


class Told:
    """An observer that remembers what it was told, and whether the row was there then."""

    def __init__(self, queue: Queue) -> None:
        self.events: list[tuple[str, int]] = []
        self.ended_as: dict[int, State] = {}
        self.there: dict[int, bool] = {}
        self._queue = queue

    def started(self, row: JobRow, max_attempts: int) -> None:
        self.events.append(("started", row.id))

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None:
        self.events.append(("ended", row.id))
        self.ended_as[row.id] = left
        self.there[row.id] = there(self._queue, row.id)

    def lost(self, row: JobRow, error: RunLost) -> None:
        self.events.append(("lost", row.id))

    def of(self, word: str) -> list[int]:
        return [id for found, id in self.events if found == word]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    results.clear()
    with Queue(tmp_path / "jobs.db") as made:
        yield made
        assert made.check() == []
        assert made.store.presence.workers() == []


@pytest.fixture
def told(queue: Queue) -> Told:
    return Told(queue)


def worker_of(queue: Queue, told: Told, prefetch: int = 250, **limits: object) -> Worker:
    """A worker that knows the jobs here to be short, and fetches many from the first."""
    made = Worker(
        queue,
        [Does, Follows, Hooked],
        prefetch=prefetch,
        limits=Limits(**{"drain": True, **limits}),  # type: ignore[arg-type]
        observer=told,
    )
    for name in ("does", "follows", "hooked"):
        made._prefetch_size.ran(name, 1e-6)
    made._prefetch_size.fetched(250, 250)
    return made


def row_of(queue: Queue, *words: str) -> list[int]:
    return [queue.push(Does(word)) for word in words]


def test_jobs_run_in_order_and_are_reported_after_their_rows_are_gone(
    queue: Queue, told: Told
) -> None:
    ids = row_of(queue, *["nothing"] * 5)
    worker_of(queue, told).run()
    assert told.of("started") == told.of("ended") == ids
    assert told.events[:5] == [("started", id) for id in ids]
    assert set(told.there.values()) == {False}
    assert queue.counts() == {}


def test_with_a_prefetch_of_one_each_ends_before_the_next_starts(queue: Queue, told: Told) -> None:
    ids = row_of(queue, *["nothing"] * 3)
    worker_of(queue, told, prefetch=1).run()
    assert told.events == [(word, id) for id in ids for word in ("started", "ended")]


def test_a_completion_need_not_be_on_the_disk_before_the_next_job_starts(tmp_path: Path) -> None:
    with Queue(tmp_path / "full.db", synchronous="full") as queue:
        told = Told(queue)
        ids = row_of(queue, *["nothing"] * 3)
        worker_of(queue, told).run()
        assert told.of("started") == told.of("ended") == ids
        assert told.events[:3] == [("started", id) for id in ids]


ENDS = {
    "raise": "scheduled",
    "fail": "failed",
    "retry": "scheduled",
    "snooze": "scheduled",
    "exit": "scheduled",
    "transaction": None,
    "large": None,
    "no json": None,
    "push": None,
    "reclaim": None,
}


@pytest.mark.parametrize("word", ENDS)
def test_a_job_in_the_middle_ends_as_it_would_alone(word: str, queue: Queue, told: Told) -> None:
    ids = row_of(queue, "nothing", "result", word, "nothing", "result")
    worker_of(queue, told).run()
    assert sorted(told.of("ended"))[:5] == ids
    assert told.of("started")[:5] == ids
    for id in {*ids} - {ids[2]}:
        assert (there(queue, id), told.ended_as[id]) == (False, State.DONE)
    state = queue.get(ids[2]).state if there(queue, ids[2]) else None
    assert state == ENDS[word]
    attempts = queue.get(ids[2]).attempts if state else 1
    assert attempts == (0 if word == "snooze" else 1)
    assert told.of("lost") == []


def test_every_kind_of_end_at_once(queue: Queue, told: Told) -> None:
    words = [word for word in ENDS for _ in range(3)]
    ids = row_of(queue, *words)
    worker_of(queue, told).run()
    found = {id: queue.get(id).state if there(queue, id) else None for id in ids}
    assert found == {id: ENDS[word] for id, word in zip(ids, words, strict=True)}
    sql = "select count(*) from mine"
    assert queue.store.database.rows(sql) == [(3,)]


def test_waiting_callers_get_the_result_whatever_its_size(queue: Queue, told: Told) -> None:
    parents = row_of(queue, "result", "large", "nothing", "no json")
    queue.push(Follows(), after=parents)
    worker_of(queue, told).run()
    assert results == [[DEEDS["result"](), DEEDS["large"](), None, None]]


def test_a_hook_is_called_when_the_row_is_gone(queue: Queue, told: Told) -> None:
    row_of(queue, "nothing")
    id = queue.push(Hooked())
    row_of(queue, "nothing")
    current_queue[:] = [queue, id]
    worker_of(queue, told).run()
    assert results == [[5, False]]


def test_results_that_are_kept_are_written_together(queue: Queue, told: Told) -> None:
    ids = [queue.push(Does("result"), keep=60) for _ in range(3)]
    ids.append(queue.push(Does("nothing"), keep=60))
    worker_of(queue, told).run()
    assert told.events[:4] == [("started", id) for id in ids]
    assert [queue.result(id) for id in ids] == [*[DEEDS["result"]()] * 3, None]


@pytest.mark.parametrize("options", [{"timeout": 60}, {"timeout": 60, "keep": 60}])
def test_jobs_with_a_timeout_are_claimed_together(
    options: dict[str, float], queue: Queue, told: Told
) -> None:
    ids = [queue.push(Does("nothing"), **options) for _ in range(3)]  # type: ignore[arg-type]
    worker_of(queue, told).run()
    assert told.events[:3] == [("started", id) for id in ids]
    assert told.ended_as == dict.fromkeys(ids, State.DONE)


def test_a_unique_job_is_over_before_the_next_one_starts(queue: Queue, told: Told) -> None:
    """An equal job that is pushed by the next one must not be swallowed."""
    ids = [queue.push(Does("nothing"), unique=True), queue.push(Does("push unique"))]
    worker_of(queue, told).run()
    assert told.of("started") == told.of("ended") == [*ids, ids[-1] + 1]


# What others see and do


def test_a_job_may_cancel_the_one_that_comes_after_it(queue: Queue, told: Told) -> None:
    ids = row_of(queue, "nothing", "cancel next", "nothing", "nothing")
    worker_of(queue, told).run()
    assert queue.get(ids[2]).state == "cancelled"
    assert told.of("started") == [ids[0], ids[1], ids[3]]
    assert set(told.ended_as.values()) == {State.DONE}


@pytest.mark.parametrize("word", ["forget last", "wait for last"])
def test_each_job_sees_the_one_before_it_as_ended(word: str, queue: Queue, told: Told) -> None:
    ids = row_of(queue, "nothing", word, "nothing")
    worker_of(queue, told).run()
    assert told.ended_as == dict.fromkeys(ids, State.DONE)
    assert told.of("started") == ids


def test_the_jobs_behind_a_long_one_are_released_while_it_runs(queue: Queue, told: Told) -> None:
    ids = row_of(queue, "nothing", "until others are back", "nothing", "nothing")
    worker_of(queue, told).run()
    assert told.ended_as == dict.fromkeys(ids, State.DONE)
    assert told.of("started") == ids


def test_the_same_in_a_thread_of_another_program(queue: Queue, told: Told) -> None:
    ids = row_of(queue, "nothing", "until others are back", "nothing", "nothing")
    with worker_of(queue, told, drain=False).in_background():
        wait_until(lambda: len(told.of("ended")) == 4, RUN_PATIENCE_SECONDS)
    assert told.ended_as == dict.fromkeys(ids, State.DONE)
    assert [t for t in threading.enumerate() if t.name.startswith("litequeue")] == []


@pytest.mark.parametrize("most", [1, 2, 5, 7])
def test_a_worker_runs_no_more_than_it_may(most: int, queue: Queue, told: Told) -> None:
    for _ in range(3):
        for name in "abc":
            queue.push(Does(), queue=name)
    claimed: list[int] = []
    claims = queue.store.claims
    for verb in ("claim", "claim_within"):

        def counted(*arguments: object, real: object = getattr(claims, verb)) -> list[JobRow]:
            rows: list[JobRow] = real(*arguments)  # type: ignore[operator]
            claimed.extend(row.id for row in rows)
            return rows

        setattr(claims, verb, counted)
    worker_of(queue, told, jobs=most).run()
    assert len(told.of("ended")) == len(claimed) == most


def test_no_job_starts_after_the_prefetch_was_reclaimed(
    queue: Queue, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may reclaim it at every moment; here it is just before each second start."""
    ids = row_of(queue, *["nothing"] * 6)
    start = PrefetchLog.start

    def reclaimed_before(prefetch_log: PrefetchLog) -> bool:
        first = not told.events or told.events[-1][0] == "ended"
        if first or prefetch_log.count < 2:
            return start(prefetch_log)
        assert queue.store.reclaimer.reclaim() > 0
        started = start(prefetch_log)
        assert not started
        return started

    monkeypatch.setattr(PrefetchLog, "start", reclaimed_before)
    worker_of(queue, told).run()
    assert told.of("started") == told.of("ended") == ids


def test_a_locked_file_delays_the_end_of_a_run_and_loses_no_job(
    queue: Queue, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = row_of(queue, "nothing", "nothing", "stop", "nothing")
    monkeypatch.setattr("litequeue.worker.executor.SETTLE_PAUSE_SECONDS", 0.001)
    troubles, runs = {"complete_all": 3, "release": 3}, queue.store.executions
    for verb in troubles:

        def troubled(*arguments: object, verb: str = verb, real: object = getattr(runs, verb)):  # type: ignore[no-untyped-def]
            troubles[verb] -= 1
            if troubles[verb] >= 0:
                raise DatabaseBusy(path=queue.path, waited=1)
            return real(*arguments)  # type: ignore[operator]

        setattr(runs, verb, troubled)
    worker = worker_of(queue, told)
    DEEDS["stop"] = worker.stop
    assert worker.run() == 0
    assert told.of("ended") == ids[:3]
    assert (queue.get(ids[3]).state, queue.get(ids[3]).attempts) == ("ready", 0)


# What cannot be written down


def refuse(queue: Queue, verb: str, patch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise DatabaseRefused(path=queue.path, problem="disk I/O error")

    patch.setattr(queue.store.executions, verb, refused)


@pytest.mark.parametrize("prefetch", [1, 250])
def test_a_run_whose_end_could_not_be_written_has_used_its_attempt(
    prefetch: int, queue: Queue, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = row_of(queue, "nothing", "retry", "nothing")
    with monkeypatch.context() as patch:
        refuse(queue, "retry_later", patch)
        with pytest.raises(DatabaseRefused):
            worker_of(queue, told, prefetch).run()
    assert queue.get(ids[1]).state == State.RUNNING
    worker_of(queue, told, prefetch).run()
    row = queue.get(ids[1])
    assert (row.state, row.attempts) == (State.FAILED, 2)
    assert told.of("started").count(ids[1]) == 2
    assert [told.of("started").count(id) for id in (ids[0], ids[2])] == [1, 1]


def test_successes_that_could_not_be_written_are_completed_by_the_next_worker(
    queue: Queue, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = row_of(queue, *["nothing"] * 4)
    with monkeypatch.context() as patch:
        refuse(queue, "complete_all", patch)
        with pytest.raises(DatabaseRefused):
            worker_of(queue, told).run()
    assert {queue.get(id).state for id in ids} == {State.RUNNING}
    worker_of(queue, told).run()
    assert queue.counts() == {}
    assert told.of("started") == ids


def test_the_hook_of_a_job_that_the_next_worker_completes_is_called_by_that_worker(
    queue: Queue, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [queue.push(Hooked(), keep=60), queue.push(Hooked())]
    current_queue[:] = [queue, ids[1]]
    with monkeypatch.context() as patch:
        refuse(queue, "complete_all", patch)
        with pytest.raises(DatabaseRefused):
            worker_of(queue, told).run()
    assert results == []
    worker_of(queue, told).run()
    assert results == [[5, False], [5, False]]
    assert told.of("started") == ids
    assert queue.result(ids[0]) == 5
