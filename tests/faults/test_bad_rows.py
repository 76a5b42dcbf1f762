"""Every column of every table, edited into what no verb writes: bad data is one job's
problem, for every command and for a worker."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from litequeue import Queue
from litequeue.cli.main import main
from litequeue.records import NOBODY

# Always the same, so that a failure is due to a change; FAULTS_SEED=$RANDOM looks elsewhere.
SEED = int(os.environ.get("FAULTS_SEED") or 33)

# As SQL: what no Python value can be bound as is among them.
NASTY = [
    "cast(x'ff80' as text)",
    "cast(x'e28241' as text)",
    "x'00ff'",
    "x''",
    "5.5",
    "-0.5",
    "9e999",
    "9223372036854775807",
    "-9223372036854775808",
    "-1",
    "0",
    "''",
    "'\u001b[2J\nforged'",
    "'a' || char(0) || 'b'",
    "cast(x'eda080' as text)",
    "printf('%.*c', 30000, '[')",
    "printf('{\"a\":%.*c', 30000, '[')",
    "printf('%.*c', 600, '[') || printf('%.*c', 600, ']')",
    '\'{"timeout": 1e999, "keep": 1e300}\'',
    "printf('%.*c', 6000, '9')",
    "'{\"max_attempts\": []}'",
    "null",
]

JOBS = """
from litequeue import Batch, Job

class Good(Job):
    word: str = ""

    def handle(self) -> str:
        with open("ran.txt", "a") as ran:
            ran.write(self.word + "\\n")
        return self.word

class Hourly(Job, every="1h"):
    def handle(self) -> None:
        pass
"""

COLUMNS = [
    (table, column)
    for table, columns in {
        "jobs": "id state queue priority attempts max_attempts worker available_at reserved_at "
        "created_at cancelled_at finished_at failed_at expires_at progress_done progress_total "
        "batch step unique_key overlap_key overlap_limit slot name options exception result "
        "unknown_since deadline_at rate_key rate_since payload",
        "edges": "child position parent met_at result",
        "batches": "id name cursor planned done failed cancelled created_at planned_at closed_at "
        "cancelled_at",
        "schedules": "name expression zone next_at last_at last_job paused_at",
        "workers": "id pid queues started_at cause keeps",
        "paused": "queue paused_at",
        "rates": "key starts length waiting over_at",
        "schema": "version",
    }.items()
    for column in columns.split()
]


class Fuzzed:
    """A queue with bad rows beside good ones."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.random = random.Random(seed)
        self.path = str(folder / "jobs.db")
        self.bad: list[int] = []
        self.good: list[str] = []

    def fill(self, count: int) -> None:
        """Store rows of every kind, ``count`` of them to be damaged."""
        makers = [
            self._ready, self._keyed, self._later, self._waiting, self._running, self._running,
            self._failed, self._done, self._cancelled, self._batch, self._limited, self._limited,
        ]  # fmt: skip
        with Queue(self.path) as queue:
            for place in range(count):
                self.bad.append(self.random.choice(makers)(queue, place))
            for place in range(4):
                self._push_good(queue, f"good{place}")
            queue.pause("paused")
            parent = queue.push("good", {"word": "parent"})
            self.good.append("parent")
            queue.push("good", {"word": "child"}, after=[parent])
            self.good.append("child")

    def _push_good(self, queue: Queue, word: str, **options: object) -> int:
        self.good.append(word)
        return queue.push("good", {"word": word}, **options)  # type: ignore[arg-type]

    def _ready(self, queue: Queue, place: int) -> int:
        return queue.push("good", {"word": "bad"}, priority=place % 3, queue=f"q{place % 2}")

    def _keyed(self, queue: Queue, place: int) -> int:
        return queue.push(
            "good", {"word": "bad"}, unique=f"key {place}", concurrency=2, keep=60, timeout=9
        )

    def _limited(self, queue: Queue, place: int) -> int:
        return queue.push(
            "good", {"word": "bad"}, rate_limit="1/hour", rate_key=f"key {place // 2}", expires=3600
        )

    def _later(self, queue: Queue, place: int) -> int:
        return queue.push("good", {"word": "bad"}, delay=3600 if place % 2 else 0.001)

    def _waiting(self, queue: Queue, place: int) -> int:
        return queue.push("good", {"word": "bad"}, after=[self._later(queue, 1)])

    def _running(self, queue: Queue, place: int) -> int:
        id = self._ready(queue, place)
        queue.store.claims.claim_job(NOBODY + 1 + place, id)
        return id

    def _failed(self, queue: Queue, place: int) -> int:
        row = queue.store.claims.claim_job(NOBODY + 1, self._ready(queue, place))
        assert row is not None
        queue.store.executions.fail(row, "Traceback\nValueError: no")
        return row.id

    def _done(self, queue: Queue, place: int) -> int:
        row = queue.store.claims.claim_job(NOBODY + 1, self._keyed(queue, place))
        assert row is not None
        queue.store.executions.complete(row, result="1", keep=3600)
        return row.id

    def _cancelled(self, queue: Queue, place: int) -> int:
        id = self._ready(queue, place)
        queue.cancel(id)
        return id

    def _batch(self, queue: Queue, place: int) -> int:
        from jobs_with_bad_rows import Good  # type: ignore[import-not-found]

        with queue.batch(then=Good("then")) as batch:
            batch.push("good", {"word": "bad"})
        assert batch.id is not None
        return self.random.choice([batch.id, *batch.ids])

    def damage(self, table: str, column: str, values: list[str]) -> int:
        """Edit one row of the table for each value; returns how many it took."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("pragma ignore_check_constraints = on")
            for name in ("edges", "batches", "schedules", "workers", "paused", "rates"):
                if name == table:
                    self._multiply(connection, table, len(values))
            done = 0
            for place, value in enumerate(values):
                done += self._edit(connection, table, column, place, value)
            return done

    def _multiply(self, connection: sqlite3.Connection, table: str, count: int) -> None:
        """See that there are as many rows as are to be damaged."""
        for place in range(count):
            connection.execute(
                {
                    "edges": "insert into litequeue_edges values "
                    "(:bad, 100 + :place, (select max(id) from litequeue_jobs), null, null)",
                    "batches": "insert or ignore into litequeue_batches values "
                    "(:bad, 'good', null, 1, 0, 0, 0, 1800000000000, null, null, null)",
                    "schedules": "insert into litequeue_schedules values "
                    "('hourly' || :place, 'every 1h', null, 1800000000000, null, null, null)",
                    "workers": "insert into litequeue_workers "
                    "(id, pid, queues, started_at, cause) values "
                    "(5000000 + :place, 1, 'default', 1800000000000, null)",
                    "paused": "insert into litequeue_paused values ('p' || :place, 1)",
                    "rates": "insert into litequeue_rates values "
                    "('key ' || :place, '[[1800000000000,1]]', 60000, 0, 1800000060000)",
                }[table],
                {"bad": self.bad[place % len(self.bad)], "place": place},
            )

    def _edit(
        self, connection: sqlite3.Connection, table: str, column: str, place: int, value: str
    ) -> int:
        which = {
            "jobs": "where id = :bad",
            "edges": "where child = :bad and position >= 100",
            "batches": "where id = :bad",
            "schedules": "where name = 'hourly' || :place",
            "workers": "where id = 5000000 + :place",
            "paused": "where queue = 'p' || :place",
            "rates": "where key = 'key ' || :place",
            "schema": "",
        }[table]
        sql = f"update or ignore litequeue_{table} set {column} = {value} {which}"
        bound = {"bad": self.bad[place % len(self.bad)], "place": place}
        try:
            return connection.execute(sql, bound).rowcount
        except sqlite3.IntegrityError:
            return 0  # what cannot be stored can do no harm


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, with a module of jobs in it."""
    (tmp_path / "jobs_with_bad_rows.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LITEQUEUE_DB", raising=False)
    return tmp_path


def run(*arguments: object) -> int:
    """Run a command, which may refuse but never ends with a traceback."""
    try:
        status = main([str(each) for each in arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status in (0, 1, 2), arguments
    return status


def some(random: random.Random) -> list[str]:
    """SQL of random values."""
    noise = random.randbytes(random.randrange(1, 40)).hex()
    return [
        f"x'{noise}'",
        f"cast(x'{noise}' as text)",
        str(random.randrange(-(2**63), 2**63)),
        repr(random.uniform(-1e20, 1e20)),
    ]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_no_value_of_a_column_stops_a_command_or_a_worker(
    folder: Path, table: str, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print(f"FAULTS_SEED={SEED}")
    fuzzed = Fuzzed(folder, f"{SEED} {table} {column}")
    # Not all of them with each seed: each row takes its time.
    values = fuzzed.random.sample(NASTY, 9) + some(fuzzed.random)
    if column == "id":
        # Behind the greatest of all ids SQLite itself gives no other.
        values = [value for value in values if not value.isdigit()]
    if table == "schema":
        values = [fuzzed.random.choice(values)]
    fuzzed.random.shuffle(values)
    fuzzed.fill(len(values))
    if not fuzzed.damage(table, column, values):
        return
    db = fuzzed.path
    look(db, fuzzed, (0, 2) if table == "schema" else (0,))
    if table == "schema":
        assert run("work", db, "--drain", "--jobs", "jobs_with_bad_rows") in (0, 2)
        return
    change(db, fuzzed)
    check(db, fuzzed)


def look(db: str, fuzzed: Fuzzed, expected: tuple[int, ...] = (0,)) -> None:
    for command in (["status"], ["list", "--limit", 100], ["schedule"]):
        assert run(command[0], db, *command[1:]) in expected
        assert run(command[0], db, *command[1:], "--json") in expected
    assert run("doctor", db) in (1, *expected)
    assert run("doctor", db, "--json") in (1, *expected)
    for state in ("waiting", "ready", "scheduled", "running", "done", "failed", "cancelled"):
        assert run("list", db, "--state", state) in expected
    for id in fuzzed.bad:
        run("show", db, id)
        run("show", db, id, "--json")


def change(db: str, fuzzed: Fuzzed) -> None:
    assert run("push", db, "good", '{"word": "pushed"}') == 0
    fuzzed.good.append("pushed")
    run("pause", db, "paused2")
    run("resume", db, "paused2")
    run("backup", db, f"{db}.backup")
    run("schedule", db, "--pause", "hourly3")
    run("schedule", db, "--resume", "hourly3")
    run("schedule", db, "--run", "hourly4", "--jobs", "jobs_with_bad_rows")
    for id in fuzzed.bad:
        verb = fuzzed.random.choice(["retry", "cancel", "forget", "run", "nothing"])
        if verb == "run":
            run("run", db, "--id", id, "--jobs", "jobs_with_bad_rows")
        elif verb != "nothing":
            run(verb, db, id)
    assert run("run", db, "good", "--jobs", "jobs_with_bad_rows") in (0, 1)
    assert run("push", db, "good", '{"word": "last"}') == 0
    fuzzed.good.append("last")
    assert run("work", db, "--drain", "--jobs", "jobs_with_bad_rows") == 0


def check(db: str, fuzzed: Fuzzed) -> None:
    ran = Path("ran.txt").read_text().split()
    assert set(fuzzed.good) <= set(ran)
    for verb in ("retry", "cancel", "forget"):
        assert run(verb, db, "--all") in (0, 1)
    assert run("prune", db, "--older", "0") == 0
    assert run("work", db, "--drain", "--jobs", "jobs_with_bad_rows") == 0
    look(db, fuzzed)
    for id in fuzzed.bad:
        run("forget", db, id)
