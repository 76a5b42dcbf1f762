from __future__ import annotations

import math
import sys
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import litequeue.worker.outcome
from litequeue.durations import LONGEST_SECONDS
from litequeue.errors import Fail, PayloadError, Retry, Snooze, UnknownJob, WorkerDied
from litequeue.options import Options
from litequeue.records import JobRow, State, reason_of
from litequeue.times.backoff import pause
from litequeue.worker.outcome import (
    LONGEST_EXCEPTION,
    Outcome,
    Policy,
    Verb,
    classify,
    describe,
    full,
    policy,
)

THEN = datetime(2030, 1, 1, tzinfo=timezone.utc)
NOW = THEN.timestamp()
ROW = JobRow(
    id=7,
    name="SendMail",
    queue="default",
    priority=0,
    state=State.RUNNING,
    attempts=1,
    max_attempts=None,
    worker=1 << 41,
    available_at=THEN,
    reserved_at=THEN,
    created_at=THEN,
    cancelled_at=None,
    finished_at=None,
    failed_at=None,
    progress=None,
    options={},
    exception=None,
    result=None,
    payload="{}",
)
THREE = Policy(max_attempts=3, backoff=30, timeout=None, keep=0, on_failure="keep")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words for you")


class Leaver(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def middle() -> float:
    return 0.5


def row(attempt: int) -> JobRow:
    return ROW._replace(attempts=attempt)


def died(attempt: int) -> WorkerDied:
    return WorkerDied(worker="0a", cause="SIGKILL", attempt=attempt, max_attempts=3)


# classify: (what the run raised, its attempt of three, verb, seconds to wait, in one line)

NO_USER = "SendMail: field 'user_id' is missing"
PAYLOAD = PayloadError(job="SendMail", problem="field 'user_id' is missing")
ENDINGS: list[tuple[BaseException | None, int, Verb, float, str]] = [
    (None, 1, Verb.COMPLETE, 0, ""),
    (None, 3, Verb.COMPLETE, 0, ""),
    (ValueError("no"), 1, Verb.RETRY_LATER, 30, "no"),
    (ValueError("no"), 2, Verb.RETRY_LATER, 30, "no"),
    (ValueError("no"), 3, Verb.FAIL, 0, "no"),
    (ValueError("no"), 9, Verb.FAIL, 0, "no"),
    (Retry(), 1, Verb.RETRY_LATER, 30, "the job asked to be retried"),
    (Retry("busy"), 1, Verb.RETRY_LATER, 30, "busy"),
    (Retry("busy", after=60), 1, Verb.RETRY_LATER, 60, "busy"),
    (Retry(after=0), 1, Verb.RETRY_LATER, 0, "the job asked to be retried"),
    (Retry(after=-5), 1, Verb.RETRY_LATER, 0, "the job asked to be retried"),
    (Retry("busy", after=60), 3, Verb.FAIL, 0, "busy"),
    (Snooze(after=60), 1, Verb.RELEASE, 60, "the job asked to be run later"),
    (Snooze("at night", after=60), 3, Verb.RELEASE, 60, "at night"),
    (Snooze(after=-1), 1, Verb.RELEASE, 0, "the job asked to be run later"),
    (Fail("no such user"), 1, Verb.FAIL, 0, "no such user"),
    (Fail(), 1, Verb.FAIL, 0, "Fail"),
    (PAYLOAD, 1, Verb.FAIL, 0, NO_USER),
    (UnknownJob(name="Nope"), 1, Verb.PUT_BACK, 10, "Job (Nope) not found!"),
    (SystemExit(3), 1, Verb.RETRY_LATER, 30, "SystemExit: 3"),
    (SystemExit(), 3, Verb.FAIL, 0, "SystemExit"),
    (KeyboardInterrupt(), 1, Verb.RETRY_LATER, 30, "KeyboardInterrupt"),
    (KeyboardInterrupt(), 3, Verb.FAIL, 0, "KeyboardInterrupt"),
    (GeneratorExit(), 1, Verb.RETRY_LATER, 30, "GeneratorExit"),
    (Mute(), 1, Verb.RETRY_LATER, 30, "Mute (its str() raises RuntimeError)"),
    (Mute(), 3, Verb.FAIL, 0, "Mute (its str() raises RuntimeError)"),
    (Leaver(), 1, Verb.RETRY_LATER, 30, "Leaver (its str() raises SystemExit)"),
    (KeyError("user"), 1, Verb.RETRY_LATER, 30, "KeyError: 'user'"),
    (died(1), 1, Verb.RETRY_LATER, 0, str(died(1))),
    (died(3), 3, Verb.FAIL, 0, str(died(3))),
]


@pytest.mark.parametrize(
    ("error", "attempt", "verb", "after", "reason"),
    ENDINGS,
    ids=[f"{type(each[0]).__name__} at {each[1]}" for each in ENDINGS],
)
def test_a_run_ends_so(
    error: BaseException | None, attempt: int, verb: Verb, after: float, reason: str
) -> None:
    outcome = classify(error, row(attempt), THREE, middle, NOW)
    assert (outcome.verb, outcome.after, outcome.reason) == (verb, after, reason)


@pytest.mark.parametrize("attempt", [1, 3])
def test_whatever_has_failed_leaves_an_exception(attempt: int) -> None:
    for error, _, verb, _, _ in ENDINGS:
        outcome = classify(error, row(attempt), THREE, middle, NOW)
        assert bool(outcome.exception) == (verb in (Verb.RETRY_LATER, Verb.FAIL)), error


def test_the_last_line_of_the_exception_is_the_reason_of_the_row() -> None:
    outcome = classify(ValueError("no"), row(3), THREE, middle, NOW)
    failed = ROW._replace(exception=outcome.exception)
    assert failed.reason == "ValueError: no"


def test_a_job_that_kills_its_workers_fails_with_an_exception_that_says_so() -> None:
    outcome = classify(died(3), row(3), THREE, middle, NOW)
    assert outcome.exception.endswith("last attempt: its worker died each time.\n")
    assert "each time" not in classify(died(2), row(2), THREE, middle, NOW).exception


def test_a_worker_that_died_costs_no_pause_whatever_the_backoff() -> None:
    slow = THREE._replace(backoff=[3600])
    assert classify(died(1), row(1), slow, middle, NOW).after == 0


def broken(attempt: int) -> float:
    raise LookupError(attempt)


def nonsense(attempt: int) -> float:
    return "soon"  # type: ignore[return-value]


@pytest.mark.parametrize("backoff", [broken, nonsense])
@pytest.mark.parametrize("error", [ValueError("no"), Retry("no")], ids=["raised", "Retry"])
def test_a_backoff_that_raises_gives_way_to_the_default(backoff: object, error: Exception) -> None:
    chosen = THREE._replace(backoff=backoff)  # type: ignore[arg-type]
    outcome = classify(error, row(2), chosen, middle, NOW)
    assert outcome.after == pause(None, 2, middle) == 20
    assert outcome.reason == "no"


NO_DURATIONS = [math.inf, math.nan, "x"]


@pytest.mark.parametrize("after", NO_DURATIONS, ids=repr)
def test_an_after_that_is_no_finite_duration_is_replaced(after: float | str) -> None:
    retried = classify(Retry("no", after=after), row(2), THREE, middle, NOW)
    assert (retried.verb, retried.after) == (Verb.RETRY_LATER, pause(THREE.backoff, 2, middle))
    snoozed = classify(Snooze("no", after=after), row(2), THREE, middle, NOW)
    assert (snoozed.verb, snoozed.after) == (Verb.RELEASE, 60)


@pytest.mark.parametrize("after", [1e300, 10**400], ids=["1e300", "10**400"])
@pytest.mark.parametrize("kind", [Retry, Snooze])
def test_an_after_that_is_too_long_is_clipped(
    kind: type[Retry] | type[Snooze], after: float
) -> None:
    outcome = classify(kind("no", after=after), row(1), THREE, middle, NOW)
    assert outcome.after == LONGEST_SECONDS


NO_SECONDS = [math.inf, math.nan, 1e300, 10**400, "x", "60", timedelta(seconds=60)]


@pytest.mark.parametrize("after", NO_SECONDS, ids=lambda after: repr(after)[:9])
@pytest.mark.parametrize("kind", [Retry, Snooze])
def test_an_after_that_is_no_seconds_does_not_cost_the_worker(
    kind: type[Retry] | type[Snooze], after: float
) -> None:
    # What classify raises, or cannot be stored, would end the worker and not the job.
    outcome = classify(kind("no", after=after), row(1), THREE, middle, NOW)
    assert outcome.reason
    assert 0 <= outcome.after < 2**33


def test_a_backoff_of_aeons_is_cut_to_what_a_row_can_hold() -> None:
    chosen = THREE._replace(backoff=lambda attempt: 1e300)
    assert 0 <= classify(ValueError("no"), row(1), chosen, middle, NOW).after < 2**33


def test_the_backoff_is_asked_with_the_attempt_that_failed() -> None:
    chosen = THREE._replace(backoff=[10, 20, 40], max_attempts=9)
    pauses = [
        classify(OSError(), row(attempt), chosen, middle, NOW).after for attempt in range(1, 5)
    ]
    assert pauses == [10, 20, 40, 40]


def test_a_jobs_own_subclass_of_retry_snooze_or_fail_counts_as_one() -> None:
    class Throttled(Snooze):
        def __init__(self) -> None:
            super().__init__("throttled", after=5)

    class Gone(Fail):
        pass

    assert classify(Throttled(), row(3), THREE, middle, NOW).verb is Verb.RELEASE
    assert classify(Gone("gone"), row(1), THREE, middle, NOW).verb is Verb.FAIL


def test_an_outcome_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Outcome(Verb.COMPLETE).verb = Verb.FAIL  # type: ignore[misc]


# policy: the row wins over the class, the class over the worker's flags, those over DEFAULTS

LEVELS: tuple[Options, ...] = (
    {"max_attempts": 10, "backoff": 1, "timeout": 11, "keep": 12, "on_failure": "delete"},
    {"max_attempts": 20, "backoff": [2], "timeout": 21, "keep": 22, "on_failure": "keep"},
    {"max_attempts": 30, "backoff": 3, "timeout": 31, "keep": 32, "on_failure": "delete"},
    {"max_attempts": 3, "keep": 0, "on_failure": "keep"},
)


@pytest.mark.parametrize("word", Policy._fields)
@pytest.mark.parametrize("nearest", range(4), ids=["row", "class", "flags", "defaults"])
def test_the_nearest_who_gave_an_option_decides(word: str, nearest: int) -> None:
    given: list[Options] = [
        {} if place < nearest else {word: level[word]}  # type: ignore[literal-required, misc]
        for place, level in enumerate(LEVELS[:3])
    ]
    own, declared, flags = given
    # The one option of these that is a column of its own.
    attempts = own.pop("max_attempts", None)
    stored = ROW._replace(options=own, max_attempts=attempts)
    assert getattr(policy(stored, declared, flags), word) == LEVELS[nearest].get(word)


def test_options_are_mixed_from_all_who_gave_some() -> None:
    stored = ROW._replace(options={"keep": 0}, max_attempts=1)
    found = policy(stored, {"keep": 60, "timeout": 5}, {"timeout": 9, "on_failure": "delete"})
    assert found == Policy(max_attempts=1, backoff=None, timeout=5, keep=0, on_failure="delete")


def test_choosing_a_policy_changes_nothing_that_it_was_given() -> None:
    options: Options = {"keep": 5}
    declared: Options = {"timeout": 5}
    policy(ROW._replace(options=options, max_attempts=2), declared, {})
    assert options == {"keep": 5}
    assert declared == {"timeout": 5}


# describe and full


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ttwo\n  three"), "one two"),
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError(" \n "), "ValueError"),
        (ValueError("a", 1), "('a', 1)"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit("bye"), "SystemExit: bye"),
        (Mute(), "Mute (its str() raises RuntimeError)"),
    ],
)
def test_an_error_is_described_in_one_line(error: BaseException, line: str) -> None:
    assert describe(error) == line


def raised(source: str, filename: str, **names: object) -> BaseException:
    """What running ``source`` as the file ``filename`` raises."""
    try:
        exec(compile(source, filename, "exec"), names)
    except BaseException as error:
        return error.with_traceback(error.__traceback__.tb_next)  # type: ignore[union-attr]
    raise AssertionError("nothing was raised")


OURS = str(Path(litequeue.worker.outcome.__file__).with_name("executor.py"))


def test_the_traceback_begins_with_the_users_own_frame() -> None:
    user = "def handle():\n    raise ValueError('no')\n"
    names: dict[str, object] = {}
    exec(compile(user, "/app/jobs.py", "exec"), names)
    error = raised("def run():\n    handle()\nrun()\n", OURS, **names)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert files == [OURS, OURS, "/app/jobs.py"]
    text = full(error)
    assert OURS not in text
    assert text.startswith('Traceback (most recent call last):\n  File "/app/jobs.py", line 2')
    assert text.endswith("ValueError: no\n")


def test_frames_of_ours_below_the_users_are_kept() -> None:
    # The user called litequeue wrongly: the way there is what helps.
    below = raised("1 / 0", OURS)
    error = raised("raise error", "/app/jobs.py", error=below)
    assert full(error).index("/app/jobs.py") < full(error).index(OURS)


def test_a_folder_that_only_begins_as_ours_does_is_the_users() -> None:
    place = f"{Path(OURS).parents[1]}_tools/jobs.py"
    assert place in full(raised("1 / 0", place))


def test_an_error_of_litequeue_itself_has_no_frames() -> None:
    error = raised("1 / 0", OURS)
    assert full(error) == "ZeroDivisionError: division by zero\n"


def test_the_cause_of_an_error_is_kept() -> None:
    source = "try:\n    {}['x']\nexcept KeyError as e:\n    raise ValueError('no') from e\n"
    text = full(raised(source, "/app/jobs.py"))
    assert text.index("KeyError: 'x'") < text.index("direct cause") < text.index("ValueError: no")


def test_a_long_exception_keeps_its_end() -> None:
    text = full(ValueError("a" * 100_000 + " the end"))
    reason, _, end = text.partition("\n...\n")
    assert reason == f"ValueError: {'a' * 487}…"
    assert end.endswith("a the end\n")
    assert len(end) == LONGEST_EXCEPTION
    assert reason_of(text) == reason


def noted() -> BaseException:
    error = ValueError("no price")
    if hasattr(error, "add_note"):
        error.add_note("a note")
        error.add_note("Traceback (most recent call last):\nForged: yes")
    return error


class NoPrice(Exception):
    """An error of a job's own."""


REASONS = [
    ("raise ValueError('no price for the lamp')", "ValueError: no price for the lamp"),
    ("raise ValueError('no price\\nfor: the\\n\\nlamp')", "ValueError: no price"),
    ("raise ValueError('\\n\\n no price\\nat all')", "ValueError: no price"),
    ("raise ValueError('failed:\\nall of it')", "ValueError: failed:"),
    ("raise ValueError('')", "ValueError"),
    ("raise ValueError('\\n\\n')", "ValueError"),
    ("raise ValueError", "ValueError"),
    ("raise KeyError('lamp')", "KeyError: 'lamp'"),
    ("raise NoPrice('lamp')", f"{__name__}.NoPrice: lamp"),
    ("raise error", "ValueError: no price"),
    ("raise ValueError('Traceback (most recent call last):\\nA: b')",
     "ValueError: Traceback (most recent call last):"),
    ("compile('a b', 'x.py', 'exec')", "SyntaxError: invalid syntax"),
    ("lampe = 1; lamp", "NameError: name 'lamp' is not defined"),
    ("try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise ValueError('no\\nprice') from e",
     "ValueError: no"),
    ("try:\n    1 / 0\nexcept ArithmeticError:\n    raise ValueError('no price')",
     "ValueError: no price"),
    ("raise ValueError('\\udcff')", "ValueError: \\udcff"),
    ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reason"), REASONS)
def test_the_reason_is_the_type_and_the_first_line_of_the_message(source: str, reason: str) -> None:
    error = raised(source, "/app/jobs.py", error=noted(), NoPrice=NoPrice)
    found = ROW._replace(exception=full(error)).reason
    assert found.partition(". Did you mean")[0] == reason


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
@pytest.mark.parametrize(
    "source",
    [
        "raise ExceptionGroup('two', [ValueError('one'), KeyError('x')])",
        "try:\n    1 / 0\nexcept ArithmeticError:\n    raise ExceptionGroup('two', [OSError()])",
    ],
)
def test_the_reason_of_a_group_is_its_own(source: str) -> None:
    found = ROW._replace(exception=full(raised(source, "/app/jobs.py"))).reason
    assert found.startswith("ExceptionGroup: two (")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("\n \n", ""),
        ("timed out, still running", "timed out, still running"),
        ("litequeue.errors.UnknownJob: Job (Nope) not found!\n",
         "UnknownJob: Job (Nope) not found!"),
        ("...\nfile.py, line 3, in f\n    raise x\nValueError: no\n", "ValueError: no"),
        ("...\naaaaaa the end\n", "aaaaaa the end"),
        ('Current thread 0x7f (a):\n  File "/app/jobs.py"\nJobTimeout: It did\n',
         "JobTimeout: It did"),
    ],
)  # fmt: skip
def test_the_reason_is_found_in_what_older_rows_hold(text: str, reason: str) -> None:
    assert ROW._replace(exception=text).reason == reason


def test_lone_surrogates_are_written_as_they_look() -> None:
    text = full(ValueError("file \udcff.txt"))
    assert text == "ValueError: file \\udcff.txt\n"


@pytest.mark.parametrize("error", [Mute(), Leaver()], ids=["raises", "exits"])
def test_an_exception_whose_str_raises_is_kept_by_its_type(error: Exception) -> None:
    assert type(error).__name__ in full(error)


def test_a_user_class_whose_traceback_cannot_be_formatted_loses_no_run() -> None:
    class Hostile(Exception):
        @property
        def __notes__(self) -> list[str]:
            raise SystemExit(1)

        def __str__(self) -> str:
            raise SystemExit(2)

    outcome = classify(Hostile(), row(1), THREE, middle, NOW)
    assert outcome.verb is Verb.RETRY_LATER
    assert "Hostile" in outcome.exception
