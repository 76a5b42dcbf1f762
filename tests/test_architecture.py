"""The shape of the code: what may import what, and how long a function may be."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "litequeue"
PAGE = ROOT / "docs" / "architecture.md"

LONGEST_FUNCTION = 40
BANNED_WORDS = {"manager", "helper", "helpers", "util", "utils", "data", "info"}

# From the ground up; a file imports from its own layer and from those above it here.
LAYERS = (
    ("version", "errors", "messages", "mistakes", "log", "durations", "options", "records"),
    ("times", "payloads"),
    ("engine",),
    ("store", "queue"),
    ("jobs", "worker"),
    ("monitor", "cli", "__main__", "__init__"),
)

SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL = SOURCES + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "bench").rglob("*.py"))


def module_of(path: Path) -> str:
    """The name by which the page lists a file: queue, cli.parser, cli, __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MARKERS = {path for path in SOURCES if path.name == "__init__.py" and path.parent != PACKAGE}
MODULES = {module_of(path): path for path in SOURCES if path not in MARKERS}
LAYER = {name: height for height, names in enumerate(LAYERS) for name in names}


def listed() -> list[str]:
    text = PAGE.read_text(encoding="utf-8").split("## The files", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^- `([\w.]+)`: \S", text, re.MULTILINE)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """The full names that a file imports, wherever in it; of ``from a import b`` a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    return set(imports(tree_of(path), ".".join(path.relative_to(ROOT).parent.parts)))


def own(imported: str) -> str | None:
    """The module of ours that an imported name is or is in; None for others'."""
    top, _, name = imported.partition(".")
    if top != "litequeue":
        return None
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Import order


def test_the_page_lists_every_file() -> None:
    missing = [relative(path) for name, path in MODULES.items() if name not in listed()]
    assert not missing, (
        f"docs/architecture.md does not list {', '.join(missing)}: add a line for each, "
        "below the last file that it imports from"
    )


def test_the_page_lists_no_file_that_there_is_not() -> None:
    gone = [name for name in listed() if name not in MODULES]
    assert not gone, f"docs/architecture.md lists {', '.join(gone)}: there is no such file"


def test_the_page_lists_each_file_once() -> None:
    assert len(listed()) == len(set(listed()))


@pytest.mark.parametrize("name", MODULES)
def test_a_file_imports_only_from_files_above_it(name: str) -> None:
    order = listed()
    if name not in order:
        pytest.skip("the page does not list it, and another test says so")
    above = order[: order.index(name)]
    needed = {own(imported) for imported in imports_of(MODULES[name])} - {None, name}
    wrong = sorted(str(module) for module in needed if module not in above)
    assert not wrong, (
        f"{relative(MODULES[name])} imports {', '.join(wrong)}, which docs/architecture.md "
        "does not list above it"
    )


def layer_of(name: str) -> int:
    return LAYER[name.partition(".")[0]]


@pytest.mark.parametrize("name", MODULES)
def test_a_file_imports_only_from_its_own_layer_and_those_below(name: str) -> None:
    needed = {own(imported) for imported in imports_of(MODULES[name])} - {None}
    wrong = sorted(str(module) for module in needed if layer_of(str(module)) > layer_of(name))
    assert not wrong, f"{relative(MODULES[name])} imports {', '.join(wrong)} from above it"


def test_the_page_lists_the_layers_from_the_ground_up() -> None:
    heights = [layer_of(name) for name in listed()]
    assert heights == sorted(heights)


@pytest.mark.parametrize("path", sorted(MARKERS), ids=relative)
def test_a_package_has_nothing_in_its_init(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == ""


def test_imports_are_seen_wherever_they_stand() -> None:
    source = """
from litequeue import VERSION
from litequeue.engine import locks
from litequeue.errors import RunLost
from . import database
from .notifier import Notifier
if TYPE_CHECKING:
    import litequeue.records
def f():
    from litequeue.cli import work
    import sqlite3
"""
    found = set(imports(ast.parse(source), "litequeue.engine"))
    assert {own(name) for name in found} == {
        *("__init__", "engine.locks", "errors", "engine.database", "engine.notifier"),
        *("records", "cli.work", None),
    }


# What may be imported at all


@pytest.mark.parametrize("name", [name for name in MODULES if name != "engine.database"])
def test_only_database_imports_sqlite3(name: str) -> None:
    tops = {imported.partition(".")[0] for imported in imports_of(MODULES[name])}
    assert not tops & {"sqlite3", "_sqlite3"}, f"{name} talks to SQLite itself"


def test_database_is_where_sqlite3_is_imported() -> None:
    assert "sqlite3" in imports_of(MODULES["engine.database"])


class _WithoutCheckers(ast.NodeTransformer):
    """Takes out what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node


@pytest.mark.parametrize("name", MODULES)
def test_nothing_outside_the_standard_library_is_imported(name: str) -> None:
    tree = _WithoutCheckers().visit(tree_of(MODULES[name]))
    tops = {imported.partition(".")[0] for imported in imports(tree, "litequeue")}
    assert tops <= {"litequeue", *sys.stdlib_module_names}


# Lengths


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_no_function_is_longer_than_40_lines(path: Path) -> None:
    long = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    }
    assert not long, f"too long in {relative(path)}: {long}"


# Names


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_named_for_its_subject(name: str) -> None:
    assert not BANNED_WORDS & set(re.split(r"[._]", name))


UNITS = ("_SECONDS", "_BYTES", "_CHARACTERS")


def constants(path: Path) -> Iterator[tuple[str, str]]:
    """The public constants of a file, with their values as they are written."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign):
            names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            yield from ((name, ast.unparse(node.value)) for name in names if name[0].isupper())


def is_number(value: str) -> bool:
    return bool(re.fullmatch(r"[\d\s_.*+<()-]+", value))


def test_no_two_constants_of_one_name_have_two_values() -> None:
    values: dict[str, dict[str, str]] = {}
    for path in ALL:
        for name, value in constants(path):
            # A count means something only in its own file; a duration is read everywhere.
            if name.endswith(UNITS) or (path in SOURCES and is_number(value)):
                values.setdefault(name, {})[value] = relative(path)
    wrong = {name: found for name, found in values.items() if len(found) > 1}
    assert not wrong, f"rename one of each: {wrong}"


# Importing


PROBE = """
import json, logging, os, signal, sys, threading

written = []

def watch(event, args):
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(str(args[0]))
    elif event in ("os.mkdir", "os.rename", "os.remove", "socket.bind", "subprocess.Popen"):
        written.append(f"{event} {args[0]}")

handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
sys.addaudithook(watch)
import litequeue
print(json.dumps({
    "written": written,
    "threads": threading.active_count(),
    "handlers": len(logging.root.handlers) + len(logging.getLogger("litequeue").handlers),
    "levels": [logging.root.level, logging.getLogger("litequeue").level],
    "signals": handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)],
}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What importing litequeue does to a fresh process in an empty folder."""
    folder = tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    facts: dict[str, object] = json.loads(done.stdout)
    return {**facts, "folder": [path.name for path in folder.iterdir()]}


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("written", []),
        ("folder", []),
        ("threads", 1),
        ("handlers", 0),
        ("levels", [30, 0]),
        ("signals", True),
    ],
)
def test_importing_litequeue_touches_nothing(
    imported: dict[str, object], fact: str, value: object
) -> None:
    assert imported[fact] == value


# Components


def classes_of(name: str) -> list[ast.ClassDef]:
    return [node for node in tree_of(MODULES[name]).body if isinstance(node, ast.ClassDef)]


STORE = [name for name in MODULES if name.startswith("store.")]


@pytest.mark.parametrize("name", STORE)
def test_no_class_of_the_store_has_a_base_class_of_ours(name: str) -> None:
    bases = {ast.unparse(base) for each in classes_of(name) for base in each.bases}
    assert bases <= {"NamedTuple", "Protocol"}


def test_a_queue_has_about_25_public_methods_and_each_is_documented() -> None:
    (queue,) = classes_of("queue")
    methods = {
        node.name: node
        for node in queue.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and not any(ast.unparse(each) == "overload" for each in node.decorator_list)
    }
    assert len(methods) <= 27
    assert [name for name, node in methods.items() if not ast.get_docstring(node)] == []


# Tests


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "contract").glob("*.py")), ids=relative)
def test_the_contract_reaches_the_store_only_through_the_workers_side(path: Path) -> None:
    reaching = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "store"
    ]
    assert not reaching, f"{relative(path)} uses .store in {reaching}: see tests/worker_side.py"
