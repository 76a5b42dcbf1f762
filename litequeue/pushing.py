"""How jobs come in: one, many, after others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from litequeue.batches import PLAN
from litequeue.database import Connection, Database
from litequeue.errors import OptionError, PayloadError
from litequeue.flows import Parent
from litequeue.options import DEFAULTS, STORED, Options, checked, merged
from litequeue.payload import encode_plain
from litequeue.record import NOBODY, Spec, State, key
from litequeue.upkeep import Upkeep
from litequeue.when import due

if TYPE_CHECKING:
    from typing_extensions import Unpack

# A longer key is stored as its hash: it stands in an index, and payloads can be long.
LONGEST_KEY = 200
# A larger payload is taken, and remarked on.
LARGE_BYTES = 64 * 1024
WAY_OUT = "store the file, and push its path"


class Pushable(Protocol):
    """What push takes: a job, or whatever else can say what is to be stored."""

    def __litequeue_spec__(self) -> Spec: ...


Pushed = Pushable | tuple[str, Mapping[str, object]]
Values = dict[str, object]


class Pushing(Upkeep):
    """The verbs that store jobs."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        max_payload: int | None = None,
    ) -> None:
        super().__init__(database, clock)
        self._max_payload = max_payload
        self._large: set[str] = set()

    PUSH = f"""
    insert into litequeue_jobs (
      name, queue, priority, state, attempts, max_attempts, worker,
      available_at, reserved_at, created_at,
      batch, step, unique_key, overlap_key, overlap_limit, options, payload
    ) values (
      :name, :queue, :priority, :state, 0, :max_attempts, {NOBODY},
      :available_at, :now, :now,
      :batch, :step, :unique_key, :overlap_key, :overlap_limit, :options, :payload
    )"""

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        *,
        after: Sequence[int | Pushable] = (),
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> int:
        """Store a job, or a name with its payload, and return its id.

        When this returns, the job is on disk. It waits until the jobs ``after`` have
        succeeded, given by their ids, or as jobs that are pushed with it. With
        ``connection``, it is part of the transaction that the caller has open there:
        rolled back means never pushed. The options are those of options.Options, and
        win over the job's own. Raises PayloadError, OptionError, WhenError, NoSuchJob,
        WrongState and DatabaseError.
        """
        _check_after(after)
        values = self._values(job, payload, checked(options, "push"))
        with self._on(connection):
            return self._push(values, after)

    def push_many(
        self,
        jobs: Iterable[Pushed],
        *,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Store all the jobs in one transaction and return their ids in order.

        Takes jobs, and (name, payload) pairs; the options hold for each. Raises what
        push raises, and then none of them is pushed.
        """
        given = checked(options, "push_many")
        many = [self._values(*pair(job), given) for job in jobs]
        with self._on(connection):
            return self._push_many(many)

    def chain(
        self,
        *jobs: Pushable,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Push the jobs in one transaction, each to run after the one before has
        succeeded, and return their ids in order."""
        given = checked(options, "chain")
        many = [self._values(job, None, given) for job in jobs]
        ids: list[int] = []
        with self._on(connection), self.database.transaction():
            for values in many:
                ids.append(self._push(values, ids[-1:]))
        return ids

    def _on(self, connection: Connection | None) -> AbstractContextManager[None]:
        return nullcontext() if connection is None else self.database.joined(connection)

    def _push(self, values: Values, after: Sequence[int | Pushable] = ()) -> int:
        if after or values["step"] or values["unique_key"]:
            with self.database.transaction():
                id = self._push_tied(values, after)
        else:
            id = self.database.insert(self.PUSH, values)
        self.pushed(str(values["queue"]))
        return id

    def _push_many(self, many: list[Values]) -> list[int]:
        if any(values["step"] or values["unique_key"] for values in many):
            with self.database.transaction():
                return [self._push(values) for values in many]
        ids = self.database.insert_many(self.PUSH, many)
        for queue in {str(values["queue"]) for values in many}:
            self.pushed(queue)
        return list(ids)

    HOLDER = """
    select id
    from litequeue_jobs
    where unique_key = :unique_key and state in (2, 3, 4, 5, 9)"""

    def _push_tied(self, values: Values, after: Sequence[int | Pushable]) -> int:
        """Push a job that is unique, waits for others, or plans a batch."""
        # An insert that the unique index refuses would use up an id.
        for (holder,) in self.database.rows(self.HOLDER, values):
            return int(holder)
        parents = [self._parent(parent) for parent in after]
        if not all(parent.met for parent in parents):
            values = {**values, "state": State.WAITING.code}
        id = self.database.insert(self.PUSH, values)
        self.flows.tie(id, parents, self.now())
        if values["step"] == PLAN:
            self.batches.open(id, str(values["name"]), self.now())
        return id

    def _parent(self, parent: int | Pushable) -> Parent:
        if not isinstance(parent, int):
            parent = self._push(self._values(parent, None, {}))
        return self.flows.look(parent)

    def _values(
        self, job: Pushable | str, payload: Mapping[str, object] | None, given: Options
    ) -> Values:
        spec, now = _spec(job, payload), self.clock()
        self._weigh(spec)
        options = merged(spec.options, given)
        at = due(options.get("at", options.get("delay", 0)), now)
        stored = {
            word: value for word, value in options.items() if word in STORED and not callable(value)
        }
        return {
            "name": spec.name,
            "queue": options.get("queue", DEFAULTS["queue"]),
            "priority": options.get("priority", DEFAULTS["priority"]),
            "state": (State.SCHEDULED if at > now else State.READY).code,
            "max_attempts": options.get("max_attempts"),
            "available_at": int(at * 1000),
            "now": int(now * 1000),
            "batch": None,
            "step": spec.step,
            "unique_key": _key_of(options.get("unique"), job, spec, payload=True),
            "overlap_key": _key_of(_overlap(options), job, spec),
            "overlap_limit": options.get("concurrency"),
            "options": json.dumps(stored) if stored else None,
            "payload": spec.payload,
        }

    def _weigh(self, spec: Spec) -> None:
        """Refuse a payload that is larger than this queue takes, and remark on a large
        one, once for each name. Raises PayloadError."""
        size = len(spec.payload.encode("utf-8", "surrogatepass"))
        if self._max_payload is not None and size > self._max_payload:
            raise PayloadError(
                job=spec.name,
                problem=f"the payload has {size} bytes, and this queue takes at most "
                f"{self._max_payload}: {WAY_OUT}",
            )
        if size > LARGE_BYTES and spec.name not in self._large:
            self._large.add(spec.name)
            import logging  # a producer with nothing to remark does without

            logger = logging.getLogger("litequeue")
            logger.warning("%s: a payload of %d KiB is large: %s", spec.name, size // 1024, WAY_OUT)


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


def pair(job: Pushed) -> tuple[Pushable | str, Mapping[str, object] | None]:
    """What push takes, as it takes it: a name with its payload, or a job with None."""
    return job if isinstance(job, tuple) else (job, None)


def _spec(job: Pushable | str, payload: Mapping[str, object] | None) -> Spec:
    if not isinstance(job, str):
        if payload is not None:
            raise OptionError(owner="push", problem="a job has its payload in it; give a name")
        return job.__litequeue_spec__()
    if not job.strip():
        raise OptionError(owner="push", problem="the name of the job is empty")
    return Spec(job, encode_plain({} if payload is None else payload, job))


def _overlap(options: Options) -> bool | str | Callable[..., str] | None:
    return options.get("without_overlapping", "concurrency" in options)


def _key_of(
    said: bool | str | Callable[..., str] | None,
    job: Pushable | str,
    spec: Spec,
    *,
    payload: bool = False,
) -> str | None:
    """The key that an option asks for; raises OptionError for a callable that gives no
    text, or was given with a name."""
    if not said:
        return None
    if said is True:
        found = _own_key(spec, payload)
    else:
        found = _asked(said, job, spec) if callable(said) else said
    if len(found) <= LONGEST_KEY:
        return found
    import hashlib  # 4 MB that only a long key needs

    return found[:50] + hashlib.sha256(found.encode("utf-8", "surrogatepass")).hexdigest()


def _asked(said: Callable[..., str], job: Pushable | str, spec: Spec) -> str:
    if isinstance(job, str):
        raise OptionError(owner=job, problem="a key by a callable needs the job, not its name")
    try:
        found: object = said(job)
    except Exception as error:
        raise OptionError(owner=spec.name, problem=f"its key raises {error!r}") from error
    if not isinstance(found, str) or not found:
        raise OptionError(owner=spec.name, problem=f"a key is a text, not {found!r}")
    return found


def _own_key(spec: Spec, payload: bool) -> str:
    """The key of a job that names none: its name in any spelling, and its fields in any
    order."""
    name = key(spec.name)
    return f"{name} {json.dumps(json.loads(spec.payload), sort_keys=True)}" if payload else name
