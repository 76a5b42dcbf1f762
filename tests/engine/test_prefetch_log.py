"""The prefetch log: written by the worker, read after its death, reclaimed from while it
lives."""

from __future__ import annotations

import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from litequeue.engine import prefetch_log as prefetch_logs
from litequeue.engine.prefetch_log import (
    LOG_AT,
    MOST,
    SIZE,
    VISIBLE_SECONDS,
    PrefetchLog,
    Snapshot,
    Success,
    has_unstarted,
    read,
    reclaim,
)
from litequeue.records import JobRow

SECOND = 1_000_000_000
# What a disk writes whole or not at all.
BLOCK = 512


class Nanoseconds:
    """A clock of whole nanoseconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Nanoseconds:
    return Nanoseconds()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.hand"


@pytest.fixture
def prefetch_log(path: Path, clock: Nanoseconds) -> Iterator[PrefetchLog]:
    made = PrefetchLog(path, 0o600, clock=clock)
    yield made
    made.close()


def now(path: Path) -> Snapshot | None:
    """Reclaim without the wait: no worker runs in these tests."""
    return reclaim(path, sleep=lambda seconds: None)


def set_number(path: Path, place: int, value: int) -> None:
    with open(path, "r+b") as file:
        file.seek(8 * place)
        file.write((value % 2**64).to_bytes(8, sys.byteorder))


# What dead workers have left


def test_a_new_log_is_empty(prefetch_log: PrefetchLog, path: Path) -> None:
    assert read(path) == Snapshot(0)
    assert prefetch_log.count == 0
    assert not has_unstarted(path, 0)
    assert now(path) is None


def test_jobs_that_were_claimed_have_not_started(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin([7, 8, 9])
    assert read(path) == Snapshot(0, {}, (7, 8, 9))
    assert prefetch_log.start()
    assert read(path) == Snapshot(7, {}, (8, 9))
    assert prefetch_log.count == 3


def test_each_step_of_a_prefetch_can_be_read(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    prefetch_log.finish()
    assert read(path) == Snapshot(0, {7: Success()}, (8, 9))
    assert prefetch_log.start()
    assert read(path) == Snapshot(8, {7: Success()}, (9,))
    prefetch_log.end()
    assert read(path) == Snapshot(0, {7: Success()}, (9,))
    assert prefetch_log.start()
    prefetch_log.finish('"told"')
    assert read(path) == Snapshot(0, {7: Success(), 9: Success('"told"')})
    prefetch_log.clear()
    assert read(path) == Snapshot(0)


def test_a_prefetch_of_the_largest_size_can_be_read(prefetch_log: PrefetchLog, path: Path) -> None:
    ids = [2**63 - 1 - place for place in range(MOST)]
    prefetch_log.begin(ids)
    prefetch_log.start()
    for place in range(MOST):
        prefetch_log.finish(str(place))
        assert place == MOST - 1 or prefetch_log.start()
    assert read(path) == Snapshot(0, {id: Success(str(place)) for place, id in enumerate(ids)})


def test_the_next_prefetch_knows_nothing_of_the_one_before(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([1, 2, 3])
    prefetch_log.start()
    prefetch_log.finish('"old"')
    now(path)
    prefetch_log.clear()
    prefetch_log.begin([3, 4])
    prefetch_log.start()
    assert read(path) == Snapshot(3, {}, (4,))
    assert list(prefetch_log.settled) == []
    assert prefetch_log.start()


def test_a_released_job_is_not_to_blame(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    prefetch_log.finish()
    prefetch_log.start()
    prefetch_log.release()
    assert read(path) == Snapshot(0, {7: Success()}, (8, 9))


RESULTS = [
    '"plain"',
    '"gr\u00fc\u00df"',
    '"\u2028 and \u2029"',
    '"\U0001f600"',
    '"\ud800"',
    '"a b"',
    "{}",
    '""',
]


def test_results_come_back_as_they_were(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin(list(range(1, len(RESULTS) + 1)))
    prefetch_log.start()
    for place, result in enumerate(RESULTS):
        assert not place or prefetch_log.start()
        assert prefetch_log.has_room(result)
        prefetch_log.finish(result)
    assert read(path).finished == dict(enumerate(map(Success, RESULTS), start=1))


def test_results_fill_the_room_and_no_more(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin(list(range(1, MOST + 1)))
    prefetch_log.start()
    results: dict[int, str | None] = {}
    for id in range(1, MOST + 1):
        assert id == 1 or prefetch_log.start()
        result = "\u20ac" * id
        results[id] = result if prefetch_log.has_room(result) else None
        prefetch_log.finish(results[id])
        assert prefetch_log.has_room(None)
    assert 20 < sum(result is not None for result in results.values()) < MOST
    assert read(path).finished == {id: Success(result) for id, result in results.items()}
    assert path.stat().st_size == SIZE


def test_the_time_to_be_kept_comes_back_with_or_without_a_result(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([7, 8])
    for result, keep in ((None, 3600.0), ('"a b"', 0.5)):
        assert prefetch_log.start()
        assert prefetch_log.has_room(result, keep)
        prefetch_log.finish(result, keep)
    assert read(path).finished == {7: Success(None, 3600.0), 8: Success('"a b"', 0.5)}


def test_a_result_that_is_too_large_has_no_room(prefetch_log: PrefetchLog) -> None:
    prefetch_log.begin([1, 2])
    prefetch_log.start()
    assert prefetch_log.has_room("x" * 3000)
    assert not prefetch_log.has_room("x" * SIZE)


# What is not to be believed


@pytest.mark.parametrize("left", [b"", b"x", bytes(SIZE - 1), bytes(SIZE), b"some text " * 4000])
def test_a_file_that_is_no_prefetch_log_says_nothing(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    assert read(path) == Snapshot(None)
    assert now(path) is None
    assert not has_unstarted(path, 0)


def test_a_file_that_is_not_there_says_nothing(path: Path) -> None:
    assert read(path) == Snapshot(None)
    assert now(path) is None
    assert not has_unstarted(path, 0)


@pytest.mark.parametrize("count", [-1, 2, MOST + 1, 2**62])
def test_numbers_that_cannot_be_are_not_believed(
    prefetch_log: PrefetchLog, path: Path, count: int
) -> None:
    prefetch_log.begin([1, 2, 3])
    prefetch_log.start()
    for _ in range(2):
        prefetch_log.finish()
        prefetch_log.start()
    set_number(path, prefetch_logs._COUNT, count)
    assert read(path) == Snapshot(None)


@pytest.mark.parametrize("text", [b"\0" * 40, b"9 null\n", b"-9 1\n", b"x\n", b"0 \xff\n"])
@pytest.mark.parametrize("sound", [False, True], ids=["torn", "checked"])
def test_results_that_cannot_be_are_not_believed(
    prefetch_log: PrefetchLog, path: Path, text: bytes, sound: bool
) -> None:
    prefetch_log.begin([1, 2])
    prefetch_log.start()
    prefetch_log.finish("1234567890" * 4)
    with open(path, "r+b") as file:
        file.seek(LOG_AT)
        file.write(text)
    if sound:
        set_number(
            path, prefetch_logs._LOGGED, prefetch_logs._logged_word(text, prefetch_log._salt)
        )
    assert read(path) == Snapshot(None)


@pytest.mark.parametrize("size", [-5, SIZE, 2**62])
def test_a_size_of_results_that_cannot_be_harms_nobody(
    prefetch_log: PrefetchLog, path: Path, size: int
) -> None:
    prefetch_log.begin([1, 2])
    prefetch_log.start()
    prefetch_log.finish("1")
    set_number(path, prefetch_logs._LOGGED, size)
    assert read(path) == Snapshot(None)


@pytest.mark.parametrize(
    "place", [prefetch_logs._COUNT, prefetch_logs._STARTED, prefetch_logs._DONE]
)
@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_number_without_its_check_is_not_believed(
    prefetch_log: PrefetchLog, path: Path, place: int, value: int
) -> None:
    prefetch_log.begin([1, 2, 3])
    prefetch_log.start()
    set_number(path, place, value << 32)
    assert read(path) == Snapshot(None)


def test_a_log_of_another_file_or_another_boot_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "marked.log"
    prefetch_log = PrefetchLog(path, 0o600, b"this start, this file")
    prefetch_log.begin([1, 2, 3])
    prefetch_log.start()
    prefetch_log.finish()
    assert read(path, b"this start, this file") == Snapshot(0, {1: Success()}, (2, 3))
    for mark in (b"", b"another", b"this start, this fil"):
        assert read(path, mark) == Snapshot(None)
        assert not has_unstarted(path, 0, mark)
        assert reclaim(path, 0, mark) is None
    assert prefetch_log.start()
    prefetch_log.close()


def test_what_is_logged_of_another_claim_is_said_of_no_job(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([1, 2, 3], 1000.5)
    prefetch_log.start()
    prefetch_log.finish()
    assert prefetch_log.start()
    note = read(path)
    rows = [job_row(id, 1000.5) for id in (1, 2, 3)]
    assert note.about(rows) == note._replace(unstarted=[3])
    rows = [job_row(1, 999.5), job_row(2, 999.5), job_row(3, 1000.5), job_row(4, 1000.5)]
    assert note.about(rows) == Snapshot(0, {}, [3], claimed_at=1000.5)
    assert note.about([]) == Snapshot(0, {}, [], claimed_at=1000.5)


def job_row(id: int, reserved_at: float) -> JobRow:
    values = dict.fromkeys(JobRow._fields)
    at = datetime.fromtimestamp(reserved_at, timezone.utc)
    return JobRow(**{**values, "id": id, "reserved_at": at})  # type: ignore[arg-type]


def test_a_log_torn_in_blocks_names_no_finished_job_that_never_ran(path: Path) -> None:
    """What a power failure leaves where it is not known that there was one: each block of
    the disk as it was at some moment."""
    draw = random.Random(1)
    moments, ran = moments_of(path, draw)
    believed = 0
    for _ in range(20_000):
        blocks = range(0, SIZE, BLOCK)
        torn = b"".join(draw.choice(moments)[at : at + BLOCK] for at in blocks)
        path.write_bytes(torn)
        note = read(path)
        believed += note.running is not None
        for id, success in note.finished.items():
            assert success == Success(ran[id])
    assert believed > 100


def moments_of(path: Path, draw: random.Random) -> tuple[list[bytes], dict[int, str | None]]:
    """The file as it was at several moments of several prefetches, and the jobs that ran, of
    each of which it is known what it returned."""
    prefetch_log, ids, ran = PrefetchLog(path, 0o600), iter(range(1, 10_000)), {}
    moments = [path.read_bytes()]
    for claim in range(6):
        mine = [next(ids) for _ in range(draw.choice([3, 100, MOST]))]
        prefetch_log.begin(mine, float(claim))
        prefetch_log.start()
        for id in mine[: draw.randrange(1, len(mine))]:
            ran[id] = draw.choice([None, f'"result of {id}"'])
            ran[id] = ran[id] if prefetch_log.has_room(ran[id]) else None
            prefetch_log.finish(ran[id])
            assert prefetch_log.start()
            if draw.random() < 0.05:
                moments.append(path.read_bytes())
        prefetch_log.clear()
    prefetch_log.close()
    return moments, ran


# Reclaiming


def test_reclaiming_says_how_far_the_worker_is_and_keeps_it_from_the_rest(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    prefetch_log.finish("1")
    prefetch_log.start()
    assert now(path) == Snapshot(8, {7: Success("1")}, (9,))
    prefetch_log.finish("2")
    assert not prefetch_log.start()
    assert read(path) == Snapshot(0, {7: Success("1"), 8: Success("2")}, (9,))
    assert list(prefetch_log.settled) == [7]


def test_reclaiming_can_be_repeated_by_anybody_if_the_first_try_failed(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    assert now(path) == now(path) == Snapshot(7, {}, (8, 9))
    prefetch_log.finish("1")
    assert has_unstarted(path, 0)
    assert now(path) == Snapshot(0, {7: Success("1")}, (8, 9))
    assert list(prefetch_log.settled) == [7]
    assert not prefetch_log.start()


def test_there_is_nothing_to_reclaim_beside_the_only_job(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([7])
    prefetch_log.start()
    assert now(path) is None
    assert not has_unstarted(path, 0)


def test_reclaiming_waits_until_what_the_worker_wrote_is_seen(
    prefetch_log: PrefetchLog, path: Path
) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    prefetch_log.finish()
    waits: list[float] = []

    def start_meanwhile(seconds: float) -> None:
        waits.append(seconds)
        # It looked for a reclaim before there was one, and its write comes late.
        set_number(path, prefetch_logs._STARTED, prefetch_logs._word(2, prefetch_log._salt))

    assert reclaim(path, sleep=start_meanwhile) == Snapshot(8, {7: Success()}, (9,))
    assert waits == [VISIBLE_SECONDS]


def test_no_job_starts_after_it_was_reclaimed(prefetch_log: PrefetchLog, path: Path) -> None:
    prefetch_log.begin([7, 8])
    prefetch_log.start()
    prefetch_log.finish()
    started: list[bool] = []
    note = reclaim(path, sleep=lambda seconds: started.append(prefetch_log.start()))
    assert (started, note) == ([False], Snapshot(0, {7: Success()}, (8,)))


def test_a_worker_rests_when_it_has_not_moved_for_so_long(
    prefetch_log: PrefetchLog, path: Path, clock: Nanoseconds
) -> None:
    prefetch_log.begin([7, 8, 9])
    prefetch_log.start()
    clock.now += SECOND
    assert has_unstarted(path, 0.5, clock=clock)
    assert not has_unstarted(path, 1.5, clock=clock)
    assert reclaim(path, 1.5, clock=clock) is None
    prefetch_log.finish()
    prefetch_log.start()
    assert not has_unstarted(path, 0.5, clock=clock)
    clock.now += SECOND
    assert reclaim(path, 0.5, clock=clock) == Snapshot(8, {7: Success()}, (9,))


def test_a_machine_that_has_started_anew_since_is_a_long_rest(
    prefetch_log: PrefetchLog, path: Path, clock: Nanoseconds
) -> None:
    prefetch_log.begin([7, 8])
    prefetch_log.start()
    clock.now = SECOND
    assert has_unstarted(path, 3600, clock=clock)


# The file


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
def test_who_may_use_the_database_may_reclaim(path: Path, mode: int) -> None:
    PrefetchLog(path, mode).close()
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_was_left_in_a_file_of_that_name_is_gone(path: Path) -> None:
    path.write_bytes(b"x" * 3 * SIZE)
    PrefetchLog(path, 0o600).close()
    assert read(path) == Snapshot(0)
    assert path.stat().st_size == SIZE


@pytest.mark.parametrize("written", [0, 4096, SIZE - 1])
def test_a_disk_without_room_for_a_log_is_an_error_and_leaves_no_file(
    path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: written)
        with pytest.raises(OSError, match="No space left"):
            PrefetchLog(path, 0o600)
    assert not path.exists()
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_may_close_a_log_that_its_parent_goes_on_with(
    prefetch_log: PrefetchLog, path: Path, in_child: Callable[[Callable[[], None]], None]
) -> None:
    prefetch_log.begin([7, 8])
    prefetch_log.start()
    in_child(prefetch_log.close)
    prefetch_log.finish("1")
    assert prefetch_log.start()
    assert read(path) == Snapshot(8, {7: Success("1")})


@pytest.fixture
def in_child() -> Callable[[Callable[[], None]], None]:
    """Runs something in a fork, which must end well."""

    def run(work: Callable[[], None]) -> None:
        child = os.fork()
        if not child:
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return run
