"""Kill jobs at random moments, resume them, and compare what they give with an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cases import Case, Place
from campaign.draw import Draw
from campaign.jobs import Job, usable
from campaign.oracle import Outcome, fault_of, fingerprint, judge
from campaign.patience import Limit, descendants
from campaign.running import Bench, Result, run_here

WHOLE = (".json", ".parquet", ".npz", ".csv", ".safetensors")
"""Suffixes of files that are written under another name and renamed: whole at every moment."""

ORPHAN_SECONDS = 20.0
"""Time for workers to end once their parent was killed: a step, or the imports of one that has just begun."""


@dataclass(frozen=True)
class Sound:
    """What an undisturbed run gives, and its time."""

    results: Any
    seconds: float


def run_kills(bench: Bench, first: int, count: int | None, until: float) -> Iterator[Result]:
    """Yield the results of kill cases from number `first` on, until the time or the count is used up."""
    sound: dict[str, Sound] = {}
    number = first
    while time.monotonic() < until and (count is None or number < first + count):
        yield _case(bench, number, sound)
        number += 1


def _case(bench: Bench, number: int, sound: dict[str, Sound]) -> Result:
    draw = Draw(bench.seed, number, "kill")
    jobs = usable(bench.only)
    job = draw.choices(jobs, [each.weight for each in jobs])[0]
    if job.name not in sound:
        sound[job.name] = undisturbed(bench, job)
    place = Place(bench.work / f"kill-{bench.seed}-{number}", bench.base)
    shutil.rmtree(place.root, ignore_errors=True)
    case, began = job.prepare(place), time.monotonic()
    before = fingerprint(place.outside)
    kills, notes = 0, list[str]()
    for _ in range(draw.randint(1, 4)):
        moment, target = (
            draw.uniform(0, sound[job.name].seconds),
            draw.choice(("parent", "worker", "worker", "group")),
        )
        hit, found = kill_once(place, case, moment, target, draw, bench.seconds)
        kills += hit
        notes += [
            f"{line} (after a kill of the {target} at {moment:.2f} s)"
            for line in (*found, *half_written(place.inside))
        ]
    code = finish(start(place, case), bench.seconds + 4 * sound[job.name].seconds)
    output = (place.root / "output").read_bytes()
    outcome = judge(place, code, output, before, ())
    notes += compared(job, place, code, sound[job.name])
    left = tuple(
        line for line in outcome.findings if not line.startswith("left outside: tmp")
    )  # of killed processes
    shutil.rmtree(place.root, ignore_errors=True)
    return Result(
        number,
        f"kill: {job.name}",
        case.words,
        Outcome(code, outcome.output, (*left, *notes)),
        time.monotonic() - began,
        kills,
    )


def undisturbed(bench: Bench, job: Job) -> Sound:
    """Return what a job gives when it is left alone, and its time."""
    place = Place(bench.work / f"sound-{job.name.replace(' ', '-')}", bench.base)
    case, began = job.prepare(place), time.monotonic()
    code = finish(start(place, case), 10 * bench.seconds)
    seconds = time.monotonic() - began
    if code != 0:
        raise SystemExit(f"{job.name} fails undisturbed:\n{(place.root / 'output').read_text()}")
    found = Sound(job.results(place), seconds)
    shutil.rmtree(place.root)
    return found


def start(place: Place, case: Case) -> int:
    """Start a case in a process and a group of its own; return the id of both."""
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 70
        try:
            code = run_here(place, case)
        finally:
            os._exit(code)
    return child


def finish(child: int, seconds: float) -> int | None:
    """Return the exit code of a process, a negative signal, or None if it took too long and was killed."""
    limit = Limit(child, seconds)
    while limit.left() > 0:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGUSR1)
        time.sleep(0.5)
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def kill_once(
    place: Place, case: Case, moment: float, target: str, draw: Draw, seconds: float
) -> tuple[int, list[str]]:
    """Start a case, kill a process of it after `moment` seconds; return whether one was hit, and findings."""
    child = start(place, case)
    time.sleep(moment)
    found, _ = os.waitpid(child, os.WNOHANG)
    if found:
        return 0, []
    family = descendants(child)
    victims = {
        "parent": [child],
        "group": [child, *family],
        "worker": [draw.choice(family)] if family else [child],
    }[target]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    code = finish(child, 3 * seconds)
    notes = [f"no end within the time limit of {3 * seconds:.0f} s"] if code is None else []
    if code is not None and code not in (0, -signal.SIGKILL):
        output = (place.root / "output").read_text(errors="replace")
        notes.append(f"exit code {code}: {output.strip().splitlines()[-1][:200] if output.strip() else ''}")
    return 1, notes + orphans(family)


def orphans(family: list[int]) -> list[str]:
    """Wait for the workers of an ended process; kill each that does not end, and return a finding for it."""
    limits = {worker: Limit(worker, ORPHAN_SECONDS) for worker in family}
    while any(_alive(worker) and limit.left() > 0 for worker, limit in limits.items()):
        time.sleep(0.05)
    left = [worker for worker in family if _alive(worker)]
    for worker in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    return ["a worker outlives its parent" for _ in left]


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def half_written(folder: Path) -> list[str]:
    """Return the files of a folder that cannot be read, among those that are always whole."""
    files = [path for path in folder.rglob("*") if path.suffix in WHOLE and path.is_file()]
    return [
        f"half-written: {path.relative_to(folder)}: {fault}"
        for path in sorted(files)
        if (fault := fault_of(path))
    ]


def compared(job: Job, place: Place, code: int | None, sound: Sound) -> list[str]:
    """Return a finding if a job failed, or gives other results than the undisturbed one."""
    if code != 0:
        return [f"it does not finish after the disturbance: exit code {code}"]
    try:
        found = difference(job.results(place), sound.results)
        return [f"results differ from those of the undisturbed run: {found}"] if found else []
    except Exception as error:  # a file is missing or cannot be read
        return [f"results cannot be read: {type(error).__name__}: {error}"]


def difference(now: Any, sound: Any, where: str = "") -> str:
    """Return where two results differ first, and how; "" if they are equal."""
    if now == sound:
        return ""
    if isinstance(now, dict) and isinstance(sound, dict):
        parts = [(key, now.get(key), sound.get(key)) for key in dict.fromkeys([*sound, *now])]
    elif isinstance(now, list) and isinstance(sound, list) and len(now) == len(sound):
        parts = [(str(at), *pair) for at, pair in enumerate(zip(now, sound, strict=True))]
    else:
        return f"{where or 'the whole'} is {str(now)[:100]!r}, not {str(sound)[:100]!r}"
    return next((found for key, *pair in parts if (found := difference(*pair, f"{where}/{key}"))), where)
