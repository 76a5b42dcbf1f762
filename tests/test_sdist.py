"""The source distribution is whole: what it holds can be tested and used as a clone can."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", "bench", "docs", "examples", "litequeue", "tests")
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def setuptools_is_new_enough() -> bool:
    """Whether this environment can build without fetching anything."""
    try:
        import setuptools
    except ImportError:
        return False
    needed = re.search(r"setuptools>=(\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return needed is not None and int(setuptools.__version__.split(".")[0]) >= int(needed[1])


def wanted() -> set[str]:
    """Each file of the project that is no product of running it."""
    found = {name for name in FILES if (ROOT / name).exists()}
    for folder in FOLDERS:
        found |= {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
        }
    return found


def test_the_manifest_names_what_no_package_brings() -> None:
    """Without building: what the tests, the Makefile and the docs need is asked for."""
    asked = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    # setuptools adds the package, the licence, the README and pyproject.toml by itself.
    assert {*FOLDERS, "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"} - {"litequeue"} <= set(asked)


def test_a_source_distribution_can_be_tested(tmp_path: Path) -> None:
    if not setuptools_is_new_enough():
        pytest.skip("this environment has no setuptools that can build the distribution")
    # From a copy: building writes beside the sources.
    source = tmp_path / "source"
    for name in wanted():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "MANIFEST.in").write_bytes((ROOT / "MANIFEST.in").read_bytes())
    made = [sys.executable, "-c", BUILD, str(tmp_path)]
    subprocess.run(made, cwd=source, check=True, capture_output=True, timeout=120)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    here = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert wanted() - here == set()
    tests = ["tests/test_shop.py", "tests/test_architecture.py", "tests/test_options.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *tests],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
