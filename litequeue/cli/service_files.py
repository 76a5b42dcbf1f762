"""The service files for systemd, supervisor and cron: the templates, and what fills them in."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from litequeue.errors import OptionError
from litequeue.worker.worker import GRACE_SECONDS

# How long systemd or supervisor wait beyond --grace; the workers need up to two seconds.
SPARE_SECONDS = 10
# A worker started by cron takes no new job in the last seconds of its minute.
TICK_SECONDS = 50
PROTECTED = ("/usr/", "/boot/", "/efi/", "/etc/")

File = tuple[str, str]

# The templates

SERVICE = """\
# /etc/systemd/system/{name}.service
#
# To install it, as root:
#   cp {name}.service /etc/systemd/system/
#   systemctl daemon-reload
#   systemctl enable --now {name}
# To follow its log: journalctl -u {name} -f

[Unit]
Description=litequeue: {what} of {database}
After=network.target
RequiresMountsFor={mounts}

[Service]
Type=exec
User={user}
WorkingDirectory={folder}
Environment={environment}
ExecStart={command}
Restart=always
RestartSec=5
# Only the main process gets the signal; it stops its workers.
KillMode=mixed
# Longer than --grace plus two seconds.
TimeoutStopSec={stop}
# If the kernel kills a worker for its memory, the others continue.
OOMPolicy=continue
{hardening}
[Install]
WantedBy=multi-user.target
"""

HARDENING = """\
# Jobs cannot write to /usr, /boot, /etc and control groups.
ProtectSystem=full
ProtectControlGroups=true
"""

PROGRAMS = """\
# /etc/supervisor/conf.d/{name}.conf
#
# To install it, as root:
#   cp {name}.conf /etc/supervisor/conf.d/
#   supervisorctl update
# To follow its log: supervisorctl tail -f {first}
"""

PROGRAM = """
[program:{name}]
command={command}
directory={folder}
user={user}
environment={environment}
autorestart=true
redirect_stderr=true
stopsignal=TERM
; Longer than --grace plus two seconds.
stopwaitsecs={stop}
; Only the main process gets the signal; it stops its workers.
stopasgroup=false
killasgroup=true
"""

CRONTAB = """\
# Due jobs run every minute, unless the worker of an earlier minute is still running.
# To add it to the crontab of {user}:
#   (crontab -l; cat {name}.crontab) | crontab -
# cron mails the output: failures, and what the jobs print.
"""

CRON_LINE = """\
* * * * * cd {folder} && {python_path}{command}
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """One service: its name, its queues and how many workers serve them."""

    name: str
    queues: str
    workers: int


@dataclass(frozen=True, slots=True)
class Site:
    """What all services share: folder, database, user and options."""

    name: str
    folder: str
    database: str
    user: str
    home: str
    python_path: str
    grace: float
    options: tuple[str, ...]

    def named(self, unit: Unit) -> str:
        """Return the name of the service of a unit."""
        return f"{self.name}-{unit.name}" if unit.name else self.name

    def command(self, unit: Unit, *more: str) -> list[str]:
        """Return the command of a unit as a list of arguments."""
        words = [sys.executable, "-m", "litequeue", "work", self.database]
        if unit.queues:
            words += option("--queue", unit.queues)
        return [*words, *more, *self.options]

    def supervised(self, unit: Unit) -> list[str]:
        """Return the command that systemd or supervisor runs."""
        return self.command(unit, "--workers", str(unit.workers), "--grace", self.seconds())

    def seconds(self) -> str:
        """Return the grace as text."""
        return str(int(self.grace)) if self.grace == int(self.grace) else str(self.grace)

    def stop(self) -> int:
        """Return how many seconds a stop may take, before the service is killed."""
        return math.ceil(self.grace) + SPARE_SECONDS

    def variables(self) -> dict[str, str]:
        """Return the environment variables of the workers."""
        path = {"PYTHONPATH": self.python_path} if self.python_path else {}
        # Without it, the output of a job appears late in the log.
        return {"PYTHONUNBUFFERED": "1", **path}


def option(word: str, value: str) -> list[str]:
    """Return an option and its value as arguments, also for a value that begins with a dash."""
    return [f"{word}={value}"] if value.startswith("-") else [word, value]


def systemd(site: Site, units: Sequence[Unit]) -> list[File]:
    """A service for each unit."""
    return [(f"{site.named(unit)}.service", _service(site, unit)) for unit in units]


def _service(site: Site, unit: Unit) -> str:
    words = site.supervised(unit)
    variables = [f"{name}={value}" for name, value in site.variables().items()]
    folders = (site.folder, os.path.dirname(site.database))
    written = [f"{os.path.realpath(folder)}/" for folder in folders]
    return SERVICE.format(
        name=site.named(unit),
        what=_percents(f"queue {unit.queues}" if unit.queues else "all queues"),
        database=_percents(site.database),
        mounts=_systemd_words(dict.fromkeys(folders)),
        user=_percents(site.user),
        # Not quoted: systemd takes the rest of the line as the path.
        folder=_percents(site.folder),
        environment=_systemd_words(variables),
        # The colon keeps systemd from expanding $.
        command=":" * any("$" in word for word in words) + _systemd_words(words),
        stop=site.stop(),
        hardening="" if any(path.startswith(PROTECTED) for path in written) else HARDENING,
    )


def supervisor(site: Site, units: Sequence[Unit]) -> list[File]:
    """One file with a program for each unit."""
    head = PROGRAMS.format(name=site.name, first=site.named(units[0]))
    return [(f"{site.name}.conf", head + "".join(_program(site, unit) for unit in units))]


def _program(site: Site, unit: Unit) -> str:
    # supervisor does not set these when it changes the user.
    who = {"USER": site.user, "HOME": site.home} if site.home else {}
    variables = {**site.variables(), **who}
    return PROGRAM.format(
        name=site.named(unit),
        command=_percents(_shell_words(site.supervised(unit), ";#")),
        folder=_percents(_uncommented(site.folder)),
        user=_percents(_uncommented(site.user)),
        environment=",".join(f"{name}={_pair(value)}" for name, value in variables.items()),
        stop=site.stop(),
    )


def cron(site: Site, units: Sequence[Unit]) -> list[File]:
    """A line for each unit."""
    head = CRONTAB.format(user=site.user, name=site.name)
    return [(f"{site.name}.crontab", head + "".join(_cron_line(site, unit) for unit in units))]


def _cron_line(site: Site, unit: Unit) -> str:
    more = ["--drain", "--max-time", str(TICK_SECONDS), "--single-id", unit.name or "cron"]
    if unit.workers > 1:
        more += ["--workers", str(unit.workers)]
    if site.grace != GRACE_SECONDS:
        more += ["--grace", site.seconds()]
    path = f"PYTHONPATH={_shell_words([site.python_path], '%')} " if site.python_path else ""
    return CRON_LINE.format(
        folder=_shell_words([site.folder], "%"),
        python_path=path,
        command=_shell_words(site.command(unit, *more, "--quiet"), "%"),
    )


KINDS: dict[str, Callable[[Site, Sequence[Unit]], list[File]]] = {
    "systemd": systemd,
    "supervisor": supervisor,
    "cron": cron,
}


# Quoting


def _percents(text: str) -> str:
    """Escape percent signs, which systemd and supervisor expand."""
    return text.replace("%", "%%")


def _systemd_words(words: Iterable[str]) -> str:
    return " ".join(map(_systemd_word, words))


def _systemd_word(word: str) -> str:
    escaped = _percents(word.replace("\\", "\\\\").replace('"', '\\"'))
    return escaped if re.fullmatch(r"[\w%+=:,./-]+", word) else f'"{escaped}"'


def _pair(value: str) -> str:
    quotes = [quote for quote in "\"'" if quote not in value]
    if not quotes:
        raise OptionError(
            owner="recipe", problem=f"a variable of supervisor cannot hold both quotes: {value!r}"
        )
    return _percents(quotes[0] + _uncommented(value) + quotes[0])


def _uncommented(text: str) -> str:
    """Return the text; raises OptionError if supervisor would read a comment in it."""
    if re.search(r"\s[;#]", text):
        problem = f"supervisor takes the text after the blank in {text!r} for a comment"
        raise OptionError(owner="recipe", problem=problem)
    return text


def _shell_words(words: Iterable[str], signs: str) -> str:
    return " ".join(_shell_word(word, signs) for word in words)


def _shell_word(word: str, signs: str) -> str:
    """Quote a word for a shell; the given signs get a backslash instead of quotes, because
    supervisor and cron read them before the shell does, and ignore quotes."""
    pieces = re.split(f"([{signs}])", word)
    quoted = (f"\\{piece}" if piece in signs else shlex.quote(piece) for piece in pieces if piece)
    return "".join(quoted) or "''"
