"""The errors for arguments of the wrong type, each with what to write instead. Imported only
when one is raised."""

from __future__ import annotations

import os
from types import FunctionType

from litequeue.errors import WrongArgument
from litequeue.messages import show

FIRST_WORDS = {"push": "queue.push(", "batch(then=)": "then=", "batch.push": "batch.push("}


def is_job(value: object) -> bool:
    """Whether push accepts a value as a job."""
    return hasattr(value, "__litequeue_spec__") and not isinstance(value, type)


def no_job(verb: str, value: object) -> WrongArgument:
    """The error for a value that is not a job, and was passed to ``verb``."""
    first = FIRST_WORDS.get(verb, "")
    last = ")" if first.endswith("(") else ""
    if hasattr(value, "__litequeue_spec__"):
        remedy = f"write {first}{_name(value)}(...){last}"
    elif isinstance(value, FunctionType) and value.__name__ != "<lambda>":
        remedy = f"put @job above it, and write {first}{_name(value)}(...){last}"
    elif verb == "push" and isinstance(value, tuple) and isinstance((*value, None)[0], str):
        remedy = f"write queue.push({show(value[0])}, {{...}})"
    elif isinstance(value, list | set | tuple) and any(map(is_job, value)):
        remedy = f"write queue.{'chain(*jobs)' if verb == 'chain' else 'push_many([...])'}"
    else:
        remedy = f"make one, as in {first}SendMail(...){last}"
    return _wrong(verb, "a job" if verb == "push" else "jobs", value, remedy)


def no_pair(value: object) -> WrongArgument:
    """The error for a tuple that is not a pair of a name and its fields."""
    wanted = "jobs, and pairs of a name and its fields"
    return _wrong("push_many", wanted, value, 'write ("send-mail", {"to": 7})')


def no_jobs(value: object) -> WrongArgument:
    """The error for a value that is not a list of jobs."""
    one = is_job(value)
    remedy = "write queue.push(job)" if one else "write queue.push_many([SendMail(...), ...])"
    return _wrong("push_many", "a list of jobs", value, remedy)


def no_queue(owner: str, value: object) -> WrongArgument:
    """The error for a value that is not a Queue, and was passed to ``owner``."""
    rest = ", ..." if owner == "Worker" else ""
    path = show(os.fspath(value)) if isinstance(value, str | os.PathLike) else '"jobs.db"'
    return _wrong(owner, "a Queue first", value, f"write {owner}(Queue({path}){rest})")


def no_path(value: object) -> WrongArgument:
    """The error for a value that is not the path of a database."""
    queue = hasattr(value, "push_many")
    remedy = "use it as it is, or its path" if queue else 'write Queue("jobs.db")'
    return _wrong("Queue", "the path of a file", value, remedy)


def no_classes(value: object) -> WrongArgument:
    """The error for a value that contains no job classes for a worker."""
    name = "SendMail, ..."
    if hasattr(value, "__litequeue_spec__"):
        name = _name(value)
    wanted = "a list of job classes, a module, or the name of a package"
    return _wrong("Worker", wanted, value, f"write Worker(queue, [{name}])")


def no_class(value: object) -> WrongArgument:
    """The error for a value in a list of job classes that is not one."""
    if is_job(value):
        remedy = f"write Worker(queue, [{_name(value)}]), and push the job"
    elif isinstance(value, FunctionType):
        remedy = f"put @job above {value.__name__}"
    elif isinstance(value, str):
        remedy = f"write Worker(queue, {show(value)}), if it is a package"
    else:
        remedy = "one is a subclass of Job, or a function under @job"
    return _wrong("Worker", "job classes", value, remedy)


def no_id(value: object) -> WrongArgument:
    """The error for a value that is not the id of a job."""
    remedy, own = "write what push returned", getattr(value, "id", None)
    if isinstance(value, str) and value.strip().isdecimal():
        remedy = f"write {show(value.strip())[1:-1]}"
    elif isinstance(own, int):
        remedy = f"write its id, {own}"
    elif isinstance(value, list | tuple | set):
        remedy = "write *ids, where several are taken"
    return _wrong("an id", "a number", value, remedy, takes="is")


def _wrong(
    owner: str, wanted: str, value: object, remedy: str, *, takes: str = "takes"
) -> WrongArgument:
    given = _described(value)
    return WrongArgument(owner=owner, takes=takes, wanted=wanted, given=given, remedy=remedy)


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, FunctionType):
        named = value.__name__ != "<lambda>"
        return f"the function {value.__name__}" if named else "a lambda"
    return "None" if value is None else f"{type(value).__name__} ({show(value)})"


def _name(value: object) -> str:
    """The name of a class or a function, or of the class of another value."""
    return str(getattr(value, "__name__", type(value).__name__))
