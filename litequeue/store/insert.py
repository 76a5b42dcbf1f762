"""Storing new jobs: one, many, or with dependencies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from litequeue.engine.database import Connection, Database
from litequeue.errors import OptionError, PayloadError
from litequeue.options import Options, Terms, checked, merged, terms_of
from litequeue.payloads.codec import encode_plain
from litequeue.records import NOBODY, NOT_WAITING, PLAN, Spec, State, key
from litequeue.store.lookup import Lookups
from litequeue.times.parse import due, due_at

if TYPE_CHECKING:
    from litequeue.store.batches import Batches
    from litequeue.store.dependencies import Dependencies, Parent

# A longer key is stored as its hash: keys are indexed, and one made of a payload can be long.
LONGEST_KEY = 200
# A larger payload is stored, with a warning.
LARGE_BYTES = 64 * 1024
# The parameter names of the payloads in a statement that inserts many rows.
PAYLOADS = [f"payload_{place}" for place in range(64)]
REMEDY = "store the data in a file, and push its path"

NO_OPTIONS = Options()
NO_TERMS = terms_of(NO_OPTIONS)
READY, SCHEDULED = State.READY.code, State.SCHEDULED.code


class Pushable(Protocol):
    """What push accepts: a job, or another object that can give its spec."""

    def __litequeue_spec__(self) -> Spec: ...


Pushed = Pushable | tuple[str, Mapping[str, object]]
Values = dict[str, object]


class RowGroup(NamedTuple):
    """Consecutive new rows that differ only in their payloads."""

    values: Values
    payloads: list[str]
    plain: bool = False


def _many(insert: str) -> dict[int, str]:
    """Return statements that insert 64, 8 and 1 rows, by their number of rows.

    In a statement of 64 rows, a row costs a fifth of what it costs alone. A statement of 256
    rows is no cheaper for each row, and takes 3 ms to prepare."""
    into, row = insert.split(" values ")
    rows = [row.replace(":payload", f":{name}") for name in PAYLOADS]
    return {count: f"{into} values {', '.join(rows[:count])}" for count in (64, 8, 1)}


class Inserts:
    """Stores new jobs in one database."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        lookups: Lookups,
        notify: Callable[[str], None],
        dependencies: Callable[[], Dependencies],
        batches: Callable[[], Batches],
        max_payload: int | None = None,
    ) -> None:
        """``dependencies`` and ``batches`` are called only by pushes that need them: most
        producers load neither."""
        self._database = database
        self._clock = clock
        self._lookups = lookups
        self._notify = notify
        self._dependencies = dependencies
        self._batches = batches
        self._max_payload = max_payload
        # A payload of this many characters, at most four bytes each, needs no further check.
        self._unchecked_length = min(max_payload or LARGE_BYTES, LARGE_BYTES) // 4
        self._warned: set[str] = set()
        self.declared: dict[str, Options] = {}
        """The options of the classes that were pushed here, by name."""

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None,
        after: Sequence[int | Pushable],
        connection: Connection | None,
        options: Options,
    ) -> int:
        """Store a job, as Queue.push says, and return its id."""
        if after != ():
            _check_after(after)
        given = checked(options, "push") if options else NO_OPTIONS
        spec = self._spec(job, payload)
        terms = _terms(spec, given)
        if connection is None and not after and not spec.step and terms.plain:
            return self._push_plain(spec, terms)
        values = _values(job, spec, terms, self._clock())
        with self._on(connection):
            return self.insert({**values, "payload": spec.payload}, after)

    INTO = """
    insert into litequeue_jobs (
      name, queue, priority, state, attempts, max_attempts, worker,
      available_at, reserved_at, created_at, options, payload
    )"""
    # Null columns are left out, or made null here: sqlite3 takes six times as long to bind None
    # as a number or a text. Parameters are positional: looking up names takes as long again.
    PUSH_PLAIN = f"""{INTO} values (
      ?, ?, ?, {READY}, 0, nullif(?, 0), {NOBODY},
      ?, ?, ?, nullif(?, ''), ?
    )"""

    def _push_plain(self, spec: Spec, terms: Terms) -> int:
        """Store a job that is ready at once and linked to no other job, as most are."""
        now = self._now()
        id = self._database.insert(
            self.PUSH_PLAIN,
            (spec.name, terms.queue, terms.priority, terms.max_attempts or 0,
             now, now, now, terms.stored or "", spec.payload),
        )  # fmt: skip
        self._notify(terms.queue)
        return id

    def push_many(
        self, jobs: Iterable[Pushed], connection: Connection | None, options: Options
    ) -> list[int]:
        """Store many jobs, as Queue.push_many says, and return their ids in order."""
        if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable):
            # Iterating over a mapping would lose its values, and over a string yield characters.
            from litequeue.mistakes import no_jobs

            raise no_jobs(jobs)
        many = self.rows(zip(jobs, repeat(checked(options, "push_many"))))
        with self._on(connection):
            return self.insert_many(many)

    def chain(
        self, jobs: Sequence[Pushable], connection: Connection | None, options: Options
    ) -> list[int]:
        """Store a chain of jobs, as Queue.chain says, and return their ids in order."""
        given = checked(options, "chain")
        many = [self.row(job, given, "chain") for job in jobs]
        ids: list[int] = []
        with self._on(connection), self._database.transaction():
            for values in many:
                ids.append(self.insert(values, ids[-1:]))
        return ids

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _on(self, connection: Connection | None) -> AbstractContextManager[None]:
        return nullcontext() if connection is None else self._database.joined(connection)

    PUSH = f"""
    insert into litequeue_jobs (
      name, queue, priority, state, attempts, max_attempts, worker,
      available_at, reserved_at, created_at,
      batch, step, unique_key, overlap_key, overlap_limit, deadline_at, rate_key, rate_since,
      options, payload
    ) values (
      :name, :queue, :priority, :state, 0, :max_attempts, {NOBODY},
      :available_at, :now, :now,
      :batch, :step, :unique_key, :overlap_key, :overlap_limit, :deadline_at, :rate_key,
      :rate_since, :options, :payload
    )"""

    def insert(self, values: Values, after: Sequence[int | Pushable] = ()) -> int:
        """Store the row with these columns, and return its id; or the id of the unfinished job
        with the same unique key, if there is one."""
        if after or values["step"] or values["unique_key"]:
            with self._database.transaction():
                id = self._insert_linked(values, after)
        else:
            id = self._database.insert(self.PUSH, values)
        self._notify(str(values["queue"]))
        return id

    def insert_many(self, many: list[RowGroup]) -> list[int]:
        """Store rows in one transaction, and return their ids in order."""
        if not many:
            return []
        with self._database.transaction():
            if any(each.values["step"] or each.values["unique_key"] for each in many):
                return [
                    self.insert({**each.values, "payload": payload})
                    for each in many
                    for payload in each.payloads
                ]
            ids = [id for each in many for id in self._insert(each)]
        for queue in {str(each.values["queue"]) for each in many}:
            self._notify(queue)
        return ids

    PLAIN = f"""{INTO} values (
      :name, :queue, :priority, {READY}, 0, :max_attempts, {NOBODY},
      :now, :now, :now, :options, :payload
    )"""
    MANY_PLAIN: ClassVar = _many(PLAIN)
    MANY: ClassVar = _many(PUSH)

    def _insert(self, group: RowGroup) -> range:
        """Insert rows in order, and return their ids."""
        values, payloads, plain = group
        start = last = 0
        for count, insert in (self.MANY_PLAIN if plain else self.MANY).items():
            while start + count <= len(payloads):
                chunk = payloads[start : start + count]
                named = dict(zip(PAYLOADS[:count], chunk, strict=True))
                last = self._database.insert(insert, values | named)
                start += count
        return range(last - start + 1, last + 1)

    def _insert_linked(self, values: Values, after: Sequence[int | Pushable]) -> int:
        """Store a job that is unique, depends on others, or plans a batch."""
        # An insert that the unique index rejects would use up an id, so check first.
        key = values["unique_key"]
        conflicting = None if key is None else self._lookups.conflicting(str(key))
        if conflicting is not None:
            return conflicting
        parents = [self._parent(parent) for parent in after]
        if not all(parent.satisfied for parent in parents):
            values = {**values, "state": State.WAITING.code}
        id = self._database.insert(self.PUSH, values)
        if parents:
            self._dependencies().add(id, parents, self._now())
        if values["step"] == PLAN:
            self._batches().open(id, str(values["name"]), self._now())
        return id

    def _parent(self, parent: int | Pushable) -> Parent:
        if not isinstance(parent, int):
            parent = self.insert(self.row(parent, NO_OPTIONS))
        return self._dependencies().parent(parent)

    def rows(self, jobs: Iterable[tuple[Pushed, Options]]) -> list[RowGroup]:
        """The rows of jobs that are pushed at the same time. Consecutive jobs of one class or name
        share a group, if only their payloads differ."""
        now, rows, last, before = self._clock(), list[RowGroup](), None, NO_OPTIONS
        name, payloads = "", list[str]()
        encode: Callable[[Any], str] = _fields
        for each, given in jobs:
            kind = each[0] if isinstance(each, tuple) else type(each)
            if kind == last and given is before:
                text = encode(each)
                if len(text) > self._unchecked_length:
                    self._check_size(name, text)
                payloads.append(text)
            else:
                job, payload = _pair(each) if isinstance(each, tuple) else (each, None)
                spec = self._spec(job, payload, "push_many")
                terms = _terms(spec, given)
                plain = terms.plain and not spec.step
                name, encode, payloads = spec.name, spec.encode or encode, [spec.payload]
                rows.append(RowGroup(_values(job, spec, terms, now), payloads, plain))
                last, before = kind if spec.encode and terms.alike else None, given
        return rows

    def row(self, job: Pushable, given: Options, verb: str = "push") -> Values:
        """The columns of a job's row; ``verb`` is named in the error if it is not a job."""
        spec = self._spec(job, None, verb)
        values = _values(job, spec, _terms(spec, given), self._clock())
        return {**values, "payload": spec.payload}

    def _spec(
        self, job: Pushable | str, payload: Mapping[str, object] | None, verb: str = "push"
    ) -> Spec:
        if isinstance(job, str):
            spec = _named(job, payload)
        elif payload is None:
            try:
                spec = job.__litequeue_spec__()
            except (AttributeError, TypeError):
                from litequeue.mistakes import is_job, no_job

                if is_job(job):
                    raise
                raise no_job(verb, job) from None
            self.declared[spec.name] = spec.options
        else:
            raise OptionError(
                owner="push",
                problem="a job has its own fields; push it alone",
            )
        if len(spec.payload) > self._unchecked_length:
            self._check_size(spec.name, spec.payload)
        return spec

    def _check_size(self, name: str, payload: str) -> None:
        """Check the size of a payload: raise PayloadError if it exceeds the queue's limit,
        and log a warning for a large one, once for each name."""
        size = len(payload.encode("utf-8", "surrogatepass"))
        if self._max_payload is not None and size > self._max_payload:
            raise PayloadError(
                job=name,
                problem=f"the payload has {size} bytes, and this queue takes at most "
                f"{self._max_payload}: {REMEDY}",
            )
        if size > LARGE_BYTES and name not in self._warned:
            self._warned.add(name)
            from litequeue.log import logger  # most producers log nothing

            logger.warning("%s: a payload of %d KiB is large: %s", name, size // 1024, REMEDY)


def _check_after(after: object) -> None:
    fits = isinstance(after, list | tuple) and all(
        (isinstance(parent, int) and not isinstance(parent, bool))
        or (hasattr(parent, "__litequeue_spec__") and not isinstance(parent, type))
        for parent in after
    )
    if not fits:
        raise OptionError(
            owner="push", problem=f"after must be a list of ids and jobs, not {after!r}"
        )


def _named(name: str, payload: Mapping[str, object] | None) -> Spec:
    if not name.strip():
        raise OptionError(owner="push", problem="the name of the job is empty")
    if payload is not None and hasattr(payload, "__litequeue_spec__"):
        problem = "a job has its name and its fields: push it alone"
        raise OptionError(owner="push", problem=problem)
    text = _fields((name, payload))
    return Spec(name, text, NO_OPTIONS, None, NO_TERMS, _fields)


def _fields(pair: tuple[str, Mapping[str, object] | None]) -> str:
    name, payload = _pair(pair)
    return encode_plain({} if payload is None else payload, name)


def _pair(pair: tuple[Any, ...]) -> tuple[Any, Any]:
    try:
        first, second = pair
    except ValueError:
        from litequeue.mistakes import no_pair

        raise no_pair(pair) from None
    return first, second


def _terms(spec: Spec, given: Options) -> Terms:
    if spec.terms and not given:
        return spec.terms
    return terms_of(merged(spec.options, given))


def _values(job: Pushable | str, spec: Spec, terms: Terms, now: float) -> Values:
    """The columns of a row, except its payload."""
    at = (due_at if terms.at else due)(terms.when, now) if terms.delayed else now
    return {
        "name": spec.name,
        "queue": terms.queue,
        "priority": terms.priority,
        "state": SCHEDULED if at > now else READY,
        "max_attempts": terms.max_attempts,
        "available_at": int(at * 1000),
        "now": int(now * 1000),
        "batch": None,
        "step": spec.step,
        "unique_key": _key_of(terms.unique, job, spec, payload=True) if terms.unique else None,
        "overlap_key": _key_of(terms.overlap, job, spec) if terms.overlap else None,
        "overlap_limit": terms.limit,
        "deadline_at": None if terms.expires is None else int(due(terms.expires, now) * 1000),
        "rate_key": _key_of(terms.rate, job, spec) if terms.rate else None,
        "rate_since": NOT_WAITING if terms.rate else None,
        "options": terms.stored,
    }


def _key_of(
    option: bool | str | Callable[..., str],
    job: Pushable | str,
    spec: Spec,
    *,
    payload: bool = False,
) -> str:
    """The key that an option sets; raises OptionError for a callable that does not return
    text, or that is used with a job's name instead of a job."""
    if callable(option):
        found = _called(option, job, spec)
    else:
        found = option if isinstance(option, str) else _own_key(spec, payload)
    if len(found) <= LONGEST_KEY:
        return found
    import hashlib  # 4 MB of memory, needed only for a long key

    return found[:50] + hashlib.sha256(found.encode("utf-8", "surrogatepass")).hexdigest()


def _called(option: Callable[..., str], job: Pushable | str, spec: Spec) -> str:
    if isinstance(job, str):
        raise OptionError(
            owner=job,
            problem="a callable needs the job itself to compute a key, not its name",
        )
    try:
        found: object = option(job)
    except Exception as error:
        raise OptionError(owner=spec.name, problem=f"its key raises {error!r}") from error
    if not isinstance(found, str) or not found:
        raise OptionError(owner=spec.name, problem=f"a key must be text, not {found!r}")
    return found


def _own_key(spec: Spec, payload: bool) -> str:
    """The default key of a job: its folded name, and with ``payload`` also its sorted
    fields."""
    name = key(spec.name)
    return f"{name} {json.dumps(json.loads(spec.payload), sort_keys=True)}" if payload else name
