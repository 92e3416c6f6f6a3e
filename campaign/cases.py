"""A case: a generator, a seed and a number give a folder of files and the words of a command."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaign.draw import Draw

MODULES = ("texts", "tables", "arrays", "pictures", "sets", "folders", "stores", "tensors", "calls")
"""Files that hold generators."""


@dataclass(frozen=True)
class Place:
    """The folders of a case; all are fresh, and every one but `inside` must be as it was when the case ends.

    Args:
        root: holds the others.
        base: sound files that generators copy, see `bases`; shared by all cases, never written.
    """

    root: Path
    base: Path

    @property
    def inside(self) -> Path:
        """The working directory of the case."""
        return self.root / "inside"

    @property
    def outside(self) -> Path:
        """Files of the user that no command of the case may touch; links of a case lead here."""
        return self.root / "outside"

    @property
    def cache(self) -> Path:
        """The cache (NOISYLABELS_CACHE)."""
        return self.root / "cache"

    @property
    def marker(self) -> Path:
        """The file that planted code would write."""
        return self.root / "code-was-run"

    def make(self) -> None:
        """Create the folders and the files that must not be touched."""
        for name in ("inside", "outside", "cache", "home", "tmp"):
            (self.root / name).mkdir(parents=True)
        for k in range(3):
            (self.outside / f"precious{k}.txt").write_text("precious\n" * 10)
        (self.outside / "folder").mkdir()
        (self.outside / "folder" / "deep.txt").write_text("deep\n")

    def copy(self, name: str, to: str) -> Path:
        """Copy a sound file or folder of the base into the case and return its path."""
        source, target = self.base / name, self.inside / to
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
            for path in target.rglob("*.json"):  # an audit records where its data are: beside it
                path.write_text(path.read_text().replace(str(self.base), str(self.inside)))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        return target


@dataclass(frozen=True)
class Case:
    """What is run.

    Args:
        words: the words after `noisylabels`.
        environment: variables that differ.
        call: what is called in place of the command line: returns the exit code or raises `InputError`.
        written: files that are complete if they are there after the command, below the case's folder.
    """

    words: Sequence[str] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    call: Callable[[], int] | None = None
    written: Sequence[str] = ()


Make = Callable[[Draw, Place], Case]


@dataclass(frozen=True)
class Generator:
    """A generator of cases, one row of the table of results."""

    name: str
    make: Make
    weight: float


GENERATORS: dict[str, Generator] = {}


def generator(name: str, weight: float = 1.0) -> Callable[[Make], Make]:
    """Register a function that makes the files of a case in `place.inside` and returns its command."""

    def register(make: Make) -> Make:
        assert name not in GENERATORS
        GENERATORS[name] = Generator(name, make, weight)
        return make

    return register


def load_generators(only: Sequence[str] = ()) -> list[Generator]:
    """Return all generators, or those whose names contain one of the words."""
    for name in MODULES:
        importlib.import_module(f"campaign.{name}")
    found = [row for row in GENERATORS.values() if not only or any(word in row.name for word in only)]
    if not found:
        raise SystemExit(f"no generator is called {', '.join(only)}; there are {', '.join(GENERATORS)}")
    return found


def choose(draw: Draw, generators: Sequence[Generator]) -> Generator:
    """Return the generator of a case, its first draw."""
    return draw.choices(generators, [row.weight for row in generators])[0]


def environment_of(place: Place, case: Case) -> dict[str, str | None]:
    """Return the variables of a case: every folder that programs write to by default lies in the case."""
    return {
        "NOISYLABELS_CACHE": str(place.cache),
        "NOISYLABELS_DATA": None,
        "HOME": str(place.root / "home"),
        "TMPDIR": str(place.root / "tmp"),
        "XDG_CACHE_HOME": None,
        "COLUMNS": None,
        **case.environment,
    }


def set_environment(values: Mapping[str, str | None]) -> None:
    """Set variables of this process; None removes one."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
