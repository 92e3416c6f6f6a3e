"""The process and its machine: launcher, usable processors, threads, the processor's name, freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import re
import sys
from pathlib import Path
from typing import NamedTuple

from noisylabels.core.checks import InputError


class World(NamedTuple):
    """The place of this process among those that a launcher such as torchrun started together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes of its machine


def world() -> World:
    """Return the place of this process by RANK, WORLD_SIZE and LOCAL_RANK; without them it is alone.

    Raises:
        InputError: they are not the numbers of a process.
    """
    names = ("RANK", "WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return World()
    words = [*(os.environ[name] for name in names), os.environ.get("LOCAL_RANK", os.environ["RANK"])]
    try:
        found = World(*map(int, words))
    except ValueError:
        found = World(-1)
    if not 0 <= found.rank < found.size or found.local_rank < 0:
        raise InputError(
            f"RANK, WORLD_SIZE and LOCAL_RANK are {', '.join(words)}, expected numbers from 0, the first "
            "below the second, as torchrun sets them; unset them to train in one process"
        )
    return found


def usable_cpus(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may keep busy, 1 or more.

    These are the processors in its affinity mask (taskset, a batch system), at most the CPU quota of its
    control group (a container's ``--cpus``), rounded up: more threads than that wait for each other.

    Args:
        proc, groups: the folders in which Linux shows processes and control groups.

    >>> 1 <= usable_cpus() <= os.cpu_count()
    True
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota(proc, groups))))


def _quota(proc: Path, groups: Path) -> float:
    """Return the CPU quota of this process's control groups, in processors; inf without a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups  # version 1 has one tree per controller
        group = top / path.lstrip("/")
        # limits hold for all groups below; in a container the path may be the host's, and only the top exists
        for folder in [group, *group.parents]:
            least = min(least, _limit(folder))
            if folder == top:
                break
    return least


def _limit(folder: Path) -> float:
    """Return the CPU quota of one control group, in processors, from the files of either version."""
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
    except OSError:  # not Linux
        text = ""
    found = re.search(r"^model name\s*:\s*(.*)", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def gpu_names() -> list[str]:
    """Return the names of NVIDIA's GPUs, by the files of its driver; nothing is imported for it."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = re.search(r"^Model:\s*(.+)$", text, re.MULTILINE)
        names += [found[1].strip()] if found else []
    return names


def open_standard_streams() -> None:
    """Open the null device in place of a standard stream that the process was started without, as by ``>&-``.

    Otherwise the next file that is opened would take the place, and receive what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "r" if number == 0 else "w"))


def empty_input() -> None:
    """Let the process read nothing from standard input."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)


def discard_output() -> None:
    """Discard what standard output still holds if that cannot be written, as after its reader has ended."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def limit_threads() -> int:
    """Limit torch's threads to the usable processors; return the number of threads.

    If OMP_NUM_THREADS is set, the user's choice stands.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and (cpus := usable_cpus()) < torch.get_num_threads():
        torch.set_num_threads(cpus)
    return torch.get_num_threads()


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for reuse; return whether it can.

    A training step frees and allocates the same hundreds of MB. The GNU C library returns large blocks to the
    system, which then fills each page with zeros again: a tenth of the step time of the paper's network on a
    CPU. Memory allocated once is then released only when the process ends. This is for programs, not for a
    library: it affects the whole process.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_threshold = -1, -3  # as in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
        # both, because setting one stops the adjustment of the other; older libraries accept up to 32 MB
        large = any(mallopt(mmap_threshold, most) for most in (2**30, 2**25))
        return bool(large and mallopt(trim_threshold, 2**31 - 1))
    except (AttributeError, OSError):  # another C library
        return False
