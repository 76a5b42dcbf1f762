"""retry, cancel, forget, prune, pause and resume."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from waiting import Clock
from worker_side import WorkerSide, claimed

from litequeue.errors import NoSuchJob, OptionError, WrongState
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

WORKER = NOBODY + 1
Table = Callable[[], list[tuple[object, ...]]]

# Which verbs take a job in which state.
LEAVES = {
    "retry": {State.SCHEDULED, State.FAILED, State.CANCELLED},
    "cancel": {State.READY, State.SCHEDULED, State.RUNNING},
    "forget": {State.READY, State.SCHEDULED, State.DONE, State.FAILED, State.CANCELLED},
}
STATES = [state for state in State if state is not State.WAITING]
every_verb = pytest.mark.parametrize("verb", LEAVES)


def in_state(queue: Queue, state: State, name: str = "a", line: str = "default") -> int:
    """Push a job and bring it to a state; returns its id."""
    delay = 60 if state is State.SCHEDULED else 0
    job_id = queue.push(name, {}, queue=line, delay=delay)
    if state is State.CANCELLED:
        queue.cancel(job_id)
    if state in (State.RUNNING, State.DONE, State.FAILED):
        row = WorkerSide(queue).claim_job(WORKER, job_id)
        assert row is not None
        _end(queue, row, state)
    assert queue.get(job_id).state is state
    return job_id


def _end(queue: Queue, row: JobRow, state: State) -> None:
    if state is State.DONE:
        WorkerSide(queue).complete(row, result="1", keep=10**6)
    elif state is State.FAILED:
        WorkerSide(queue).fail(row, "ValueError: no")


@every_verb
@pytest.mark.parametrize("state", STATES)
def test_a_verb_takes_a_job_exactly_in_the_states_that_it_leaves(
    queue: Queue, table: Table, verb: str, state: State
) -> None:
    job_id = in_state(queue, state)
    before = table()
    if state in LEAVES[verb]:
        assert getattr(queue, verb)(job_id) == 1
        assert table() != before
    else:
        with pytest.raises(WrongState, match=f"Job {job_id} is {state}, but {verb} applies only"):
            getattr(queue, verb)(job_id)
        assert table() == before
    assert queue.check() == []


@every_verb
def test_a_bulk_verb_passes_over_jobs_that_it_does_not_take(queue: Queue, verb: str) -> None:
    for state in STATES:
        in_state(queue, state)
    assert getattr(queue, verb)(all=True) == len(LEAVES[verb])
    assert queue.check() == []


@every_verb
def test_one_wrong_job_among_many_and_nothing_is_changed(
    queue: Queue, table: Table, verb: str
) -> None:
    right = [in_state(queue, state) for state in LEAVES[verb]]
    wrong = [in_state(queue, state) for state in STATES if state not in LEAVES[verb]]
    before = table()
    for ids in ([*right, wrong[0]], [right[0], wrong[0], right[1]]):
        with pytest.raises(WrongState):
            getattr(queue, verb)(*ids)
        assert table() == before


@every_verb
def test_inside_a_transaction_too_a_refused_verb_changes_nothing(
    queue: Queue, table: Table, verb: str
) -> None:
    right = [in_state(queue, state) for state in LEAVES[verb]]
    before = table()
    with WorkerSide(queue).transaction():
        with pytest.raises(NoSuchJob):
            getattr(queue, verb)(*right, 99)
        WorkerSide(queue).rows("create table mine (x)")
    assert table() == before
    assert WorkerSide(queue).rows("select * from mine") == []


@every_verb
@pytest.mark.parametrize("said", [{}, {"all": True, "queue": "low"}, {"all": True, "name": "a"}])
def test_a_verb_must_be_told_which_jobs_in_one_way(
    queue: Queue, table: Table, verb: str, said: dict[str, object]
) -> None:
    job_id = in_state(queue, State.SCHEDULED)
    before = table()
    with pytest.raises(OptionError, match="say which jobs"):
        getattr(queue, verb)(**said)
    if said:
        with pytest.raises(OptionError, match="say which jobs"):
            getattr(queue, verb)(job_id, **said)
    assert table() == before


@every_verb
@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ({"queue": "low"}, ["b", "c"]),
        ({"name": "C"}, ["c"]),
        ({"state": "scheduled"}, ["a", "b", "c"]),
        ({"state": State.SCHEDULED, "queue": "default"}, ["a"]),
        ({"queue": "low", "name": "a"}, []),
        ({"state": "done", "queue": "none"}, []),
    ],
)
def test_a_bulk_verb_takes_what_matches(
    queue: Queue, verb: str, where: dict[str, object], chosen: list[str]
) -> None:
    for name, line in (("a", "default"), ("b", "low"), ("c", "low")):
        in_state(queue, State.SCHEDULED, name, line)
    assert getattr(queue, verb)(**where) == len(chosen)
    left = {row.name for row in queue.find(state=State.SCHEDULED)}
    assert left == {"a", "b", "c"} - set(chosen)


def test_a_retried_job_is_ready_with_all_its_attempts_anew(queue: Queue, clock: Clock) -> None:
    job_id = in_state(queue, State.FAILED)
    clock.advance(7)
    queue.retry(job_id)
    row = queue.get(job_id)
    assert (row.state, row.attempts, row.worker) == (State.READY, 0, NOBODY)
    assert row.available_at == datetime.fromtimestamp(clock.now, timezone.utc)
    assert (row.finished_at, row.exception) == (None, "ValueError: no")
    again = claimed(queue, WORKER)
    assert (again.id, again.attempts) == (job_id, 1)


@pytest.mark.parametrize(
    ("older", "left"), [(0, ""), (10, "c"), (19.999, "c"), (20, "c"), (20.001, "bc"), (60, "abc")]
)
@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED])
def test_prune_deletes_what_finished_that_long_ago(
    queue: Queue, clock: Clock, state: State, older: float, left: str
) -> None:
    for name, seconds in (("a", 10), ("b", 20), ("c", 0)):
        in_state(queue, state, name)
        clock.advance(seconds)
    assert queue.prune(older) == 3 - len(left)
    assert "".join(sorted(row.name for row in queue.find())) == left


def test_a_queue_is_paused_until_it_is_resumed(queue: Queue) -> None:
    assert queue.paused() == []
    assert queue.resume("low") is False
    assert queue.pause("low") is True
    assert queue.pause("low") is False
    assert queue.pause("high") is True
    assert queue.paused() == ["high", "low"]
    assert queue.resume("low") is True
    assert queue.paused() == ["high"]


def test_what_a_verb_says_is_true_when_its_write_brings_on_a_checkpoint(
    make_queue: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litequeue.engine.checkpoint.CHECKPOINT_BYTES", 0)
    monkeypatch.setattr("litequeue.engine.database.WAL_CHECK_STATEMENTS", 1)
    queue = make_queue()
    assert queue.push("a") == 1
    assert [queue.pause("low"), queue.pause("low")] == [True, False]
    assert [queue.resume("low"), queue.resume("low")] == [True, False]
    assert queue.push_many([("a", {}), ("a", {})]) == [2, 3]
    assert queue.cancel(1, 2) == 2
    row = claimed(queue, WORKER)
    assert (row.id, queue.prune(0)) == (3, 2)
