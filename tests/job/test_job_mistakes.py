"""Mistakes in the class of a job, which used to be ignored: each is refused where it is made,
with what to write instead."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from litequeue import Batch, Job, Queue, Worker, job, on
from litequeue.errors import JobError, OptionError


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue


def define(body: dict[str, Any], *bases: type) -> type[Job]:
    """The job class Greet with this body."""
    annotations = body.pop("annotations", {})
    return type("Greet", bases or (Job,), {"__annotations__": annotations, **body})


# The method that does the work


@pytest.mark.parametrize("typo", ["hanlde", "handel", "hande", "Handle", "handl"])
def test_a_misspelt_handle_is_refused_where_the_class_is_defined(typo: str) -> None:
    with pytest.raises(JobError, match=rf"it has {typo}\(\), and no handle\(\); did you mean"):
        define({typo: lambda self: None})


def test_a_misspelt_plan_is_refused_likewise() -> None:
    with pytest.raises(JobError, match=r"it has paln\(\), and no plan\(\); did you mean plan\?"):
        define({"paln": lambda self, cursor: ([], None)}, Batch)


@pytest.mark.parametrize("name", ["handler", "do_handle", "handled", "helper", "_handle"])
def test_a_base_class_may_have_methods_of_other_names(name: str) -> None:
    base = define({name: lambda self: 7})
    assert not base.is_whole()
    assert define({"handle": lambda self: 7}, base).is_whole()


def test_a_base_class_without_handle_is_refused_when_it_is_pushed(queue: Queue) -> None:
    Base = define({})
    with pytest.raises(JobError, match=r"Greet cannot be a job: it has no handle\(\).*write one"):
        queue.push(Base())
    with pytest.raises(JobError, match="it has no handle"):
        queue.push_many([Base()])
    assert queue.counts() == {}


@pytest.mark.parametrize("name", ["run", "perform", "execute", "process", "__call__"])
def test_the_name_of_another_library_is_told_to_be_handle(queue: Queue, name: str) -> None:
    Base = define({name: lambda self: None})
    with pytest.raises(JobError) as caught:
        queue.push(Base())
    assert f"rename {name}() to handle()" in str(caught.value)


def test_an_abstract_class_is_a_base_and_no_job() -> None:
    class Report(Job, abc.ABC):
        @abc.abstractmethod
        def handle(self) -> None: ...

    class Monthly(Report):
        def handle(self) -> None: ...

    assert not Report.is_whole()
    assert Monthly.is_whole()


def required(self: object, name: str) -> None: ...
def no_self() -> None: ...
def keyword(self: object, *, name: str) -> None: ...


@pytest.mark.parametrize("handle", [required, no_self, keyword])
def test_a_handle_that_takes_arguments_is_refused(handle: Callable[..., None]) -> None:
    with pytest.raises(JobError, match=r"write def handle\(self\); put what the work needs"):
        define({"handle": handle})


def yielding(self: object) -> Iterator[int]:
    yield 1


async def yielding_async(self: object) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("handle", [yielding, yielding_async])
def test_a_handle_with_a_yield_is_refused(handle: Callable[..., object]) -> None:
    with pytest.raises(JobError, match=r"handle\(\) contains yield"):
        define({"handle": handle})
    with pytest.raises(JobError, match=r"handle\(\) contains yield"):
        define({}, type("Mixin", (), {"handle": handle}), Job)


def test_a_function_with_a_yield_is_no_job() -> None:
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    async def later(count: int) -> AsyncIterator[int]:
        yield count

    for function in (numbers, later):
        with pytest.raises(JobError, match="contains yield"):
            job(function)
        with pytest.raises(JobError, match="contains yield"):
            on("counted")(function)


@pytest.mark.parametrize("handle", [property(lambda self: 1), 7, None, "text"])
def test_a_handle_that_is_no_method_is_refused(handle: object) -> None:
    with pytest.raises(JobError, match=r"handle is not a method; write def handle\(self\)"):
        define({"handle": handle})


def test_every_method_that_can_be_called_is_taken(queue: Queue) -> None:
    done = []

    def injected(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def wrapper(self: object) -> object:
            return function(self, "database")

        return wrapper

    async def coroutine(self: object) -> None:
        done.append("coroutine")

    handles = {
        "Static": staticmethod(lambda: done.append("static")),
        "Class": classmethod(lambda cls: done.append("class")),
        "Defaults": lambda self, *rest, **more: done.append("defaults"),
        "Injected": injected(lambda self, given: done.append(given)),
        "Coroutine": coroutine,
    }
    classes = [type(name, (Job,), {"handle": handle}) for name, handle in handles.items()]
    for each in classes:
        queue.push(each())
    with Worker(queue, classes).in_background():
        for id in range(1, len(classes) + 1):
            queue.wait(id, timeout=30)
    assert sorted(done) == ["class", "coroutine", "database", "defaults", "static"]


def test_a_generator_that_a_decorator_hides_fails_the_job(queue: Queue) -> None:
    hidden = functools.wraps(yielding)(lambda self: yielding(self))
    Greet = type("Greet", (Job,), {"handle": hidden})
    id = queue.push(Greet(), max_attempts=1)
    with Worker(queue, [Greet]).in_background():
        row = queue.wait(id, timeout=30)
    assert row is not None
    assert "none of its code has run" in str(row.exception)


async def told_async(self: object, what: object) -> None: ...


@pytest.mark.parametrize("name", ["succeeded", "failed"])
def test_what_is_called_after_the_work_is_checked_too(name: str) -> None:
    handle: Callable[..., None] = lambda self: None  # noqa: E731
    with pytest.raises(JobError, match=rf"write def {name}\(self, "):
        define({"handle": handle, name: lambda self: None})
    with pytest.raises(JobError, match=rf"{name}\(\) is not awaited"):
        define({"handle": handle, name: told_async})
    define({"handle": handle, name: lambda self, what: None})


def test_the_methods_of_a_batch_are_checked_too() -> None:
    with pytest.raises(JobError, match=r"write def plan\(self, cursor\)"):
        define({"plan": lambda self: ([], None)}, Batch)
    with pytest.raises(JobError, match=r"write def finished\(self, counts\)"):
        define({"plan": lambda self, cursor: ([], None), "finished": lambda self: None}, Batch)
    define({"handle": lambda self: None, "plan": lambda self: 7, "finished": True})


# Options in the body


@pytest.mark.parametrize(
    ("word", "value", "written"),
    [
        ("queue", "low", "queue='low'"),
        ("priority", 5, "priority=5"),
        ("max_attempts", 1, "max_attempts=1"),
        ("timeout", 30, "timeout=30"),
        ("backoff", [1, 2], "backoff=[1, 2]"),
        ("unique", True, "unique=True"),
        ("unique", lambda self: "key", "unique=..."),
        ("backoff", lambda self, attempt: 1, "backoff=..."),
        ("keep", None, "keep=None"),
        ("name", "send-mail", "name='send-mail'"),
        ("aliases", ["send"], "aliases=['send']"),
        ("cron", "0 2 * * *", "cron='0 2 * * *'"),
        ("every", "15m", "every='15m'"),
        ("tz", "UTC", "tz='UTC'"),
    ],
)
def test_an_option_in_the_body_is_refused_with_the_keyword(
    word: str, value: object, written: str
) -> None:
    with pytest.raises(OptionError) as caught:
        define({word: value, "handle": lambda self: None})
    told = str(caught.value)
    assert f"{word} in the body of Greet has no effect" in told
    assert told.endswith(f"write class Greet(Job, {written})")


def test_a_class_variable_and_a_mixin_are_no_better() -> None:
    with pytest.raises(OptionError, match="queue in the body of Greet has no effect"):

        class Greet(Job):
            queue: ClassVar[str] = "low"

            def handle(self) -> None: ...

    with pytest.raises(OptionError, match="queue in the body of Low has no effect"):
        define({}, type("Low", (), {"queue": "low"}), Job)


def test_what_is_no_option_may_have_the_name_of_one(queue: Queue) -> None:
    @dataclasses.dataclass
    class Mixin:
        timeout: int = 7

    class Greet(Mixin, Job, unique=lambda job: job.unique()):
        queue: str = "low"

        @property
        def name(self) -> str:
            return "Ada"

        def delay(self) -> int:
            return 5

        def unique(self) -> str:
            return self.name

        def handle(self) -> None: ...

    assert Greet(queue="high") == Greet(7, "high")
    assert queue.get(queue.push(Greet(queue="high"))).queue == "default"
