"""Jobs as users write them: a class, or a function with ``@job``."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple, ParamSpec, TypeVar, overload

from litequeue.errors import JobError, NotBound, OptionError
from litequeue.jobs.context import running
from litequeue.messages import nearest, show
from litequeue.options import WORDS, Options, Terms, checked, merged, terms_of
from litequeue.payloads.codec import Codec
from litequeue.queue import Queue
from litequeue.records import Spec, key

if TYPE_CHECKING:
    from typing_extensions import Unpack, dataclass_transform

    from litequeue.times.schedule import Schedule
else:

    def dataclass_transform():
        """typing.dataclass_transform came with Python 3.11, and only checkers read it."""
        return lambda cls: cls


P = ParamSpec("P")
T = TypeVar("T")

_bound: list[Queue] = []

# The keywords of the class statement.
CLASS_WORDS = ("name", "aliases", "cron", "every", "tz", *WORDS)
# The options that may be a callable, and so look like a method where they stand in the body.
CALLABLES = ("backoff", "unique", "without_overlapping", "rate_key")
# What other libraries call the method that does the work.
OTHER_NAMES = ("run", "perform", "execute", "process", "call", "__call__", "work", "main")


def bind(queue: Queue | None) -> None:
    """Let ``dispatch`` push to ``queue`` in this process; None undoes it."""
    if queue is not None and not isinstance(queue, Queue):
        from litequeue.mistakes import no_queue

        raise no_queue("bind", queue)
    _bound[:] = [] if queue is None else [queue]


class Called(NamedTuple):
    """How a worker calls a method of a job: the arguments, and whether it may be async."""

    arguments: tuple[str, ...] = ()
    awaited: bool = False


class Definition:
    """The name, options and schedule of a job class."""

    # Whether the job is a subscriber of an event.
    subscribes = False

    def __init__(
        self,
        cls: type[Job],
        name: str,
        aliases: Sequence[str],
        options: Options,
        schedule: Schedule | None,
    ) -> None:
        self.cls = cls
        self.name = name
        self.aliases = tuple(aliases)
        self.options = options
        self.schedule = schedule

    @property
    def location(self) -> str:
        """Where the class is written, as messages name it."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names whose rows the job runs, in any spelling."""
        return (self.name, self.cls.__name__, *self.aliases)

    @property
    def keys(self) -> set[str]:
        """The names in the folded form in which they are compared."""
        return {key(name) for name in self.names}

    def spelling(self, folded: str) -> str:
        """Return the name of this job whose folded form is ``folded``."""
        return next(name for name in self.names if key(name) == folded)

    @cached_property
    def codec(self) -> Codec:
        """The codec of the fields; made when first needed, since an annotation may name a
        class that is defined later. Raises PayloadError, and JobError for a base class."""
        if not self.cls.is_whole():
            raise JobError(job=self.location, problem=self.cls.what_is_missing())
        return Codec(self.cls, self.name)

    @cached_property
    def terms(self) -> Terms:
        """The resolved options of every push that gives none of its own."""
        return terms_of(self.options)


@dataclass_transform()
class Job:
    """A job: annotated fields are its payload, ``handle`` does the work, options are
    class keywords.

        class SendWelcomeEmail(Job, queue="emails", max_attempts=5):
            user_id: int

            def handle(self) -> None: ...

    A subclass is made a dataclass. ``name`` replaces the class name as what the job is
    stored under, ``aliases`` are older names whose rows it runs too. ``cron`` (five fields
    of crontab(5)) or ``every`` (seconds, timedelta, or text like "15m") makes it periodic,
    in the time zone ``tz`` or in local time. The options are
    those of options.Options; a subclass of a job starts from its options. Raises
    OptionError and JobError when the class is made.
    """

    __litequeue__: ClassVar[Definition]
    # The first step of its row; a batch starts by planning.
    __litequeue_step__: ClassVar[str | None] = None
    # The methods that a worker calls.
    __litequeue_calls__: ClassVar[Mapping[str, Called]] = {
        "handle": Called(awaited=True),
        "succeeded": Called(("result",)),
        "failed": Called(("error",)),
    }
    # The method that a subclass must have.
    __litequeue_work__: ClassVar[str] = "handle"

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        cron: str | None = None,
        every: str | float | timedelta | None = None,
        tz: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init_subclass__()
        location = f"{cls.__module__}.{cls.__qualname__}"
        _check_names(location, name, aliases)
        _check_fields(location, cls)
        try:
            dataclasses.dataclass(cls)
        except (TypeError, ValueError) as error:
            raise JobError(job=location, problem=str(error)) from error
        _check_methods(location, cls)
        _check_body(location, cls, options)
        inherited = getattr(cls, "__litequeue__", None)
        own = checked(options, location)
        whole = merged(inherited.options, own) if inherited else own
        schedule = _schedule(cls, cron, every, tz)
        cls.__litequeue__ = Definition(cls, name or cls.__name__, aliases, whole, schedule)

    def handle(self) -> object:
        """Do the work; the return value is the result. May be ``async def``."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle()")

    @classmethod
    def is_whole(cls) -> bool:
        """Return whether this is a job that can run, not a base class for jobs."""
        work = cls.__litequeue_work__
        base = next(each for each in cls.__mro__ if "__litequeue_work__" in vars(each))
        return getattr(cls, work) is not getattr(base, work) and not inspect.isabstract(cls)

    @classmethod
    def what_is_missing(cls) -> str:
        """Return the reason why this is only a base class, and the remedy, for a message."""
        work = cls.__litequeue_work__
        methods = [name for name in dir(cls) if not hasattr(Job, name) or name == "__call__"]
        meant = next((name for name in OTHER_NAMES if name in methods), nearest(work, methods))
        missing = f"it has no {work}(), which does the work"
        return f"{missing}; rename {meant}() to {work}()" if meant else f"{missing}; write one"

    def succeeded(self, result: object) -> None:
        """Called after the job has succeeded, in the worker; best effort."""

    def failed(self, error: BaseException) -> None:
        """Called once, after the last attempt has failed, in the worker; best effort."""

    def dispatch(self, **options: Unpack[Options]) -> int:
        """Push this job and return its id.

        It goes to the queue that the application has bound with bind(); inside a run, to
        the queue that the worker serves; else to the file that LITEQUEUE_DB names.
        Raises NotBound, and what Queue.push raises.
        """
        return _queue_for_dispatch().push(self, **options)

    def __litequeue_spec__(self) -> Spec:
        cls = type(self)
        made, encode = cls.__litequeue__, cls.__litequeue__.codec.encode
        step = cls.__litequeue_step__
        return Spec(made.name, encode(self), made.options, step, made.terms, encode)


@overload
def job(function: Callable[P, object], /) -> Callable[P, Job]: ...
@overload
def job(
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    cron: str | None = None,
    every: str | float | timedelta | None = None,
    tz: str | None = None,
    **options: Unpack[Options],
) -> Callable[[Callable[P, object]], Callable[P, Job]]: ...
def job(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    cron: str | None = None,
    every: str | float | timedelta | None = None,
    tz: str | None = None,
    **options: Unpack[Options],
) -> object:
    """Make a job of a function: its parameters are the payload, and a call returns a job to push
    instead of doing the work.

        @job(queue="images")
        def resize(path: str, width: int = 800) -> None: ...

        queue.push(resize("a.png"))

    Takes what the keywords of a Job class take. Raises JobError for a parameter without
    an annotation, ``*args`` and ``**kwargs``.
    """

    def made(function: Callable[..., object]) -> type[Job]:
        if not inspect.isfunction(function):
            raise JobError(job=repr(function), problem="@job decorates a function")
        periodic = {"cron": cron, "every": every, "tz": tz}
        return from_function(function, {"name": name, "aliases": aliases, **periodic, **options})

    return made if function is None else made(function)


def from_function(function: Callable[..., object], keywords: dict[str, object]) -> type[Job]:
    """Make a job class of a function, with the keywords of a class."""
    location = f"{function.__module__}.{function.__qualname__}"
    if _is_generator(function):
        raise JobError(job=location, problem=f"{function.__name__}() {NEVER_RUN}")
    parameters = inspect.signature(function).parameters.values()

    def payload(job: Job) -> dict[str, object]:
        return {each.name: getattr(job, each.name) for each in parameters}

    def handle(self: Job) -> object:
        return function(**payload(self))

    async def handle_async(self: Job) -> object:
        return await function(**payload(self))  # type: ignore[misc]

    body: dict[str, object] = {
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "__annotations__": {each.name: _annotation(location, each) for each in parameters},
        "handle": handle_async if inspect.iscoroutinefunction(function) else handle,
    }
    body.update((each.name, _default(each)) for each in parameters if _has_default(each))
    return types.new_class(function.__name__, (Job,), keywords, lambda space: space.update(body))


def _annotation(location: str, parameter: inspect.Parameter) -> object:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise JobError(job=location, problem=f"name each parameter instead of {parameter}")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise JobError(job=location, problem=f"parameter {parameter.name} is positional-only")
    if parameter.annotation is parameter.empty:
        raise JobError(job=location, problem=f"parameter {parameter.name} has no annotation")
    return parameter.annotation


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty


def _default(parameter: inspect.Parameter) -> object:
    value = parameter.default
    if isinstance(value, list | dict | set):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(value))
    return value


def _schedule(
    cls: type, cron: str | None, every: str | float | timedelta | None, tz: str | None
) -> Schedule | None:
    if cron is None and every is None and tz is None:
        return None
    from litequeue.times.schedule import schedule_of  # most jobs and producers do not need it

    for each in dataclasses.fields(cls):
        if each.init and each.default is each.default_factory is dataclasses.MISSING:
            problem = f"a periodic job takes no arguments: field {each.name} needs a default"
            raise JobError(job=f"{cls.__module__}.{cls.__qualname__}", problem=problem)
    return schedule_of(cron, every, tz)


def _check_names(location: str, name: object, aliases: object) -> None:
    if not isinstance(aliases, list | tuple | set | frozenset):
        raise JobError(job=location, problem=f"aliases must be a list: aliases=[{aliases!r}]")
    for each in (*aliases, *([] if name is None else [name])):
        if not isinstance(each, str) or not key(each).strip():
            raise JobError(
                job=location, problem=f"a name must be text that is not empty, not {each!r}"
            )


def _check_fields(location: str, cls: type) -> None:
    for name in inspect.get_annotations(cls):
        if name not in Job.__annotations__ and hasattr(Job, name):
            raise JobError(
                job=location, problem=f"{name} is a method of every job, and cannot be a field"
            )


NEVER_RUN = "contains yield, so a call would not run it; return a value instead"


def _is_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _check_methods(location: str, cls: type[Job]) -> None:
    """Raise JobError for a method that a worker could not call, or that a call would not run."""
    for name, called in cls.__litequeue_calls__.items():
        problem = _method_problem(name, inspect.getattr_static(cls, name), called)
        if problem:
            raise JobError(job=location, problem=problem)
    work = cls.__litequeue_work__
    if not cls.is_whole():
        for name, value in vars(cls).items():
            if inspect.isfunction(value) and _misspelt(name, work):
                problem = f"it has {name}(), and no {work}(); did you mean {work}?"
                raise JobError(job=location, problem=problem)


def _method_problem(name: str, method: object, called: Called) -> str | None:
    """Return why a worker cannot call this method, or None if it may be able to."""
    static = isinstance(method, staticmethod)
    function = method.__func__ if isinstance(method, staticmethod | classmethod) else method
    arguments = called.arguments if static else ("self", *called.arguments)
    written = f"def {name}({', '.join(arguments)})"
    if not inspect.isfunction(function):
        # The type of another object may define how it is called.
        unusable = isinstance(method, property) or not (
            callable(method) or hasattr(method, "__get__")
        )
        return f"{name} is not a method; write {written}" if unusable else None
    if _is_generator(function):
        return f"{name}() {NEVER_RUN}"
    if not called.awaited and inspect.iscoroutinefunction(function):
        return f"{name}() is not awaited; write {written}, without async"
    # A decorator may pass more arguments to its function than it takes itself.
    signature = inspect.signature(function, follow_wrapped=False)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        fields = "; put what the work needs into fields of the job" if name == "handle" else ""
        return f"{name}{signature} would fail ({error}); write {written}{fields}"
    return None


def _misspelt(name: str, word: str) -> bool:
    """Return whether a name is a misspelling of this word; handler and do_handle are not."""
    if abs(len(name) - len(word)) > 1 or name.startswith(word) or name.endswith(word):
        return False
    if sorted(name) == sorted(word):
        return True
    from difflib import SequenceMatcher  # only for a base class, which few modules have

    return SequenceMatcher(None, name.casefold(), word).ratio() >= 0.8


def _check_body(location: str, cls: type[Job], options: Mapping[str, object]) -> None:
    """Raise OptionError for an option in the body of the class, where it has no effect.
    With an annotation it is a field."""
    for base in (each for each in cls.__mro__ if each is cls or not issubclass(each, Job)):
        for word, value in _options_in_body(cls, base):
            if not inspect.isfunction(value):
                shown = show(value)
            elif word in CALLABLES and word not in options:
                shown = "..."
            else:
                continue
            raise OptionError(
                owner=location,
                problem=f"{word} in the body of {base.__name__} has no effect; write "
                f"class {cls.__name__}({cls.__bases__[-1].__name__}, {word}={shown})",
            )


def _options_in_body(cls: type[Job], base: type) -> Iterator[tuple[str, object]]:
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for word in CLASS_WORDS:
        value = vars(base).get(word)
        # A property, or another descriptor, is not meant as an option.
        own = hasattr(type(value), "__get__") and not inspect.isfunction(value)
        if word in vars(base) and word not in fields and not own:
            yield word, value


def _queue_for_dispatch() -> Queue:
    run, bound = running(), _bound[0] if _bound else None
    # Another Queue on the same file is outside the run's transaction.
    if run is not None and (bound is None or bound.path == run.pushes_to.path):
        return run.pushes_to
    if bound is not None:
        return bound
    path = os.environ.get("LITEQUEUE_DB")
    if not path:
        raise NotBound
    return _queue_at(path)


@lru_cache(maxsize=8)
def _queue_at(path: str) -> Queue:
    return Queue(path)
