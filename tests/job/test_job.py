"""Jobs as they are declared. The annotations of this file are strings; see the import below."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from dataclasses import field
from datetime import date
from pathlib import Path
from typing import ClassVar

import pytest

from litequeue import Job, job
from litequeue.errors import JobError, OptionError
from litequeue.options import Options
from litequeue.records import Spec, key

HERE = f"{__name__}."


class SendMail(Job, queue="emails", max_attempts=5, backoff=[10, 30, 60], timeout=30):
    user_id: int
    template: str = "welcome"
    tags: list[str] = field(default_factory=list)
    limit: ClassVar[int] = 100

    def handle(self) -> str:
        return f"{self.template} to {self.user_id}"


@job(queue="images", keep=60)
def resize(path: Path, width: int = 800, *, day: date | None = None) -> tuple[Path, int]:
    """Make an image smaller."""
    return path, width


@job
def ping() -> str:
    return "pong"


@job
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    return f"got {url}"


class FetchAll(Job):
    urls: list[str]

    async def handle(self) -> int:
        return len(self.urls)


def payload(made: Job) -> object:
    return json.loads(made.__litequeue_spec__().payload)


def options(cls: object) -> Options:
    assert isinstance(cls, type)
    assert issubclass(cls, Job)
    return cls.__litequeue__.options


# The class


def test_a_job_class_is_a_dataclass_of_its_annotated_fields() -> None:
    made = SendMail(1, tags=["new"])
    assert dataclasses.is_dataclass(SendMail)
    assert (made.user_id, made.template, made.tags) == (1, "welcome", ["new"])
    assert made == SendMail(user_id=1, template="welcome", tags=["new"])
    assert made != SendMail(2)
    assert repr(made) == "SendMail(user_id=1, template='welcome', tags=['new'])"


def test_a_class_variable_is_no_field() -> None:
    assert payload(SendMail(1)) == {"user_id": 1, "template": "welcome", "tags": []}


def test_a_job_can_be_handled_in_place() -> None:
    assert SendMail(7).handle() == "welcome to 7"


def test_a_job_says_what_is_to_be_stored() -> None:
    spec = SendMail(7).__litequeue_spec__()
    assert spec[:4] == Spec("SendMail", spec.payload, options(SendMail))[:4]
    assert json.loads(spec.payload) == {"user_id": 7, "template": "welcome", "tags": []}


def test_the_class_keywords_are_its_options() -> None:
    assert options(SendMail) == {
        "queue": "emails",
        "max_attempts": 5,
        "backoff": [10, 30, 60],
        "timeout": 30,
    }
    assert options(ping) == {}


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"retries": 3}, "there is no option 'retries'; there are queue, "),
        ({"max_attempts": 0}, "max_attempts must be a whole number of at least 1, not 0"),
        ({"delay": 1, "at": "noon"}, "give delay or at, not both"),
    ],
)
def test_a_wrong_option_is_refused_where_the_class_is_made(
    keywords: dict[str, object], problem: str
) -> None:
    with pytest.raises(OptionError) as caught:

        class Wrong(Job, **keywords):  # type: ignore[call-arg, arg-type]
            def handle(self) -> None: ...

    assert str(caught.value).startswith(
        f"{HERE}test_a_wrong_option_is_refused_where_the_class_is_made.<locals>.Wrong: {problem}"
    )


def test_a_wrong_option_is_refused_where_the_function_is_decorated() -> None:
    def function() -> None: ...

    with pytest.raises(OptionError, match=r"\.function: there is no option 'retries'"):
        job(retries=3)(function)  # type: ignore[call-overload]


def test_a_subclass_starts_from_the_options_and_fields_of_its_base() -> None:
    class Urgent(SendMail, queue="urgent", priority=9):
        reason: str = ""

    assert options(Urgent) == {**options(SendMail), "queue": "urgent", "priority": 9}
    assert options(SendMail)["queue"] == "emails"
    assert payload(Urgent(1)) == {"user_id": 1, "template": "welcome", "tags": [], "reason": ""}
    assert Urgent(2).handle() == "welcome to 2"


def test_a_subclass_has_neither_the_name_nor_the_aliases_of_its_base() -> None:
    class Base(Job, name="base-job", aliases=["older"]):
        def handle(self) -> None: ...

    class Child(Base):
        pass

    assert Base.__litequeue__.keys == {"base", "basejob", "older"}
    assert Child.__litequeue__.keys == {"child"}


def test_a_base_in_the_middle_may_give_options_alone() -> None:
    class Nightly(Job, queue="nightly", keep=60): ...

    class Report(Nightly, keep=0):
        def handle(self) -> None: ...

    assert options(Report) == {"queue": "nightly", "keep": 0}


def test_a_job_without_handle_says_so_when_it_is_run() -> None:
    class Bare(Job):
        pass

    with pytest.raises(NotImplementedError, match=r"Bare has no handle\(\)$"):
        Bare().handle()


# Names


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("SendMail", "sendmail"),
        ("send_mail", "sendmail"),
        ("send-mail", "sendmail"),
        ("SEND-MAIL", "sendmail"),
        ("_x", "x"),
        ("app.jobs.SendMail", "app.jobs.sendmail"),
        ("Ärger", "Ärger"),  # as SQLite's lower() does
    ],
)
def test_a_name_has_one_key_in_all_its_spellings(name: str, folded: str) -> None:
    assert key(name) == folded


def test_a_job_is_stored_under_its_class_or_function_name() -> None:
    assert SendMail(1).__litequeue_spec__().name == "SendMail"
    assert ping().__litequeue_spec__().name == "ping"


def test_a_given_name_replaces_it_and_all_names_are_answered_to() -> None:
    class Welcome(Job, name="send-welcome", aliases=["OldMail", "older_mail"]):
        def handle(self) -> None: ...

    assert Welcome().__litequeue_spec__().name == "send-welcome"
    assert Welcome.__litequeue__.keys == {"sendwelcome", "welcome", "oldmail", "oldermail"}


def test_the_place_of_a_job_is_where_it_is_written() -> None:
    assert SendMail.__litequeue__.location == f"{HERE}SendMail"
    assert resize.__litequeue__.location == f"{HERE}resize"  # type: ignore[attr-defined]


def test_aliases_given_as_one_text_are_refused() -> None:
    with pytest.raises(
        JobError, match=r"Wrong cannot be a job: aliases must be a list: .*\['Old'\]"
    ):

        class Wrong(Job, aliases="Old"):
            def handle(self) -> None: ...


@pytest.mark.parametrize(
    "keywords",
    [{"name": 5}, {"name": ""}, {"name": " "}, {"aliases": [5]}, {"aliases": [""]}],
    ids=repr,
)
def test_a_name_that_is_no_name_is_refused_where_the_class_is_made(
    keywords: dict[str, object],
) -> None:
    with pytest.raises((JobError, OptionError), match="Wrong"):

        class Wrong(Job, **keywords):  # type: ignore[call-arg, arg-type]
            def handle(self) -> None: ...


# The decorator


def test_a_decorated_function_is_a_job_class_that_takes_its_arguments() -> None:
    made = resize(Path("a.png"), day=date(2030, 1, 2))
    assert isinstance(made, Job)
    assert made.handle() == (Path("a.png"), 800)
    assert payload(made) == {"path": "a.png", "width": 800, "day": "2030-01-02"}
    assert options(resize) == {"queue": "images", "keep": 60}


def test_a_decorator_without_parentheses_does_the_same() -> None:
    assert ping().handle() == "pong"
    assert payload(ping()) == {}


def test_a_decorated_function_keeps_its_name_module_and_words() -> None:
    assert resize.__name__ == "resize"
    assert resize.__module__ == __name__
    assert resize.__doc__ == "Make an image smaller."


def test_the_decorator_takes_a_name_and_aliases() -> None:
    @job(name="shrink", aliases=["make-smaller"])
    def smaller(path: str) -> None: ...

    made = smaller("a")
    assert made.__litequeue_spec__().name == "shrink"
    assert type(made).__litequeue__.keys == {"shrink", "smaller", "makesmaller"}


def test_what_a_job_is_not_made_of_is_refused() -> None:
    with pytest.raises(JobError, match="cannot be a job"):
        job("emails")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("made", "result"),
    [(lambda: fetch("a"), "got a"), (lambda: FetchAll(["a", "b"]), 2)],
    ids=["function", "class"],
)
def test_an_async_job_is_awaited_where_it_is_handled(
    made: Callable[[], Job], result: object
) -> None:
    async def handled() -> object:
        return await made().handle()  # type: ignore[misc]

    assert asyncio.run(handled()) == result


def unannotated(user_id, template="x"): ...  # type: ignore[no-untyped-def]
def many(*paths: str) -> None: ...
def any_words(**words: str) -> None: ...
def by_place(path: str, /) -> None: ...
def reserved(path: str, handle: str) -> None: ...
def reserved_dispatch(dispatch: bool = True) -> None: ...
def reserved_inside(__litequeue_spec__: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (unannotated, "parameter user_id has no annotation"),
        (many, "name each parameter instead of *paths: "),
        (any_words, "name each parameter instead of **words: "),
        (by_place, "parameter path is positional-only"),
        (reserved, "handle is a method of every job"),
        (reserved_dispatch, "dispatch is a method of every job"),
        (reserved_inside, "__litequeue_spec__ is a method of every job"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_function_whose_parameters_are_no_fields_is_refused_by_its_place(
    function: Callable[..., object], problem: str
) -> None:
    with pytest.raises(JobError) as caught:
        job(function)
    place = f"{HERE}{function.__name__} cannot be a job: "
    assert str(caught.value).startswith(place + problem)


@pytest.mark.parametrize("name", ["handle", "dispatch", "succeeded", "failed"])
@pytest.mark.parametrize("default", [False, True])
def test_a_field_with_the_name_of_a_method_is_refused_by_its_place(
    name: str, default: bool
) -> None:
    # dataclass() would take the method for the default, and dispatch() would be lost.
    body = {"__module__": __name__, "__qualname__": "Wrong", "__annotations__": {name: str}}
    if default:
        body[name] = "x"
    with pytest.raises(JobError, match=f"^{HERE}Wrong cannot be a job: .*{name}"):
        type(Job)("Wrong", (Job,), body)


def test_fields_that_no_dataclass_can_have_are_refused_by_their_place() -> None:
    with pytest.raises(JobError, match=r"Wrong cannot be a job: .*'b' follows"):

        class Wrong(Job):
            a: int = 1
            b: str

            def handle(self) -> None: ...


# Defaults


def test_a_mutable_default_is_not_shared_between_jobs() -> None:
    @job
    def collect(tags: list[str] = [], table: dict[str, int] = {}, seen: set[int] = set()):  # type: ignore[no-untyped-def]  # noqa: B006
        tags.append("x")
        table["x"] = 1
        seen.add(1)

    collect().handle()
    assert payload(collect()) == {"tags": [], "table": {}, "seen": []}


def test_a_default_inside_a_default_is_not_shared_either() -> None:
    @job
    def collect(table: dict[str, list[int]] = {"x": []}):  # type: ignore[no-untyped-def]  # noqa: B006
        table["x"].append(1)

    collect().handle()
    assert payload(collect()) == {"table": {"x": []}}


def test_a_mutable_default_of_a_class_is_refused_with_the_remedy() -> None:
    with pytest.raises(JobError, match=r"Wrong cannot be a job: .*use default_factory"):

        class Wrong(Job):
            tags: list[str] = []  # noqa: RUF012

            def handle(self) -> None: ...
