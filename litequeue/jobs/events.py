"""Functions that listen for an event: each runs as a job of its own, so that the failure
of one runs only that one again."""

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
    """Run a function for each event of this name, with those of the payload's fields that
    it takes as arguments.

        @on("order-paid")
        def send_receipt(order_id: int) -> None: ...

        queue.push("order-paid", {"order_id": 7})

    All listeners of an event run, in the order in which they are defined, each as a job of
    its own called "order-paid/send_receipt", with these options. Raises JobError.
    """
    if not isinstance(event, str) or not key(event).strip():
        raise JobError(job="@on", problem=f"an event is a name, not {event!r}")

    checked(options, f"@on({event!r})")

    def made(function: Callable[P, object]) -> Callable[P, Job]:
        if not inspect.isfunction(function):
            raise JobError(job=f"@on({event!r})", problem="it goes on a function")
        name = f"{event}/{function.__name__}"
        subscriber = from_function(function, {"name": name, **options})
        subscriber.__litequeue__ = Subscriber(subscriber, event, subscriber.__litequeue__)
        return subscriber

    return made


class Subscriber(Definition):
    """What a listener says of itself: as any job, and the event that it waits for."""

    listens = True

    def __init__(self, cls: type[Job], event: str, made: Definition) -> None:
        super().__init__(cls, made.name, made.aliases, made.options, made.schedule)
        self.event = event

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name only: a job may have the function's."""
        return (self.name, *self.aliases)


class Event(Job):
    """The job that an event is stored as; it pushes one for each listener."""

    def handle(self) -> None:
        """Push the listeners' jobs and end, in one transaction."""
        made = type(self).__litequeue__
        assert isinstance(made, FanOut)
        run, pushes = current(), made.pushes(made.fields(self))
        with run.transaction():
            for subscriber, fields, options in pushes:
                run.push(subscriber.__litequeue__.name, fields, **options)


class FanOut(Definition):
    """The definition of an event: its listeners, and fields of any kind."""

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
        """The locations of the listeners."""
        return f"the event of {', '.join(each.__litequeue__.location for each in self.subscribers)}"

    def fields(self, job: Job) -> Mapping[str, object]:
        """The payload of the event."""
        found: Mapping[str, object] = vars(job)["payload"]
        return found

    def pushes(self, fields: Mapping[str, object]) -> list[Push]:
        """The jobs to push: each listener with the fields that it takes. A field that no listener
        takes goes to all of them, so that a misspelt field fails instead of being ignored."""
        takes = [_fields(subscriber) for subscriber in self.subscribers]
        nobodys = set(fields).difference(*takes)
        found: list[Push] = []
        for subscriber, names in zip(self.subscribers, takes, strict=True):
            own = {name: fields[name] for name in fields if name in names | nobodys}
            found.append((subscriber, own, _options(subscriber, own)))
        return found

    @property
    def codec(self) -> _AnyFields:  # type: ignore[override]
        """Takes any object: each listener checks what it needs."""
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
            raise PayloadError(job=self._made.name, problem="the payload is no JSON object")
        event = self._made.cls()
        vars(event)["payload"] = payload
        return event


def _fields(subscriber: type[Job]) -> set[str]:
    # Job's subclasses are dataclasses; a type checker takes its word for it here.
    assert dataclasses.is_dataclass(subscriber)
    return {field.name for field in dataclasses.fields(subscriber)}


def _options(subscriber: type[Job], fields: Mapping[str, object]) -> Options:
    """The options of a listener for one event. A key by a callable needs the job; where
    that cannot be made, the listener's own run will say why."""
    made = subscriber.__litequeue__
    keys: Options = {}
    for word in ("unique", "without_overlapping"):
        said = made.options.get(word)
        if callable(said):
            try:
                given = said(made.codec.decode(json.dumps(fields)))
                keys = merged(keys, checked({word: given}, made.name))
            except Exception:
                # For a worker, which has it; a jobs module is a producer's too.
                from litequeue.log import logger

                logger.exception("%s has no key for its option %s", made.name, word)
                keys = merged(keys, checked({word: False}, made.name))
    return merged(made.options, keys)


def fan_outs(classes: Sequence[type[Job]]) -> list[type[Job]]:
    """A job for each event that some of these classes listen for; the listeners in the
    order in which they are given."""
    events: dict[str, FanOut] = {}
    for cls in classes:
        made = cls.__litequeue__
        if isinstance(made, Subscriber):
            event = events.setdefault(key(made.event), FanOut(made.event, cls.__module__))
            if cls not in event.subscribers:
                event.subscribers.append(cls)
    return [event.cls for event in events.values()]
