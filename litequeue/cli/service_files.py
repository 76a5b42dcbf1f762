"""What systemd, supervisor and cron are told to keep workers running, in their own words."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litequeue.errors import OptionError
from litequeue.worker.worker import GRACE_SECONDS

# What systemd or supervisor wait beyond --grace: a second or two are the workers' own.
SPARE_SECONDS = 10
# A tick of cron starts no job in the last seconds of its minute.
TICK_SECONDS = 50


@dataclass(frozen=True, slots=True)
class Unit:
    """What one process of litequeue is to do, and by which name it is known."""

    name: str
    queues: str
    workers: int


@dataclass(frozen=True, slots=True)
class Site:
    """Where all of the units run, and as whom."""

    name: str
    folder: str
    database: str
    user: str
    home: str
    python_path: str
    grace: float
    options: tuple[str, ...]

    def command(self, unit: Unit, *more: str) -> list[str]:
        """The words of the command that does a unit's work."""
        words = [sys.executable, "-m", "litequeue", "work", self.database]
        if unit.queues:
            words += option("--queue", unit.queues)
        return [*words, *more, *self.options]

    def variables(self) -> dict[str, str]:
        """The environment that makes a unit's Python like this one."""
        path = {"PYTHONPATH": self.python_path} if self.python_path else {}
        # What a job prints is then seen when it is printed.
        return {"PYTHONUNBUFFERED": "1", **path}


File = tuple[str, str]


def option(word: str, value: str) -> list[str]:
    """An option and its value as words, whatever the value begins with."""
    return [f"{word}={value}"] if value.startswith("-") else [word, value]


def _named(site: Site, unit: Unit) -> str:
    return f"{site.name}-{unit.name}" if unit.name else site.name


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _supervised(site: Site, unit: Unit) -> list[str]:
    """The command of a supervisor of workers, which a service manager starts."""
    return site.command(unit, "--workers", str(unit.workers), "--grace", _number(site.grace))


# systemd

SERVICE = """\
# /etc/systemd/system/{name}.service
#
# To install it, as root:
#   cp {name}.service /etc/systemd/system/
#   systemctl daemon-reload
#   systemctl enable --now {name}
# To see what it does: journalctl -u {name} -f

[Unit]
Description=litequeue: {what} of {database}
After=network.target
RequiresMountsFor={mounts}

[Service]
Type=exec
User={user}
WorkingDirectory={folder}
{environment}
ExecStart={command}
Restart=always
RestartSec=5
# The supervisor alone is told to stop, and tells its workers once.
KillMode=mixed
# More than --grace, and the two seconds after it.
TimeoutStopSec={stop}
# A worker that takes all of the memory is replaced, and the others go on.
OOMPolicy=continue
{hardening}
[Install]
WantedBy=multi-user.target
"""

HARDENING = """\
# Jobs cannot change the system itself: /usr, /boot, /etc and control groups.
ProtectSystem=full
ProtectControlGroups=true
"""
PROTECTED = ("/usr/", "/boot/", "/efi/", "/etc/")


def systemd(site: Site, units: Sequence[Unit]) -> list[File]:
    """A service for each unit."""
    return [(f"{_named(site, unit)}.service", _service(site, unit)) for unit in units]


def _service(site: Site, unit: Unit) -> str:
    words = _supervised(site, unit)
    variables = [f"{name}={value}" for name, value in site.variables().items()]
    folders = (site.folder, os.path.dirname(site.database))
    written = [f"{os.path.realpath(folder)}/" for folder in folders]
    return SERVICE.format(
        name=_named(site, unit),
        what=_percents(f"queue {unit.queues}" if unit.queues else "all queues"),
        database=_percents(site.database),
        mounts=" ".join(map(_systemd_word, dict.fromkeys(folders))),
        user=_percents(site.user),
        # Not quoted: the rest of the line is the path.
        folder=_percents(site.folder),
        environment="Environment=" + " ".join(map(_systemd_word, variables)),
        # The colon keeps systemd from putting variables in the place of $.
        command=":" * any("$" in word for word in words) + " ".join(map(_systemd_word, words)),
        stop=math.ceil(site.grace) + SPARE_SECONDS,
        hardening="" if any(path.startswith(PROTECTED) for path in written) else HARDENING,
    )


def _systemd_word(word: str) -> str:
    escaped = _percents(word.replace("\\", "\\\\").replace('"', '\\"'))
    return escaped if re.fullmatch(r"[\w%+=:,./-]+", word) else f'"{escaped}"'


def _percents(text: str) -> str:
    """A text that systemd, and supervisor as well, take as it was."""
    return text.replace("%", "%%")


# supervisor

PROGRAMS = """\
# /etc/supervisor/conf.d/{name}.conf
#
# To install it, as root:
#   cp {name}.conf /etc/supervisor/conf.d/
#   supervisorctl update
# To see what it does: supervisorctl tail -f {first}
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
; More than --grace, and the two seconds after it.
stopwaitsecs={stop}
; The supervisor of the workers alone is told to stop, and tells them once.
stopasgroup=false
killasgroup=true
"""


def supervisor(site: Site, units: Sequence[Unit]) -> list[File]:
    """One file with a program for each unit."""
    head = PROGRAMS.format(name=site.name, first=_named(site, units[0]))
    return [(f"{site.name}.conf", head + "".join(_program(site, unit) for unit in units))]


def _program(site: Site, unit: Unit) -> str:
    # supervisor leaves these as they are for root.
    who = {"USER": site.user, "HOME": site.home} if site.home else {}
    variables = {**site.variables(), **who}
    return PROGRAM.format(
        name=_named(site, unit),
        command=" ".join(_percents(_shell_word(word, ";#")) for word in _supervised(site, unit)),
        folder=_percents(_uncommented(site.folder)),
        user=_percents(_uncommented(site.user)),
        environment=",".join(f"{name}={_pair(value)}" for name, value in variables.items()),
        stop=math.ceil(site.grace) + SPARE_SECONDS,
    )


def _pair(value: str) -> str:
    quotes = [quote for quote in "\"'" if quote not in value]
    if not quotes:
        raise OptionError(owner="recipe", problem=f"supervisor can have no variable be {value!r}")
    return _percents(quotes[0] + _uncommented(value) + quotes[0])


def _uncommented(text: str) -> str:
    """A text in which supervisor sees no comment; raises OptionError."""
    if re.search(r"\s[;#]", text):
        problem = f"supervisor takes what is behind the blank in {text!r} for a comment"
        raise OptionError(owner="recipe", problem=problem)
    return text


# cron

CRONTAB = """\
# What is due runs each minute; a worker that is still at work is left to it.
# To install it, as {user}, beside what is there:
#   (crontab -l; cat {name}.crontab) | crontab -
# cron mails what is printed: what goes wrong, and what the jobs print themselves.
"""


def cron(site: Site, units: Sequence[Unit]) -> list[File]:
    """A line for each unit."""
    return [(f"{site.name}.crontab", _crontab(site, units))]


def _crontab(site: Site, units: Sequence[Unit]) -> str:
    lines = [f"* * * * * {_tick(site, unit)}\n" for unit in units]
    return CRONTAB.format(user=site.user, name=site.name) + "".join(lines)


def _tick(site: Site, unit: Unit) -> str:
    more = ["--drain", "--max-time", str(TICK_SECONDS), "--single-id", unit.name or "cron"]
    if unit.workers > 1:
        more += ["--workers", str(unit.workers)]
    if site.grace != GRACE_SECONDS:
        more += ["--grace", _number(site.grace)]
    words = " ".join(_shell_word(word, "%") for word in site.command(unit, *more, "--quiet"))
    path = f"PYTHONPATH={_shell_word(site.python_path, '%')} " if site.python_path else ""
    return f"cd {_shell_word(site.folder, '%')} && {path}{words}"


def _shell_word(word: str, signs: str) -> str:
    """A word for a shell, with a backslash before each of these signs, and no quotes around
    it: whoever reads the line before the shell does, knows no quotes."""
    pieces = re.split(f"([{signs}])", word)
    quoted = (f"\\{piece}" if piece in signs else shlex.quote(piece) for piece in pieces if piece)
    return "".join(quoted) or "''"


KINDS: dict[str, Callable[[Site, Sequence[Unit]], list[File]]] = {
    "systemd": systemd,
    "supervisor": supervisor,
    "cron": cron,
}
