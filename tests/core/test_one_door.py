"""Every file is opened and every path written through core: no other room opens, makes or removes one itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import noisylabels

ROOT = Path(noisylabels.__file__).parent

DOORS = ("core/opening.py", "core/files.py", "core/locks.py")

READS = {"open", "read_text", "read_bytes", "loadtxt", "genfromtxt", "fromfile", "memmap"}
WRITES = {
    *("write_text", "write_bytes", "mkdir", "makedirs", "rename", "unlink", "rmdir", "remove", "touch", "chmod"),
    *("symlink_to", "hardlink_to", "rmtree", "move", "copy", "copy2", "copyfile", "copytree", "mkstemp", "link"),
    *("NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "utime", "truncate"),
}
"""Functions and methods of the standard library and of NumPy that open or change what a path names."""


def calls(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, receiver and name of each such call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute):
            receiver, name = ast.unparse(node.func.value), node.func.attr
        elif isinstance(node.func, ast.Name):
            receiver, name = "", node.func.id
        else:
            continue
        yield node.lineno, receiver, name
def test_x():
    for path in sorted(ROOT.rglob("*.py")):
        rel = path.relative_to(ROOT).as_posix()
        if rel in DOORS: continue
        for line, receiver, name in calls(path):
            if name in READS | WRITES and receiver != "temporary" and not (name=="copy"):
                print(f"{rel}:{line}: {receiver}.{name}")
test_x()
