"""get, find, counts, wait, result and check."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from waiting import Clock, wait_until
from worker_side import WorkerSide, claimed, edit

from litequeue import Job, Worker
from litequeue.errors import JobFailed, NoResult, NoSuchJob, OptionError, WaitTimeout, WrongState
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

WORKER = NOBODY + 1


class Sum(Job, name="sum"):
    left: int = 0
    right: int = 0

    def handle(self) -> int:
        return self.left + self.right


class Kept(Job, name="kept", keep=60):
    def handle(self) -> None: ...


def taken(queue: Queue) -> JobRow:
    return claimed(queue, WORKER)


def one_of_each(queue: Queue) -> dict[State, int]:
    """A job in each state that verbs can bring about; returns their ids."""
    ids = {}
    for state in (State.DONE, State.FAILED, State.RUNNING):
        ids[state] = queue.push(f"is-{state}")
        row = taken(queue)
        if state is State.DONE:
            WorkerSide(queue).complete(row, result="1", keep=60)
        elif state is State.FAILED:
            WorkerSide(queue).fail(row, "ValueError: no")
    ids[State.SCHEDULED] = queue.push("is-scheduled", {}, delay=60, queue="low")
    ids[State.CANCELLED] = queue.push("is-cancelled")
    queue.cancel(ids[State.CANCELLED])
    ids[State.READY] = queue.push("is-ready", {}, queue="low")
    return ids


# Beyond 64 bits, SQLite cannot even be asked.
NO_IDS = [0, -1, 99, 2**63 - 1, 2**63, -(2**70)]


@pytest.mark.parametrize("job_id", NO_IDS)
def test_an_id_that_was_never_given_is_no_job(queue: Queue, job_id: int) -> None:
    queue.push("a")
    for ask in (queue.get, queue.wait, queue.result, queue.cancel, queue.retry, queue.forget):
        with pytest.raises(NoSuchJob, match=f"There is no job {job_id}:"):
            ask(job_id)
    assert WorkerSide(queue).claim_job(WORKER, 99) is None


def test_find_returns_the_newest_first(queue: Queue) -> None:
    ids = queue.push_many([("a", {})] * 5)
    assert [row.id for row in queue.find()] == ids[::-1]
    assert [row.id for row in queue.find(limit=2)] == [ids[4], ids[3]]


def test_find_returns_at_most_a_hundred_unless_more_are_asked_for(queue: Queue) -> None:
    queue.push_many([("a", {})] * 120)
    assert len(queue.find()) == 100
    assert len(queue.find(limit=1000)) == 120


@pytest.mark.parametrize("state", [state for state in State if state is not State.WAITING])
def test_find_takes_a_state_or_its_word(queue: Queue, state: State) -> None:
    job_id = one_of_each(queue)[state]
    assert [row.id for row in queue.find(state=state)] == [job_id]
    assert [row.id for row in queue.find(state=state.value)] == [job_id]


@pytest.mark.parametrize(
    "spelling", ["SendMail", "send_mail", "send-mail", "SENDMAIL", "sendmail", "Send-Mail"]
)
def test_find_takes_a_name_in_any_of_its_spellings(queue: Queue, spelling: str) -> None:
    ids = queue.push_many([("SendMail", {}), ("send_mail", {}), ("send-mail", {})])
    queue.push("send-mails")
    assert [row.id for row in queue.find(name=spelling)] == ids[::-1]


def test_find_takes_all_that_is_given_together(queue: Queue) -> None:
    queue.push("a", {}, queue="low")
    queue.push("b", {}, queue="high")
    wanted = queue.push("a", {}, queue="high")
    queue.push("a", {}, queue="high", delay=5)
    found = queue.find(name="a", queue="high", state="ready")
    assert [row.id for row in found] == [wanted]


@pytest.mark.parametrize("where", [{"queue": "none"}, {"name": "none"}, {"state": "waiting"}])
def test_find_may_find_nothing(queue: Queue, where: dict[str, str]) -> None:
    queue.push("a")
    assert queue.find(**where) == []  # type: ignore[arg-type]


def test_a_state_that_there_is_not_is_refused_with_those_that_there_are(queue: Queue) -> None:
    for verb in (queue.find, queue.retry, queue.cancel, queue.forget):
        with pytest.raises(OptionError, match="'gone' is none of waiting, ready, scheduled"):
            verb(state="gone")


def test_counts_are_by_queue_and_by_state(queue: Queue) -> None:
    assert queue.counts() == {}
    one_of_each(queue)
    queue.push("a")
    assert queue.counts() == {
        "default": {
            State.DONE: 1,
            State.FAILED: 1,
            State.RUNNING: 1,
            State.CANCELLED: 1,
            State.READY: 1,
        },
        "low": {State.SCHEDULED: 1, State.READY: 1},
    }


# Waiting


def test_wait_returns_when_the_job_is_over(queue: Queue, clock: Clock) -> None:
    job_id = queue.push("a")
    clock.after(2, lambda: WorkerSide(queue).complete(taken(queue), result="1", keep=60))
    started = clock.now
    row = queue.wait(job_id, timeout=10)
    assert row is not None
    assert row.state is State.DONE
    assert 2 <= clock.now - started < 2.1


def test_wait_returns_none_when_the_row_is_gone(queue: Queue, clock: Clock) -> None:
    job_id = queue.push("a")
    clock.after(1, lambda: WorkerSide(queue).complete(taken(queue)))
    assert queue.wait(job_id, timeout=10) is None
    assert queue.wait(job_id) is None


@pytest.mark.parametrize("verb", ["fail", "cancel"])
def test_wait_ends_with_a_job_that_failed_or_was_cancelled(
    queue: Queue, clock: Clock, verb: str
) -> None:
    job_id = queue.push("a")
    ways = {
        "fail": lambda: WorkerSide(queue).fail(taken(queue), "boom"),
        "cancel": lambda: queue.cancel(1),
    }
    clock.after(1, ways[verb])
    row = queue.wait(job_id)
    assert row is not None
    assert row.state in (State.FAILED, State.CANCELLED)


def test_wait_goes_on_while_the_job_is_retried(queue: Queue, clock: Clock) -> None:
    job_id = queue.push("a")
    clock.after(1, lambda: WorkerSide(queue).retry_later(taken(queue), "boom", after=1))
    clock.after(3, lambda: WorkerSide(queue).complete(taken(queue), keep=60))
    row = queue.wait(job_id, timeout=10)
    assert row is not None
    assert (row.state, row.attempts) == (State.DONE, 2)


@pytest.mark.parametrize("timeout", [0, 0.5, 3])
def test_wait_gives_up_after_its_time(queue: Queue, clock: Clock, timeout: float) -> None:
    job_id, started = queue.push("a"), clock.now
    with pytest.raises(WaitTimeout, match=f"Job {job_id} is still ready after {timeout:g} s"):
        queue.wait(job_id, timeout=timeout)
    assert timeout <= clock.now - started < timeout + 0.1


def test_a_wait_that_timed_out_is_a_timeout_error(queue: Queue) -> None:
    job_id = queue.push("a")
    with pytest.raises(TimeoutError):
        queue.result(job_id, timeout=0)


@pytest.mark.parametrize(
    ("stored", "result"),
    [(None, None), ("null", None), ("3", 3), ('{"a": [1, "x"]}', {"a": [1, "x"]})],
)
def test_result_returns_what_the_job_returned(
    queue: Queue, clock: Clock, stored: str | None, result: object
) -> None:
    job_id = queue.push("a")
    clock.after(1, lambda: WorkerSide(queue).complete(taken(queue), result=stored, keep=60))
    assert queue.result(job_id, timeout=5) == result


def test_there_is_no_result_where_it_was_not_kept(queue: Queue) -> None:
    job_id = queue.push("a")
    WorkerSide(queue).complete(taken(queue), result="1")
    with pytest.raises(NoResult, match="keep=SECONDS"):
        queue.result(job_id)


def test_a_job_without_keep_is_known_at_once_to_leave_no_result(queue: Queue, clock: Clock) -> None:
    before = clock()
    for id in (queue.push(Sum(1, 2)), queue.push("sum", keep=0), queue.push(Kept(), keep=0)):
        with pytest.raises(NoResult, match=f"Job {id} will leave no result.*keep=SECONDS"):
            queue.result(id)
    assert clock() == before


def test_a_result_is_waited_for_where_the_worker_may_keep_it(queue: Queue, clock: Clock) -> None:
    queue.push(Kept())
    ids = [
        queue.push("other"),  # whose class may say keep
        queue.push("kept"),
        queue.push(Kept()),
        queue.push(Sum(1, 2), keep=60),
    ]
    for id in ids:
        with pytest.raises(WaitTimeout):
            queue.result(id, timeout=1)


def test_a_result_is_waited_for_where_a_living_worker_keeps_all(queue: Queue) -> None:
    id = queue.push(Sum(1, 2))
    registration = WorkerSide(queue).register((), 60)
    with pytest.raises(WaitTimeout):
        queue.result(id, timeout=1)
    registration.close()
    with pytest.raises(NoResult):
        queue.result(id, timeout=1)


def test_the_keep_option_of_a_worker_counts(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(clock=time.time, sleep=time.sleep)
    with Worker(queue, [Sum], flags={"keep": 60}).in_background():
        wait_until(WorkerSide(queue).keeps, within=20)
        id = queue.push(Sum(1, 2))
        wait_until(lambda: queue.get(id).state == "done", within=20)
        assert queue.result(id) == 3


def test_the_result_of_a_failed_job_is_its_reason(queue: Queue) -> None:
    job_id = queue.push("send-mail")
    WorkerSide(queue).fail(taken(queue), "Traceback\nValueError: no address\n")
    with pytest.raises(JobFailed, match=r"Job 1 \(send-mail\) is failed: ValueError: no address"):
        queue.result(job_id)


def test_the_result_of_a_cancelled_job_says_so(queue: Queue) -> None:
    job_id = queue.push("send-mail")
    queue.cancel(job_id)
    with pytest.raises(JobFailed, match="is cancelled"):
        queue.result(job_id)


# Invariants


def test_a_file_with_a_job_in_each_state_violates_no_invariant(queue: Queue) -> None:
    one_of_each(queue)
    assert queue.check() == []


@pytest.mark.parametrize(
    ("state", "damage", "invariant"),
    [
        ("running", f"worker = {NOBODY}", "a running job has a worker"),
        ("running", "attempts = 0", "a running job has a worker and has used an attempt"),
        ("ready", "finished_at = 1", "a job has a finish time if and only if"),
        ("done", "finished_at = null", "a job has a finish time if and only if"),
        ("failed", "exception = null", "a failed job has an exception"),
        ("failed", "failed_at = null", "a failed job has an exception"),
        ("cancelled", "cancelled_at = null", "a cancelled job has a cancellation time"),
        ("scheduled", "cancelled_at = 1", "a cancelled job has a cancellation time"),
        ("ready", "result = '1'", "only a done job has a result"),
        ("failed", "expires_at = 1", "only a done job has a result"),
        ("running", "max_attempts = 0", "no job has used more attempts"),
        ("ready", "attempts = -1", "no job has a negative number of attempts"),
    ],
)
def test_each_violated_invariant_is_reported_with_its_job(
    queue: Queue, state: str, damage: str, invariant: str
) -> None:
    job_id = one_of_each(queue)[State(state)]
    edit(queue, f"update litequeue_jobs set {damage} where id = {job_id}")
    told = [sentence for sentence in queue.check() if sentence.startswith(invariant)]
    assert len(told) == 1
    assert told[0].endswith(f": violated by {job_id}")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("state = 99", "its state is 99"),
        ("priority = 'high'", "its priority is 'high'"),
        ("available_at = 'soon'", "its available_at is 'soon'"),
        ("created_at = 1.5", "its created_at is 1.5"),
        ("failed_at = 1 << 62", "its failed_at is 4611686018427387904"),
        ("payload = x'ff'", "its payload is b'\\xff'"),
        ("name = cast(x'ff' as text)", "its name is b'\\xff'"),
        ("options = '{'", "its options is '{'"),
    ],
)
def test_a_row_that_cannot_be_read_is_reported_with_its_column(
    queue: Queue, damage: str, what: str
) -> None:
    job_id = queue.push("a")
    queue.push("b")
    edit(queue, f"update litequeue_jobs set {damage} where id = {job_id}")
    assert f"job {job_id} cannot be read: {what}" in queue.check()


def test_an_invariant_that_many_jobs_violate_names_ten_of_them(queue: Queue) -> None:
    queue.push_many([("a", {})] * 13)
    WorkerSide(queue).rows("update litequeue_jobs set finished_at = 1")
    (told,) = queue.check()
    assert told.endswith(": violated by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more")


def test_looking_changes_nothing(queue: Queue, table: Callable[[], object]) -> None:
    ids = one_of_each(queue)
    before = table()
    queue.find()
    queue.counts()
    queue.check()
    queue.wait(ids[State.DONE])
    WorkerSide(queue).has_ready()
    WorkerSide(queue).next_due()
    with pytest.raises(WrongState):
        queue.retry(ids[State.READY])
    assert table() == before
