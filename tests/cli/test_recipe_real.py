"""What recipe prints, read and run by the real programs: systemd, supervisor, cron and sh.

A program that this machine does not have is passed over, with the reason.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import ROOT, Capture, litequeue
from waiting import wait_until

from litequeue import Queue

USER = pwd.getpwuid(os.geteuid()).pw_name
NOBODY_UID = 65534
SYSTEMD = "/lib/systemd/systemd"
ODD = 'it\'s "100%" $HOME;'
QUEUES = ("--queue", "high:2", "--queue", "50% off #1,default:3")

JOBS = """
from pathlib import Path
from litequeue import Job

class Tell(Job, keep=600):
    number: int
    held: bool = False

    def handle(self):
        with open("runs.log", "a") as runs:
            runs.write(f"{self.number}\\n")
        if self.held:
            # It ends when the test opens the other end.
            Path("gate").read_bytes()
        return self.number
"""

Recipe = Callable[..., str]


@pytest.fixture(params=["shop", ODD], ids=["plain", "odd"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with jobs; once by a name that all of the programs can misread."""
    for name in ("DB", "JOBS", "QUEUE", "MAX_ATTEMPTS"):
        monkeypatch.delenv(f"LITEQUEUE_{name}", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / str(request.param)
    folder.mkdir()
    (folder / "jobs.py").write_text(JOBS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def recipe(folder: Path, capsys: Capture) -> Recipe:
    def recipe(*words: str) -> str:
        assert litequeue("recipe", *words) == 0
        return capsys.readouterr().out

    return recipe


def expected(folder: Path, queues: str, workers: int) -> list[str]:
    words = [sys.executable, "-m", "litequeue", "work", f"{folder}/jobs.db"]
    return [*words, "--queue", queues, "--workers", str(workers), "--grace", "8"]


# systemd


@pytest.fixture
def units(recipe: Recipe) -> Iterator[Path]:
    """A folder that anybody may read, with the services that were written."""
    place = Path(tempfile.mkdtemp())
    recipe("systemd", "jobs.db", *QUEUES, "--into", str(place))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_services(units: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units.iterdir())]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    assert len(command) == 5


@pytest.mark.skipif(not os.path.exists(SYSTEMD), reason=f"there is no {SYSTEMD}")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_systemd_reads_the_words_that_were_meant(units: Path, folder: Path) -> None:
    names = sorted(unit.name for unit in units.iterdir())
    dumps = {name: _dump(units, name) for name in names}
    if not all(dumps.values()):
        pytest.skip("this systemd does not show what it has read")
    odd, high = (dumps[name] for name in names)
    for dump, queues, workers in ((high, "high", 2), (odd, "50% off #1,default", 3)):
        # It is shown quoted for a shell, and of those escapes shlex does not know this one.
        shown = dump["Command Line"].replace(r"\$", "$")
        assert shlex.split(shown) == expected(folder, queues, workers)
        assert dump["WorkingDirectory"] == str(folder)
        assert dump["User"] == USER
        assert dump["KillMode"] == "mixed"
        assert dump["Restart"] == "always"
        assert dump["TimeoutStopSec"] == "18s"
        assert queues in dump["Description"]


def _dump(units: Path, name: str) -> dict[str, str]:
    """What systemd has read of a unit, by a start that it only plays."""
    # It plays for nobody but root's inferiors.
    demoted = ["setpriv", "--reuid", str(NOBODY_UID), "--clear-groups"] if os.geteuid() == 0 else []
    played = subprocess.run(
        [*demoted, SYSTEMD, "--test", "--system", f"--unit={name}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": os.environ["PATH"]},
    )
    _, _, part = f"{played.stdout}{played.stderr}".partition(f"-> Unit {name}:\n")
    lines = part.partition("-> Unit ")[0].splitlines()
    facts = (line.strip().partition(": ") for line in lines)
    return {key: value for key, _, value in facts}


# supervisor

needs_supervisor = pytest.mark.skipif(
    importlib.util.find_spec("supervisor") is None,
    reason="supervisor is not installed (pip install supervisor)",
)

# Reads a configuration as supervisord does, and prints what it has understood.
READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-n", "-c", sys.argv[1]])
words = "name", "command", "directory", "environment", "uid", "stopwaitsecs", "stopsignal", \
    "stopasgroup", "killasgroup", "autorestart"
print(json.dumps([
    {word: getattr(each, word) for word in words}
    for group in options.process_group_configs for each in group.process_configs
], default=str))
"""


@needs_supervisor
def test_supervisor_reads_the_words_that_were_meant(recipe: Recipe, folder: Path) -> None:
    Path("supervisord.conf").write_text(
        "[supervisord]\n" + recipe("supervisor", "jobs.db", *QUEUES)
    )
    read = subprocess.run(
        [sys.executable, "-c", READER, "supervisord.conf"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert read.returncode == 0, read.stderr
    odd, high = sorted(json.loads(read.stdout), key=lambda program: str(program["name"]))
    for program, queues, workers in ((high, "high", 2), (odd, "50% off #1,default", 3)):
        assert shlex.split(program["command"]) == expected(folder, queues, workers)
        assert program["directory"] == str(folder)
        assert program["uid"] == os.geteuid()
        assert program["stopwaitsecs"] == 20
        assert program["stopsignal"] == signal.SIGTERM
        assert (program["stopasgroup"], program["killasgroup"]) == (False, True)
        assert program["environment"]["PYTHONPATH"] == str(ROOT)
        assert program["environment"]["USER"] == USER


@needs_supervisor
def test_supervisor_runs_jobs_and_ends_the_workers(recipe: Recipe, folder: Path) -> None:
    Path("supervisord.conf").write_text("[supervisord]\n" + recipe("supervisor", "jobs.db"))
    command = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n"]
    daemon = subprocess.Popen(
        [*command, "-c", "supervisord.conf"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ""},
    )
    try:
        with Queue("jobs.db") as queue:
            assert queue.result(queue.push("tell", {"number": 7}), timeout=20) == 7
            daemon.terminate()
            assert daemon.wait(30) == 0
            assert not [worker for worker in queue.store.presence.workers() if _alive(worker.pid)]
    finally:
        daemon.kill()
        daemon.wait()


def _alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


# cron


@pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no crontab")
def test_cron_finds_nothing_wrong_with_the_lines(recipe: Recipe) -> None:
    table = recipe("cron", "jobs.db", *QUEUES)
    checked = subprocess.run(
        ["crontab", "-n", "-"], input=table, capture_output=True, text=True, timeout=60
    )
    said = checked.stdout + checked.stderr
    if "usage:" in said:
        pytest.skip("this crontab cannot check without installing")
    assert checked.returncode == 0, said


def tick(line: str, *, stripped: bool) -> subprocess.Popen[str]:
    """Start a line as cron does at its minute, in cron's bare environment."""
    command = line.split(None, 5)[5]
    # Some crons take the backslash away, some leave it to the shell.
    command = command.replace(r"\%", "%") if stripped else command
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd="/",
        env={"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("stripped", [True, False], ids=["stripped", "kept"])
@pytest.mark.parametrize("served", ["default", "default:2"], ids=["one", "two"])
def test_three_ticks_that_overlap_run_each_job_once(
    recipe: Recipe, folder: Path, stripped: bool, served: str
) -> None:
    line = recipe("cron", "jobs.db", "--queue", served).splitlines()[-1]
    os.mkfifo("gate")
    with Queue("jobs.db") as queue:
        ids = [queue.push("tell", {"number": number, "held": number == 1}) for number in (1, 2, 3)]
        first = tick(line, stripped=stripped)
        try:
            wait_until(lambda: Path("runs.log").exists() and "1\n" in _runs(), within=20)
            for _ in range(2):
                assert ended(tick(line, stripped=stripped)) == (
                    *(0, ""),
                    "Instance is already running. Exiting.\n",
                )
            Path("gate").write_bytes(b"")
            assert ended(first) == (0, "", "")
        finally:
            first.kill()
            first.wait()
        assert sorted(_runs()) == ["1\n", "2\n", "3\n"]
        assert [queue.result(id, timeout=0) for id in ids] == [1, 2, 3]
        assert ended(tick(line, stripped=stripped)) == (0, "", "")
    assert len(_runs()) == 3


def _runs() -> list[str]:
    return Path("runs.log").read_text().splitlines(keepends=True)
