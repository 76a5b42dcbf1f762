"""The wheel has the whole package, and works where no clone is."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from test_sdist import ROOT, setuptools_is_new_enough

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
SOURCES = ("litequeue", "examples")
FILES = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")


def modules(folder: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}


def test_the_packaging_names_each_package() -> None:
    """Without building: setuptools leaves out a folder that is not on its list."""
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = {str(Path(name).parent).replace(os.sep, ".") for name in modules("litequeue")}
    assert [name for name in sorted(packages) if f'    "{name}",\n' not in listed] == []


def test_a_wheel_works_without_a_clone(tmp_path: Path) -> None:
    if os.name == "nt" or not setuptools_is_new_enough():
        pytest.skip("this environment has no setuptools that can build the distribution")
    # From a copy: building writes beside the sources.
    source = tmp_path / "source"
    for name in {*FILES, *(name for folder in SOURCES for name in modules(folder))}:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "litequeue" / "py.typed").touch()
    made = [sys.executable, "-c", BUILD, str(tmp_path)]
    subprocess.run(made, cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    # Without pip: a wheel of pure Python is installed by unpacking it.
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    installed = {str(path.relative_to(site)) for path in (site / "litequeue").rglob("*")}
    assert modules("litequeue") - installed == set()
    assert os.path.join("litequeue", "py.typed") in installed
    # An installed wheel of a clone: the package from the wheel, the examples from the clone.
    clone = tmp_path / "clone"
    clone.mkdir()
    (source / "examples").rename(clone / "examples")
    # The environment of the tests may lead to the sources.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in ("litequeue demo", "examples.shop"):
        done = subprocess.run(
            [str(tmp_path / "venv" / "bin" / "python"), "-m", *command.split()],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
