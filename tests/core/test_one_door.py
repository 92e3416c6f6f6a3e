"""Files are opened, made and removed through core alone: checked once there, and in no other place."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisylabels

ROOT = Path(noisylabels.__file__).parent

DOORS = ("core/opening.py", "core/files.py", "core/locks.py")

READS = {"open", "read_text", "read_bytes", "loadtxt", "genfromtxt", "fromfile", "memmap"}
WRITES = {
    *("write_text", "write_bytes", "mkdir", "makedirs", "rename", "unlink", "rmdir", "remove", "touch"),
    *("chmod", "symlink_to", "hardlink_to", "link", "symlink", "rmtree", "move", "copy2", "copyfile"),
    *("copytree", "copyfileobj", "mkstemp"),
    *("NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile"),
}
"""Functions and methods of the standard library and of NumPy that open or change what a path names."""

BY_PATH = {
    *("ParquetFile", "read_schema", "read_table", "open_memmap", "ZipFile", "is_zipfile", "safe_open"),
    *("load_file", "save_file", "connect", "JournalFileBackend"),
}
"""Functions of libraries that open a path: the file calls `check_regular` or `check_not_link` before."""

OWN = {
    ("audit/page.py", "read_text"),
    ("report/page.py", "read_text"),
    ("noise/known_sets.py", "read_text"),
    ("losses/kernels/compile_native.py", "read_bytes"),
    ("losses/kernels/compile_native.py", "unlink"),
    ("losses/kernels/compile_native.py", "TemporaryDirectory"),
    ("data/builtin.py", "loadtxt"),
    ("core/process.py", "read_text"),
    ("bench/machine.py", "read_text"),
    ("core/process.py", "open"),
}
"""The package's own files, those of its dependencies, what Linux says of a process, and the null device."""

FRESH = {
    ("core/large_arrays.py", "TemporaryFile"),
    ("core/large_arrays.py", "memmap"),
    ("study/probe.py", "TemporaryDirectory"),
    ("audit/review/store.py", "TemporaryDirectory"),
    ("bench/data.py", "TemporaryDirectory"),
    ("data/cache.py", "rename"),
    ("study/store.py", "rename"),
    ("study/equal_runs.py", "copyfile"),
    ("study/objects.py", "TemporaryDirectory"),
    ("study/objects.py", "write_bytes"),
    ("study/objects.py", "copyfile"),
    ("study/objects.py", "link"),
}
"""New files of the system's temporary folder or of `atomic_replace`, and the renaming of a folder that this
program made."""

NOT_FILES = {
    "self.transport",
    "self.objects",
    "hook",
    "sys.path",
    "LOSSES",
    "PER_LABEL",
    "self",
    "tarfile",
    "archive",
    "Image",
}
"""Receivers whose methods open no path, or get an open file; `Image.open` follows a check."""


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Return the calls and imports in a file."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in found if isinstance(node, ast.Call | ast.ImportFrom)]


def calls(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, receiver and name of each call in a file."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, ast.unparse(node.func.value), node.func.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, "", node.func.id


def imported(path: Path) -> set[str]:
    """Return the names that a file imports from core's three files."""
    modules = {"noisylabels." + door.removesuffix(".py").replace("/", ".") for door in DOORS}
    return {
        alias.asname or alias.name
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and node.module in modules
        for alias in node.names
    }


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).as_posix() not in DOORS]


def test_every_file_is_seen():
    assert len(FILES) > 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_opened_and_written_through_core(path):
    name = path.relative_to(ROOT).as_posix()
    ours = imported(path)
    wrong = [
        f"{name}:{line}: {receiver}.{called}" if receiver else f"{name}:{line}: {called}"
        for line, receiver, called in calls(path)
        if called in {*READS, *WRITES}
        and not (not receiver and called in ours)
        and receiver not in NOT_FILES
        and receiver != "temporary"  # of `atomic_replace`
        and (name, called) not in OWN | FRESH
    ]
    assert wrong == [], "use noisylabels.core.opening or noisylabels.core.files"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_libraries_that_open_a_path_get_a_checked_one(path):
    ours = imported(path)
    by_path = [
        called
        for _, receiver, called in calls(path)
        if called in BY_PATH and (receiver or called in ("safe_open", "load_file", "save_file"))
    ]
    checks = {"check_regular", "check_not_link", "check_database", "open_file", "check_file"}
    assert not by_path or checks & ours, f"{by_path} open a path that nothing has checked"
