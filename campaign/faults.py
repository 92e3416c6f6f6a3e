"""Run jobs under faults of the machine, then without them, and compare with an undisturbed run."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from campaign.cases import Case, Place
from campaign.draw import Draw
from campaign.jobs import Job, usable
from campaign.kills import Sound, compared, finish, half_written, undisturbed
from campaign.oracle import Outcome, fingerprint, judge
from campaign.running import Bench, Result, run_here

Fault = Callable[[Draw, Place], None]
"""What makes the fault in the process of the job, just before the job starts."""


def full_disk(draw: Draw, place: Place) -> None:
    """Let no file grow beyond a few kilobytes, where no small file system could be mounted."""
    if not os.path.ismount(place.inside):
        size = draw.choice((0, 100, 1000, 10_000, 100_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def read_only(draw: Draw, place: Place) -> None:
    """Make the working directory read-only."""
    if os.path.ismount(place.inside):
        subprocess.run(["mount", "-o", "remount,ro", str(place.inside)], check=True)
    else:
        place.inside.chmod(0o555)


def few_descriptors(draw: Draw, place: Place) -> None:
    """Allow a few more open files than there are."""
    top = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + draw.choice((0, 1, 2, 4, 8, 16)),) * 2)


def little_memory(draw: Draw, place: Place) -> None:
    """Allow little more memory than the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + draw.choice((0, 10**6, 10**7, 5 * 10**7, 2 * 10**8))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def no_home(draw: Draw, place: Place) -> None:
    """Leave the process without a home, a temporary folder or a cache that can be written."""


def backward_clock(draw: Draw, place: Place) -> None:
    """Let the clock of the day run backward."""
    now, step = time.time(), draw.choice((0.001, 1.0, 3600.0))
    calls = iter(range(10**9))
    time.time = lambda: now - step * next(calls)
    time.time_ns = lambda: int(1e9 * time.time())


def no_locks(draw: Draw, place: Place) -> None:
    """Have a file system without locks."""
    import fcntl

    code = draw.choice((errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS))

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    fcntl.flock = refuse


FAULTS: dict[str, Fault] = {
    "full disk": full_disk,
    "read-only": read_only,
    "few descriptors": few_descriptors,
    "little memory": little_memory,
    "no home": no_home,
    "backward clock": backward_clock,
    "no locks": no_locks,
}

NOWHERE = "/proc/nowhere"  # can never be created


def run_faults(bench: Bench, first: int, count: int | None, until: float) -> Iterator[Result]:
    """Yield the results of fault cases from number `first` on, until the time or the count is used up."""
    sound: dict[str, Sound] = {}
    number = first
    while time.monotonic() < until and (count is None or number < first + count):
        yield _case(bench, number, sound)
        number += 1


def _inline(job: Job) -> Job:
    """Return a job that runs in one process, which has the fault."""
    words = tuple(
        "0" if before == "--jobs" else word for before, word in zip(("", *job.words), job.words, strict=False)
    )
    return replace(job, name=job.name.replace(" with 2 workers", ""), words=words)


def _case(bench: Bench, number: int, sound: dict[str, Sound]) -> Result:
    draw = Draw(bench.seed, number, "fault")
    jobs = [job for job in usable(bench.only) if job.call is None]  # the fault would hit the client as well
    job, name = _inline(draw.choice(jobs)), draw.choice(sorted(FAULTS))
    if job.name not in sound:
        sound[job.name] = undisturbed(bench, job)
    place = Place(bench.work / f"fault-{bench.seed}-{number}", bench.base)
    shutil.rmtree(place.root, ignore_errors=True)
    case, began = job.prepare(place), time.monotonic()
    mounted = name in ("full disk", "read-only") and mount(draw, place)
    try:
        return _disturbed(bench, number, job, name, case, place, draw, sound[job.name], began)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place.inside)], check=True)
        place.inside.chmod(0o755)
        shutil.rmtree(place.root, ignore_errors=True)


def _disturbed(
    bench: Bench,
    number: int,
    job: Job,
    name: str,
    case: Case,
    place: Place,
    draw: Draw,
    sound: Sound,
    began: float,
) -> Result:
    before = fingerprint(place.outside)
    lost = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), NOWHERE) | {"NOISYLABELS_CACHE": None}
    faulty = replace(case, environment=lost if name == "no home" else {})
    code = finish(_start(place, faulty, FAULTS[name], draw), bench.seconds)
    outcome = judge(place, code, (place.root / "output").read_bytes(), before, ())
    found = [*outcome.findings, *half_written(place.inside)]
    if name in ("backward clock", "no locks") and code != 0:
        found.append(f"it fails with exit code {code}")
    if os.path.ismount(place.inside):  # room again
        subprocess.run(["mount", "-o", "remount,rw,size=64m", str(place.inside)], check=True)
    place.inside.chmod(0o755)
    again = finish(_start(place, case, no_home, draw), 2 * bench.seconds)
    found += compared(job, place, again, sound)
    found += [
        f"afterwards: {line}"
        for line in judge(place, again, (place.root / "output").read_bytes(), before, ()).findings
    ]
    return Result(
        number,
        f"fault: {name}",
        case.words,
        Outcome(code, outcome.output, tuple(dict.fromkeys(found))),
        time.monotonic() - began,
    )


def _start(place: Place, case: Case, fault: Fault, draw: Draw) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 70
        try:
            fault(draw, place)
            code = run_here(place, case)
        finally:
            os._exit(code)
    return child


def mount(draw: Draw, place: Place) -> bool:
    """Put the working directory on a small file system of its own; return False where that is not allowed."""
    files = sorted(place.inside.rglob("*"))
    used = sum(4096 + path.stat().st_size for path in files)
    size = used + draw.choice((4096, 20_000, 60_000, 200_000))
    kept = place.root / "kept"
    shutil.copytree(place.inside, kept)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place.inside)], capture_output=True
    )
    if done.returncode == 0:
        shutil.copytree(kept, place.inside, dirs_exist_ok=True)
    shutil.rmtree(kept)
    return done.returncode == 0
