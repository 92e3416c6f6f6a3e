"""The oracle: what counts as a finding. It knows the rules that hold for every command, and no format."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cases import Place

CODES = (0, 1, 2)
"""Exit codes of a command that nobody stopped: done, the run failed, invalid input."""

LONGEST_LINE = 3000
"""Characters of an error; longer ones are no single line for a reader."""

MEMORY_BYTES = 1_500_000_000
"""Memory that a case may take beyond what the process had: the inputs are of kilobytes."""

_WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What a case did.

    Args:
        code: exit code; the negative number of the signal that ended it; None if it did not end in time.
        output: standard output and error.
        findings: the rules that it broke, each as one line.
    """

    code: int | None
    output: str
    findings: tuple[str, ...]


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return what a folder holds: of every entry its kind, mode and time, and its content or target."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = os.readlink(path) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = about.st_mode, about.st_mtime_ns, content
    return found


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(
    place: Place,
    code: int | None,
    output: bytes,
    before: dict[str, Any],
    written: Sequence[str],
    grown: int = 0,
) -> Outcome:
    """Return the outcome of a case with its findings.

    Args:
        place: the folders of the case.
        code: see `Outcome`.
        output: everything that was printed.
        before: the `fingerprint` of the folder outside before the case.
        written: files that must be whole if they are there.
        grown: bytes of memory that the case took.
    """
    text = output.decode("utf-8", "backslashreplace")
    found = [*_of_code(code, text), *_of_text(code, text)]
    after = fingerprint(place.outside)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            found.append(f"touched outside: {name}")
    if place.marker.exists():
        found.append("code run: planted code wrote its marker")
    found += [f"left outside: {path.parent.name}/{path.name}" for path in left_outside(place)]
    found += [f"left behind: {path.relative_to(place.inside)}" for path in temporary_files(place.inside)]
    found += [
        f"half-written: {name}: {fault}" for name in written if (fault := fault_of(place.inside / name))
    ]
    if grown > MEMORY_BYTES:
        found.append(f"memory: {grown / 1e9:.1f} GB for files of kilobytes")
    return Outcome(code, text, tuple(found))


def _of_code(code: int | None, text: str) -> list[str]:
    if code is None:
        return ["no end within the time limit"]
    if code < 0:
        return [f"ended by signal {-code}"]
    if code not in CODES:
        line = next((line for line in reversed(text.splitlines()) if line.startswith("noisylabels: ")), "")
        return [f"exit code {code}: {line[:300]}"]
    return []


def _of_text(code: int | None, text: str) -> list[str]:
    found = []
    if "Traceback (most recent call last)" in text:
        found.append(
            "traceback: " + next((line for line in reversed(text.splitlines()) if line.strip()), "")[:200]
        )
    if warned := _WARNING.search(text):
        found.append(f"warning: {text[warned.start() : warned.start() + 200].splitlines()[0]}")
    odd = sorted({c for c in text if not c.isprintable() and c not in "\n\t\r"})
    if odd:
        found.append(f"unprintable: {' '.join(f'U+{ord(c):04X}' for c in odd[:8])}")
    if code == 2:
        lines = [line for line in text.splitlines() if line.startswith("noisylabels: ")]
        if len(lines) != 1:
            found.append(f"error of {len(lines)} lines")
        elif len(lines[0]) > LONGEST_LINE:
            found.append(f"error of {len(lines[0]):,} characters")
    return found


def left_outside(place: Place) -> list[Path]:
    """Return what was left in the home and temporary folders, but for the cache of torch's compiler."""
    found = [path for name in ("home", "tmp") for path in (place.root / name).iterdir()]
    return [path for path in found if not path.name.startswith("torchinductor_")]


def temporary_files(folder: Path) -> list[Path]:
    """Return the files that a write under a temporary name has left."""
    return [
        path
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") and path.name.startswith(".") and path.name != ".lock.tmp"
    ]


def fault_of(path: Path) -> str:
    """Return why a file that was written is not whole, or ""."""
    if not path.is_file():
        return ""
    try:
        read(path)
    except Exception as error:  # whatever the reader of the format raises
        return f"{type(error).__name__}: {error}"
    return ""


def read(path: Path) -> Any:
    """Read a file of the program by its suffix, with the plain readers of the formats."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        if len({len(row) for row in rows}) != 1:
            raise ValueError("rows of different lengths")
        return rows
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path)
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    return path.read_bytes()
