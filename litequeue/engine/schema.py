"""The tables and indexes, as numbered steps; each file stores the number of its last step.

The version is in a table of its own and not in ``user_version``: the file may be an
application's, which uses that for its own schema.
"""

from __future__ import annotations

from litequeue.engine.database import Database
from litequeue.errors import ForeignTables, SchemaNewer
from litequeue.records import NOT_WAITING

# State codes are those of records.State: 2 waiting, 3 ready, 4 scheduled, 5 running,
# 6 done, 7 failed, 8 cancelled; 9 is ready too, but blocked: the concurrency
# limit of its key is reached.
#
# Every column that a claim changes keeps its stored width: state codes take one byte,
# instants in milliseconds and worker ids take six. So the payload behind them does not
# move, and claiming a job of 100 kB writes 7 pages instead of 130.
#
# The first two indexes follow the order of reading: ready jobs by queue, priority and age
# (the rowid, which ends every index); scheduled jobs by the time they are due. One index
# over (queue, state, priority, available_at) would be a trap: it scans a million future
# rows to find one that is due.
#
# The checks reject values that a column's type would accept, such as 5.5 for a state. Older
# files have fewer checks and keep their tables, so every reader copes with any value in any
# column. Written as "typeof(x) in ('text', 'null')" the checks would slow an insert by 10 %
# instead of 2 %.
JOBS = """
create table litequeue_jobs (
  id integer primary key autoincrement,
  state integer not null check (typeof(state) = 'integer' and state between 2 and 9),
  queue text not null check (typeof(queue) = 'text'),
  priority integer not null check (typeof(priority) = 'integer'),
  attempts integer not null check (typeof(attempts) = 'integer' and attempts >= 0),
  max_attempts integer check (max_attempts is null or typeof(max_attempts) = 'integer'),
  worker integer not null check (typeof(worker) = 'integer'),
  available_at integer not null check (typeof(available_at) = 'integer'),
  reserved_at integer not null check (typeof(reserved_at) = 'integer'),
  created_at integer not null check (typeof(created_at) = 'integer'),
  cancelled_at integer check (cancelled_at is null or typeof(cancelled_at) = 'integer'),
  finished_at integer check (finished_at is null or typeof(finished_at) = 'integer'),
  failed_at integer check (failed_at is null or typeof(failed_at) = 'integer'),
  expires_at integer check (expires_at is null or typeof(expires_at) = 'integer'),
  progress_done integer check (progress_done is null or typeof(progress_done) = 'integer'),
  progress_total integer check (progress_total is null or typeof(progress_total) = 'integer'),
  batch integer check (batch is null or typeof(batch) = 'integer'),
  step text check (step is null or typeof(step) = 'text'),
  unique_key text check (unique_key is null or typeof(unique_key) = 'text'),
  overlap_key text check (overlap_key is null or typeof(overlap_key) = 'text'),
  overlap_limit integer check (overlap_limit is null or typeof(overlap_limit) = 'integer'),
  slot integer check (slot is null or typeof(slot) = 'integer'),
  name text not null check (typeof(name) = 'text'),
  options text check (options is null or typeof(options) = 'text'),
  exception text check (exception is null or typeof(exception) = 'text'),
  result text check (result is null or typeof(result) = 'text'),
  payload text not null check (typeof(payload) = 'text')
)"""

READY_INDEX = """
create index litequeue_ready on litequeue_jobs (queue, priority desc) where state = 3"""

TIMER_INDEX = """
create index litequeue_timer on litequeue_jobs (available_at) where state = 4"""

RUNNING_INDEX = """
create index litequeue_running on litequeue_jobs (worker) where state = 5"""

EXPIRY_INDEX = """
create index litequeue_expiry on litequeue_jobs (expires_at) where expires_at is not null"""

# For counting jobs by state without scanning the rows. Ready and running jobs have an index
# above and are left out, so a job that is pushed, runs and succeeds never touches this one.
# Two comparisons, since SQLite would build a list for "not in" again at each insert.
STATE_INDEX = """
create index litequeue_states on litequeue_jobs (state, queue)
where state <> 3 and state <> 5"""

# No two unfinished jobs have the same unique key.
UNIQUE_INDEX = """
create unique index litequeue_unique on litequeue_jobs (unique_key)
where unique_key is not null and state in (2, 3, 4, 5, 9)"""

# No two running jobs of a concurrency key have the same slot.
SLOT_INDEX = """
create unique index litequeue_slot on litequeue_jobs (overlap_key, slot)
where overlap_key is not null and state = 5"""

KEYED_INDEX = """
create index litequeue_keyed on litequeue_jobs (overlap_key, state, queue, priority desc)
where overlap_key is not null"""

BATCH_INDEX = """
create index litequeue_members on litequeue_jobs (batch, state) where batch is not null"""

# The dependencies of a job: one edge for each parent, met when the parent has succeeded.
# The code that deletes a job also deletes its edges: a foreign key would make every deletion
# four times as slow.
EDGES = """
create table litequeue_edges (
  child integer not null check (typeof(child) = 'integer'),
  position integer not null check (typeof(position) = 'integer'),
  parent integer not null check (typeof(parent) = 'integer'),
  met_at integer check (met_at is null or typeof(met_at) = 'integer'),
  result text check (result is null or typeof(result) = 'text'),
  primary key (child, position)
) without rowid"""

EDGES_INDEX = """
create index litequeue_unmet on litequeue_edges (parent) where met_at is null"""

# A batch has the id of the job that plans it, or of the job that follows it.
BATCHES = """
create table litequeue_batches (
  id integer primary key,
  name text not null check (typeof(name) = 'text'),
  cursor text check (cursor is null or typeof(cursor) = 'text'),
  planned integer not null check (typeof(planned) = 'integer'),
  done integer not null check (typeof(done) = 'integer'),
  failed integer not null check (typeof(failed) = 'integer'),
  cancelled integer not null check (typeof(cancelled) = 'integer'),
  created_at integer not null check (typeof(created_at) = 'integer'),
  planned_at integer check (planned_at is null or typeof(planned_at) = 'integer'),
  closed_at integer check (closed_at is null or typeof(closed_at) = 'integer'),
  cancelled_at integer check (cancelled_at is null or typeof(cancelled_at) = 'integer')
)"""

SCHEDULES = """
create table litequeue_schedules (
  name text primary key check (typeof(name) = 'text'),
  expression text not null check (typeof(expression) = 'text'),
  zone text check (zone is null or typeof(zone) = 'text'),
  next_at integer not null check (typeof(next_at) = 'integer'),
  last_at integer check (last_at is null or typeof(last_at) = 'integer'),
  last_job integer check (last_job is null or typeof(last_job) = 'integer'),
  paused_at integer check (paused_at is null or typeof(paused_at) = 'integer')
) without rowid"""

WORKERS = """
create table litequeue_workers (
  id integer primary key,
  pid integer not null check (typeof(pid) = 'integer'),
  queues text not null check (typeof(queues) = 'text'),
  started_at integer not null check (typeof(started_at) = 'integer'),
  cause text check (cause is null or typeof(cause) = 'text')
)"""

PAUSED = """
create table litequeue_paused (
  queue text primary key check (typeof(queue) = 'text'),
  paused_at integer not null check (typeof(paused_at) = 'integer')
) without rowid"""

# Since when workers have had no class for the job's name; null for all other jobs. At the end
# of the row, a null takes one byte and does not change what a claim writes.
UNKNOWN_SINCE = """
alter table litequeue_jobs add column unknown_since integer
check (unknown_since is null or typeof(unknown_since) = 'integer')"""

# For how many milliseconds a worker keeps results of jobs that do not set keep; null for not
# at all.
WORKER_KEEPS = """
alter table litequeue_workers add column keeps integer"""

UNKNOWN_INDEX = """
create index litequeue_unknown on litequeue_jobs (name) where unknown_since is not null"""

# By when a job has to be started; null if the push set no expires.
DEADLINE_AT = """
alter table litequeue_jobs add column deadline_at integer
check (deadline_at is null or typeof(deadline_at) = 'integer')"""

# The key of a job's rate limit; null if it has none.
RATE_KEY = """
alter table litequeue_jobs add column rate_key text
check (rate_key is null or typeof(rate_key) = 'text')"""

# Since when a job has waited for its rate limit; NOT_WAITING, which is as wide, for a job that
# does not wait, and null without a limit.
RATE_SINCE = """
alter table litequeue_jobs add column rate_since integer
check (rate_since is null or typeof(rate_since) = 'integer')"""

# Both have entries only for unfinished jobs that use the option.
DEADLINE_INDEX = """
create index litequeue_deadline on litequeue_jobs (deadline_at)
where deadline_at is not null and state in (2, 3, 4, 9)"""

RATED_INDEX = f"""
create index litequeue_rated on litequeue_jobs (rate_key, priority desc)
where rate_since > {NOT_WAITING} and state = 4"""

# The starts of the last window of each key, as JSON: a list of [instant, number of starts].
# The row is useless from over_at on, when the last of them has left the window.
RATES = """
create table litequeue_rates (
  key text primary key check (typeof(key) = 'text'),
  starts text not null check (typeof(starts) = 'text'),
  length integer not null check (typeof(length) = 'integer'),
  waiting integer not null check (typeof(waiting) = 'integer'),
  over_at integer not null check (typeof(over_at) = 'integer')
) without rowid"""

RATES_INDEX = """
create index litequeue_rates_over on litequeue_rates (over_at)"""

LIST = """
create view litequeue_list as
select
  id,
  name,
  queue,
  case state
    when 2 then 'waiting'
    when 3 then 'ready'
    when 4 then 'scheduled'
    when 5 then 'running'
    when 6 then 'done'
    when 7 then 'failed'
    when 8 then 'cancelled'
    when 9 then 'ready'
  end as state,
  priority,
  attempts,
  max_attempts,
  datetime(available_at / 1000, 'unixepoch') as available_at,
  datetime(created_at / 1000, 'unixepoch') as created_at,
  datetime(finished_at / 1000, 'unixepoch') as finished_at,
  exception,
  result,
  payload
from litequeue_jobs"""

FAILED = """
create view litequeue_failed as
select
  id as job_id,
  name,
  queue,
  payload,
  exception,
  datetime(failed_at / 1000, 'unixepoch') as failed_at,
  attempts
from litequeue_jobs
where state = 7"""

# The statements of each step, by the version that it leads to; a step runs completely or not
# at all.
STEPS = {
    1: (
        JOBS,
        READY_INDEX,
        TIMER_INDEX,
        RUNNING_INDEX,
        EXPIRY_INDEX,
        STATE_INDEX,
        UNIQUE_INDEX,
        SLOT_INDEX,
        KEYED_INDEX,
        BATCH_INDEX,
        EDGES,
        EDGES_INDEX,
        BATCHES,
        SCHEDULES,
        WORKERS,
        PAUSED,
        LIST,
        FAILED,
    ),
    2: (
        UNKNOWN_SINCE,
        UNKNOWN_INDEX,
        WORKER_KEEPS,
    ),
    3: (
        DEADLINE_AT,
        RATE_KEY,
        RATE_SINCE,
        DEADLINE_INDEX,
        RATED_INDEX,
        RATES,
        RATES_INDEX,
    ),
}
KNOWN = max(STEPS)

VERSION_TABLE = "create table litequeue_schema (version integer not null)"

TABLES = """
select name
from sqlite_master
where type = 'table' and name like 'litequeue\\_%' escape '\\'
order by name"""


def sql() -> str:
    """The whole schema as SQL for an empty file."""
    parts = [VERSION_TABLE, *(text.strip() for step in STEPS.values() for text in step)]
    parts.append(f"insert into litequeue_schema values ({KNOWN})")
    return ";\n\n".join(parts) + ";\n"


def upgrade(database: Database) -> int:
    """Bring the file's tables up to date, and return how many steps that took.

    Raises SchemaNewer for a file of a newer litequeue, and ForeignTables for a file whose
    tables have litequeue's names but were not made by it.
    """
    if version_of(database) == KNOWN:
        return 0
    with database.transaction():
        # Another process may have done so before this one got the lock.
        found = version_of(database)
        missing = [version for version in STEPS if version > found]
        for version in missing:
            _apply(database, version)
    return len(missing)


def _apply(database: Database, version: int) -> None:
    if version == 1:
        database.rows(VERSION_TABLE)
        database.rows("insert into litequeue_schema values (0)")
    for statement in STEPS[version]:
        database.rows(statement)
    database.rows("update litequeue_schema set version = :version", {"version": version})


def version_of(database: Database) -> int:
    """The schema version of a file; 0 if it has no tables of litequeue. Raises SchemaNewer
    and ForeignTables."""
    tables = [str(name) for (name,) in database.rows(TABLES)]
    if "litequeue_schema" not in tables:
        if tables:
            raise ForeignTables(path=database.path, table=tables[0])
        return 0
    found = database.rows("select * from litequeue_schema")
    if len(found) != 1 or len(found[0]) != 1 or not isinstance(found[0][0], int):
        raise ForeignTables(path=database.path, table="litequeue_schema")
    version: int = found[0][0]
    if version > KNOWN:
        raise SchemaNewer(path=database.path, found=version, known=KNOWN)
    return version
