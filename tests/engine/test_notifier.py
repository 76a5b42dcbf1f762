"""Waking idle workers: which FIFO is rung for which queue, and what a byte is worth."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from litequeue.engine import locks
from litequeue.engine.notifier import (
    LONGEST_FIFO_NAME,
    MOST_LISTENED,
    Listener,
    Notifier,
    remove_unused_fifos,
    unused_fifos,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")

LONG = [f"a-queue-with-quite-a-long-name-{number}" for number in range(20)]


def rings(listener: Listener) -> bool:
    """Whether someone who sleeps on the bell would wake now."""
    return bool(select.select(listener.descriptors(), [], [], 0)[0])


@pytest.mark.parametrize(
    ("queues", "names"),
    [
        ([], ["wake-any"]),
        (["mail"], ["wake-for-mail"]),
        (["high", "low"], ["wake-for-high", "wake-for-low"]),
        (["a,b", "c/d", ".."], ["wake-for-..", "wake-for-a%2Cb", "wake-for-c%2Fd"]),
        (["ü 🦆~-_."], ["wake-for-%C3%BC%20%F0%9F%A6%86~-_."]),
        (["100%"], ["wake-for-100%25"]),
    ],
)
def test_each_queue_has_a_fifo_of_its_own(
    folder: Path, hang: Callable[..., Listener], queues: list[str], names: list[str]
) -> None:
    hang(*queues)
    hang(*reversed(queues))
    assert sorted(os.listdir(folder)) == names
    assert all(stat.S_ISFIFO(os.stat(folder / name).st_mode) for name in names)


@pytest.mark.parametrize("queue", ["q" * 300, "🦆" * 60])
def test_a_queue_whose_name_is_too_long_for_a_file_has_a_short_one(
    folder: Path, hang: Callable[..., Listener], queue: str
) -> None:
    listener = hang(queue)
    hang(queue[1:])
    names = os.listdir(folder)
    assert len(names) == 2
    assert all(len(name) <= LONGEST_FIFO_NAME for name in names)
    Notifier(folder).notify(queue)
    assert rings(listener)


def test_a_worker_of_very_many_queues_is_woken_for_the_first_of_them(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    listener = hang(*(f"q{number}" for number in range(MOST_LISTENED + 5)))
    assert len(listener.descriptors()) == len(os.listdir(folder)) == MOST_LISTENED
    Notifier(folder).notify("q0")
    assert listener.take()


# Who removes them


def test_the_last_worker_that_leaves_a_fifo_removes_it(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    first, second = hang("high", "low"), hang("low")
    notifier = Notifier(folder)
    notifier.notify("low")
    notifier.notify("high")
    first.close()
    assert os.listdir(folder) == ["wake-for-low"]
    notifier.notify("low")
    assert rings(second)
    second.close()
    assert os.listdir(folder) == []


def test_a_fifo_that_is_removed_while_a_worker_joins_is_made_anew(
    folder: Path, hang: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, share = hang("mail"), locks.share

    def late(descriptor: int) -> bool:
        monkeypatch.setattr(locks, "share", share)
        leaving.close()
        return share(descriptor)

    monkeypatch.setattr(locks, "share", late)
    joining = hang("mail")
    assert os.listdir(folder) == ["wake-for-mail"]
    Notifier(folder).notify("mail")
    assert rings(joining)


def test_a_fifo_that_somebody_is_stopped_at_removing_is_done_without(
    folder: Path, hang: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litequeue.engine.notifier.OPEN_ATTEMPTS", 3)
    os.mkfifo(folder / "wake-any")
    stopped = os.open(folder / "wake-any", os.O_RDWR | os.O_NONBLOCK)
    assert locks.lock(stopped)
    assert hang().descriptors() == []
    os.close(stopped)
    assert len(hang().descriptors()) == 1


def test_where_fifos_cannot_be_locked_they_stay(
    folder: Path, hang: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> bool:
        raise OSError("not supported")

    monkeypatch.setattr(locks, "share", refuse)
    monkeypatch.setattr(locks, "lock", refuse)
    listener = hang("mail")
    Notifier(folder).notify("mail")
    assert listener.take()
    listener.close()
    assert os.listdir(folder) == ["wake-for-mail"]


def test_the_fifos_of_the_dead_are_removed_and_those_of_the_living_stay(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    living = hang("low")
    for name in ("wake-for-high", "wake-any"):
        os.mkfifo(folder / name)
    assert unused_fifos(folder) == ["wake-any", "wake-for-high"]
    remove_unused_fifos(folder, ["high", "low", "none"])
    remove_unused_fifos(folder, [])
    assert os.listdir(folder) == ["wake-for-low"]
    Notifier(folder).notify("low")
    assert rings(living)


def test_a_link_at_the_name_of_a_fifo_is_not_followed(
    folder: Path, tmp_path: Path, hang: Callable[..., Listener]
) -> None:
    os.mkfifo(tmp_path / "victim", 0o600)
    (folder / "wake-any").symlink_to(tmp_path / "victim")
    sleeper = os.open(tmp_path / "victim", os.O_RDONLY | os.O_NONBLOCK)
    assert hang().descriptors() == []
    Notifier(folder).notify("mail")
    Notifier(folder).notify_all()
    remove_unused_fifos(folder, [])
    assert select.select([sleeper], [], [], 0)[0] == []
    os.close(sleeper)
    assert stat.S_IMODE(os.stat(tmp_path / "victim").st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o700, 0o770, 0o777])
def test_whoever_may_write_in_the_folder_may_ring(
    folder: Path, hang: Callable[..., Listener], mode: int
) -> None:
    folder.chmod(mode)
    hang()
    assert stat.S_IMODE(os.stat(folder / "wake-any").st_mode) == mode & 0o666


@pytest.mark.parametrize(
    ("queues", "rung", "wakes"),
    [
        ([], "mail", True),
        (["mail"], "mail", True),
        (["mail"], "mails", False),
        (["mail"], "Mail", False),
        (["high", "low"], "low", True),
        (["high", "low"], "high,low", False),
        (["a,b"], "a,b", True),
        (["a,b"], "a", False),
        (["a/b", "100%", "ü"], "100%", True),
        (["a/b", "100%", "ü"], "ü", True),
        (LONG, LONG[7], True),
    ],
)
def test_a_push_wakes_those_who_serve_its_queue(
    folder: Path, hang: Callable[..., Listener], queues: list[str], rung: str, wakes: bool
) -> None:
    listener = hang(*queues)
    Notifier(folder).notify(rung)
    assert rings(listener) is wakes
    assert listener.take() is wakes


def test_every_worker_that_serves_the_queue_can_be_woken(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    bells = [hang(), hang("mail"), hang("low", "mail"), hang("low")]
    Notifier(folder).notify("mail")
    assert [rings(listener) for listener in bells] == [True, True, True, False]


def test_one_byte_wakes_one_of_those_who_share_a_bell(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    first, second = hang("mail"), hang("mail")
    Notifier(folder).notify("mail")
    assert rings(first)
    assert rings(second)
    assert [second.take(), first.take()] == [True, False]
    assert not rings(first)


def test_take_takes_one_byte_and_drain_all(folder: Path, hang: Callable[..., Listener]) -> None:
    listener, notifier = hang(), Notifier(folder)
    assert not listener.drain()
    for _ in range(3):
        notifier.notify("mail")
    assert listener.take()
    assert rings(listener)
    assert listener.drain()
    assert not rings(listener)
    assert not listener.take()
    assert not listener.drain()


def test_a_worker_can_pass_the_word_on_to_those_who_share_a_queue(
    hang: Callable[..., Listener],
) -> None:
    first, second, stranger = hang("high", "mail"), hang("mail"), hang("low")
    first.notify()
    assert rings(second)
    assert not rings(stranger)


def test_a_bell_is_silent_after_the_last_who_rang_it_has_gone(
    folder: Path, hang: Callable[..., Listener]
) -> None:
    listener = hang()
    Notifier(folder).notify("mail")
    listener.take()
    # A FIFO that is open for reading alone would report an end of file for ever.
    assert not rings(listener)


def test_a_bell_that_was_closed_is_nobodys(folder: Path, hang: Callable[..., Listener]) -> None:
    listener = hang()
    listener.close()
    listener.close()
    assert listener.descriptors() == []
    Notifier(folder).notify("mail")
    listener.notify()
    assert (listener.take(), listener.drain()) == (False, False)
    assert not rings(hang())


def test_a_full_bell_keeps_nobody_waiting(folder: Path, hang: Callable[..., Listener]) -> None:
    listener = hang()
    with suppress(BlockingIOError):
        while True:
            os.write(listener.descriptors()[0], b"\n" * 4096)
    Notifier(folder).notify("mail")
    listener.notify()
    while listener.drain():
        pass
    assert not rings(listener)


# Where there is no bell


def test_where_there_is_no_folder_there_is_no_bell(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "missing", ["mail"])
    assert listener.descriptors() == []
    assert (listener.take(), listener.drain()) == (False, False)
    listener.notify()
    listener.close()
    Notifier(tmp_path / "missing").notify("mail")
    assert not (tmp_path / "missing").exists()


def test_on_a_system_without_fifos_there_is_no_bell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    listener = Listener(folder, [])
    assert listener.descriptors() == []
    assert not listener.take()


def test_a_file_that_stands_where_the_bell_belongs_is_not_slept_on(folder: Path) -> None:
    (folder / "wake-any").write_text("a plain file can always be read")
    listener = Listener(folder, [])
    slept_on = listener.descriptors()
    listener.close()
    assert slept_on == []
