"""What a queue promises about large payloads: they are whole, remarked on, or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from worker_side import WorkerSide, claimed

from litequeue.engine.database import Database
from litequeue.errors import OptionError, PayloadError
from litequeue.jobs.batch import Batch
from litequeue.jobs.job import Job
from litequeue.queue import Queue
from litequeue.records import NOBODY
from litequeue.store.insert import LARGE_BYTES

MakeQueue = Callable[..., Queue]
FRAME_BYTES = len('{"text":""}')
WORKER = NOBODY + 1


class Store(Job):
    text: str

    def handle(self) -> None: ...


def of_size(size: int) -> dict[str, object]:
    """A payload whose JSON text has this many bytes."""
    return {"text": "x" * (size - FRAME_BYTES)}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_payload_of_a_mebibyte_is_never_cut(queue: Queue) -> None:
    payload = {"text": "ü" * (1 << 19), "last": True}
    id = queue.push("store", payload)
    assert json.loads(queue.get(id).payload) == payload
    row = claimed(queue, WORKER)
    assert json.loads(row.payload) == payload


def test_a_large_payload_is_remarked_on_with_the_way_out(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.push("store", of_size(100 * 1024))
    (record,) = caplog.records
    assert record.name == "litequeue"
    remark = "store: a payload of 100 KiB is large: store the data in a file, and push its path"
    assert warnings(caplog) == [remark]


def test_the_remark_is_made_once_for_each_name(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    large = of_size(LARGE_BYTES + 1)
    queue.push("store", large)
    queue.push("store", large)
    queue.push_many([("store", large), ("send", large), ("send", large)])
    assert [remark.partition(":")[0] for remark in warnings(caplog)] == ["store", "send"]


def test_a_payload_of_64_kib_is_not_large_yet(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    id = queue.push("store", of_size(LARGE_BYTES))
    assert len(queue.get(id).payload) == LARGE_BYTES
    assert warnings(caplog) == []


def test_a_queue_refuses_what_is_larger_than_it_takes(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=1000)
    queue.push("store", of_size(1000))
    with pytest.raises(PayloadError, match=r"store: .* 1001 bytes, .* at most 1000: store the"):
        queue.push("store", of_size(1001))
    assert len(queue.find()) == 1


def test_bytes_are_counted_and_not_signs(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=1000)
    with pytest.raises(PayloadError):
        queue.push("store", {"text": "ü" * 500})


@pytest.mark.parametrize(
    "push",
    [
        lambda queue, job: queue.push(job),
        lambda queue, job: queue.push_many([Store("small"), job]),
        lambda queue, job: queue.chain(Store("small"), job),
        lambda queue, job: queue.push(Store("small"), after=[job]),
    ],
    ids=["push", "push_many", "chain", "after"],
)
def test_whichever_way_it_comes_a_refused_payload_leaves_nothing(
    make_queue: MakeQueue, push: Callable[[Queue, Job], object]
) -> None:
    queue = make_queue(max_payload=1000)
    with pytest.raises(PayloadError):
        push(queue, Store("x" * 1000))
    assert queue.find() == []


def test_a_batch_with_a_refused_member_is_not_pushed(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=1000)
    with pytest.raises(PayloadError), queue.batch(then=Store("small")) as batch:
        batch.push(Store("x" * 1000))
    assert queue.find() == []


def test_a_planned_chunk_with_a_refused_member_is_not_pushed(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=1000)

    class Import(Batch):
        def plan(self, cursor: object) -> tuple[list[Store], object]:
            raise AssertionError("it is planned by hand")

    queue.push(Import())
    row = claimed(queue, WORKER)
    with pytest.raises(PayloadError):
        WorkerSide(queue).plan(row, [Store("small"), Store("x" * 1000)], 2)
    assert [each.id for each in queue.find()] == [row.id]


@pytest.mark.parametrize("bytes", [0, -1, 1.5, True, "64K"])
def test_a_limit_must_be_a_number_of_bytes(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, bytes: object
) -> None:
    monkeypatch.setattr(Database, "__init__", None)
    with pytest.raises(OptionError, match="max_payload must be a whole number of bytes"):
        make_queue(max_payload=bytes)
