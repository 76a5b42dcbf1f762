"""Subscribers of an event: all of them run, each as a job of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, litequeue
from waiting import Clock

from litequeue import Job, Queue, State, current, job, on
from litequeue.errors import DuplicateJob, JobError, OptionError
from litequeue.jobs.discovery import discover
from litequeue.worker.worker import Limits, Worker

Write = Callable[[Mapping[str, str]], Path]

ran: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


@on("order-paid")
def send_receipt(order_id: int) -> None:
    ran.append(("receipt", order_id))


@on("order-paid", max_attempts=2, backoff=60)
def book(order_id: int, amount: float = 1.5) -> None:
    ran.append(("book", amount))
    if amount < 0:
        raise ValueError("a negative amount")


@on("order-paid", queue="slow", priority=7, keep=3600)
async def tell_the_shop(order_id: int) -> str:
    ran.append(("shop", order_id))
    return "told"


PAID = [send_receipt, book, tell_the_shop]


def work(queue: Queue, *subscribers: object) -> None:
    given = subscribers or PAID
    Worker(queue, given, limits=Limits(drain=True)).run()  # type: ignore[arg-type]


def jobs(queue: Queue) -> list[tuple[str, State]]:
    return [(row.name, row.state) for row in reversed(queue.find())]


# All of them, each for itself


def test_all_subscribers_run_in_the_order_of_their_definition(queue: Queue) -> None:
    @on("tick")
    def zebra() -> None:
        ran.append("zebra")

    @on("tick")
    def ant() -> None:
        ran.append("ant")

    queue.push("tick")
    work(queue, zebra, ant)
    assert ran == ["zebra", "ant"]


def test_the_fields_of_the_payload_are_the_arguments(queue: Queue) -> None:
    @on("sent")
    def subscriber(order_id: int, tags: list[str], note: str = "none") -> None:
        ran.append((order_id, tags, note))

    queue.push("sent", {"order_id": 7, "tags": ["a", "b"]})
    work(queue, subscriber)
    assert ran == [(7, ["a", "b"], "none")]


def test_each_subscriber_is_a_job_of_its_own_with_its_own_options(queue: Queue) -> None:
    queue.push("order-paid", {"order_id": 7}, queue="events")
    Worker(queue, PAID, queues=["events"], limits=Limits(drain=True)).run()  # type: ignore[arg-type]
    rows = {row.name: row for row in queue.find()}
    assert set(rows) == {"order-paid/send_receipt", "order-paid/book", "order-paid/tell_the_shop"}
    assert rows["order-paid/book"].max_attempts == 2
    shop = rows["order-paid/tell_the_shop"]
    assert (shop.queue, shop.priority, shop.options) == ("slow", 7, {"keep": 3600})
    assert json.loads(shop.payload) == {"order_id": 7}


def test_the_failure_of_one_runs_only_that_one_again(queue: Queue, clock: Clock) -> None:
    queue.push("order-paid", {"order_id": 7, "amount": -1.0})
    alone = [book]

    @on("order-paid")
    def other(order_id: int, amount: float) -> None:
        ran.append(("other", order_id))

    work(queue, *alone, other)
    assert ran == [("book", -1.0), ("other", 7)]
    assert jobs(queue) == [("order-paid/book", State.SCHEDULED)]
    clock.advance(60)
    work(queue, *alone, other)
    assert ran == [("book", -1.0), ("other", 7), ("book", -1.0)]
    assert jobs(queue) == [("order-paid/book", State.FAILED)]


def test_a_payload_that_lacks_a_field_fails_only_the_subscriber_that_needs_it(queue: Queue) -> None:
    @on("order-paid")
    def needs_more(order_id: int, email: str) -> None: ...

    queue.push("order-paid", {"order_id": 7})
    work(queue, needs_more, send_receipt)
    assert ran == [("receipt", 7)]
    (row,) = queue.find()
    assert (row.name, row.state) == ("order-paid/needs_more", State.FAILED)
    assert "'email' is missing" in row.reason


def test_each_subscriber_is_given_the_fields_that_it_takes(queue: Queue) -> None:
    queue.push("order-paid", {"order_id": 7, "amount": 2.5})
    work(queue)
    assert ran == [("shop", 7), ("receipt", 7), ("book", 2.5)]


def test_a_field_that_no_subscriber_takes_is_not_lost_in_silence(queue: Queue) -> None:
    queue.push("order-paid", {"order_id": 7, "ammount": 2.5})
    work(queue)
    assert [row.state for row in queue.find()] == [State.FAILED] * 3
    assert any("did you mean 'amount'?" in row.reason for row in queue.find())


def test_an_async_subscriber_runs_and_its_result_is_kept(queue: Queue) -> None:
    queue.push("order-paid", {"order_id": 7})
    work(queue)
    assert ("shop", 7) in ran
    (row,) = queue.find()
    assert queue.result(row.id) == "told"


def test_a_subscriber_can_be_called_by_hand(queue: Queue) -> None:
    send_receipt(order_id=3).handle()
    assert ran == [("receipt", 3)]


def test_a_subscriber_can_be_pushed_alone(queue: Queue) -> None:
    queue.push(send_receipt(order_id=3))
    work(queue)
    assert ran == [("receipt", 3)]


@pytest.mark.parametrize("spelling", ["order-paid", "OrderPaid", "order_paid", "ORDERPAID"])
def test_an_event_is_pushed_in_any_spelling(queue: Queue, spelling: str) -> None:
    queue.push(spelling, {"order_id": 7})
    work(queue)
    assert len(ran) == 3


def test_spellings_of_one_event_are_one_event(queue: Queue) -> None:
    @on("OrderPaid")
    def other(order_id: int) -> None:
        ran.append("other")

    queue.push("order-paid", {"order_id": 7})
    work(queue, send_receipt, other)
    assert ran == [("receipt", 7), "other"]


def test_an_event_that_nobody_listens_for_waits_for_a_subscriber(queue: Queue) -> None:
    queue.push("order-lost")
    work(queue)
    (row,) = queue.find()
    assert (row.state, row.attempts, ran) == (State.SCHEDULED, 0, [])
    assert row.unknown_since is not None


# Once, or not at all


def test_the_event_and_the_jobs_of_its_subscribers_are_one_transaction(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, pushed = type(queue).push, []

    def breaks(self: Queue, name: str, *rest: object, **options: object) -> int:
        pushed.append(name)
        if len(pushed) == 2:
            raise OSError("as if it had died here")
        return push(self, name, *rest, **options)  # type: ignore[arg-type]

    id = queue.push("order-paid", {"order_id": 7}, backoff=0)
    with monkeypatch.context() as patch:
        patch.setattr(type(queue), "push", breaks)
        Worker(queue, PAID, limits=Limits(jobs=1)).run()  # type: ignore[arg-type]
    assert pushed == ["order-paid/send_receipt", "order-paid/book"]
    assert [row.id for row in queue.find()] == [id]
    work(queue)
    assert len(ran) == 3


def test_a_unique_subscriber_has_one_unfinished_job_for_each_payload(queue: Queue) -> None:
    @on("changed", unique=True, queue="later")
    def reindex(page: int) -> None: ...

    for page in (1, 1, 2):
        queue.push("changed", {"page": page})
    Worker(queue, [reindex], queues=["default"], limits=Limits(drain=True)).run()  # type: ignore[list-item]
    assert [json.loads(row.payload) for row in reversed(queue.find())] == [{"page": 1}, {"page": 2}]


def test_a_key_by_a_callable_has_the_subscribers_job(queue: Queue) -> None:
    @on("changed", without_overlapping=lambda job: f"page {job.page}", queue="later")
    def reindex(page: int) -> None: ...

    @on("changed", unique=lambda job: 1 / 0, queue="later")
    def keyless(page: int) -> None: ...

    queue.push("changed", {"page": 4})
    Worker(queue, [reindex, keyless], queues=["default"], limits=Limits(drain=True)).run()  # type: ignore[list-item]
    keys = "select name, unique_key, overlap_key from litequeue_jobs order by id"
    assert queue.store.database.rows(keys) == [
        ("changed/reindex", None, "page 4"),
        ("changed/keyless", None, None),
    ]


def test_a_subscriber_may_push_an_event(queue: Queue) -> None:
    @on("first")
    def pushes(n: int) -> None:
        current().push("order-paid", {"order_id": n})

    queue.push("first", {"n": 9})
    work(queue, pushes, send_receipt)
    assert ran == [("receipt", 9)]


def test_a_payload_edited_into_nonsense_fails_the_event_alone(queue: Queue) -> None:
    queue.push("order-paid", {"order_id": 7})
    queue.store.database.rows("update litequeue_jobs set payload = '[1]'")
    work(queue)
    assert jobs(queue) == [("order-paid", State.FAILED)]
    assert "not a JSON object" in queue.find()[0].reason


# Finding them

SHOP = """
from litequeue import on

@on("order-paid")
def receipt(order_id: int) -> None:
    print("receipt", order_id)
"""
BOOKS = """
from litequeue import on
from jobs.shop import receipt

@on("order-paid")
def book(order_id: int) -> None:
    print("book", order_id)
"""


def test_subscribers_are_found_across_modules_and_each_counts_once(
    application: Write, capsys: Capture
) -> None:
    application({"jobs/__init__.py": "", "jobs/shop.py": SHOP, "jobs/zbooks.py": BOOKS})
    assert litequeue("push", "jobs.db", "order-paid", '{"order_id": 5}') == 0
    assert litequeue("work", "jobs.db", "--drain", "--quiet") == 0
    assert capsys.readouterr().out.splitlines() == ["1", "receipt 5", "book 5"]


def test_jobs_lists_the_event_and_its_subscribers(application: Write, capsys: Capture) -> None:
    application({"jobs.py": SHOP})
    assert litequeue("jobs", "--json") == 0
    found = json.loads(capsys.readouterr().out)["jobs"]
    assert [each["name"] for each in found] == ["order-paid", "order-paid/receipt"]


def test_two_subscribers_of_one_name_are_refused_with_both_places(application: Write) -> None:
    application({"jobs/__init__.py": "", "jobs/a.py": SHOP, "jobs/b.py": SHOP})
    with pytest.raises(DuplicateJob, match=r"order-paid/receipt.*jobs\.a\.receipt.*jobs\.b\."):
        discover()


def test_an_event_and_a_job_of_one_name_are_refused_with_both_places(application: Write) -> None:
    text = f"{SHOP}\nfrom litequeue import job\n\n@job\ndef order_paid() -> None: ...\n"
    application({"jobs.py": text})
    with pytest.raises(DuplicateJob) as refused:
        discover()
    assert "jobs.order_paid" in str(refused.value)
    assert "the event of jobs.receipt" in str(refused.value)


def test_a_job_may_have_the_name_of_a_subscribers_function(queue: Queue) -> None:
    @job(name="send_receipt")
    def another() -> None:
        ran.append("another")

    queue.push("send-receipt")
    work(queue, send_receipt, another)
    assert ran == ["another"]


# What is refused


@pytest.mark.parametrize("event", ["", "  ", None, 5, send_receipt])
def test_an_event_needs_a_name(event: str) -> None:
    with pytest.raises(JobError, match="an event is a name"):
        on(event)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(OptionError, match=r"@on\('paid'\): there is no option 'cron'"):
        on("paid", cron="@daily")  # type: ignore[call-arg]


def test_only_a_function_can_listen() -> None:
    class Receipt(Job):
        def handle(self) -> None: ...

    with pytest.raises(JobError, match="it decorates a function"):
        on("paid")(Receipt)


def test_a_parameter_without_an_annotation_is_refused() -> None:
    with pytest.raises(JobError, match="order_id has no annotation"):

        @on("paid")
        def receipt(order_id) -> None: ...  # type: ignore[no-untyped-def]


# Limits


@on("rated", rate_limit="1/hour", rate_key=lambda call: f"shop {call.shop}", expires="10m")
def call_the_shop(shop: int) -> None:
    ran.append(("call", shop))


def test_a_subscriber_may_have_a_rate_limit_and_expire(queue: Queue, clock: Clock) -> None:
    for shop in (1, 1, 2):
        queue.push("rated", {"shop": shop})
    work(queue, call_the_shop)
    assert ran == [("call", 1), ("call", 2)]
    (waiting,) = queue.find(state="scheduled")
    assert waiting.rate_key == "shop 1"
    clock.advance(600)
    work(queue, call_the_shop)
    assert queue.get(waiting.id).state is State.CANCELLED
