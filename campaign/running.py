"""Run cases: a batch in one forked process that has everything imported, watched by this one."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cases import Case, Generator, Place, choose, environment_of, set_environment
from campaign.draw import Draw
from campaign.oracle import Outcome, fingerprint, judge, peak_bytes
from campaign.patience import Limit
from campaign.reached import start, stop

BATCH = 200
"""Cases per process."""

BROKEN = 99
"""Exit code of a process in which a generator, and not the program, failed."""

SECONDS = 60.0
"""Time after which a case counts as one that does not end, without waiting for a processor."""


@dataclass(frozen=True)
class Result:
    """A case that was run: its number, generator, words, outcome, time, and the kills that hit it."""

    number: int
    generator: str
    words: tuple[str, ...]
    outcome: Outcome
    seconds: float
    kills: int = 0


def import_everything() -> None:
    """Import the package with all that it may need, so that a forked process can start at once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import noisylabels

    for module in pkgutil.walk_packages(noisylabels.__path__, "noisylabels."):
        if module.name.endswith(("__main__", "triton_kernels", "wandb", "mlflow", "tensorboard")):
            continue
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    for name in (
        "pyarrow.parquet",
        "sklearn.linear_model",
        "pandas",
        "hypothesis.extra.numpy",
        "PIL.TiffImagePlugin",
        "transformers",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


class Bench:
    """Where cases are run.

    Args:
        work: a folder of this campaign, created and removed by the caller.
        seed: the seed of all cases.
        generators: those to choose from.
        seconds: time limit of a case.
        coverage: records lines and branches of the package into this file, or None.
    """

    def __init__(
        self,
        work: Path,
        seed: int,
        generators: Sequence[Generator],
        seconds: float = SECONDS,
        coverage: Path | None = None,
    ) -> None:
        self.work, self.seed, self.generators, self.seconds, self.coverage = (
            work,
            seed,
            generators,
            seconds,
            coverage,
        )
        self.base = work / "base"
        self._killed: set[int] = set()  # numbers of cases that were killed from outside
        self.only: Sequence[str] = ()  # words in the names of jobs that are killed and starved; all without

    def make_bases(self) -> None:
        """Make the sound files, in a process of its own."""
        from campaign.bases import make_bases

        child = os.fork()
        if child == 0:
            code = 1
            try:
                recorder = None if self.coverage is None else start(self.coverage)
                make_bases(self.base)
                stop(recorder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if status:
            log = self.base / "log.txt"
            raise SystemExit(f"the sound files could not be made\n{log.read_text() if log.exists() else ''}")

    def run(self, numbers: Sequence[int], until: float = float("inf")) -> Iterator[Result]:
        """Run the cases of these numbers and yield their results; none is begun after the time `until`."""
        left = list(numbers)
        while left and time.monotonic() < until:
            for result in self._batch(left[:BATCH], until):
                left.remove(result.number)
                yield result

    def _batch(self, numbers: Sequence[int], until: float) -> Iterator[Result]:
        """Run cases in one process until it ends, which a case may bring about; yield what was run."""
        receiver, sender = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            code = BROKEN
            try:
                os.close(receiver)
                os.setsid()
                with os.fdopen(sender, "w") as answers:
                    _carry_out(self, numbers, until, answers)
                code = 0
            except BaseException:  # a fault of a generator, which must not go on as the parent
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(sender)
        current: int | None = None
        late = False
        with os.fdopen(receiver, "rb", buffering=0) as answers_:
            buffer, began, limit = b"", time.monotonic(), Limit(child, self.seconds + 60)
            while True:
                ready, _, _ = select.select([answers_], [], [], max(0.0, limit.left()))
                if not ready and limit.left() > 0:
                    continue
                if not ready:
                    late = True
                    break
                piece = answers_.read(1 << 16)
                if not piece:
                    break
                buffer += piece
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "begun" in answer:
                        current, began = answer["begun"], time.monotonic()
                        limit = Limit(child, self.seconds)
                        continue
                    current, limit = None, Limit(child, self.seconds + 60)
                    outcome = Outcome(answer["code"], answer["output"], tuple(answer["findings"]))
                    yield Result(
                        answer["number"],
                        answer["generator"],
                        tuple(answer["words"]),
                        outcome,
                        answer["seconds"],
                    )
        yield from self._ended(child, current, time.monotonic() - began, late)

    def _ended(self, child: int, current: int | None, took: float, late: bool) -> Iterator[Result]:
        """End the process, and yield the case in which it hung or crashed."""
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGUSR1)  # it writes where it hangs to the output of the case
                time.sleep(0.5)
                os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it has started
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
            raise SystemExit(f"the generator of case {current} failed, see above")
        if current is None:
            return
        killed = not late and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed and current not in self._killed:
            # only the kernel, short of memory, and other programs send it: a finding if it comes again
            self._killed.add(current)
            return
        place = self.place(current)
        if not (place.root / "tmp").exists():  # it ended at the last moment; it is run again
            return
        output = (place.root / "output").read_bytes() if (place.root / "output").exists() else b""
        code = None if late else -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        fresh = Place(place.root / "fresh", self.base)  # what the folder outside was before
        fresh.make()
        before = {name: (mode, 0, content) for name, (mode, _, content) in fingerprint(fresh.outside).items()}
        after = {name: (mode, 0, content) for name, (mode, _, content) in fingerprint(place.outside).items()}
        outcome = judge(place, code, output, fingerprint(place.outside), ())
        touched = tuple(
            f"touched outside: {name}"
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        )
        words = json.loads((place.root / "words").read_text()) if (place.root / "words").exists() else []
        name = choose(Draw(self.seed, current), self.generators).name
        kept = tuple(line for line in outcome.findings if not line.startswith("left"))
        yield Result(current, name, tuple(words), Outcome(code, outcome.output, kept + touched), took)
        shutil.rmtree(place.root, ignore_errors=True)

    def place(self, number: int) -> Place:
        """Return the folders of a case."""
        return Place(self.work / f"{self.seed}-{number}", self.base)

    def build(self, number: int) -> tuple[Generator, Place, Case]:
        """Make the files of a case; they depend on the seed, the number and the generators alone."""
        draw = Draw(self.seed, number)
        row = choose(draw, self.generators)
        place = self.place(number)
        shutil.rmtree(place.root, ignore_errors=True)
        place.make()
        return row, place, row.make(draw, place)


def _carry_out(bench: Bench, numbers: Sequence[int], until: float, answers: Any) -> None:
    """Run cases in this process, one after the other, and write one line before and one after each."""
    recorder = None if bench.coverage is None else start(bench.coverage)
    for number in numbers:
        if time.monotonic() > until:
            break
        os.chdir(bench.work)
        print(json.dumps({"begun": number}), file=answers, flush=True)
        row, place, case = bench.build(number)  # a fault of a generator ends the process, and shows there
        (place.root / "words").write_text(json.dumps([*case.words]))
        began, peak = time.monotonic(), peak_bytes()
        before = fingerprint(place.outside)
        code = run_here(place, case)
        outcome = judge(
            place, code, (place.root / "output").read_bytes(), before, case.written, peak_bytes() - peak
        )
        answer = {
            "number": number,
            "generator": row.name,
            "words": [*case.words],
            "code": code,
            "output": outcome.output[-8000:],
            "findings": outcome.findings,
            "seconds": time.monotonic() - began,
        }
        os.chdir(bench.work)
        shutil.rmtree(place.root, ignore_errors=True)
        print(json.dumps(answer), file=answers, flush=True)
    stop(recorder)


def run_here(place: Place, case: Case) -> int:
    """Run a case in this process, its output going to a file, and return its exit code."""
    from noisylabels.cli import main
    from noisylabels.cli.output import complain
    from noisylabels.core.checks import InputError

    os.chdir(place.inside)
    set_environment(environment_of(place, case))
    tempfile.tempdir = None
    with open(place.root / "output", "wb", buffering=0) as file, _output_to(file.fileno()):
        faulthandler.register(signal.SIGUSR1, file)
        try:
            if case.call is None:
                return int(main(list(case.words)))
            return case.call()
        except InputError as error:
            complain(str(error))
            return 2
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc()
            return 70
        finally:
            faulthandler.unregister(signal.SIGUSR1)


@contextlib.contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """Send standard output and error to a file, also those of libraries in C."""
    kept = os.dup(1), os.dup(2)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    out, err = sys.stdout, sys.stderr
    sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = out, err
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        os.close(kept[0])
        os.close(kept[1])
