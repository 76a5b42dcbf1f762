"""unique=: while a job with the key is unfinished, no second one is stored."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from waiting import Child
from worker_side import WorkerSide, claim_one, claimed

from litequeue import Job, Queue, job
from litequeue.errors import KeyTaken, OptionError
from litequeue.records import NOBODY, JobRow, State

WORKER = NOBODY + 1
Table = Callable[[], list[tuple[object, ...]]]


class Resize(Job, unique=True):
    path: str
    width: int = 800

    def handle(self) -> None: ...


class Sync(Job, unique="sync"):
    shop: int

    def handle(self) -> None: ...


class Report(Job, unique=lambda report: f"report {report.month}"):
    month: int
    draft: bool = False

    def handle(self) -> None: ...


@job(unique=True)
def shrink(path: str) -> None: ...


@job(unique=lambda mail: mail.to)
def send(to: str, text: str = "") -> None: ...


class Plain(Job):
    number: int = 1

    def handle(self) -> None: ...


def taken(queue: Queue) -> JobRow:
    return claimed(queue, WORKER)


def stored(queue: Queue) -> int:
    return len(queue.find(limit=1_000))


EQUAL = {
    "True on a class": (Resize("a"), Resize("a", width=800)),
    "True on a function": (shrink("a"), shrink(path="a")),
    "a text": (Sync(1), Sync(2)),
    "a callable on a class": (Report(7), Report(7, draft=True)),
    "a callable on a function": (send("ada"), send("ada", "hello")),
}
OTHERS = {
    "True, another payload": (Resize("a"), Resize("a", width=2)),
    "True, another name": (Resize("a"), shrink("a")),
    "True, and a text": (Resize("a"), Sync(1)),
    "a callable, another key": (Report(7), Report(8)),
    "nothing said": (Plain(), Plain()),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_a_push_of_an_equal_job_gives_the_id_of_the_unfinished_one(
    queue: Queue, table: Table, pair: tuple[Job, Job]
) -> None:
    first = queue.push(pair[0])
    before = table()
    assert queue.push(pair[1], priority=9, delay=60, queue="other") == first
    assert table() == before


@pytest.mark.parametrize("pair", OTHERS.values(), ids=OTHERS)
def test_a_push_of_another_job_is_stored(queue: Queue, pair: tuple[Job, Job]) -> None:
    assert queue.push(pair[0]) != queue.push(pair[1])


@pytest.mark.parametrize(
    "said", [True, "one", lambda plain: f"plain {plain.number}"], ids=["True", "text", "callable"]
)
def test_push_can_ask_for_it_and_a_class_that_does_not_stays_as_it_is(
    queue: Queue, said: bool | str | Callable[[Plain], str]
) -> None:
    first = queue.push(Plain(), unique=said)
    assert queue.push(Plain(), unique=said) == first
    assert queue.push(Plain()) != first


def test_the_word_of_the_push_wins_over_that_of_the_class(queue: Queue) -> None:
    first = queue.push(Sync(1))
    assert queue.push(Sync(1), unique=False) != first
    assert queue.push(Sync(1), unique="another") != first
    assert queue.push(Plain(), unique="sync") == first


NAMED = {
    "the same": ("send-mail", {"to": 1, "cc": 2}),
    "the payload in another order": ("send-mail", {"cc": 2, "to": 1}),
    "the name in another spelling": ("SendMail", {"to": 1, "cc": 2}),
}


@pytest.mark.parametrize("equal", NAMED.values(), ids=NAMED)
def test_true_means_name_and_payload_for_a_push_by_name_too(
    queue: Queue, equal: tuple[str, dict[str, object]]
) -> None:
    first = queue.push("send-mail", {"to": 1, "cc": 2}, unique=True)
    assert queue.push(*equal, unique=True) == first
    assert queue.push("send-mail", {"to": 1, "cc": 3}, unique=True) != first
    assert queue.push("send-mails", {"to": 1, "cc": 2}, unique=True) != first


def test_push_many_stores_one_of_the_equal_and_gives_an_id_for_each(queue: Queue) -> None:
    old = queue.push(Sync(1))
    a, b, sync, again, x = queue.push_many(
        [Resize("a"), Resize("b"), Sync(2), Resize("a"), ("x", {})]
    )
    assert (sync, again) == (old, a)
    assert len({old, a, b, x}) == stored(queue) == 4
    assert len(set(queue.push_many([("x", {"n": n}) for n in range(3)], unique="x"))) == 1
    assert stored(queue) == 5


def end(queue: Queue, verb: str) -> int:
    row = taken(queue)
    {
        "complete": lambda: WorkerSide(queue).complete(row),
        "complete and keep": lambda: WorkerSide(queue).complete(row, keep=60),
        "fail": lambda: WorkerSide(queue).fail(row, "boom"),
        "fail and delete": lambda: WorkerSide(queue).fail(row, "boom", delete=True),
        "retry later": lambda: WorkerSide(queue).retry_later(row, "boom", after=60),
        "release": lambda: WorkerSide(queue).release(row),
        "snooze": lambda: WorkerSide(queue).release(row, after=60),
    }[verb]()
    return row.id


def cancel_running(queue: Queue) -> None:
    row = taken(queue)
    queue.cancel(row.id)
    WorkerSide(queue).retry_later(row, "boom", after=60)


def prune(queue: Queue) -> None:
    end(queue, "fail")
    queue.prune(0)


ENDS: dict[str, Callable[[Queue], object]] = {
    **{
        verb: lambda queue, verb=verb: end(queue, verb)
        for verb in ("complete", "complete and keep", "fail", "fail and delete")
    },
    "cancel": lambda queue: queue.cancel(1),
    "cancel all": lambda queue: queue.cancel(all=True),
    "cancel while it runs": cancel_running,
    "forget": lambda queue: queue.forget(1),
    "prune": prune,
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_the_key_is_free_when_the_job_has_ended_in_any_way(
    queue: Queue, ends: Callable[[Queue], object]
) -> None:
    assert queue.push(Sync(1)) == 1
    ends(queue)
    assert queue.push(Sync(1)) == 2
    assert queue.push(Sync(1)) == 2


def wait_for_another(queue: Queue) -> int:
    return queue.push(Sync(1), after=[queue.push("first")])


def hold(queue: Queue) -> int:
    queue.push("first", {}, without_overlapping="k")
    id = queue.push(Sync(1), without_overlapping="k")
    taken(queue)
    assert claim_one(queue, WORKER) is None
    assert WorkerSide(queue).rows("select id from litequeue_jobs where state = 9") == [(id,)]
    return id


def run(queue: Queue, *, asked_to_stop: bool = False) -> int:
    queue.push(Sync(1))
    id = taken(queue).id
    if asked_to_stop:
        queue.cancel(id)
    return id


UNFINISHED: dict[str, tuple[Callable[[Queue], int], State]] = {
    "waiting": (wait_for_another, State.WAITING),
    "ready": (lambda queue: queue.push(Sync(1)), State.READY),
    "scheduled": (lambda queue: queue.push(Sync(1), delay=60), State.SCHEDULED),
    "running": (run, State.RUNNING),
    "asked to stop": (lambda queue: run(queue, asked_to_stop=True), State.RUNNING),
    "held": (hold, State.READY),
    "to be retried": (
        lambda queue: queue.push(Sync(1)) and end(queue, "retry later"),
        State.SCHEDULED,
    ),
    "released": (lambda queue: queue.push(Sync(1)) and end(queue, "release"), State.READY),
    "snoozed": (lambda queue: queue.push(Sync(1)) and end(queue, "snooze"), State.SCHEDULED),
}


@pytest.mark.parametrize(("begin", "state"), UNFINISHED.values(), ids=UNFINISHED)
def test_the_key_is_taken_while_the_job_is_unfinished(
    queue: Queue, begin: Callable[[Queue], int], state: State
) -> None:
    id = begin(queue)
    assert queue.get(id).state is state
    assert queue.push(Sync(2)) == id


@pytest.mark.parametrize("over", ["fail", "cancel"])
@pytest.mark.parametrize(("begin", "state"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_finished_one_is_not_retried_while_its_key_lives_again(
    queue: Queue, table: Table, begin: Callable[[Queue], int], state: State, over: str
) -> None:
    old = queue.push(Sync(1))
    queue.cancel(old) if over == "cancel" else end(queue, over)
    another = queue.push("other", {})
    queue.cancel(another)
    id, before = begin(queue), table()
    for ids in ([old], [another, old]):
        with pytest.raises(KeyTaken) as caught:
            queue.retry(*ids)
        assert str(caught.value) == (
            f"Job {old} cannot be retried: job {id} has its unique key 'sync' and is not "
            "finished. Wait until that one finishes, or cancel it."
        )
        assert table() == before
    # By what they match, it is passed over.
    assert queue.retry(state="failed" if over == "fail" else "cancelled", name="sync") == 0
    assert table() == before


def test_by_what_they_match_the_others_are_retried(queue: Queue) -> None:
    for each in (Sync(1), Plain(), Resize("a")):
        queue.push(each)
        end(queue, "fail")
    again = queue.push(Sync(1))
    assert queue.retry(state="failed") == 2
    assert [row.name for row in queue.find(state="failed")] == ["Sync"]
    queue.cancel(again)
    assert queue.retry(state="failed") == 1


def test_of_two_finished_ones_with_one_key_one_can_be_retried(queue: Queue, table: Table) -> None:
    for _ in range(2):
        queue.push(Sync(1))
        end(queue, "fail")
    before = table()
    with pytest.raises(KeyTaken, match=r"^Job 2 cannot be retried: job 1 has"):
        queue.retry(1, 2)
    assert table() == before
    assert queue.retry(all=True) == 1
    assert [row.id for row in queue.find(state="ready")] == [1]
    assert queue.push(Sync(3)) == 1


# The caller's transaction, keys of all kinds.


@pytest.mark.parametrize("commits", [True, False])
def test_in_the_transaction_of_a_caller_an_equal_one_is_seen_and_goes_with_it(
    queue: Queue, commits: bool
) -> None:
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        first = queue.push(Sync(1), connection=connection)
        assert queue.push(Sync(2), connection=connection) == first
        assert queue.push_many([Sync(3), Resize("a")], connection=connection)[0] == first
        connection.execute("commit" if commits else "rollback")
    assert stored(queue) == (2 if commits else 0)
    queue.push(Sync(4))
    assert stored(queue) == (2 if commits else 1)


@pytest.mark.parametrize("length", [1, 199, 200, 201, 100_000])
@pytest.mark.parametrize("letter", ["k", "é", "𝄞"])
def test_a_key_may_be_of_any_length_and_all_of_it_counts(
    queue: Queue, length: int, letter: str
) -> None:
    key = letter * length
    first = queue.push("x", {}, unique=key)
    assert queue.push("x", {}, unique=key) == first
    assert queue.push("x", {}, unique=key + "1") != queue.push("x", {}, unique=key + "2")
    assert max(len(row.unique_key or "") for row in queue.find()) <= 200


def test_a_long_payload_is_a_long_key(queue: Queue) -> None:
    jobs = [Resize("a" * 10_000 + end) for end in "bc"]
    first, other = ids = queue.push_many(jobs)
    assert first != other
    assert queue.push_many(jobs) == ids


@pytest.mark.parametrize("nonsense", [None, 7, b"key", "", True])
def test_a_callable_that_gives_no_key_is_refused(queue: Queue, nonsense: object) -> None:
    with pytest.raises(OptionError, match=re.escape(f"a key must be text, not {nonsense!r}")):
        queue.push(Plain(), unique=lambda plain: nonsense)  # type: ignore[arg-type, return-value]
    assert stored(queue) == 0


def test_what_a_callable_raises_is_told_with_the_job(queue: Queue) -> None:
    with pytest.raises(OptionError, match="its key raises ZeroDivisionError"):
        queue.push_many([Plain(1), Plain(0)], unique=lambda plain: str(1 / plain.number))
    assert stored(queue) == 0


def test_a_callable_needs_the_job_and_not_its_name(queue: Queue) -> None:
    message = "send-mail: a callable needs the job itself to compute a key, not its name"
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        queue.push("send-mail", {}, unique=str)
    with pytest.raises(OptionError, match=re.escape(message)):
        queue.push_many([Plain(), ("send-mail", {})], unique=str)
    assert stored(queue) == 0


def test_a_batch_counts_an_equal_job_only_where_it_is_its_own(queue: Queue) -> None:
    outside = queue.push(Resize("a"))
    with queue.batch(then=Plain()) as batch:
        for path in "abb":
            batch.push(Resize(path))
    assert batch.ids == [outside, batch.ids[1], batch.ids[1]]
    while (row := claim_one(queue, WORKER)) is not None:
        WorkerSide(queue).complete(row)
    assert stored(queue) == 0, "the job that follows the batch still waits"


# Processes, plans.

RACER = """
import sys
from litequeue.queue import Queue
from litequeue.records import NOBODY
from worker_side import WorkerSide

LIVING = "select count(*) from litequeue_jobs where unique_key = 'k' and state in (2, 3, 4, 5, 9)"
queue, number, ends = Queue(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "ends"
print("here", flush=True)
input()
ids, most = set(), 0
for turn in range(60):
    ids.add(queue.push("x", {"from": number}, unique="k"))
    most = max(most, WorkerSide(queue).rows(LIVING)[0][0])
    row = next(iter(WorkerSide(queue).claim(NOBODY + 1 + number)), None) if ends else None
    if row is not None:
        runs = WorkerSide(queue)
        runs.complete(row, keep=3600) if turn % 2 else runs.fail(row, "boom")
print(most, *ids)
queue.close()
"""


@pytest.mark.parametrize("ends", ["ends", "stays"])
def test_of_eight_processes_that_push_one_key_no_two_store_it(
    make_queue: Callable[..., Queue], start: Callable[..., Child], ends: str
) -> None:
    queue = make_queue()
    racers = [start(RACER, queue.path, number, ends) for number in range(8)]
    assert [racer.line() for racer in racers] == ["here"] * 8
    for racer in racers:
        racer.say()
    told = [[int(word) for word in racer.finish().split()] for racer in racers]
    assert max(most for most, *_ in told) == 1
    given = {id for _, *ids in told for id in ids}
    # All rows are kept: each that was stored is one whose id was given, and no more.
    assert given == {id for (id,) in WorkerSide(queue).rows("select id from litequeue_jobs")}
    assert (len(given) > 8) if ends == "ends" else (given == {1})
