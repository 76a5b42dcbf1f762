"""The README and the docs are true: their blocks run, what they show is what comes, every
command and option is in them, and their links lead somewhere."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from litequeue.cli import main as cli
from litequeue.cli.parser import Commands

ROOT = Path(__file__).parents[1]
# docs/delays.md has a test of its own, by its tables: tests/times/test_parse.py.
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.name != "delays.md"
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)\n")
EXITS = re.compile(r"# exits (\d+)")
BLOCK_SECONDS = 60

# Runs each line of its input, a JSON text of Python code, in the module __main__.
INTERPRETER = """
import json, os, sys, traceback
lines, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, "")
for line in lines:
    try:
        exec(compile(json.loads(line), "the page", "exec"), globals())
        answer = ""
    except BaseException:
        answer = traceback.format_exc()
    print(json.dumps(answer), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A block of code on a page, and where it begins."""

    language: str
    text: str
    where: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}")
        for found in BLOCK.finditer(text)
    ]


class Reader:
    """Somebody who reads a page in an empty folder and does what its blocks say."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if "LITEQUEUE" not in name},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self._python = subprocess.Popen(
            [sys.executable, "-c", INTERPRETER],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._python.kill()
        self._python.communicate()

    def follow(self, block: Block) -> None:
        if block.language == "python" and (named := FILE.match(block.text)):
            self._write(named[1], block)
        elif block.language == "python":
            self._execute(block)
        elif block.language == "console":
            for command, shown in dialogue(block.text):
                self._type(command, shown, block.where)
        elif block.language == "sh":
            self._type(f"set -e\n{block.text}", "...", block.where)

    def _write(self, name: str, block: Block) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        module = name.removesuffix(".py").replace("/", ".")
        self._type(f"python3 -c 'import {module}'", "", block.where)

    def _execute(self, block: Block) -> None:
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps(block.text) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        assert answer, f"{block.where} ended the interpreter"
        assert json.loads(answer) == "", f"{block.where} raised\n{json.loads(answer)}"

    def _type(self, command: str, shown: str, where: str) -> None:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BLOCK_SECONDS,
        )
        printed = done.stdout.decode()
        expected = int(found[1]) if (found := EXITS.search(command)) else 0
        assert done.returncode == expected, f"{where}: {command}\n{printed}"
        assert matches(shown, printed), f"{where}: {command}\nshown:\n{shown}\ncame:\n{printed}"


def dialogue(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def matches(shown: str, printed: str) -> bool:
    """Whether an output is what is shown, where ``...`` stands for anything."""
    pattern = re.escape(shown.strip()).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    programs, folder = tmp_path / "programs", tmp_path / "folder"
    programs.mkdir()
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name, command in (
        ("litequeue", f"{python} -m litequeue"),
        ("python3", python),
        ("python", python),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    reader = Reader(folder, programs)
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_and_prints_what_it_shows(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        reader.follow(block)


def test_the_web_application_of_the_readme_answers_and_its_job_runs(reader: Reader) -> None:
    for block in blocks(ROOT / "README.md"):
        if FILE.match(block.text):
            reader.follow(block)
    reader.follow(Block("python", CALL_THE_APPLICATION, "the call of the application"))


CALL_THE_APPLICATION = """
from web import Worker, app, queue

answered = []
body = app({"PATH_INFO": "/Ada"}, lambda status, headers: answered.append(status))
assert (answered, body) == (["202 Accepted"], [b"accepted as job 1\\n"])
with Worker(queue, "jobs").in_background():
    assert queue.wait(1, timeout=10) is None
"""


def test_no_block_hides_from_the_tests_under_another_name() -> None:
    unrun = {"text", "ini", "mermaid", "sql", "json"}
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages <= unrun | {"python", "console", "sh"}
    for page in PAGES:
        fences = re.findall(r"^ *```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), f"{page.name} has a block without a language"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "delays.md"], ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_blocks_of_the_readme_need_no_clone() -> None:
    for block in blocks(ROOT / "README.md"):
        assert not re.search(
            r"^\s*(?:from|import) (?:examples|tests|bench)\b", block.text, re.MULTILINE
        )


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name."""
    made: list[Commands] = []

    def remembered() -> Commands:
        made.append(Commands())
        return made[-1]

    monkeypatch.setattr(cli, "Commands", remembered)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    (subparsers,) = (
        action
        for action in made[0].parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(subparsers.choices)


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command can be told, help and what is hidden left out."""
    return [
        action
        for action in parser._actions
        if action.help != argparse.SUPPRESS and "--help" not in action.option_strings
    ]


def sections() -> dict[str, str]:
    """The section of docs/commands.md on each command."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {
        name: body
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
        for name in re.findall(r"`([\w-]+)`", heading)
    }


def test_every_command_and_option_is_documented(
    commands: dict[str, argparse.ArgumentParser],
) -> None:
    documented = sections()
    for name, parser in commands.items():
        assert name in documented, f"docs/commands.md has no section `{name}`"
        for action in options(parser):
            words: Sequence[str] = action.option_strings or [str(action.metavar)]
            for word in words:
                found = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", documented[name])
                assert found, f"docs/commands.md does not tell of {name} {word}"


def test_nothing_is_documented_that_there_is_not(
    commands: dict[str, argparse.ArgumentParser],
) -> None:
    documented = sections()
    assert set(documented) == set(commands)
    for name, text in documented.items():
        # A section may name another command, whole: `work --once`.
        others = "|".join(sorted(commands))
        alone = re.sub(rf"litequeue (?!{name}\b).*|`(?:{others}) --[^`]*`", "", text)
        known = {word for action in options(commands[name]) for word in action.option_strings}
        # The sections of several commands share one text.
        for other in (each for each, body in documented.items() if body is text):
            known |= {word for action in options(commands[other]) for word in action.option_strings}
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", alone)) <= known, name


def test_the_readme_names_every_command(commands: dict[str, argparse.ArgumentParser]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Commands") : text.index("## Promises")]
    for name in commands:
        assert re.search(rf"`{name}\b", table), name


def test_nobody_is_told_to_install_what_is_not_ours() -> None:
    for page in (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        assert "pip install litequeue" not in page.read_text(encoding="utf-8")
