"""The floors of DESIGN.md: a file imports from its own room and from lower floors only."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import noisylabels
from noisylabels.cli.parser import VERBS

ROOT = Path(noisylabels.__file__).parent

FLOORS = {
    "cli": 9,
    "paper": 8,
    "estimator": 7,
    "study": 6,
    "audit": 6,
    "bench": 6,
    "experiment": 5,
    "methods": 4,
    "training": 3,
    "encoders": 2,
    "losses": 1,
    "noise": 1,
    "data": 1,
    "models": 1,
    "report": 1,
    "core": 0,
}

KERNELS = "noisylabels.losses.kernels"
FACE = ("DTYPES", "Plan", "evaluate", "is_transformed", "kernel_name", "slopes", "value_and_gradient")
"""The public names of losses/kernels: losses/ uses these, and no other room imports the folder."""

FREE = ("__init__.py", "__main__.py")
"""The package's front door, which shows names of every floor."""

BARE_ROOMS = ("training", "experiment")
"""Rooms that run on a bare GPU machine: at module level these and the standard library only."""
BARE = {"torch", "typing_extensions", "numpy", "safetensors", "pyarrow", "PIL", "sklearn", "tyro", "rich"}
BARE |= {"noisylabels"}


def room_of(path: str) -> str:
    """Return the room of a file, given relative to the package: "core/rng.py" is in "core"."""
    return path.split("/")[0].removesuffix(".py")


@functools.cache
def imported(path: str, source: str, *, anywhere: bool = True) -> tuple[str, ...]:
    """Return the dotted names that a file imports, at module level or anywhere in it."""
    body = ast.parse(source)
    return tuple(names_in(path, ast.walk(body) if anywhere else top_level(body.body)))


def names_in(path: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the dotted names that statements and calls of a file import."""
    package = ["noisylabels", *path.split("/")[:-1]]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, (ast.Name, ast.Attribute))
            and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def top_level(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Return the statements that run on import: not those in functions or under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level(node.orelse)
            continue
        yield node
        for block in ("body", "orelse", "finalbody"):
            yield from top_level(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from top_level(handler.body)


def faults(path: str, source: str) -> list[str]:
    """Return what a file imports against the table."""
    if path in FREE:
        return []
    room = room_of(path)
    if room not in FLOORS:
        return [f"{path}: the room {room!r} has no floor; enter it in FLOORS and in DESIGN.md"]
    found = []
    for name in imported(path, source):
        parts = name.split(".")
        if parts[0] != "noisylabels" or len(parts) < 2:
            continue
        other = parts[1]
        if other == room or other.startswith("__"):
            continue
        if other not in FLOORS:
            found.append(f"{path} imports {name}: the front door is for users; name the room")
        elif FLOORS[other] >= FLOORS[room]:
            found.append(f"{path} on floor {FLOORS[room]} imports {name} on floor {FLOORS[other]}")
    return found


def past_the_face(path: str, source: str) -> list[str]:
    """Return the imports of a file that reach into losses/kernels instead of using its public names."""
    if path.startswith("losses/kernels/"):
        return []
    names = [f"{name}." for name in imported(path, source) if f"{name}.".startswith(f"{KERNELS}.")]
    if room_of(path) != "losses":
        return names
    return [name for name in names if name.removeprefix(f"{KERNELS}.").split(".")[0] not in ("", *FACE)]


def strangers(path: str, source: str) -> list[str]:
    """Return what a file of the bare rooms imports at module level beyond what a bare machine has."""
    if room_of(path) not in BARE_ROOMS:
        return []
    names = {name.split(".")[0] for name in imported(path, source, anywhere=False)}
    return sorted(names - BARE - set(sys.stdlib_module_names))


@functools.cache
def sources() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(ROOT.rglob("*.py"))
    }


def test_every_file_keeps_to_its_floor():
    visited, found = 0, []
    for path, source in sources().items():
        found += faults(path, source)
        found += [f"{path} imports {name} at module level" for name in strangers(path, source)]
        visited += 1
    assert found == []
    assert visited == sum(1 for _ in ROOT.rglob("*.py")) > 20


CIRCLES = {
    ("losses/catalog.py", "losses/validation.py"),  # a row, and the checks of a row, which name its type
}
"""Modules of one room that import each other."""


def circles(files: dict[str, str]) -> set[tuple[str, ...]]:
    """Return the groups of modules that import each other, in functions and for types too."""
    names = {path.removesuffix(".py").replace("/", "."): path for path in files}
    links: dict[str, set[str]] = {}
    for path, source in files.items():
        wanted = {name.removeprefix("noisylabels.") for name in imported(path, source)}
        wanted |= {name.rpartition(".")[0] for name in wanted}
        links[path] = {names[name] for name in wanted & names.keys()} - {path}

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = list(links[start])
        while ahead:
            if (path := ahead.pop()) not in found:
                found.add(path)
                ahead += links[path]
        return found

    ways = {path: reached(path) for path in files}
    return {tuple(sorted({path, *(p for p in ways[path] if path in ways[p])})) for path in files} - {
        (path,) for path in files
    }


def test_no_modules_import_each_other():
    assert circles(sources()) <= CIRCLES


def test_circles_are_found():
    files = {
        "noise/a.py": "from noisylabels.noise import b",
        "noise/b.py": "def f():\n    from noisylabels.noise.c import x",
        "noise/c.py": "if TYPE_CHECKING:\n    from .a import y",
        "noise/d.py": "from noisylabels.noise.a import y\nimport noisylabels.noise.d",
    }
    assert circles(files) == {("noise/a.py", "noise/b.py", "noise/c.py")}
    assert circles(files | {"noise/c.py": ""}) == set()


def test_report_imports_nothing_of_the_project_but_core():
    for path, source in sources().items():
        if room_of(path) == "report":
            rooms = {name.split(".")[1] for name in imported(path, source) if name.startswith("noisylabels.")}
            assert rooms <= {"core", "report"}


def test_nothing_but_the_command_line_imports_the_paper():
    """Not the front door either, which the floors leave free."""
    importing = {
        room_of(path)
        for path, source in sources().items()
        for name in imported(path, source)
        if name.startswith("noisylabels.paper")
    }
    assert importing == {"cli", "paper"}


def test_only_losses_import_the_kernels_and_by_their_public_names():
    from noisylabels.losses import kernels

    assert tuple(kernels.__all__) == FACE
    users = {path for path, source in sources().items() if any(KERNELS in n for n in imported(path, source))}
    assert {path: found for path, source in sources().items() if (found := past_the_face(path, source))} == {}
    assert users > {"losses/modules.py", "losses/linear.py"}


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("losses/a.py", "from noisylabels.losses import kernels", 0),
        ("losses/a.py", "from noisylabels.losses.kernels import Plan, evaluate", 0),
        ("losses/a.py", "from noisylabels.losses.kernels import Plan, fused", 1),
        ("losses/a.py", "from noisylabels.losses.kernels.fused import Plan", 1),
        ("losses/a.py", "def f():\n    from .kernels import native", 1),
        ("losses/kernels/a.py", "from noisylabels.losses.kernels import native", 0),
        ("experiment/a.py", "from noisylabels.losses import kernel_name", 0),
        ("experiment/a.py", "from noisylabels.losses.kernels import kernel_name", 1),
        ("bench/a.py", "from noisylabels.losses import kernels", 1),
    ],
)
def test_imports_past_the_public_names_are_found(path, source, count):
    assert len(past_the_face(path, source)) == count


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/rng.py", "from noisylabels.losses import loss"),
        ("core/rng.py", "import noisylabels.noise.sampling"),
        ("core/rng.py", "def f():\n    from noisylabels.cli import main"),
        ("losses/a.py", "from noisylabels.noise.spec import x"),  # siblings
        ("losses/a.py", "from noisylabels import noise"),
        ("losses/a.py", "from ..noise import spec"),
        ("losses/a.py", "from .. import noise"),
        ("report/figures.py", "from noisylabels.losses.curve import curve"),
        ("training/loop.py", "from noisylabels.methods import single"),
        ("training/loop.py", "import importlib\nimportlib.import_module('noisylabels.experiment')"),
        ("study/grid.py", "from noisylabels.audit import scores"),
        ("audit/scores.py", "from noisylabels.study import grid"),
        ("study/reporting.py", "from noisylabels.paper.report import paper_sections"),
        ("estimator/classifier.py", "from noisylabels.paper import observations"),
        ("experiment.py", "from noisylabels.study.grid import x"),
        ("experiment/prediction.py", "if TYPE_CHECKING:\n    from noisylabels.estimator import x"),
        ("losses/a.py", "from noisylabels import loss"),  # the front door
        ("attic/a.py", "import math"),
        ("attic.py", "import math"),
    ],
)
def test_the_checker_can_fail(path, source):
    assert len(faults(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/rng.py", "import numpy\nfrom noisylabels.core.checks import InputError\nfrom . import checks"),
        ("losses/a.py", "from noisylabels.core.checks import InputError\nfrom .readings import select"),
        ("experiment.py", "from noisylabels.training.loop import x\nfrom noisylabels import __version__"),
        ("experiment/prediction.py", "from noisylabels.experiment.folder import x"),
        ("cli/train.py", "from noisylabels.experiment import run\nfrom noisylabels.core import checks"),
        ("__init__.py", "from noisylabels.cli import main"),
        ("study/grid.py", "from noisylabels import experiment"),
    ],
)
def test_the_checker_lets_pass(path, source):
    assert faults(path, source) == []


def test_strangers_are_found():
    source = (
        "import torch, os\nimport polars.x\ntry:\n    import ray\nexcept ImportError:\n    import dask\n"
        "class A:\n    import jinja2\ndef f():\n    import altair\nif TYPE_CHECKING:\n    import optuna\n"
    )
    assert strangers("training/loop.py", source) == ["dask", "jinja2", "polars", "ray"]
    assert strangers("experiment.py", "from altair import Chart") == ["altair"]
    assert strangers("cli/loss.py", source) == []


HEAVY = {"torch", "torch._dynamo", "numpy", "pyarrow", "sklearn", "scipy", "PIL", "altair", "timm"}


def heavy_after(code: str) -> set[str]:
    """Return which of the heavy packages a fresh process has imported once it has run `code`."""
    report = f"\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + report],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT.parent), "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    return set(ast.literal_eval(done.stderr.splitlines()[-1]))  # the lines before are the command's


@pytest.mark.parametrize("module", ["noisylabels", "noisylabels.cli"])
def test_the_front_door_is_light(module):
    assert heavy_after(f"import {module}; dir({module})") == set()


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        *(f"{verb} --help" for verb in VERBS),
        "completion bash",
        "train --lerning-rate 1",
    ],
)
def test_help_waits_for_nothing_heavy(words):
    code = f"from noisylabels.cli import main\ntry:\n    main({words.split()})\nexcept SystemExit:\n    pass"
    assert heavy_after(code) == set()


def test_the_public_names_bring_nothing_heavy_beyond_torch():
    """They are reached one by one, by a star, and listed by dir(); torch itself brings numpy.

    The estimator is scikit-learn's by inheritance, and brings what that does.
    """
    code = (
        "import noisylabels, sys\nfor name in noisylabels.__all__:\n"
        "    name == 'NoisyLabelClassifier' or getattr(noisylabels, name)\n"
        "assert set(noisylabels.__all__) <= set(dir(noisylabels))"
    )
    assert heavy_after(code) <= {"torch", "numpy"}
    star = "from noisylabels import *\nloss, fit, run, NoisyLabelClassifier"
    assert heavy_after(star) <= {"torch", "numpy", "sklearn", "scipy", "pyarrow", "pandas"}
