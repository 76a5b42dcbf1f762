"""The subscribers of an event: each runs as a job of its own, so that a failure retries
only that one."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec

from litequeue.errors import JobError, PayloadError
from litequeue.jobs.context import current
from litequeue.jobs.job import Definition, Job, from_function
from litequeue.options import Options, checked, merged
from litequeue.payloads.codec import encode_plain
from litequeue.records import key

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
Push = tuple[type[Job], dict[str, object], Options]


def on(
    event: str, /, **options: Unpack[Options]
) -> Callable[[Callable[P, object]], Callable[P, Job]]:
    """Subscribe a function to the events of this name; its arguments are the fields of the
    payload that it has parameters for.

        @on("order-paid")
        def send_receipt(order_id: int) -> None: ...

        queue.push("order-paid", {"order_id": 7})

    All subscribers of an event run, in the order in which they are defined, each as a job of
    its own called "order-paid/send_receipt", with these options. Raises JobError and
    OptionError.
    """
    if not isinstance(event, str) or not key(event).strip():
        raise JobError(job="@on", problem=f"an event is a name, not {event!r}")

    checked(options, f"@on({event!r})")

    def made(function: Callable[P, object]) -> Callable[P, Job]:
        if not inspect.isfunction(function):
            raise JobError(job=f"@on({event!r})", problem="it decorates a function")
        name = f"{event}/{function.__name__}"
        subscriber = from_function(function, {"name": name, **options})
        subscriber.__litequeue__ = Subscriber(subscriber, event, subscriber.__litequeue__)
        return subscriber

    return made


class Subscriber(Definition):
    """The definition of a subscriber: that of a job, and its event."""

    subscribes = True

    def __init__(self, cls: type[Job], event: str, made: Definition) -> None:
        super().__init__(cls, made.name, made.aliases, made.options, made.schedule)
        self.event = event

    @property
    def names(self) -> tuple[str, ...]:
        """Its names, without the function's, which another job may have."""
        return (self.name, *self.aliases)


class Event(Job):
    """The job that an event is stored as; it pushes a job for each subscriber."""

    def handle(self) -> None:
        """Push the subscribers' jobs and complete this one, in one transaction."""
        made = type(self).__litequeue__
        assert isinstance(made, FanOut)
        run, pushes = current(), made.pushes(made.fields(self))
        with run.transaction():
            for subscriber, fields, options in pushes:
                run.push(subscriber.__litequeue__.name, fields, **options)


class FanOut(Definition):
    """The definition of an event: its subscribers, and a payload with any fields."""

    def __init__(self, event: str, module: str) -> None:
        cls: type[Job] = type("Event", (Event,), {"__module__": module})
        super().__init__(cls, event, (), {}, None)
        self.subscribers: list[type[Job]] = []
        cls.__litequeue__ = self

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the event."""
        return (self.name,)

    @property
    def location(self) -> str:
        """The locations of the subscribers."""
        return f"the event of {', '.join(each.__litequeue__.location for each in self.subscribers)}"

    def fields(self, job: Job) -> Mapping[str, object]:
        """The payload of the event."""
        found: Mapping[str, object] = vars(job)["payload"]
        return found

    def pushes(self, fields: Mapping[str, object]) -> list[Push]:
        """The jobs to push, one for each subscriber, with the fields that it takes.

        A field that no subscriber takes goes to all of them, so that a misspelt field fails
        instead of being ignored.
        """
        takes = [_field_names(subscriber) for subscriber in self.subscribers]
        untaken = set(fields).difference(*takes)
        found: list[Push] = []
        for subscriber, names in zip(self.subscribers, takes, strict=True):
            own = {name: fields[name] for name in fields if name in names | untaken}
            found.append((subscriber, own, _options_for(subscriber, own)))
        return found

    @property
    def codec(self) -> _AnyFields:  # type: ignore[override]
        """A codec for any JSON object: each subscriber checks the fields that it needs."""
        return _AnyFields(self)


class _AnyFields:
    def __init__(self, made: FanOut) -> None:
        self._made = made

    def encode(self, job: Job) -> str:
        return encode_plain(self._made.fields(job), self._made.name)

    def decode(self, text: object) -> Job:
        try:
            payload = json.loads(text) if isinstance(text, str) else None
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            raise PayloadError(job=self._made.name, problem="the payload is not a JSON object")
        event = self._made.cls()
        vars(event)["payload"] = payload
        return event


def _field_names(subscriber: type[Job]) -> set[str]:
    # Every subclass of Job is a dataclass, which a type checker cannot know.
    assert dataclasses.is_dataclass(subscriber)
    return {field.name for field in dataclasses.fields(subscriber)}


def _options_for(subscriber: type[Job], fields: Mapping[str, object]) -> Options:
    """Return the options of a subscriber for one event.

    A callable key is called with the subscriber's job. Where that job cannot be made, it is
    pushed without the key, and its own run reports the error.
    """
    made = subscriber.__litequeue__
    keys: Options = {}
    for word in ("unique", "without_overlapping", "rate_key"):
        option = made.options.get(word)
        if callable(option):
            try:
                value = option(made.codec.decode(json.dumps(fields)))
                keys = merged(keys, checked({word: value}, made.name))
            except Exception:
                # Imported here: a producer loads this module too, and needs no logger.
                from litequeue.log import logger

                logger.exception("%s: the callable of its option %s gave no key", made.name, word)
                keys = merged(keys, checked({word: False}, made.name))
    return merged(made.options, keys)


def fan_outs(classes: Sequence[type[Job]]) -> list[type[Job]]:
    """Return a job for each event that these classes subscribe to; its subscribers are in the
    order of ``classes``."""
    events: dict[str, FanOut] = {}
    for cls in classes:
        made = cls.__litequeue__
        if isinstance(made, Subscriber):
            event = events.setdefault(key(made.event), FanOut(made.event, cls.__module__))
            if cls not in event.subscribers:
                event.subscribers.append(cls)
    return [event.cls for event in events.values()]
