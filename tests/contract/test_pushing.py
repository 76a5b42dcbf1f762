"""What push and push_many promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from waiting import Clock
from worker_side import WorkerSide, claimed

from litequeue.errors import LitequeueError, OptionError, PayloadError, WhenError
from litequeue.options import Options
from litequeue.queue import Queue
from litequeue.records import NOBODY, Spec, State

WORKER = NOBODY + 1
Table = Callable[[], list[tuple[object, ...]]]


class Job:
    """Whatever has a spec can be pushed."""

    def __init__(self, name: str = "send-mail", payload: str = "{}", **options: object) -> None:
        self.spec = Spec(name, payload, Options(**options))  # type: ignore[typeddict-item]

    def __litequeue_spec__(self) -> Spec:
        return self.spec


def test_a_pushed_job_has_the_defaults_where_nothing_is_said(queue: Queue, clock: Clock) -> None:
    row = queue.get(queue.push("send-mail", {"to": 7}))
    now = datetime.fromtimestamp(clock.now, timezone.utc)
    assert (row.name, json.loads(row.payload)) == ("send-mail", {"to": 7})
    assert (row.queue, row.priority, row.state) == ("default", 0, State.READY)
    assert (row.attempts, row.max_attempts, row.worker) == (0, None, NOBODY)
    assert (row.created_at, row.available_at, row.reserved_at) == (now, now, None)
    assert (row.cancelled_at, row.finished_at, row.failed_at) == (None, None, None)
    assert (row.progress, row.options, row.exception, row.result) == (None, {}, None, None)
    assert row.reason == ""


def test_a_name_without_a_payload_has_an_empty_one(queue: Queue) -> None:
    assert queue.get(queue.push("send-mail")).payload == "{}"


def test_a_job_brings_its_name_its_payload_and_its_options(queue: Queue) -> None:
    row = queue.get(queue.push(Job("a", '{"x": 1}', queue="low", priority=4, max_attempts=9)))
    assert (row.name, row.payload) == ("a", '{"x": 1}')
    assert (row.queue, row.priority, row.max_attempts) == ("low", 4, 9)


def test_the_options_of_the_push_win_over_those_of_the_job(queue: Queue) -> None:
    job = Job(queue="low", priority=4, timeout=5, delay=60)
    row = queue.get(queue.push(job, queue="high", timeout=6, at="now"))
    assert (row.queue, row.priority, row.options["timeout"]) == ("high", 4, 6)
    assert row.state is State.READY


def test_options_that_are_no_columns_come_back_with_the_row(queue: Queue) -> None:
    given: Options = {"backoff": [1, 2.5], "timeout": 3, "keep": 4, "on_failure": "delete"}
    assert queue.get(queue.push("a", {}, **given)).options == given


def test_a_backoff_that_is_a_function_is_left_to_the_class(queue: Queue) -> None:
    assert queue.get(queue.push("a", {}, backoff=lambda attempt: 1.0)).options == {}


@pytest.mark.parametrize(
    ("options", "state", "seconds"),
    [
        ({"delay": 30}, State.SCHEDULED, 30),
        ({"delay": 0.25}, State.SCHEDULED, 0.25),
        ({"delay": timedelta(hours=2)}, State.SCHEDULED, 7200),
        ({"delay": "+1 hour 30 minutes"}, State.SCHEDULED, 5400),
        ({"at": "@1900000005"}, State.SCHEDULED, 5),
        ({"delay": 0}, State.READY, 0),
        ({"delay": -5}, State.READY, -5),
        ({"at": "@1893456000"}, State.READY, 1893456000 - 1900000000),
    ],
)
def test_a_delay_or_an_instant_sets_when_the_job_is_due(
    queue: Queue, clock: Clock, options: Options, state: State, seconds: float
) -> None:
    row = queue.get(queue.push("a", {}, **options))
    assert row.state is state
    assert row.available_at.timestamp() == clock.now + seconds


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"priorty": 1}, OptionError),
        ({"priority": "high"}, OptionError),
        ({"queue": " "}, OptionError),
        ({"max_attempts": 0}, OptionError),
        ({"timeout": 0}, OptionError),
        ({"keep": -1}, OptionError),
        ({"on_failure": "forget"}, OptionError),
        ({"delay": 1, "at": 2}, OptionError),
        ({"delay": "soonish"}, WhenError),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_pushed(
    queue: Queue, wrong: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        queue.push("a", {}, **wrong)  # type: ignore[arg-type]
    with pytest.raises(error):
        queue.push_many([("a", {}), ("b", {})], **wrong)  # type: ignore[arg-type]
    assert queue.find() == []


@pytest.mark.parametrize("payload", [{"x": object()}, {"x": float("nan")}, {1: 2}, [1]])
def test_a_payload_that_is_not_json_is_refused_and_nothing_is_pushed(
    queue: Queue, payload: object
) -> None:
    with pytest.raises(PayloadError):
        queue.push("a", payload)  # type: ignore[arg-type]
    with pytest.raises(PayloadError):
        queue.push_many([("fine", {}), ("a", payload)])  # type: ignore[list-item]
    assert queue.find() == []


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused(queue: Queue, name: str) -> None:
    with pytest.raises(OptionError):
        queue.push(name)


def test_a_job_with_a_second_payload_is_refused(queue: Queue) -> None:
    with pytest.raises(OptionError):
        queue.push(Job(), {"to": 1})


@pytest.mark.parametrize(("name", "line"), [("\ud800", "default"), ("send-mail", "\ud800")])
def test_text_that_sqlite_cannot_hold_is_refused_with_a_sentence(
    queue: Queue, name: str, line: str
) -> None:
    with pytest.raises(LitequeueError):
        queue.push(name, {}, queue=line)
    with pytest.raises(LitequeueError):
        queue.push_many([("fine", {}), (name, {})], queue=line)
    assert queue.find() == []


@pytest.mark.parametrize("text", ["'; drop table litequeue_jobs; --", "ü 🦆", "a\0b", "x" * 10**6])
def test_names_queues_and_payloads_come_back_as_they_were(queue: Queue, text: str) -> None:
    row = queue.get(queue.push(text, {"text": text}, queue=text))
    assert (row.name, row.queue, json.loads(row.payload)) == (text, text, {"text": text})


def test_a_job_is_there_for_others_when_push_returns(make_queue: Callable[..., Queue]) -> None:
    producer, other = make_queue(), make_queue()
    job_id = producer.push("a", {"x": 1})
    assert other.get(job_id) == producer.get(job_id)


def test_an_id_is_never_used_again(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue()
    seen = [queue.push("a")]
    row = claimed(queue, WORKER)
    WorkerSide(queue).complete(row)
    seen.append(queue.push("a"))
    queue.forget(seen[-1])
    queue.close()
    seen += make_queue().push_many([("a", {}), ("a", {})])
    assert seen == sorted(set(seen))


def test_push_many_stores_all_of_them_in_order(queue: Queue) -> None:
    ids = queue.push_many([("a", {"n": 1}), Job("b", queue="low"), ("c", {})], priority=3)
    rows = [queue.get(id) for id in ids]
    assert [row.name for row in rows] == ["a", "b", "c"]
    assert [row.queue for row in rows] == ["default", "low", "default"]
    assert {row.priority for row in rows} == {3}


def test_push_many_of_nothing_is_nothing(queue: Queue) -> None:
    assert queue.push_many([]) == []
    assert queue.find() == []


def test_fifty_thousand_jobs_are_one_call(queue: Queue) -> None:
    ids = queue.push_many(("a", {"n": n}) for n in range(50_000))
    assert ids == list(range(ids[0], ids[0] + 50_000))
    assert queue.counts() == {"default": {State.READY: 50_000}}
    assert json.loads(queue.get(ids[-1]).payload) == {"n": 49_999}
