"""Schedules in English."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from pathlib import Path

import pytest

from litequeue.errors import ScheduleError
from litequeue.times.cron import parse_cron, parse_every

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
ODD_HOURS = "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21 and 23"
ODD_DAYS = (
    "1st, 3rd, 5th, 7th, 9th, 11th, 13th, 15th, 17th, 19th, 21st, 23rd, 25th, 27th, 29th and 31st"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # The time of day
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,15,30,45 * * * *", "every 15 minutes"),
        ("0 * * * *", "every hour"),
        ("@hourly", "every hour"),
        ("*/60 * * * *", "every hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("5,35 * * * *", "at minutes 5 and 35 of every hour"),
        ("*/45 * * * *", "at minutes 0 and 45 of every hour"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0-9,30,31 * * * *", "at minutes 0 to 9, 30 and 31 of every hour"),
        ("5-59/15 * * * *", "at minutes 5, 20, 35 and 50 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 */12 * * *", "at 00:00 and 12:00 every day"),
        ("0 */5 * * *", "every 5 hours from 00:00 to 20:00 every day"),
        ("30 */2 * * *", "every 2 hours from 00:30 to 22:30 every day"),
        ("0 9-17 * * *", "every hour from 09:00 to 17:00 every day"),
        ("0 9-18/2 * * *", "every 2 hours from 09:00 to 17:00 every day"),
        ("0 2 * * *", "at 02:00 every day"),
        ("5 4,16 * * *", "at 04:05 and 16:05 every day"),
        ("0,20 1,2,5 * * *", "at 01:00, 01:20, 02:00, 02:20, 05:00 and 05:20 every day"),
        ("5,20 9-11,15 * * *", "at minutes 5 and 20 of the hours 9 to 11 and 15 every day"),
        ("3 1,2,3,5,8,13,21 * * *", "at minute 3 of the hours 1 to 3, 5, 8, 13 and 21 every day"),
        ("* 2 * * *", "every minute from 02:00 to 02:59 every day"),
        ("*/15 2 * * *", "every 15 minutes from 02:00 to 02:59 every day"),
        ("*/30 2 * * *", "at 02:00 and 02:30 every day"),
        (
            "*/20 22,23,0 * * *",
            "every 20 minutes from 00:00 to 00:59 and from 22:00 to 23:59 every day",
        ),
        ("*/10 1-23/2 * * *", f"every 10 minutes in the hours {ODD_HOURS} every day"),
        # The days
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:59, Monday to Friday"),
        ("0 9 * * fri-sun", "at 09:00, Friday to Sunday"),
        ("@weekly", "at 00:00 on Sundays"),
        ("0 9 * * sun,mon,wed", "at 09:00 on Mondays, Wednesdays and Sundays"),
        ("*/5 * * * sat,sun", "every 5 minutes on Saturdays and Sundays"),
        ("0 9 * * 0-7", "at 09:00 every day"),
        ("@monthly", "at 00:00 on the 1st of every month"),
        ("0 0 1-7,15,22 * *", "at 00:00 on the 1st to 7th, 15th and 22nd of every month"),
        (
            "0 0 2,3,11,12,13,23 * *",
            "at 00:00 on the 2nd, 3rd, 11th to 13th and 23rd of every month",
        ),
        ("* * 31 * *", "every minute on the 31st of every month"),
        # The months
        ("@yearly", "at 00:00 on the 1st of January"),
        ("0 0 29 2 *", "at 00:00 on the 29th of February"),
        ("0 0 1 */3 *", "at 00:00 on the 1st of January, April, July and October"),
        ("0 0 * jun-aug *", "at 00:00 every day in June to August"),
        ("*/15 * * 2 *", "every 15 minutes in February"),
        ("0 9 * 1,7 mon", "at 09:00 on Mondays in January and July"),
        ("0 9 * 3-5 1-5", "at 09:00, Monday to Friday in March to May"),
        # The day rule
        ("30 4 1,15 * 5", "at 04:30 on the 1st and 15th of every month, and on Fridays"),
        ("30 4 1 * 1-5", "at 04:30 on the 1st of every month, and Monday to Friday"),
        ("0 0 1 1 mon", "at 00:00 on the 1st of January, and on Mondays in January"),
        ("0 0 1-31 * mon", "at 00:00 every day"),
        ("0 0 1 * 0-6", "at 00:00 every day"),
        ("0 0 */2 * mon", f"at 00:00 on the {ODD_DAYS} of every month, if that is a Monday"),
        (
            "0 0 13 2 */3",
            "at 00:00 on the 13th of February, if that is a Wednesday, Saturday or Sunday",
        ),
    ],
)
def test_an_expression_reads_as_english(text: str, words: str) -> None:
    assert parse_cron(text).words() == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "every second"),
        (60, "every minute"),
        ("15m", "every 15 minutes"),
        (timedelta(hours=1), "every hour"),
        ("1h30m", "every 1 hour and 30 minutes"),
        ("24h", "every day"),
        ("1 week", "every 7 days"),
        (90_061.5, "every 1 day, 1 hour, 1 minute and 1.5 seconds"),
    ],
)
def test_a_period_reads_as_english(value: str | float | timedelta, words: str) -> None:
    assert parse_every(value).words() == words


def test_expressions_that_differ_in_meaning_differ_in_words() -> None:
    chance = random.Random(11)
    seen: dict[str, object] = {}
    parts = {
        0: ["*", "0", "5", "*/15", "5-59/15", "0-29", "0,30", "*/7"],
        1: ["*", "0", "2", "*/2", "9-17", "9-17/2", "22,23,0", "1,2,5,9"],
        2: ["*", "1", "1,15", "*/2", "1-31", "29"],
        3: ["*", "1", "1-3", "*/2"],
        4: ["*", "mon", "1-5", "sat,sun", "*/2", "0-6"],
    }
    for _ in range(3000):
        cron = parse_cron(" ".join(chance.choice(parts[number]) for number in range(5)))
        full = len(cron.days) == 31, len(cron.weekdays) == 7
        every_day = any(full) if cron.either_day else all(full)
        days = None if every_day else (cron.days, cron.weekdays, cron.either_day and not any(full))
        meaning = (cron.minutes, cron.hours, days, cron.months)
        assert seen.setdefault(cron.words(), meaning) == meaning, cron


# The page


def rows(heading: str) -> list[tuple[str, str]]:
    table = PAGE.split(heading, 1)[1].split("\n\n", 1)[0]
    found = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return [(text, last) for first, last in found for text in re.findall("`([^`]+)`", first)]


@pytest.mark.parametrize(("text", "words"), rows("| expression | in words |"))
def test_the_examples_of_the_page_are_true(text: str, words: str) -> None:
    assert parse_cron(text).words() == words


@pytest.mark.parametrize(("word", "fields"), rows("| word | same as |"))
def test_the_words_of_the_page_are_true(word: str, fields: str) -> None:
    assert parse_cron(word).words() == parse_cron(fields.strip("`")).words()


@pytest.mark.parametrize(("text", "because"), rows("| text | because |"))
def test_what_the_page_calls_refused_is_refused(text: str, because: str) -> None:
    with pytest.raises(ScheduleError):
        parse_cron(text)


@pytest.mark.parametrize(
    ("value", "meaning"), [row for row in rows("| value | meaning |") if "(" not in row[0]]
)
def test_the_periods_of_the_page_are_read(value: str, meaning: str) -> None:
    assert parse_every(value.strip('"')).seconds >= 90
