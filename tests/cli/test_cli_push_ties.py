"""push: jobs that come after others, and those with keys."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, complaint, litequeue

from litequeue import Queue, State

Write = Callable[[Mapping[str, str]], Path]

JOBS = """
from litequeue import Batch, Job, on

class Greet(Job, unique=lambda job: f"greet {job.name}", without_overlapping=True):
    name: str

    def handle(self): ...

class Import(Batch):
    def plan(self, cursor): return [], None

@on("order-paid")
def send_receipt(order_id: int): ...
"""


def pushed(capsys: Capture, *arguments: str) -> int:
    assert litequeue("push", "jobs.db", *arguments) == 0
    return int(capsys.readouterr().out)


def lines(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_a_job_waits_for_all_that_it_comes_after(queue: Queue, capsys: Capture) -> None:
    first, second, third = queue.push_many([("a", {})] * 3)
    id = pushed(capsys, "b", "--after", f"{third},{first}", "--after", str(second))
    assert queue.get(id).state is State.WAITING
    assert queue.store.dependencies.unsatisfied(id) == [third, first, second]


def test_after_a_job_that_there_never_was_is_one_line(queue: Queue, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "b", "--after", "99") == 1
    assert "There is no job 99" in capsys.readouterr().err
    assert queue.find() == []


def test_each_line_waits_for_what_is_given(
    queue: Queue, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queue.push("a")
    lines(monkeypatch, b"{}\n{}\n")
    assert litequeue("push", "jobs.db", "b", "-", "--after", str(first)) == 0
    assert [row.state for row in queue.find(name="b")] == [State.WAITING] * 2


def test_lines_that_come_after_nothing_that_there_is_push_nothing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch, b"{}\n{}\n")
    assert litequeue("push", "jobs.db", "b", "-", "--after", "99") == 1
    assert queue.find() == []


def test_unique_alone_is_by_name_and_fields(queue: Queue, capsys: Capture) -> None:
    first = pushed(capsys, "a", '{"n": 1}', "--unique")
    assert pushed(capsys, "a", '{"n": 1}', "--unique") == first
    assert pushed(capsys, "a", '{"n": 2}', "--unique") != first


def test_unique_with_a_key_is_by_that(queue: Queue, capsys: Capture) -> None:
    first = pushed(capsys, "a", '{"n": 1}', "--unique", "cart 7")
    assert pushed(capsys, "b", "--unique", "cart 7") == first
    assert queue.get(first).unique_key == "cart 7"


def test_lines_with_one_key_are_told_as_the_jobs_that_there_are(
    queue: Queue, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch, b'{"n": 1}\n{"n": 1}\n{"n": 2}\n')
    assert litequeue("push", "jobs.db", "a", "-", "--unique") == 0
    assert capsys.readouterr().out == "Pushed 2 jobs: ids 1 to 2\n"
    lines(monkeypatch, b'{"n": 1}\n{"n": 1}\n')
    litequeue("push", "jobs.db", "a", "-", "--unique", "--json")
    assert json.loads(capsys.readouterr().out) == {"ids": [1, 1]}


@pytest.mark.parametrize(
    ("words", "key", "limit"),
    [
        (["--without-overlapping"], "a", None),
        (["--without-overlapping", "printer"], "printer", None),
        (["--concurrency", "3"], "a", 3),
        (["--concurrency", "3", "--without-overlapping=printer"], "printer", 3),
    ],
)
def test_keys_at_run_time_reach_the_row(
    queue: Queue, capsys: Capture, words: list[str], key: str, limit: int | None
) -> None:
    row = queue.get(pushed(capsys, "a", "{}", *words))
    assert (row.overlap_key, row.overlap_limit) == (key, limit)


def test_a_key_by_a_callable_of_the_class_is_asked_of_the_job(
    application: Write, capsys: Capture
) -> None:
    application({"jobs.py": JOBS})
    first = pushed(capsys, "greet", '{"name": "Ada"}')
    assert pushed(capsys, "greet", '{"name": "Ada"}') == first
    with Queue("jobs.db") as queue:
        row = queue.get(first)
    assert (row.unique_key, row.overlap_key) == ("greet Ada", "greet")


def test_a_batch_and_an_event_are_pushed_as_any_job(application: Write, capsys: Capture) -> None:
    application({"jobs.py": JOBS})
    batch = pushed(capsys, "import")
    event = pushed(capsys, "order-paid", '{"order_id": 7}')
    with Queue("jobs.db") as queue:
        assert queue.batch(batch).name == "Import"
        assert json.loads(queue.get(event).payload) == {"order_id": 7}


def test_a_key_is_no_name_by_accident(queue: Queue, capsys: Capture) -> None:
    assert litequeue("push", "jobs.db", "--unique", "a") == 2
    assert "NAME" in complaint(capsys)
