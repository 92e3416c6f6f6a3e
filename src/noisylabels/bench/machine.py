"""The machine of a benchmark: its name, its load, and the memory of processes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.files import write_text
from noisylabels.core.process import processor

__all__ = ["ResultFolder", "keep", "load", "processor", "slug", "tree_bytes"]


def load() -> float:
    """Return the load average of the last minute, NaN if the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def slug(machine: str) -> str:
    """Return a machine's name in a form for file names.

    >>> slug("Some(R) Processor-2")
    'some-r-processor-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")


def keep(out: Path, name: str, result: Mapping[str, Any], table: str) -> None:
    """Write a result to `name`.json and its table to `name`.md in the folder `out`, and print the table."""
    write_text(out / f"{name}.json", json.dumps(result, indent=1) + "\n")
    write_text(out / f"{name}.md", table)
    print(table)


@dataclass
class ResultFolder:
    """Where a benchmark's results go: options that the scripts in benchmarks/ share."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    machine: str = ""
    """name of the machine in the results (default: processor and number of cores, or the GPU)"""

    def keep(
        self, kind: str, result: Mapping[str, Any], table: str, *, device: str = "", suffix: str = ""
    ) -> None:
        """Write a result and its table to KIND-MACHINE.json and .md, and print the table.

        Args:
            kind: what is measured.
            result, table: as for `keep`.
            device: name of the machine unless the option gives one; by default processor and cores.
            suffix: end of the files' names.
        """
        machine = self.machine or device or f"{processor()}-{os.cpu_count()}"
        keep(self.out, f"{kind}-{slug(machine)}{suffix}", result, table)


def tree_bytes(root: int) -> int:
    """Return the memory of a process and its descendants in bytes, counting shared memory once.

    It is the proportional set size, including mapped files; 0 if Linux does not report it.
    """
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
    total = 0
    for process in parents:
        at: int | None = process
        while at is not None and at != root:
            at = parents.get(at)
        if at == root:
            total += _bytes(process)
    return total


def _bytes(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
