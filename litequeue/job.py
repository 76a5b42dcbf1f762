"""What a user writes: a job as a class, or as a function."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import string
import types
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar, ParamSpec, TypeVar, overload

from litequeue.context import running
from litequeue.errors import JobError, NotBound
from litequeue.options import Options, checked, merged
from litequeue.payload import Codec
from litequeue.queue import Queue
from litequeue.record import Spec

if TYPE_CHECKING:
    from typing_extensions import Unpack, dataclass_transform
else:

    def dataclass_transform():
        """typing.dataclass_transform came with Python 3.11, and only checkers read it."""
        return lambda cls: cls


P = ParamSpec("P")
T = TypeVar("T")

_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, "-_")
_bound: list[Queue] = []


def key(name: str) -> str:
    """What the spellings of a name have in common: SendMail, send_mail, send-mail."""
    return name.translate(_FOLD)


def bind(queue: Queue | None) -> None:
    """Let ``dispatch`` push to ``queue`` in this process; None takes that back."""
    _bound[:] = [] if queue is None else [queue]


class Definition:
    """What a job class says of itself beside its fields."""

    def __init__(self, cls: type[Job], name: str, aliases: Sequence[str], options: Options) -> None:
        self.cls = cls
        self.name = name
        self.aliases = tuple(aliases)
        self.options = options

    @property
    def place(self) -> str:
        """Where the class is written, as messages name it."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the job answers to, in any spelling."""
        return (self.name, self.cls.__name__, *self.aliases)

    @property
    def keys(self) -> set[str]:
        """The same, folded."""
        return {key(name) for name in self.names}

    def spelling(self, folded: str) -> str:
        """The name of this job that folds to ``folded``."""
        return next(name for name in self.names if key(name) == folded)

    @cached_property
    def codec(self) -> Codec:
        """How the fields become JSON and come back; made when first needed, since an
        annotation may name what is defined later."""
        return Codec(self.cls, self.name)


@dataclass_transform()
class Job:
    """A job: annotated fields are its payload, ``handle`` does the work, options are
    class keywords.

        class SendWelcomeEmail(Job, queue="emails", max_attempts=5):
            user_id: int

            def handle(self) -> None: ...

    A subclass is made a dataclass. ``name`` replaces the class name as what the job is
    stored under, ``aliases`` are older names whose rows it runs too. The options are
    those of options.Options; a subclass of a job starts from its options. Raises
    OptionError and JobError when the class is made.
    """

    __litequeue__: ClassVar[Definition]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        **options: Unpack[Options],
    ) -> None:
        super().__init_subclass__()
        place = f"{cls.__module__}.{cls.__qualname__}"
        _check_names(place, name, aliases)
        _check_fields(place, cls)
        try:
            dataclasses.dataclass(cls)
        except (TypeError, ValueError) as error:
            raise JobError(job=place, problem=str(error)) from error
        inherited = getattr(cls, "__litequeue__", None)
        own = checked(options, place)
        every = merged(inherited.options, own) if inherited else own
        cls.__litequeue__ = Definition(cls, name or cls.__name__, aliases, every)

    def handle(self) -> object:
        """Do the work; what it returns is the result. May be ``async def``."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle()")

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
        return _target().push(self, **options)

    def __litequeue_spec__(self) -> Spec:
        made = type(self).__litequeue__
        return Spec(made.name, made.codec.encode(self), made.options)


@overload
def job(function: Callable[P, object], /) -> Callable[P, Job]: ...
@overload
def job(
    *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[Options]
) -> Callable[[Callable[P, object]], Callable[P, Job]]: ...
def job(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    **options: Unpack[Options],
) -> object:
    """Make a job of a function: its parameters are the payload, and calling it gives a
    job to push instead of doing the work.

        @job(queue="images")
        def resize(path: str, width: int = 800) -> None: ...

        queue.push(resize("a.png"))

    Takes what the keywords of a Job class take. Raises JobError for a parameter without
    an annotation, ``*args`` and ``**kwargs``.
    """

    def made(function: Callable[..., object]) -> type[Job]:
        if not inspect.isfunction(function):
            raise JobError(job=repr(function), problem="@job goes on a function")
        return _from_function(function, name, aliases, options)

    return made if function is None else made(function)


def _from_function(
    function: Callable[..., object], name: str | None, aliases: Sequence[str], options: Options
) -> type[Job]:
    place = f"{function.__module__}.{function.__qualname__}"
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
        "__annotations__": {each.name: _annotation(place, each) for each in parameters},
        "handle": handle_async if inspect.iscoroutinefunction(function) else handle,
    }
    body.update((each.name, _default(each)) for each in parameters if _has_default(each))
    keywords = {"name": name, "aliases": aliases, **options}
    return types.new_class(function.__name__, (Job,), keywords, lambda space: space.update(body))


def _annotation(place: str, parameter: inspect.Parameter) -> object:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise JobError(job=place, problem=f"name each parameter instead of {parameter}")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise JobError(job=place, problem=f"parameter {parameter.name} is positional-only")
    if parameter.annotation is parameter.empty:
        raise JobError(job=place, problem=f"parameter {parameter.name} has no annotation")
    return parameter.annotation


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty


def _default(parameter: inspect.Parameter) -> object:
    value = parameter.default
    if isinstance(value, list | dict | set):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(value))
    return value


def _check_names(place: str, name: object, aliases: object) -> None:
    if not isinstance(aliases, list | tuple | set | frozenset):
        raise JobError(job=place, problem=f"aliases is a list: aliases=[{aliases!r}]")
    for each in (*aliases, *([] if name is None else [name])):
        if not isinstance(each, str) or not key(each).strip():
            raise JobError(job=place, problem=f"a name is text that is not empty, not {each!r}")


def _check_fields(place: str, cls: type) -> None:
    for name in inspect.get_annotations(cls):
        if name != "__litequeue__" and hasattr(Job, name):
            raise JobError(job=place, problem=f"every job has a method {name}, so it is no field")


def _target() -> Queue:
    run, bound = running(), _bound[0] if _bound else None
    # A queue of its own on the run's file could not see into the run's transaction.
    if run is not None and (bound is None or bound.path == run.pushes_to.path):
        return run.pushes_to
    if bound is not None:
        return bound
    path = os.environ.get("LITEQUEUE_DB")
    if not path:
        raise NotBound
    return _opened(path)


@lru_cache(maxsize=8)
def _opened(path: str) -> Queue:
    return Queue(path)
