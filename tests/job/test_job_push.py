"""Jobs on their way to the queue: what fails at push, and where dispatch() goes."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from test_job import SendMail, ping, resize
from worker_side import claimed

from litequeue import Job, Queue, bind, job
from litequeue.errors import NotBound, OptionError, PayloadError
from litequeue.jobs.context import Run

WORKER = 1 << 41


class Forward(Job):
    """Names a type that is defined only below."""

    prices: list[Price]

    def handle(self) -> object:
        return self.prices


@dataclasses.dataclass
class Price:
    amount: int


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue
    bind(None)


# Wrong fields


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "user_id"),
        ({"usr_id": 1}, "usr_id"),
        ({"user_id": 1, "templat": "x"}, "templat"),
        ({"user_id": 1, "limit": 5}, "limit"),
    ],
)
def test_a_missing_or_misspelt_field_fails_where_the_job_is_made(
    fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(TypeError, match=f"'{problem}'"):
        SendMail(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: SendMail("x"), "SendMail: field 'user_id' must be int, not str ('x')"),
        (lambda: SendMail(None), "SendMail: field 'user_id' must be int, not None"),
        (lambda: SendMail(1, b"x"), "SendMail: field 'template' must be str, not bytes (b'x')"),
        (lambda: SendMail(1, tags=[1]), "SendMail: field 'tags[0]' must be str, not int (1)"),
        (lambda: resize("a.png"), "resize: field 'path' must be Path, not str ('a.png')"),
    ],
)
def test_a_wrong_field_fails_at_push_and_nothing_is_stored(
    queue: Queue, made: Callable[[], Job], problem: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        queue.push(made())
    assert str(caught.value) == problem
    with pytest.raises(PayloadError):
        queue.push_many([ping(), made(), ping()])
    assert queue.counts() == {}


def test_a_field_that_was_changed_to_something_else_fails_at_push(queue: Queue) -> None:
    made = SendMail(1)
    made.tags.append(object())  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match=r"field 'tags\[0\]' must be str, not object"):
        queue.push(made)
    assert queue.counts() == {}


class Unstorable(Job):
    callback: Callable[[], None]

    def handle(self) -> None: ...


class Unresolved(Job):
    price: Pirce  # type: ignore[name-defined]  # noqa: F821

    def handle(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Unstorable, "Unstorable: field 'callback' has a type that no payload can hold"),
        (Unresolved, "Unresolved: field 'price' has an annotation that cannot be resolved"),
    ],
)
def test_an_annotation_that_no_payload_can_hold_fails_at_push(
    queue: Queue, cls: Callable[[object], Job], problem: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        queue.push(cls(len))
    assert str(caught.value).startswith(problem)
    assert queue.counts() == {}


def test_an_annotation_may_name_what_is_defined_later(queue: Queue) -> None:
    row = queue.get(queue.push(Forward([Price(5)])))
    assert Forward.__litequeue__.codec.decode(row.payload) == Forward([Price(5)])


MODULE = """
from decimal import Decimal
from litequeue import Job, job

class Pay(Job):
    amount: Decimal
    to: "Account | None" = None
    def handle(self): ...

@job
def refund(amount: Decimal, to: "Account | None" = None): ...

class Account(str): pass
from dataclasses import dataclass

@dataclass
class Account:
    iban: str
"""


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize("name", ["Pay", "refund"])
def test_annotations_are_read_as_types_and_as_text(
    application: Callable[[Mapping[str, str]], Path],
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    name: str,
) -> None:
    monkeypatch.syspath_prepend(application({"pay_jobs.py": first + MODULE}))
    module = importlib.import_module("pay_jobs")
    cls = getattr(module, name)
    text = cls(module.Decimal("1.50"), module.Account("DE1")).__litequeue_spec__().payload
    assert json.loads(text) == {"amount": "1.50", "to": {"iban": "DE1"}}
    assert cls.__litequeue__.codec.decode(text).to == module.Account("DE1")


# dispatch


def test_dispatch_pushes_to_the_bound_queue_with_its_options(queue: Queue) -> None:
    bind(queue)
    row = queue.get(SendMail(1).dispatch(priority=7, queue="low"))
    assert (row.name, row.queue, row.priority, row.max_attempts) == ("SendMail", "low", 7, 5)


def test_a_wrong_option_of_dispatch_is_refused_and_nothing_is_stored(queue: Queue) -> None:
    bind(queue)
    with pytest.raises(OptionError, match="there is no option 'retries'"):
        SendMail(1).dispatch(retries=3)  # type: ignore[call-arg]
    assert queue.counts() == {}


def running(queue: Queue) -> Run:
    """A run of a job of this queue."""
    queue.push(ping(), queue="outer")
    row = claimed(queue, WORKER, ["outer"])
    return Run(queue, row)


def test_dispatch_inside_a_run_pushes_to_the_queue_of_the_run(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "/nowhere/at/all.db")
    with running(queue):
        id = SendMail(1).dispatch()
    assert queue.get(id).name == "SendMail"


def test_dispatch_inside_a_run_is_part_of_its_transaction(queue: Queue) -> None:
    # The bound queue is another object for the same file, and could not see into it.
    bind(Queue(queue.path))
    run = running(queue)
    with run, pytest.raises(ZeroDivisionError), run.transaction():
        SendMail(SendMail(1).dispatch() // 0)
    assert "emails" not in queue.counts()


def test_a_bound_queue_on_another_file_is_chosen_even_inside_a_run(
    queue: Queue, tmp_path: Path
) -> None:
    with Queue(tmp_path / "other.db") as other:
        bind(other)
        with running(queue):
            id = SendMail(1).dispatch()
        assert other.get(id).name == "SendMail"
        assert "emails" not in queue.counts()


def test_dispatch_falls_back_to_the_file_that_the_environment_names(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", queue.path)
    assert queue.get(SendMail(5).dispatch()).name == "SendMail"


def test_a_bound_queue_wins_over_the_environment(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITEQUEUE_DB", "/nowhere/at/all.db")
    bind(queue)
    assert queue.get(ping().dispatch()).name == "ping"


@pytest.mark.parametrize("environment", [None, ""])
def test_dispatch_that_knows_no_queue_says_what_to_do(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, environment: str | None
) -> None:
    bind(queue)
    bind(None)
    monkeypatch.delenv("LITEQUEUE_DB", raising=False)
    if environment is not None:
        monkeypatch.setenv("LITEQUEUE_DB", environment)
    with pytest.raises(NotBound) as caught:
        SendMail(1).dispatch()
    assert str(caught.value) == (
        "dispatch() does not know which queue to push to. Call litequeue.bind(queue) when "
        "the application starts, or set LITEQUEUE_DB to the path of the database, or use "
        "queue.push(job)."
    )


def test_limits_come_from_the_class_the_decorator_and_the_push(queue: Queue) -> None:
    class Call(Job, rate_limit="1/hour", expires="30m"):
        def handle(self) -> None: ...

    @job(rate_limit="2/hour", rate_key="calls")
    def call() -> None: ...

    ids = [
        queue.push(Call()),
        queue.push(Call(), rate_limit="3/hour", rate_key="k"),
        queue.push(Call(), rate_key=False),
        queue.push(call()),
        queue.push("call", rate_limit="4/hour"),
        *queue.push_many([Call(), Call()], expires="1h"),
        *queue.chain(call(), Call()),
    ]
    with queue.batch(then=Call(), rate_limit="5/hour") as batch:
        batch.push(Call(), rate_key="in a batch")
    assert batch.id is not None
    rows = [queue.get(id) for id in (*ids, batch.id, *batch.ids)]
    assert [(row.rate_key, row.options["rate_limit"]) for row in rows] == [
        ("call", "1/hour"),
        ("k", "3/hour"),
        (None, "1/hour"),
        ("calls", "2/hour"),
        ("call", "4/hour"),
        ("call", "1/hour"),
        ("call", "1/hour"),
        ("calls", "2/hour"),
        ("call", "1/hour"),
        ("call", "5/hour"),
        ("in a batch", "1/hour"),
    ]
    minutes = [
        row.deadline_at and (row.deadline_at - row.created_at).total_seconds() / 60 for row in rows
    ]
    assert minutes == [30, 30, 30, None, None, 60, 60, None, 30, 30, 30]
