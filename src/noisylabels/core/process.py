"""A process and its machine: the processor, how many of it may be used, how memory is kept."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import re
import sys
from pathlib import Path


def usable_cpus(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may keep busy, 1 or more.

    The machine's, less those that its affinity excludes (taskset, a batch system), and no more than the time
    that its control group gets (a container's ``--cpus``), rounded up: beyond either, threads wait for each
    other.

    Args:
        proc, groups: where Linux shows processes and control groups.

    >>> 1 <= usable_cpus() <= os.cpu_count()
    True
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota(proc, groups))))


def _quota(proc: Path, groups: Path) -> float:
    """Return for how many processors the control groups of this process have time; inf without a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups  # the first version has a tree a controller
        group = top / path.lstrip("/")
        # a limit above holds below; inside a container the path may be the host's, and only the top is there
        for folder in [group, *group.parents]:
            least = min(least, _limit(folder))
            if folder == top:
                break
    return least


def _limit(folder: Path) -> float:
    """Return the limit of one control group, in either version's files."""
    try:
        if (file := folder / "cpu.max").exists():
            quota, period = file.read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no such file: no limit here
        return math.inf


def processor() -> str:
    """Return the processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        text = ""
    found = re.search(r"^model name\s*:\s*(.*)", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def limit_threads() -> int:
    """Let torch start no more threads than there are processors to use; return how many it may.

    What OMP_NUM_THREADS says stays: the user has counted.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and (cpus := usable_cpus()) < torch.get_num_threads():
        torch.set_num_threads(cpus)
    return torch.get_num_threads()


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for what it needs next; return whether it can.

    A step of training frees and asks for the same hundreds of MB. The GNU C library hands large blocks back
    to the system, which then fills each page with zeros anew: a tenth of the step of the paper's network on a
    CPU. What has been needed once is given back when the process ends. For programs, not for a library: it
    holds for the whole process.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_threshold = -1, -3  # their numbers in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
        # both, for setting one ends the adjustment of the other; older libraries take no more than 32 MB
        large = any(mallopt(mmap_threshold, most) for most in (2**30, 2**25))
        return bool(large and mallopt(trim_threshold, 2**31 - 1))
    except (AttributeError, OSError):  # another C library
        return False
