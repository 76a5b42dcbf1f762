"""retry, cancel, forget, prune, pause and resume: what they change, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import Capture, claimed_here, complaint, failed, in_a_process, litequeue

from litequeue import Queue, RunLost, State
from litequeue.records import Spec

Write = Callable[[Mapping[str, str]], Path]


def states(queue: Queue) -> list[str]:
    return [row.state.value for row in reversed(queue.find())]


# retry, cancel and forget alike


def test_retry_by_ids(queue: Queue, capsys: Capture) -> None:
    for _ in range(3):
        failed(queue, "ValueError: no")
    assert litequeue("retry", "jobs.db", "1", "3") == 0
    assert capsys.readouterr() == ("Retried 2 jobs.\n", "")
    assert states(queue) == ["ready", "failed", "ready"]


def test_retry_by_what_matches(queue: Queue) -> None:
    failed(queue, "ValueError: no", {"queue": "emails"})
    failed(queue, "ValueError: no")
    queue.cancel(queue.push("send-mail", queue="emails"))
    words = ("--state", "failed", "--queue", "emails", "--name", "SendMail")
    assert litequeue("retry", "jobs.db", *words) == 0
    assert states(queue) == ["ready", "failed", "cancelled"]


def test_forget_deletes(queue: Queue, capsys: Capture) -> None:
    queue.push_many([("a", {}), ("b", {}), ("b", {})])
    assert litequeue("forget", "jobs.db", "--name", "b") == 0
    assert litequeue("forget", "jobs.db", "1", "--json") == 0
    out = capsys.readouterr().out
    assert out.startswith("Forgot 2 jobs.\n")
    assert json.loads(out.partition("\n")[2]) == {"forgotten": 1}
    assert queue.find() == []


def test_an_id_that_is_given_twice_is_meant_once(queue: Queue, capsys: Capture) -> None:
    for verb in ("cancel", "retry", "forget"):
        queue.push("a")
        queue.push("b", delay=60)
        assert litequeue(verb, "jobs.db", "2", "2") == 0
    assert capsys.readouterr().out == "Cancelled 1 job.\nRetried 1 job.\nForgot 1 job.\n"


@pytest.mark.parametrize("verb", ["retry", "cancel", "forget"])
def test_an_unknown_id_is_exit_1_and_nothing_is_changed(
    queue: Queue, capsys: Capture, verb: str
) -> None:
    queue.push("a", delay=60)
    assert litequeue(verb, "jobs.db", "1", "99") == 1
    assert "There is no job 99" in complaint(capsys)
    assert states(queue) == ["scheduled"]


def test_a_wrong_state_is_exit_1_and_nothing_is_changed(queue: Queue, capsys: Capture) -> None:
    queue.push("later", delay=60)
    queue.push("now")
    assert litequeue("retry", "jobs.db", "1", "2") == 1
    assert "Job 2 is ready" in complaint(capsys)
    assert states(queue) == ["scheduled", "ready"]


@pytest.mark.parametrize("verb", ["retry", "cancel", "forget"])
@pytest.mark.parametrize("words", ["--all", "--name nobody", "--state done", "--queue elsewhere"])
def test_nothing_that_matches_is_exit_1(
    queue: Queue, capsys: Capture, verb: str, words: str
) -> None:
    assert litequeue(verb, "jobs.db", *words.split()) == 1
    assert complaint(capsys) == f"No job matches that {verb} can take.\n"


def test_nothing_that_matches_is_a_count_of_0_in_json(queue: Queue, capsys: Capture) -> None:
    assert litequeue("retry", "jobs.db", "--all", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {"retried": 0}


@pytest.mark.parametrize("verb", ["retry", "cancel", "forget"])
@pytest.mark.parametrize(
    "words",
    ["", "1 --all", "--all --queue q", "1 --name n", "--state lost", "x", "0", "--name \udcff"],
)
def test_the_jobs_must_be_said_in_one_way(
    queue: Queue, capsys: Capture, verb: str, words: str
) -> None:
    queue.push("a")
    assert litequeue(verb, "jobs.db", *words.split()) == 2
    assert verb in complaint(capsys) or "lost" in words
    assert states(queue) == ["ready"]


# cancel


def test_cancel_asks_a_running_job_to_stop(queue: Queue, capsys: Capture) -> None:
    queue.push_many([("a", {})] * 3)
    row = claimed_here(queue)
    assert litequeue("cancel", "jobs.db", "1", "2", "3") == 0
    assert capsys.readouterr().out == "Cancelled 2 jobs.\nAsked 1 running job to stop.\n"
    assert not queue.store.executions.wanted(row)
    assert states(queue) == ["running", "cancelled", "cancelled"]


def test_cancel_of_nothing_but_running_jobs_claims_no_more(queue: Queue, capsys: Capture) -> None:
    queue.push_many([("a", {})] * 2)
    claimed_here(queue)
    claimed_here(queue)
    assert litequeue("cancel", "jobs.db", "--state", "running") == 0
    assert capsys.readouterr().out == "Asked 2 running jobs to stop.\n"


@pytest.mark.parametrize("words", ["--all", "--queue default", "--name a"])
def test_cancel_by_what_matches_tells_running_jobs_apart(
    queue: Queue, capsys: Capture, words: str
) -> None:
    queue.push_many([("a", {})] * 2)
    queue.push("a", delay=60)
    queue.cancel(queue.push("a"))
    claimed_here(queue)
    assert litequeue("cancel", "jobs.db", *words.split(), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"cancelled": 2, "asked_to_stop": 1}
    assert states(queue) == ["running", "cancelled", "cancelled", "cancelled"]


# prune


def test_prune_deletes_what_finished_longer_ago(queue: Queue, capsys: Capture) -> None:
    with Queue("jobs.db", clock=lambda: queue.store.clock() - 8 * 86400) as before:
        failed(before, "ValueError: no")
    failed(queue, "ValueError: no")
    assert litequeue("prune", "jobs.db", "--older", "7d") == 0
    assert capsys.readouterr().out == "Pruned 1 job.\n"
    assert states(queue) == ["failed"]


def test_prune_of_nothing_is_no_failure(queue: Queue, capsys: Capture) -> None:
    assert litequeue("prune", "jobs.db", "--older", "7d") == 0
    assert litequeue("prune", "jobs.db", "--older", "7d", "--json") == 0
    out = capsys.readouterr().out
    assert out.startswith("Pruned 0 jobs.\n")
    assert json.loads(out.partition("\n")[2]) == {"pruned": 0}


@pytest.mark.parametrize("words", ["", "--older", "--older soon", "--older -1d"])
def test_prune_must_be_told_how_old(queue: Queue, capsys: Capture, words: str) -> None:
    assert litequeue("prune", "jobs.db", *words.split()) == 2
    assert "--older" in complaint(capsys)


# pause and resume


def test_pause_and_resume(queue: Queue, capsys: Capture) -> None:
    assert litequeue("pause", "jobs.db", "emails") == 0
    assert queue.paused() == ["emails"]
    assert litequeue("resume", "jobs.db", "emails") == 0
    assert queue.paused() == []
    assert capsys.readouterr().out == "Paused queue emails.\nResumed queue emails.\n"


def test_pausing_twice_and_resuming_twice_is_exit_1(queue: Queue, capsys: Capture) -> None:
    assert litequeue("resume", "jobs.db", "emails") == 1
    assert complaint(capsys) == "Queue emails was not paused.\n"
    queue.pause("emails")
    assert litequeue("pause", "jobs.db", "emails") == 1
    assert complaint(capsys) == "Queue emails was paused already.\n"


def test_pause_as_json(queue: Queue, capsys: Capture) -> None:
    litequeue("pause", "jobs.db", "emails", "--json")
    expected = {"queue": "emails", "paused": True, "changed": True}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize("name", ["", " ", "\udcff"])
def test_a_queue_must_have_a_name(queue: Queue, capsys: Capture, name: str) -> None:
    assert litequeue("pause", "jobs.db", name) == 2
    assert complaint(capsys)


@pytest.mark.parametrize(
    "words",
    [
        "retry {} 1",
        "cancel {} 1",
        "forget {} 1",
        "prune {} --older 1d",
        "pause {} q",
        "resume {} q",
    ],
)
def test_a_file_that_there_is_not_is_not_made(
    application: Write, capsys: Capture, words: str
) -> None:
    folder = application({})
    assert litequeue(*words.format("nowhere.db").split()) == 2
    assert "there is no such file" in complaint(capsys)
    assert list(folder.iterdir()) == []


def test_the_process_ends_with_the_status(queue: Queue) -> None:
    queue.push("a")
    assert in_a_process("cancel", "jobs.db", "1").returncode == 0
    again = in_a_process("cancel", "jobs.db", "1")
    assert (again.returncode, again.stdout) == (1, b"")
    assert queue.get(1).state is State.CANCELLED


# Batches, and force


def members(queue: Queue, count: int) -> int:
    """Push a batch of so many jobs, and return its id."""
    with queue.batch(then=_Follower()) as batch:
        for number in range(count):
            batch.push("part", {"number": number})
    assert batch.id is not None
    return batch.id


class _Follower:
    def __litequeue_spec__(self) -> Spec:
        return Spec("report", "{}")


def test_a_batch_is_cancelled_with_what_follows_it(queue: Queue, capsys: Capture) -> None:
    id = members(queue, 3)
    queue.push("other")
    assert litequeue("cancel", "jobs.db", "--batch", str(id)) == 0
    assert capsys.readouterr() == ("Cancelled 4 jobs.\n", "")
    assert states(queue) == ["cancelled"] * 4 + ["ready"]
    assert litequeue("cancel", "jobs.db", "--batch", str(id)) == 1
    assert "No job matches" in complaint(capsys)


def test_members_that_run_are_asked_to_stop(queue: Queue, capsys: Capture) -> None:
    id = members(queue, 2)
    running = claimed_here(queue)
    assert litequeue("cancel", "jobs.db", "--batch", str(id), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"cancelled": 2, "asked_to_stop": 1}
    assert not queue.store.executions.wanted(running)


@pytest.mark.parametrize("words", ["--batch 1 2", "--batch 1 --all", "--batch 1 --queue default"])
def test_a_batch_is_named_alone(queue: Queue, capsys: Capture, words: str) -> None:
    members(queue, 1)
    assert litequeue("cancel", "jobs.db", *words.split()) == 2
    assert "--batch ID alone" in complaint(capsys)
    assert states(queue) == ["waiting", "ready"]


def test_a_batch_that_there_is_not_is_one_line(queue: Queue, capsys: Capture) -> None:
    assert litequeue("cancel", "jobs.db", "--batch", "9") == 1
    assert "There is no job 9" in complaint(capsys)


def test_force_takes_a_running_job_from_its_worker(queue: Queue, capsys: Capture) -> None:
    queue.push("a")
    row = claimed_here(queue)
    assert litequeue("retry", "jobs.db", "1") == 1
    assert "Job 1 is running" in complaint(capsys)
    assert litequeue("retry", "jobs.db", "--force", "1") == 0
    assert states(queue) == ["ready"]
    with pytest.raises(RunLost):
        queue.store.executions.complete(row)


def test_force_is_for_jobs_by_their_ids(queue: Queue, capsys: Capture) -> None:
    queue.push("a")
    claimed_here(queue)
    assert litequeue("retry", "jobs.db", "--force", "--all") == 2
    assert "by their ids alone" in complaint(capsys)
    assert states(queue) == ["running"]
