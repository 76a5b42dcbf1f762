from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from litequeue import Job
from litequeue.errors import DuplicateJob, NoJobsFound
from litequeue.jobs.discovery import Found, collect, discover, jobs_in
from litequeue.records import key

Application = Callable[[Mapping[str, str]], Path]

MAIL = """
from litequeue import Job, job
class SendMail(Job):
    def handle(self): ...
"""
IMAGE = """
from litequeue import job
@job
def resize(path: str): ...
"""


def names(found: Found) -> list[str]:
    return [cls.__litequeue__.name for cls in found.classes]


def places(found: Found) -> list[str]:
    return [cls.__litequeue__.location for cls in found.classes]


# Where jobs are


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"jobs.py": MAIL + IMAGE}, ["jobs.SendMail", "jobs.resize"]),
        ({"jobs/__init__.py": MAIL}, ["jobs.SendMail"]),
        (
            {"jobs/__init__.py": "", "jobs/mail.py": MAIL, "jobs/image.py": IMAGE},
            ["jobs.mail.SendMail", "jobs.image.resize"],
        ),
        (
            {"jobs/__init__.py": "", "jobs/a/__init__.py": IMAGE, "jobs/a/b/__init__.py": MAIL},
            ["jobs.a.b.SendMail", "jobs.a.resize"],
        ),
        ({"jobs/mail.py": MAIL}, ["jobs.mail.SendMail"]),
        ({"app/jobs.py": MAIL}, ["app.jobs.SendMail"]),
        ({"app/__init__.py": "", "app/jobs/__init__.py": MAIL}, ["app.jobs.SendMail"]),
        ({"app/jobs/mail.py": MAIL}, ["app.jobs.mail.SendMail"]),
        ({"jobs.py": MAIL, "app/jobs.py": IMAGE}, ["jobs.SendMail"]),
        ({"jobs.py": MAIL, "mail.py": IMAGE}, ["jobs.SendMail"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_jobs_are_found_where_nothing_is_named(
    application: Application, files: dict[str, str], expected: list[str]
) -> None:
    application(files)
    found = discover()
    assert places(found) == expected
    assert found.failures == []


def test_a_folder_without_init_below_the_package_is_walked_too(application: Application) -> None:
    application({"jobs/__init__.py": "", "jobs/mail/welcome.py": MAIL})
    assert places(discover()) == ["jobs.mail.welcome.SendMail"]


def test_a_named_package_is_searched_and_no_other(application: Application) -> None:
    application({"jobs.py": MAIL, "tasks/__init__.py": "", "tasks/image.py": IMAGE})
    found = discover(["tasks"])
    assert places(found) == ["tasks.image.resize"]
    assert found.packages == ("tasks",)
    assert "jobs" not in sys.modules


@pytest.mark.parametrize("words", ["mail,image", " mail , image ,, "])
def test_the_environment_names_packages(
    application: Application, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    application({"jobs.py": "", "mail.py": MAIL, "image.py": IMAGE})
    monkeypatch.setenv("LITEQUEUE_JOBS", words)
    found = discover()
    assert names(found) == ["SendMail", "resize"]
    assert found.packages == ("mail", "image")


def test_a_named_package_wins_over_the_environment(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    application({"mail.py": MAIL, "image.py": IMAGE})
    monkeypatch.setenv("LITEQUEUE_JOBS", "image")
    assert names(discover(["mail"])) == ["SendMail"]


def test_an_empty_environment_names_nothing(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    application({"jobs.py": MAIL})
    monkeypatch.setenv("LITEQUEUE_JOBS", " , ")
    assert names(discover()) == ["SendMail"]


def test_another_folder_can_be_searched(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    application({"shop/jobs.py": MAIL, "jobs.py": IMAGE})
    assert names(discover(folder=tmp_path / "shop")) == ["SendMail"]
    assert sys.path[0] == str(tmp_path / "shop")


def test_the_folder_is_put_on_the_path_once(application: Application) -> None:
    folder = str(application({"jobs.py": MAIL}))
    discover()
    discover()
    assert sys.path.count(folder) == 1


def test_a_new_file_in_the_package_is_enough(application: Application) -> None:
    application({"jobs/__init__.py": "", "jobs/mail.py": MAIL})
    assert names(discover()) == ["SendMail"]
    application({"jobs/image.py": IMAGE})
    assert names(discover()) == ["SendMail", "resize"]


# What is not there


def test_a_folder_without_jobs_is_refused_with_the_remedy(application: Application) -> None:
    folder = application({"mail.py": MAIL})
    with pytest.raises(NoJobsFound) as caught:
        discover()
    assert str(caught.value) == (
        f"No jobs found: {folder} has neither a jobs nor an app/jobs package. Name the "
        "package of the jobs with --jobs PACKAGE or LITEQUEUE_JOBS, or start in the "
        "folder that contains it."
    )


@pytest.mark.parametrize(
    "package", ["nowhere", "nowhere.jobs", "mail.jobs", "jobs.nowhere", "", ".", ".mail", "a b"]
)
def test_a_package_that_there_is_not_is_refused_by_name(
    application: Application, package: str
) -> None:
    application({"mail.py": MAIL, "jobs/__init__.py": ""})
    with pytest.raises(NoJobsFound) as caught:
        discover([package])
    assert str(caught.value).startswith(f"No jobs found: there is no module {package!r}. ")


def test_an_empty_package_is_found_and_has_no_jobs(application: Application) -> None:
    application({"jobs/__init__.py": ""})
    found = discover()
    assert (found.jobs, found.classes, found.failures) == ({}, [], [])


# What fails to import


BROKEN = {
    "syntax": ("def (:\n", "SyntaxError"),
    "raises": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "exits": ("import sys\nsys.exit('no configuration')\n", "SystemExit: no configuration"),
    "imports": ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at"),
    "wrong_job": (
        "from litequeue import Job\nclass A(Job, retries=3): ...\n",
        "litequeue.errors.OptionError: jobs.broken.A: there is no option 'retries'",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_module_that_fails_is_reported_and_the_others_are_loaded(
    application: Application, kind: str
) -> None:
    text, told = BROKEN[kind]
    application({"jobs/__init__.py": "", "jobs/broken.py": text, "jobs/mail.py": MAIL})
    found = discover()
    assert names(found) == ["SendMail"]
    assert [failure.module for failure in found.failures] == ["jobs.broken"]
    assert told in found.failures[0].traceback


def frames(traceback: str) -> list[str]:
    return re.findall(r'^  File "(.*)", line \d+', traceback, re.MULTILINE)


def test_a_failure_shows_the_users_frames_alone(application: Application) -> None:
    folder = application(
        {
            "jobs/__init__.py": "",
            "jobs/broken.py": "from jobs.deep.part import value\n",
            "jobs/deep/part.py": "def count():\n    return 1 / 0\nvalue = count()\n",
        }
    )
    failure = discover().failures[0]
    assert failure.module == "jobs.broken"
    part = str(folder / "jobs/deep/part.py")
    assert frames(failure.traceback) == [str(folder / "jobs/broken.py"), part, part]
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert failure.traceback.endswith("ZeroDivisionError: division by zero\n")


def test_a_syntax_error_shows_the_line_and_no_frames_but_it(application: Application) -> None:
    folder = application({"jobs/__init__.py": "", "jobs/broken.py": "x = 1\ndef (:\n"})
    (failure,) = discover().failures
    broken = str(folder / "jobs/broken.py")
    assert set(re.findall(r'File "(.*?)"', failure.traceback)) == {broken}
    assert "line 2" in failure.traceback


BY_HAND = """
import importlib
try:
    importlib.import_module("nowhere_at_all")
except ImportError as error:
    raise LookupError("no plugin") from error
"""


@pytest.mark.parametrize("text", [BROKEN["wrong_job"][0], BY_HAND], ids=["refused", "by hand"])
def test_neither_our_frames_nor_those_of_a_causes_import_are_shown(
    application: Application, text: str
) -> None:
    folder = application({"jobs/__init__.py": "", "jobs/broken.py": text})
    (failure,) = discover().failures
    assert set(frames(failure.traceback)) == {str(folder / "jobs/broken.py")}


@pytest.mark.parametrize("package", ["jobs", "app.jobs", "app.jobs.mail"])
@pytest.mark.parametrize("text", [text for text, _ in BROKEN.values()], ids=BROKEN)
def test_a_package_that_itself_fails_is_reported_as_well(
    application: Application, package: str, text: str
) -> None:
    top, _, _ = package.partition(".")
    application({f"{top}/__init__.py": text, f"{top}/jobs/__init__.py": "", "mail.py": MAIL})
    found = discover([package, "mail"])
    assert names(found) == ["SendMail"]
    assert [failure.module for failure in found.failures] == [package]


def test_a_keyboard_interrupt_while_importing_is_the_users_wish(application: Application) -> None:
    application({"jobs.py": "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        discover()


def test_the_packages_main_is_not_run(application: Application) -> None:
    application(
        {
            "jobs/__init__.py": MAIL,
            "jobs/__main__.py": "raise SystemExit('I was run')\n",
            "jobs/deep/__init__.py": "",
            "jobs/deep/__main__.py": "raise SystemExit('I was run')\n",
        }
    )
    found = discover()
    assert names(found) == ["SendMail"]
    assert found.failures == []


# What counts as a job


def test_a_job_that_is_imported_elsewhere_counts_once(application: Application) -> None:
    application(
        {
            "jobs/__init__.py": "from jobs.mail import SendMail\n",
            "jobs/image.py": "from jobs.mail import SendMail as Other\n" + IMAGE,
            "jobs/mail.py": MAIL,
        }
    )
    found = discover()
    assert places(found) == ["jobs.mail.SendMail", "jobs.image.resize"]


def test_a_base_class_without_handle_is_no_job(application: Application) -> None:
    text = """
from litequeue import Job
class Base(Job, queue="mail"): ...
class Welcome(Base):
    def handle(self): ...
class Again(Welcome): ...
not_a_class = Welcome()
"""
    application({"jobs.py": text})
    assert names(discover()) == ["Again", "Welcome"]


def test_a_job_is_found_by_each_name_that_it_answers_to(application: Application) -> None:
    text = """
from litequeue import Job
class SendMail(Job, name="post-letter", aliases=["OldMail"]):
    def handle(self): ...
"""
    application({"jobs.py": text})
    assert set(discover().jobs) == {"sendmail", "postletter", "oldmail"}


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("class SendMail(Job):", "class SendMail(Job):", "SendMail"),
        ("class SendMail(Job):", "class send_mail(Job):", "send_mail"),
        ("class SendMail(Job):", "class B(Job, name='send-mail'):", "send-mail"),
        ("class A(Job, aliases=['Old']):", "class B(Job, aliases=['old']):", "old"),
        ("class A(Job, aliases=['B']):", "class B(Job):", "B"),
    ],
)
def test_two_jobs_that_answer_to_one_name_are_refused_with_both_places(
    application: Application, one: str, other: str, name: str
) -> None:
    module = "from litequeue import Job\n{}\n    def handle(self): ...\n"
    files = {"jobs/a.py": module.format(one), "jobs/b.py": module.format(other)}
    application(files)
    with pytest.raises(DuplicateJob) as caught:
        discover()
    told = re.fullmatch(
        r"Two jobs have the name '(.*)': (.*) and (.*)\. "
        r'Rename one, or give it another name with name="\.\.\."\.',
        str(caught.value),
    )
    assert told is not None
    classes = [re.split(r"[ (]", line)[1] for line in (one, other)]
    assert (key(told[1]), told[2], told[3]) == (key(name), *map("jobs.{}.{}".format, "ab", classes))


def test_classes_can_be_collected_without_a_package() -> None:
    class One(Job):
        def handle(self) -> None: ...

    found = Found()
    collect([One, One], found)
    assert found.classes == [One]
    assert found.packages == ()


def test_the_base_of_all_jobs_is_no_job() -> None:
    assert list(jobs_in(sys.modules[Job.__module__])) == []
