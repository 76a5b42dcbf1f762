"""What a worker has in hand, as its file tells others: written by the worker, read after its
death, recalled while it lives."""

from __future__ import annotations

import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from litequeue import hand as hands
from litequeue.hand import LOG_AT, MOST, SEEN_SECONDS, SIZE, Hand, Note, read, recall, rests
from litequeue.record import JobRow

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
def hand(path: Path, clock: Nanoseconds) -> Iterator[Hand]:
    made = Hand(path, 0o600, clock=clock)
    yield made
    made.close()


def now(path: Path) -> Note | None:
    """Recall without the wait: the other side of these tests stands still."""
    return recall(path, sleep=lambda seconds: None)


def set_number(path: Path, place: int, value: int) -> None:
    with open(path, "r+b") as file:
        file.seek(8 * place)
        file.write((value % 2**64).to_bytes(8, sys.byteorder))


# What the dead have left


def test_a_new_hand_is_empty(hand: Hand, path: Path) -> None:
    assert read(path) == Note(0)
    assert hand.count == 0
    assert not rests(path, 0)
    assert now(path) is None


def test_a_hand_that_was_dealt_has_started_its_first_job(hand: Hand, path: Path) -> None:
    hand.deal([7, 8, 9])
    assert read(path) == Note(7, {}, (8, 9))
    assert hand.count == 3


def test_each_step_of_a_hand_can_be_read(hand: Hand, path: Path) -> None:
    hand.deal([7, 8, 9])
    hand.finish()
    assert read(path) == Note(0, {7: None}, (8, 9))
    assert hand.start()
    assert read(path) == Note(8, {7: None}, (9,))
    hand.end()
    assert read(path) == Note(0, {7: None}, (9,))
    assert hand.start()
    hand.finish('"told"')
    assert read(path) == Note(0, {7: None, 9: '"told"'})
    hand.clear()
    assert read(path) == Note(0)


def test_a_run_that_ended_in_the_table_is_no_success(hand: Hand, path: Path) -> None:
    hand.deal([7])
    hand.end()
    assert read(path).finished == {}


def test_a_hand_may_be_as_large_as_it_can_be(hand: Hand, path: Path) -> None:
    ids = [2**63 - 1 - place for place in range(MOST)]
    hand.deal(ids)
    for place in range(MOST):
        hand.finish(str(place))
        assert place == MOST - 1 or hand.start()
    assert read(path) == Note(0, {id: str(place) for place, id in enumerate(ids)})


def test_the_next_hand_knows_nothing_of_the_one_before(hand: Hand, path: Path) -> None:
    hand.deal([1, 2, 3])
    hand.finish('"old"')
    now(path)
    hand.clear()
    hand.deal([3, 4])
    assert read(path) == Note(3, {}, (4,))
    assert list(hand.settled) == []
    assert hand.start()


def test_a_job_that_was_given_back_is_not_to_blame(hand: Hand, path: Path) -> None:
    hand.deal([7, 8, 9])
    hand.finish()
    hand.start()
    hand.give_back()
    assert read(path) == Note(0, {7: None}, (8, 9))


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


def test_results_come_back_as_they_were(hand: Hand, path: Path) -> None:
    hand.deal(list(range(1, len(RESULTS) + 1)))
    for place, result in enumerate(RESULTS):
        assert not place or hand.start()
        assert hand.has_room(result)
        hand.finish(result)
    assert read(path).finished == dict(enumerate(RESULTS, start=1))


def test_results_fill_the_room_and_no_more(hand: Hand, path: Path) -> None:
    hand.deal(list(range(1, MOST + 1)))
    results: dict[int, str | None] = {}
    for id in range(1, MOST + 1):
        assert id == 1 or hand.start()
        result = "\u20ac" * id
        results[id] = result if hand.has_room(result) else None
        hand.finish(results[id])
        assert hand.has_room(None)
    assert 20 < sum(result is not None for result in results.values()) < MOST
    assert read(path).finished == results
    assert path.stat().st_size == SIZE


def test_a_result_that_is_too_large_has_no_room(hand: Hand) -> None:
    hand.deal([1, 2])
    assert hand.has_room("x" * 3000)
    assert not hand.has_room("x" * SIZE)


# What is not to be believed


@pytest.mark.parametrize("left", [b"", b"x", bytes(SIZE - 1), bytes(SIZE), b"some text " * 4000])
def test_a_file_that_is_no_hand_says_nothing(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    assert read(path) == Note(None)
    assert now(path) is None
    assert not rests(path, 0)


def test_a_file_that_is_not_there_says_nothing(path: Path) -> None:
    assert read(path) == Note(None)
    assert now(path) is None
    assert not rests(path, 0)


@pytest.mark.parametrize("count", [-1, 2, MOST + 1, 2**62])
def test_numbers_that_cannot_be_are_not_believed(hand: Hand, path: Path, count: int) -> None:
    hand.deal([1, 2, 3])
    for _ in range(2):
        hand.finish()
        hand.start()
    set_number(path, hands._COUNT, count)
    assert read(path) == Note(None)


@pytest.mark.parametrize("text", [b"\0" * 40, b"9 null\n", b"-9 1\n", b"x\n", b"0 \xff\n"])
@pytest.mark.parametrize("sound", [False, True], ids=["torn", "checked"])
def test_results_that_cannot_be_are_not_believed(
    hand: Hand, path: Path, text: bytes, sound: bool
) -> None:
    hand.deal([1, 2])
    hand.finish("1234567890" * 4)
    with open(path, "r+b") as file:
        file.seek(LOG_AT)
        file.write(text)
    if sound:
        set_number(path, hands._LOGGED, hands._logged_word(text, hand._salt))
    assert read(path) == Note(None)


@pytest.mark.parametrize("size", [-5, SIZE, 2**62])
def test_a_size_of_results_that_cannot_be_harms_nobody(hand: Hand, path: Path, size: int) -> None:
    hand.deal([1, 2])
    hand.finish("1")
    set_number(path, hands._LOGGED, size)
    assert read(path) == Note(None)


@pytest.mark.parametrize("place", [hands._COUNT, hands._STARTED, hands._DONE])
@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_number_without_its_check_is_not_believed(
    hand: Hand, path: Path, place: int, value: int
) -> None:
    hand.deal([1, 2, 3])
    set_number(path, place, value << 32)
    assert read(path) == Note(None)


def test_a_hand_of_another_file_or_another_start_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "marked.hand"
    hand = Hand(path, 0o600, b"this start, this file")
    hand.deal([1, 2, 3])
    hand.finish()
    assert read(path, b"this start, this file") == Note(0, {1: None}, (2, 3))
    for mark in (b"", b"another", b"this start, this fil"):
        assert read(path, mark) == Note(None)
        assert not rests(path, 0, mark)
        assert recall(path, 0, mark) is None
    assert hand.start()
    hand.close()


def test_what_is_noted_of_another_claim_is_said_of_nobody(hand: Hand, path: Path) -> None:
    hand.deal([1, 2, 3], 1000.5)
    hand.finish()
    assert hand.start()
    note = read(path)
    rows = [job_row(id, 1000.5) for id in (1, 2, 3)]
    assert note.about(rows) == note._replace(fetched=[3])
    rows = [job_row(1, 999.5), job_row(2, 999.5), job_row(3, 1000.5), job_row(4, 1000.5)]
    assert note.about(rows) == Note(0, {}, [3], claimed_at=1000.5)
    assert note.about([]) == Note(0, {}, [], claimed_at=1000.5)


def job_row(id: int, reserved_at: float) -> JobRow:
    values = dict.fromkeys(JobRow._fields)
    at = datetime.fromtimestamp(reserved_at, timezone.utc)
    return JobRow(**{**values, "id": id, "reserved_at": at})  # type: ignore[arg-type]


def test_of_a_hand_torn_in_blocks_no_job_is_finished_that_never_ran(path: Path) -> None:
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
        assert ran.items() >= note.finished.items()
    assert believed > 100


def moments_of(path: Path, draw: random.Random) -> tuple[list[bytes], dict[int, str | None]]:
    """The file as it was at several moments of several hands, and the jobs that ran, of
    each of which it is known what it returned."""
    hand, ids, ran = Hand(path, 0o600), iter(range(1, 10_000)), {}
    moments = [path.read_bytes()]
    for claim in range(6):
        mine = [next(ids) for _ in range(draw.choice([3, 100, MOST]))]
        hand.deal(mine, float(claim))
        for id in mine[: draw.randrange(1, len(mine))]:
            ran[id] = draw.choice([None, f'"result of {id}"'])
            ran[id] = ran[id] if hand.has_room(ran[id]) else None
            hand.finish(ran[id])
            assert hand.start()
            if draw.random() < 0.05:
                moments.append(path.read_bytes())
        hand.clear()
    hand.close()
    return moments, ran


# The recall


def test_a_recall_says_how_far_the_worker_is_and_keeps_it_from_the_rest(
    hand: Hand, path: Path
) -> None:
    hand.deal([7, 8, 9])
    hand.finish("1")
    hand.start()
    assert now(path) == Note(8, {7: "1"}, (9,))
    hand.finish("2")
    assert not hand.start()
    assert read(path) == Note(0, {7: "1", 8: "2"}, (9,))
    assert list(hand.settled) == [7]


def test_a_recall_can_be_repeated_by_whoever_comes_when_the_first_was_in_vain(
    hand: Hand, path: Path
) -> None:
    hand.deal([7, 8, 9])
    assert now(path) == now(path) == Note(7, {}, (8, 9))
    hand.finish("1")
    assert rests(path, 0)
    assert now(path) == Note(0, {7: "1"}, (8, 9))
    assert list(hand.settled) == [7]
    assert not hand.start()


def test_there_is_nothing_to_recall_beside_the_only_job(hand: Hand, path: Path) -> None:
    hand.deal([7])
    assert now(path) is None
    assert not rests(path, 0)


def test_a_recall_waits_until_what_the_worker_wrote_is_seen(hand: Hand, path: Path) -> None:
    hand.deal([7, 8, 9])
    hand.finish()
    waits: list[float] = []

    def start_meanwhile(seconds: float) -> None:
        waits.append(seconds)
        # It looked for a recall before there was one, and its write comes late.
        set_number(path, hands._STARTED, hands._word(2, hand._salt))

    assert recall(path, sleep=start_meanwhile) == Note(8, {7: None}, (9,))
    assert waits == [SEEN_SECONDS]


def test_a_start_that_finds_a_recall_is_none(hand: Hand, path: Path) -> None:
    hand.deal([7, 8])
    hand.finish()
    started: list[bool] = []
    note = recall(path, sleep=lambda seconds: started.append(hand.start()))
    assert (started, note) == ([False], Note(0, {7: None}, (8,)))


def test_a_worker_rests_when_it_has_not_moved_for_so_long(
    hand: Hand, path: Path, clock: Nanoseconds
) -> None:
    hand.deal([7, 8, 9])
    clock.now += SECOND
    assert rests(path, 0.5, clock=clock)
    assert not rests(path, 1.5, clock=clock)
    assert recall(path, 1.5, clock=clock) is None
    hand.finish()
    hand.start()
    assert not rests(path, 0.5, clock=clock)
    clock.now += SECOND
    assert recall(path, 0.5, clock=clock) == Note(8, {7: None}, (9,))


def test_a_machine_that_has_started_anew_since_is_a_long_rest(
    hand: Hand, path: Path, clock: Nanoseconds
) -> None:
    hand.deal([7, 8])
    clock.now = SECOND
    assert rests(path, 3600, clock=clock)


# The file


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
def test_who_may_use_the_database_may_recall(path: Path, mode: int) -> None:
    Hand(path, mode).close()
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_was_left_in_a_file_of_that_name_is_gone(path: Path) -> None:
    path.write_bytes(b"x" * 3 * SIZE)
    Hand(path, 0o600).close()
    assert read(path) == Note(0)
    assert path.stat().st_size == SIZE


@pytest.mark.parametrize("written", [0, 4096, SIZE - 1])
def test_a_disk_without_room_for_a_hand_is_an_error_and_leaves_no_file(
    path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: written)
        with pytest.raises(OSError, match="No space left"):
            Hand(path, 0o600)
    assert not path.exists()
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_may_let_go_of_a_hand_that_its_parent_goes_on_with(
    hand: Hand, path: Path, in_child: Callable[[Callable[[], None]], None]
) -> None:
    hand.deal([7, 8])
    in_child(hand.close)
    hand.finish("1")
    assert hand.start()
    assert read(path) == Note(8, {7: "1"})


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
